"""Commands of which nobody knows whether they were carried out: nothing is lost or doubled, or it fails loudly."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.errors import AutoReconnect, PyMongoError
from strands.hooks import AfterInvocationEvent
from strands.types.exceptions import EventLoopException

from mongodb_session_manager import MongoDBSessionManagerFactory
from mongodb_session_manager.errors import SessionBusyError, SessionConflictError
from tests.faults.conftest import MakeFactory
from tests.faults.proxy import Fault, Proxy
from tests.faults.turns import Listener, Turn, history, lines, turn, turn_of

Stored = Callable[[str], Any]

FAULTS = [Fault.CUT_BEFORE, Fault.REPLY_LOST]
EACH_WRITE = pytest.mark.parametrize(
    ("earlier", "number"),
    [([], 1), (["earlier"], 1), ([], 2), ([], 3), ([], 4)],
    ids=["first prompt", "next prompt", "tool use", "tool result", "answer"],
    indirect=["earlier"],
)
"""Of a turn with a tool. The first prompt of a session creates it, so it is another write than the next one."""

MISSING = "result Tool was interrupted."


@pytest.fixture(params=[[], ["earlier"]], ids=["in a new session", "in an old session"])
def earlier(request: pytest.FixtureRequest, factory: MongoDBSessionManagerFactory) -> list[str]:
    """What the session holds already."""
    for text in request.param:
        turn(factory.create_session_manager("s"), text)()
    return [line for text in request.param for line in lines(text)]


@pytest.mark.parametrize("retries", ["false", "true"], ids=["without retries", "with retries"])
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
@EACH_WRITE
def test_a_turn_completes_whichever_of_its_writes_is_in_doubt(
    proxy: Proxy,
    make_factory: MakeFactory,
    stored: Stored,
    earlier: list[str],
    number: int,
    fault: Fault,
    retries: str,
) -> None:
    factory = make_factory(proxy.uri.replace("retryWrites=false", f"retryWrites={retries}"))
    made = turn(factory.create_session_manager("s"), "w")
    with proxy.failing("update", number, fault):
        made()

    assert made.tool_runs == ["w"]
    assert len(made.model.calls) == 2
    assert history(stored("s")) == earlier + lines("w")
    assert turn_of(stored("s")) is None


def test_a_turn_completes_although_every_reply_to_a_write_is_lost(
    proxy: Proxy, proxied: MongoDBSessionManagerFactory, stored: Stored, earlier: list[str]
) -> None:
    made = turn(proxied.create_session_manager("s"), "w")
    proxy.fault = lambda name: Fault.REPLY_LOST if name == "update" else Fault.NONE
    made()

    assert made.tool_runs == ["w"]
    assert history(stored("s")) == earlier + lines("w")
    assert turn_of(stored("s")) is None


def test_what_decides_a_doubt_is_what_a_majority_holds_now(proxy: Proxy, make_factory: MakeFactory) -> None:
    listener = Listener()
    factory = make_factory(proxy.uri, event_listeners=[listener])
    with proxy.failing("update", 2, Fault.REPLY_LOST):
        turn(factory.create_session_manager("s"), "w")()

    assert [name for name in listener.names if name != "createIndexes"] == [
        "find",
        *["update"] * 2,
        "find",
        *["update"] * 2,
    ]
    levels = [command["readConcern"]["level"] for name, command in listener.sent if name == "find"]
    assert levels == ["local", "linearizable"]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_load_is_read_again(
    proxy: Proxy, proxied: MongoDBSessionManagerFactory, stored: Stored, earlier: list[str], fault: Fault
) -> None:
    with proxy.failing("find", 1, fault):
        turn(proxied.create_session_manager("s"), "w")()

    assert history(stored("s")) == earlier + lines("w")


@pytest.mark.parametrize("name", ["createIndexes", "find"])
def test_a_load_that_fails_says_which_session_it_was_of(
    proxy: Proxy, make_factory: MakeFactory, stored: Stored, name: str
) -> None:
    factory = make_factory(proxy.uri, retryReads=False)
    with proxy.failing(name, 1, Fault.CUT_BEFORE):
        with pytest.raises(AutoReconnect) as failure:
            turn(factory.create_session_manager("s"), "w")
    assert failure.value.__notes__ == ["session_id='s'"]

    turn(factory.create_session_manager("s"), "w")()
    assert history(stored("s")) == lines("w")


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_renewal_in_doubt_does_not_disturb_its_turn(
    proxy: Proxy, proxied: MongoDBSessionManagerFactory, stored: Stored, fault: Fault
) -> None:
    manager = proxied.create_session_manager("s", turn_timeout=0.6)
    with proxy.failing("findAndModify", 1, fault):
        turn(manager, "w", lambda: time.sleep(0.5))()

    assert history(stored("s")) == lines("w")


class Failed:
    """A turn of which one write could not be decided, because nobody could be reached afterwards."""

    def __init__(self, proxy: Proxy, make_factory: MakeFactory, number: int, fault: Fault) -> None:
        self._proxy = proxy
        self._factory = make_factory(proxy.uri, serverSelectionTimeoutMS=40)
        self._reach_the_server()
        self.made: Turn = turn(self._factory.create_session_manager("s"), "w")
        with proxy.failing("update", number, fault, then_down=True):
            try:
                self.made()
            except Exception as error:
                self.error = error
        self._reach_the_server()

    def _reach_the_server(self) -> None:
        client: MongoClient[Any] = self._factory._connection.client
        deadline = time.monotonic() + 10
        while True:
            try:
                client.admin.command("ping")
                break
            except PyMongoError:
                assert time.monotonic() < deadline
        self._proxy.heard.clear()


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
@EACH_WRITE
def test_a_write_that_could_not_be_decided_is_settled_first_by_the_next_invocation(
    proxy: Proxy, make_factory: MakeFactory, stored: Stored, earlier: list[str], number: int, fault: Fault
) -> None:
    failed = Failed(proxy, make_factory, number, fault)
    made = failed.made
    assert isinstance(failed.error, AutoReconnect)
    assert "session_id='s'" in failed.error.__notes__
    applied = number if fault is Fault.REPLY_LOST else number - 1
    assert history(stored("s")) == earlier + lines("w")[:applied]
    runs, calls = len(made.tool_runs), len(made.model.calls)
    assert (runs, calls) == (number > 2, min(number // 2, 2))

    made.model.script = [f"answer {number}"]
    made.agent("again")

    repaired = [MISSING] if number == 2 else []
    assert history(stored("s")) == [
        *earlier,
        *lines("w")[:number],
        *repaired,
        "prompt again",
        f"answer {number}",
    ]
    assert turn_of(stored("s")) is None
    assert (len(made.tool_runs), len(made.model.calls)) == (runs, calls + 1)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
@EACH_WRITE
def test_a_write_that_could_not_be_decided_gives_way_to_another_writer(
    proxy: Proxy,
    make_factory: MakeFactory,
    factory: MongoDBSessionManagerFactory,
    stored: Stored,
    earlier: list[str],
    number: int,
    fault: Fault,
) -> None:
    failed = Failed(proxy, make_factory, number, fault)
    made = failed.made
    other = factory.create_session_manager("s", turn_timeout=0.001)
    time.sleep(0.01)
    turn(other, "other")()
    left = history(stored("s"))
    calls = len(made.model.calls)

    with pytest.raises((SessionConflictError, SessionBusyError)):
        made.agent("again")
    assert len(made.model.calls) == calls
    assert history(stored("s")) == left

    made.model.script = ["answer"]
    made.agent("once more")
    assert history(stored("s")) == [*left, "prompt once more", "answer"]


def test_an_outage_that_ends_before_the_turn_does_leaves_it_free_and_fails_loudly(
    proxy: Proxy, make_factory: MakeFactory, stored: Stored
) -> None:
    factory = make_factory(proxy.uri, serverSelectionTimeoutMS=300)
    made = turn(factory.create_session_manager("s"), "w")
    made.agent.add_hook(lambda event: proxy.come_up(), AfterInvocationEvent, order=-math.inf)
    with proxy.failing("update", 2, Fault.REPLY_LOST, then_down=True):
        with pytest.raises(EventLoopException) as failure:
            made()

    assert isinstance(failure.value.__cause__, AutoReconnect)
    assert "session_id='s'" in failure.value.__cause__.__notes__
    assert made.tool_runs == []
    assert history(stored("s")) == lines("w")[:2]
    assert turn_of(stored("s")) is None
