"""One mongod on one data folder, owned by this process."""

import contextlib
import os
import random
import socket
import time
from collections.abc import Iterator, Sequence
from typing import Any

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from . import membership
from .binary import check_version, executable, find_mongod
from .errors import EmbeddedMongoDBError, PortTakenError
from .folder import DataFolder
from .membership import HOST, POLL_SECONDS
from .process import SupervisedMongod

__all__ = ["Node"]

_EXIT_PORT_TAKEN = 48
_PORT_ATTEMPTS = 5
# Below the ranges from which Linux and macOS pick the ports of outgoing connections, or the port kept in a folder
# would often be taken later; away from 27017, where people expect a server of their own.
_PORTS = range(20_000, 27_000)


class Node:
    """A server of an embedded replica set, in a data folder of its own.

    Attributes:
        folder: The data folder.
        port: The port on 127.0.0.1, 0 before the first start.
    """

    def __init__(
        self,
        data_dir: str | os.PathLike[str],
        *,
        binary: str | os.PathLike[str] | None = None,
        replica_set: str = "rs0",
        cache_size_gb: float = 0.5,
    ) -> None:
        """Describe the server; nothing is started, read or written."""
        self.folder = DataFolder(data_dir)
        self.port = 0
        self._replica_set = replica_set
        self._binary = binary
        self._cache_size_gb = cache_size_gb
        self._mongod: SupervisedMongod | None = None

    @property
    def pid(self) -> int | None:
        """The process id of mongod, None while it does not run."""
        return self.folder.server_pid() if self._mongod is not None and self._mongod.running else None

    @property
    def address(self) -> str:
        """``host:port``, as the configuration of the replica set has it."""
        return f"{HOST}:{self.port}"

    @contextlib.contextmanager
    def client(self) -> Iterator[MongoClient[dict[str, Any]]]:
        """A client of this server alone, whatever its state."""
        try:
            with membership.connect(self.port) as client:
                yield client
        except PyMongoError as error:
            raise EmbeddedMongoDBError(self._report(f"mongod failed a command ({error})")) from error

    def launch(self, deadline: float, *, port: int | None = None) -> None:
        """Start mongod on ``port``, or on the one that it had before if that is free; the lock must be held.

        Returns when mongod answers: its replica set may have no configuration yet, or one with an older address.
        """
        self.folder.end_stale_server(deadline)
        for attempts_left in reversed(range(_PORT_ATTEMPTS)):
            self.port = self._free_port(port)
            try:
                self._run(deadline)
            except PortTakenError:  # between the look and the start
                if not attempts_left:
                    raise
            else:
                return

    def follows(self, hosts: Sequence[str], deadline: float) -> bool:
        """Whether this server has a configuration of its replica set; from then on it is that of ``hosts``."""
        with self.client() as client:
            stored = membership.stored_hosts(client, self._replica_set)
        if stored and stored != list(hosts):
            self._move(hosts, deadline)
        return bool(stored)

    def initiate(self, hosts: Sequence[str], **settings: int) -> None:
        """Make the servers at ``hosts``, none of which has a configuration, a replica set."""
        with self.client() as client:
            membership.initiate(client, self._replica_set, hosts, settings)

    def wait_for(self, *states: str, deadline: float) -> None:
        """Wait until the server says that it is one of ``isWritablePrimary``, ``secondary``."""
        with self.client() as client:
            while not any(map(membership.hello(client).get, states)):
                self._check(deadline)
                time.sleep(POLL_SECONDS)

    def takes_writes(self) -> bool:
        """Whether the server is the primary now."""
        with self.client() as client:
            return bool(membership.hello(client).get("isWritablePrimary"))

    def keep_running(self) -> None:
        """From now on, have mongod started again on its port when it ends on its own."""
        if self._mongod is not None:
            self._mongod.keep_running()

    def begin_stop(self) -> None:
        """Have mongod end cleanly, without waiting for it."""
        if self._mongod is not None:
            self._mongod.begin_stop()

    def stop(self) -> None:
        """End mongod cleanly; returns when it is gone."""
        if self._mongod is not None:
            self._mongod.stop()
        self._mongod = None

    def kill(self) -> None:
        """End mongod by ``SIGKILL``; returns when it is gone."""
        if self._mongod is not None:
            self._mongod.kill()
        self._mongod = None

    def _free_port(self, wanted: int | None) -> int:
        if wanted:
            if _is_free(wanted):
                return wanted
            raise EmbeddedMongoDBError(f"Port {wanted} is taken: leave it out to have a free one chosen.")
        before = self.folder.port()
        if before is not None and _is_free(before):
            return before
        return next(port for port in random.sample(_PORTS, len(_PORTS)) if _is_free(port))

    def _run(self, deadline: float, *, standalone: bool = False) -> None:
        command = self._command(standalone)
        with contextlib.ExitStack() as inherited:
            lock = self.folder.server_lock()
            inherited.callback(os.close, lock)
            log = self.folder.open_log()
            inherited.callback(os.close, log)
            self._mongod = SupervisedMongod(command, log=log, lock=lock, folder=self.folder)
        self.folder.remember_port(self.port)
        while not (_listens(self.port) and membership.is_served(self.port, self.folder.db)):
            self._check(deadline)
            time.sleep(POLL_SECONDS)

    def _command(self, standalone: bool) -> list[str]:
        program = find_mongod() if self._binary is None else executable(self._binary, origin="binary=")
        check_version(program)
        options = {
            "--dbpath": self.folder.db,
            "--port": self.port,
            "--bind_ip": HOST,
            "--wiredTigerCacheSizeGB": self._cache_size_gb,
            "--oplogSize": 128,  # megabytes
            # Every start reads the newest journal file ten times to its end: 100 MB, mostly empty, by default.
            "--wiredTigerEngineConfigString": "log=(file_max=8MB)",
            "--slowOpSampleRate": 0,  # a slow command would be logged with the documents in it
        }
        parameters = {
            "diagnosticDataCollectionEnabled": "false",  # it writes all the time, and slows the start down
            "shutdownTimeoutMillisForSignaledShutdown": 0,  # else 15 s, in which a secondary waits for its clients
        }
        command = [str(program), "--nounixsocket", "--quiet"]
        command += [str(part) for option in options.items() for part in option]
        command += [part for name, value in parameters.items() for part in ("--setParameter", f"{name}={value}")]
        return command if standalone else [*command, "--replSet", self._replica_set]

    def _check(self, deadline: float) -> None:
        """Raise if mongod has ended or the time is over."""
        status = None if self._mongod is None else self._mongod.exit_status
        if status is None and time.monotonic() < deadline:
            return
        self.kill()
        if status == _EXIT_PORT_TAKEN:
            raise PortTakenError(self._report(f"Port {self.port} was taken while mongod started"))
        if status is not None:
            raise EmbeddedMongoDBError(self._report(f"mongod ended with status {status} while it started"))
        raise EmbeddedMongoDBError(self._report("mongod was not ready in time (startup_timeout)"))

    def _report(self, failure: str) -> str:
        return f"{failure}, in {self.folder.path}. The end of its log:\n{self.folder.log_tail()}"

    def _move(self, hosts: Sequence[str], deadline: float) -> None:
        """Force new addresses into the stored configuration, and start anew with it.

        Not by ``replSetReconfig`` with ``force``: that is refused while the server looks for itself at the old
        addresses, and it does so for 30 seconds if something listens there that never answers. So it is done as for
        a server that is offline, by one start outside the replica set. The kill loses nothing: nobody wrote yet, and
        a server that still looks for itself would take those 30 seconds to end cleanly.
        """
        self.kill()
        self._run(deadline, standalone=True)
        with self.client() as client:
            membership.rewrite_hosts(client, hosts)
        self.stop()
        self._run(deadline)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as mongod does: closed connections linger
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def _listens(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), timeout=1).close()
    except OSError:
        return False
    return True
