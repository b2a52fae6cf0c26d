"""Turns of every kind, in processes that end themselves in the middle of them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from typing import Any, Literal, NoReturn, TypeAlias
from unittest import mock

from pymongo import MongoClient, monitoring
from strands import Agent, ToolContext, tool
from strands.hooks import BeforeModelCallEvent, BeforeToolCallEvent
from strands.types.content import ContentBlock
from strands.types.interrupt import InterruptResponseContent

from mongodb_session_manager import MongoDBSessionManagerFactory, archive
from tests.faults.ground import KB, look, picture, talker
from tests.faults.turns import turn
from tests.faults.workers import Place
from tests.models import ScriptedModel

__all__ = ["GUARDED", "KINDS", "Ended", "Order", "asker", "executor", "guarded", "yes"]

GUARDED = b"what the guardrail stops"
"""Part of the picture that a prompt shows and a guardrail takes out of it again."""

Tell: TypeAlias = Callable[[str], None]
"""Says that something has happened, so that the world knows it whatever becomes of the process."""

Kind: TypeAlias = Callable[[MongoDBSessionManagerFactory, Tell], Awaitable[object]]


@dataclass(frozen=True)
class Order:
    """Which turn to take, and where to be killed: at its n-th step, counted from 1, or not at all.

    A step of the commands is the moment before one is sent, or that when its answer has come; a step of the loop is one
    round of the event loop, and a coroutine goes on from an await in one.
    """

    kind: str
    steps: Literal["commands", "loop"] = "commands"
    number: int | None = None


@dataclass(frozen=True)
class Ended:
    """How a process ended, what it had told by then, and, if it was not killed, its steps."""

    killed: bool
    told: list[str]
    steps: list[str]

    @property
    def durable(self) -> int:
        """How many messages of the turn the world had seen the effects of."""
        return max((int(each.split()[1]) for each in self.told if each.startswith("said ")), default=0)


def executor(line: Connection, place: Place) -> None:
    """For every order that comes, fork a process that follows it, and tell how that ended."""
    with contextlib.suppress(EOFError):
        while True:
            line.send(_followed(place, line.recv()))


def _followed(place: Place, order: Order) -> Ended:
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        _follow(place, order, write)
    os.close(write)
    with os.fdopen(read) as pipe:
        told = pipe.read().splitlines()
    _, status = os.waitpid(pid, 0)
    assert status in (0, signal.SIGKILL), "\n".join(told)
    steps = [each.removeprefix("step ") for each in told if each.startswith("step ")]
    return Ended(status != 0, [each for each in told if not each.startswith("step ")], steps)


def _follow(place: Place, order: Order, write: int) -> NoReturn:
    def tell(what: str) -> None:
        os.write(write, f"{what}\n".encode())

    try:
        commands, loop = _Commands(order), _Loop(order)
        client = MongoClient[Any](place.uri, event_listeners=[commands], appname=place.collection)
        factory = MongoDBSessionManagerFactory(
            client=client, database_name=place.database, collection_name=place.collection
        )
        loop.run_until_complete(KINDS[order.kind](factory, tell))
        tell("returned")
        for step in commands.steps if order.steps == "commands" else loop.steps:
            tell(f"step {step}")
        os._exit(0)
    except BaseException:
        tell(traceback.format_exc())
        os._exit(1)


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class _Commands(monitoring.CommandListener):
    def __init__(self, order: Order) -> None:
        self._last = order.number if order.steps == "commands" else None
        self.steps: list[str] = []

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        self._reach(f"before {event.command_name}")

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        self._reach(f"after {event.command_name}")

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        self._reach(f"after a failed {event.command_name}")

    def _reach(self, step: str) -> None:
        self.steps.append(step)
        if len(self.steps) == self._last:
            _die()


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self, order: Order) -> None:
        super().__init__()
        self._last = order.number if order.steps == "loop" else None
        self.steps: list[str] = []

    def _run_once(self) -> None:
        self.steps.append(f"round {len(self.steps) + 1}")
        if len(self.steps) == self._last:
            _die()
        super()._run_once()  # type: ignore[misc]


# The kinds of turns. What is stored when a model or a tool begins has been said to the world.


def _heard(agent: Agent, tell: Tell) -> Agent:
    before = len(agent.messages)

    def said(event: BeforeModelCallEvent | BeforeToolCallEvent[Any]) -> None:
        tell(f"said {len(agent.messages) - before}")

    agent.hooks.add_callback(BeforeModelCallEvent, said)
    agent.hooks.add_callback(BeforeToolCallEvent, said)
    agent.state.set("last", "killed")
    return agent


async def _plain(factory: MongoDBSessionManagerFactory, tell: Tell) -> None:
    agent = talker(await factory.open_session("s"), "answer to killed")
    await _heard(agent, tell).invoke_async("killed")


async def _waiting(factory: MongoDBSessionManagerFactory, tell: Tell) -> None:
    agent = talker(await factory.open_session("s", on_busy="wait"), "answer to killed")
    await _heard(agent, tell).invoke_async("killed")


async def _written_once(factory: MongoDBSessionManagerFactory, tell: Tell) -> None:
    agent = turn(await factory.open_session("s", durability="turn"), "killed").agent
    agent.state.set("last", "killed")
    await agent.invoke_async("killed")


async def _tools(factory: MongoDBSessionManagerFactory, tell: Tell) -> None:
    agent = turn(await factory.open_session("s"), "killed").agent
    await _heard(agent, tell).invoke_async("killed")


def asker(manager: Any, tell: Tell = lambda what: None) -> Agent:
    """An agent that asks before it pays; then it tells."""

    @tool(context=True)
    def pay(amount: int, tool_context: ToolContext) -> str:
        """Pay after approval.

        Args:
            amount: How much.
        """
        tool_context.interrupt("approval", reason=f"pay {amount}?")
        tell("paid")
        return "paid"

    asks = [{"name": "pay", "input": {"amount": 1}}]
    model = ScriptedModel(lambda messages: asks if "text" in messages[-1]["content"][0] else "it is done")
    return Agent(model=model, session_manager=manager, tools=[pay], callback_handler=None)


def yes(agent: Agent) -> list[InterruptResponseContent]:
    """The answer to what an agent asks."""
    asked = agent._interrupt_state.interrupts
    return [{"interruptResponse": {"interruptId": each, "response": "yes"}} for each in asked]


async def _interrupted(factory: MongoDBSessionManagerFactory, tell: Tell) -> None:
    agent = _heard(asker(await factory.open_session("s"), tell), tell)
    assert (await agent.invoke_async("pay")).stop_reason == "interrupt"


async def _answered(factory: MongoDBSessionManagerFactory, tell: Tell) -> None:
    agent = _heard(asker(await factory.open_session("s"), tell), tell)
    await agent.invoke_async(yes(agent))


def guarded(manager: Any) -> Agent:
    """An agent whose model has the next prompt replaced."""
    model = ScriptedModel("I cannot look at that")
    model.redact = "[removed]"
    return talker(manager, model=model)


async def _guarded(factory: MongoDBSessionManagerFactory, tell: Tell) -> None:
    agent = guarded(await factory.open_session("s"))
    await _heard(agent, tell).invoke_async(look(GUARDED))


async def _redacting(factory: MongoDBSessionManagerFactory, tell: Tell) -> None:
    repository = (await factory.open_session("s")).session_repository
    loop = asyncio.get_running_loop()
    message = await loop.run_in_executor(None, repository.read_message, "s", "default", 0)
    assert message is not None
    message.redact_message = {"role": "user", "content": [{"text": "[removed]"}]}
    await loop.run_in_executor(None, partial(repository.update_message, "s", "default", message))


async def _spilling(factory: MongoDBSessionManagerFactory, tell: Tell) -> None:
    agent = talker(await factory.open_session("s"), "answer to killed")
    await _heard(agent, tell).invoke_async("killed " + "z" * 50 * KB)


async def _large(factory: MongoDBSessionManagerFactory, tell: Tell) -> None:
    agent = talker(await factory.open_session("s"), "answer to killed")
    # In parts smaller than any that the library makes, because to send real ones takes its time.
    with mock.patch.object(archive, "_LARGEST_PART", 128 * KB):
        prompt: list[ContentBlock] = [picture(300 * KB), picture(70 * KB), {"text": "w" * 100 * KB}]
        await _heard(agent, tell).invoke_async(prompt)


async def _deleting(factory: MongoDBSessionManagerFactory, tell: Tell) -> None:
    assert await factory.sessions.aio.delete("s")


KINDS: dict[str, Kind] = {
    "plain": _plain,
    "waiting": _waiting,
    "written once": _written_once,
    "tools": _tools,
    "interrupted": _interrupted,
    "answered": _answered,
    "guarded": _guarded,
    "redacting": _redacting,
    "spilling": _spilling,
    "large": _large,
    "deleting": _deleting,
}
