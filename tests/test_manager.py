"""The session manager's methods, those beside turns and those that an application calls by hand."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.collection import Collection
from pymongo.errors import ConfigurationError, InvalidOperation, ServerSelectionTimeoutError
from strands import Agent, tool
from strands.hooks import AfterModelCallEvent
from strands.session.repository_session_manager import RepositorySessionManager
from strands.types.content import Message
from strands.types.exceptions import SessionException

from mongodb_session_manager import (
    MongoDBSessionManager,
    MongoDBSessionManagerFactory,
    SessionError,
    SessionManager,
    SessionNotFoundError,
    create_mongodb_session_manager,
)
from mongodb_session_manager.mongodb_session_store import MongoDBSessionStore
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


def agent_of(manager: SessionManager, *script: Line, **options: Any) -> Agent:
    return Agent(model=ScriptedModel(*script), session_manager=manager, callback_handler=None, **options)


def text(role: Any, words: str) -> Message:
    return {"role": role, "content": [{"text": words}]}


def texts(manager: MongoDBSessionManager, agent_id: str = "default") -> list[str]:
    session = manager.get_session()
    assert session is not None
    return [message.to_message()["content"][0]["text"] for message in session.agents[agent_id].messages]


# Making one


def test_its_arguments_stand_where_they_always_stood() -> None:
    parameters = inspect.signature(MongoDBSessionManager).parameters
    positional = {name: one.default for name, one in parameters.items() if one.kind is one.POSITIONAL_OR_KEYWORD}

    assert list(positional) == [
        "session_id",
        "connection_string",
        "database_name",
        "collection_name",
        "client",
        "metadata_fields",
        "metadata_hook",
        "feedback_hook",
    ]
    assert positional["database_name"] == "database_name"
    assert positional["collection_name"] == "collection_name"
    assert {positional[name] for name in ("connection_string", "client", "metadata_fields")} == {None}


def test_it_is_the_sdks_own_kind_of_session_manager(factory: MongoDBSessionManagerFactory) -> None:
    manager = factory.create_session_manager("s")

    assert isinstance(manager, RepositorySessionManager)
    assert isinstance(manager, SessionManager)
    assert manager.session_id == "s"


def test_made_with_a_connection_string_it_connects_and_loads_at_once(
    mongo_uri: str, collection: Collection[Any], commands: Commands
) -> None:
    with create_mongodb_session_manager("s", mongo_uri, "tests", collection.name) as manager:
        assert commands.names == ["find"]
        agent_of(manager)("hi")

    assert commands.names == ["find", "update", "update"]


def test_a_wrong_address_fails_where_the_manager_is_made() -> None:
    with pytest.raises(ServerSelectionTimeoutError):
        MongoDBSessionManager("s", "mongodb://127.0.0.1:9/", serverSelectionTimeoutMS=100)


def test_made_with_a_client_it_sends_nothing(
    mongo_client: MongoClient[Any], collection: Collection[Any], commands: Commands
) -> None:
    MongoDBSessionManager("s", client=mongo_client, database_name="tests", collection_name=collection.name)

    assert commands.sent == []


def test_it_needs_a_connection_string_or_a_client() -> None:
    with pytest.raises(ValueError, match="connection_string or client"):
        MongoDBSessionManager("s")


def test_an_unknown_argument_is_refused(
    mongo_uri: str, mongo_client: MongoClient[Any], factory: MongoDBSessionManagerFactory
) -> None:
    with pytest.raises(TypeError, match="colour"):
        factory.create_session_manager("s", colour="blue")
    with pytest.raises(TypeError, match="colour"):
        MongoDBSessionManager("s", client=mongo_client, colour="blue")
    with pytest.raises(ConfigurationError, match="colour"):
        MongoDBSessionManager("s", mongo_uri, colour="blue")


@pytest.mark.parametrize("option", ["turn_timeout", "turn_limit"])
def test_a_turn_takes_time(factory: MongoDBSessionManagerFactory, option: str) -> None:
    options: dict[str, Any] = {option: 0}
    with pytest.raises(ValueError, match=option):
        factory.create_session_manager("s", **options)


# Agents


def test_initializing_an_agent_again_changes_nothing(factory: MongoDBSessionManagerFactory, commands: Commands) -> None:
    manager = factory.create_session_manager("s")
    agent = agent_of(manager)
    agent("hi")
    messages, state = deepcopy(agent.messages), agent.state.get()
    commands.clear()

    manager.initialize(agent)

    assert commands.sent == []
    assert (agent.messages, agent.state.get()) == (messages, state)


def test_a_second_agent_with_the_same_id_is_refused_by_the_sdk(factory: MongoDBSessionManagerFactory) -> None:
    manager = factory.create_session_manager("s")
    first = agent_of(manager)

    with pytest.raises(SessionException, match="unique"):
        agent_of(manager)
    assert first.agent_id == "default"


def test_agents_with_their_own_ids_share_a_session(factory: MongoDBSessionManagerFactory) -> None:
    manager = factory.create_session_manager("s")
    agent_of(manager, "from one", agent_id="one")("to one")
    agent_of(manager, "from two", agent_id="two")("to two")

    assert texts(manager, "one") == ["to one", "from one"]
    assert texts(manager, "two") == ["to two", "from two"]


# Messages by hand


@pytest.fixture
def manager(factory: MongoDBSessionManagerFactory) -> MongoDBSessionManager:
    return factory.create_session_manager("s")


@pytest.fixture
def agent(manager: MongoDBSessionManager) -> Agent:
    """One that has asked and was answered."""
    agent = agent_of(manager, "an answer")
    agent("a question")
    return agent


def test_a_message_of_the_sdk_is_not_stored_twice(manager: MongoDBSessionManager, agent: Agent) -> None:
    for message in list(agent.messages):
        manager.append_message(message, agent)
        manager.append_message(deepcopy(message), agent)

    assert texts(manager) == ["a question", "an answer"]


def test_the_answer_appended_by_hand_is_not_stored_twice(manager: MongoDBSessionManager, agent: Agent) -> None:
    manager.append_message(text("assistant", "an answer"), agent)
    manager.append_message({"role": "assistant", "content": "an answer"}, agent)  # type: ignore[typeddict-item]

    assert texts(manager) == ["a question", "an answer"]


@pytest.mark.parametrize(
    "message", [text("user", "an answer"), text("assistant", "another answer"), text("user", "a question")]
)
def test_a_message_that_differs_from_the_last_in_role_or_text_is_stored(
    manager: MongoDBSessionManager, agent: Agent, message: Message
) -> None:
    manager.append_message(message, agent)

    assert texts(manager) == ["a question", "an answer", message["content"][0]["text"]]


def test_another_picture_is_another_message(
    manager: MongoDBSessionManager, agent: Agent, factory: MongoDBSessionManagerFactory
) -> None:
    pictures: list[Any] = [{"image": {"format": "png", "source": {"bytes": b"one"}}}]
    pictures.append({"image": {"format": "png", "source": {"bytes": b"two"}}})
    for picture in pictures:
        manager.append_message({"role": "user", "content": [picture]}, agent)

    restored = agent_of(factory.create_session_manager("s"))
    assert [message["content"] for message in restored.messages[2:]] == [[pictures[0]], [pictures[1]]]


def test_the_same_tracking_id_with_other_content_updates_the_message(
    manager: MongoDBSessionManager, agent: Agent
) -> None:
    first = deepcopy(agent.messages[0])
    first["content"] = [{"text": "a better question"}]
    manager.append_message(first, agent)

    assert texts(manager) == ["a better question", "an answer"]


def test_a_plain_string_is_one_text_block(manager: MongoDBSessionManager, agent: Agent, stored: Document) -> None:
    manager.append_message({"role": "user", "content": "plainly"}, agent)  # type: ignore[typeddict-item]

    assert stored("s")["agents"]["default"]["messages"][-1]["message"]["content"] == [{"text": "plainly"}]


def test_appending_stores_and_leaves_the_agents_own_list_alone(manager: MongoDBSessionManager, agent: Agent) -> None:
    manager.append_message(text("user", "by hand"), agent)
    manager.append_message(text("assistant", "noted"), agent)

    assert len(agent.messages) == 2
    assert texts(manager) == ["a question", "an answer", "by hand", "noted"]


def test_a_turn_goes_on_after_messages_appended_by_hand(manager: MongoDBSessionManager, agent: Agent) -> None:
    manager.append_message(text("user", "by hand"), agent)
    agent("and now?")

    assert texts(manager) == ["a question", "an answer", "by hand", "and now?", "an answer"]


def test_the_latest_message_can_be_redacted(
    manager: MongoDBSessionManager, agent: Agent, stored: Document, factory: MongoDBSessionManagerFactory
) -> None:
    manager.redact_latest_message(text("assistant", "[removed]"), agent)

    assert texts(manager) == ["a question", "[removed]"]
    assert "an answer" not in repr(stored("s"))
    assert agent_of(factory.create_session_manager("s")).messages[-1]["content"] == [{"text": "[removed]"}]


def test_syncing_stores_changed_state_and_only_that(
    manager: MongoDBSessionManager, agent: Agent, commands: Commands, factory: MongoDBSessionManagerFactory
) -> None:
    agent.state.set("colour", "blue")
    commands.clear()
    manager.sync_agent(agent)
    manager.sync_agent(agent)

    assert commands.names == ["update"]
    assert agent_of(factory.create_session_manager("s")).state.get("colour") == "blue"


def test_an_idle_manager_does_not_overwrite_the_state_of_another(
    agent: Agent, manager: MongoDBSessionManager, factory: MongoDBSessionManagerFactory
) -> None:
    other = factory.create_session_manager("s")
    other_agent = agent_of(other)
    other_agent.state.set("colour", "green")
    other.sync_agent(other_agent)

    manager.sync_agent(agent)
    manager.close()

    assert agent_of(factory.create_session_manager("s")).state.get("colour") == "green"


# Closing


def test_closing_writes_what_is_recorded_and_not_yet_written(
    factory: MongoDBSessionManagerFactory, stored: Document
) -> None:
    manager = factory.create_session_manager("s")
    agent_of(manager, messages=[text("user", "hi"), text("assistant", "hello")])
    assert stored("s") is None

    manager.close()

    assert texts(manager) == ["hi", "hello"]


def test_closing_a_manager_whose_agent_said_nothing_makes_no_session(
    factory: MongoDBSessionManagerFactory, stored: Document
) -> None:
    with factory.create_session_manager("s") as manager:
        agent_of(manager)

    assert stored("s") is None


def test_a_manager_on_a_borrowed_client_works_after_closing(
    manager: MongoDBSessionManager, agent: Agent, mongo_client: MongoClient[Any]
) -> None:
    manager.close()
    manager.close()
    agent("once more")

    assert len(texts(manager)) == 4
    assert mongo_client.admin.command("ping")["ok"] == 1


def test_a_manager_with_its_own_client_gives_it_back(mongo_uri: str, collection: Collection[Any]) -> None:
    manager = MongoDBSessionManager("s", mongo_uri, "tests", collection.name, appname="closes")
    manager.update_metadata({"a": 1})
    manager.close()
    manager.close()

    with pytest.raises(InvalidOperation):
        manager.get_metadata()


async def test_it_can_be_used_as_a_context_manager(factory: MongoDBSessionManagerFactory, commands: Commands) -> None:
    async with await factory.open_session("s") as manager:
        await agent_of(manager).invoke_async("hi")
    with commands.unwatched(), factory.create_session_manager("s") as again:
        assert again.check_session_exists()


async def test_every_method_that_asks_the_database_has_an_awaitable_form(
    factory: MongoDBSessionManagerFactory, stored: Document
) -> None:
    manager = await factory.open_session("s")
    agent = agent_of(manager, "an answer")
    await agent.invoke_async("hi")

    await manager.aio.update_metadata({"a": {"b": 1}, "c": 2})
    await manager.aio.delete_metadata(["c"])
    assert await manager.aio.get_metadata() == {"a": {"b": 1}}
    await manager.aio.add_feedback({"rating": "up"})
    assert [feedback["rating"] for feedback in await manager.aio.get_feedbacks()] == ["up"]
    agent.state.set("k", "v")
    await manager.aio.sync_agent(agent)
    await manager.aio.append_message(text("user", "by hand"), agent)
    await manager.aio.redact_latest_message(text("user", "[removed]"), agent)
    await manager.aio.update_agent_config("default", system_prompt="be brief")
    await manager.aio.set_prompt_metadata("default", {"version": 2})
    assert (await manager.aio.get_agent_config("default"))["system_prompt"] == "be brief"
    assert await manager.aio.get_message_count("default") == 3
    assert [found["agent_id"] for found in await manager.aio.list_agents()] == ["default"]
    assert (await manager.aio.get_metrics_summary("default"))["total_tokens"] == 15
    assert await manager.aio.check_session_exists()
    session = await manager.aio.get_session()
    assert session.agents["default"].state == {"k": "v"}
    await manager.aio.reload(agent)
    assert agent.messages[-1]["content"] == [{"text": "[removed]"}]
    await manager.aio.initialize(agent)
    await manager.aio.close()


def test_what_does_no_io_has_no_awaitable_form(manager: MongoDBSessionManager) -> None:
    with pytest.raises(AttributeError, match="register_hooks"):
        _ = manager.aio.register_hooks
    assert "get_metadata" in dir(manager.aio)


# Looking at a session


def test_a_session_is_none_before_something_is_written(manager: MongoDBSessionManager) -> None:
    agent_of(manager)

    assert manager.get_session() is None
    assert manager.check_session_exists() is False
    assert manager.list_agents() == []


def test_a_session_shows_what_is_stored(manager: MongoDBSessionManager, agent: Agent, commands: Commands) -> None:
    agent.state.set("colour", "blue")
    manager.sync_agent(agent)
    manager.update_metadata({"topic": "shoes"})
    commands.clear()

    session = manager.get_session()

    assert session is not None
    assert manager.check_session_exists() is True
    assert (session.session_id, session.metadata) == ("s", {"topic": "shoes"})
    assert timedelta(0) <= session.updated_at - session.created_at
    assert abs(datetime.now(UTC) - session.created_at) < timedelta(minutes=1)
    view = session.agents["default"]
    assert (view.name, view.state, view.message_count) == ("Strands Agents", {"colour": "blue"}, 2)
    assert commands.names == ["find", "find"]
    assert [message.to_message() for message in view.messages] == agent.messages
    assert len(view.messages) == 2
    assert commands.names == ["find", "find", "find"], "messages are read when asked for, once"


def test_who_a_session_belongs_to_is_stored_when_it_is_made_and_not_later(
    factory: MongoDBSessionManagerFactory, stored: Document
) -> None:
    first = factory.create_session_manager("s", application_name="shop", owner="ann", title="Shoes")
    agent_of(first)("hi")
    created_at = stored("s")["created_at"]
    later = factory.create_session_manager("s", application_name="bank", owner="bob", title="Loans")
    agent_of(later)("again")
    later.update_metadata({"a": 1})

    document = stored("s")
    assert (document["application_name"], document["owner"], document["title"]) == ("shop", "ann", "Shoes")
    assert document["created_at"] == created_at
    assert (first.application_name, later.application_name) == ("shop", "bank")
    assert (first.owner, later.owner) == ("ann", "ann")


@pytest.mark.parametrize(
    "write",
    [
        lambda manager: manager.update_metadata({"a": 1}),
        lambda manager: manager.add_feedback({"rating": "up"}),
        lambda manager: manager.delete_metadata(["a"]),
    ],
    ids=["metadata", "feedback", "deletion"],
)
def test_a_write_beside_turns_creates_the_session_with_its_fields(
    factory: MongoDBSessionManagerFactory, stored: Document, write: Callable[[MongoDBSessionManager], None]
) -> None:
    write(factory.create_session_manager("s", application_name="shop", owner="ann", title="Shoes"))

    document = stored("s")
    assert (document["application_name"], document["owner"], document["title"]) == ("shop", "ann", "Shoes")
    assert (document["session_id"], document["session_type"]) == ("s", "AGENT")
    assert isinstance(document.get("metadata", {}), dict)
    assert isinstance(document["feedbacks"], list)


def test_an_agents_setup_is_stored_and_can_be_changed(factory: MongoDBSessionManagerFactory) -> None:
    manager = factory.create_session_manager("s")
    agent_of(manager, agent_id="a", name="Ada", system_prompt="be kind")("hi")

    assert manager.get_agent_config("a") == {
        "agent_id": "a",
        "name": "Ada",
        "model": "scripted-1",
        "system_prompt": "be kind",
        "prompt_metadata": None,
    }
    manager.update_agent_config("a", model="scripted-2", system_prompt="be brief")
    manager.update_agent_config("a")
    manager.set_prompt_metadata("a", {"name": "kindness", "version": 3})
    config = manager.get_agent_config("a")
    assert (config["name"], config["model"], config["system_prompt"]) == ("Ada", "scripted-2", "be brief")
    assert config["prompt_metadata"] == {"name": "kindness", "version": 3}
    assert manager.list_agents() == [{"agent_id": "a", "name": "Ada", "model": "scripted-2", "message_count": 2}]
    assert manager.get_message_count("a") == 2


@pytest.mark.parametrize(
    "ask",
    [
        lambda manager: manager.get_agent_config("nobody"),
        lambda manager: manager.update_agent_config("nobody", model="m"),
        lambda manager: manager.set_prompt_metadata("nobody", {}),
        lambda manager: manager.get_message_count("nobody"),
    ],
    ids=["get_agent_config", "update_agent_config", "set_prompt_metadata", "get_message_count"],
)
def test_an_unknown_agent_raises_and_is_named(
    manager: MongoDBSessionManager, agent: Agent, ask: Callable[[MongoDBSessionManager], None]
) -> None:
    with pytest.raises(SessionNotFoundError, match="'nobody'") as raised:
        ask(manager)
    assert (raised.value.session_id, raised.value.agent_id) == ("s", "nobody")


# What a conversation has cost


def test_metrics_are_sums_over_every_agent_object_that_served_the_session(
    factory: MongoDBSessionManagerFactory,
) -> None:
    for words in ("one", "two", "three"):
        agent_of(factory.create_session_manager("s"), "ok")(words)
    agent_of(factory.create_session_manager("s"), {"name": "add", "input": {"a": 1, "b": 2}}, "3", tools=[add])("1+2?")

    summary = factory.create_session_manager("s").get_metrics_summary("default")

    assert summary["agent_id"] == "default"
    assert summary["model"] == "scripted-1"
    assert summary["total_messages"] == 3 * 2 + 4
    assert (summary["total_input_tokens"], summary["total_output_tokens"], summary["total_tokens"]) == (50, 25, 75)
    assert (summary["total_model_calls"], summary["total_tool_calls"]) == (5, 1)
    assert summary["average_latency_ms"] == 7


def test_a_failed_call_costs_nothing_and_a_repeated_one_what_it_costs(factory: MongoDBSessionManagerFactory) -> None:
    agent = agent_of(factory.create_session_manager("s"), RuntimeError("down"), "unsatisfactory", "good")
    with pytest.raises(RuntimeError, match="down"):
        agent("first")

    def once_more(event: AfterModelCallEvent) -> None:
        answer = event.stop_response.message["content"][0] if event.stop_response else {}
        event.retry = answer.get("text") == "unsatisfactory"

    agent.hooks.add_callback(AfterModelCallEvent, once_more)
    agent("second")

    summary = factory.create_session_manager("s").get_metrics_summary("default")
    assert (summary["total_messages"], summary["total_tokens"]) == (3, 30)


def test_agents_are_counted_apart(factory: MongoDBSessionManagerFactory) -> None:
    manager = factory.create_session_manager("s")
    agent_of(manager, agent_id="one")("hi")
    two = agent_of(manager, agent_id="two")
    two("hi")
    two("hi again")

    assert manager.get_metrics_summary("one")["total_tokens"] == 15
    assert manager.get_metrics_summary("two")["total_tokens"] == 30


@pytest.mark.parametrize("session_exists", [True, False])
def test_an_unknown_agent_has_cost_nothing(factory: MongoDBSessionManagerFactory, session_exists: bool) -> None:
    manager = factory.create_session_manager("s")
    if session_exists:
        agent_of(manager)("hi")

    summary = manager.get_metrics_summary("nobody")

    assert summary.pop("agent_id") == "nobody"
    assert summary.pop("model") is None
    assert {*summary} >= {"total_messages", "total_tokens", "average_latency_ms"}
    assert set(summary.values()) == {0}


# A session that was deleted


@pytest.mark.parametrize(
    "find_it",
    [
        lambda manager: agent_of(manager),
        lambda manager: manager.update_metadata({"found": True}),
        lambda manager: manager.get_session(),
        lambda manager: manager.check_session_exists(),
        lambda manager: manager.get_metadata(),
    ],
    ids=["an agent", "a write", "get_session", "check_session_exists", "get_metadata"],
)
def test_a_session_deleted_after_it_was_found_is_not_made_again(
    factory: MongoDBSessionManagerFactory, stored: Document, find_it: Callable[[MongoDBSessionManager], Any]
) -> None:
    factory.sessions.create("s", metadata={"a": 1})
    manager = factory.create_session_manager("s")
    found = find_it(manager)
    factory.sessions.delete("s")

    with pytest.raises(SessionNotFoundError):
        manager.update_metadata({"a": 2})
    with pytest.raises(SessionNotFoundError):
        manager.delete_metadata(["a"])
    with pytest.raises(SessionNotFoundError):
        manager.add_feedback({"rating": "up"})
    agent = found if isinstance(found, Agent) else None
    with pytest.raises(SessionNotFoundError):
        (agent or agent_of(manager))("hi")
    assert stored("s") is None


# Without a catalogue


def test_a_session_manager_needs_nothing_but_a_store(
    mongo_client: MongoClient[Any], collection: Collection[Any], factory: MongoDBSessionManagerFactory
) -> None:
    manager = SessionManager("s", store=MongoDBSessionStore(mongo_client, "tests", collection.name))
    agent_of(manager, "an answer")("a question")

    assert texts(factory.create_session_manager("s")) == ["a question", "an answer"]
    with pytest.raises(SessionError, match="catalogue="):
        manager.get_metadata()
