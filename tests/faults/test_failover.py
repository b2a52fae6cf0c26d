"""The loss of a replica set's primary: what was acknowledged is on the next one, and a running turn goes on there."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from pymongo import MongoClient

from mongodb_session_manager import MongoDBSessionManagerFactory
from mongodb_session_manager.embedded import EmbeddedReplicaSet
from tests.faults.turns import history, lines, turn, turn_of

WEAKER: dict[str, Any] = {"readPreference": "secondaryPreferred", "w": 1}


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedReplicaSet]:
    with EmbeddedReplicaSet(tmp_path_factory.mktemp("replica_set")) as servers:
        yield servers


def lose_the_primary(servers: EmbeddedReplicaSet) -> int:
    lost = servers.primary()
    servers.kill(lost)
    return lost


def stored_on_the_primary(servers: EmbeddedReplicaSet, session_id: str) -> Any:
    """What the server that takes writes now holds itself."""
    with servers.nodes[servers.primary()].client() as client:
        return client["tests"]["sessions"].find_one({"_id": session_id})


def test_a_turn_that_returned_is_on_the_next_primary(servers: EmbeddedReplicaSet) -> None:
    session_id = uuid.uuid4().hex
    with MongoClient[Any](servers.uri, **WEAKER) as client:
        factory = MongoDBSessionManagerFactory(client=client, database_name="tests", collection_name="sessions")
        turn(factory.create_session_manager(session_id), "first")()
        lost = lose_the_primary(servers)

        document = stored_on_the_primary(servers, session_id)
        assert history(document) == lines("first")
        assert turn_of(document) is None
        turn(factory.create_session_manager(session_id), "second")()
        assert history(stored_on_the_primary(servers, session_id)) == lines("first") + lines("second")
    servers.restart(lost)


@pytest.mark.parametrize("retries", [True, False], ids=["with retries", "without retries"])
def test_a_turn_that_loses_its_primary_goes_on_with_the_next_and_is_stored_once(
    servers: EmbeddedReplicaSet, retries: bool
) -> None:
    session_id = uuid.uuid4().hex
    lost: list[int] = []
    with MongoClient[Any](servers.uri, retryWrites=retries, **WEAKER) as client:
        factory = MongoDBSessionManagerFactory(client=client, database_name="tests", collection_name="sessions")
        made = turn(factory.create_session_manager(session_id), "w", lambda: lost.append(lose_the_primary(servers)))
        made()

    document = stored_on_the_primary(servers, session_id)
    assert made.tool_runs == ["w"]
    assert history(document) == lines("w")
    assert turn_of(document) is None
    servers.restart(lost[0])


def set_election_timeout(servers: EmbeddedReplicaSet, milliseconds: int) -> None:
    with servers.nodes[servers.primary()].client() as client:
        config = client.admin.command("replSetGetConfig")["config"]
        config["version"] += 1
        config["settings"]["electionTimeoutMillis"] = milliseconds
        client.admin.command("replSetReconfig", config)


def test_a_turn_outlives_an_election_that_takes_longer_than_a_call_may(servers: EmbeddedReplicaSet) -> None:
    session_id = uuid.uuid4().hex
    lost: list[int] = []
    began: list[float] = []

    def lose_it() -> None:
        began.append(time.monotonic())
        lost.append(lose_the_primary(servers))

    set_election_timeout(servers, 7_000)
    with MongoDBSessionManagerFactory(servers.uri, "tests", "sessions") as factory:
        made = turn(factory.create_session_manager(session_id), "w", lose_it)
        made()
        assert time.monotonic() - began[0] > 5, "the election was too quick to tell anything"

    document = stored_on_the_primary(servers, session_id)
    assert made.tool_runs == ["w"]
    assert history(document) == lines("w")
    servers.restart(lost[0])
    set_election_timeout(servers, 1_500)
