"""The threads behind an event loop: those that flush and the one that renews turns."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from pymongo import MongoClient
from strands import Agent

from mongodb_session_manager import MongoDBSessionManagerFactory
from mongodb_session_manager.aio import Awaitables
from mongodb_session_manager.background import Background, Lease
from mongodb_session_manager.mongodb_collection import background_of, max_concurrency
from tests.models import ScriptedModel

VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


def until(condition: Callable[[], object], seconds: float = 5.0) -> None:
    """Wait for something that another thread will do."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.005)


class Owner:
    """Whose background it is."""


# The pool


async def test_a_call_runs_in_a_thread_of_the_pool_with_the_callers_context() -> None:
    VARIABLE.set("the caller's")

    name, value = await Background(2).run(lambda: (threading.current_thread().name, VARIABLE.get()))

    assert name.startswith("session-flush")
    assert value == "the caller's"


async def test_the_loop_stays_free_meanwhile() -> None:
    background, gate = Background(2), threading.Event()
    waiting = asyncio.ensure_future(background.run(lambda: gate.wait(5)))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    gate.set()

    assert await waiting


async def test_as_many_calls_run_at_once_as_the_store_can_serve() -> None:
    background, meeting = Background(3), threading.Barrier(3, timeout=5)

    await asyncio.gather(*(background.run(meeting.wait) for _ in range(3)))


async def test_what_a_call_raises_the_caller_gets() -> None:
    def fail() -> None:
        raise KeyError("why")

    with pytest.raises(KeyError, match="why"):
        await Background(1).run(fail)


async def test_a_call_runs_to_its_end_when_its_task_is_cancelled() -> None:
    background, gate, ended = Background(1), threading.Event(), threading.Event()

    def work() -> None:
        gate.wait(5)
        ended.set()
        raise RuntimeError("nobody is there to hear it")

    task = asyncio.ensure_future(background.run(work))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    gate.set()
    await asyncio.to_thread(ended.wait, 5)

    assert ended.is_set()
    await asyncio.sleep(0.01)


def test_work_can_be_handed_over_that_answers_to_nobody() -> None:
    done = threading.Event()
    Background(1).submit(done.set)

    assert done.wait(5)


def test_nothing_is_started_before_it_is_needed() -> None:
    before = threading.active_count()
    Background(4)

    assert threading.active_count() == before


def test_one_object_has_one_background_for_as_long_as_it_lives() -> None:
    owner = Owner()
    background = weakref.ref(Background.of(owner, 1))
    assert Background.of(owner, 1) is background()
    assert Background.of(Owner(), 1) is not background()

    del owner
    gc.collect()

    assert background() is None


def test_clients_of_one_server_have_a_background_each(mongo_uri: str) -> None:
    with MongoClient[Any](mongo_uri, maxPoolSize=3) as one, MongoClient[Any](mongo_uri, maxPoolSize=4) as other:
        assert one == other, "or this test tells nothing"
        assert background_of(one) is not background_of(other)
        assert background_of(one) is background_of(one)


@pytest.mark.parametrize(("size", "expected"), [(7, 7), (100, 100), (0, 100), (1_000_000, 100)])
def test_the_pool_is_sized_like_the_clients(mongo_uri: str, size: int, expected: int) -> None:
    with MongoClient[Any](mongo_uri, maxPoolSize=size, connect=False) as client:
        assert max_concurrency(client) == expected


async def test_an_awaitable_form_keeps_name_arguments_and_documentation() -> None:
    class Thing:
        def greet(self, name: str, *, loudly: bool = False) -> str:
            """Greet."""
            return f"hi {name}{'!' if loudly else ''}"

        def quiet(self) -> None:
            """Not offered."""

    aio = Awaitables(Thing(), Background(1), frozenset({"greet"}))

    assert await aio.greet("ann", loudly=True) == "hi ann!"
    assert (aio.greet.__name__, aio.greet.__doc__) == ("greet", "Greet.")
    assert dir(aio) == ["greet"]
    with pytest.raises(AttributeError, match=r"Thing\.quiet has no awaitable form"):
        _ = aio.quiet


# Renewals


def test_a_turn_is_renewed_at_its_interval_until_it_is_let_go() -> None:
    background = Background(1)
    times: list[float] = []
    lease = Lease(0.05, lambda: times.append(time.monotonic()) is None)
    begin = time.monotonic()
    background.keep(lease)
    until(lambda: len(times) >= 3)
    background.let_go(lease)
    count = len(times)
    time.sleep(0.15)

    assert times[0] - begin >= 0.05
    assert times[2] - times[0] >= 0.08
    assert len(times) <= count + 1
    assert lease.ended


def test_a_short_turn_is_not_renewed_at_all() -> None:
    background, renewed = Background(1), threading.Event()
    lease = Lease(0.1, lambda: renewed.set() is None)
    background.keep(lease)
    background.let_go(lease)

    assert not renewed.wait(0.25)


def test_a_turn_that_cannot_be_renewed_any_more_is_let_go() -> None:
    background = Background(1)
    calls: list[int] = []

    def renew() -> bool:
        calls.append(1)
        return False

    lease = Lease(0.02, renew)
    background.keep(lease)
    until(lambda: lease.ended)
    time.sleep(0.06)

    assert len(calls) == 1
    assert background.wait_for_turns(0)


def test_a_renewal_that_failed_is_tried_again() -> None:
    background = Background(1)
    calls: list[int] = []

    def renew() -> bool:
        calls.append(1)
        if len(calls) == 1:
            raise OSError("away for a moment")
        return True

    lease = Lease(0.02, renew)
    background.keep(lease)
    until(lambda: len(calls) >= 3)
    background.let_go(lease)


def test_an_urgent_turn_is_not_kept_waiting_by_a_patient_one() -> None:
    background, renewed = Background(1), threading.Event()
    patient, urgent = Lease(30, lambda: True), Lease(0.02, lambda: renewed.set() is None)
    background.keep(patient)
    time.sleep(0.02)
    background.keep(urgent)

    assert renewed.wait(2)
    background.let_go(patient)
    background.let_go(urgent)


def test_one_thread_renews_all_turns_of_a_client() -> None:
    background = Background(1)
    threads: set[int] = set()
    leases = [Lease(0.02, lambda: threads.add(threading.get_ident()) is None) for _ in range(20)]
    for lease in leases:
        background.keep(lease)
    until(lambda: threads)
    time.sleep(0.1)
    for lease in leases:
        background.let_go(lease)

    assert len(threads) == 1


def test_waiting_for_turns_ends_with_the_last_of_them_or_in_time() -> None:
    background = Background(1)
    lease = Lease(30, lambda: True)
    assert background.wait_for_turns(0)
    background.keep(lease)
    assert not background.wait_for_turns(0.05)
    threading.Timer(0.05, background.let_go, [lease]).start()

    assert background.wait_for_turns(5)


def test_a_long_turn_is_renewed_and_another_writer_cannot_take_it(
    factory: MongoDBSessionManagerFactory, stored: Callable[[str], Any]
) -> None:
    model = ScriptedModel("an answer")
    model.hold = threading.Event()
    manager = factory.create_session_manager("s", turn_timeout=0.3)
    agent = Agent(model=model, session_manager=manager, callback_handler=None)
    turn = threading.Thread(target=agent, args=["hi"])
    turn.start()
    until(lambda: model.calls)
    first = stored("s")["agents"]["default"]["turn"]
    until(lambda: stored("s")["agents"]["default"]["turn"]["stamp"] > first["stamp"])
    second = stored("s")["agents"]["default"]["turn"]
    model.hold.set()
    turn.join()

    assert second["owner"] == first["owner"]
    assert "turn" not in stored("s")["agents"]["default"]
    assert stored("s")["agents"]["default"]["message_count"] == 2
