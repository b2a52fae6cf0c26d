"""What becomes of a call that was given up, and how long a call may take."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pymongo._csot
import pytest
from pymongo.errors import PyMongoError
from strands import Agent

from mongodb_session_manager import MongoDBSessionManagerFactory
from tests.faults.proxy import EVERYBODY, Peer, Proxy
from tests.faults.turns import history, lines, turn, turn_of
from tests.models import ScriptedModel
from tests.storm.servers import ReplicaSet

SERVERS = frozenset({Peer.SERVER})
Stored = Callable[[str], Any]
MakeFactory = Callable[..., MongoDBSessionManagerFactory]


@pytest.fixture
def factory(proxy: Proxy, make_factory: MakeFactory) -> MongoDBSessionManagerFactory:
    """Through the proxy, with the library's own options."""
    factory = make_factory(through(proxy))
    turn(factory.create_session_manager("warm"), "warm")()
    return factory


def through(proxy: Proxy, options: str = "") -> str:
    return f"mongodb://127.0.0.1:{proxy.port}/?directConnection=true{options}"


def until(done: Any, seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def patient_servers(tmp_path: Any) -> Iterator[ReplicaSet]:
    """Three that elect nobody for a minute."""
    with ReplicaSet(tmp_path) as servers:
        with servers.nodes[servers.primary()].client() as client:
            config = client.admin.command("replSetGetConfig")["config"]
            config["version"] += 1
            config["settings"]["electionTimeoutMillis"] = 60_000
            client.admin.command("replSetReconfig", config)
        yield servers


def test_a_first_write_that_no_majority_holds_is_never_told_as_stored(
    patient_servers: ReplicaSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The driver asks the server for an answer this much before its own deadline: so the answer is always the server's.
    monkeypatch.setattr(pymongo._csot, "get_rtt", lambda: 0.05)
    first = patient_servers.primary()
    with MongoDBSessionManagerFactory(patient_servers.plain_uri, "tests", "sessions") as factory:
        turn(factory.create_session_manager("warm"), "warm")()
        manager = factory.create_session_manager("s", durability="turn")
        agent = Agent(model=ScriptedModel("answer"), session_manager=manager, callback_handler=None)
        patient_servers.proxies[first].muted = SERVERS  # nobody copies from the primary
        time.sleep(0.3)
        with pytest.raises(PyMongoError):
            agent("prompt")
        with pytest.raises(PyMongoError):
            manager.close()
        assert manager.pending

        patient_servers.proxies[first].muted = frozenset()
        until(lambda: closed(manager))
        assert manager.pending == 0
        with patient_servers.nodes[first].client() as client:
            assert history(client["tests"]["sessions"].find_one({"_id": "s"})) == ["prompt prompt", "answer"]


def closed(manager: Any) -> bool:
    try:
        manager.close()
    except PyMongoError:
        return False
    return True


def test_the_end_of_a_turn_that_goes_on_in_the_background_does_not_end_the_next_one(
    proxy: Proxy, factory: MongoDBSessionManagerFactory, make_factory: MakeFactory, stored: Stored
) -> None:
    made = turn(factory.create_session_manager("s"), "p1", lambda: setattr(proxy, "muted", EVERYBODY))

    with pytest.raises(PyMongoError):
        made()
    # Somebody else waits for the session to become free.
    waiting = make_factory().create_session_manager("s", on_busy="wait")
    other = threading.Thread(target=turn(waiting, "other"))
    other.start()
    threading.Timer(1.0, lambda: setattr(proxy, "muted", frozenset())).start()
    proxy.delay, proxy.delayed = 0.6, {"update"}
    made.model.script = ["answer to p2"]
    made.agent("p2")
    proxy.delay = 0
    other.join()

    told = history(stored("s"))
    assert told[told.index("prompt p2") :] == ["prompt p2", "answer to p2", *lines("other")]
    assert turn_of(stored("s")) is None


def test_an_outage_that_is_over_is_not_told_again(proxy: Proxy, factory: MongoDBSessionManagerFactory) -> None:
    manager = factory.create_session_manager("s")
    agent = Agent(model=ScriptedModel("one", "two"), session_manager=manager, callback_handler=None)
    with manager.claim(agent):
        proxy.muted = EVERYBODY
        with pytest.raises(PyMongoError):
            agent("first")
        proxy.muted = frozenset()
        until(lambda: manager.pending == 0)
        proxy.delay, proxy.delayed = 0.4, {"update"}
        agent("second")
        proxy.delay = 0


@pytest.mark.parametrize("options", ["", "&timeoutMS=0", "&timeoutMS=8000"])
def test_a_slow_server_is_waited_for(proxy: Proxy, make_factory: MakeFactory, stored: Stored, options: str) -> None:
    made = turn(make_factory(through(proxy, options)).create_session_manager("s"), "w")
    proxy.delay, proxy.delayed = 0.8, {"update"}
    made()
    proxy.delay = 0
    assert history(stored("s")) == lines("w")


def test_a_deadline_of_the_clients_own_counts(proxy: Proxy, make_factory: MakeFactory) -> None:
    made = turn(make_factory(through(proxy), timeoutMS=300).create_session_manager("s"), "w")
    proxy.delay, proxy.delayed = 2.0, {"update"}
    began = time.monotonic()
    with pytest.raises(PyMongoError) as failure:
        made()
    assert failure.value.timeout
    assert time.monotonic() - began < 5, "it was the library's own deadline"
    proxy.delay = 0
