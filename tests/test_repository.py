"""The SDK's repository for direct use."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.collection import Collection
from pymongo.errors import InvalidOperation
from strands import Agent
from strands.session.session_repository import SessionRepository
from strands.types.content import Message
from strands.types.exceptions import SessionException
from strands.types.session import Session, SessionAgent, SessionMessage, SessionType

from mongodb_session_manager import (
    MongoDBSessionManagerFactory,
    MongoDBSessionRepository,
    SessionBusyError,
    SessionError,
    SessionNotFoundError,
)
from tests.commands import Commands
from tests.models import ScriptedModel

Document = Callable[[str], Any]


class Graph:
    """As much of a graph or swarm as a repository looks at."""

    def __init__(self, id: str, **state: Any) -> None:  # noqa: A002 - the SDK's name
        self.id = id
        self.state = state

    def serialize_state(self) -> dict[str, Any]:
        return self.state


@pytest.fixture
def repository(mongo_client: MongoClient[Any], collection: Collection[Any]) -> MongoDBSessionRepository:
    return MongoDBSessionRepository(client=mongo_client, database_name="tests", collection_name=collection.name)


@pytest.fixture
def session(repository: MongoDBSessionRepository) -> str:
    """A session with one agent and three messages."""
    repository.create_session(Session("s", SessionType.AGENT))
    repository.create_agent("s", agent("a", colour="blue"))
    for number, words in enumerate(("zero", "one", "two")):
        repository.create_message("s", "a", said(words, number))
    return "s"


def agent(agent_id: str, **state: Any) -> SessionAgent:
    return SessionAgent(agent_id=agent_id, state=state, conversation_manager_state={})


def text(words: str, role: Any = "user") -> Message:
    return {"role": role, "content": [{"text": words}]}


def said(words: str, number: int) -> SessionMessage:
    return SessionMessage.from_message(text(words), number)


def words_of(messages: list[SessionMessage]) -> list[str]:
    return [message.to_message()["content"][0]["text"] for message in messages]


def test_it_implements_all_of_the_sdks_repository(repository: MongoDBSessionRepository) -> None:
    assert isinstance(repository, SessionRepository)
    for name, method in inspect.getmembers(SessionRepository, inspect.isfunction):
        ours = inspect.signature(getattr(MongoDBSessionRepository, name))
        assert list(ours.parameters) == list(inspect.signature(method).parameters), name
        assert getattr(MongoDBSessionRepository, name) is not method, name


# Sessions


def test_a_session_is_created_once(repository: MongoDBSessionRepository) -> None:
    made = repository.create_session(Session("s", SessionType.AGENT))

    assert (made.session_id, made.session_type) == ("s", SessionType.AGENT)
    assert abs(datetime.now(UTC) - datetime.fromisoformat(made.created_at)) < timedelta(minutes=1)
    assert repository.read_session("s") == made
    with pytest.raises(SessionError, match="'s' exists"):
        repository.create_session(Session("s", SessionType.AGENT))


def test_an_unknown_session_reads_as_none(repository: MongoDBSessionRepository) -> None:
    assert repository.read_session("nobodys") is None
    assert repository.read_agent("nobodys", "a") is None
    assert repository.read_multi_agent("nobodys", "g") is None


def test_a_session_is_deleted_whole_and_once(
    repository: MongoDBSessionRepository, session: str, stored: Document
) -> None:
    repository.delete_session(session)

    assert stored(session) is None
    with pytest.raises(SessionNotFoundError, match="'s'"):
        repository.delete_session(session)


# Agents


def test_an_agent_comes_back_equal(repository: MongoDBSessionRepository, session: str) -> None:
    original = SessionAgent(
        agent_id="b.$%",
        state={"$a.b": 2**70, "": b"bytes", "\x00": "\ud800"},
        conversation_manager_state={"__name__": "SlidingWindowConversationManager", "removed_message_count": 3},
        _internal_state={"interrupt_state": {"interrupts": {}, "context": {}, "activated": False}, "model_state": {}},
    )
    repository.create_agent(session, original)

    found = repository.read_agent(session, "b.$%")
    assert found is not None
    assert (found.agent_id, found.state) == (original.agent_id, original.state)
    assert found.conversation_manager_state == original.conversation_manager_state
    assert found._internal_state == original._internal_state
    assert repository.read_agent(session, "nobody") is None


def test_updating_an_agent_keeps_when_it_was_created(repository: MongoDBSessionRepository, session: str) -> None:
    before, session_before = repository.read_agent(session, "a"), repository.read_session(session)
    repository.update_agent(session, agent("a", colour="green"))
    after, session_after = repository.read_agent(session, "a"), repository.read_session(session)

    assert before is not None
    assert after is not None
    assert session_before is not None
    assert session_after is not None
    assert (before.state, after.state) == ({"colour": "blue"}, {"colour": "green"})
    assert (after.created_at, session_after.created_at) == (before.created_at, session_before.created_at)
    assert after.updated_at >= before.updated_at
    assert len(repository.list_messages(session, "a")) == 3


def test_unchanged_state_is_not_written_again(
    repository: MongoDBSessionRepository, session: str, commands: Commands, stored: Document
) -> None:
    before = stored(session)
    commands.clear()
    repository.update_agent(session, agent("a", colour="blue"))

    assert commands.names == ["find"]
    assert stored(session) == before


def test_creating_an_agent_again_keeps_its_history(repository: MongoDBSessionRepository, session: str) -> None:
    repository.create_agent(session, agent("a", colour="green"))

    found = repository.read_agent(session, "a")
    assert found is not None
    assert found.state == {"colour": "green"}
    assert words_of(repository.list_messages(session, "a")) == ["zero", "one", "two"]


# Messages


def test_messages_come_back_equal_and_in_order(repository: MongoDBSessionRepository, session: str) -> None:
    content: Any = [{"toolUse": {"toolUseId": "1", "name": "t", "input": {"$a.b": 2**70, "": b"\x00"}}}]
    original = SessionMessage.from_message({"role": "assistant", "content": content}, 3)
    repository.create_message(session, "a", original)

    found = repository.read_message(session, "a", 3)
    assert found is not None
    assert (found.message, found.message_id, found.redact_message) == (original.message, 3, None)
    moment = datetime.fromisoformat(original.created_at)
    assert datetime.fromisoformat(found.created_at) == moment.replace(microsecond=moment.microsecond // 1000 * 1000)
    assert words_of(repository.list_messages(session, "a", limit=3)) == ["zero", "one", "two"]


@pytest.mark.parametrize("number", [0, 2, 4, 99, -1])
def test_a_message_that_is_not_the_next_one_is_refused(
    repository: MongoDBSessionRepository, session: str, number: int
) -> None:
    with pytest.raises(ValueError, match=r"message_id -?\d+ is not the next"):
        repository.create_message(session, "a", said("out of turn", number))
    assert len(repository.list_messages(session, "a")) == 3


@pytest.mark.parametrize("number", [3, 99, -1])
def test_a_message_that_is_not_there_reads_as_none(
    repository: MongoDBSessionRepository, session: str, number: int
) -> None:
    assert repository.read_message(session, "a", number) is None


def test_updating_a_message_replaces_it_and_keeps_when_it_was_created(
    repository: MongoDBSessionRepository, session: str
) -> None:
    before = repository.read_message(session, "a", 1)
    repository.update_message(session, "a", said("uno", 1))
    after = repository.read_message(session, "a", 1)

    assert before is not None
    assert after is not None
    assert words_of(repository.list_messages(session, "a")) == ["zero", "uno", "two"]
    assert after.created_at == before.created_at
    assert after.updated_at >= before.updated_at


def test_redacting_a_message_leaves_nothing_of_it(
    repository: MongoDBSessionRepository, session: str, stored: Document
) -> None:
    message = repository.read_message(session, "a", 1)
    assert message is not None
    message.redact_message = text("[removed]")
    repository.update_message(session, "a", message)

    found = repository.read_message(session, "a", 1)
    assert found is not None
    assert found.redact_message == found.to_message() == text("[removed]")
    assert "one" not in repr(stored(session)["agents"]["a"]["messages"])


@pytest.mark.parametrize(
    ("window", "expected"),
    [
        ({}, ["zero", "one", "two"]),
        ({"limit": 2}, ["zero", "one"]),
        ({"limit": 1, "offset": 1}, ["one"]),
        ({"offset": 2}, ["two"]),
        ({"offset": 3}, []),
        ({"limit": 5, "offset": 1}, ["one", "two"]),
        ({"limit": 0}, []),
        ({"limit": 0, "offset": 1}, []),
    ],
    ids=repr,
)
def test_a_window_of_messages(
    repository: MongoDBSessionRepository, session: str, window: dict[str, int], expected: list[str]
) -> None:
    assert words_of(repository.list_messages(session, "a", **window)) == expected


def test_a_window_reaches_behind_what_the_conversation_manager_kept(
    repository: MongoDBSessionRepository, session: str
) -> None:
    kept = agent("a")
    kept.conversation_manager_state = {"removed_message_count": 2}
    repository.update_agent(session, kept)

    assert words_of(repository.list_messages(session, "a")) == ["zero", "one", "two"]
    assert words_of(repository.list_messages(session, "a", limit=1, offset=1)) == ["one"]
    assert words_of(repository.list_messages(session, "a", limit=2)) == ["zero", "one"]
    found = repository.read_message(session, "a", 0)
    assert found is not None
    assert words_of([found]) == ["zero"]
    repository.update_message(session, "a", said("nil", 0))
    assert words_of(repository.list_messages(session, "a")) == ["nil", "one", "two"]


@pytest.mark.parametrize("window", [{"limit": -1}, {"offset": -1}, {"limit": -1, "offset": -1}], ids=repr)
def test_a_negative_window_is_refused(
    repository: MongoDBSessionRepository, session: str, window: dict[str, int]
) -> None:
    with pytest.raises(ValueError, match="negative"):
        repository.list_messages(session, "a", **window)


# Graphs and swarms


def test_a_graphs_state_comes_back_equal(repository: MongoDBSessionRepository, session: str) -> None:
    state = {"type": "graph", "$odd.key": [2**70], "": b"bytes"}
    repository.create_multi_agent(session, Graph("g.1", **state))  # type: ignore[arg-type]
    assert repository.read_multi_agent(session, "g.1") == state

    repository.update_multi_agent(session, Graph("g.1", type="graph", step=2))  # type: ignore[arg-type]
    assert repository.read_multi_agent(session, "g.1") == {"type": "graph", "step": 2}
    assert repository.read_multi_agent(session, "g") is None
    assert repository.read_agent(session, "g.1") is None


# What is not there

UNKNOWN_SESSION: dict[str, Callable[[MongoDBSessionRepository], Any]] = {
    "create_agent": lambda repository: repository.create_agent("nobodys", agent("a")),
    "update_agent": lambda repository: repository.update_agent("nobodys", agent("a")),
    "create_message": lambda repository: repository.create_message("nobodys", "a", said("x", 0)),
    "read_message": lambda repository: repository.read_message("nobodys", "a", 0),
    "update_message": lambda repository: repository.update_message("nobodys", "a", said("x", 0)),
    "list_messages": lambda repository: repository.list_messages("nobodys", "a"),
    "create_multi_agent": lambda repository: repository.create_multi_agent("nobodys", Graph("g")),  # type: ignore[arg-type]
    "update_multi_agent": lambda repository: repository.update_multi_agent("nobodys", Graph("g")),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("name", UNKNOWN_SESSION)
def test_an_unknown_session_is_named(repository: MongoDBSessionRepository, stored: Document, name: str) -> None:
    with pytest.raises(SessionNotFoundError, match="session 'nobodys'") as raised:
        UNKNOWN_SESSION[name](repository)
    assert raised.value.session_id == "nobodys"
    assert stored("nobodys") is None


UNKNOWN_AGENT: dict[str, Callable[[MongoDBSessionRepository], Any]] = {
    "update_agent": lambda repository: repository.update_agent("s", agent("nobody")),
    "create_message": lambda repository: repository.create_message("s", "nobody", said("x", 0)),
    "read_message": lambda repository: repository.read_message("s", "nobody", 0),
    "update_message": lambda repository: repository.update_message("s", "nobody", said("x", 0)),
    "list_messages": lambda repository: repository.list_messages("s", "nobody"),
    "list_messages of none": lambda repository: repository.list_messages("s", "nobody", limit=0),
    "update_multi_agent": lambda repository: repository.update_multi_agent("s", Graph("nobody")),  # type: ignore[arg-type]
}


@pytest.mark.usefixtures("session")
@pytest.mark.parametrize("name", UNKNOWN_AGENT)
def test_an_unknown_agent_is_named(repository: MongoDBSessionRepository, stored: Document, name: str) -> None:
    before = stored("s")
    with pytest.raises(SessionException, match="'nobody'"):
        UNKNOWN_AGENT[name](repository)
    assert stored("s") == before


@pytest.mark.parametrize("number", [3, 99, -1])
def test_an_unknown_message_is_named(repository: MongoDBSessionRepository, session: str, number: int) -> None:
    with pytest.raises(SessionException, match=f"message {number} of agent 'a'"):
        repository.update_message(session, "a", said("x", number))


# Beside managers


def test_a_manager_continues_what_the_repository_wrote_and_the_other_way_round(
    repository: MongoDBSessionRepository, session: str, factory: MongoDBSessionManagerFactory
) -> None:
    manager = factory.create_session_manager(session)
    restored = Agent(model=ScriptedModel("three"), session_manager=manager, agent_id="a", callback_handler=None)
    assert restored.state.get() == {"colour": "blue"}
    restored("and?")
    repository.create_message(session, "a", said("five", 5))

    assert words_of(repository.list_messages(session, "a")) == ["zero", "one", "two", "and?", "three", "five"]


def test_a_write_is_refused_while_a_turn_of_that_agent_runs(
    repository: MongoDBSessionRepository, session: str, factory: MongoDBSessionManagerFactory
) -> None:
    manager = factory.create_session_manager(session)
    holder = Agent(model=ScriptedModel(), session_manager=manager, agent_id="a", callback_handler=None)
    with manager.claim(holder):
        with pytest.raises(SessionBusyError) as raised:
            repository.create_message(session, "a", said("three", 3))
        with pytest.raises(SessionBusyError):
            repository.update_message(session, "a", said("nil", 0))
        with pytest.raises(SessionBusyError):
            repository.update_agent(session, agent("a", colour="green"))
        repository.create_agent(session, agent("another"))
        assert len(repository.list_messages(session, "a")) == 3
    assert 0 < raised.value.retry_after <= 30
    repository.create_message(session, "a", said("three", 3))


def test_one_of_many_appends_the_next_message(repository: MongoDBSessionRepository, session: str) -> None:
    start = threading.Barrier(8)

    def append(number: int) -> bool:
        start.wait()
        try:
            repository.create_message(session, "a", said(f"three of {number}", 3))
        except (ValueError, SessionError):
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(append, range(8))) == 1
    assert [message.message_id for message in repository.list_messages(session, "a")] == [0, 1, 2, 3]


# Its client


def test_it_gives_back_its_own_client_and_no_other(
    repository: MongoDBSessionRepository, session: str, mongo_uri: str, collection: Collection[Any]
) -> None:
    repository.close()
    assert repository.read_session(session) is not None

    with MongoDBSessionRepository(mongo_uri, "tests", collection.name, appname="repository") as own:
        assert own.read_session(session) is not None
    own.close()
    with pytest.raises(InvalidOperation):
        own.read_session(session)


def test_it_needs_a_connection_string_or_a_client() -> None:
    with pytest.raises(ValueError, match="connection_string or client"):
        MongoDBSessionRepository()
