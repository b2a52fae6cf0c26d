"""Two writers: one is held back before each of its commands in turn, while the other does all that it came for.

Whatever they do, the session is afterwards as if those that were acknowledged had come one after the other, and those
that were refused had not come at all.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
from pymongo import MongoClient, monitoring

from mongodb_session_manager import (
    MongoDBSessionManagerFactory,
    SessionBusyError,
    SessionConflictError,
    SessionNotFoundError,
)
from tests.faults.ground import Before, Ground, Grounds, Kept, half_deleted, long_session, nothing, remembered
from tests.faults.workers import Place
from tests.faults.writers import (
    AGAIN,
    DELETE,
    EDIT,
    END,
    GUARD,
    MAKE,
    MAKE_AND_DELETE,
    NOTE,
    REDACT,
    REDACT_GUARDED,
    RESUME,
    SEND,
    SEND_AGAIN,
    SEND_ELSEWHERE,
    SEND_OTHER,
    SPILL,
    TURN,
    WAIT,
    Factory,
    History,
    Work,
    brief_of,
    said,
)

REFUSALS = (SessionBusyError, SessionConflictError, SessionNotFoundError)


class Gate(monitoring.CommandListener):
    """Holds the n-th command of a client back until it is opened."""

    def __init__(self) -> None:
        self.arm(0)

    def arm(self, number: int) -> None:
        self._number = number
        self.names: list[str] = []
        self.reached = threading.Event()
        self.opened = threading.Event()

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        self.names.append(event.command_name)
        if len(self.names) == self._number:
            self.reached.set()
            assert self.opened.wait(30)

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        return None

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        return None


MEETINGS: list[tuple[Before, Work, Sequence[Work]]] = [
    (long_session, SPILL, [TURN, SPILL, REDACT, DELETE, AGAIN]),
    (long_session, GUARD, [TURN, REDACT_GUARDED, DELETE, AGAIN]),
    (long_session, REDACT, [TURN, SPILL, REDACT, SEND, DELETE, AGAIN]),
    (long_session, EDIT, [REDACT, DELETE]),
    (long_session, SEND, [REDACT, SEND_AGAIN, SEND_ELSEWHERE, DELETE, AGAIN]),
    (remembered, RESUME, [REDACT, SPILL, DELETE, AGAIN]),
    (long_session, WAIT, [TURN, REDACT, DELETE, AGAIN]),
    (long_session, DELETE, [TURN, SEND, DELETE, AGAIN]),
    (nothing, SEND, [SEND_OTHER, MAKE_AND_DELETE]),
    (half_deleted, SEND, [SEND_OTHER, DELETE, MAKE_AND_DELETE]),
    (half_deleted, WAIT, [SEND, DELETE]),
    (half_deleted, DELETE, [SEND, MAKE_AND_DELETE]),
    (half_deleted, MAKE, [SEND, DELETE]),
    (half_deleted, NOTE, [SEND, DELETE]),
]

LAPSED: list[tuple[Work, Sequence[Work]]] = [
    (SPILL, [TURN]),
    (GUARD, [REDACT_GUARDED, AGAIN]),
    (REDACT, [REDACT, SEND]),
    (EDIT, [REDACT]),
    (SEND, [REDACT, SEND_AGAIN]),
]
"""Where the first was away for so long that the second may take over its turn."""

if os.environ.get("FAULTS") == "thorough":
    LAPSED = [
        (first, others)
        for before, first, others in MEETINGS
        if before is long_session and first in (SPILL, GUARD, REDACT, EDIT, SEND)
    ]

PAIRS = [
    pytest.param(
        before, first, second, lapsed, id=f"{before.__name__} - {first.name} - {second.name}{' - lapsed' * lapsed}"
    )
    for lapsed, met in ((False, MEETINGS), (True, [(long_session, *each) for each in LAPSED]))
    for before, first, others in met
    for second in others
]


@pytest.fixture
def ground(place: Place, mongo_client: MongoClient[Any]) -> Iterator[Ground]:
    ground = Ground(mongo_client, place.database, place.collection)
    yield ground
    ground.drop()


@pytest.fixture(scope="module")
def grounds() -> Grounds:
    return Grounds()


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def gated(gate: Gate, place: Place) -> Iterator[Factory]:
    """A factory whose commands the gate holds back."""
    with MongoClient[Any](place.uri, event_listeners=[gate]) as client:
        yield MongoDBSessionManagerFactory(
            client=client, database_name=place.database, collection_name=place.collection
        )


def meetings(
    gate: Gate, ground: Ground, kept: Kept, first: Callable[[], object], second: Callable[[], object], *, lapsed: bool
) -> Iterator[tuple[str, object, object]]:
    """Hold the first back before each of its commands in turn, and once not at all, while the second is there.

    Yields:
        At which command, and what became of the two.
    """
    for number in itertools.count(1):
        ground.restore(kept)
        gate.arm(number)
        with ThreadPoolExecutor(1) as pool:
            held_back = pool.submit(outcome, first)
            held_back.add_done_callback(lambda done: gate.reached.set())
            assert gate.reached.wait(30)
            over = held_back.done()
            if lapsed:
                ground.let_the_lease_pass()
            of_second = outcome(second)
            gate.opened.set()
            of_first = held_back.result(30)
        step = "before all" if number == 1 else "after all" if over else f"{number} {gate.names[number - 1]}"
        yield step, of_first, of_second
        if over:
            print(f"held back before {number - 1} commands")
            return


def outcome(work: Callable[[], object]) -> object:
    """What a writer returned, or the error that it ended with."""
    try:
        return work()
    except Exception as error:
        return error


@pytest.mark.parametrize(("before", "first", "second", "lapsed"), PAIRS)
def test_two_writers_leave_what_one_after_the_other_would(
    factory: Factory,
    gated: Factory,
    gate: Gate,
    ground: Ground,
    grounds: Grounds,
    subtests: pytest.Subtests,
    before: Before,
    first: Work,
    second: Work,
    lapsed: bool,
) -> None:
    SEND.does(gated)  # prepares both collections, as a process does once
    kept = grounds.laid(before, factory, ground)
    base = said(factory)
    assert before is not long_session or len(base["default"]) == END
    works = [partial(work.does, its) for work, its in ((first, gated), (second, factory))]
    for step, of_first, of_second in meetings(gate, ground, kept, *works, lapsed=lapsed):
        with subtests.test(step):
            results = [(first, of_first), (second, of_second)]
            refused = [result for _, result in results if isinstance(result, REFUSALS)]
            assert len(refused) <= (0 if step in ("before all", "after all") else 1), refused
            assert_one_after_the_other(factory, ground, base, results, lapsed)


def assert_one_after_the_other(
    factory: Factory, ground: Ground, base: History, results: list[tuple[Work, object]], lapsed: bool
) -> None:
    for _, result in results:
        if isinstance(result, Exception) and not isinstance(result, REFUSALS):
            raise result
    ground.assert_sound()
    left = said(factory)
    outcomes = {work.name: repr(result) for work, result in results}
    assert any(left == each for each in possible(base, results, lapsed)), (outcomes, left)
    shown = {work.shows for work, _ in results if any(work.asks in told for told in left.values())}
    for work in [work for work, result in results if not isinstance(result, Exception) and result is not False]:
        if work.hides is not None and work.hides not in shown:
            assert ground.shows(work.hides) == [], outcomes
        if work.deletes:
            assert ground.garbage() == [], outcomes
    ground.let_the_lease_pass()
    TURN.does(factory)


def possible(base: History, results: list[tuple[Work, object]], lapsed: bool) -> Iterator[History]:
    """Every history that the two could leave, one after the other."""
    for order in itertools.permutations(results):
        effects = [
            [lambda history: history, *(work.begins if lapsed else ())]
            if isinstance(result, Exception)
            else [work.leaves]
            for work, result in order
        ]
        for chosen in itertools.product(*effects):
            history = base
            for effect in chosen:
                history = effect(history)
            yield history


@pytest.mark.parametrize("second", [SPILL, REDACT, GUARD, DELETE, AGAIN], ids=lambda work: work.name)
def test_a_reader_sees_a_session_as_it_is_before_or_after_another_writer(
    factory: Factory,
    gated: Factory,
    gate: Gate,
    ground: Ground,
    grounds: Grounds,
    subtests: pytest.Subtests,
    second: Work,
) -> None:
    kept = grounds.laid(long_session, factory, ground)
    base = said(factory)
    read = partial(gated.sessions.messages, "s")
    for step, seen, written in meetings(gate, ground, kept, read, partial(second.does, factory), lapsed=False):
        with subtests.test(step):
            assert not isinstance(written, Exception)
            if isinstance(seen, Exception) and not (isinstance(seen, SessionNotFoundError) and second.deletes):
                raise seen
            if isinstance(seen, list):
                assert brief_of(seen) in (base["default"], second.leaves(base).get("default"))
