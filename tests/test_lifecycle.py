"""The event table, line by line: what is written when, and what happens when it cannot be."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any

import pytest
from pymongo.collection import Collection
from strands import Agent, tool
from strands.agent.conversation_manager import NullConversationManager
from strands.hooks import (
    AfterInvocationEvent,
    BeforeInvocationEvent,
    BeforeModelCallEvent,
    BeforeToolCallEvent,
    MessageAddedEvent,
)

from mongodb_session_manager import (
    MongoDBSessionManager,
    MongoDBSessionManagerFactory,
    SessionBusyError,
    SessionConflictError,
    SessionTooLargeError,
)
from tests.commands import Commands
from tests.models import ScriptedModel

Stored = Callable[[str], Any]


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


ADD = {"name": "add", "input": {"a": 1, "b": 2}}


def make_agent(manager: MongoDBSessionManager, *script: Any, **options: Any) -> Agent:
    model = options.pop("model", None) or ScriptedModel(*script)
    return Agent(model=model, session_manager=manager, callback_handler=None, **options)


def texts(document: Any, agent_id: str = "default") -> list[str]:
    """Every stored message in a word: its text, or what kind of tool message it is."""
    found = []
    for stored in document["agents"][agent_id]["messages"]:
        block = stored["message"]["content"][0]
        found.append(block.get("text") or next(iter(block)))
    return found


def turn_of(document: Any, agent_id: str = "default") -> Any:
    return document["agents"][agent_id].get("turn")


# AgentInitialized


async def test_a_new_session_writes_nothing_before_its_first_turn(
    factory: MongoDBSessionManagerFactory, commands: Commands, stored: Stored
) -> None:
    manager = await factory.open_session("s")
    make_agent(manager)
    assert commands.names == ["find"]
    assert stored("s") is None


async def test_messages_given_to_the_constructor_are_stored_with_the_first_turn(
    factory: MongoDBSessionManagerFactory, stored: Stored
) -> None:
    earlier: Any = [
        {"role": "user", "content": [{"text": "before"}]},
        {"role": "assistant", "content": [{"text": "so"}]},
    ]
    await make_agent(await factory.open_session("s"), "yes", messages=earlier).invoke_async("now")
    assert texts(stored("s")) == ["before", "so", "now", "yes"]
    assert [message["message_id"] for message in stored("s")["agents"]["default"]["messages"]] == [0, 1, 2, 3]


# MessageAdded


async def test_a_question_is_in_the_database_while_the_model_still_answers(
    factory: MongoDBSessionManagerFactory, stored: Stored
) -> None:
    seen: list[Any] = []
    agent = make_agent(await factory.open_session("s"), lambda _: seen.append(stored("s")) or "answer")
    await agent.invoke_async("question")
    assert texts(seen[0]) == ["question"]
    assert turn_of(seen[0])["owner"]
    assert texts(stored("s")) == ["question", "answer"]
    assert turn_of(stored("s")) is None


async def test_tool_use_and_tool_result_are_stored_as_they_come(
    factory: MongoDBSessionManagerFactory, stored: Stored
) -> None:
    seen: list[Any] = []

    @tool
    def look() -> str:
        """Look into the database while the tool runs."""
        seen.append(texts(stored("s")))
        return "done"

    agent = make_agent(
        await factory.open_session("s"),
        {"name": "look", "input": {}},
        lambda _: seen.append(texts(stored("s"))) or "fine",
        tools=[look],
    )
    await agent.invoke_async("go")
    assert seen == [["go", "toolUse"], ["go", "toolUse", "toolResult"]]


async def test_the_state_goes_with_the_message_it_was_set_before(
    factory: MongoDBSessionManagerFactory, stored: Stored
) -> None:
    seen: list[Any] = []
    agent = make_agent(
        await factory.open_session("s"),
        lambda _: seen.append(stored("s")["agents"]["default"]["agent_data"]["state"]) or "ok",
    )
    agent.state.set("mood", "good")
    await agent.invoke_async("hello")
    assert seen == [{"mood": "good"}]


async def test_unchanged_state_is_not_sent_again(factory: MongoDBSessionManagerFactory, commands: Commands) -> None:
    agent = make_agent(await factory.open_session("s"), "a", conversation_manager=NullConversationManager())
    agent.state.set("large", "x" * 10_000)
    await agent.invoke_async("one")
    commands.clear()
    await agent.invoke_async("two")
    assert "x" * 10_000 not in str(commands.sent)
    assert not any("agent_data" in str(command) for _, command, _ in commands.sent)


# Turns by invocation


async def test_a_turn_is_free_after_every_kind_of_end(factory: MongoDBSessionManagerFactory, stored: Stored) -> None:
    agent = make_agent(await factory.open_session("s"), "a", ValueError("the model is ill"), "c")
    await agent.invoke_async("one")
    assert turn_of(stored("s")) is None
    with pytest.raises(ValueError, match="the model is ill"):
        await agent.invoke_async("two")
    assert turn_of(stored("s")) is None
    assert texts(stored("s")) == ["one", "a", "two"]
    await agent.invoke_async("three")
    assert texts(stored("s")) == ["one", "a", "two", "three", "c"]


async def test_a_second_turn_is_refused_while_one_runs_before_its_model_is_called(
    factory: MongoDBSessionManagerFactory, stored: Stored
) -> None:
    first_model, second_model = ScriptedModel("first"), ScriptedModel("second")
    first_model.hold = threading.Event()
    await make_agent(await factory.open_session("s"), "zero").invoke_async("start")
    first = make_agent(await factory.open_session("s"), model=first_model)
    second = make_agent(await factory.open_session("s"), model=second_model)
    running = asyncio.create_task(first.invoke_async("one"))
    while not first_model.calls:
        await asyncio.sleep(0.01)
    with pytest.raises(SessionBusyError) as refused:
        await second.invoke_async("two")
    assert 0 < refused.value.retry_after <= 30
    assert (refused.value.session_id, refused.value.agent_id) == ("s", "default")
    assert second_model.calls == []
    assert [message["content"][0]["text"] for message in second.messages] == ["start", "zero"]
    first_model.hold.set()
    await running
    assert texts(stored("s")) == ["start", "zero", "one", "first"]
    await second.invoke_async("two")
    assert texts(stored("s")) == ["start", "zero", "one", "first", "two", "second"]
    assert [message["content"][0]["text"] for message in second.messages] == texts(stored("s"))


async def test_a_manager_that_loaded_an_older_history_is_refused_and_then_continues_the_newer_one(
    factory: MongoDBSessionManagerFactory, stored: Stored
) -> None:
    await make_agent(await factory.open_session("s"), "zero").invoke_async("start")
    late = make_agent(await factory.open_session("s"), "late answer")
    await make_agent(await factory.open_session("s"), "quick").invoke_async("me first")
    with pytest.raises(SessionConflictError):
        await late.invoke_async("late")
    assert len(stored("s")["agents"]["default"]["messages"]) == 4
    await late.invoke_async("late again")
    assert texts(stored("s"))[-4:] == ["me first", "quick", "late again", "late answer"]


async def test_a_stale_agent_says_so_when_it_is_synced_by_hand_and_works_after_reload(
    factory: MongoDBSessionManagerFactory, stored: Stored
) -> None:
    await make_agent(await factory.open_session("s"), "zero").invoke_async("start")
    manager = await factory.open_session("s")
    late = make_agent(manager, "answer")
    await make_agent(await factory.open_session("s"), "quick").invoke_async("first")
    with pytest.raises(SessionConflictError):
        await late.invoke_async("late")
    late.state.set("key", "lost")
    with pytest.raises(SessionConflictError):
        await manager.aio.sync_agent(late)
    await manager.aio.reload(late)
    assert late.state.get("key") is None
    assert len(late.messages) == 4
    late.state.set("key", "kept")
    await manager.aio.sync_agent(late)
    assert stored("s")["agents"]["default"]["agent_data"]["state"] == {"key": "kept"}


async def test_an_invocation_without_input_claims_before_the_model_is_called(
    factory: MongoDBSessionManagerFactory, commands: Commands, stored: Stored
) -> None:
    agent = make_agent(await factory.open_session("s"), "a", lambda _: str(turn_of(stored("s")) is not None))
    await agent.invoke_async("one")
    commands.clear()
    await agent.invoke_async()
    assert commands.names == ["update", "update"]
    assert texts(stored("s"))[-1] == "True"


async def test_structured_output_of_the_older_kind_leaves_the_session_as_it_was(
    factory: MongoDBSessionManagerFactory, commands: Commands, stored: Stored
) -> None:
    from pydantic import BaseModel

    class Person(BaseModel):
        name: str = "Ada"

    agent = make_agent(await factory.open_session("s"), "a")
    await agent.invoke_async("one")
    before = stored("s")
    commands.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        assert await agent.structured_output_async(Person, "who?") == Person()
    assert commands.names == []
    assert stored("s") == before


# The application's own hooks


async def test_an_after_invocation_hook_that_raises_leaves_the_answer_stored_and_the_turn_free(
    factory: MongoDBSessionManagerFactory, stored: Stored
) -> None:
    def raise_error(event: AfterInvocationEvent) -> None:
        raise RuntimeError("mine")

    agent = make_agent(await factory.open_session("s"), "answer", hooks=[raise_error])
    with pytest.raises(RuntimeError, match="mine"):
        await agent.invoke_async("question")
    assert texts(stored("s")) == ["question", "answer"]
    assert turn_of(stored("s")) is None


async def test_state_set_by_an_after_invocation_hook_is_stored_with_one_more_command(
    factory: MongoDBSessionManagerFactory, commands: Commands, stored: Stored
) -> None:
    def set_state(event: AfterInvocationEvent) -> None:
        event.agent.state.set("seen", True)

    agent = make_agent(await factory.open_session("s"), "answer", hooks=[set_state])
    await agent.invoke_async("question")
    assert commands.names == ["find", "update", "update", "update"]
    assert stored("s")["agents"]["default"]["agent_data"]["state"] == {"seen": True}
    assert turn_of(stored("s")) is None


async def test_an_after_invocation_hook_that_resumes_starts_another_turn(
    factory: MongoDBSessionManagerFactory, stored: Stored
) -> None:
    def resume_once(event: AfterInvocationEvent) -> None:
        if len(event.agent.messages) < 4:
            event.resume = "go on"

    await make_agent(await factory.open_session("s"), "a", "b", hooks=[resume_once]).invoke_async("start")
    assert texts(stored("s")) == ["start", "a", "go on", "b"]
    assert turn_of(stored("s")) is None


async def test_the_applications_after_invocation_hooks_run_although_the_turn_was_refused(
    factory: MongoDBSessionManagerFactory,
) -> None:
    ran: list[str] = []

    def note(event: AfterInvocationEvent) -> None:
        ran.append("hook")

    await make_agent(await factory.open_session("s"), "zero").invoke_async("start")
    late = make_agent(await factory.open_session("s"), "late", hooks=[note])
    await make_agent(await factory.open_session("s"), "quick").invoke_async("first")
    with pytest.raises(SessionConflictError):
        await late.invoke_async("late")
    assert ran == ["hook"]


async def test_a_before_invocation_hook_that_raises_stores_nothing_and_holds_no_turn(
    factory: MongoDBSessionManagerFactory, commands: Commands, stored: Stored
) -> None:
    def forbid(event: BeforeInvocationEvent) -> None:
        if "bad" in str(event.messages):
            raise PermissionError("no")

    agent = make_agent(await factory.open_session("s"), "a", hooks=[forbid])
    await agent.invoke_async("good")
    commands.clear()
    with pytest.raises(PermissionError):
        await agent.invoke_async("bad")
    assert commands.names == []
    assert agent.tool_names == []
    await agent.invoke_async("good again")
    assert texts(stored("s")) == ["good", "a", "good again", "a"]


async def test_a_before_invocation_hook_that_removes_the_input_still_claims_before_the_model(
    factory: MongoDBSessionManagerFactory, stored: Stored
) -> None:
    def empty(event: BeforeInvocationEvent) -> None:
        if len(event.agent.messages) > 1:
            event.messages = []

    seen: list[Any] = []
    agent = make_agent(
        await factory.open_session("s"), lambda _: seen.append(turn_of(stored("s"))) or "a", hooks=[empty]
    )
    await agent.invoke_async("one")
    await agent.invoke_async("two")
    assert texts(stored("s")) == ["one", "a", "a"]
    assert all(turn for turn in seen)


async def test_a_cancelled_invocation_stores_the_refusal_and_is_free(
    factory: MongoDBSessionManagerFactory, stored: Stored
) -> None:
    def deny(event: BeforeInvocationEvent) -> None:
        event.cancel = "not today"

    await make_agent(await factory.open_session("s"), hooks=[deny]).invoke_async("please")
    assert texts(stored("s")) == ["not today"]
    assert turn_of(stored("s")) is None


async def test_a_hook_that_cancels_the_model_call_ends_in_a_stored_answer(
    factory: MongoDBSessionManagerFactory, stored: Stored
) -> None:
    def deny(event: BeforeModelCallEvent) -> None:
        event.cancel = "quota"

    model = ScriptedModel()
    await make_agent(await factory.open_session("s"), model=model, hooks=[deny]).invoke_async("please")
    assert texts(stored("s")) == ["please", "quota"]
    assert model.calls == []


# Outside a turn


def test_a_direct_tool_call_is_one_update_that_holds_no_turn(
    factory: MongoDBSessionManagerFactory, commands: Commands, stored: Stored
) -> None:
    agent = make_agent(factory.create_session_manager("s"), tools=[add])
    commands.clear()
    agent.tool.add(a=1, b=2)
    assert commands.names == ["update"]
    assert texts(stored("s"))[1:] == ["toolUse", "toolResult", "agent.tool.add was called."]
    assert turn_of(stored("s")) is None


def test_a_direct_tool_call_that_is_not_recorded_leaves_no_trace(
    factory: MongoDBSessionManagerFactory, stored: Stored
) -> None:
    agent = make_agent(factory.create_session_manager("s"), "a", tools=[add])
    agent.tool.add(a=1, b=2, record_direct_tool_call=False)
    assert stored("s") is None
    agent("hello")
    assert texts(stored("s")) == ["hello", "a"]


async def test_a_direct_tool_call_during_another_writers_turn_says_that_it_ran_and_is_not_recorded(
    factory: MongoDBSessionManagerFactory, stored: Stored
) -> None:
    model = ScriptedModel("zero", "answer")
    first = make_agent(await factory.open_session("s"), model=model)
    await first.invoke_async("start")
    second = make_agent(await factory.open_session("s"), tools=[add])
    model.hold = threading.Event()
    running = asyncio.create_task(first.invoke_async("one"))
    while len(model.calls) < 2:
        await asyncio.sleep(0.01)
    with pytest.raises(SessionBusyError, match="has run, and its call is not recorded"):
        await asyncio.to_thread(lambda: second.tool.add(a=1, b=2))
    assert len(second.messages) == 2
    model.hold.set()
    await running
    assert texts(stored("s")) == ["start", "zero", "one", "answer"]


async def test_a_broken_tail_is_repaired_before_the_next_prompt(
    factory: MongoDBSessionManagerFactory, collection: Collection[Any], commands: Commands, stored: Stored
) -> None:
    await make_agent(await factory.open_session("s"), ADD, "three", tools=[add]).invoke_async("add")
    with commands.unwatched():
        collection.update_one(
            {"_id": "s"}, [{"$set": {"agents.default.messages": {"$slice": ["$agents.default.messages", 2]}}}]
        )
    await make_agent(await factory.open_session("s"), "fine", tools=[add]).invoke_async("again")
    assert texts(stored("s")) == ["add", "toolUse", "toolResult", "again", "fine"]


async def test_a_turn_held_by_hand_spans_several_calls(factory: MongoDBSessionManagerFactory, stored: Stored) -> None:
    manager = await factory.open_session("s")
    agent = make_agent(manager, "a", "b", tools=[add])
    other = make_agent(await factory.open_session("s"), "other")
    async with manager.claim(agent):
        assert turn_of(stored("s"))
        await agent.invoke_async("one")
        assert turn_of(stored("s"))
        with pytest.raises(SessionBusyError):
            await other.invoke_async("between")
        await agent.invoke_async("two")
    assert turn_of(stored("s")) is None
    assert texts(stored("s")) == ["one", "a", "two", "b"]
    await other.invoke_async("after")
    assert texts(stored("s"))[-2:] == ["after", "other"]


def test_a_turn_held_by_hand_covers_direct_tool_calls(factory: MongoDBSessionManagerFactory, stored: Stored) -> None:
    manager = factory.create_session_manager("s")
    agent = make_agent(manager, "a", tools=[add])
    with manager.claim(agent):
        agent.tool.add(a=1, b=1)
        agent("and?")
    assert [text for text in texts(stored("s")) if text in {"and?", "a"}] == ["and?", "a"]
    assert len(stored("s")["agents"]["default"]["messages"]) == 6
    assert turn_of(stored("s")) is None


# Redaction


async def test_a_redacted_prompt_leaves_the_document_before_the_answer_enters_it(
    factory: MongoDBSessionManagerFactory, commands: Commands, stored: Stored
) -> None:
    model = ScriptedModel("I may not say that")
    model.redact = "[removed]"
    agent = make_agent(await factory.open_session("s"), model=model)
    seen: list[Any] = []

    def look(event: MessageAddedEvent) -> None:
        if event.message["role"] == "assistant":
            seen.append(str(stored("s")))

    agent.add_hook(look, MessageAddedEvent)
    await agent.invoke_async("my card is 1234")
    assert "1234" not in seen[0]
    assert "1234" not in str(stored("s"))
    assert texts(stored("s")) == ["[removed]", "I may not say that"]
    assert commands.names == ["find", "update", "find", "update", "update"]
    restored = make_agent(await factory.open_session("s"))
    assert restored.messages[0]["content"] == [{"text": "[removed]"}]


# Refusals


async def test_a_state_that_is_too_large_fails_loudly_and_frees_the_turn(
    factory: MongoDBSessionManagerFactory, stored: Stored
) -> None:
    @tool(context=True)
    def hoard(tool_context: Any) -> str:
        """Keep far too much."""
        tool_context.agent.state.set("hoard", "x" * (13 * 1024 * 1024))
        return "kept"

    agent = make_agent(await factory.open_session("s"), {"name": "hoard", "input": {}}, "a", "b", tools=[hoard])
    with pytest.raises(SessionTooLargeError):
        await agent.invoke_async("go")
    assert turn_of(stored("s")) is None
    assert texts(stored("s")) == ["go", "toolUse"]
    await agent.invoke_async("again")
    assert agent.state.get("hoard") is None
    assert texts(stored("s")) == ["go", "toolUse", "toolResult", "again", "a"]


async def test_a_message_that_outgrows_the_document_fails_before_the_model_runs(
    factory: MongoDBSessionManagerFactory, stored: Stored
) -> None:
    model = ScriptedModel("a")
    manager = await factory.open_session("s")
    agent = make_agent(manager, model=model)
    await agent.invoke_async("one")
    await manager.aio.update_metadata({"filler": "y" * (16 * 1024 * 1024 - 8192)})
    with pytest.raises(SessionTooLargeError) as refused:
        await agent.invoke_async("x" * 16_384)
    assert "xxx" not in str(refused.value)
    assert len(model.calls) == 1
    assert texts(stored("s")) == ["one", "a"]
    await agent.invoke_async("two")
    assert texts(stored("s")) == ["one", "a", "two", "a"]


async def test_the_answer_to_an_interrupt_that_somebody_else_answered_is_refused_before_the_tool_runs(
    factory: MongoDBSessionManagerFactory, stored: Stored
) -> None:
    ran: list[str] = []

    @tool
    def launch() -> str:
        """Launch."""
        ran.append("launched")
        return "launched"

    def ask(event: BeforeToolCallEvent) -> None:
        if event.interrupt("sure", reason="launching") != "yes":
            event.cancel_tool = "no"

    script = ({"name": "launch", "input": {}, "id": "launch-1"}, "done")
    first = make_agent(await factory.open_session("s"), *script, tools=[launch], hooks=[ask])
    result = await first.invoke_async("launch it")
    answer: Any = [{"interruptResponse": {"interruptId": result.interrupts[0].id, "response": "yes"}}]  # type: ignore[index]
    second = make_agent(await factory.open_session("s"), "done", tools=[launch], hooks=[ask])
    third = make_agent(await factory.open_session("s"), "done", tools=[launch], hooks=[ask])
    await second.invoke_async(answer)
    with pytest.raises(SessionConflictError):
        await third.invoke_async(answer)
    assert ran == ["launched"]
    await third.invoke_async("what now?")
    assert texts(stored("s"))[-2:] == ["what now?", "done"]


async def test_a_reload_that_brings_an_open_interrupt_asks_for_its_answer(
    factory: MongoDBSessionManagerFactory,
) -> None:
    def ask(event: BeforeToolCallEvent) -> None:
        event.interrupt("sure")

    await make_agent(await factory.open_session("s"), "zero").invoke_async("start")
    late = make_agent(await factory.open_session("s"), "late", tools=[add], hooks=[ask])
    first = make_agent(await factory.open_session("s"), ADD, tools=[add], hooks=[ask])
    result = await first.invoke_async("add")
    with pytest.raises(SessionConflictError):
        await late.invoke_async("late")
    with pytest.raises(SessionConflictError, match="interrupt"):
        await late.invoke_async("late again")
    assert late._interrupt_state.activated
    answer: Any = [{"interruptResponse": {"interruptId": result.interrupts[0].id, "response": "yes"}}]  # type: ignore[index]
    await late.invoke_async(answer)
    assert late.messages[-1]["content"] == [{"text": "late"}]


# Event loops


async def test_writes_from_outside_in_an_open_turn_on_the_loop_wait_for_the_next_event(
    factory: MongoDBSessionManagerFactory, commands: Commands, stored: Stored
) -> None:
    manager = await factory.open_session("s")

    def sync(event: BeforeModelCallEvent) -> None:
        event.agent.state.set("step", "model")
        manager.sync_agent(event.agent)

    agent = make_agent(manager, "a", hooks=[sync])
    await agent.invoke_async("one")
    assert commands.names == ["find", "update", "update"]
    assert stored("s")["agents"]["default"]["agent_data"]["state"] == {"step": "model"}


async def test_writes_from_outside_with_no_turn_open_are_stored_there_and_then(
    factory: MongoDBSessionManagerFactory, commands: Commands, stored: Stored
) -> None:
    manager = await factory.open_session("s")
    agent = make_agent(manager, "a")
    await agent.invoke_async("one")
    agent.state.set("key", 1)
    with commands.unwatched():
        manager.sync_agent(agent)
    assert stored("s")["agents"]["default"]["agent_data"]["state"] == {"key": 1}


async def test_the_flush_runs_with_the_callers_context_variables(
    factory: MongoDBSessionManagerFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = contextvars.ContextVar("request", default="none")
    manager = await factory.open_session("s")
    seen: list[tuple[str, str]] = []
    commit = manager.unit_of_work.store.commit

    def observed(*args: Any) -> Any:
        seen.append((request.get(), threading.current_thread().name))
        return commit(*args)

    monkeypatch.setattr(manager.unit_of_work.store, "commit", observed)
    request.set("r-1")
    await make_agent(manager, "a").invoke_async("one")
    assert [value for value, _ in seen] == ["r-1", "r-1"]
    assert all(name.startswith("session-flush") for _, name in seen)


async def test_one_manager_serves_every_way_of_calling_an_agent(
    factory: MongoDBSessionManagerFactory, stored: Stored
) -> None:
    agent = make_agent(await factory.open_session("s"), "a")
    await asyncio.to_thread(agent, "sync")
    await agent.invoke_async("async")
    async for _ in agent.stream_async("stream"):
        pass
    assert texts(stored("s")) == ["sync", "a", "async", "a", "stream", "a"]


async def test_an_acknowledged_turn_is_stored_when_the_stream_yields_its_result(
    factory: MongoDBSessionManagerFactory, stored: Stored
) -> None:
    agent = make_agent(await factory.open_session("s"), "an answer of several words")
    async for event in agent.stream_async("question"):
        if "result" in event:
            assert texts(stored("s")) == ["question", "an answer of several words"]
            assert turn_of(stored("s")) is None


async def test_no_tool_of_several_runs_before_the_call_for_them_is_stored(
    factory: MongoDBSessionManagerFactory, monkeypatch: pytest.MonkeyPatch, stored: Stored
) -> None:
    seen: list[list[str]] = []

    @tool
    def look() -> str:
        """Look into the database while the tool runs."""
        seen.append(texts(stored("s")))
        return "done"

    manager = await factory.open_session("s")
    commit = manager.unit_of_work.store.commit

    def slow(*args: Any) -> Any:
        time.sleep(0.05)
        return commit(*args)

    monkeypatch.setattr(manager.unit_of_work.store, "commit", slow)
    both = [{"name": "look", "input": {}, "id": "1"}, {"name": "look", "input": {}, "id": "2"}]
    await make_agent(manager, both, "fine", tools=[look]).invoke_async("go")
    assert seen == [["go", "toolUse"], ["go", "toolUse"]]
