"""What a turn asks of the database: counted where commands are sent, by a context variable.

Flushes run on a pool with the context of who awaits them, so a turn counts its own commands and nobody else's. What
belongs to no turn, such as the renewal of leases and the records for other replicas, is sent without such a context.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from pydantic import BaseModel
from pymongo.monitoring import CommandFailedEvent, CommandListener, CommandStartedEvent, CommandSucceededEvent

__all__ = ["COMMANDS", "StoreUse", "Tally", "count_query", "counted_by"]


class StoreUse(BaseModel):
    """How many commands were sent to the database, and how long they took together."""

    commands: int
    milliseconds: float


class Tally:
    """Counts the commands of one turn. Thread-safe."""

    def __init__(self) -> None:
        """Begin at nothing."""
        self._lock = threading.Lock()
        self._commands = 0
        self._seconds = 0.0

    def add(self, seconds: float) -> None:
        """One more command, which took so long."""
        with self._lock:
            self._commands += 1
            self._seconds += seconds

    def use(self) -> StoreUse:
        """What was counted until now."""
        with self._lock:
            return StoreUse(commands=self._commands, milliseconds=round(self._seconds * 1000, 2))


_tally: ContextVar[Tally | None] = ContextVar("store_tally", default=None)


@contextmanager
def counted_by(tally: Tally) -> Iterator[None]:
    """Count the commands that are sent meanwhile, also by tasks that are begun meanwhile."""
    token = _tally.set(tally)
    try:
        yield
    finally:
        _tally.reset(token)


class _Commands(CommandListener):
    """Told of every command in the thread that sends it."""

    def started(self, event: CommandStartedEvent) -> None:
        """Counted when it has ended."""

    def succeeded(self, event: CommandSucceededEvent) -> None:
        """Count it."""
        _count(event.duration_micros / 1_000_000)

    def failed(self, event: CommandFailedEvent) -> None:
        """Count it."""
        _count(event.duration_micros / 1_000_000)


COMMANDS = _Commands()
"""The one listener of all clients: factories with equal options share a client."""


def count_query(query: Any) -> None:
    """Count a statement, as asyncpg tells of it."""
    _count(query.elapsed)


def _count(seconds: float) -> None:
    if tally := _tally.get():
        tally.add(seconds)
