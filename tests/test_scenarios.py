"""Every scenario comes to the same on the SDK's files and on MongoDB, restored agents included."""

from __future__ import annotations

import asyncio
import copy
import itertools
import re
import uuid
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterator
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.collection import Collection
from strands import Agent
from strands.agent import _continuation
from strands.agent.agent_result import AgentResult
from strands.event_loop import streaming
from strands.hooks import BeforeModelCallEvent
from strands.session import FileSessionManager
from strands.session.repository_session_manager import RepositorySessionManager

from mongodb_session_manager import MongoDBSessionManagerFactory
from tests.models import Line, ScriptedModel
from tests.scenarios import SCENARIOS, assistant, sliding, talk, user

Manager = RepositorySessionManager


class Stage(ABC):
    """Where a scenario is played.

    Attributes:
        seen: What the scenario came to and what the agents remembered, step by step.
        cast: How each agent was last started.
    """

    def __init__(self) -> None:
        self.seen: list[Any] = []
        self.cast: dict[str, dict[str, Any]] = {}

    @abstractmethod
    async def open(self, agent_id: str) -> Manager:
        """A session manager as a process makes it that has just started."""

    @abstractmethod
    async def make(self, construct: Callable[[], Agent], *, loaded: bool) -> Agent:
        """Make an agent; ``loaded`` says that its history was read when the manager was opened."""

    @abstractmethod
    async def run(self, agent: Agent, prompt: Any, **options: Any) -> AgentResult:
        """Ask the agent."""

    @abstractmethod
    def cut(self, kept: int) -> None:
        """Leave so many messages of the first agent stored."""

    async def start(self, *script: Line, agent_id: str = "default", **options: Any) -> Agent:
        """A process starts, and in it an agent that is restored if there was one before."""
        self.cast[agent_id] = options
        return await self._enter(await self.open(agent_id), script, agent_id, options, loaded=True)

    async def join(self, manager: Manager, *script: Line, agent_id: str, **options: Any) -> Agent:
        """Another agent in the same session and the same process."""
        self.cast[agent_id] = options
        return await self._enter(manager, script, agent_id, options, loaded=False)

    async def _enter(
        self, manager: Manager, script: tuple[Line, ...], agent_id: str, options: dict[str, Any], *, loaded: bool
    ) -> Agent:
        options = dict(options)
        model = options.pop("model", ScriptedModel)(*script)
        setup: Callable[[Agent], None] = options.pop("setup", lambda agent: None)
        if keeps := options.pop("keeps", None):
            options["conversation_manager"] = keeps()
        options = {"callback_handler": None, **options}
        for name in ("messages", "state"):
            options[name] = copy.deepcopy(options.get(name))
        agent = await self.make(
            lambda: Agent(model=model, agent_id=agent_id, session_manager=manager, **options), loaded=loaded
        )
        setup(agent)
        await self.note(agent)
        return agent

    async def ask(self, agent: Agent, prompt: Any = None, **options: Any) -> Any:
        """Ask the agent, and note what came of it."""
        outcome = await self.attempt(self.run(agent, prompt, **options))
        await self.note(agent)
        return outcome

    async def do(self, agent: Agent, call: Callable[[], Any]) -> Any:
        """Do something synchronous beside a loop, and note what came of it."""
        outcome = await self.attempt(asyncio.to_thread(call))
        await self.note(agent)
        return outcome

    async def attempt(self, work: Awaitable[Any]) -> Any:
        """Note how something ends, be it in an error."""
        try:
            outcome = await work
        except Exception as error:
            self.seen.append({"raised": type(error), "says": str(error), "cause": type(error.__cause__)})
            return None
        self.seen.append(_described(outcome))
        return outcome

    async def kill(self, kept: int) -> None:
        """Leave what a process left that was killed when so many messages were stored."""
        await asyncio.to_thread(self.cut, kept)

    async def note(self, agent: Agent) -> None:
        """Note all that an agent and its session manager remember."""
        self.seen.append(await asyncio.to_thread(remembered, agent))

    async def finish(self) -> None:
        """Restore every agent once more, let it say something, and restore it again."""
        for agent_id, options in list(self.cast.items()):
            agent = await self.start("still here", agent_id=agent_id, **options)
            await self.ask(agent, "and now?")
            await self.start(agent_id=agent_id, **options)


def remembered(agent: Agent) -> dict[str, Any]:
    """All that an agent has of its session, and what the session manager would restore."""
    manager: Any = agent._session_manager
    latest = manager._latest_agent_message[agent.agent_id]
    stored = manager.session_repository.list_messages(manager.session_id, agent.agent_id)
    return copy.deepcopy(
        {
            "messages": agent.messages,
            "state": agent.state.get(),
            "conversation_manager": agent.conversation_manager.get_state(),
            "interrupts": agent._interrupt_state.to_dict(),
            "model_state": agent._model_state,
            "latest": latest and (latest.message_id, latest.to_message()),
            "held": [(held.message_id, held.to_message()) for held in manager._held_records[agent.agent_id]],
            # The whole history. An original that was redacted is not compared: the SDK's files keep it, ours is gone.
            "history": [(message.message_id, message.to_message()) for message in stored],
        }
    )


def _described(outcome: Any) -> Any:
    if not isinstance(outcome, AgentResult):
        return copy.deepcopy(outcome)
    return copy.deepcopy(
        {
            "stop_reason": outcome.stop_reason,
            "message": outcome.message,
            "interrupts": [interrupt.to_dict() for interrupt in outcome.interrupts or ()],
            "structured_output": outcome.structured_output and outcome.structured_output.model_dump(),
            "checkpoint": outcome.checkpoint and outcome.checkpoint.to_dict(),
        }
    )


class OneWay(Stage):
    """Asks every question in one of the ways that an agent has: called from a thread, awaited, or streamed."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way

    async def make(self, construct: Callable[[], Agent], *, loaded: bool) -> Agent:
        if self.way == "call" or not loaded:
            return await asyncio.to_thread(construct)
        return construct()

    async def run(self, agent: Agent, prompt: Any, **options: Any) -> AgentResult:
        if self.way == "call":
            return await asyncio.to_thread(agent, prompt, **options)
        if self.way == "invoke":
            return await agent.invoke_async(prompt, **options)
        results = [event["result"] async for event in agent.stream_async(prompt, **options) if "result" in event]
        result: AgentResult = results[-1]
        return result


class OnFiles(OneWay):
    """The SDK's own session manager."""

    def __init__(self, way: str, folder: Path) -> None:
        super().__init__(way)
        self.folder = folder

    async def open(self, agent_id: str) -> Manager:
        return FileSessionManager("s", storage_dir=str(self.folder))

    def cut(self, kept: int) -> None:
        for path in self.folder.glob("*/agents/agent_default/messages/message_*.json"):
            if int(path.stem.removeprefix("message_")) >= kept:
                path.unlink()


class OnMongoDB(OneWay):
    """Ours, made by a factory; opened ahead of time where a loop runs."""

    def __init__(self, way: str, factory: MongoDBSessionManagerFactory) -> None:
        super().__init__(way)
        self.factory = factory
        self.session_id = uuid.uuid4().hex

    @property
    def collection(self) -> Collection[dict[str, Any]]:
        return self.factory.sessions.collection

    def document(self) -> Any:
        """What the database holds of the session."""
        return self.collection.find_one({"_id": self.session_id})

    async def open(self, agent_id: str) -> Manager:
        if self.way == "call":
            return self.factory.create_session_manager(self.session_id)
        return await self.factory.open_session(self.session_id, agent_id=agent_id)

    def cut(self, kept: int) -> None:
        messages = {"$slice": ["$agents.default.messages", kept]}
        update = {"agents.default.messages": messages, "agents.default.message_count": kept}
        self.collection.update_one({"_id": self.session_id}, [{"$set": update}])


def comparable(notes: Any) -> Any:
    """Notes in which what is random is numbered in the order of its first appearance."""
    numbers: dict[str, str] = {}

    def number(match: re.Match[str]) -> str:
        return numbers.setdefault(match[0], f"<{len(numbers)}>")

    def walk(value: Any) -> Any:
        if isinstance(value, str):
            return _RANDOM.sub(number, value)
        if isinstance(value, dict):
            return {walk(key): walk(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [walk(item) for item in value]
        return value

    return walk(notes)


_RANDOM = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}|tooluse_\w+_\d{9}")
"""Tracking ids, and the ids of tool calls by hand."""


SECONDS: ContextVar[Iterator[int]] = ContextVar("SECONDS", default=itertools.count(1))  # noqa: B039
"""Each play has its own clock, because several run at once."""


@pytest.fixture(autouse=True)
def steady_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time to the first byte, which is stored with every answer, is the same each time."""
    monkeypatch.setattr(streaming, "time", SimpleNamespace(time=lambda: next(SECONDS.get())))


@pytest.fixture(scope="module")
def factory(mongo_client: MongoClient[Any]) -> Iterator[MongoDBSessionManagerFactory]:
    """One collection for all scenarios, which saves the making of its indexes each time."""
    name = f"scenarios_{uuid.uuid4().hex[:12]}"
    yield MongoDBSessionManagerFactory(client=mongo_client, database_name="tests", collection_name=name)
    mongo_client["tests"].drop_collection(name)


@pytest.mark.filterwarnings("ignore:Agent.structured_output:DeprecationWarning")
@pytest.mark.parametrize("name", SCENARIOS)
async def test_a_scenario_comes_to_the_same_as_on_the_sdks_files(
    name: str, tmp_path: Path, factory: MongoDBSessionManagerFactory
) -> None:
    # Awaiting and streaming are one to a session manager, so the scenarios take turns at them.
    awaited = ("invoke", "stream")[list(SCENARIOS).index(name) % 2]
    files, called, opened = OnFiles(awaited, tmp_path), OnMongoDB("call", factory), OnMongoDB(awaited, factory)
    await asyncio.gather(*(play(name, stage) for stage in (files, called, opened)))
    expected = comparable(files.seen)
    for stage in (called, opened):
        for at, (ours, theirs) in enumerate(zip(comparable(stage.seen), expected, strict=True)):
            assert ours == theirs, f"note {at}, asked by {stage.way}"
        assert_tidy(await asyncio.to_thread(stage.document))


async def play(name: str, stage: Stage) -> None:
    SECONDS.set(itertools.count(1))
    await SCENARIOS[name](stage)
    await stage.finish()


def assert_tidy(document: Any) -> None:
    """No turn is left open, every id is its message's position, and the count is true."""
    for agent in document["agents"].values():
        assert "turn" not in agent
        assert [message["message_id"] for message in agent["messages"]] == list(range(agent["message_count"]))


# Where the SDK's files lose something, and ours must not: there the restored agent is compared with the living one.


async def test_a_window_that_keeps_nothing_does_not_number_the_messages_from_zero_again(
    factory: MongoDBSessionManagerFactory,
) -> None:
    stage = OnMongoDB("invoke", factory)
    await talk(stage, await stage.start("answer", keeps=sliding(0)), 2)
    agent = await stage.start("answer", keeps=sliding(0))
    assert agent.messages == []
    manager: Any = agent._session_manager
    await stage.do(agent, partial(manager.redact_latest_message, assistant("[gone]"), agent))
    assert stage.seen[-1]["latest"] == (3, assistant("[gone]"))
    await talk(stage, agent, 1)
    await stage.start(keeps=sliding(0))
    history = [(position, message["content"][0]["text"]) for position, message in stage.seen[-1]["history"]]
    assert history == list(enumerate(["question 0", "answer", "question 1", "[gone]", "question 0", "answer"]))


async def test_what_the_sdk_merges_into_the_last_message_is_stored_as_one_message(
    factory: MongoDBSessionManagerFactory,
) -> None:
    def add_more(event: BeforeModelCallEvent) -> None:
        _continuation.add_input(event, _continuation._ContinuationInput(args=[user("by the way")]))

    stage = OnMongoDB("stream", factory)
    agent = await stage.start("answer", hooks=[add_more])
    await talk(stage, agent, 2)
    living = stage.seen[-1]
    assert [len(message["content"]) for message in living["messages"]] == [2, 1, 2, 1]
    await stage.start()
    # Held records serve redaction alone, and that writes what it is given.
    assert stage.seen[-1] | {"held": living["held"]} == living
