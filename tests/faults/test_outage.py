"""The database goes away in the middle of a turn: what each choice of ``on_outage`` promises."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

import pytest
from pymongo.errors import PyMongoError
from strands import tool

from mongodb_session_manager import MongoDBSessionManager, SessionConflictError, SessionNotFoundError
from tests.faults.conftest import MakeFactory
from tests.faults.proxy import Proxy
from tests.test_lifecycle import make_agent, texts, turn_of

Stored = Callable[[str], Any]

QUICK = {"serverSelectionTimeoutMS": 300, "connectTimeoutMS": 300, "socketTimeoutMS": 1000}


def cutting(proxy: Proxy) -> Any:
    @tool
    def cut() -> str:
        """Take the database away."""
        proxy.go_down()
        return "cut"

    return cut


async def until_stored(manager: MongoDBSessionManager, seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while manager.pending:
        assert time.monotonic() < deadline, f"{manager.pending} changes are still pending"
        await asyncio.sleep(0.05)


async def until_said(text: str, caplog: pytest.LogCaptureFixture, seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while text not in caplog.text:
        assert time.monotonic() < deadline, f"nobody said: {text}"
        await asyncio.sleep(0.05)


CALL = {"name": "cut", "input": {}}


async def test_a_turn_that_cannot_be_stored_fails(
    make_factory: MakeFactory, proxy: Proxy, stored: Stored, caplog: pytest.LogCaptureFixture
) -> None:
    factory = make_factory(proxy.uri, **QUICK)
    manager = await factory.open_session("s")
    agent = make_agent(manager, CALL, "done", tools=[cutting(proxy)])
    with pytest.raises(Exception) as failed:
        await agent.invoke_async("go")
    assert isinstance(failed.value, PyMongoError) or isinstance(failed.value.__cause__, PyMongoError)
    assert texts(stored("s")) == ["go", "toolUse"]
    assert manager.pending > 0
    proxy.come_up()
    await manager.aio.close()
    assert manager.pending == 0


async def test_a_turn_goes_on_when_what_it_says_is_held(
    make_factory: MakeFactory, proxy: Proxy, stored: Stored, caplog: pytest.LogCaptureFixture
) -> None:
    factory = make_factory(proxy.uri, **QUICK)
    manager = await factory.open_session("s", on_outage="hold")
    agent = make_agent(manager, CALL, "done", tools=[cutting(proxy)])
    with caplog.at_level(logging.WARNING):
        result = await agent.invoke_async("go")
    assert str(result).strip() == "done"
    assert manager.pending == 2
    assert texts(stored("s")) == ["go", "toolUse"]
    assert [record.getMessage() for record in caplog.records if "what was recorded is held" in record.getMessage()]
    assert "done" not in caplog.text
    proxy.come_up()
    await until_stored(manager)
    await asyncio.sleep(0.1)
    assert texts(stored("s")) == ["go", "toolUse", "toolResult", "done"]
    assert turn_of(stored("s")) is None
    assert make_agent(await factory.open_session("s"), tools=[cutting(proxy)]).messages == agent.messages


async def test_turns_go_on_through_an_outage(make_factory: MakeFactory, proxy: Proxy, stored: Stored) -> None:
    factory = make_factory(proxy.uri, **QUICK)
    manager = await factory.open_session("s", on_outage="hold")
    agent = make_agent(manager, "a")
    await agent.invoke_async("one")
    proxy.go_down()
    await agent.invoke_async("two")
    await agent.invoke_async("three")
    proxy.come_up()
    await until_stored(manager)
    await agent.invoke_async("four")
    assert texts(stored("s")) == ["one", "a", "two", "a", "three", "a", "four", "a"]


async def test_a_reply_that_was_lost_doubles_nothing_that_is_held(
    make_factory: MakeFactory, proxy: Proxy, stored: Stored
) -> None:
    from tests.faults.proxy import Fault

    factory = make_factory(proxy.uri, **QUICK, retryWrites=False)
    manager = await factory.open_session("s", on_outage="hold")
    agent = make_agent(manager, "a")
    await agent.invoke_async("one")
    with proxy.failing("update", 1, Fault.REPLY_LOST, then_down=True):
        await agent.invoke_async("two")
    assert manager.pending > 0
    proxy.come_up()
    await until_stored(manager)
    assert texts(stored("s")) == ["one", "a", "two", "a"]


@pytest.mark.parametrize("told", ["the next call", "closing"])
async def test_what_is_held_and_refused_in_the_end_is_told(
    make_factory: MakeFactory, proxy: Proxy, stored: Stored, caplog: pytest.LogCaptureFixture, told: str
) -> None:
    manager = await make_factory(proxy.uri, **QUICK).open_session("s", on_outage="hold", turn_timeout=0.5)
    agent = make_agent(manager, "a")
    await agent.invoke_async("one")
    proxy.go_down()
    await agent.invoke_async("two")
    await make_agent(await make_factory().open_session("s"), "b").invoke_async("another")
    proxy.come_up()
    await until_said("what was held could not be stored", caplog)
    assert texts(stored("s")) == ["one", "a", "another", "b"]
    assert manager.pending == 1
    with pytest.raises(SessionConflictError):
        await (agent.invoke_async("three") if told == "the next call" else manager.aio.close())
    assert manager.pending == 0
    await agent.invoke_async("four")
    assert texts(stored("s"))[4:] == ["four", "a"]


async def test_what_is_held_for_a_session_that_was_deleted_is_told_too(
    make_factory: MakeFactory, proxy: Proxy, stored: Stored, caplog: pytest.LogCaptureFixture
) -> None:
    manager = await make_factory(proxy.uri, **QUICK).open_session("s", on_outage="hold")
    agent = make_agent(manager, "a")
    await agent.invoke_async("one")
    proxy.go_down()
    await agent.invoke_async("two")
    await make_factory().sessions.aio.delete("s")
    proxy.come_up()
    await until_said("what was held could not be stored", caplog)
    with pytest.raises(SessionNotFoundError):
        await agent.invoke_async("three")
    assert stored("s") is None


async def test_holding_ends_after_its_time_and_closing_says_what_is_left(
    make_factory: MakeFactory, proxy: Proxy, stored: Stored, caplog: pytest.LogCaptureFixture
) -> None:
    manager = await make_factory(proxy.uri, **QUICK).open_session("s", on_outage="hold", outage_timeout=0.5)
    agent = make_agent(manager, "a")
    await agent.invoke_async("one")
    proxy.go_down()
    await agent.invoke_async("two")
    await asyncio.sleep(3)
    assert "is not sent again in the background" in caplog.text
    assert manager.pending == 2
    with pytest.raises(PyMongoError):
        await manager.aio.close()
    proxy.come_up()
    await manager.aio.close()
    assert manager.pending == 0
    assert texts(stored("s")) == ["one", "a", "two", "a"]


async def test_a_session_that_cannot_be_opened_is_not_held(make_factory: MakeFactory, proxy: Proxy) -> None:
    proxy.go_down()
    with pytest.raises(PyMongoError):
        await make_factory(proxy.uri, **QUICK).open_session("s", on_outage="hold")
