"""Promise 1, counted from the driver's own commands: what sessions cost, whatever the length of their history."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.collection import Collection
from strands import Agent, ToolContext, tool

from mongodb_session_manager import MongoDBSessionManager, MongoDBSessionManagerFactory
from mongodb_session_manager.mongodb_collection import _prepared
from tests.commands import Commands
from tests.models import Line, ScriptedModel

Document = Callable[[str], Any]


@tool
def add(a: int, b: int) -> int:
    """Add two numbers.

    Args:
        a: The first.
        b: The second.
    """
    return a + b


@tool(context=True)
def pay(amount: int, tool_context: ToolContext) -> str:
    """Pay after approval.

    Args:
        amount: How much.
    """
    answer = tool_context.interrupt("approval", reason=f"pay {amount}?")
    return f"{answer}: paid {amount}"


ADDITION = {"name": "add", "input": {"a": 1, "b": 2}}
PAYMENT = {"name": "pay", "input": {"amount": 9}}


def agent_of(manager: MongoDBSessionManager, *script: Line, **options: Any) -> Agent:
    return Agent(model=ScriptedModel(*script), session_manager=manager, callback_handler=None, **options)


@pytest.fixture
def session(factory: MongoDBSessionManagerFactory, commands: Commands) -> str:
    """A session with one turn behind it, and nothing counted yet."""
    agent_of(factory.create_session_manager("s"), "hello")("hi")
    commands.clear()
    return "s"


def test_a_thousand_managers_cost_no_command(factory: MongoDBSessionManagerFactory, commands: Commands) -> None:
    managers = [factory.create_session_manager(f"session-{number}") for number in range(1000)]

    assert len(managers) == 1000
    assert commands.sent == []


def test_a_resumed_turn_costs_one_read_and_two_writes(
    factory: MongoDBSessionManagerFactory, session: str, commands: Commands
) -> None:
    agent_of(factory.create_session_manager(session))("again")

    assert commands.names == ["find", "update", "update"]


async def test_a_resumed_turn_on_an_event_loop_costs_the_same(
    factory: MongoDBSessionManagerFactory, session: str, commands: Commands
) -> None:
    agent = agent_of(await factory.open_session(session))
    async for _ in agent.stream_async("again"):
        pass

    assert commands.names == ["find", "update", "update"]


def test_a_turn_with_a_tool_call_costs_five(
    factory: MongoDBSessionManagerFactory, session: str, commands: Commands
) -> None:
    agent_of(factory.create_session_manager(session), ADDITION, "three", tools=[add])("1 + 2?")

    assert commands.names == ["find", "update", "update", "update", "update"]


def test_parallel_tool_calls_cost_what_one_does(
    factory: MongoDBSessionManagerFactory, session: str, commands: Commands
) -> None:
    agent_of(factory.create_session_manager(session), [ADDITION, ADDITION, ADDITION], "done", tools=[add])("go")

    assert commands.names == ["find", "update", "update", "update", "update"]


def test_a_tool_that_changes_the_state_costs_nothing_more(
    factory: MongoDBSessionManagerFactory, session: str, commands: Commands
) -> None:
    @tool(context=True)
    def remember(fact: str, tool_context: ToolContext) -> str:
        """Remember.

        Args:
            fact: What.
        """
        tool_context.agent.state.set("fact", fact)
        return "remembered"

    script = {"name": "remember", "input": {"fact": "blue"}}, "noted"
    agent_of(factory.create_session_manager(session), *script, tools=[remember])("my colour is blue")

    assert commands.names == ["find", "update", "update", "update", "update"]


def test_the_first_turn_of_a_new_session_costs_three(factory: MongoDBSessionManagerFactory, commands: Commands) -> None:
    agent_of(factory.create_session_manager("new"))("hi")

    assert commands.names == ["find", "update", "update"]


def test_a_further_turn_of_the_same_agent_costs_two(
    factory: MongoDBSessionManagerFactory, session: str, commands: Commands
) -> None:
    agent = agent_of(factory.create_session_manager(session))
    agent("one")
    commands.clear()
    agent("two")

    assert commands.names == ["update", "update"]


def test_making_an_agent_of_a_new_session_writes_nothing(
    factory: MongoDBSessionManagerFactory, commands: Commands, stored: Document
) -> None:
    agent_of(factory.create_session_manager("new"))

    assert commands.names == ["find"]
    assert stored("new") is None


def test_what_the_sdk_has_done_already_costs_nothing_by_hand(
    factory: MongoDBSessionManagerFactory, session: str, commands: Commands
) -> None:
    manager = factory.create_session_manager(session)
    agent = agent_of(manager, "the answer")
    agent("a question")
    commands.clear()

    manager.sync_agent(agent)
    manager.initialize(agent)
    manager.append_message(agent.messages[-1], agent)
    manager.append_message({"role": "assistant", "content": [{"text": "the answer"}]}, agent)
    manager.close()

    assert commands.sent == []


def test_an_answered_interrupt_costs_one_more_than_a_plain_turn(
    factory: MongoDBSessionManagerFactory, session: str, commands: Commands, stored: Document
) -> None:
    result = agent_of(factory.create_session_manager(session), PAYMENT, tools=[pay])("pay nine")
    # The question, the tool use, and the interrupt with the release.
    assert commands.names == ["find", "update", "update", "update"]
    commands.clear()

    assert result.interrupts
    answer: Any = {"interruptResponse": {"interruptId": result.interrupts[0].id, "response": "yes"}}
    agent = agent_of(factory.create_session_manager(session), "paid", tools=[pay])
    agent([answer])

    # The claim before the tool runs again, its result, and the answer with the release.
    assert commands.names == ["find", "update", "update", "update"]
    assert agent.messages[-2]["content"][0]["toolResult"]["content"] == [{"text": "yes: paid 9"}]
    assert "turn" not in stored(session)["agents"]["default"]


def test_an_agent_that_is_asked_to_go_on_costs_what_a_question_does(
    factory: MongoDBSessionManagerFactory, session: str, commands: Commands
) -> None:
    agent_of(factory.create_session_manager(session))(None)

    assert commands.names == ["find", "update", "update"]


def test_a_redaction_costs_one_update_more_and_leaves_nothing_of_the_prompt(
    factory: MongoDBSessionManagerFactory, session: str, commands: Commands, stored: Document
) -> None:
    agent = agent_of(factory.create_session_manager(session), "I cannot say")
    agent.model.redact = "[removed]"  # type: ignore[attr-defined]
    agent("the secret is 4711")

    assert commands.names == ["find", "update", "find", "update", "update"]
    assert "4711" not in repr(stored(session))


def test_a_direct_tool_call_is_one_update(
    factory: MongoDBSessionManagerFactory, session: str, commands: Commands, stored: Document
) -> None:
    agent = agent_of(factory.create_session_manager(session), tools=[add])
    commands.clear()
    agent.tool.add(a=1, b=2)

    assert commands.names == ["update"]
    assert stored(session)["agents"]["default"]["message_count"] == 6


def test_a_second_agent_costs_a_find_of_its_own(
    factory: MongoDBSessionManagerFactory, session: str, commands: Commands
) -> None:
    manager = factory.create_session_manager(session)
    agent_of(manager, agent_id="one")
    agent_of(manager, agent_id="two")

    assert commands.names == ["find", "find"]


def test_metadata_feedback_and_metrics_are_one_command_each(
    factory: MongoDBSessionManagerFactory, session: str, commands: Commands
) -> None:
    manager = factory.create_session_manager(session)
    manager.update_metadata({"a": 1})
    manager.get_metadata()
    manager.delete_metadata(["a"])
    manager.add_feedback({"rating": "up"})
    manager.get_feedbacks()
    manager.get_metrics_summary("default")
    manager.get_session()
    manager.check_session_exists()

    assert commands.names == ["findAndModify", "find", "findAndModify", "findAndModify", "find", "find", "find", "find"]


def test_indexes_are_made_once_for_a_collection(
    mongo_client: MongoClient[Any], collection: Collection[Any], commands: Commands
) -> None:
    for _ in range(3):
        factory = MongoDBSessionManagerFactory(
            client=mongo_client, database_name="tests", collection_name=collection.name
        )
        for number in range(3):
            agent_of(factory.create_session_manager(f"s{number}"))("hi")
            factory.sessions.page()

    assert [name for name, _, _ in commands.sent].count("createIndexes") == 1


def test_a_client_that_goes_takes_nothing_from_another_of_the_same_address(mongo_uri: str, commands: Commands) -> None:
    with MongoClient[Any](mongo_uri) as first, MongoClient[Any](mongo_uri) as second:
        assert first == second
        for client in (first, second):
            MongoDBSessionManagerFactory(client=client, database_name="tests", collection_name="kept").sessions.page()
        kept = _prepared[id(second)]
        assert _prepared[id(first)] is not kept
    number = id(first)
    del first, client
    gc.collect()
    assert _prepared.get(number) is None
    assert _prepared[id(second)] is kept


def test_the_indexes_are_those_that_lists_and_expiry_need(
    mongo_client: MongoClient[Any], collection: Collection[Any], commands: Commands
) -> None:
    factory = MongoDBSessionManagerFactory(
        client=mongo_client, database_name="tests", collection_name=collection.name, metadata_fields=["topic"]
    )
    factory.sessions.page()

    keys = [list(index["key"].items()) for index in collection.list_indexes()]
    assert [("created_at", 1), ("_id", 1), ("title", 1)] in keys
    assert [("expires_at", 1)] in keys
    assert [("metadata.topic", 1), ("updated_at", 1), ("_id", 1), ("owner", 1)] in keys
    assert sum(key[0][0] == "metadata.topic" for key in keys) == 1
    assert {key[0][0] for key in keys} == {
        "_id",
        "created_at",
        "updated_at",
        "owner",
        "application_name",
        "expires_at",
        "lifetime",
        "deleting",
        "importing",
        "forked_from.session_id",
        "forked_from.owner",
        "metadata.topic",
    }


def test_a_turn_moves_as_many_bytes_after_two_thousand_messages_as_after_a_hundred(
    factory: MongoDBSessionManagerFactory, commands: Commands, stored: Document
) -> None:
    grow(factory, turns=50)
    early = bytes_of_a_turn(factory, commands)
    grow(factory, turns=949)
    late = bytes_of_a_turn(factory, commands)

    assert stored("long")["agents"]["default"]["message_count"] == 2002
    assert late == pytest.approx(early, abs=64)


def grow(factory: MongoDBSessionManagerFactory, turns: int) -> None:
    async def talk() -> None:
        agent = agent_of(await factory.open_session("long"), "an answer of forty letters, more or less")
        for _ in range(turns):
            await agent.invoke_async("a question of forty letters, more or less")

    asyncio.run(talk())


def bytes_of_a_turn(factory: MongoDBSessionManagerFactory, commands: Commands) -> tuple[int, int]:
    """Sent by a turn, and received by its load."""
    commands.clear()
    agent_of(factory.create_session_manager("long"), "an answer of forty letters, more or less")("a question")
    assert commands.names == ["find", "update", "update"]
    return commands.bytes_sent, commands.received[0]
