"""The events of a turn, the log that holds them, and their form on the wire.

A turn appends to its log and never waits for anybody. Any number of responses read the log, each by its own position,
so that a slow or lost client costs nothing and can come back.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any, Literal, NotRequired, TypeAlias, TypedDict

__all__ = [
    "Event",
    "EventLog",
    "Failed",
    "ResponseChunk",
    "ResponseComplete",
    "Stopped",
    "ToolComplete",
    "ToolStart",
    "frames",
]


class _MayBeFirst(TypedDict):
    session_id: NotRequired[str]  # in the first event of a turn, for whoever cannot read the header


class ResponseChunk(_MayBeFirst):
    """More of the answer."""

    event: Literal["response_chunk"]
    text: str


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
Event: TypeAlias = ResponseChunk | ToolStart | ToolComplete | Ending


class EventLog:
    """The events of one turn, numbered from 1. It keeps the newest and always the last one."""

    def __init__(self, session_id: str, capacity: int = 10_000) -> None:
        """Start empty.

        Args:
            session_id: The session that the first event names.
            capacity: Events to keep. A reader who needs older ones gets the last event alone, with the whole answer.
        """
        self._session_id = session_id
        self._capacity = capacity
        self._events: list[tuple[int, Event]] = []
        self._position = 0
        self._ending: Ending | None = None
        self._changed = asyncio.Event()

    @property
    def ending(self) -> Ending | None:
        """The last event, ``None`` while the turn runs."""
        return self._ending

    def append(self, event: ResponseChunk | ToolStart | ToolComplete) -> None:
        """Add an event and wake all readers."""
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
        while not (events := self._since(position)) and self._ending is None:
            await self._changed.wait()
        return events

    async def ended(self) -> Ending:
        """Wait for the last event."""
        while self._ending is None:
            await self._changed.wait()
        return self._ending

    def _since(self, position: int) -> list[tuple[int, Event]]:
        oldest = self._position - len(self._events)
        if position < oldest:
            return self._events[-1:] if self._ending is not None else []
        return self._events[position - oldest :]

    def _add(self, event: Event) -> None:
        if self._position == 0:
            event["session_id"] = self._session_id
        self._position += 1
        self._events.append((self._position, event))
        if len(self._events) > self._capacity:
            del self._events[: self._capacity // 2]  # in bulk, so that it costs nothing per event
        self._changed.set()
        self._changed = asyncio.Event()


async def frames(log: EventLog, heartbeat: float, position: int = 0) -> AsyncIterator[str]:
    r"""A turn as server-sent events.

    Args:
        log: The turn's log.
        heartbeat: Seconds of silence after which a comment is sent, so that no proxy takes the stream for dead.
        position: What the client has seen already (``Last-Event-ID``).

    Yields:
        ``id: 1\ndata: {"event": …}\n\n`` and, in silence, ``: alive\n\n``.
    """
    while True:
        try:
            async with asyncio.timeout(heartbeat):
                events = await log.after(position)
        except TimeoutError:
            yield ": alive\n\n"
            continue
        if not events:
            return
        for position, event in events:
            yield f"id: {position}\ndata: {json.dumps(event)}\n\n"
