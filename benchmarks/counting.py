"""What a turn asks of its store: commands and bytes of MongoDB, or files and bytes of a folder."""

from __future__ import annotations

import os
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import bson
from pymongo import monitoring

from benchmarks.table import in_bytes

_NOT_OF_A_TURN = {"hello", "ismaster", "isMaster", "ping", "endSessions", "createIndexes"}


@dataclass
class Cost:
    """What was asked of a store.

    Attributes:
        operations: How often what was done, in the order of the first time.
        sent: Bytes of the commands, or written to files.
        received: Bytes of the replies, or read from files.
    """

    operations: Counter[str] = field(default_factory=Counter)
    sent: int = 0
    received: int = 0

    @property
    def total(self) -> int:
        """How many operations."""
        return self.operations.total()

    def a_turn(self, turns: int = 1) -> tuple[str, str, str]:
        """Three cells: operations, bytes sent, and bytes received, each a turn."""
        names = [f"{name}{_times(count / turns)}" for name, count in self.operations.items()]
        return ", ".join(names) or "nothing", in_bytes(self.sent / turns), in_bytes(self.received / turns)


def _times(count: float) -> str:
    if count == 1:
        return ""
    return f" ×{count:.0f}" if count == int(count) else f" ×{count:.2f}"


def together(costs: Sequence[Cost]) -> Cost:
    """The sum of several."""
    operations: Counter[str] = Counter()
    for cost in costs:
        operations.update(cost.operations)
    return Cost(operations, sum(cost.sent for cost in costs), sum(cost.received for cost in costs))


class Commands(monitoring.CommandListener):
    """Hears the commands of the clients that it is given to. To measure them takes time, so it is asked to."""

    def __init__(self) -> None:
        self._cost: Cost | None = None
        self._counted: set[int] = set()
        self._lock = threading.Lock()

    @contextmanager
    def counting(self) -> Iterator[Cost]:
        """Count what is sent in here, without handshakes and the indexes that each process makes once."""
        self._cost = cost = Cost()
        try:
            yield cost
        finally:
            self._cost = None

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        cost = self._cost
        if cost is None or event.command_name in _NOT_OF_A_TURN:
            return
        size = _size({name: value for name, value in event.command.items() if name != "$clusterTime"})
        with self._lock:
            self._counted.add(event.request_id)
            cost.operations[event.command_name] += 1
            cost.sent += size

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        cost = self._cost
        if cost is None or event.request_id not in self._counted:
            return
        size = _size(event.reply)
        with self._lock:
            self._counted.discard(event.request_id)
            cost.received += size

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        with self._lock:
            self._counted.discard(event.request_id)


def _size(document: Any) -> int:
    return len(bson.encode(document))


class Files:
    """Hears what this process does with the files of a folder, as the interpreter tells its audit hooks."""

    def __init__(self, folder: Path) -> None:
        self._folder = str(folder)
        self._cost: Cost | None = None
        sys.addaudithook(self._heard)

    @contextmanager
    def counting(self) -> Iterator[Cost]:
        """Count what is read and written in here. A file is written when it gets its name."""
        self._cost = cost = Cost()
        try:
            yield cost
        finally:
            self._cost = None

    def _heard(self, event: str, arguments: tuple[Any, ...]) -> None:
        cost = self._cost
        if cost is None or not arguments or not str(arguments[0]).startswith(self._folder):
            return
        path = arguments[0]
        with suppress(FileNotFoundError):
            if event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR):
                cost.received += Path(path).stat().st_size
                cost.operations["file read"] += 1
            if event == "os.rename":
                cost.sent += Path(path).stat().st_size
                cost.operations["file written"] += 1
            if event in ("os.listdir", "os.scandir"):
                cost.operations["folder listed"] += 1
