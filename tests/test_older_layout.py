"""Sessions that older tools left are loaded whole, go on, and keep every field that they had."""

from __future__ import annotations

import copy
import uuid
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import bson
import pytest
from pymongo import MongoClient
from pymongo.collection import Collection
from strands import Agent, tool
from strands.types.session import SessionMessage

from mongodb_session_manager import (
    MongoDBSessionManager,
    MongoDBSessionManagerFactory,
    MongoDBSessionRepository,
    SessionConflictError,
)
from tests.commands import Commands
from tests.models import ScriptedModel
from tests.older_layout import (
    CREATED,
    HELLO,
    INTERRUPT_ID,
    LATER,
    NAIVE_TEXT,
    OLDER,
    TEXT,
    Older,
    agent,
    message,
    session,
)

Sessions = Collection[dict[str, Any]]
every_oddity = pytest.mark.parametrize("name", OLDER)


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@pytest.fixture(scope="module")
def factory(mongo_client: MongoClient[Any]) -> Iterator[MongoDBSessionManagerFactory]:
    """One collection for all of them, which saves the making of its indexes each time."""
    name = f"older_{uuid.uuid4().hex[:12]}"
    yield MongoDBSessionManagerFactory(client=mongo_client, database_name="tests", collection_name=name)
    mongo_client["tests"].drop_collection(name)


@pytest.fixture(scope="module")
def collection(factory: MongoDBSessionManagerFactory) -> Sessions:
    return factory.sessions.collection


@pytest.fixture
def session_id() -> str:
    """The id of the test's own session."""
    return uuid.uuid4().hex


@pytest.fixture
def older(name: str, session_id: str, collection: Sessions, commands: Commands) -> Older:
    """One of the fixtures, in the database as the test's session."""
    with commands.unwatched():
        lay(collection, session_id, OLDER[name].document)
    return OLDER[name]


def lay(collection: Sessions, session_id: str, document: dict[str, Any]) -> None:
    collection.insert_one({"_id": session_id, **copy.deepcopy(document)})


def stored(collection: Sessions, session_id: str) -> Any:
    return collection.find_one({"_id": session_id})


def agent_of(manager: MongoDBSessionManager, agent_id: str = "default", *script: Any) -> Agent:
    model = ScriptedModel(*script or ("still here",))
    return Agent(model=model, agent_id=agent_id, session_manager=manager, callback_handler=None, tools=[add])


def says(messages: Any) -> list[str]:
    """Every message in a word: its text, or what kind of block it begins with."""
    found: list[str] = []
    for one in messages:
        block: Any = next(
            iter((one.to_message() if isinstance(one, SessionMessage) else one)["content"]), {"nothing": None}
        )
        found.append(block["text"] if "text" in block else next(iter(block)))
    return found


def stored_messages(document: Any, older: Older) -> list[dict[str, Any]]:
    place = document
    for key in older.at:
        place = place[key]
    messages: list[dict[str, Any]] = place["messages"]
    return messages


def prompt(name: str) -> Any:
    if "interrupt" not in name:
        return "and now?"
    return [{"interruptResponse": {"interruptId": INTERRUPT_ID, "response": "yes"}}]


def goes_on(name: str) -> list[str]:
    return [*OLDER[name].says, "toolResult" if "interrupt" in name else "and now?", "still here"]


# Loading


@every_oddity
def test_it_is_loaded_whole_and_left_as_it_was(
    session_id: str, name: str, older: Older, factory: MongoDBSessionManagerFactory, collection: Sessions
) -> None:
    before = stored(collection, session_id)
    manager = factory.create_session_manager(session_id)
    restored = agent_of(manager, older.agent_id)
    assert says(restored.messages) == older.says[older.removed :]
    assert restored.state.get() == older.state
    assert restored.conversation_manager.removed_message_count == older.removed
    history = manager.session_repository.list_messages(session_id, older.agent_id)
    assert says(history) == older.says
    assert [one.message_id for one in history] == list(range(len(older.says)))
    manager.close()
    assert bson.encode(stored(collection, session_id)) == bson.encode(before)


@every_oddity
async def test_it_is_opened_without_blocking_and_without_writing(
    session_id: str, older: Older, factory: MongoDBSessionManagerFactory, commands: Commands
) -> None:
    restored = agent_of(await factory.open_session(session_id, agent_id=older.agent_id), older.agent_id)
    assert says(restored.messages) == older.says[older.removed :]
    assert commands.names == ["find"]


def test_bytes_come_back_as_bytes(session_id: str, factory: MongoDBSessionManagerFactory, collection: Sessions) -> None:
    lay(collection, session_id, OLDER["bytes as the SDK writes them into JSON"].document)
    look, seen = agent_of(factory.create_session_manager(session_id)).messages
    assert look["content"][1]["image"]["source"]["bytes"] == b"\x89PNG\x00\xff"
    assert seen["content"][1]["reasoningContent"]["redactedContent"] == b"\x00\x01"


@pytest.mark.parametrize(
    ("stored", "read"),
    [
        (datetime(2024, 5, 1, 10), "2024-05-01T10:00:00+00:00"),  # noqa: DTZ001
        (CREATED, "2024-05-01T10:00:00.123000+00:00"),
        (TEXT, TEXT),
        (NAIVE_TEXT, NAIVE_TEXT),
        (None, "1970-01-01T00:00:00+00:00"),
    ],
)
def test_dates_of_messages_are_text_and_those_without_a_zone_utc(
    session_id: str, stored: Any, read: str, factory: MongoDBSessionManagerFactory, collection: Sessions
) -> None:
    lay(collection, session_id, session({"default": agent({**HELLO[0], "created_at": stored, "updated_at": stored})}))
    [found] = factory.sessions.messages(session_id)
    assert (found.created_at, found.updated_at) == (read, read)


# Going on


@every_oddity
def test_it_goes_on_and_every_old_field_stays(
    session_id: str, name: str, older: Older, factory: MongoDBSessionManagerFactory, collection: Sessions
) -> None:
    before = stored(collection, session_id)
    agent_of(factory.create_session_manager(session_id), older.agent_id)(prompt(name))
    after = stored(collection, session_id)
    assert list(changed(before, after, older)) == []
    messages = stored_messages(after, older)
    assert [one["message_id"] for one in messages[len(older.says) :]] == [len(older.says), len(older.says) + 1]
    assert len(messages) == len(older.says) + 2


def changed(before: Any, after: Any, older: Older) -> Iterator[tuple[str, ...]]:
    """The ways to all values that are gone or not the same to the byte, but for what every turn writes."""
    agent_data = (*older.at, "agent_data")
    written = {("updated_at",), (*older.at, "updated_at")}
    written |= {(*agent_data, name) for name in ("conversation_manager_state", "_internal_state")}

    def walk(old: Any, new: Any, way: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        if way == (*older.at, "messages"):
            new = new[: len(old or ())]
            old = old or []
        if way in written or (way == (*agent_data, "state") and old is None):
            return
        if isinstance(old, dict) and isinstance(new, dict):
            for key, value in old.items():
                yield from walk(value, new[key], (*way, key)) if key in new else [(*way, key)]
        elif bson.encode({"": old}) != bson.encode({"": new}):
            yield way

    return walk(before, after, ())


@every_oddity
def test_a_second_manager_resumes_it(
    session_id: str, name: str, older: Older, factory: MongoDBSessionManagerFactory, collection: Sessions
) -> None:
    agent_of(factory.create_session_manager(session_id), older.agent_id)(prompt(name))
    resumed = agent_of(factory.create_session_manager(session_id), older.agent_id)
    assert says(resumed.messages) == goes_on(name)[older.removed :]
    assert resumed.state.get() == older.state
    resumed.state.set("later", 1)
    resumed("and then?")
    third = agent_of(factory.create_session_manager(session_id), older.agent_id)
    assert says(third.messages) == [*goes_on(name), "and then?", "still here"][older.removed :]
    assert third.state.get() == {**older.state, "later": 1}


@pytest.mark.parametrize("agent_id", ["ghost", "messages only", "data is empty", "data is null"])
def test_a_stub_becomes_an_agent(
    session_id: str, agent_id: str, factory: MongoDBSessionManagerFactory, collection: Sessions
) -> None:
    lay(collection, session_id, OLDER["stub agents beside a whole one"].document)
    before = stored(collection, session_id)
    agent_of(factory.create_session_manager(session_id), agent_id)("hello")
    assert says(agent_of(factory.create_session_manager(session_id), agent_id).messages)[-2:] == ["hello", "still here"]
    after = stored(collection, session_id)
    assert bson.encode(after["agents"]["default"]) == bson.encode(before["agents"]["default"])


@pytest.mark.parametrize("agent_id", ["default.messages", "default.agent_data", "default.agent_data.state", "alpha"])
def test_an_id_that_looks_like_a_way_into_another_agent_is_a_new_one(
    session_id: str, agent_id: str, factory: MongoDBSessionManagerFactory, collection: Sessions
) -> None:
    lay(collection, session_id, OLDER["plain"].document)
    before = stored(collection, session_id)
    new = agent_of(factory.create_session_manager(session_id), agent_id)
    assert new.messages == []
    new("hello")
    after = stored(collection, session_id)
    assert bson.encode(after["agents"]["default"]) == bson.encode(before["agents"]["default"])
    assert len(after["agents"]) == 2
    assert says(agent_of(factory.create_session_manager(session_id), agent_id).messages) == ["hello", "still here"]


def test_agents_nested_side_by_side_and_in_one_another_go_on_apart(
    session_id: str, factory: MongoDBSessionManagerFactory, collection: Sessions
) -> None:
    lay(collection, session_id, OLDER["a dotted id, nested in another agent"].document)
    for agent_id in ("team", "team.alpha", "team.beta"):
        agent_of(factory.create_session_manager(session_id), agent_id)(f"to {agent_id}")
    view: Any = factory.create_session_manager(session_id).get_session()
    assert {agent_id: says(found.messages) for agent_id, found in view.agents.items()} == {
        "team": ["for the team", "to team", "still here"],
        "team.alpha": ["hello", "hi", "to team.alpha", "still here"],
        "team.beta": ["to team.beta", "still here"],
    }


def test_an_interrupt_in_the_older_form_is_answered(
    session_id: str, factory: MongoDBSessionManagerFactory, collection: Sessions
) -> None:
    name = "an open interrupt in the older form"
    lay(collection, session_id, OLDER[name].document)
    waiting = agent_of(factory.create_session_manager(session_id), "default", "three")
    assert waiting._interrupt_state.activated
    waiting(prompt(name))
    assert says(waiting.messages) == ["hello", "toolUse", "toolResult", "three"]
    assert not agent_of(factory.create_session_manager(session_id))._interrupt_state.activated


@pytest.mark.parametrize("name", [name for name, older in OLDER.items() if older.says])
def test_its_newest_message_is_redacted_and_nothing_else_changes(
    session_id: str, name: str, older: Older, factory: MongoDBSessionManagerFactory, collection: Sessions
) -> None:
    before = stored(collection, session_id)
    manager = factory.create_session_manager(session_id)
    restored = agent_of(manager, older.agent_id)
    manager.redact_latest_message({"role": "assistant", "content": [{"text": "[gone]"}]}, restored)
    after = stored(collection, session_id)
    *earlier, newest = stored_messages(before, older)
    *still_earlier, redacted = stored_messages(after, older)
    assert bson.encode({"": still_earlier}) == bson.encode({"": earlier})
    kept = newest.keys() - {"message", "redact_message", "updated_at"}
    assert {key: redacted[key] for key in kept} == {key: newest[key] for key in kept}
    assert says(agent_of(factory.create_session_manager(session_id), older.agent_id).messages)[-1:] == ["[gone]"]


# Beside a turn


@every_oddity
def test_it_is_seen_from_beside_its_turns(
    session_id: str, name: str, older: Older, factory: MongoDBSessionManagerFactory
) -> None:
    manager = factory.create_session_manager(session_id)
    assert manager.check_session_exists()
    view: Any = manager.get_session()
    assert view.created_at.tzinfo is not None
    assert view.updated_at.tzinfo is not None
    if not older.says and older.agent_id not in view.agents:
        return
    found = view.agents[older.agent_id]
    assert (found.message_count, found.state) == (len(older.says), older.state)
    assert says(found.messages) == older.says
    assert says(factory.sessions.messages(session_id, older.agent_id, offset=1, limit=2)) == older.says[1:3]
    assert manager.get_message_count(older.agent_id) == len(older.says)
    assert older.agent_id in {one["agent_id"] for one in manager.list_agents()}


@every_oddity
def test_its_costs_are_counted_from_now_on(
    session_id: str, name: str, older: Older, factory: MongoDBSessionManagerFactory
) -> None:
    manager = factory.create_session_manager(session_id)
    nothing_yet = manager.get_metrics_summary(older.agent_id)
    assert (nothing_yet["total_messages"], nothing_yet["total_tokens"]) == (len(older.says), 0)
    agent_of(manager, older.agent_id)(prompt(name))
    counted = manager.get_metrics_summary(older.agent_id)
    assert (counted["total_messages"], counted["total_tokens"]) == (len(older.says) + 2, 15)


@every_oddity
def test_metadata_and_feedback_are_read_and_written(
    session_id: str, name: str, older: Older, factory: MongoDBSessionManagerFactory, collection: Sessions
) -> None:
    manager = factory.create_session_manager(session_id)
    metadata, feedbacks = older.document.get("metadata") or {}, older.document.get("feedbacks") or []
    assert manager.get_metadata() == metadata
    assert [one.get("rating") for one in manager.get_feedbacks()] == [one["rating"] for one in feedbacks]
    manager.update_metadata({"topic": "news", "nested.b": 2})
    manager.add_feedback({"rating": "up"})
    assert manager.get_metadata() == {**metadata, "topic": "news", "nested": {**metadata.get("nested", {}), "b": 2}}
    assert [one["rating"] for one in manager.get_feedbacks()] == [*(one["rating"] for one in feedbacks), "up"]
    manager.delete_metadata(["topic", "nested"])
    assert manager.get_metadata() == {}
    assert (
        says(agent_of(factory.create_session_manager(session_id), older.agent_id).messages)
        == older.says[older.removed :]
    )


def test_pages_of_sessions_show_every_one_of_them_once(
    session_id: str, factory: MongoDBSessionManagerFactory, collection: Sessions
) -> None:
    for name, older in OLDER.items():
        lay(collection, f"{session_id} {name}", {**older.document, "owner": session_id})
    seen: list[str] = []
    cursor: str | None = None
    while cursor is not None or not seen:
        page = factory.sessions.page(limit=3, cursor=cursor, owner=session_id)
        seen += [summary.session_id for summary in page.items]
        cursor = page.next_cursor
    assert sorted(seen) == sorted(f"{session_id} {name}" for name in OLDER)


@every_oddity
def test_the_sdks_repository_reads_and_writes_it(
    session_id: str, name: str, older: Older, factory: MongoDBSessionManagerFactory, collection: Sessions
) -> None:
    client = collection.database.client
    repository = MongoDBSessionRepository(
        client=client, database_name=collection.database.name, collection_name=collection.name
    )
    assert repository.read_session(session_id) is not None
    found = repository.read_agent(session_id, older.agent_id)
    if found is None:
        assert older.says == []
        return
    assert found.state == older.state
    assert says(repository.list_messages(session_id, older.agent_id)) == older.says
    new = SessionMessage.from_message({"role": "user", "content": [{"text": "by hand"}]}, len(older.says))
    repository.create_message(session_id, older.agent_id, new)
    read: Any = repository.read_message(session_id, older.agent_id, len(older.says))
    assert read.to_message() == new.message
    found.state = {"by": "hand"}
    repository.update_agent(session_id, found)
    updated: Any = repository.read_agent(session_id, older.agent_id)
    assert updated.state == {"by": "hand"}
    assert updated.created_at == found.created_at


@every_oddity
def test_its_agents_are_described_where_they_are(
    session_id: str, older: Older, factory: MongoDBSessionManagerFactory, collection: Sessions
) -> None:
    manager = factory.create_session_manager(session_id)
    if older.agent_id not in {one["agent_id"] for one in manager.list_agents()}:
        return
    manager.update_agent_config(older.agent_id, model="model-2", system_prompt="Be brief.")
    config = manager.get_agent_config(older.agent_id)
    assert (config["model"], config["system_prompt"]) == ("model-2", "Be brief.")
    assert len(stored(collection, session_id)["agents"]) == len(older.document["agents"])
    assert factory.sessions.delete(session_id)
    assert manager.get_session() is None


# Beside a writer that knows no revisions


def push(collection: Sessions, session_id: str, older: Older, *, message_id: int) -> None:
    """What an older tool does: it appends, and touches nothing else."""
    path = ".".join(older.at)
    said = message(message_id, "user", "from the other tool")
    collection.update_one(
        {"_id": session_id}, {"$push": {f"{path}.messages": said}, "$set": {f"{path}.updated_at": LATER}}
    )


WRITABLE = [name for name in OLDER if name not in {"messages are null", "an open interrupt in the older form"}]
"""Where an older tool can append, and a prompt is a prompt."""


@pytest.mark.parametrize("name", WRITABLE)
def test_an_older_writer_between_load_and_turn_is_noticed_and_the_next_try_goes_on(
    session_id: str, name: str, older: Older, factory: MongoDBSessionManagerFactory, collection: Sessions
) -> None:
    manager = factory.create_session_manager(session_id)
    restored = agent_of(manager, older.agent_id)
    push(collection, session_id, older, message_id=len(older.says))
    before = stored(collection, session_id)
    with pytest.raises(SessionConflictError):
        restored("lost")
    assert "lost" not in says(restored.messages)
    assert bson.encode(stored(collection, session_id)) == bson.encode(before)
    manager.reload(restored)
    restored("and now?")
    expected = [*older.says, "from the other tool", "and now?", "still here"]
    assert says(factory.sessions.messages(session_id, older.agent_id)) == expected
    resumed = agent_of(factory.create_session_manager(session_id), older.agent_id)
    assert says(resumed.messages) == expected[older.removed :]


@pytest.mark.parametrize("name", ["plain", "no array of messages", "a dotted id, nested", "an id that is a raw key"])
def test_an_older_writer_within_a_turn_is_noticed(
    session_id: str,
    name: str,
    older: Older,
    factory: MongoDBSessionManagerFactory,
    collection: Sessions,
    commands: Commands,
) -> None:
    def meanwhile(_: Any) -> str:
        with commands.unwatched():
            push(collection, session_id, older, message_id=len(older.says))
        return "an answer that is not stored"

    restored = agent_of(factory.create_session_manager(session_id), older.agent_id, meanwhile, "still here")
    with pytest.raises(SessionConflictError):
        restored("asked")
    restored("and now?")
    assert says(restored.messages) == [*older.says, "asked", "from the other tool", "and now?", "still here"]
    resumed = agent_of(factory.create_session_manager(session_id), older.agent_id)
    assert says(resumed.messages) == says(restored.messages)


def test_an_older_writer_that_makes_the_agent_first_is_noticed(
    session_id: str, factory: MongoDBSessionManagerFactory, collection: Sessions
) -> None:
    lay(collection, session_id, session({}))
    restored = agent_of(factory.create_session_manager(session_id))
    collection.update_one({"_id": session_id}, {"$set": {"agents.default": agent(*HELLO)}})
    with pytest.raises(SessionConflictError):
        restored("lost")
    restored("and now?")
    assert says(restored.messages) == ["hello", "hi", "and now?", "still here"]


def test_an_older_writer_that_makes_the_session_first_is_noticed(
    session_id: str, factory: MongoDBSessionManagerFactory, collection: Sessions
) -> None:
    restored = agent_of(factory.create_session_manager(session_id))
    lay(collection, session_id, session({"default": agent(*HELLO)}))
    with pytest.raises(SessionConflictError):
        restored("lost")
    restored("and now?")
    assert says(restored.messages) == ["hello", "hi", "and now?", "still here"]
