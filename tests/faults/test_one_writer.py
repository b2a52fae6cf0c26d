"""Promise 3: writers of one session never interleave, whoever they are and however they meet."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from pymongo.collection import Collection
from strands import Agent

from mongodb_session_manager import MongoDBSessionManagerFactory
from mongodb_session_manager.errors import SessionBusyError, SessionConflictError, SessionNotFoundError
from tests.faults.turns import Outcome, assert_whole, history, lines, together, tried, turn, turn_of
from tests.models import ScriptedModel

Stored = Callable[[str], Any]


@pytest.mark.parametrize("met", ["before the load", "after the load"])
def test_ten_threads_on_one_session_never_interleave_and_one_of_each_round_returns(
    factory: MongoDBSessionManagerFactory, stored: Stored, met: str
) -> None:
    returned: list[str] = []
    for round_number in range(4):

        def one(number: int, barrier: threading.Barrier, round_number: int = round_number) -> Outcome:
            if met == "before the load":
                barrier.wait()
            made = turn(factory.create_session_manager("s"), f"{round_number}-{number}")
            if met == "after the load":
                barrier.wait()
            return tried(made)

        of_round = [outcome.text for outcome in together(10, one) if not outcome.refused]
        assert of_round
        returned += of_round

    assert_whole(stored("s"), returned)


def test_ten_threads_that_try_again_when_refused_all_return(
    factory: MongoDBSessionManagerFactory, stored: Stored
) -> None:
    def until_it_returns(number: int, barrier: threading.Barrier) -> str:
        barrier.wait()
        deadline = time.monotonic() + 30
        while tried(turn(factory.create_session_manager("s"), f"t{number}")).refused:
            assert time.monotonic() < deadline
            time.sleep(0.005 * (number + 1))
        return f"t{number}"

    returned = together(10, until_it_returns)

    assert_whole(stored("s"), returned)


def test_a_manager_that_met_busy_works_again_on_its_next_invocation(
    factory: MongoDBSessionManagerFactory, stored: Stored
) -> None:
    late = turn(factory.create_session_manager("s"), "late")

    def meet() -> None:
        assert tried(late).refused

    turn(factory.create_session_manager("s"), "first", meet)()
    answer = late()

    assert answer.strip() == "answer to late"
    assert history(stored("s")) == lines("first") + lines("late")
    assert [message["role"] for message in late.model.calls[0]] == ["user", "assistant"] * 2 + ["user"]


def test_simultaneous_first_requests_of_threads_meet_no_error_but_busy(
    factory: MongoDBSessionManagerFactory, collection: Collection[Any], stored: Stored
) -> None:
    for session in range(4):

        def first(number: int, barrier: threading.Barrier, session: int = session) -> str | None:
            made = turn(factory.create_session_manager(f"s{session}"), f"t{number}")
            barrier.wait()
            return None if tried(made, (SessionBusyError,)).refused else made.text

        returned = [text for text in together(8, first) if text]

        assert returned
        assert_whole(stored(f"s{session}"), returned)
    assert collection.count_documents({}) == 4


async def test_simultaneous_first_requests_of_tasks_meet_no_error_but_busy(
    factory: MongoDBSessionManagerFactory, stored: Stored
) -> None:
    managers = [await factory.open_session("s") for _ in range(10)]
    turns = [turn(manager, f"t{number}") for number, manager in enumerate(managers)]

    outcomes = await asyncio.gather(*(made.agent.invoke_async(made.text) for made in turns), return_exceptions=True)

    refused = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    assert all(isinstance(outcome, SessionBusyError) for outcome in refused)
    returned = [made for made, outcome in zip(turns, outcomes, strict=True) if outcome not in refused]
    assert returned
    assert_whole(stored("s"), [made.text for made in returned])


def test_a_state_that_another_manager_changed_since_is_not_overwritten(
    factory: MongoDBSessionManagerFactory, stored: Stored
) -> None:
    turn(factory.create_session_manager("s"), "before")()
    managers = [factory.create_session_manager("s") for _ in range(2)]
    first, second = (Agent(model=ScriptedModel(), session_manager=each, callback_handler=None) for each in managers)

    first.state.set("colour", "red")
    managers[0].sync_agent(first)
    second.state.set("colour", "blue")
    with pytest.raises(SessionConflictError):
        managers[1].sync_agent(second)

    assert stored("s")["agents"]["default"]["agent_data"]["state"] == {"colour": "red"}
    assert history(stored("s")) == lines("before")


def test_the_first_state_of_an_agent_is_stored_once(factory: MongoDBSessionManagerFactory, stored: Stored) -> None:
    """As above, for a session that is there and an agent in it that is not."""
    turn(factory.create_session_manager("s"), "before")()
    managers = [factory.create_session_manager("s") for _ in range(2)]
    first, second = (Agent(agent_id="new", session_manager=each, callback_handler=None) for each in managers)

    first.state.set("colour", "red")
    managers[0].sync_agent(first)
    second.state.set("colour", "blue")
    with pytest.raises(SessionConflictError):
        managers[1].sync_agent(second)

    assert stored("s")["agents"]["new"]["agent_data"]["state"] == {"colour": "red"}


def test_a_manager_never_writes_to_a_later_session_with_the_same_id(
    factory: MongoDBSessionManagerFactory, stored: Stored
) -> None:
    turn(factory.create_session_manager("s"), "of the first")()
    stale = turn(factory.create_session_manager("s"), "late")

    factory.sessions.delete("s")
    turn(factory.create_session_manager("s"), "of the second")()

    with pytest.raises((SessionConflictError, SessionNotFoundError)):
        stale()
    with pytest.raises(SessionNotFoundError):
        stale()
    assert stale.model.calls == []
    assert history(stored("s")) == lines("of the second")


def test_an_agent_that_was_not_stored_yet_is_not_written_to_a_later_session_either(
    factory: MongoDBSessionManagerFactory, stored: Stored
) -> None:
    turn(factory.create_session_manager("s"), "of the first")()
    stale = turn(factory.create_session_manager("s"), "late", agent_id="new")

    factory.sessions.delete("s")
    time.sleep(0.002)  # Sessions are told apart by the millisecond of their creation.
    factory.sessions.create("s")

    with pytest.raises((SessionConflictError, SessionNotFoundError)):
        stale()
    assert stale.model.calls == []
    assert "agents" not in stored("s")


def test_nor_is_one_that_was_loaded_before_its_own_manager_created_the_session(
    factory: MongoDBSessionManagerFactory, stored: Stored
) -> None:
    manager = factory.create_session_manager("s")
    stale = turn(manager, "late", agent_id="new")
    turn(manager, "of the first")()

    factory.sessions.delete("s")
    time.sleep(0.002)
    factory.sessions.create("s")

    with pytest.raises((SessionConflictError, SessionNotFoundError)):
        stale()
    assert stale.model.calls == []
    assert "agents" not in stored("s")


def test_nor_is_one_whose_session_began_with_metadata(factory: MongoDBSessionManagerFactory, stored: Stored) -> None:
    manager = factory.create_session_manager("s")
    stale = turn(manager, "late")
    manager.update_metadata({"colour": "red"})

    factory.sessions.delete("s")
    time.sleep(0.002)
    factory.sessions.create("s")

    with pytest.raises((SessionConflictError, SessionNotFoundError)):
        stale()
    assert stale.model.calls == []
    assert "agents" not in stored("s")


def test_a_deleted_session_is_not_created_again_by_a_running_turn(
    factory: MongoDBSessionManagerFactory, stored: Stored
) -> None:
    running = turn(factory.create_session_manager("s"), "running", lambda: factory.sessions.delete("s"))

    with pytest.raises(SessionNotFoundError):
        running()

    assert len(running.model.calls) == 1
    assert stored("s") is None


def test_agents_of_one_session_have_separate_turns(factory: MongoDBSessionManagerFactory, stored: Stored) -> None:
    other = turn(factory.create_session_manager("s"), "other", agent_id="other")

    turn(factory.create_session_manager("s"), "first", other)()

    document = stored("s")
    assert history(document) == lines("first")
    assert history(document, "other") == lines("other")
    assert turn_of(document) is turn_of(document, "other") is None


@pytest.mark.parametrize("created_at", [None, "2024-01-01T00:00:00Z"], ids=["none", "a text"])
def test_a_session_whose_date_of_creation_is_of_an_older_layout_takes_turns_after_it_was_looked_at(
    factory: MongoDBSessionManagerFactory, collection: Collection[Any], stored: Stored, created_at: object
) -> None:
    agent = {"agent_data": {"agent_id": "default", "state": {}, "conversation_manager_state": {}}, "messages": []}
    collection.insert_one({"_id": "s", "session_id": "s", "created_at": created_at, "agents": {"default": agent}})
    manager = factory.create_session_manager("s")

    assert manager.get_session() is not None
    turn(manager, "w")()

    assert history(stored("s")) == lines("w")
