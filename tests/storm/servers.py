"""The servers of a storm: every connection to them, also from one to another, goes through a proxy."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from pymongo.errors import PyMongoError

from mongodb_session_manager.embedded import EmbeddedMongoDBError, EmbeddedReplicaSet
from mongodb_session_manager.embedded.node import Node
from tests.faults.proxy import Proxy

__all__ = ["ReplicaSet", "Servers", "Standalone", "Takeover", "step_down", "stopped"]

_HOST = "127.0.0.1"
_START_SECONDS = 60.0
_POLL_SECONDS = 0.02
_PRIMARY = 1
"""In a server's account of itself."""


_DRIVER_OPTIONS = "socketTimeoutMS=4000&connectTimeoutMS=2000&heartbeatFrequencyMS=1000&minPoolSize=1&maxPoolSize=20"
"""With the driver's own time-outs it takes half a minute to notice that nothing comes from a server any more."""


@dataclass(frozen=True)
class Takeover:
    """How a server came to take writes, on the monotonic clock.

    Attributes:
        elected: When it was elected; of a server without a replica set, when it had started.
        writable: When a majority held its first write.
    """

    elected: float
    writable: float


class Servers(Protocol):
    """What a fault needs of them.

    Attributes:
        nodes: Each with ``pid``, ``None`` while it is down.
        proxies: The one before each node.
    """

    nodes: list[Node]
    proxies: list[Proxy]

    @property
    def uri(self) -> str:
        """Where an application connects."""

    def primary(self) -> int:
        """The number of the node that takes writes; waits until one does."""

    def kill(self, number: int) -> None:
        """End a node by ``SIGKILL``; returns when it is gone."""

    def restart(self, number: int) -> None:
        """Start it again; returns when it serves."""

    def settle(self, seconds: float) -> None:
        """Wait until every other node copies from one, but no longer than this: one that has just come back may not."""

    def took_over(self, number: int) -> Takeover | None:
        """When this node became the one that takes writes, by its own account; ``None`` while it is becoming it."""


class ReplicaSet(EmbeddedReplicaSet):
    """Members that know one another by the addresses of their proxies."""

    def __init__(self, data_dir: Path, nodes: int = 3) -> None:
        super().__init__(data_dir, nodes)
        self.proxies: list[Proxy] = []

    @property
    def uri(self) -> str:
        return f"{self.plain_uri}&{_DRIVER_OPTIONS}"

    @property
    def plain_uri(self) -> str:
        """Without any option of a driver."""
        return super().uri

    def stop(self) -> None:
        for number in range(len(self.nodes)):
            wake(self, number)
        super().stop()
        for proxy in self.proxies:
            proxy.__exit__(None, None, None)

    def took_over(self, number: int) -> Takeover | None:
        with self.nodes[number].client() as client:
            metrics = client.admin.command("replSetGetStatus").get("electionCandidateMetrics", {})
        if "wMajorityWriteAvailabilityDate" not in metrics:
            return None
        dates = metrics["newTermStartDate"], metrics["wMajorityWriteAvailabilityDate"]
        return Takeover(*(_on_the_monotonic_clock(date.replace(tzinfo=UTC).timestamp()) for date in dates))

    def settle(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not all(self._follows_one(number) for number in range(len(self.nodes))) and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)

    def _follows_one(self, number: int) -> bool:
        with contextlib.suppress(EmbeddedMongoDBError), self.nodes[number].client() as client:
            status = client.admin.command("replSetGetStatus")
            return bool(status["myState"] == _PRIMARY or status["syncSourceHost"])
        return False

    def _hosts(self) -> list[str]:
        if not self.proxies:
            self.proxies = [before(node) for node in self.nodes]
        return [f"{_HOST}:{proxy.port}" for proxy in self.proxies]


class _Alone(Node):
    """Outside of any replica set."""

    def _command(self, standalone: bool) -> list[str]:
        return super()._command(True)


class Standalone:
    """One server without a replica set, for which no driver retries a write."""

    def __init__(self, data_dir: Path) -> None:
        self.nodes: list[Node] = [_Alone(data_dir)]
        self.proxies: list[Proxy] = []
        self._since: Takeover | None = None

    @property
    def uri(self) -> str:
        return f"mongodb://{_HOST}:{self.proxies[0].port}/?{_DRIVER_OPTIONS}"

    def __enter__(self) -> Self:
        node = self.nodes[0]
        node.folder.create()
        if not node.folder.lock():
            raise EmbeddedMongoDBError(f"{node.folder.path} is in use by process {node.folder.holder()}.")
        self._launch(None)
        self.proxies = [before(node)]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        wake(self, 0)
        self.nodes[0].stop()
        self.nodes[0].folder.unlock()
        for proxy in self.proxies:
            proxy.__exit__(None, None, None)

    def primary(self) -> int:
        self.nodes[0].wait_for("isWritablePrimary", deadline=time.monotonic() + _START_SECONDS)
        return 0

    def kill(self, number: int) -> None:
        self.nodes[number].kill()

    def restart(self, number: int) -> None:
        self._launch(self.nodes[number].port)

    def settle(self, seconds: float) -> None:
        """There is nobody to wait for."""

    def took_over(self, number: int) -> Takeover | None:
        return self._since

    def _launch(self, port: int | None) -> None:
        self.nodes[0].launch(time.monotonic() + _START_SECONDS, port=port)
        self.primary()
        self._since = Takeover(time.monotonic(), time.monotonic())


def _on_the_monotonic_clock(seconds: float) -> float:
    return seconds - time.time() + time.monotonic()


def before(node: Node) -> Proxy:
    """A proxy before a node, at work."""
    return Proxy(_HOST, node.port).__enter__()


def wake(servers: Servers, number: int) -> None:
    """Let a node go on that was stopped by ``SIGSTOP``."""
    pid = servers.nodes[number].pid
    if pid is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


@contextmanager
def stopped(servers: Servers, number: int) -> Iterator[None]:
    """A node that does nothing, by ``SIGSTOP``; its connections stay open."""
    pid = servers.nodes[number].pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        wake(servers, number)


def step_down(servers: Servers, number: int) -> None:
    """Have a primary give way for two seconds."""
    with contextlib.suppress(EmbeddedMongoDBError, PyMongoError), servers.nodes[number].client() as client:
        command = {"replSetStepDown": 2, "secondaryCatchUpPeriodSecs": 1, "force": True}
        client.admin.command(command)
