"""What every replica knows of a turn: its record and its events, kept in the database of the sessions for a while.

A replica is one process of the service. The one that runs a turn writes it down as it goes on; any of them can tell it
again, cancel it, and find out that the one that ran it is gone.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

__all__ = [
    "LONGEST_SILENCE",
    "Batch",
    "StoredTurn",
    "TurnChange",
    "TurnRecord",
    "TurnRecords",
    "age_of",
    "digest",
    "new_turn_id",
]


LONGEST_SILENCE = 3600.0
"""Seconds for which a turn that runs is kept longer than one that has ended, counted from the last that was written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnRecord:
    """Which turn it is.

    Attributes:
        turn_id: 32 hexadecimal digits.
        session_id: The session that it belongs to.
        owner: Whose it is, if sessions have owners.
        replica: The process that runs it.
        key: The digest of the ``Idempotency-Key`` and of who sent it, if there was one.
        body: The digest of the question that came with that key.
    """

    turn_id: str
    session_id: str
    owner: str | None
    replica: str
    key: str | None = None
    body: str | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """Events one after the other.

    Attributes:
        first: The position of the first one.
        events: Each as JSON in ASCII, without line breaks.
    """

    first: int
    events: Sequence[str]

    @property
    def last(self) -> int:
        """The position of the last one."""
        return self.first + len(self.events) - 1

    @property
    def text(self) -> str:
        """One event a line."""
        return "\n".join(self.events)


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnChange:
    """What is new of a turn. It may be written again: that changes nothing.

    Attributes:
        record: Which turn.
        batch: Events that were not written yet.
        ending: Position and JSON of the last event, once there is one. The first that is written stays.
        frees_key: The turn has given no answer, so its key may be used again.
        forgets: Its session is gone, and so are its events.
    """

    record: TurnRecord
    batch: Batch | None = None
    ending: tuple[int, str] | None = None
    frees_key: bool = False
    forgets: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTurn:
    """A turn as it was read.

    Attributes:
        record: Which turn.
        begun: Whether it was accepted; before, it only holds its key.
        events: Positions and JSON of the events that were asked for, in order; some may come twice.
        ending: Position and JSON of the last event, once there is one.
        quiet: Seconds since its replica last said that it is alive, on the server's clock.
    """

    record: TurnRecord
    begun: bool
    events: list[tuple[int, str]] = field(default_factory=list)
    ending: tuple[int, str] | None = None
    quiet: float = 0.0


class TurnRecords(Protocol):
    """Where turns are written down. Every method is one command, waits for the server, and gives up within seconds."""

    def claim(self, record: TurnRecord) -> StoredTurn | None:
        """Take a key for this turn. ``None`` when it is taken now, else the turn that has it (a second command)."""

    def release(self, record: TurnRecord) -> None:
        """Forget a turn that was refused, and its key."""

    def write(self, changes: Sequence[TurnChange]) -> None:
        """Write what is new of several turns."""

    def beat(self, replica: str) -> list[str]:
        """Say that this replica is alive. Returns its turns that somebody wants cancelled, those told before too."""

    def read(self, turn_id: str, position: int = 0) -> StoredTurn | None:
        """A turn, with its events after this position."""

    def unfinished(self, session_id: str) -> StoredTurn | None:
        """The newest turn of a session that has begun and not ended, without its events."""

    def interrupt(self, turn_id: str, ending: tuple[int, str]) -> None:
        """End a turn whose replica is gone, unless it has ended, and free its key."""

    def cancel(self, record: TurnRecord) -> None:
        """Ask the replica of a turn to stop it."""

    def forget(self, session_id: str) -> None:
        """Remove all turns of a session."""


def new_turn_id() -> str:
    """An id that nobody can guess. It begins with the time, so that an old one is told from one not yet stored."""
    return f"{int(time.time()):08x}{secrets.token_hex(12)}"


def age_of(turn_id: str) -> float:
    """Seconds since a turn began, by the clocks of its replica and of this one."""
    return time.time() - int(turn_id[:8], 16)


def digest(*parts: object) -> str:
    """Tells values apart without showing them."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
