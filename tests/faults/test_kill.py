"""A process killed at any boundary of a turn: nothing acknowledged is lost, and the next process goes on."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from pymongo.collection import Collection

from mongodb_session_manager import MongoDBSessionManagerFactory
from mongodb_session_manager.errors import SessionBusyError
from tests.commands import Commands
from tests.faults.turns import assert_accepted, history, lines, turn, turn_of
from tests.faults.workers import Place, started, victim

Stored = Callable[[str], Any]

BOUNDARIES = [
    f"{when} {command}"
    for command in ("createIndexes", "find", "update", "update", "update", "update")
    for when in ("before", "after")
]
"""Of a turn with a tool, in a process that starts afresh: the prompt, the tool use, its result, the answer."""

LEASE = 30.0


def killed_at(place: Place, text: str, boundary: int | None, **options: Any) -> list[Any]:
    """What a process has told before it was killed in its turn."""
    with started(victim, place, "s", text, boundary, options) as process:
        return process.killed()


def let_the_lease_pass(collection: Collection[Any], commands: Commands, seconds: float = LEASE) -> None:
    """Make the running turn so much older."""
    with commands.unwatched():
        turn = "agents.default.turn.stamp"
        older = {"$subtract": [f"${turn}", seconds * 1000]}
        collection.update_one({"_id": "s", turn: {"$type": "date"}}, [{"$set": {turn: older}}])


def test_a_turn_with_a_tool_has_these_boundaries(place: Place) -> None:
    assert killed_at(place, "a", None)[-1] == BOUNDARIES


@pytest.mark.parametrize(
    ("earlier", "boundary"),
    [([], boundary) for boundary in range(1, len(BOUNDARIES) + 1)] + [(["earlier"], boundary) for boundary in (5, 6)],
)
def test_after_a_kill_the_next_process_goes_on(
    place: Place,
    factory: MongoDBSessionManagerFactory,
    collection: Collection[Any],
    commands: Commands,
    stored: Stored,
    boundary: int,
    earlier: list[str],
) -> None:
    for text in earlier:
        turn(factory.create_session_manager("s"), text)()
    before = [each for text in earlier for each in lines(text)]

    told = killed_at(place, "killed", boundary)

    left = history(stored("s"))
    assert left == before + lines("killed")[: BOUNDARIES[:boundary].count("after update")]
    assert_known_effects_are_stored(told, left)
    held = stored("s") is not None and turn_of(stored("s")) is not None
    assert held == (6 <= boundary < len(BOUNDARIES))
    if held:
        with pytest.raises(SessionBusyError) as busy:
            turn(factory.create_session_manager("s"), "early")()
        assert LEASE - 15 < busy.value.retry_after <= LEASE
        assert history(stored("s")) == left
        let_the_lease_pass(collection, commands)

    following = turn(factory.create_session_manager("s"), "next")
    following()

    assert_accepted(following.model.calls[0])
    assert_accepted(following.model.calls[1])
    after = history(stored("s"))
    assert after[: len(left)] == left
    assert after[-4:] == lines("next")
    repaired = after[len(left) : -4]
    assert len(repaired) == (1 if left[-1:] == ["use killed"] else 0)
    assert all(each.startswith("result ") for each in repaired)
    assert turn_of(stored("s")) is None


def assert_known_effects_are_stored(told: list[Any], left: list[str]) -> None:
    """What the world has seen of a turn is in its history."""
    if "model" in told:
        assert "prompt killed" in left
    if "tool" in told:
        assert "use killed" in left
    if told.count("model") == 2:
        assert "result found killed" in left
    if "returned" in told:
        assert "answer to killed" in left


def test_a_turn_that_returned_survives_a_kill_right_after_it(place: Place, stored: Stored) -> None:
    told = killed_at(place, "a", None)

    assert told[:-1] == ["model", "tool", "model", "returned"]
    assert history(stored("s")) == lines("a")
    assert turn_of(stored("s")) is None


def test_a_killed_turn_is_busy_for_as_long_as_its_lease_and_then_free(
    place: Place, factory: MongoDBSessionManagerFactory, stored: Stored
) -> None:
    killed_at(place, "killed", BOUNDARIES.index("before update") + 4, turn_timeout=1.0)
    following = turn(factory.create_session_manager("s", turn_timeout=1.0), "next")

    with pytest.raises(SessionBusyError) as busy:
        following()
    assert 0 < busy.value.retry_after <= 1.0

    time.sleep(busy.value.retry_after + 0.05)
    following()
    assert history(stored("s"))[-4:] == lines("next")
