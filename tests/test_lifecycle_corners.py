"""Corners of the event table: what goes wrong while something else goes wrong."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest
from pydantic import BaseModel
from pymongo.collection import Collection
from strands import tool
from strands.hooks import AfterInvocationEvent, AfterModelCallEvent, BeforeInvocationEvent, BeforeToolCallEvent

from mongodb_session_manager import (
    MongoDBSessionManagerFactory,
    SessionBusyError,
    SessionConflictError,
    SessionNotFoundError,
    SessionTooLargeError,
)
from tests.test_lifecycle import ADD, Stored, add, make_agent, texts, turn_of


async def test_a_reload_that_was_cancelled_lets_nothing_stale_be_written(
    factory: MongoDBSessionManagerFactory, stored: Stored
) -> None:
    late = make_agent(await factory.open_session("s"), "one", "two", "three")
    await late.invoke_async("first")
    await make_agent(await factory.open_session("s"), "other").invoke_async("between")
    with pytest.raises(SessionConflictError):
        await late.invoke_async("second")
    task = asyncio.create_task(late.invoke_async("third"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    await asyncio.sleep(0.1)
    await late.invoke_async("fourth")
    assert texts(stored("s"))[:4] == ["first", "one", "between", "other"]
    assert [message["content"][0]["text"] for message in late.messages] == texts(stored("s"))


def test_a_tool_called_by_hand_on_a_stale_agent_does_not_run(factory: MongoDBSessionManagerFactory) -> None:
    first = make_agent(factory.create_session_manager("s"), "one")
    late = make_agent(factory.create_session_manager("s"), "two", tools=[add])
    first("first")
    with pytest.raises(SessionBusyError):
        late("late")
    with pytest.raises(SessionBusyError):
        late.tool.add(a=1, b=2)
    assert late.messages == []


@pytest.mark.parametrize("options", [{"name": "by_creation"}, {"expireAfterSeconds": 2_592_000}])
async def test_an_index_that_was_made_otherwise_serves(
    factory: MongoDBSessionManagerFactory, collection: Collection[Any], stored: Stored, options: dict[str, Any]
) -> None:
    await asyncio.to_thread(collection.create_index, "created_at", **options)
    await make_agent(await factory.open_session("s"), "fine").invoke_async("hello")
    assert texts(stored("s")) == ["hello", "fine"]


def test_metadata_of_nothing_neither_creates_a_session_nor_spoils_its_manager(
    factory: MongoDBSessionManagerFactory, stored: Stored
) -> None:
    manager = factory.create_session_manager("s")
    manager.update_metadata({})
    manager.delete_metadata([])
    assert stored("s") is None
    make_agent(manager, "fine")("hello")
    assert texts(stored("s")) == ["hello", "fine"]


@pytest.mark.parametrize(("value", "error"), [("x" * 13_000_000, SessionTooLargeError)])
async def test_a_state_that_cannot_be_stored_at_the_end_leaves_the_turn_free(
    factory: MongoDBSessionManagerFactory, stored: Stored, value: Any, error: type[Exception]
) -> None:
    def hoard(event: AfterModelCallEvent) -> None:
        event.agent.state.set("hoard", value)

    agent = make_agent(await factory.open_session("s"), "fine", hooks=[hoard])
    with pytest.raises(error):
        await agent.invoke_async("hello")
    assert turn_of(stored("s")) is None


async def test_an_interrupt_whose_reason_cannot_be_stored_leaves_the_turn_free(
    factory: MongoDBSessionManagerFactory, stored: Stored
) -> None:
    def ask(event: BeforeToolCallEvent) -> None:
        event.interrupt("sure", reason=uuid.uuid4())

    agent = make_agent(await factory.open_session("s"), ADD, tools=[add], hooks=[ask])
    with pytest.raises(TypeError):
        await agent.invoke_async("add")
    assert turn_of(stored("s")) is None


async def test_a_turn_held_inside_an_invocation_does_not_end_it(
    factory: MongoDBSessionManagerFactory, stored: Stored
) -> None:
    seen: list[Any] = []
    manager = await factory.open_session("s")

    @tool
    async def hold() -> str:
        """Hold the turn and let it go."""
        async with manager.claim(agent):
            pass
        return "held"

    agent = make_agent(
        manager, {"name": "hold", "input": {}}, lambda _: seen.append(turn_of(stored("s"))) or "fine", tools=[hold]
    )
    await agent.invoke_async("go")
    assert seen[0] is not None
    assert turn_of(stored("s")) is None


def test_a_reload_inside_a_held_turn_does_not_leak_it(factory: MongoDBSessionManagerFactory, stored: Stored) -> None:
    manager = factory.create_session_manager("s")
    agent = make_agent(manager, "one")
    agent("first")
    with manager.claim(agent):
        manager.reload(agent)
    assert turn_of(stored("s")) is None


def test_a_held_turn_is_left_once(factory: MongoDBSessionManagerFactory, stored: Stored) -> None:
    manager = factory.create_session_manager("s")
    agent = make_agent(manager, "one")
    held = manager.claim(agent)
    with held:
        pass
    with pytest.raises(RuntimeError, match="not held"):
        held.__exit__(None, None, None)
    agent("first")
    assert texts(stored("s")) == ["first", "one"]


async def test_an_answer_that_met_busy_can_be_given_again(
    factory: MongoDBSessionManagerFactory, stored: Stored
) -> None:
    def ask(event: BeforeToolCallEvent) -> None:
        event.interrupt("sure")

    options: Any = {"tools": [add], "hooks": [ask]}
    agent = make_agent(await factory.open_session("s"), ADD, "done", **options)
    result = await agent.invoke_async("add")
    answer: Any = [{"interruptResponse": {"interruptId": result.interrupts[0].id, "response": "yes"}}]  # type: ignore[index]
    other_manager = await factory.open_session("s")
    other = make_agent(other_manager, "x", **options)
    async with other_manager.claim(other):
        with pytest.raises((SessionBusyError, SessionConflictError)):
            await agent.invoke_async(answer)
    for _ in range(3):
        try:
            await agent.invoke_async(answer)
        except SessionConflictError:
            continue
        break
    assert texts(stored("s"))[-1] == "done"
    assert turn_of(stored("s")) is None


@pytest.mark.parametrize("order", [-150, 150])
async def test_an_after_invocation_hook_of_any_order_that_raises_leaves_the_turn_free(
    factory: MongoDBSessionManagerFactory, stored: Stored, order: int
) -> None:
    def raise_error(event: AfterInvocationEvent) -> None:
        raise RuntimeError("mine")

    agent = make_agent(await factory.open_session("s"), "fine")
    agent.hooks.add_callback(AfterInvocationEvent, raise_error, order=order)
    with pytest.raises(RuntimeError, match="mine"):
        await agent.invoke_async("hello")
    assert texts(stored("s")) == ["hello", "fine"]
    assert turn_of(stored("s")) is None


async def test_a_before_invocation_hook_of_any_order_that_raises_opens_no_turn(
    factory: MongoDBSessionManagerFactory, stored: Stored
) -> None:
    def raise_error(event: BeforeInvocationEvent) -> None:
        raise RuntimeError("mine")

    agent = make_agent(await factory.open_session("s"), "fine", tools=[add])
    agent.hooks.add_callback(BeforeInvocationEvent, raise_error, order=200)
    with pytest.raises(RuntimeError, match="mine"):
        await agent.invoke_async("hello")
    await asyncio.to_thread(lambda: agent.tool.add(a=1, b=2))
    assert len(stored("s")["agents"]["default"]["messages"]) == 4
    assert turn_of(stored("s")) is None


async def test_a_message_that_cannot_be_stored_is_not_said(
    factory: MongoDBSessionManagerFactory, stored: Stored
) -> None:
    agent = make_agent(await factory.open_session("s"), "fine", "fine")
    bad: Any = [{"role": "user", "content": [{"text": "hello", "extra": {1, 2}}]}]
    with pytest.raises(TypeError):
        await agent.invoke_async(bad)
    assert agent.messages == []
    await agent.invoke_async("hello")
    assert texts(stored("s")) == ["hello", "fine"]


async def test_a_factory_may_be_closed_twice_in_any_form(mongo_uri: str) -> None:
    async with MongoDBSessionManagerFactory(mongo_uri) as factory:
        await factory.aio.close()
        factory.close()
    await factory.aio.close()


@pytest.mark.parametrize("look", ["get_session", "check_session_exists", "get_metadata"])
async def test_a_manager_that_only_looked_does_not_write_to_a_later_session_under_the_id(
    factory: MongoDBSessionManagerFactory, stored: Stored, look: str
) -> None:
    await factory.sessions.aio.create("s", metadata={"colour": "red"})
    manager = factory.create_session_manager("s")
    await getattr(manager.aio, look)()
    await factory.sessions.aio.delete("s")
    await asyncio.sleep(0.002)
    await factory.sessions.aio.create("s")
    with pytest.raises(SessionNotFoundError):
        await manager.aio.update_metadata({"colour": "blue"})
    assert stored("s")["metadata"] == {}


async def test_messages_that_an_agent_brought_along_survive_a_refused_first_turn(
    factory: MongoDBSessionManagerFactory, stored: Stored
) -> None:
    earlier: Any = [{"role": "user", "content": [{"text": "a"}]}, {"role": "assistant", "content": [{"text": "b"}]}]
    agent = make_agent(await factory.open_session("s"), "fine", messages=earlier)
    agent.state.set("hoard", "x" * 13_000_000)
    with pytest.raises(SessionTooLargeError):
        await agent.invoke_async("hello")
    agent.state.delete("hoard")
    await agent.invoke_async("hello")
    assert texts(stored("s")) == ["a", "b", "hello", "fine"]


@pytest.mark.parametrize("name", ["owner", "title", "application_name"])
@pytest.mark.parametrize("value", ["\ud800", uuid.UUID(int=1)])
def test_a_text_that_cannot_be_stored_is_refused_when_the_manager_is_made(
    factory: MongoDBSessionManagerFactory, name: str, value: Any
) -> None:
    with pytest.raises(ValueError, match=name):
        factory.create_session_manager("s", **{name: value})


@pytest.mark.filterwarnings("ignore:.*structured_output.*:DeprecationWarning")
async def test_an_invocation_inside_a_tool_of_the_same_agent_leaves_the_turn_to_the_outer_one(
    factory: MongoDBSessionManagerFactory, stored: Stored
) -> None:
    class Answer(BaseModel):
        pass

    turns: list[Any] = []

    @tool
    async def ask_again() -> str:
        """Ask the agent that is running."""
        await agent.structured_output_async(Answer, "in between")
        turns.append(await asyncio.to_thread(lambda: turn_of(stored("s"))))
        return "asked"

    call = {"name": "ask_again", "input": {}}
    agent = make_agent(await factory.open_session("s"), call, "done", "again", tools=[ask_again])
    for _ in range(2):
        await agent.invoke_async("go")
        assert await asyncio.to_thread(lambda: turn_of(stored("s"))) is None
    assert turns != []
    assert None not in turns
    assert texts(stored("s"))[-1] == "again"
