"""A turn as server-sent events with the answer as HTML.

The blocks are made by the response that sends them, from the events of the turn: a reader who wants text alone pays
nothing, and a turn is the same whoever reads it. A block has no place of its own among the events: it carries the id of
the last one that was told before it. Who comes back with that id gets all blocks of the message anew.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any, cast

from ..events import Event, Log, ResponseBlock
from .answers import AnswerInProgress
from .cache import Rendered

__all__ = ["frames_with_blocks"]

_INTERVAL = 0.1  # seconds between two looks at what was written meanwhile
_SHARE = 0.1  # of the time that may be spent on them
_SMALL = 2_000  # characters that are rendered at once; more of them in a thread
_RATE = 1_000_000  # characters of HTML a second


class _Message:
    """The message that is being written, as its blocks; none where its beginning is not known."""

    def __init__(self, *, is_known: bool = True) -> None:
        self._answer = AnswerInProgress()
        self._is_known = is_known
        self._has_news = False
        self._next = 0.0

    def add(self, text: str) -> None:
        if self._is_known:
            self._answer.add(text)
            self._has_news = True

    def wait(self) -> float | None:
        """Seconds until its blocks are due; ``None`` when nothing new was said."""
        return max(0.0, self._next - time.monotonic()) if self._has_news else None

    async def changes(self, *, is_over: bool = False) -> list[tuple[int, str]]:
        """Its blocks that have changed. It takes its time before it may be asked again."""
        began = time.monotonic()
        if self._answer.size <= _SMALL:
            changed = list(self._answer.changes(is_over=is_over))
        else:
            changed = await asyncio.to_thread(lambda: list(self._answer.changes(is_over=is_over)))
        ended = time.monotonic()
        self._has_news = False
        size = sum(len(html) for _, html in changed)
        self._next = ended + max(_INTERVAL, (ended - began) / _SHARE, size / _RATE)
        return changed


class _Telling:
    """What one reader is told."""

    def __init__(self, log: Log, rendered: Rendered, position: int, seen: list[tuple[int, Event]] | None) -> None:
        self.position = position
        self._log = log
        self._rendered = rendered
        self._message = _Message(is_known=seen is not None)
        for _, event in seen or ():
            self._follow(event)

    def wait(self) -> float | None:
        """Seconds until there are blocks to tell; ``None`` when nothing new was said."""
        return self._message.wait()

    async def event(self, position: int, event: Event) -> list[str]:
        """An event, and before it the last blocks of a message that it ends."""
        ends = event["event"] != "response_chunk"
        frames = await self.blocks(is_over=True) if ends else []
        self.position = position
        self._follow(event)
        return [*frames, self._frame(await self._with_html(event))]

    async def blocks(self, *, is_over: bool = False) -> list[str]:
        """The blocks that have changed."""
        changed = await self._message.changes(is_over=is_over)
        return [self._frame({"event": "response_block", "index": index, "html": html}) for index, html in changed]

    def _follow(self, event: Event) -> None:
        """Go on with the message, or with the next one, which begins behind a tool."""
        if event["event"] == "response_chunk":
            self._message.add(event["text"])
        else:
            self._message = _Message()

    async def _with_html(self, event: Event) -> Event:
        if event["event"] != "response_complete" and event["event"] != "stopped":
            return event
        (html,) = await self._rendered.html([event["response_text"]])
        ending: dict[str, Any] = {**event, "metadata": {**event["metadata"], "html": html}}
        return cast(Event, ending)

    def _frame(self, event: Event | ResponseBlock) -> str:
        return f"id: {self._log.turn_id}-{self.position}\ndata: {json.dumps(event)}\n\n"


async def frames_with_blocks(log: Log, heartbeat: float, rendered: Rendered, position: int = 0) -> AsyncIterator[str]:
    """As :func:`chat_service.events.frames`, with ``response_block`` after what it shows, and ``html`` in the end.

    Args:
        log: The turn's log.
        heartbeat: Seconds of silence after which a comment is sent.
        rendered: Where whole answers are kept.
        position: What the client has seen already.
    """
    telling = _Telling(log, rendered, position, await log.until(position))
    news = asyncio.ensure_future(log.after(position))
    try:
        while True:
            wait = telling.wait()
            await asyncio.wait({news}, timeout=heartbeat if wait is None else wait)
            if not news.done() and wait is None:
                yield ": alive\n\n"
            if news.done():
                if not (events := news.result()):
                    return
                for number, event in events:
                    for frame in await telling.event(number, event):
                        yield frame
                news = asyncio.ensure_future(log.after(telling.position))
            if telling.wait() == 0:
                for frame in await telling.blocks():
                    yield frame
    finally:
        news.cancel()
