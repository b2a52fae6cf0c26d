"""Promise 5: with a database that answers late, an event loop that serves many sessions never waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from strands import Agent

from mongodb_session_manager import MongoDBSessionManagerFactory
from mongodb_session_manager.errors import SessionBusyError
from tests.faults.conftest import MakeFactory
from tests.faults.proxy import Proxy
from tests.faults.turns import history, lines, turn
from tests.models import ScriptedModel

Stored = Callable[[str], Any]

LATE = 1.0
"""Seconds by which every reply is late."""

BOUND = 0.9
"""Less than one reply takes, and more than a busy machine keeps a loop waiting."""


@asynccontextmanager
async def heartbeat() -> AsyncIterator[None]:
    """Every 5 ms; the loop never misses it by more than the bound."""
    longest = 0.0

    async def beat() -> None:
        nonlocal longest
        loop = asyncio.get_running_loop()
        before = loop.time()
        while True:
            await asyncio.sleep(0.005)
            now = loop.time()
            before, longest = now, max(longest, now - before)

    task = asyncio.create_task(beat())
    try:
        yield
    finally:
        task.cancel()
    assert 0 < longest < BOUND


async def a_streamed_turn_and_another(factory: MongoDBSessionManagerFactory) -> None:
    made = turn(await factory.open_session("streamed"), "first")
    async for _ in made.agent.stream_async("first"):
        pass
    made.model.script = ["fine"]
    await made.agent.invoke_async("again")


async def a_refused_turn_and_its_reload(factory: MongoDBSessionManagerFactory) -> None:
    managers = await asyncio.gather(*(factory.open_session("refused") for _ in range(2)))
    late, first = turn(managers[0], "late"), turn(managers[1], "first")
    async with first.agent._session_manager.claim(first.agent):  # type: ignore[union-attr]
        with pytest.raises(SessionBusyError):
            await late.agent.invoke_async("late")
    await late.agent.invoke_async("late")


async def a_cancelled_turn(factory: MongoDBSessionManagerFactory) -> None:
    made = turn(await factory.open_session("cancelled"), "w")
    task = asyncio.create_task(made.agent.invoke_async("w"))
    await asyncio.sleep(LATE / 2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def a_redacted_turn_with_state(factory: MongoDBSessionManagerFactory) -> None:
    model = ScriptedModel("I cannot say")
    model.redact = "[redacted]"
    manager = await factory.open_session("redacted")
    agent = Agent(model=model, session_manager=manager, callback_handler=None)
    agent.state.set("colour", "red")
    await agent.invoke_async("a secret")


async def every_other_method(factory: MongoDBSessionManagerFactory) -> None:
    manager = await factory.open_session("methods")
    made = turn(manager, "w")
    await manager.aio.append_message({"role": "user", "content": [{"text": "by hand"}]}, made.agent)
    made.agent.state.set("colour", "red")
    await asyncio.gather(
        manager.aio.sync_agent(made.agent),
        manager.aio.update_metadata({"colour": "red"}),
        manager.aio.get_metadata(),
        manager.aio.add_feedback({"rating": "up"}),
        manager.aio.get_session(),
        manager.aio.get_metrics_summary("default"),
        factory.sessions.aio.page(),
        factory.sessions.aio.messages("methods"),
        factory.aio.get_connection_stats(),
    )
    await manager.aio.reload(made.agent)
    async with manager:
        pass


async def test_no_call_of_an_agents_life_makes_its_loop_wait(
    proxy: Proxy, proxied: MongoDBSessionManagerFactory, stored: Stored
) -> None:
    proxy.delay = LATE
    async with heartbeat():
        await asyncio.gather(
            a_streamed_turn_and_another(proxied),
            a_refused_turn_and_its_reload(proxied),
            a_cancelled_turn(proxied),
            a_redacted_turn_with_state(proxied),
            every_other_method(proxied),
        )

    assert history(stored("streamed")) == [*lines("first"), "prompt again", "fine"]
    assert history(stored("refused")) == lines("late")
    assert history(stored("cancelled")) == ["prompt w"]
    assert history(stored("redacted")) == ["prompt [redacted]", "I cannot say"]
    assert history(stored("methods")) == ["prompt by hand"]


async def test_no_call_makes_its_loop_wait_while_the_database_is_gone(proxy: Proxy, make_factory: MakeFactory) -> None:
    factory = make_factory(proxy.uri, serverSelectionTimeoutMS=1500)
    made = turn(await factory.open_session("s"), "w")
    proxy.go_down()
    async with heartbeat():
        with pytest.raises(Exception, match=r"127\.0\.0\.1") as failure:
            await made.agent.invoke_async("w")
    assert "session_id='s'" in failure.value.__notes__
    assert made.model.calls == []


async def test_sixty_sessions_on_one_loop_do_not_wait_for_one_another(
    proxy: Proxy, proxied: MongoDBSessionManagerFactory, stored: Stored
) -> None:
    await proxied.open_session("warm")
    proxy.delay = 0.2

    async def one(number: int) -> None:
        made = turn(await proxied.open_session(f"s{number}"), f"t{number}")
        await made.agent.invoke_async(made.text)

    begun = asyncio.get_running_loop().time()
    await asyncio.gather(*(one(number) for number in range(60)))

    # Five replies, each 0.2 s late: one after the other they would take a minute.
    assert asyncio.get_running_loop().time() - begun < 30
    for number in range(60):
        assert history(stored(f"s{number}")) == lines(f"t{number}")
