"""A turn is a lease: kept alive while somebody works on it, free when nobody does, and never shared."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from typing import Any

import pytest
from pymongo.collection import Collection
from pymongo.errors import AutoReconnect

from mongodb_session_manager import MongoDBSessionManagerFactory
from mongodb_session_manager.errors import SessionBusyError, SessionConflictError
from tests.commands import Commands
from tests.faults.conftest import MakeFactory
from tests.faults.proxy import Proxy
from tests.faults.turns import Listener, Turn, history, lines, tried, turn, turn_of

Stored = Callable[[str], Any]

MISSING = "result Tool was interrupted."
"""What the SDK answers a tool use whose turn came to nothing."""


def test_a_turn_longer_than_its_lease_is_kept_alive(make_factory: MakeFactory, stored: Stored) -> None:
    listener = Listener()
    factory = make_factory(event_listeners=[listener])

    def others_try() -> None:
        end = time.monotonic() + 1.1
        while time.monotonic() < end:
            with pytest.raises(SessionBusyError) as busy:
                turn(make_other.create_session_manager("s", turn_timeout=0.6), "other")()
            assert 0 < busy.value.retry_after <= 0.6
            time.sleep(0.1)

    make_other = make_factory()
    turn(factory.create_session_manager("s", turn_timeout=0.6), "long", others_try)()

    assert 3 <= listener.names.count("findAndModify") <= 8
    assert history(stored("s")) == lines("long")
    assert turn_of(stored("s")) is None


def test_a_turn_shorter_than_a_third_of_its_lease_sends_no_renewal(
    factory: MongoDBSessionManagerFactory, commands: Commands
) -> None:
    turn(factory.create_session_manager("s", turn_timeout=6.0), "short", lambda: time.sleep(0.3))()

    assert commands.names == ["find", "update", "update", "update", "update"]


def test_nothing_is_renewed_between_turns(factory: MongoDBSessionManagerFactory, commands: Commands) -> None:
    made = turn(factory.create_session_manager("s", turn_timeout=0.15), "short")
    made()
    commands.clear()
    time.sleep(0.4)

    assert commands.names == []


def test_a_renewal_that_finds_the_turn_gone_stops_the_agent_before_its_next_effect(
    factory: MongoDBSessionManagerFactory, collection: Collection[Any], commands: Commands, stored: Stored
) -> None:
    def somebody_takes_over() -> None:
        taken = {"agents.default.turn.owner": "other", "agents.default.revision": "other"}
        with commands.unwatched():
            collection.update_one({"_id": "s"}, {"$set": taken})
        deadline = time.monotonic() + 10
        while "findAndModify" not in commands.names:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(0.1)

    made = turn(factory.create_session_manager("s", turn_timeout=0.3), "first", somebody_takes_over)
    with pytest.raises(SessionConflictError):
        made()

    assert commands.names == ["find", "update", "update", "findAndModify"]
    assert len(made.model.calls) == 1
    assert history(stored("s")) == lines("first")[:2]
    assert turn_of(stored("s"))["owner"] == "other"


@pytest.mark.parametrize("other_ends", [True, False], ids=["and ended", "and still running"])
def test_a_turn_that_expired_and_was_taken_over_adds_nothing_more(
    factory: MongoDBSessionManagerFactory,
    collection: Collection[Any],
    commands: Commands,
    stored: Stored,
    other_ends: bool,
) -> None:
    """As after a pause of the whole process: no renewal was sent, none has noticed."""
    with ExitStack() as others:

        def grow_old_and_lose() -> None:
            with commands.unwatched():
                older = {"$subtract": ["$agents.default.turn.stamp", 31_000]}
                collection.update_one({"_id": "s"}, [{"$set": {"agents.default.turn.stamp": older}}])
            manager = factory.create_session_manager("s")
            other = turn(manager, "other")
            if not other_ends:
                others.enter_context(manager.claim(other.agent))
            other()

        first = turn(factory.create_session_manager("s"), "first", grow_old_and_lose)
        with pytest.raises(SessionConflictError):
            first()

    assert len(first.model.calls) == 1
    assert history(stored("s")) == [*lines("first")[:2], MISSING, *lines("other")]
    assert turn_of(stored("s")) is None


async def test_a_turn_whose_lease_could_not_be_renewed_is_claimed_again_before_the_next_effect(
    proxy: Proxy, proxied: MongoDBSessionManagerFactory, stored: Stored
) -> None:
    heard_before_the_tool: list[str] = []
    manager = await proxied.open_session("s", turn_timeout=0.4)
    made = turn(manager, "w", lambda: heard_before_the_tool.extend(proxy.heard))
    stream = made.agent.stream_async("w")
    await read_until(stream, STOPS["the tool use is stored"])
    proxy.go_down()
    await asyncio.sleep(0.6)
    proxy.heard.clear()
    proxy.come_up()

    await read_until(stream, lambda event: "result" in event)

    # One or the other: a renewal may come through just before.
    assert {"update", "findAndModify"} & set(heard_before_the_tool)
    assert history(stored("s")) == lines("w")


STOPS: dict[str, Callable[[Any], bool]] = {
    "nothing is stored": lambda event: "init_event_loop" in event,
    "the model calls a tool": lambda event: "current_tool_use" in event,
    "the tool use is stored": lambda event: "toolUse" in _first_block(event),
    "the tool result is stored": lambda event: "toolResult" in _first_block(event),
    "the model answers": lambda event: "data" in event,
    "the answer is complete": lambda event: "text" in _first_block(event),
}
"""Where the consumer of a stream may stop reading, and how it knows."""

STORED = dict(zip(STOPS, (0, 1, 2, 3, 3, 3), strict=True))
MODEL_CALLS = dict(zip(STOPS, (0, 1, 1, 1, 2, 2), strict=True))


def _first_block(event: Any) -> Any:
    return event["message"]["content"][0] if "message" in event else {}


async def read_until(stream: AsyncIterator[Any], reached: Callable[[Any], bool]) -> Any:
    async for event in stream:
        if reached(event):
            return event
    raise AssertionError("the stream ended before")


async def stop_reading(factory: MongoDBSessionManagerFactory, stop: str) -> tuple[Turn, AsyncIterator[Any]]:
    """The second turn of a session that is named after its end: nobody reads it any more."""
    await asyncio.to_thread(lambda: turn(factory.create_session_manager(stop), "earlier")())
    made = turn(await factory.open_session(stop, turn_timeout=0.4, turn_limit=0.3), "first")
    stream = made.agent.stream_async("first")
    await read_until(stream, STOPS[stop])
    return made, stream


async def other_writer_returns(factory: MongoDBSessionManagerFactory, session_id: str) -> float:
    """Try a turn until it is not refused; the seconds that it took."""
    begun = time.monotonic()

    def one() -> bool:
        return tried(turn(factory.create_session_manager(session_id, turn_timeout=0.4), "other")).refused

    while await asyncio.to_thread(one):
        assert time.monotonic() < begun + 10
        await asyncio.sleep(0.05)
    return time.monotonic() - begun


async def test_a_turn_that_nobody_reads_any_more_is_free_after_its_limit_and_takes_nothing_from_the_next(
    factory: MongoDBSessionManagerFactory, stored: Stored
) -> None:
    abandoned = {stop: await stop_reading(factory, stop) for stop in STOPS}
    waits = await asyncio.gather(*(other_writer_returns(factory, stop) for stop in STOPS))
    assert max(waits) < 5

    for stop, (made, stream) in abandoned.items():
        with pytest.raises(SessionConflictError):
            await read_until(stream, lambda event: "result" in event)

        assert len(made.model.calls) == MODEL_CALLS[stop], stop
        assert made.tool_runs == (["first"] if STORED[stop] > 2 else []), stop
        kept = [*lines("earlier"), *lines("first")[: STORED[stop]]]
        missing = [MISSING] if STORED[stop] == 2 else []
        assert history(stored(stop)) == [*kept, *missing, *lines("other")], stop
        assert turn_of(stored(stop)) is None


async def test_a_turn_that_nobody_read_for_long_and_nobody_took_over_is_finished_by_a_later_read(
    factory: MongoDBSessionManagerFactory, stored: Stored
) -> None:
    abandoned = {stop: await stop_reading(factory, stop) for stop in STOPS}
    await asyncio.sleep(1.0)

    for stop, (_, stream) in abandoned.items():
        await read_until(stream, lambda event: "result" in event)

        assert history(stored(stop)) == [*lines("earlier"), *lines("first")], stop
        assert turn_of(stored(stop)) is None


async def test_a_slow_consumer_within_the_limit_keeps_its_turn(
    factory: MongoDBSessionManagerFactory, stored: Stored
) -> None:
    made = turn(await factory.open_session("s", turn_timeout=0.3, turn_limit=30.0), "first")
    stream = made.agent.stream_async("first")
    await read_until(stream, STOPS["the model answers"])
    await asyncio.sleep(0.8)

    other = await asyncio.to_thread(lambda: turn(factory.create_session_manager("s", turn_timeout=0.3), "other"))
    assert (await asyncio.to_thread(tried, other)).refused
    await read_until(stream, lambda event: "result" in event)
    assert history(stored("s")) == lines("first")


async def test_a_turn_whose_release_failed_is_not_renewed_for_ever(
    proxy: Proxy, make_factory: MakeFactory, factory: MongoDBSessionManagerFactory, stored: Stored
) -> None:
    manager = await make_factory(proxy.uri, serverSelectionTimeoutMS=100).open_session("s", turn_timeout=0.6)
    made = turn(manager, "first")
    stream = made.agent.stream_async("first")
    await read_until(stream, STOPS["the answer is complete"])
    proxy.go_down()
    with pytest.raises(AutoReconnect):
        await read_until(stream, lambda event: "result" in event)
    proxy.come_up()

    await asyncio.sleep(0.9)

    other = await asyncio.to_thread(lambda: turn(factory.create_session_manager("s", turn_timeout=0.6), "other"))
    assert not (await asyncio.to_thread(tried, other)).refused
    assert history(stored("s")) == [*lines("first")[:3], *lines("other")]
    assert made.agent.messages[-1]["content"] == [{"text": "answer to first"}]
