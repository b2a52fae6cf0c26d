"""How turns are kept, where it is chosen: durability, waiting for another turn, binary content."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from pymongo.collection import Collection
from pymongo.errors import AutoReconnect
from strands import tool
from strands.hooks import AfterInvocationEvent, BeforeInvocationEvent, BeforeToolCallEvent
from strands.types.session import SessionMessage

from mongodb_session_manager import (
    MongoDBSessionManagerFactory,
    SessionBusyError,
    SessionConflictError,
    SessionNotFoundError,
)
from tests.commands import Commands
from tests.models import ScriptedModel
from tests.test_lifecycle import ADD, add, make_agent, texts, turn_of

Stored = Callable[[str], Any]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("durability", "none"),
        ("on_busy", "queue"),
        ("on_outage", "ignore"),
        ("binary_content", "zip"),
        ("busy_timeout", 0),
        ("outage_timeout", -1),
        ("turn_timeout", float("nan")),
        ("turn_limit", "long"),
    ],
)
def test_a_choice_that_there_is_not_is_refused_by_name(
    factory: MongoDBSessionManagerFactory, name: str, value: Any
) -> None:
    with pytest.raises(ValueError, match=f"^{name} must be"):
        factory.create_session_manager("s", **{name: value})


# Durability


async def test_a_turn_that_is_written_once_costs_two_commands_however_many_tools_it_calls(
    factory: MongoDBSessionManagerFactory, commands: Commands, stored: Stored
) -> None:
    await make_agent(await factory.open_session("s"), "a").invoke_async("one")
    commands.clear()
    script = (ADD, ADD, [ADD, ADD], "sum")
    agent = make_agent(await factory.open_session("s", durability="turn"), *script, tools=[add])
    await agent.invoke_async("two")
    assert commands.names == ["find", "update"]
    assert texts(stored("s")) == ["one", "a", "two", *["toolUse", "toolResult"] * 3, "sum"]
    assert turn_of(stored("s")) is None
    assert make_agent(await factory.open_session("s"), tools=[add]).messages == agent.messages


async def test_a_turn_that_is_written_once_leaves_nothing_when_it_is_cut_short(
    factory: MongoDBSessionManagerFactory, stored: Stored
) -> None:
    await make_agent(await factory.open_session("s"), "a").invoke_async("one")
    agent = make_agent(await factory.open_session("s", durability="turn"), ADD, "sum", tools=[add])
    seen: list[list[str]] = []
    agent.add_hook(lambda event: seen.append(texts(stored("s"))), BeforeToolCallEvent)
    await agent.invoke_async("two")
    assert seen == [["one", "a"]]


async def test_a_conflict_of_a_turn_that_is_written_once_shows_at_its_end(
    factory: MongoDBSessionManagerFactory, stored: Stored
) -> None:
    await make_agent(await factory.open_session("s"), "a").invoke_async("one")
    late = make_agent(await factory.open_session("s", durability="turn"), ADD, "late", tools=[add])
    await make_agent(await factory.open_session("s"), "b").invoke_async("between")
    with pytest.raises(SessionConflictError):
        await late.invoke_async("two")
    assert texts(stored("s")) == ["one", "a", "between", "b"]
    await late.invoke_async("three")
    assert texts(stored("s"))[4:] == ["three", "late"]


async def test_what_a_guardrail_redacts_never_enters_a_session_that_is_written_once_a_turn(
    factory: MongoDBSessionManagerFactory, commands: Commands, stored: Stored
) -> None:
    model = ScriptedModel("I may not say that")
    model.redact = "[removed]"
    await make_agent(await factory.open_session("s", durability="turn"), model=model).invoke_async("my card is 1234")
    assert commands.names == ["find", "update"]
    assert texts(stored("s")) == ["[removed]", "I may not say that"]
    assert not [command for _, command, _ in commands.sent if "1234" in str(command)]


# Waiting for another turn


async def test_a_turn_that_waits_costs_one_command_more(
    factory: MongoDBSessionManagerFactory, commands: Commands, stored: Stored
) -> None:
    await make_agent(await factory.open_session("s"), "a").invoke_async("one")
    for durability, expected in (("message", ["update", "update"]), ("turn", ["update"])):
        commands.clear()
        manager = await factory.open_session("s", on_busy="wait", durability=durability)
        await make_agent(manager, "b").invoke_async("two")
        assert commands.names == ["find", "findAndModify", *expected]
        assert turn_of(stored("s")) is None


@pytest.mark.parametrize("durability", ["message", "turn"])
@pytest.mark.parametrize("exists", [True, False])
async def test_thirty_competing_turns_all_succeed_whole(
    factory: MongoDBSessionManagerFactory, stored: Stored, durability: str, exists: bool
) -> None:
    if exists:
        await make_agent(await factory.open_session("s"), "a0").invoke_async("q0")

    async def ask(number: int) -> None:
        manager = await factory.open_session("s", on_busy="wait", durability=durability, busy_timeout=60)
        script = ({**ADD, "id": f"call-{number}"}, f"a{number}")
        await make_agent(manager, *script, tools=[add]).invoke_async(f"q{number}")

    await asyncio.gather(*(ask(number) for number in range(1, 31)))
    found = texts(stored("s"))[2 if exists else 0 :]
    turns = [found[at : at + 4] for at in range(0, len(found), 4)]
    assert sorted(turns) == sorted([f"q{n}", "toolUse", "toolResult", f"a{n}"] for n in range(1, 31))
    ids = [message["message_id"] for message in stored("s")["agents"]["default"]["messages"]]
    assert ids == [*range(len(ids))]
    assert turn_of(stored("s")) is None


async def test_a_second_tab_that_waits_goes_on_with_what_the_first_one_said(
    factory: MongoDBSessionManagerFactory, stored: Stored
) -> None:
    model = ScriptedModel("second answer")
    second = make_agent(await factory.open_session("s", on_busy="wait"), model=model)
    first = await factory.open_session("s")
    first_agent = make_agent(first, "first answer")
    async with first.claim(first_agent):
        waiting = asyncio.create_task(second.invoke_async("second"))
        await asyncio.sleep(0.2)
        assert model.calls == []
        await first_agent.invoke_async("first")
    await waiting
    assert [message["content"][0]["text"] for message in model.calls[0]] == ["first", "first answer", "second"]
    assert texts(stored("s")) == ["first", "first answer", "second", "second answer"]


async def test_waiting_ends_with_busy_when_its_time_is_over_and_works_later(
    factory: MongoDBSessionManagerFactory, stored: Stored
) -> None:
    first = await factory.open_session("s")
    first_agent = make_agent(first, "a")
    await first_agent.invoke_async("one")
    second = make_agent(await factory.open_session("s", on_busy="wait", busy_timeout=0.2), "b")
    async with first.claim(first_agent):
        with pytest.raises(SessionBusyError):
            await second.invoke_async("two")
    await second.invoke_async("three")
    assert texts(stored("s")) == ["one", "a", "three", "b"]


async def test_waiting_that_is_cancelled_leaves_the_turn_free(
    factory: MongoDBSessionManagerFactory, stored: Stored
) -> None:
    await make_agent(await factory.open_session("s"), "a").invoke_async("one")
    for delay in (0.0, 0.001, 0.003, 0.01):
        agent = make_agent(await factory.open_session("s", on_busy="wait"), "b")
        task = asyncio.create_task(agent.invoke_async("two"))
        await asyncio.sleep(delay)
        task.cancel()
        await asyncio.wait([task])
        await asyncio.sleep(0.1)
        assert turn_of(stored("s")) is None


async def test_waiting_holds_nothing_when_an_application_hook_refuses_the_prompt(
    factory: MongoDBSessionManagerFactory, stored: Stored
) -> None:
    def refuse(event: BeforeInvocationEvent) -> None:
        raise RuntimeError("not now")

    await make_agent(await factory.open_session("s"), "a").invoke_async("one")
    agent = make_agent(await factory.open_session("s", on_busy="wait"), "b")
    agent.add_hook(refuse, BeforeInvocationEvent)
    with pytest.raises(RuntimeError, match="not now"):
        await agent.invoke_async("two")
    assert turn_of(stored("s")) is None


async def test_the_answer_to_an_interrupt_that_was_answered_while_it_waited_is_refused(
    factory: MongoDBSessionManagerFactory, stored: Stored
) -> None:
    ran: list[str] = []

    @tool
    def launch() -> str:
        """Launch."""
        ran.append("launched")
        return "launched"

    def ask(event: BeforeToolCallEvent) -> None:
        event.interrupt("sure", reason="launching")

    options: Any = {"tools": [launch], "hooks": [ask]}
    script = ({"name": "launch", "input": {}, "id": "launch-1"}, "done")
    result = await make_agent(await factory.open_session("s"), *script, **options).invoke_async("launch it")
    answer: Any = [{"interruptResponse": {"interruptId": result.interrupts[0].id, "response": "yes"}}]  # type: ignore[index]
    agents = [make_agent(await factory.open_session("s", on_busy="wait"), "done", **options) for _ in range(2)]
    ends = await asyncio.gather(*(agent.invoke_async(answer) for agent in agents), return_exceptions=True)
    assert sorted(type(end).__name__ for end in ends) == ["AgentResult", "SessionConflictError"]
    assert ran == ["launched"]
    assert turn_of(stored("s")) is None


async def test_a_repair_made_before_waiting_is_dropped_when_the_history_moved_on(
    factory: MongoDBSessionManagerFactory, stored: Stored, collection: Collection[Any]
) -> None:
    await make_agent(await factory.open_session("s"), ADD, "sum", tools=[add]).invoke_async("go")
    first_two = {"$push": {"agents.default.messages": {"$each": [], "$slice": 2}}}
    await asyncio.to_thread(collection.update_one, {"_id": "s"}, first_two)
    assert texts(stored("s")) == ["go", "toolUse"]
    agents = [make_agent(await factory.open_session("s", on_busy="wait"), "fine", tools=[add]) for _ in range(2)]
    await asyncio.gather(*(agent.invoke_async(f"again {n}") for n, agent in enumerate(agents)))
    found = texts(stored("s"))
    assert found[:3] == ["go", "toolUse", "toolResult"]
    assert sorted(found[3:]) == ["again 0", "again 1", "fine", "fine"]


async def test_an_agent_that_lives_on_waits_before_each_turn(
    factory: MongoDBSessionManagerFactory, stored: Stored
) -> None:
    agents = [make_agent(await factory.open_session("s", on_busy="wait"), f"a{number}") for number in range(3)]
    for number in range(3):
        await asyncio.gather(*(agent.invoke_async(f"q{number}") for agent in agents))
    assert len(texts(stored("s"))) == 18
    assert all(one[0] == "q" and other[0] == "a" for one, other in zip(*[iter(texts(stored("s")))] * 2, strict=True))


# Binary content


def test_large_binary_content_can_be_left_out_with_a_note(factory: MongoDBSessionManagerFactory) -> None:
    @tool
    def draw() -> Any:
        """Draw."""
        return {"status": "success", "content": [{"image": {"format": "png", "source": {"bytes": b"x" * 100_000}}}]}

    manager = factory.create_session_manager("s", binary_content="drop")
    agent = make_agent(manager, {"name": "draw", "input": {}}, "done", tools=[draw])
    small: Any = {"image": {"format": "gif", "source": {"bytes": b"x" * 1000}}}
    document: Any = {"document": {"format": "pdf", "name": "plan", "source": {"bytes": b"y" * 5_242_880}}}
    agent([{"text": "look"}, small, document])
    assert agent.messages[0]["content"][2] == document
    restored = make_agent(factory.create_session_manager("s"), tools=[draw])
    assert restored.messages[0]["content"] == [
        {"text": "look"},
        small,
        {"text": "[document, pdf, 5,242,880 bytes: not stored]"},
    ]
    result = restored.messages[2]["content"][0]["toolResult"]["content"]
    assert result == [{"text": "[image, png, 100,000 bytes: not stored]"}]


async def test_an_after_hook_that_asks_to_resume_waits_again(
    factory: MongoDBSessionManagerFactory, stored: Stored
) -> None:
    agent = make_agent(await factory.open_session("s", on_busy="wait"), "a", "b")

    def resume(event: AfterInvocationEvent) -> None:
        if len(texts(stored("s"))) == 2:
            event.resume = "more"

    agent.add_hook(resume, AfterInvocationEvent)
    await agent.invoke_async("one")
    assert texts(stored("s")) == ["one", "a", "more", "b"]
    assert turn_of(stored("s")) is None


def test_a_message_that_was_stored_with_a_note_is_not_stored_again(
    factory: MongoDBSessionManagerFactory, commands: Commands
) -> None:
    manager = factory.create_session_manager("s", binary_content="drop")
    agent = make_agent(manager, "seen")
    picture: Any = {"image": {"format": "png", "source": {"bytes": b"x" * 100_000}}}
    agent([picture])
    commands.clear()
    manager.append_message(agent.messages[0], agent)
    assert commands.names == []


@pytest.mark.parametrize("durability", ["message", "turn"])
async def test_a_turn_that_waited_is_kept_alive_however_long_it_lasts(
    factory: MongoDBSessionManagerFactory, stored: Stored, durability: str
) -> None:
    @tool
    async def linger() -> str:
        """Take long."""
        await asyncio.sleep(1.5)
        return "rested"

    options: Any = {"on_busy": "wait", "durability": durability, "turn_timeout": 0.6}
    call = {"name": "linger", "input": {}}
    agents = [make_agent(await factory.open_session("s", **options), call, "done", tools=[linger]) for _ in range(2)]
    await asyncio.gather(*(agent.invoke_async(f"go {number}") for number, agent in enumerate(agents)))
    found = texts(stored("s"))
    assert [found[1:4], found[5:8]] == [["toolUse", "toolResult", "done"]] * 2


async def test_a_claim_whose_reading_fails_leaves_the_turn_free(
    factory: MongoDBSessionManagerFactory, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = await factory.open_session("s")
    await make_agent(manager, "a").invoke_async("one")
    agent = make_agent(await factory.open_session("s", on_busy="wait"), "b")

    def fail(*arguments: Any, **named: Any) -> Any:
        raise AutoReconnect("no server")

    with monkeypatch.context() as broken:
        broken.setattr("mongodb_session_manager.archive.Archive.load", fail)
        with pytest.raises(AutoReconnect):
            await agent.invoke_async("two")
    assert turn_of(stored("s")) is None


async def test_a_waiting_claim_leaves_a_later_session_under_the_same_id_alone(
    factory: MongoDBSessionManagerFactory, stored: Stored
) -> None:
    manager = await factory.open_session("s", on_busy="wait", agent_id="x")
    x = make_agent(manager, "a", agent_id="x")
    y = await asyncio.to_thread(make_agent, manager, "b", agent_id="y")
    await y.invoke_async("first")
    await factory.sessions.aio.delete("s")
    await asyncio.sleep(0.002)
    rightful = make_agent(await factory.open_session("s", agent_id="x"), "c", agent_id="x")
    await rightful.invoke_async("mine")
    before = stored("s")
    with pytest.raises(SessionNotFoundError):
        await x.invoke_async("intruding")
    assert stored("s") == before


async def test_an_invocation_inside_another_writes_nothing_of_a_turn_that_is_written_once(
    factory: MongoDBSessionManagerFactory, commands: Commands
) -> None:
    @tool
    async def ask_again() -> str:
        """Ask the agent that is running."""
        await agent.invoke_async("inside")
        return "asked"

    manager = await factory.open_session("s", durability="turn")
    call = {"name": "ask_again", "input": {}}
    agent = make_agent(
        manager, call, "inner", "outer", tools=[ask_again], concurrent_invocation_mode="unsafe_reentrant"
    )
    await agent.invoke_async("go")
    assert commands.names == ["find", "update"]


def test_a_turn_may_say_more_than_a_command_may_hold(factory: MongoDBSessionManagerFactory, stored: Stored) -> None:
    manager = factory.create_session_manager("s", durability="turn")
    agent = make_agent(manager, "a")
    agent("one")
    with manager.claim(agent):
        for number in range(320):
            manager.unit_of_work.record("default").add_message(
                SessionMessage.from_message(
                    {"role": ("user", "assistant")[number % 2], "content": [{"text": f"{number} " + "x" * 60_000}]}, 0
                )
            )
    found = factory.sessions.messages("s", offset=2)
    assert [each.message["content"][0]["text"].split(" ")[0] for each in found] == [str(n) for n in range(320)]
