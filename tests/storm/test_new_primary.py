"""A primary that has just been elected does not know yet what a majority holds."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
from pymongo.errors import PyMongoError
from strands.types.exceptions import EventLoopException

from mongodb_session_manager import MongoDBSessionManagerFactory
from mongodb_session_manager.errors import SessionBusyError, SessionConflictError, SessionNotFoundError
from tests.faults.proxy import Peer
from tests.faults.turns import lines, turn
from tests.faults.workers import Place, started, turn_taker
from tests.storm.checker import Findings, read_session
from tests.storm.servers import ReplicaSet, stopped

SERVERS = frozenset({Peer.SERVER})


@pytest.fixture(scope="module")
def replica_set(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReplicaSet]:
    with ReplicaSet(tmp_path_factory.mktemp("new_primary")) as servers:
        yield servers


@pytest.fixture
def servers(replica_set: ReplicaSet) -> Iterator[ReplicaSet]:
    """All of them, with nothing between them."""
    yield replica_set
    for number, node in enumerate(replica_set.nodes):
        replica_set.proxies[number].lag = 0.0
        if node.pid is None:
            replica_set.restart(number)


@contextmanager
def opened(servers: ReplicaSet, collection: str) -> Iterator[MongoDBSessionManagerFactory]:
    """A factory that is connected, and whose driver retries nothing."""
    with MongoDBSessionManagerFactory(servers.uri, "tests", collection, retryWrites=False) as factory:
        turn(factory.create_session_manager("warm"), "warm")()
        yield factory


def stored_at_last(factory: MongoDBSessionManagerFactory) -> list[str]:
    """What a turn left that was taken as soon as one could be."""
    deadline = time.monotonic() + 20
    for attempt in range(1_000):
        try:
            turn(factory.create_session_manager("s", turn_timeout=0.1), f"at last {attempt}")()
        except (SessionBusyError, SessionConflictError, PyMongoError, EventLoopException):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        else:
            return lines(f"at last {attempt}")
    raise AssertionError


def test_a_turn_in_doubt_there_is_not_refused_for_a_writer_that_never_was(servers: ReplicaSet) -> None:
    """What it wrote before is on a majority, which the new primary only learns by its first own write."""
    first = servers.primary()
    second, third = (number for number in range(3) if number != first)
    proxies = servers.proxies
    healed = threading.Timer(9, lambda: setattr(proxies[second], "muted", frozenset()))

    with opened(servers, "in_doubt") as factory, stopped(servers, third):
        # The second holds each write, and is told 0.3 seconds later that a majority does.
        proxies[first].lag = 0.3

        def lose_the_first() -> None:
            proxies[first].muted = proxies[second].muted = SERVERS
            servers.kill(first)
            pid = servers.nodes[third].pid
            assert pid is not None
            os.kill(pid, signal.SIGCONT)
            healed.start()

        made = turn(factory.create_session_manager("s"), "w", lose_the_first)
        try:
            with suppress(PyMongoError, EventLoopException):
                made()
        finally:
            healed.cancel()
            proxies[second].muted = proxies[first].muted = frozenset()
        assert made.tool_runs == ["w"]
        assert stored_at_last(factory) == read_session(factory, "s", Findings())[-4:]


def test_who_saw_a_session_whose_creation_was_taken_back_is_told_so_and_the_next_begins_it(servers: ReplicaSet) -> None:
    place = Place(servers.uri, "tests", "taken_back")
    first = servers.primary()
    with opened(servers, "taken_back") as factory, started(turn_taker, place, "s") as creator:
        assert creator.answer() == "ready"
        servers.proxies[first].muted = SERVERS
        creator.send("first")
        with servers.nodes[first].client() as client:
            while client["tests"]["taken_back"].find_one({"_id": "s"}) is None:
                time.sleep(0.005)
        made = turn(factory.create_session_manager("s", turn_timeout=0.1), "second")
        os.kill(creator.pid, signal.SIGKILL)
        creator.killed()
        servers.kill(first)
        servers.primary()
        servers.proxies[first].muted = frozenset()

        # Nobody was told that it is stored, and it is not there: no turn of it was ever acknowledged. A new primary may
        # also step down once more, which the driver tells.
        with pytest.raises((SessionNotFoundError, PyMongoError)):
            made()
        assert made.model.calls == []
        assert stored_at_last(factory) == read_session(factory, "s", Findings())[-4:]
