"""Bidirectional agents: what is stored of a connection that lasts, in which order, and by whom."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from pymongo.collection import Collection
from strands import ToolContext, tool
from strands.bidi import BidiAgent

from mongodb_session_manager import (
    MongoDBSessionManager,
    MongoDBSessionManagerFactory,
    SessionBusyError,
    SessionConflictError,
    SessionNotFoundError,
)
from tests.bidi_model import begun, bidi_agent, ended, heard, listening, said, uses
from tests.commands import Commands

Stored = Callable[[str], Any]

TEXT, SPEECH = "bidi_text_block", "bidi_transcript_block"


@tool
def add(a: int, b: int) -> int:
    """Add two numbers.

    Args:
        a: The first.
        b: The second.
    """
    return a + b


ADD = {"name": "add", "input": {"a": 1, "b": 2}}


def words(document: Any) -> list[str]:
    """Every stored message in a word: who, and its text or what kind it is."""
    found = []
    for at, stored in enumerate(document["agents"]["default"]["messages"] if document else []):
        assert stored["message_id"] == at
        message = stored["message"]
        block = message["content"][0] if message["content"] else {"text": "…"}
        found.append(f"{message['role']}: {block.get('text') or next(iter(block))}")
    return found


def of_memory(agent: BidiAgent) -> list[dict[str, Any]]:
    return [dict(message) for message in agent.messages]


def stored_messages(document: Any) -> list[dict[str, Any]]:
    return [stored["message"] for stored in document["agents"]["default"]["messages"]]


async def until_stored(stored: Stored, expected: list[str]) -> None:
    async with asyncio.timeout(10):
        while words(stored("s")) != expected:
            await asyncio.sleep(0.01)


async def talked(manager: MongoDBSessionManager, *texts: str) -> BidiAgent:
    """An agent that was told each text and has answered it."""
    agent, _ = bidi_agent(manager, *(said(f"answer to {text}") for text in texts))
    async with listening(agent) as listener:
        for number, text in enumerate(texts, 1):
            await agent.send(text)
            await listener.until(TEXT, number)
    return agent


# What is stored, and when


async def test_a_connection_on_which_nothing_is_said_writes_nothing(
    factory: MongoDBSessionManagerFactory, commands: Commands
) -> None:
    agent, _ = bidi_agent(await factory.open_session("s"))
    async with listening(agent) as listener:
        await listener.until("bidi_connection_start")
    assert commands.names == ["find"]


async def test_a_message_costs_one_write_and_so_does_an_answer(
    factory: MongoDBSessionManagerFactory, commands: Commands, stored: Stored
) -> None:
    await talked(await factory.open_session("s"), "one", "two")
    assert commands.names == ["find", *["update"] * 4]
    assert words(stored("s")) == ["user: one", "assistant: answer to one", "user: two", "assistant: answer to two"]
    assert "turn" not in stored("s")["agents"]["default"]


async def test_a_question_is_stored_before_the_model_is_sent_it(
    factory: MongoDBSessionManagerFactory, stored: Stored
) -> None:
    agent, _ = bidi_agent(await factory.open_session("s"))
    async with agent:
        await agent.send(["look", {"text": "at this"}])
        assert [each["text"] for each in stored_messages(stored("s"))[0]["content"]] == ["look", "at this"]


async def test_what_is_spoken_is_stored_as_soon_as_it_is_transcribed(
    factory: MongoDBSessionManagerFactory, commands: Commands, stored: Stored
) -> None:
    agent, model = bidi_agent(await factory.open_session("s"))
    async with listening(agent) as listener:
        model.say(heard("what is the time"))
        await listener.until(SPEECH)
        assert words(stored("s")) == ["user: what is the time"]
        model.say(heard("it is late", "assistant"))
        await listener.until(SPEECH, 2)
        assert words(stored("s")) == ["user: what is the time", "assistant: it is late"]
    assert commands.names == ["find", "update", "update"]
    kept = stored_messages(stored("s"))
    assert [each["metadata"]["custom"]["bidi"] for each in kept] == [{"kind": "transcript", "status": "complete"}] * 2
    assert kept == of_memory(agent)


A_CORRECTION = ["find", "update", "update"]
"""Of a message that is stored already: read it, change it under a turn, release that."""


async def test_transcripts_that_overlap_keep_the_order_in_which_they_began_and_are_corrected_in_place(
    factory: MongoDBSessionManagerFactory, commands: Commands, stored: Stored
) -> None:
    agent, model = bidi_agent(await factory.open_session("s"))
    async with listening(agent) as listener:
        model.say([*begun("user", "wait", "u"), *begun("assistant", "as I said", "a"), *ended("assistant", "a")])
        await listener.until(SPEECH)
        assert words(stored("s")) == ["user: …", "assistant: as I said"]
        model.say(ended("user", "u"))
        await listener.until(SPEECH, 2)
    assert words(stored("s")) == ["user: wait", "assistant: as I said"]
    assert commands.names == ["find", "update", *A_CORRECTION]
    assert stored_messages(stored("s")) == of_memory(agent)


async def test_a_tool_use_and_its_result_are_written_together(
    factory: MongoDBSessionManagerFactory, commands: Commands, stored: Stored
) -> None:
    @tool
    def look() -> str:
        """Look at what is stored while a tool runs."""
        return "seen"

    agent, _ = bidi_agent(await factory.open_session("s"), uses(ADD, {"name": "look"}), tools=[add, look])
    async with listening(agent):
        await agent.send("1 + 2?")
        await until_stored(stored, ["user: 1 + 2?", *PAIRS])
    assert commands.names == ["find", "update", "update", "update"]
    sent = [str(command) for name, command, _ in commands.sent if name == "update"]
    assert [(each.count("'toolUse'"), each.count("'toolResult'")) for each in sent] == [(0, 0), (2, 2), (2, 2)]
    assert stored_messages(stored("s")) == of_memory(agent)
    assert "3" in str(stored_messages(stored("s"))[-1])


PAIRS = ["assistant: toolUse", "user: toolResult"] * 2


async def test_state_that_a_tool_changes_is_written_with_its_result(
    factory: MongoDBSessionManagerFactory, commands: Commands, stored: Stored
) -> None:
    @tool(context=True)
    def remember(fact: str, tool_context: ToolContext) -> str:
        """Remember.

        Args:
            fact: What.
        """
        tool_context.agent.state.set("fact", fact)
        return "remembered"

    call = {"name": "remember", "input": {"fact": "blue"}}
    agent, _ = bidi_agent(await factory.open_session("s"), uses(call), tools=[remember])
    async with listening(agent):
        await agent.send("my colour is blue")
        await until_stored(stored, ["user: my colour is blue", *PAIRS])
    assert stored("s")["agents"]["default"]["agent_data"]["state"] == {"fact": "blue"}
    assert commands.names == ["find", "update", "update", "update"]


async def test_what_was_not_finished_when_the_connection_ended_is_stored_as_such(
    factory: MongoDBSessionManagerFactory, stored: Stored
) -> None:
    agent, model = bidi_agent(await factory.open_session("s"))
    async with listening(agent) as listener:
        await agent.send("tell me")
        model.say([*said("a story")[:5], *begun("user", "stop", "u")])
        await listener.until("bidi_transcript_delta")
    status = [each.get("metadata", {}).get("custom", {}).get("bidi", {}).get("status") for each in agent.messages]
    assert status == [None, "incomplete", "incomplete"]
    assert words(stored("s")) == ["user: tell me", "assistant: a s", "user: [Transcript unavailable.]"]
    assert stored_messages(stored("s")) == of_memory(agent)


# Going on


async def test_another_process_gives_the_model_the_whole_history(
    factory: MongoDBSessionManagerFactory,
) -> None:
    first = await talked(await factory.open_session("s"), "one", "two")
    agent, model = bidi_agent(await factory.open_session("s"), said("yes"))
    assert of_memory(agent) == of_memory(first)
    async with listening(agent) as listener:
        await agent.send("do you remember?")
        await listener.until(TEXT)
    assert [dict(each) for each in model.histories[0]] == of_memory(first)


async def test_the_same_agent_connects_again(factory: MongoDBSessionManagerFactory, stored: Stored) -> None:
    agent = await talked(await factory.open_session("s"), "one")
    async with listening(agent) as listener:
        agent.model.script = [said("again")]  # type: ignore[attr-defined]
        await agent.send("two")
        await listener.until(TEXT)
    assert words(stored("s"))[2:] == ["user: two", "assistant: again"]


async def test_a_place_that_a_killed_process_kept_is_restored_as_unavailable(
    factory: MongoDBSessionManagerFactory, stored: Stored
) -> None:
    agent, model = bidi_agent(await factory.open_session("s"))
    async with listening(agent) as listener:
        model.say([*begun("user", "wait", "u"), *heard("as I said", "assistant")])
        await listener.until(SPEECH)
        restored, _ = bidi_agent(await factory.open_session("s"))
        assert words(stored("s"))[0] == "user: …"
    assert [each["content"] for each in restored.messages] == [
        [{"text": "[Transcript unavailable.]"}],
        [{"text": "as I said"}],
    ]


async def test_an_agent_of_text_goes_on_where_a_bidirectional_one_was(
    factory: MongoDBSessionManagerFactory,
) -> None:
    from strands import Agent

    from tests.models import ScriptedModel

    await talked(await factory.open_session("s"), "one")
    model = ScriptedModel("yes")
    agent = Agent(model=model, session_manager=await factory.open_session("s"), callback_handler=None)
    await agent.invoke_async("do you remember?")
    assert [each["content"][0]["text"] for each in model.calls[0][:3]] == ["one", "answer to one", "do you remember?"]


# One writer


async def test_of_two_connections_the_one_that_is_late_is_refused_and_goes_on_after_it_has_ended(
    factory: MongoDBSessionManagerFactory, stored: Stored
) -> None:
    await talked(await factory.open_session("s"), "one")
    quick, _ = bidi_agent(await factory.open_session("s"), said("to the quick"))
    late, model = bidi_agent(await factory.open_session("s"), said("to the late"))
    async with listening(late):
        async with listening(quick) as listener:
            await quick.send("I am first")
            await listener.until(TEXT)
        for _ in range(2):
            with pytest.raises(SessionConflictError):
                await late.send("I am late")
        assert model.sent == []
        assert [each["content"][0]["text"] for each in late.messages] == ["one", "answer to one"]
    async with listening(late) as listener:
        await late.send("I am late")
        await listener.until(TEXT)
    assert words(stored("s"))[2:] == [
        "user: I am first",
        "assistant: to the quick",
        "user: I am late",
        "assistant: to the late",
    ]


async def test_speech_that_cannot_be_stored_is_told_to_who_listens(
    factory: MongoDBSessionManagerFactory, stored: Stored
) -> None:
    agent, model = bidi_agent(await factory.open_session("s"))
    async with listening(agent) as listener:
        await talked(await factory.open_session("s"), "somebody else")
        model.say(heard("is anybody there"))
        with pytest.raises((SessionConflictError, SessionBusyError)):
            await listener.until(SPEECH)
    assert words(stored("s")) == ["user: somebody else", "assistant: answer to somebody else"]
    assert [each["content"][0]["text"] for each in agent.messages] == ["somebody else", "answer to somebody else"]


async def test_a_tool_does_not_run_for_a_connection_that_was_refused(
    factory: MongoDBSessionManagerFactory, collection: Collection[Any], commands: Commands
) -> None:
    ran: list[str] = []

    @tool
    def act() -> str:
        """Act."""
        ran.append("act")
        return "acted"

    await talked(await factory.open_session("s"), "one")
    agent, model = bidi_agent(await factory.open_session("s"), tools=[act])
    async with listening(agent) as listener:
        with commands.unwatched():
            collection.update_one({"_id": "s"}, {"$set": {"agents.default.revision": "another writer's"}})
        model.say(uses({"name": "act"}))
        with pytest.raises(SessionConflictError):
            await listener.until("never")
    assert ran == []


async def test_a_session_deleted_while_it_is_connected_refuses_every_message(
    factory: MongoDBSessionManagerFactory, stored: Stored
) -> None:
    agent = await talked(await factory.open_session("s"), "one")
    await factory.sessions.aio.delete("s")
    async with listening(agent):
        for _ in range(2):
            with pytest.raises(SessionNotFoundError):
                await agent.send("two")
    assert stored("s") is None


async def test_a_connection_may_hold_the_turn_and_everything_is_stored_as_it_comes_all_the_same(
    factory: MongoDBSessionManagerFactory, commands: Commands, stored: Stored
) -> None:
    await talked(await factory.open_session("s"), "one")
    manager = await factory.open_session("s")
    agent, _ = bidi_agent(manager, said("held"), uses(ADD), tools=[add])
    other, _ = bidi_agent(await factory.open_session("s"))
    commands.clear()
    async with manager.claim(agent), listening(agent) as listener:
        with pytest.raises(SessionBusyError):
            async with other:
                await other.send("let me in")
        await agent.send("two")
        await listener.until(TEXT)
        assert words(stored("s"))[2:] == ["user: two", "assistant: held"]
        await agent.send("1 + 2?")
        await until_stored(stored, [*words(stored("s"))[:4], "user: 1 + 2?", *PAIRS])
        assert "turn" in stored("s")["agents"]["default"]
    assert "turn" not in stored("s")["agents"]["default"]
    claim, refused, release = 1, 1, 1
    question_and_answer, question_and_pairs = 2, 3
    updates = claim + refused + question_and_answer + question_and_pairs + release
    assert commands.names.count("update") == updates


async def test_with_a_turn_written_once_a_connection_that_holds_it_is_stored_at_its_end(
    factory: MongoDBSessionManagerFactory, commands: Commands, stored: Stored
) -> None:
    manager = await factory.open_session("s", durability="turn")
    agent, _ = bidi_agent(manager, said("held"))
    async with manager.claim(agent):
        async with listening(agent) as listener:
            await agent.send("one")
            await listener.until(TEXT)
            assert words(stored("s")) == []
    assert words(stored("s")) == ["user: one", "assistant: held"]
