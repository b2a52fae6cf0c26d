"""The storm's own eyes: they see what a storm must never find."""

from __future__ import annotations

from typing import Any

import pytest

from tests.storm.application import MISSING, shape
from tests.storm.checker import Findings, check_history, check_ids, check_taken_back, check_waits
from tests.storm.ledger import Outcome, Turn

A, B = shape("a", True), shape("b", False)


def taken(text: str, begun: float, ended: float | None, outcome: Outcome | None = "acknowledged") -> Turn:
    return Turn("s", text, text == "a", "app", begun, ended, outcome)


def problems(history: list[str], *turns: Turn) -> dict[str, int]:
    found = Findings()
    acknowledged = [turn for turn in turns if turn.outcome == "acknowledged"]
    check_history("s", history, {turn.text: turn for turn in turns}, acknowledged, found)
    return {kind: len(whats) for kind, whats in found.problems.items()}


A_OK, B_OK = taken("a", 0, 1), taken("b", 2, 3)
A_FAILED = taken("a", 0, 1, "failed")


@pytest.mark.parametrize(
    "history",
    [[*A, *B], [*A[:1], *B], [*A[:2], MISSING, *B], [*A[:3], *B], B],
    ids=["whole", "its prompt", "an answered tool use", "no answer", "nothing"],
)
def test_a_turn_that_failed_may_be_there_as_far_as_it_came(history: list[str]) -> None:
    assert problems(history, A_FAILED, B_OK) == {}


@pytest.mark.parametrize(
    ("history", "expected"),
    [
        ([*A, *B], {}),
        (A, {"lost": 2}),
        ([*A[:3], *B], {"lost": 1}),
        ([], {"lost": 6}),
        ([*A, *B, *B], {"doubled": 2}),
        ([*A, B[0], *B], {"doubled": 1}),
        ([*B, *A], {"out of order": 1}),
        ([A[0], *B, *A[1:]], {"torn": 3, "lost": 3}),
        ([*A[:2], *B], {"torn": 1, "lost": 2}),
        ([*A, B[0], "answer to another", B[1]], {"torn": 2, "lost": 1}),
    ],
    ids=[
        "all is well",
        "the last turn is missing",
        "the answer is missing",
        "all is missing",
        "a turn is there twice",
        "a prompt is there twice",
        "the order is another",
        "a turn lies within another",
        "a tool use has no result",
        "a message is of no turn",
    ],
)
def test_what_was_acknowledged_is_there_once_whole_and_in_order(history: list[str], expected: dict[str, int]) -> None:
    found = problems(history, A_OK, B_OK)
    assert set(found) == set(expected)
    assert {kind: found[kind] for kind in ("lost", "doubled") if kind in found} == {
        kind: expected[kind] for kind in ("lost", "doubled") if kind in expected
    }


@pytest.mark.parametrize("ids", [[0, 1, 1], [0, 1, 3], [1, 2, 3], [0, 1]])
def test_an_id_that_is_missing_or_there_twice_is_seen(ids: list[int]) -> None:
    found = Findings()
    agent: Any = {"message_count": 3, "messages": [{"message_id": number} for number in ids]}
    check_ids("s", {"agents": {"default": agent}}, found)
    assert found.count("ids wrong") == 1


def test_the_newest_messages_alone_are_in_order() -> None:
    found = Findings()
    check_ids(
        "s", {"agents": {"default": {"message_count": 3, "messages": [{"message_id": 1}, {"message_id": 2}]}}}, found
    )
    assert found.problems == {}


@pytest.mark.parametrize(
    ("holder", "killed", "faults", "stuck"),
    [
        (taken("a", 0, 12), {}, [], False),
        (taken("a", 0, 8), {}, [], True),
        (taken("a", 0, 8, "failed"), {}, [], False),
        (taken("a", 0, 5, "failed"), {}, [], True),
        (taken("a", 0, 5, "failed"), {}, [(4.0, 8.0)], False),
        (taken("a", 0, None, None), {"app": 8.0}, [], False),
        (taken("a", 0, None, None), {"app": 5.0}, [], True),
        (taken("a", 0, None, None), {}, [], False),
        (taken("a", 11, 12), {}, [], True),
    ],
    ids=[
        "a turn runs",
        "the last one was acknowledged",
        "the last one failed a moment ago",
        "the last one failed long ago",
        "what the last one sent arrived a moment ago",
        "its application was killed a moment ago",
        "its application was killed long ago",
        "its application does not say",
        "the only one came later",
    ],
)
def test_a_session_that_is_busy_for_no_reason_is_seen(
    holder: Turn, killed: dict[str, float], faults: list[tuple[float, float]], stuck: bool
) -> None:
    found = Findings()
    check_waits([holder, taken("b", 10, 10.5, "busy")], killed, faults, lease=3.0, found=found)
    assert found.count("stuck") == stuck


@pytest.mark.parametrize(
    ("earlier", "lost"),
    [(taken("a", 0, 1), 1), (taken("a", 0, 1, "failed"), 0), (taken("a", 0, None, None), 0), (taken("a", 2, 4), 0)],
    ids=["acknowledged", "failed", "killed", "acknowledged since"],
)
def test_a_session_that_is_not_found_after_an_acknowledged_turn_is_lost(earlier: Turn, lost: int) -> None:
    found = Findings()
    check_taken_back([earlier, taken("b", 2, 3, "taken back")], found)
    assert found.count("lost") == lost
