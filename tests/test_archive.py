"""Sessions without bounds: older messages in buckets, large values beside the document."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any

import bson
import pytest
from pymongo.collection import Collection
from strands import tool
from strands.agent.conversation_manager import NullConversationManager, SlidingWindowConversationManager

from mongodb_session_manager import (
    MongoDBSessionManager,
    MongoDBSessionManagerFactory,
    SessionConflictError,
    SessionNotFoundError,
)
from tests.commands import Commands
from tests.models import ScriptedModel
from tests.test_lifecycle import make_agent

Stored = Callable[[str], Any]

KB, MB = 1024, 1024 * 1024


@pytest.fixture
def archive(collection: Collection[Any], commands: Commands) -> Any:
    """The archive's collection, read by the test itself."""
    archive = collection.database[f"{collection.name}_archive"]
    yield archive
    with commands.unwatched():
        archive.drop()


def window(size: int = 10) -> SlidingWindowConversationManager:
    return SlidingWindowConversationManager(window_size=size)


def grow(factory: MongoDBSessionManagerFactory, turns: int, text: str = "x" * 2000, session_id: str = "s") -> None:
    """A session of so many turns, each with a prompt that tells its number."""
    agent = make_agent(factory.create_session_manager(session_id), f"a {text}", conversation_manager=window())
    for number in range(turns):
        agent(f"{number} {text}")


def numbers(messages: list[Any]) -> list[str]:
    return [each.message["content"][0]["text"].split(" ")[0] for each in messages]


def picture(size: int, seed: int = 0) -> Any:
    return {"image": {"format": "png", "source": {"bytes": bytes([seed]) * size}}}


def agent_in(document: Any, agent_id: str = "default") -> Any:
    return document["agents"][agent_id]


def test_the_document_keeps_the_newest_messages_and_the_archive_the_others(
    factory: MongoDBSessionManagerFactory, stored: Stored, archive: Any
) -> None:
    grow(factory, 150)
    agent = agent_in(stored("s"))
    assert len(bson.encode({"m": agent["messages"]})) <= 256 * KB
    assert len(agent["messages"]) >= 40
    references = agent["archive"]
    assert [each["first"] for each in references] == [0, *(each["last"] + 1 for each in references[:-1])]
    assert references[-1]["last"] + 1 + len(agent["messages"]) == agent["message_count"] == 300
    for reference in references:
        bucket = archive.find_one({"_id": reference["id"]})
        assert [each["message_id"] for each in bucket["messages"]] == [
            *range(reference["first"], reference["last"] + 1)
        ]
        assert (bucket["session_ids"], bucket["agent_id"]) == (["s"], "default")
    assert factory.create_session_manager("s").get_message_count("default") == 300


def test_a_session_that_is_resumed_for_every_turn_is_archived_as_well(
    factory: MongoDBSessionManagerFactory, stored: Stored, commands: Commands
) -> None:
    for number in range(120):
        agent = make_agent(factory.create_session_manager("s"), "a " + "y" * 3000, conversation_manager=window())
        agent(f"{number} " + "x" * 3000)
    names = commands.names
    assert names.count("insert") == len(agent_in(stored("s"))["archive"]) > 3
    assert len(names) == 3 * 120 + 2 * names.count("insert")
    assert numbers(factory.sessions.messages("s")[::2]) == [str(number) for number in range(120)]


@pytest.mark.parametrize("limit", [1, 7, 50, 1000, None])
def test_all_messages_can_be_paged_through_in_order(
    factory: MongoDBSessionManagerFactory, archive: Any, limit: int | None
) -> None:
    grow(factory, 120)
    pages, offset = [], 0
    while page := factory.sessions.messages("s", limit=limit, offset=offset):
        pages += page
        offset += len(page)
    assert [each.message_id for each in pages] == [*range(240)]
    assert numbers(pages)[::2] == [str(number) for number in range(120)]


@pytest.mark.parametrize("limit", [1, 7, 50, 1000])
def test_all_messages_can_be_paged_through_backwards(
    factory: MongoDBSessionManagerFactory, archive: Any, limit: int
) -> None:
    grow(factory, 120)
    ids: list[int] = []
    position: int | None = None
    while page := factory.sessions.messages_before("s", position=position, limit=limit):
        ids[:0] = [each.message_id for each in page]
        position = page[0].message_id
    assert ids == [*range(240)]


def test_a_page_costs_two_reads_wherever_it_is(
    factory: MongoDBSessionManagerFactory, archive: Any, commands: Commands
) -> None:
    grow(factory, 150)
    for offset, expected in ((0, ["find", "find"]), (100, ["find", "find"]), (290, ["find"])):
        commands.clear()
        factory.sessions.messages("s", limit=10, offset=offset)
        assert commands.names == expected


@pytest.mark.parametrize(("position", "limit"), [(-1, 1), (0, 0), (None, 0)])
def test_a_page_that_makes_no_sense_is_refused(
    factory: MongoDBSessionManagerFactory, position: int | None, limit: int
) -> None:
    with pytest.raises(ValueError, match="position must not be negative and limit at least 1"):
        factory.sessions.messages_before("s", position=position, limit=limit)


def test_pages_of_an_unknown_session_are_refused(factory: MongoDBSessionManagerFactory) -> None:
    with pytest.raises(SessionNotFoundError):
        factory.sessions.messages_before("s")


def test_an_agent_that_keeps_everything_gets_everything_back(
    factory: MongoDBSessionManagerFactory, archive: Any, commands: Commands
) -> None:
    agent = make_agent(factory.create_session_manager("s"), "a", conversation_manager=NullConversationManager())
    for number in range(150):
        agent(f"{number} " + "x" * 4000)
    commands.clear()
    restored = make_agent(factory.create_session_manager("s"), conversation_manager=NullConversationManager())
    assert commands.names == ["find", "find"]
    assert restored.messages == agent.messages
    restored("one more")
    assert factory.create_session_manager("s").get_message_count("default") == 302


def test_a_window_that_is_larger_than_the_tail_costs_one_read_more(
    factory: MongoDBSessionManagerFactory, archive: Any, commands: Commands
) -> None:
    agent = make_agent(factory.create_session_manager("s"), "a", conversation_manager=window(100))
    for number in range(150):
        agent(f"{number} " + "x" * 10_000)
    commands.clear()
    restored = make_agent(factory.create_session_manager("s"), conversation_manager=window(100))
    assert commands.names == ["find", "find"]
    assert restored.messages == agent.messages


def test_a_message_in_the_archive_can_be_read_changed_and_redacted(
    factory: MongoDBSessionManagerFactory, archive: Any, stored: Stored
) -> None:
    grow(factory, 120)
    manager = factory.create_session_manager("s")
    repository = manager.session_repository
    message = repository.read_message("s", "default", 4)
    assert message is not None
    message.redact_message = {"role": "user", "content": [{"text": "[removed]"}]}
    repository.update_message("s", "default", message)
    assert "turn" not in agent_in(stored("s"))
    held = [each for bucket in archive.find() for each in bucket["messages"] if each["message_id"] == 4]
    assert [each["message"]["content"] for each in held] == [[{"text": "[removed]"}]]
    assert numbers(factory.sessions.messages("s", offset=2, limit=4)) == ["1", "a", "[removed]", "a"]
    make_agent(factory.create_session_manager("s"), "fine")("goes on")
    assert factory.sessions.messages("s", offset=240)[0].message["content"] == [{"text": "goes on"}]


def test_a_manager_that_missed_the_change_of_an_archived_message_is_refused(
    factory: MongoDBSessionManagerFactory, archive: Any
) -> None:
    grow(factory, 120)
    late = make_agent(factory.create_session_manager("s"), "late")
    repository = factory.create_session_manager("s").session_repository
    message = repository.read_message("s", "default", 4)
    assert message is not None
    repository.update_message("s", "default", message)
    with pytest.raises(SessionConflictError):
        late("too late")


# Large values


@pytest.mark.parametrize("size", [65 * KB, MB, 13 * MB, 40 * MB], ids=["65 KB", "1 MB", "13 MB", "40 MB"])
@pytest.mark.parametrize("kind", ["bytes", "text", "parts"])
def test_a_message_of_any_size_comes_back_equal(
    factory: MongoDBSessionManagerFactory, archive: Any, stored: Stored, size: int, kind: str
) -> None:
    content: Any = [{"text": "é" * (size // 2)}]
    if kind == "bytes":
        content = [{"text": "look"}, picture(size)]
    if kind == "parts":
        content = [{"text": f"{number} " + "x" * 1000} for number in range(size // 1000)]
    agent = make_agent(factory.create_session_manager("s"), "seen")
    agent(content)
    assert len(bson.encode(stored("s"))) < 64 * KB
    restored = make_agent(factory.create_session_manager("s"))
    assert restored.messages == agent.messages
    assert restored.messages[0]["content"] == content
    assert factory.sessions.messages("s")[0].message["content"] == content


def test_what_bson_cannot_hold_comes_back_equal_from_the_archive(
    factory: MongoDBSessionManagerFactory, archive: Any
) -> None:
    @tool
    def dump() -> Any:
        """Return much."""
        odd = {"$set": 2**70, "": "\ud800", "a.b": ["\x00", {"__json__": "no"}], "path": ["message", 0], "external": 1}
        return {"status": "success", "content": [{"json": {"rows": [odd] * 3000, "text": "\ud800" * 100_000}}]}

    agent = make_agent(factory.create_session_manager("s"), {"name": "dump", "input": {}}, "done", tools=[dump])
    agent("go")
    assert make_agent(factory.create_session_manager("s"), tools=[dump]).messages == agent.messages


def test_the_same_picture_sent_ten_times_is_stored_once(
    factory: MongoDBSessionManagerFactory, archive: Any, commands: Commands
) -> None:
    for number in range(10):
        agent = make_agent(factory.create_session_manager("s"), "seen")
        before = commands.bytes_sent
        agent([{"text": f"number {number}"}, picture(2 * MB)])
        assert number == 0 or commands.bytes_sent - before < 16 * KB
    assert archive.count_documents({}) == 1
    assert [each.message["content"][1] for each in factory.sessions.messages("s")[::2]] == [picture(2 * MB)] * 10


def test_a_value_of_several_parts_is_stored_once_too(factory: MongoDBSessionManagerFactory, archive: Any) -> None:
    agent = make_agent(factory.create_session_manager("s"), "seen")
    for _ in range(2):
        agent([picture(30 * MB)])
    assert archive.count_documents({}) == 3


def test_another_agent_and_another_session_have_their_own(factory: MongoDBSessionManagerFactory, archive: Any) -> None:
    for session_id, agent_id in (("s", "one"), ("s", "two"), ("t", "one")):
        make_agent(factory.create_session_manager(session_id), "seen", agent_id=agent_id)([picture(MB)])
    assert archive.count_documents({}) == 3


def test_a_redacted_picture_leaves_the_database(
    factory: MongoDBSessionManagerFactory, archive: Any, stored: Stored
) -> None:
    model = ScriptedModel("I cannot look at that")
    agent = make_agent(factory.create_session_manager("s"), model=model)
    model.redact = "[removed]"
    agent([{"text": "secret"}, picture(MB)])
    assert archive.count_documents({}) == 0
    assert "external" not in str(stored("s"))
    assert make_agent(factory.create_session_manager("s")).messages[0]["content"] == [{"text": "[removed]"}]


def test_a_picture_that_another_message_shows_stays_when_one_is_redacted(
    factory: MongoDBSessionManagerFactory, archive: Any
) -> None:
    model = ScriptedModel("fine")
    agent = make_agent(factory.create_session_manager("s"), model=model)
    agent([picture(MB)])
    model.redact = "[removed]"
    agent([{"text": "secret"}, picture(MB)])
    assert archive.count_documents({}) == 1
    assert factory.sessions.messages("s")[0].message["content"] == [picture(MB)]


def test_a_redacted_picture_in_the_archive_leaves_the_database(
    factory: MongoDBSessionManagerFactory, archive: Any
) -> None:
    make_agent(factory.create_session_manager("s"), "seen")([picture(MB)])
    grow(factory, 120)
    repository = factory.create_session_manager("s").session_repository
    message = repository.read_message("s", "default", 0)
    assert message is not None
    assert message.message["content"] == [picture(MB)]
    message.redact_message = {"role": "user", "content": [{"text": "[removed]"}]}
    repository.update_message("s", "default", message)
    assert archive.count_documents({"digest": {"$exists": True}}) == 0
    assert factory.sessions.messages("s", limit=1)[0].message["content"] == [{"text": "[removed]"}]


# Deleting


def test_deleting_a_session_removes_its_archive_and_no_other(
    factory: MongoDBSessionManagerFactory, archive: Any, collection: Collection[Any], commands: Commands
) -> None:
    for session_id in ("s", "t"):
        grow(factory, 80, session_id=session_id)
        make_agent(factory.create_session_manager(session_id), "seen")([picture(13 * MB)])
    commands.clear()
    assert factory.sessions.delete("s") is True
    assert commands.names == ["update", "find", "find", "delete", "delete"]
    assert archive.count_documents({"session_ids": "s"}) == 0
    assert len(factory.sessions.messages("t")) == 162
    assert factory.sessions.delete("s") is False
    assert factory.sessions.delete("t") is True
    assert (archive.count_documents({}), collection.count_documents({})) == (0, 0)


@pytest.mark.parametrize("then", ["deleted again", "created again", "used again", "written beside a turn"])
def test_a_deletion_that_was_interrupted_is_finished_by_the_next_write(
    factory: MongoDBSessionManagerFactory, archive: Any, collection: Collection[Any], then: str, stored: Stored
) -> None:
    grow(factory, 80)
    collection.update_one({"_id": "s"}, {"$set": {"deleting": "a token"}})
    assert factory.sessions.get("s") is None
    with pytest.raises(SessionNotFoundError):
        factory.sessions.messages("s")
    if then == "deleted again":
        factory.sessions.delete("s")
        assert stored("s") is None
    elif then == "created again":
        factory.sessions.create("s")
        assert "agents" not in stored("s")
    elif then == "used again":
        agent = make_agent(factory.create_session_manager("s"), "fine")
        agent("hello")
        assert len(agent_in(stored("s"))["messages"]) == 2
    else:
        factory.create_session_manager("s").update_metadata({"a": 1})
        assert stored("s")["metadata"] == {"a": 1}
    assert archive.count_documents({}) == 0


def test_a_manager_that_loaded_before_a_deletion_began_is_refused(
    factory: MongoDBSessionManagerFactory, collection: Collection[Any]
) -> None:
    grow(factory, 2)
    late = make_agent(factory.create_session_manager("s"), "late")
    collection.update_one({"_id": "s"}, {"$set": {"deleting": "a token"}})
    with pytest.raises(SessionNotFoundError):
        late("too late")


# The older layout


def older_document(size: int, length: int) -> dict[str, Any]:
    text = "x" * (size // length - 180)
    return {
        "_id": "s",
        "session_id": "s",
        "session_type": "default",
        "agents": {
            "default": {
                "agent_data": {"agent_id": "default", "state": {}, "conversation_manager_state": {}},
                "messages": [
                    {
                        "message": {
                            "role": ("user", "assistant")[number % 2],
                            "content": [{"text": f"{number} {text}"}],
                        },
                        "message_id": number,
                        "created_at": "2025-01-01T00:00:00+00:00",
                    }
                    for number in range(length)
                ],
            }
        },
    }


@pytest.mark.parametrize("length", [10, 1000, 20_000])
def test_an_older_session_near_the_limit_is_brought_into_the_new_layout_by_its_next_turn(
    factory: MongoDBSessionManagerFactory, collection: Collection[Any], archive: Any, stored: Stored, length: int
) -> None:
    document = older_document(16 * MB - 64 * KB, length)
    assert 15 * MB < len(bson.encode(document)) < 16 * MB
    collection.insert_one(document)
    agent = make_agent(factory.create_session_manager("s"), "fine", conversation_manager=window(10))
    assert len(agent.messages) <= length
    agent("and now " + "z" * 200_000)
    assert len(bson.encode(stored("s"))) < 2 * MB
    found = factory.sessions.messages("s")
    assert numbers(found[:length]) == [str(number) for number in range(length)]
    assert found[length].message["content"][0]["text"].startswith("and now z")
    assert len(found) == length + 2
    agent("once more")
    assert len(bson.encode(stored("s"))) < 512 * KB


# Two writers


def test_a_spill_that_is_refused_leaves_garbage_and_no_data(
    factory: MongoDBSessionManagerFactory, archive: Any, stored: Stored
) -> None:
    first = make_agent(factory.create_session_manager("s"), "a", conversation_manager=window())
    for number in range(25):
        first(f"{number} " + "x" * 9000)
    late = make_agent(factory.create_session_manager("s"), "late", conversation_manager=window())
    first("in between")
    before = factory.sessions.messages("s")
    with pytest.raises(SessionConflictError):
        late("y" * 50_000)
    assert factory.sessions.messages("s") == before
    late("y" * 50_000)
    assert len(factory.sessions.messages("s")) == len(before) + 2


async def test_a_spill_is_done_off_the_event_loop(factory: MongoDBSessionManagerFactory, archive: Any) -> None:
    async def converse(session_id: str) -> MongoDBSessionManager:
        manager = await factory.open_session(session_id)
        agent = make_agent(manager, "a", conversation_manager=window())
        for number in range(20):
            await agent.invoke_async(f"{number} " + os.urandom(10_000).hex())
        return manager

    managers = await asyncio.gather(*(converse(f"s{number}") for number in range(5)))
    counts = [await manager.aio.get_message_count("default") for manager in managers]
    assert counts == [40] * 5


def test_memory_holds_no_more_of_the_history_than_is_needed(factory: MongoDBSessionManagerFactory) -> None:
    manager = factory.create_session_manager("s")
    agent = make_agent(manager, "a", conversation_manager=window())
    for number in range(130):
        agent(f"{number} " + "x" * 9000)
    record = manager.unit_of_work.record("default")
    assert sum(len(bson.encode(each)) for each in record.loaded.messages) < 2 * MB
    assert numbers(manager.session_repository.list_messages("s", "default")[::2]) == [str(n) for n in range(130)]


@pytest.mark.parametrize(
    "agent_id", ["message", "agent_data", "archive", "messages", "external", "ids", "team.message"]
)
def test_a_picture_that_another_message_shows_stays_whatever_the_agent_is_called(
    factory: MongoDBSessionManagerFactory, archive: Any, agent_id: str
) -> None:
    model = ScriptedModel("fine")
    agent = make_agent(factory.create_session_manager("s"), model=model, agent_id=agent_id)
    agent([picture(MB)])
    model.redact = "[removed]"
    agent([{"text": "secret"}, picture(MB)])
    assert factory.sessions.messages("s", agent_id)[0].message["content"] == [picture(MB)]
