"""The embedded server: a replica set of one."""

import os
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from . import membership
from .errors import EmbeddedMongoDBError
from .membership import HOST
from .node import Node

__all__ = ["EmbeddedMongoDB"]

_SHARE_POLL_SECONDS = 0.05


class EmbeddedMongoDB:
    """A MongoDB server that belongs to this process: a real ``mongod``, run as a replica set of one.

    ::

        with EmbeddedMongoDB("data/mongodb") as server:
            client = MongoClient(server.uri)

    It listens on 127.0.0.1 only, and asks for no password: whoever may run programs on this machine may connect.
    It ends with its owner, also when that one is killed; what was written with the default write concern is in
    the data folder then, and there at the next start.

    A ``mongod`` that ends on its own, killed or crashed, is started again on the same port and data after a fifth of
    a second: clients find it again. One that ended three times within a minute is left alone, and the next
    :meth:`start` begins anew; ``mongod.log`` in the data folder tells both.

    The first to start on a data folder owns the server. Whoever starts on the same folder meanwhile, in this
    process or another, shares it (``owned`` is False) and loses it when the owner stops.

    A forked child shares its parent's server. Start and stop from one thread at a time.
    """

    def __init__(
        self,
        data_dir: str | os.PathLike[str],
        *,
        port: int | None = None,
        binary: str | os.PathLike[str] | None = None,
        replica_set: str = "rs0",
        cache_size_gb: float = 0.5,
        startup_timeout: float = 15,
        keep_running: bool = True,
    ) -> None:
        """Describe the server; nothing is started, read or written.

        Args:
            data_dir: The folder for its data, log, port and lock; made, readable by its user only, if missing.
            port: The port to listen on. By default a free one is chosen once and kept in the folder, until it is
                found taken at a start.
            binary: The ``mongod`` program, by default what :func:`find_mongod` finds.
            replica_set: The replica set's name; a data folder keeps the one of its first start.
            cache_size_gb: Memory for the storage engine's cache, in gigabytes, used as it is needed: 0.25 at least, and
                too little there for documents above 12 MB.
            startup_timeout: Seconds until a start, or the wait for another process's start, is given up.
            keep_running: Whether a ``mongod`` that ends on its own is started again. The owner's word counts.
        """
        self.port: int | None = None
        self._node = Node(data_dir, binary=binary, replica_set=replica_set, cache_size_gb=cache_size_gb)
        self._wanted_port = port
        self._replica_set = replica_set
        self._startup_timeout = startup_timeout
        self._keep_running = keep_running

    @property
    def data_dir(self) -> Path:
        """The data folder, resolved."""
        return self._node.folder.path

    @property
    def owned(self) -> bool:
        """Whether this object runs the server, and ends it; False when another one does, and before the start."""
        return self._node.folder.locked

    @property
    def pid(self) -> int | None:
        """The process id of mongod, a new one each time that it is started; None while it does not run."""
        if self.port is None or self.owned:
            return self._node.pid
        return self._node.folder.server_pid()

    @property
    def uri(self) -> str:
        """The connection string.

        Raises:
            EmbeddedMongoDBError: If this object is not started.
        """
        if self.port is None:
            raise EmbeddedMongoDBError(f"The embedded server of {self.data_dir} is not started.")
        return f"mongodb://{HOST}:{self.port}/?replicaSet={self._replica_set}"

    def start(self) -> Self:
        """Start the server, or share the one that runs on this data folder; only waits for one that is started.

        Returns:
            This object, when the server takes writes.

        Raises:
            EmbeddedMongoDBError: If there is no suitable ``mongod``, if it does not start (with the end of its
                log), or if the data folder is in use and its server cannot be reached.
        """
        deadline = time.monotonic() + self._startup_timeout
        runs = self.owned and self._node.pid is not None
        if not runs:
            self.stop()
            if not self._locks(deadline):
                return self
        try:
            if not runs:
                self._launch(deadline)
            self._own(deadline)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End the server if this object owns it, else only forget it; may be called at any time, and again."""
        self.port = None
        if not self.owned:
            return
        self._node.stop()
        self._node.folder.unlock()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _locks(self, deadline: float) -> bool:
        """Take the data folder; False if another owner's server is shared instead."""
        self._node.folder.create()
        while not self._node.folder.lock():
            if self._shares():
                return False
            if time.monotonic() > deadline:
                raise EmbeddedMongoDBError(self._refusal())
            time.sleep(_SHARE_POLL_SECONDS)
        return True

    def _launch(self, deadline: float) -> None:
        self._node.launch(deadline, port=self._wanted_port)
        hosts = [self._node.address]
        if not self._node.follows(hosts, deadline):
            self._node.initiate(hosts)

    def _own(self, deadline: float) -> None:
        self._node.wait_for("isWritablePrimary", deadline=deadline)
        self.port = self._node.port
        if self._keep_running:
            self._node.keep_running()

    def _shares(self) -> bool:
        """Whether another owner's server of this folder was found, and takes writes."""
        port = self._node.folder.port()
        if port is None or not membership.is_served(port, self._node.folder.db):
            return False
        with membership.connect(port) as client:
            state = membership.hello(client)
        # A server without a set name is in the middle of a change of its address.
        if not state.get("isWritablePrimary") or "setName" not in state:
            return False
        self.port, self._replica_set = port, state["setName"]
        return True

    def _refusal(self) -> str:
        return (
            f"The data folder {self.data_dir} is in use by process {self._node.folder.holder()}, and its server did "
            f"not answer within {self._startup_timeout:g} s (port {self._node.folder.port()}). Wait for that process "
            "or stop it, use another data folder, or run a server for both and set MONGODB_URI."
        )
