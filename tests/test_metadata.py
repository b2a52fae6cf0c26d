"""Metadata of a session, through the manager, its awaitable form and the repository."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
from bson import ObjectId
from pymongo import MongoClient
from pymongo.collection import Collection
from strands import Agent

from mongodb_session_manager import (
    MongoDBSessionManager,
    MongoDBSessionManagerFactory,
    MongoDBSessionRepository,
    SessionNotFoundError,
)
from tests.models import ScriptedModel

Document = Callable[[str], Any]

UNADDRESSABLE = ["", ".", "a.", ".a", "a..b", "$a", "a.$b", "a\x00b", "$"]


@pytest.fixture
def manager(factory: MongoDBSessionManagerFactory) -> MongoDBSessionManager:
    return factory.create_session_manager("s")


def test_there_is_none_at_first(manager: MongoDBSessionManager, stored: Document) -> None:
    assert manager.get_metadata() == {}
    assert stored("s") is None


def test_it_is_handed_out_as_it_is(manager: MongoDBSessionManager) -> None:
    manager.update_metadata({"topic": "shoes", "priority": 3, "tags": ["a", "b"]})

    assert manager.get_metadata() == {"topic": "shoes", "priority": 3, "tags": ["a", "b"]}


def test_an_update_merges(manager: MongoDBSessionManager) -> None:
    manager.update_metadata({"a": 1, "b": {"c": 2, "d": 3}})
    manager.update_metadata({"b": {"e": 4}, "f": 5})

    assert manager.get_metadata() == {"a": 1, "b": {"e": 4}, "f": 5}


def test_dotted_keys_address_nested_fields(manager: MongoDBSessionManager, stored: Document) -> None:
    manager.update_metadata({"a.b": 1, "a.c.d": 2})
    manager.update_metadata({"a.b": 3})

    assert manager.get_metadata() == {"a": {"b": 3, "c": {"d": 2}}}
    assert stored("s")["metadata"] == {"a": {"b": 3, "c": {"d": 2}}}


def test_keys_can_be_deleted(manager: MongoDBSessionManager) -> None:
    manager.update_metadata({"a": 1, "b": {"c": 2, "d": 3}, "e": 4})
    manager.delete_metadata(["a", "b.c", "never.there", "e"])

    assert manager.get_metadata() == {"b": {"d": 3}}


def test_the_same_key_may_be_named_twice(manager: MongoDBSessionManager) -> None:
    manager.update_metadata({"a": 1})
    manager.delete_metadata(["a", "a"])

    assert manager.get_metadata() == {}


def test_nothing_to_change_writes_nothing(manager: MongoDBSessionManager, stored: Document) -> None:
    manager.update_metadata({})
    manager.delete_metadata([])

    assert stored("s") is None


@pytest.mark.parametrize("key", UNADDRESSABLE)
def test_a_key_that_mongodb_cannot_address_is_named(manager: MongoDBSessionManager, stored: Document, key: str) -> None:
    with pytest.raises(ValueError) as raised:
        manager.update_metadata({"fine": 1, key: 2})
    assert repr(key) in str(raised.value)
    with pytest.raises(ValueError) as raised:
        manager.delete_metadata(["fine", key])
    assert repr(key) in str(raised.value)
    assert stored("s") is None


def test_a_key_is_text(manager: MongoDBSessionManager) -> None:
    with pytest.raises(ValueError, match="7"):
        manager.update_metadata({7: 1})  # type: ignore[dict-item]
    with pytest.raises(ValueError, match="ud800"):
        manager.update_metadata({"\ud800": 1})


@pytest.mark.parametrize("metadata", [{"a": 1, "a.b": 2}, {"a.b": 2, "a": 1}])
def test_a_key_inside_the_value_of_another_is_refused(manager: MongoDBSessionManager, metadata: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"'a'.*'a\.b'"):
        manager.update_metadata(metadata)
    assert manager.get_metadata() == {}


def test_a_key_inside_a_value_that_is_no_object_is_refused(manager: MongoDBSessionManager) -> None:
    manager.update_metadata({"a": 1})

    with pytest.raises(ValueError, match=r"'a\.b'"):
        manager.update_metadata({"a.b": 2})
    assert manager.get_metadata() == {"a": 1}


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        1.5,
        2**70,
        b"bytes",
        "a\x00b",
        "\ud800",
        {"$where": "x", "a.b": {"": [1]}, "\x00": 1},
        [[{"nested": [None]}]],
        datetime(2026, 1, 2, 3, 4, 5, 678, UTC),
        ObjectId("0123456789abcdef01234567"),
        {"__json__": "1"},
    ],
    ids=repr,
)
def test_any_value_comes_back_equal(manager: MongoDBSessionManager, value: Any) -> None:
    manager.update_metadata({"v": value, "deep.er": value})

    assert manager.get_metadata() == {"v": value, "deep": {"er": value}}


def test_a_write_is_allowed_while_a_turn_runs_and_touches_no_revision(
    factory: MongoDBSessionManagerFactory, stored: Document
) -> None:
    model = ScriptedModel("an answer")
    model.hold = threading.Event()
    agent = Agent(model=model, session_manager=factory.create_session_manager("s"), callback_handler=None)
    with ThreadPoolExecutor(1) as pool:
        turn = pool.submit(agent, "hi")
        while not model.calls:
            pass
        before = stored("s")
        factory.create_session_manager("s").update_metadata({"a": 1})
        after = stored("s")
        model.hold.set()
        turn.result()

    assert before["agents"]["default"]["revision"] == after["agents"]["default"]["revision"]
    assert after["updated_at"] > before["updated_at"]
    assert stored("s")["metadata"] == {"a": 1}
    assert stored("s")["agents"]["default"]["message_count"] == 2


def test_a_write_by_a_manager_whose_first_turn_is_to_come_makes_one_session(
    factory: MongoDBSessionManagerFactory, stored: Document
) -> None:
    manager = factory.create_session_manager("s", application_name="shop")
    agent = Agent(model=ScriptedModel("an answer"), session_manager=manager, callback_handler=None)
    manager.update_metadata({"a": 1})
    created_at = stored("s")["created_at"]
    agent("hi")

    document = stored("s")
    assert (document["metadata"], document["application_name"]) == ({"a": 1}, "shop")
    assert document["created_at"] == created_at
    assert document["agents"]["default"]["message_count"] == 2


def test_many_writers_lose_nothing(factory: MongoDBSessionManagerFactory) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: factory.create_session_manager("s").update_metadata({f"k{n}": n}), range(40)))

    assert factory.create_session_manager("s").get_metadata() == {f"k{n}": n for n in range(40)}


def test_what_a_client_stored_by_itself_is_handed_out(
    manager: MongoDBSessionManager, collection: Collection[Any]
) -> None:
    collection.insert_one({"_id": "s", "metadata": {"since": datetime(2020, 1, 1), "n": 1}})  # noqa: DTZ001

    assert manager.get_metadata() == {"since": datetime(2020, 1, 1, tzinfo=UTC), "n": 1}


def test_a_document_without_metadata_can_get_some(manager: MongoDBSessionManager, collection: Collection[Any]) -> None:
    collection.insert_one({"_id": "s"})
    assert manager.get_metadata() == {}

    manager.update_metadata({"a": 1})

    assert manager.get_metadata() == {"a": 1}


def test_a_write_to_an_expired_session_makes_a_new_one(
    manager: MongoDBSessionManager, collection: Collection[Any], stored: Document
) -> None:
    collection.insert_one({"_id": "s", "metadata": {"old": 1}, "expires_at": datetime(2020, 1, 1, tzinfo=UTC)})
    assert manager.get_metadata() == {}

    manager.update_metadata({"new": 2})

    assert stored("s")["metadata"] == {"new": 2}
    assert "expires_at" not in stored("s")


@pytest.fixture
def repository(mongo_client: MongoClient[Any], collection: Collection[Any]) -> MongoDBSessionRepository:
    return MongoDBSessionRepository(client=mongo_client, database_name="tests", collection_name=collection.name)


def test_the_repository_takes_the_session_first(
    repository: MongoDBSessionRepository, manager: MongoDBSessionManager
) -> None:
    manager.update_metadata({"a": 1, "b": 2})
    repository.update_metadata("s", {"c.d": 3})
    repository.delete_metadata("s", ["a"])

    assert repository.get_metadata("s") == {"b": 2, "c": {"d": 3}}
    assert manager.get_metadata() == {"b": 2, "c": {"d": 3}}


def test_the_repository_makes_no_session_by_the_way(repository: MongoDBSessionRepository, stored: Document) -> None:
    with pytest.raises(SessionNotFoundError, match="nobody's"):
        repository.update_metadata("nobody's", {"a": 1})
    with pytest.raises(SessionNotFoundError, match="nobody's"):
        repository.delete_metadata("nobody's", ["a"])
    assert repository.get_metadata("nobody's") == {}
    assert stored("nobody's") is None


def test_a_later_session_under_the_same_id_gets_nothing_of_a_manager_of_the_first(
    factory: MongoDBSessionManagerFactory, stored: Document
) -> None:
    manager = factory.create_session_manager("s")
    manager.update_metadata({"colour": "red"})
    factory.sessions.delete("s")
    time.sleep(0.002)
    factory.sessions.create("s")
    with pytest.raises(SessionNotFoundError):
        manager.update_metadata({"colour": "blue"})
    with pytest.raises(SessionNotFoundError):
        manager.delete_metadata(["colour"])
    with pytest.raises(SessionNotFoundError):
        manager.add_feedback({"rating": "up"})
    assert (stored("s")["metadata"], stored("s")["feedbacks"]) == ({}, [])


def test_a_manager_that_only_wrote_metadata_does_not_write_to_a_later_session_under_the_same_id(
    factory: MongoDBSessionManagerFactory,
) -> None:
    factory.sessions.create("s")
    manager = factory.create_session_manager("s")
    manager.update_metadata({"of": "the first"})
    factory.sessions.delete("s")
    time.sleep(0.002)  # a session is told from a later one by its date, in milliseconds
    factory.sessions.create("s")
    with pytest.raises(SessionNotFoundError):
        manager.update_metadata({"of": "the first"})
    with pytest.raises(SessionNotFoundError):
        manager.add_feedback({"rating": "up"})
    assert factory.sessions.metadata("s") == {}


def test_what_is_no_mapping_or_no_list_of_keys_is_refused_by_name(factory: MongoDBSessionManagerFactory) -> None:
    manager = factory.create_session_manager("s")
    with pytest.raises(TypeError, match="metadata must be a mapping, not list"):
        manager.update_metadata(["a"])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="feedback must be a mapping, not str"):
        manager.add_feedback("up")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="keys must be several keys"):
        manager.delete_metadata("abc")
    assert not manager.check_session_exists()
