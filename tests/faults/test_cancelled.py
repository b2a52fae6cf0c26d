"""A turn whose caller goes away: what was complete is stored, the turn is free, and the agent can go on."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from strands import Agent
from strands.types.exceptions import ConcurrencyException

from mongodb_session_manager import MongoDBSessionManagerFactory
from tests.faults.conftest import MakeFactory
from tests.faults.proxy import Proxy
from tests.faults.turns import Listener, Turn, history, line, lines, turn, turn_of

Stored = Callable[[str], Any]

MISSING = "result Tool was interrupted."


async def settled(agent: Agent, stored: Stored, session_id: str = "s") -> list[str]:
    """The stored history, once it is what the agent remembers and nobody holds its turn."""
    remembered = [line(message) for message in agent.messages]
    deadline = time.monotonic() + 5
    while True:
        document = stored(session_id)
        told = history(document)
        if told == remembered and (document is None or turn_of(document) is None):
            return told
        assert time.monotonic() < deadline, (told, remembered, turn_of(document))
        await asyncio.sleep(0.01)


async def goes_on(made: Turn, stored: Stored, session_id: str = "s") -> None:
    """The same agent takes another turn."""
    before = await settled(made.agent, stored, session_id)
    made.model.script = ["fine"]
    await ask_again(made.agent)
    repaired = [MISSING] if before[-1:] == [lines(made.text)[1]] else []
    assert await settled(made.agent, stored, session_id) == [*before, *repaired, "prompt again", "fine"]


async def ask_again(agent: Agent) -> None:
    """A stream that nobody closed is closed by the loop, and the SDK's part of it a few steps after the turn."""
    deadline = time.monotonic() + 5
    while True:
        try:
            await agent.invoke_async("again")
            return
        except ConcurrencyException:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)


async def cancelled(task: asyncio.Task[Any]) -> None:
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("times", [1, 2], ids=["once", "twice"])
@pytest.mark.parametrize("number", [1, 2, 3, 4])
async def test_a_task_cancelled_during_a_write_leaves_that_write_complete(
    proxy: Proxy, make_factory: MakeFactory, stored: Stored, number: int, times: int
) -> None:
    """Twice: again during the write that frees the turn."""
    loop = asyncio.get_running_loop()

    def cancel(name: str, sent: int) -> None:
        if name == "update" and number <= sent < number + times:
            loop.call_soon_threadsafe(task.cancel)

    factory = make_factory(proxy.uri, event_listeners=[Listener(cancel)])
    made = turn(await factory.open_session("s"), "w")
    proxy.delay = 0.05
    task = asyncio.create_task(made.agent.invoke_async("w"))
    await cancelled(task)

    assert await settled(made.agent, stored) == lines("w")[:number]
    proxy.delay = 0.0
    await goes_on(made, stored)


async def test_a_task_cancelled_while_the_model_answers_leaves_the_question(
    factory: MongoDBSessionManagerFactory, stored: Stored
) -> None:
    made = turn(await factory.open_session("s"), "w")
    made.model.hold = threading.Event()
    task = asyncio.create_task(made.agent.invoke_async("w"))
    while not made.model.calls:
        await asyncio.sleep(0.01)
    task.cancel()
    await cancelled(task)
    made.model.hold.set()

    assert await settled(made.agent, stored) == lines("w")[:1]
    await goes_on(made, stored)


async def test_a_task_cancelled_while_a_tool_runs_leaves_its_use(
    factory: MongoDBSessionManagerFactory, stored: Stored
) -> None:
    released = threading.Event()
    made = turn(await factory.open_session("s"), "w", lambda: released.wait(10))
    task = asyncio.create_task(made.agent.invoke_async("w"))
    while not made.tool_runs:
        await asyncio.sleep(0.01)
    task.cancel()
    await cancelled(task)
    released.set()

    assert await settled(made.agent, stored) == lines("w")[:2]
    await goes_on(made, stored)


async def test_a_task_cancelled_after_any_number_of_steps_leaves_whole_messages(
    factory: MongoDBSessionManagerFactory, stored: Stored
) -> None:
    reached = set()
    for steps in range(0, 80, 2):
        session_id = f"s{steps}"
        made = turn(await factory.open_session(session_id), "w")
        task = asyncio.create_task(made.agent.invoke_async("w"))
        for step in range(steps):
            await asyncio.sleep(0.001 if step % 5 == 4 else 0)
        task.cancel()
        await asyncio.wait([task])

        told = await settled(made.agent, stored, session_id)
        assert told == lines("w")[: len(told)]
        reached.add(len(told))
    assert len(reached) > 2


async def test_a_stream_closed_after_any_of_its_events_leaves_whole_messages(
    factory: MongoDBSessionManagerFactory, stored: Stored
) -> None:
    reached = set()
    for events in range(1, 100):
        session_id = f"s{events}"
        made = turn(await factory.open_session(session_id), "w")
        stream: Any = made.agent.stream_async("w")
        seen = [event async for _, event in _zip(events, stream)]
        await stream.aclose()

        document = stored(session_id)
        told = history(document)
        assert told == lines("w")[: len(told)] == [line(message) for message in made.agent.messages]
        assert document is None or turn_of(document) is None
        reached.add(len(told))
        if "result" in seen[-1]:
            break
    assert reached == {0, 1, 2, 3, 4} - ({0} - reached)


async def _zip(number: int, stream: Any) -> Any:
    for index in range(number):
        yield index, await anext(stream)


@pytest.mark.parametrize("event", ["current_tool_use", "message", "data"])
async def test_a_consumer_that_breaks_out_of_a_stream_frees_its_turn(
    factory: MongoDBSessionManagerFactory, stored: Stored, event: str
) -> None:
    made = turn(await factory.open_session("s"), "w")
    async for each in made.agent.stream_async("w"):
        if event in each:
            break
    del each
    gc.collect()

    kept = {"current_tool_use": 1, "message": 2, "data": 3}[event]
    assert await settled(made.agent, stored) == lines("w")[:kept]
    await goes_on(made, stored)


def test_a_loop_that_ends_with_an_unfinished_stream_frees_its_turn(
    factory: MongoDBSessionManagerFactory, stored: Stored
) -> None:
    streams: list[Any] = []

    async def begin() -> None:
        made = turn(await factory.open_session("s"), "w")
        streams.append(made.agent.stream_async("w"))
        async for event in streams[0]:
            if "data" in event:
                return

    thread = threading.Thread(target=lambda: asyncio.run(begin()))
    thread.start()
    thread.join()

    assert history(stored("s")) == lines("w")[:3]
    assert turn_of(stored("s")) is None


async def test_a_task_cancelled_while_it_takes_a_turn_by_hand_does_not_keep_it(
    proxy: Proxy, proxied: MongoDBSessionManagerFactory, stored: Stored
) -> None:
    manager = await proxied.open_session("s")
    made = turn(manager, "w")
    proxy.delay = 0.1

    async def hold() -> None:
        async with manager.claim(made.agent):
            raise AssertionError("it was cancelled before")

    task = asyncio.create_task(hold())
    await asyncio.sleep(0.05)
    task.cancel()
    await cancelled(task)
    proxy.delay = 0.0
    await asyncio.sleep(0.3)

    assert turn_of(stored("s")) is None
    await made.agent.invoke_async("w")
    assert await settled(made.agent, stored) == lines("w")


async def test_an_agent_reloaded_while_a_cancelled_write_still_runs_has_what_it_wrote(
    proxy: Proxy, make_factory: MakeFactory, stored: Stored
) -> None:
    loop = asyncio.get_running_loop()

    def cancel(name: str, sent: int) -> None:
        if name == "update" and sent == 4:
            loop.call_soon_threadsafe(task.cancel)

    factory = make_factory(proxy.uri, event_listeners=[Listener(cancel)])
    manager = await factory.open_session("s")
    made = turn(manager, "w")
    proxy.delay, proxy.delayed = 0.1, {"update"}
    task = asyncio.create_task(made.agent.invoke_async("w"))
    reload = asyncio.create_task(_after(task, lambda: manager.aio.reload(made.agent)))
    await cancelled(task)
    await reload

    assert await settled(made.agent, stored) == lines("w")
    proxy.delay = 0.0
    await goes_on(made, stored)


async def _after(task: asyncio.Task[Any], work: Callable[[], Any]) -> None:
    await asyncio.wait([task])
    await work()


async def test_a_factory_closes_at_once_after_a_cancelled_turn(
    proxy: Proxy, mongo_uri: str, collection: Any, stored: Stored
) -> None:
    loop = asyncio.get_running_loop()

    def cancel(name: str, sent: int) -> None:
        if name == "update" and sent == 2:
            loop.call_soon_threadsafe(task.cancel)

    listener = Listener(cancel)
    factory = MongoDBSessionManagerFactory(
        proxy.uri, collection.database.name, collection.name, event_listeners=[listener]
    )
    async with factory:
        manager = await factory.open_session("s", turn_timeout=1.5)
        made = turn(manager, "w")
        made.model.script = ["fine"]
        proxy.delay = 0.05
        task = asyncio.create_task(made.agent.invoke_async("w"))
        await cancelled(task)
        begun = time.monotonic()
    assert time.monotonic() - begun < 3
    assert turn_of(stored("s")) is None
