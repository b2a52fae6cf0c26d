"""Whole lives of agents on every store: turns, tools, interrupts, other writers, and how turns are kept."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path
from typing import Any

import pytest
from strands import Agent, tool
from strands.hooks import BeforeToolCallEvent
from strands.multiagent import GraphBuilder
from strands.session.repository_session_manager import RepositorySessionManager

from chat_service.stores.postgres import PostgresSessionFactory
from mongodb_session_manager import (
    SessionBusyError,
    SessionConflictError,
    SessionManager,
    SessionNotFoundError,
)
from tests.contract.places import OnPostgreSQL, Place, make_agent
from tests.models import ScriptedModel
from tests.scenarios import ADD, SCENARIOS, add
from tests.test_scenarios import OneWay, OnFiles, comparable, play, steady_clock

__all__ = ["steady_clock"]


async def texts(place: Place, session_id: str = "s") -> list[str]:
    """Every stored message in a word: its text, or what kind of tool message it is."""
    found = await asyncio.to_thread(place.sessions.messages, session_id)
    blocks: list[dict[str, Any]] = [dict(message.to_message()["content"][0]) for message in found]
    return [block.get("text") or next(iter(block)) for block in blocks]


async def is_free(place: Place, session_id: str = "s") -> bool:
    return await asyncio.to_thread(place.is_free, session_id)


# Every scenario of the library, on PostgreSQL; on MongoDB they are played in tests/test_scenarios.py


class OnAPlace(OneWay):
    def __init__(self, way: str, place: Place) -> None:
        super().__init__(way)
        self.place, self.session_id = place, uuid.uuid4().hex

    async def open(self, agent_id: str) -> RepositorySessionManager:
        if self.way == "call":
            return self.place.manager(self.session_id)
        return await self.place.open(self.session_id, agent_id=agent_id)

    def cut(self, kept: int) -> None:
        self.place.cut(self.session_id, kept)


@pytest.mark.filterwarnings("ignore:Agent.structured_output:DeprecationWarning")
@pytest.mark.parametrize("name", SCENARIOS)
async def test_a_scenario_comes_to_the_same_on_postgresql_as_on_the_sdks_files(
    name: str, tmp_path: Path, postgres: PostgresSessionFactory, database_url: str
) -> None:
    place = OnPostgreSQL(postgres, database_url)
    awaited = ("invoke", "stream")[list(SCENARIOS).index(name) % 2]
    files, called, opened = OnFiles(awaited, tmp_path), OnAPlace("call", place), OnAPlace(awaited, place)
    await asyncio.gather(*(play(name, stage) for stage in (files, called, opened)))
    expected = comparable(files.seen)
    for stage in (called, opened):
        for at, (ours, theirs) in enumerate(zip(comparable(stage.seen), expected, strict=True)):
            assert ours == theirs, f"note {at}, asked by {stage.way}"
        assert await is_free(place, stage.session_id)


# Turns


async def test_an_agent_goes_on_where_another_process_left_it(place: Place) -> None:
    first = make_agent(await place.open("s"), ADD, "three", tools=[add])
    first.state.set("colour", {"$a.b": 2**70})
    await first.invoke_async("one and two?")
    second = make_agent(await place.open("s"), "yes", tools=[add])

    assert second.messages == first.messages
    assert second.state.get() == {"colour": {"$a.b": 2**70}}
    await second.invoke_async("sure?")
    assert await texts(place) == ["one and two?", "toolUse", "toolResult", "three", "sure?", "yes"]
    assert await is_free(place)
    summary = (await (await place.open("s")).aio.get_metrics_summary("default")).items()
    assert {("total_messages", 6), ("total_tokens", 45), ("total_model_calls", 3), ("total_tool_calls", 1)} <= {
        *summary
    }


async def test_a_question_is_stored_while_the_model_still_answers(place: Place) -> None:
    seen: list[Any] = []

    @tool
    async def look() -> str:
        """Look."""
        seen.append((await texts(place), await is_free(place)))
        return "seen"

    await make_agent(await place.open("s"), {"name": "look", "input": {}}, "ok", tools=[look]).invoke_async("look")
    assert seen == [(["look", "toolUse"], False)]


async def test_a_second_turn_is_refused_while_one_runs_before_its_model_is_called(place: Place) -> None:
    await make_agent(await place.open("s"), "a").invoke_async("one")
    first, model = await place.open("s"), ScriptedModel("never said")
    first_agent = make_agent(first, "b")
    second = make_agent(await place.open("s"), model=model)
    async with first.claim(first_agent):
        with pytest.raises(SessionBusyError):
            await second.invoke_async("me too")
        await first_agent.invoke_async("two")
    assert (model.calls, second.messages[-1]["role"]) == ([], "assistant")
    await second.invoke_async("now")
    assert await texts(place) == ["one", "a", "two", "b", "now", "never said"]


async def test_an_agent_that_loaded_an_older_history_is_refused_and_then_continues_the_newer_one(place: Place) -> None:
    stale, model = await place.open("s"), ScriptedModel("late")
    agent = make_agent(stale, model=model)
    await agent.invoke_async("one")
    await make_agent(await place.open("s"), "b").invoke_async("two")
    with pytest.raises(SessionConflictError):
        await agent.invoke_async("three")
    await agent.invoke_async("four")
    assert await texts(place) == ["one", "late", "two", "b", "four", "late"]


async def test_a_session_that_is_deleted_under_an_agent_refuses_it(place: Place) -> None:
    agent = make_agent(await place.open("s"), "a")
    await agent.invoke_async("one")
    await asyncio.to_thread(place.sessions.delete, "s")
    for _ in range(2):
        with pytest.raises(SessionNotFoundError):
            await agent.invoke_async("two")
    assert await asyncio.to_thread(place.sessions.get, "s") is None
    await make_agent(await place.open("s"), "a").invoke_async("a new start")
    assert await texts(place) == ["a new start", "a"]


async def test_an_interrupt_is_answered_by_another_process(place: Place) -> None:
    ran: list[str] = []

    @tool
    def launch() -> str:
        """Launch."""
        ran.append("launched")
        return "launched"

    def ask(event: BeforeToolCallEvent) -> None:
        event.interrupt("sure", reason={"$options": ["yes", "no"]})

    options: Any = {"tools": [launch], "hooks": [ask]}
    script = ({"name": "launch", "input": {}, "id": "launch-1"}, "done")
    result = await make_agent(await place.open("s"), *script, **options).invoke_async("launch it")
    assert result.interrupts
    answer: Any = [{"interruptResponse": {"interruptId": result.interrupts[0].id, "response": "yes"}}]
    agent = make_agent(await place.open("s"), "done", **options)
    assert str(await agent.invoke_async(answer)).strip() == "done"
    assert ran == ["launched"]
    assert await texts(place) == ["launch it", "toolUse", "toolResult", "done"]


async def test_what_a_guardrail_redacts_is_gone(place: Place) -> None:
    model = ScriptedModel("I may not say that")
    model.redact = "[removed]"
    await make_agent(await place.open("s"), model=model).invoke_async("my card is 1234-5678")
    assert await texts(place) == ["[removed]", "I may not say that"]
    assert "1234-5678" not in await asyncio.to_thread(place.raw, "s")


async def test_a_graph_keeps_its_state(place: Place) -> None:
    def graph(manager: SessionManager) -> Any:
        builder = GraphBuilder()
        for name in ("one", "two", "three"):
            builder.add_node(Agent(model=ScriptedModel(name), callback_handler=None), name)
        builder.add_edge("one", "two")
        builder.add_edge("one", "three")
        builder.set_session_manager(manager)
        builder.set_graph_id("g")
        builder.set_execution_timeout(30)
        return builder.build()

    await asyncio.to_thread(lambda: graph(place.manager("s"))("go"))
    loaded = await asyncio.to_thread(place.store.load, "s", "g", "multi_agents")
    assert loaded.data is not None
    assert sorted(loaded.data["state"]["completed_nodes"]) == ["one", "three", "two"]
    assert await is_free(place)


async def test_a_turn_outlasts_its_lease_because_it_is_renewed(place: Place) -> None:
    @tool
    async def slow() -> str:
        """Take longer than the lease."""
        await asyncio.sleep(1.2)
        with pytest.raises(SessionBusyError):
            await make_agent(other, "never").invoke_async("me too")
        return "done"

    manager = await place.open("s", turn_timeout=0.6)
    agent = make_agent(manager, {"name": "slow", "input": {}}, "ok", tools=[slow])
    other = await place.open("s", turn_timeout=0.6)
    await agent.invoke_async("go")
    assert await texts(place) == ["go", "toolUse", "toolResult", "ok"]


async def test_metadata_may_be_written_while_a_turn_runs(place: Place) -> None:
    manager = await place.open("s")
    agent = make_agent(manager, "a", tools=[manager.get_metadata_tool()])
    async with manager.claim(agent):
        await manager.aio.update_metadata({"a.b": 1})
        await (await place.open("s")).aio.add_feedback({"rating": "up"})
        await agent.invoke_async("hi")
    assert await manager.aio.get_metadata() == {"a": {"b": 1}}
    assert len(await manager.aio.get_feedbacks()) == 1
    view = await manager.aio.get_session()
    assert view is not None
    assert [message.message_id for message in await asyncio.to_thread(lambda: view.agents["default"].messages)] == [
        0,
        1,
    ]


# How turns are kept


async def test_a_turn_that_is_written_once_leaves_nothing_when_it_is_cut_short(place: Place) -> None:
    seen: list[Any] = []

    @tool
    async def look() -> str:
        """Look."""
        seen.append(await texts(place))
        return "seen"

    await make_agent(await place.open("s"), "a").invoke_async("one")
    script: Any = ({"name": "look", "input": {}}, "sum")
    await make_agent(await place.open("s", durability="turn"), *script, tools=[look]).invoke_async("two")
    assert seen == [["one", "a"]]
    assert await texts(place) == ["one", "a", "two", "toolUse", "toolResult", "sum"]


@pytest.mark.parametrize("durability", ["message", "turn"])
@pytest.mark.parametrize("exists", [True, False])
async def test_twenty_competing_turns_that_wait_all_succeed_whole(place: Place, durability: str, exists: bool) -> None:
    if exists:
        await make_agent(await place.open("s"), "a0").invoke_async("q0")

    async def ask(number: int) -> None:
        manager = await place.open("s", on_busy="wait", durability=durability, busy_timeout=60)
        script: Any = ({**ADD, "id": f"call-{number}"}, f"a{number}")
        await make_agent(manager, *script, tools=[add]).invoke_async(f"q{number}")

    await asyncio.gather(*(ask(number) for number in range(1, 21)))
    found = (await texts(place))[2 if exists else 0 :]
    turns = [found[at : at + 4] for at in range(0, len(found), 4)]
    assert sorted(turns) == sorted([f"q{n}", "toolUse", "toolResult", f"a{n}"] for n in range(1, 21))
    assert await is_free(place)


async def test_of_competing_turns_that_do_not_wait_each_is_whole_or_not_there(place: Place) -> None:
    async def ask(number: int) -> str | None:
        try:
            await make_agent(await place.open("s"), ADD, f"a{number}", tools=[add]).invoke_async(f"q{number}")
        except (SessionBusyError, SessionConflictError):
            return None
        return f"q{number}"

    asked = [await asyncio.gather(*(ask(10 * row + number) for number in range(10))) for row in range(3)]
    stored = [[question for question in row if question] for row in asked]
    assert all(stored)
    found = await texts(place)
    turns = [found[at : at + 4] for at in range(0, len(found), 4)]
    assert sorted(turn[0] for turn in turns) == sorted(question for row in stored for question in row)
    assert all(turn == [turn[0], "toolUse", "toolResult", f"a{turn[0][1:]}"] for turn in turns)
    assert await is_free(place)


async def test_large_pictures_may_be_left_out(place: Place) -> None:
    picture: Any = {"image": {"format": "png", "source": {"bytes": b"x" * 100_000}}}
    agent = make_agent(await place.open("s", binary_content="drop"), "nice")
    await agent.invoke_async([{"text": "look"}, picture])
    [question, _] = await asyncio.to_thread(place.sessions.messages, "s")
    assert question.message["content"][1] == {"text": "[image, png, 100,000 bytes: not stored]"}
