"""The events of a turn, the log that holds them, and their form on the wire.

A turn appends to its log and never waits for anybody. Any number of responses read the log, each by its own position,
so that a slow or lost client costs nothing and can come back.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import (
    Any,
    Literal,
    NamedTuple,
    NotRequired,  # pydantic reads no others with Python 3.11
    Protocol,
    Self,
    TypeAlias,
    cast,
)

from typing_extensions import TypedDict

from .rag.chunks import Chunk

__all__ = [
    "BEYOND",
    "Ending",
    "Event",
    "EventId",
    "EventLog",
    "Failed",
    "Log",
    "ResponseBlock",
    "ResponseChunk",
    "ResponseComplete",
    "RetrievalComplete",
    "RetrievalStart",
    "Stopped",
    "ToolComplete",
    "ToolStart",
    "failed",
    "frames",
]

BEYOND = 2**31 - 1
"""The position after everything: of a last event that is told instead of the one that a turn did not live to tell."""


class _MayBeFirst(TypedDict):
    session_id: NotRequired[str]  # in the first event of a turn, for whoever cannot read the header


class ResponseChunk(_MayBeFirst):
    """More of the answer."""

    event: Literal["response_chunk"]
    text: str


class ResponseBlock(TypedDict):
    """A part of the answer as HTML, new or grown. It is in no log: see :mod:`chat_service.rendering.frames`."""

    event: Literal["response_block"]
    index: int
    html: str


class RetrievalStart(_MayBeFirst):
    """The documents are being searched."""

    event: Literal["retrieval_start"]
    query: str


class RetrievalComplete(_MayBeFirst):
    """What was found: the passages that the answer may cite, none when the documents hold no answer."""

    event: Literal["retrieval_complete"]
    chunks: list[Chunk]
    timings: dict[str, float]


class ToolStart(_MayBeFirst):
    """The model asked for a tool."""

    event: Literal["tool_start"]
    tool_use_id: str
    name: str
    input: Any


class ToolComplete(_MayBeFirst):
    """A tool has answered."""

    event: Literal["tool_complete"]
    tool_use_id: str
    status: str
    output: str


class ResponseComplete(_MayBeFirst):
    """The last event of a turn that went well: the answer is stored."""

    event: Literal["response_complete"]
    response_text: str
    metadata: dict[str, Any]


class Stopped(_MayBeFirst):
    """The last event of a turn that was stopped: what had been said is stored."""

    event: Literal["stopped"]
    reason: str
    response_text: str
    metadata: dict[str, Any]


class Failed(_MayBeFirst):
    """The last event of a turn that failed. The fields of an error answer, and its text as ``message`` too."""

    event: Literal["error"]
    message: str
    error: str
    code: str
    status_code: int
    details: dict[str, Any]
    request_id: str


Ending: TypeAlias = ResponseComplete | Stopped | Failed
Event: TypeAlias = RetrievalStart | RetrievalComplete | ResponseChunk | ToolStart | ToolComplete | Ending


def failed(body: Mapping[str, Any]) -> Failed:
    """The last event of a turn that failed, from the fields of the error's JSON."""
    return cast(Failed, {"event": "error", "message": body["error"], **body})


class EventId(NamedTuple):
    """What a client has seen: the event at this position of this turn, written ``<turn id>-<position>``.

    Without a turn it is the one that runs in a session.
    """

    turn_id: str | None
    position: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an id that has the form of one."""
        turn_id, _, position = text.rpartition("-")
        return cls(turn_id or None, int(position))


class Log(Protocol):
    """The events of one turn, wherever it runs."""

    @property
    def turn_id(self) -> str:
        """Names the turn in the ids of its events."""

    @property
    def session_id(self) -> str:
        """The session of the turn."""

    async def after(self, position: int) -> list[tuple[int, Event]]:
        """Wait for events; none when the turn has ended at or before this position."""

    async def until(self, position: int) -> list[tuple[int, Event]] | None:
        """The events up to this position, which somebody has seen; ``None`` if the first of them are kept no more."""

    async def ended(self) -> Ending:
        """Wait for the last event."""


class EventLog:
    """The events of one turn of this process, numbered from 1. It keeps the newest and always the last one."""

    def __init__(self, turn_id: str, session_id: str, *, capacity: int = 10_000, begins_after: int = 0) -> None:
        """Start empty.

        Args:
            turn_id: Names the turn in the ids of its events.
            session_id: The session that the first event names.
            capacity: Events to keep. A reader who needs older ones gets the last event alone, with the whole answer.
            begins_after: The position before the first event.
        """
        self.turn_id = turn_id
        self.session_id = session_id
        self._capacity = capacity
        self._events: list[tuple[int, Event]] = []
        self._position = begins_after
        self._ending: Ending | None = None
        self._changed = asyncio.Event()

    @property
    def ending(self) -> Ending | None:
        """The last event, ``None`` while the turn runs."""
        return self._ending

    def append(self, event: RetrievalStart | RetrievalComplete | ResponseChunk | ToolStart | ToolComplete) -> None:
        """Add an event and wake all readers. What comes after the last one is dropped."""
        if self._ending is None:
            self._add(event)

    def end(self, event: Ending) -> None:
        """Add the last event. A log ends once: a second ending is dropped."""
        if self._ending is None:
            self._ending = event
            self._add(event)

    async def after(self, position: int) -> list[tuple[int, Event]]:
        """Wait for events.

        Args:
            position: What the reader has seen already.

        Returns:
            The events since then with their positions, at least one; none when the turn has ended before.
        """
        while not (events := self.since(position)) and self._ending is None:
            await self._changed.wait()
        return events

    async def until(self, position: int) -> list[tuple[int, Event]] | None:
        """The events up to this position; ``None`` if the first of them are kept no more."""
        if position and self._position > len(self._events):
            return None
        return self._events[:position]

    async def ended(self) -> Ending:
        """Wait for the last event."""
        while self._ending is None:
            await self._changed.wait()
        return self._ending

    def since(self, position: int) -> list[tuple[int, Event]]:
        """What there is now after this position; of what is kept no longer, the last event alone."""
        oldest = self._position - len(self._events)
        if position < oldest:
            return self._events[-1:] if self._ending is not None else []
        return self._events[position - oldest :]

    def is_over(self, position: int) -> bool:
        """Whether nothing comes after this position any more."""
        return self._ending is not None and position >= self._position

    def _add(self, event: Event) -> None:
        if self._position == 0:
            event["session_id"] = self.session_id
        self._position += 1
        self._events.append((self._position, event))
        if len(self._events) > self._capacity:
            del self._events[: self._capacity // 2]  # in bulk, so that it costs nothing per event
        self._changed.set()
        self._changed = asyncio.Event()


async def frames(log: Log, heartbeat: float, position: int = 0) -> AsyncIterator[str]:
    r"""A turn as server-sent events.

    Args:
        log: The turn's log.
        heartbeat: Seconds of silence after which a comment is sent, so that no proxy takes the stream for dead.
        position: What the client has seen already (``Last-Event-ID``).

    Yields:
        ``id: <turn id>-1\ndata: {"event": …}\n\n`` and, in silence, ``: alive\n\n``.
    """
    news = asyncio.ensure_future(log.after(position))
    try:
        while True:
            await asyncio.wait({news}, timeout=heartbeat)
            if not news.done():
                yield ": alive\n\n"
                continue
            if not (events := news.result()):
                return
            for position, event in events:
                yield f"id: {log.turn_id}-{position}\ndata: {json.dumps(event)}\n\n"
            news = asyncio.ensure_future(log.after(position))
    finally:
        news.cancel()
