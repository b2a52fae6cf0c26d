"""A model with a lasting connection that says what a test has it say."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

from strands.bidi import BidiAgent
from strands.bidi.models import BidiModel
from strands.bidi.types.events import (
    BidiConnectionStartEvent,
    BidiOutputEvent,
    BidiResponseStartEvent,
    BidiResponseStopEvent,
    BidiTextDeltaEvent,
    BidiTextStartEvent,
    BidiTextStopEvent,
    BidiToolUseBlocksEvent,
    BidiTranscriptDeltaEvent,
    BidiTranscriptStartEvent,
    BidiTranscriptStopEvent,
)

from mongodb_session_manager import SessionManager

__all__ = ["ScriptedBidiModel", "begun", "bidi_agent", "ended", "heard", "listening", "said", "uses"]

Events = list[BidiOutputEvent]


class ScriptedBidiModel(BidiModel):
    """Answers everything that it is sent with the next line of a script; says more when it is told to.

    Attributes:
        histories: What it was given of the history at each start.
        sent: All that it was sent.
    """

    def __init__(self, *script: Events) -> None:
        self.script = list(script)
        self.histories: list[list[Any]] = []
        self.sent: list[Any] = []
        self._events: asyncio.Queue[BidiOutputEvent | Exception | None] = asyncio.Queue()

    def get_config(self) -> dict[str, Any]:
        return {"model_id": "scripted-bidi-1"}

    def update_config(self, **model_config: Any) -> None:
        return None

    async def start(self, system_prompt: Any = None, tools: Any = None, messages: Any = None, **kwargs: Any) -> None:
        self.histories.append([*(messages or ())])
        self._events = asyncio.Queue()
        self.say([BidiConnectionStartEvent("connection", "scripted-bidi-1")])

    async def stop(self) -> None:
        self._events.put_nowait(None)

    async def send(self, content: Any) -> None:
        self.sent.append(content)
        if self.script:
            self.say(self.script.pop(0))

    def say(self, events: Events | Exception) -> None:
        for event in [events] if isinstance(events, Exception) else events:
            self._events.put_nowait(event)

    async def receive(self) -> AsyncIterator[BidiOutputEvent]:
        while (event := await self._events.get()) is not None:
            if isinstance(event, Exception):
                raise event
            yield event


_numbers: Iterator[int] = iter(range(1_000_000))


def said(text: str) -> Events:
    """The model says something in a response of its own, as text."""
    number = f"text-{next(_numbers)}"
    return [
        BidiResponseStartEvent(number),
        BidiTextStartEvent(number),
        *(BidiTextDeltaEvent(letter, number) for letter in text),
        BidiTextStopEvent(number),
        BidiResponseStopEvent(number),
    ]


def begun(role: Any, text: str, number: str) -> Events:
    """A transcript of speech, of which more may follow."""
    return [BidiTranscriptStartEvent(role, number), BidiTranscriptDeltaEvent(text, role, number)]


def ended(role: Any, number: str) -> Events:
    """The end of that transcript."""
    return [BidiTranscriptStopEvent(role, number)]


def heard(text: str, role: Any = "user") -> Events:
    """The whole transcript of something spoken."""
    number = f"speech-{next(_numbers)}"
    return [*begun(role, text, number), *ended(role, number)]


def uses(*calls: dict[str, Any]) -> Events:
    """The model uses tools, all at once."""
    uses: Any = [{"toolUseId": f"use-{next(_numbers)}", "input": {}, **call} for call in calls]
    return [BidiToolUseBlocksEvent(uses)]


class Listener:
    """What a connection gives out, and its error."""

    def __init__(self, agent: BidiAgent) -> None:
        self.events: list[Any] = []
        self.error: Exception | None = None
        self._agent = agent
        self._changed = asyncio.Condition()

    async def run(self) -> None:
        try:
            async for event in self._agent.receive():
                await self._note(event)
        except Exception as error:
            self.error = error
            await self._note(None)

    async def _note(self, event: Any) -> None:
        async with self._changed:
            self.events.append(event)
            self._changed.notify_all()

    async def until(self, kind: str, count: int = 1) -> None:
        """Wait for so many events of a kind, or for an error, which is raised."""

        def is_there() -> bool:
            kinds = [event["type"] for event in self.events if event is not None and "type" in event]
            return self.error is not None or kinds.count(kind) >= count

        async with asyncio.timeout(10), self._changed:
            await self._changed.wait_for(is_there)
        if self.error is not None:
            raise self.error


@asynccontextmanager
async def listening(agent: BidiAgent) -> AsyncIterator[Listener]:
    """A connection with somebody who listens."""
    async with agent:
        listener = Listener(agent)
        task = asyncio.create_task(listener.run())
        try:
            yield listener
        finally:
            task.cancel()


def bidi_agent(manager: SessionManager, *script: Events, **options: Any) -> tuple[BidiAgent, ScriptedBidiModel]:
    model = ScriptedBidiModel(*script)
    return BidiAgent(model=model, session_manager=manager, **options), model
