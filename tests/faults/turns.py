"""A turn with a tool, recognisable in the history by its text, and what must be true of every history."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from pymongo import monitoring
from strands import Agent, tool

from mongodb_session_manager import MongoDBSessionManager
from mongodb_session_manager.errors import SessionBusyError, SessionConflictError, SessionError
from tests.models import ScriptedModel

T = TypeVar("T")


@dataclass
class Turn:
    """One agent, made for one turn.

    Attributes:
        text: What is asked; every message of the turn repeats it.
        agent: With a tool that its model calls once.
        model: Whose calls are counted.
        tool_runs: Filled by the tool.
        during: Called by the tool.
    """

    text: str
    agent: Agent
    model: ScriptedModel
    tool_runs: list[str]

    def __call__(self) -> str:
        return str(self.agent(self.text))


def turn(
    manager: MongoDBSessionManager, text: str, during: Callable[[], object] = lambda: None, **options: Any
) -> Turn:
    """An agent, loaded; not yet asked anything."""
    runs: list[str] = []

    @tool
    def look_up(word: str) -> str:
        """Look a word up.

        Args:
            word: The word.
        """
        runs.append(word)
        during()
        return f"found {word}"

    model = ScriptedModel({"name": "look_up", "input": {"word": text}, "id": f"use-{text}"}, f"answer to {text}")
    agent = Agent(model=model, session_manager=manager, tools=[look_up], callback_handler=None, **options)
    return Turn(text, agent, model, runs)


def lines(text: str) -> list[str]:
    """What a whole turn leaves in the history."""
    return [f"prompt {text}", f"use {text}", f"result found {text}", f"answer to {text}"]


def line(message: Any) -> str:
    """One message in a few words."""
    block = message["content"][0]
    if "toolUse" in block:
        return f"use {block['toolUse']['input']['word']}"
    if "toolResult" in block:
        return f"result {block['toolResult']['content'][0]['text']}"
    return str(block["text"]) if message["role"] == "assistant" else f"prompt {block['text']}"


def history(document: Any, agent_id: str = "default") -> list[str]:
    """The stored history; its ids are dense."""
    agent = (document or {}).get("agents", {}).get(agent_id, {})
    messages = agent.get("messages", [])
    assert [message["message_id"] for message in messages] == list(range(len(messages)))
    assert agent.get("message_count", 0) == len(messages)
    return [line(message["message"]) for message in messages]


def turn_of(document: Any, agent_id: str = "default") -> Any:
    """The running turn as stored, ``None`` when it is free."""
    return document["agents"][agent_id].get("turn")


def asked(told: Sequence[str]) -> list[str]:
    """The prompts in a history, in order."""
    return [each.removeprefix("prompt ") for each in told if each.startswith("prompt ")]


def assert_whole(document: Any, returned: Sequence[str]) -> None:
    """The history is made of these turns, each whole and contiguous, and of nothing else."""
    told = history(document)
    order = asked(told)
    assert sorted(order) == sorted(returned)
    assert told == [each for text in order for each in lines(text)]
    assert turn_of(document) is None


def assert_accepted(messages: Sequence[Any]) -> None:
    """What a model is shown: every tool use is answered by the next message, and by nothing else."""
    for before, after in zip([None, *messages], [*messages, None], strict=True):
        used = _ids(before, "toolUse")
        answered = _ids(after, "toolResult")
        assert used == answered, (before, after)


def _ids(message: Any, kind: str) -> list[str]:
    return [] if message is None else [each[kind]["toolUseId"] for each in message["content"] if kind in each]


@dataclass(frozen=True)
class Outcome:
    """What became of one try: refused means busy or conflict, before anything had an effect."""

    text: str
    refused: bool


def tried(made: Turn, refusals: tuple[type[SessionError], ...] = (SessionBusyError, SessionConflictError)) -> Outcome:
    """Run a turn that may be refused in these ways. Any other error is raised."""
    try:
        answer = made()
    except refusals:
        assert made.model.calls == []
        assert made.tool_runs == []
        return Outcome(made.text, refused=True)
    assert answer.strip() == f"answer to {made.text}"
    assert made.tool_runs == [made.text]
    return Outcome(made.text, refused=False)


def together(number: int, work: Callable[[int, threading.Barrier], T]) -> list[T]:
    """Run something in so many threads, with a barrier to meet at."""
    barrier = threading.Barrier(number, timeout=30)
    with ThreadPoolExecutor(number) as pool:
        return [future.result() for future in [pool.submit(work, each, barrier) for each in range(number)]]


class Listener(monitoring.CommandListener):
    """Calls a function when a command is sent, and keeps the commands themselves."""

    def __init__(self, called: Callable[[str, int], None] = lambda name, number: None) -> None:
        self._called = called
        self.sent: list[tuple[str, Any]] = []

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.sent]

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        self.sent.append((event.command_name, event.command))
        self._called(event.command_name, self.names.count(event.command_name))

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        return None

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        return None
