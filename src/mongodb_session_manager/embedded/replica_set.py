"""Several embedded servers as one replica set."""

import os
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from .errors import EmbeddedMongoDBError
from .membership import POLL_SECONDS
from .node import Node

__all__ = ["EmbeddedReplicaSet"]

# Elections within a second or two, instead of ten, and not much later when a server is there and does not answer.
_SETTINGS = {"electionTimeoutMillis": 1_500, "heartbeatIntervalMillis": 300, "heartbeatTimeoutSecs": 2}


class EmbeddedReplicaSet:
    """A replica set of several ``mongod``, for tests of failovers; each ends with this process, like a single one.

    ::

        with EmbeddedReplicaSet(tmp_path) as servers:
            client = MongoClient(servers.uri)
            servers.kill(servers.primary())

    Its data folder is never shared.

    Attributes:
        nodes: The servers, in order, each with ``pid`` (None while it is down) and ``port``.
    """

    def __init__(
        self,
        data_dir: str | os.PathLike[str],
        nodes: int = 3,
        *,
        binary: str | os.PathLike[str] | None = None,
        replica_set: str = "rs0",
        cache_size_gb: float = 0.5,
        startup_timeout: float = 60,
    ) -> None:
        """Describe the servers; nothing is started, read or written.

        Args:
            data_dir: The folder in which each server has one of its own.
            nodes: How many servers.
            binary: The ``mongod`` program, by default what :func:`find_mongod` finds.
            replica_set: The replica set's name.
            cache_size_gb: Memory for each server's cache, in gigabytes, as for :class:`EmbeddedMongoDB`.
            startup_timeout: Seconds until a start is given up.
        """
        self.nodes = [
            Node(Path(data_dir) / f"node{number}", binary=binary, replica_set=replica_set, cache_size_gb=cache_size_gb)
            for number in range(nodes)
        ]
        self._replica_set = replica_set
        self._startup_timeout = startup_timeout

    @property
    def uri(self) -> str:
        """The connection string, with every server in it."""
        return f"mongodb://{','.join(self._hosts())}/?replicaSet={self._replica_set}"

    def start(self) -> Self:
        """Start every server.

        Returns:
            This object, when there is a primary and every other server follows it.

        Raises:
            EmbeddedMongoDBError: If a server does not start, or its folder is in use.
        """
        deadline = time.monotonic() + self._startup_timeout
        try:
            self._launch(deadline)
            for node in self.nodes:
                node.wait_for("isWritablePrimary", "secondary", deadline=deadline)
            self.primary()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End every server."""
        for node in self.nodes:
            node.begin_stop()
        for node in self.nodes:
            node.stop()
            node.folder.unlock()

    def kill(self, number: int) -> None:
        """End a server by ``SIGKILL``; returns when it is gone."""
        self.nodes[number].kill()

    def restart(self, number: int) -> None:
        """Start a server again that was killed; returns when it is a member of its replica set again.

        Raises:
            EmbeddedMongoDBError: If it does not start, or its port was taken meanwhile.
        """
        deadline = time.monotonic() + self._startup_timeout
        node = self.nodes[number]
        node.launch(deadline, port=node.port)
        node.wait_for("isWritablePrimary", "secondary", deadline=deadline)

    def primary(self) -> int:
        """The number of the server that takes writes; waits for an election to end.

        Raises:
            EmbeddedMongoDBError: If there is none for ``startup_timeout`` seconds.
        """
        deadline = time.monotonic() + self._startup_timeout
        while time.monotonic() < deadline:
            for number, node in enumerate(self.nodes):
                if node.pid is not None and node.takes_writes():
                    return number
            time.sleep(POLL_SECONDS)
        raise EmbeddedMongoDBError(f"No server of the replica set takes writes: {', '.join(self._hosts())}.")

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _hosts(self) -> list[str]:
        return [node.address for node in self.nodes]

    def _launch(self, deadline: float) -> None:
        for node in self.nodes:
            node.folder.create()
            if not node.folder.lock():
                raise EmbeddedMongoDBError(f"{node.folder.path} is in use by process {node.folder.holder()}.")
            node.launch(deadline)
        followed = [node.follows(self._hosts(), deadline) for node in self.nodes]
        if not any(followed):
            self.nodes[0].initiate(self._hosts(), **_SETTINGS)
