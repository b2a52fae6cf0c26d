"""Whatever the application's client says, a turn reads from the primary and writes with majority, journalled."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.collection import Collection
from strands import Agent

from mongodb_session_manager import MongoDBSessionManagerFactory
from mongodb_session_manager.errors import SessionBusyError
from tests.faults.conftest import MakeFactory
from tests.faults.turns import Listener, history, lines, turn, turn_of
from tests.models import ScriptedModel

Stored = Callable[[str], Any]

WEAKER: list[dict[str, Any]] = [
    {"readPreference": "secondaryPreferred"},
    {"readPreference": "nearest", "w": 1},
    {"w": 1, "journal": False},
    {"w": 1, "wTimeoutMS": 1},
    {"readConcernLevel": "available", "readPreference": "primaryPreferred"},
    {"readConcernLevel": "majority", "retryWrites": False, "retryReads": False},
]


@pytest.mark.parametrize("options", WEAKER, ids=lambda options: ",".join(f"{k}={v}" for k, v in options.items()))
def test_every_command_of_a_turn_is_as_strong_as_it_must_be(
    make_factory: MakeFactory, stored: Stored, options: dict[str, Any]
) -> None:
    listener = Listener()
    factory = make_factory(event_listeners=[listener], **options)

    turn(factory.create_session_manager("s"), "first")()
    long = factory.create_session_manager("s", turn_timeout=0.3)
    turn(long, "second", lambda: time.sleep(0.25))()
    long.append_message({"role": "user", "content": [{"text": "by hand"}]}, Agent(model=ScriptedModel()))

    assert {"find", "update", "findAndModify"} <= set(listener.names)
    for name, command in listener.sent:
        if name == "find":
            assert command.get("$readPreference", {"mode": "primary"}) == {"mode": "primary"}
            assert command["readConcern"] == {"level": "local"}
        if name in {"update", "findAndModify"}:
            assert command["writeConcern"] == {"w": "majority", "j": True}
            assert "$readPreference" not in command or command["$readPreference"] == {"mode": "primary"}
    assert history(stored("s"))[:8] == lines("first") + lines("second")
    assert turn_of(stored("s")) is None


def test_what_decides_a_doubt_is_read_from_the_primary(make_factory: MakeFactory, stored: Stored) -> None:
    listener = Listener()
    factory = make_factory(event_listeners=[listener], readPreference="secondaryPreferred", w=1)
    late = turn(factory.create_session_manager("s"), "late")
    turn(factory.create_session_manager("s"), "first")()
    listener.sent.clear()

    with pytest.raises(SessionBusyError):
        late()

    assert listener.names == ["update", "find"]
    command = dict(listener.sent)["find"]
    assert command.get("$readPreference", {"mode": "primary"}) == {"mode": "primary"}


def test_metadata_and_feedback_are_written_with_majority_too(make_factory: MakeFactory) -> None:
    listener = Listener()
    factory = make_factory(event_listeners=[listener], w=1, journal=False)
    manager = factory.create_session_manager("s")
    manager.update_metadata({"colour": "red"})
    manager.add_feedback({"rating": "up"})
    manager.delete_metadata(["colour"])
    factory.sessions.patch("s", title="t")
    factory.sessions.delete("s")

    writes = [command for name, command in listener.sent if name in {"update", "delete", "insert", "findAndModify"}]
    assert len(writes) == 6  # a deletion takes two
    assert all(command["writeConcern"] == {"w": "majority", "j": True} for command in writes)


@pytest.fixture
def unacknowledged(mongo_uri: str) -> Iterator[MongoClient[Any]]:
    with MongoClient[Any](mongo_uri, w=0) as client:
        yield client


def test_a_client_that_does_not_acknowledge_writes_is_refused(
    mongo_uri: str, unacknowledged: MongoClient[Any], collection: Collection[Any]
) -> None:
    with pytest.raises(ValueError, match="w=0"):
        MongoDBSessionManagerFactory(mongo_uri, w=0)
    with pytest.raises(ValueError, match="w=0"):
        MongoDBSessionManagerFactory(f"{mongo_uri}{'&' if '?' in mongo_uri else '/?'}w=0")
    with pytest.raises(ValueError, match="w=0"):
        MongoDBSessionManagerFactory(client=unacknowledged)
