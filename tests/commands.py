"""Every command that the driver sends during a test, and from which thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import bson
from pymongo import monitoring

_HANDSHAKE = {"hello", "ismaster", "isMaster", "ping", "saslStart", "saslContinue", "endSessions", "getMore"}
_PREPARATION = {"createIndexes"}


class Commands(monitoring.CommandListener):
    """Listens to every client of the process: the driver calls it in the sending thread.

    Attributes:
        sent: ``(name, command, size in bytes)`` in order, without handshakes and what a test does itself.
        received: Bytes of the replies to ``sent``.
        on_a_loop: Names of commands that were sent from a thread that runs an event loop.
    """

    def __init__(self) -> None:
        self._own = threading.local()
        self._lock = threading.Lock()
        self._counted: set[int] = set()
        self.clear()

    def clear(self) -> None:
        self.sent: list[tuple[str, Any, int]] = []
        self.received: list[int] = []
        self.on_a_loop: list[str] = []

    @property
    def names(self) -> list[str]:
        """What was sent, without the preparation of indexes that happens once in a process."""
        return [name for name, _, _ in self.sent if name not in _PREPARATION]

    @property
    def bytes_sent(self) -> int:
        return sum(size for name, _, size in self.sent if name not in _PREPARATION)

    @contextmanager
    def unwatched(self) -> Iterator[None]:
        """What this thread sends in here is the test's own doing: not counted, and allowed on a loop."""
        outer = getattr(self._own, "doing", False)
        self._own.doing = True
        try:
            yield
        finally:
            self._own.doing = outer

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        if event.command_name in _HANDSHAKE or getattr(self._own, "doing", False):
            return
        size = len(bson.encode({name: value for name, value in event.command.items() if name != "$clusterTime"}))
        with self._lock:
            self._counted.add(event.request_id)
            self.sent.append((event.command_name, event.command, size))
            if asyncio._get_running_loop() is not None:
                self.on_a_loop.append(event.command_name)

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        with self._lock:
            if event.request_id in self._counted:
                self.received.append(len(bson.encode(event.reply)))

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        return None


LISTENER = Commands()
monitoring.register(LISTENER)
