"""Feedback on a session."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.collection import Collection

from mongodb_session_manager import (
    MongoDBSessionManager,
    MongoDBSessionManagerFactory,
    MongoDBSessionRepository,
    SessionNotFoundError,
    SessionTooLargeError,
)

Document = Callable[[str], Any]


@pytest.fixture
def manager(factory: MongoDBSessionManagerFactory) -> MongoDBSessionManager:
    return factory.create_session_manager("s")


def test_there_is_none_at_first(manager: MongoDBSessionManager, stored: Document) -> None:
    assert manager.get_feedbacks() == []
    assert stored("s") is None


def test_it_comes_back_in_order_with_its_time(manager: MongoDBSessionManager) -> None:
    manager.add_feedback({"rating": "up", "comment": "well said"})
    manager.add_feedback({"rating": "down"})

    first, second = manager.get_feedbacks()
    assert (first["rating"], first["comment"], second["rating"]) == ("up", "well said", "down")
    assert first["created_at"] <= second["created_at"]
    assert abs(datetime.now(UTC) - second["created_at"]) < timedelta(minutes=1)


def test_any_content_comes_back_equal(manager: MongoDBSessionManager) -> None:
    feedback = {"$set": {"a.b": 2**70}, "": None, "\x00": "\ud800", "nested": [[b"bytes"]]}
    manager.add_feedback(feedback)

    [found] = manager.get_feedbacks()
    found.pop("created_at")
    assert found == feedback


def test_the_time_is_ours(manager: MongoDBSessionManager) -> None:
    manager.add_feedback({"created_at": "yesterday"})

    assert isinstance(manager.get_feedbacks()[0]["created_at"], datetime)


def test_what_was_handed_over_is_not_changed(manager: MongoDBSessionManager) -> None:
    feedback = {"rating": "up"}
    manager.add_feedback(feedback)

    assert feedback == {"rating": "up"}


def test_more_than_a_megabyte_is_refused(manager: MongoDBSessionManager) -> None:
    with pytest.raises(SessionTooLargeError, match="1 MB") as raised:
        manager.add_feedback({"comment": "x" * 1_048_600})
    assert raised.value.session_id == "s"

    assert manager.get_feedbacks() == []


def test_a_megabyte_is_the_limit_of_all_of_it_together(manager: MongoDBSessionManager) -> None:
    for _ in range(3):
        manager.add_feedback({"comment": "x" * 300_000})
    with pytest.raises(SessionTooLargeError):
        manager.add_feedback({"comment": "x" * 300_000})
    manager.add_feedback({"comment": "still room for a word"})

    assert [len(feedback["comment"]) for feedback in manager.get_feedbacks()] == [300_000] * 3 + [21]


@pytest.mark.parametrize("character", ["ü", "😀", '"'])
def test_the_limit_counts_what_is_stored_not_how_it_is_written(manager: MongoDBSessionManager, character: str) -> None:
    comment = character * (800_000 // len(character.encode()))

    manager.add_feedback({"comment": comment})

    assert manager.get_feedbacks()[0]["comment"] == comment


def test_bytes_count_as_what_they_are(manager: MongoDBSessionManager) -> None:
    manager.add_feedback({"screenshot": b"\x00" * 500_000})
    with pytest.raises(SessionTooLargeError):
        manager.add_feedback({"screenshot": b"\x00" * 600_000})

    assert len(manager.get_feedbacks()) == 1


def test_many_writers_lose_nothing_and_make_one_session(
    factory: MongoDBSessionManagerFactory, collection: Collection[Any]
) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: factory.create_session_manager("s").add_feedback({"n": n}), range(40)))

    feedbacks = factory.create_session_manager("s").get_feedbacks()
    assert sorted(feedback["n"] for feedback in feedbacks) == list(range(40))
    assert collection.count_documents({}) == 1


@pytest.mark.parametrize("absent", [{}, {"feedbacks": []}])
def test_a_document_without_feedback_can_get_some(
    manager: MongoDBSessionManager, collection: Collection[Any], absent: dict[str, Any]
) -> None:
    collection.insert_one({"_id": "s", **absent})
    assert manager.get_feedbacks() == []

    manager.add_feedback({"rating": "up"})

    assert [feedback["rating"] for feedback in manager.get_feedbacks()] == ["up"]


def test_the_repository_takes_the_session_first(
    mongo_client: MongoClient[Any], collection: Collection[Any], manager: MongoDBSessionManager, stored: Document
) -> None:
    repository = MongoDBSessionRepository(client=mongo_client, database_name="tests", collection_name=collection.name)
    with pytest.raises(SessionNotFoundError, match="'s'"):
        repository.add_feedback("s", {"rating": "up"})
    assert repository.get_feedbacks("s") == []
    assert stored("s") is None

    manager.add_feedback({"rating": "up"})
    repository.add_feedback("s", {"rating": "down"})

    assert [feedback["rating"] for feedback in repository.get_feedbacks("s")] == ["up", "down"]
