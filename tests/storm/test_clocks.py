"""Two writers whose clocks are ten minutes apart: leases go by the server's clock, order by the revision."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from typing import Any

import pytest

from mongodb_session_manager import MongoDBSessionManagerFactory
from mongodb_session_manager.errors import SessionBusyError
from tests.faults.conftest import place as place
from tests.faults.turns import history, lines, turn, turn_of
from tests.faults.workers import Place, Worker, started
from tests.storm.clock import shift_clock

Stored = Callable[[str], Any]

APART = 600.0
LEASE = 1.0


def writer(line: Connection, place: Place, clock: float) -> None:
    """For every text that comes, take a turn; its tool says so, and waits for a word."""
    shift_clock(clock)
    with place.factory() as factory:
        line.send(datetime.now(UTC).timestamp())
        while text := line.recv():
            manager = factory.create_session_manager("s", turn_timeout=LEASE)
            made = turn(manager, text, lambda: (line.send("in the tool"), line.recv()))
            try:
                made()
                line.send("done")
            except SessionBusyError as error:
                line.send(error.retry_after)


@contextmanager
def two_writers(place: Place, first: float) -> Iterator[tuple[Worker, Worker]]:
    with started(writer, place, first) as one, started(writer, place, -first) as other:
        apart = one.answer() - other.answer()
        assert abs(apart - 2 * first) < 30
        yield one, other


@pytest.mark.parametrize("first", [APART / 2, -APART / 2], ids=["the fast one first", "the slow one first"])
def test_a_running_turn_is_not_taken_over_and_a_dead_one_is_when_its_lease_is_over(
    place: Place, stored: Stored, first: float
) -> None:
    with two_writers(place, first) as (one, other):
        one.send("first")
        assert one.answer() == "in the tool"
        other.send("too early")
        assert 0 < other.answer() <= LEASE

        os.kill(one.pid, signal.SIGKILL)
        one.killed()
        killed = time.monotonic()
        other.send("second")
        while (answer := other.answer()) != "in the tool":
            assert 0 < answer <= LEASE
            time.sleep(0.05)
            other.send("second")
        assert time.monotonic() - killed < LEASE + 5
        other.send("go on")
        assert other.answer() == "done"
        other.send("")

    assert history(stored("s")) == [*lines("first")[:2], "result Tool was interrupted.", *lines("second")]
    assert turn_of(stored("s")) is None


def test_turns_that_alternate_stay_in_order(
    place: Place, factory: MongoDBSessionManagerFactory, stored: Stored
) -> None:
    with two_writers(place, APART / 2) as writers:
        for number in range(6):
            writer = writers[number % 2]
            writer.send(f"t{number}")
            assert writer.answer() == "in the tool"
            writer.send("go on")
            assert writer.answer() == "done"
        for writer in writers:
            writer.send("")

    assert history(stored("s")) == [each for number in range(6) for each in lines(f"t{number}")]
    summary = factory.sessions.get("s")
    assert summary is not None
    assert abs((summary.updated_at - datetime.now(UTC)).total_seconds()) < 30
