"""An application under load: one process, one event loop, several sessions at once."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from pymongo.errors import PyMongoError

from mongodb_session_manager import MongoDBSessionManagerFactory
from mongodb_session_manager.errors import SessionBusyError, SessionConflictError, SessionNotFoundError
from tests.faults.turns import Turn, assert_accepted, lines, turn
from tests.faults.workers import Place
from tests.storm.clock import shift_clock
from tests.storm.heartbeat import Heartbeat
from tests.storm.ledger import Pen

__all__ = ["MISSING", "Orders", "application", "shape"]

MISSING = "result Tool was interrupted."
"""What stands in a history for the result of a tool that was never known."""

_SESSION_SECONDS = 60.0
"""After which a writer goes on in a new session."""

_WAYS: list[dict[str, Any]] = [{}, {"durability": "turn"}, {"on_busy": "wait", "busy_timeout": 4.0}]
_WEIGHTS = [0.5, 0.25, 0.25]
"""How turns are kept. Not ``on_outage="hold"``: what returns then is not stored yet."""


@dataclass(frozen=True)
class Orders:
    """What an application is to do.

    Attributes:
        name: Of this process; no two have the same.
        place: Where the sessions lie.
        options: Of its client.
        ledger: The folder for what it says.
        groups: One writer for each; applications with the same group write to the same sessions.
        lease: Seconds that a turn lasts without renewal.
        clock: Seconds by which its clock is wrong.
        seed: Of all its choices.
        session_seconds: After which its writers go on in new sessions.
    """

    name: str
    place: Place
    options: dict[str, Any]
    ledger: Path
    groups: Sequence[str]
    lease: float
    clock: float
    seed: str
    session_seconds: float = _SESSION_SECONDS


def application(line: Connection, orders: Orders) -> None:
    """Take turns until the other end says something, or is gone."""
    shift_clock(orders.clock)
    # The SDK logs a turn that fails; here they do by the hundred, and are noted.
    logging.getLogger().addHandler(logging.NullHandler())
    asyncio.run(_run(line, orders))


async def _run(line: Connection, orders: Orders) -> None:
    heartbeat, pen = Heartbeat(), Pen(orders.ledger, orders.name)
    beating = asyncio.create_task(heartbeat.beat())
    with orders.place.factory(event_listeners=[heartbeat], **orders.options) as factory:
        writers = [_Writer(factory, pen, orders, group) for group in orders.groups]
        writing = [asyncio.create_task(writer.write()) for writer in writers]
        told = asyncio.create_task(asyncio.to_thread(_wait, line))
        while not told.done():
            await asyncio.wait([told, *writing], timeout=1, return_when=asyncio.FIRST_COMPLETED)
            pen.note("loop", **heartbeat.take())
            for ended in [task for task in writing if task.done()]:
                ended.result()
        for writer in writers:
            writer.stopping = True
        await asyncio.gather(*writing)
        pen.note("loop", **heartbeat.take())
        beating.cancel()
    with contextlib.suppress(BrokenPipeError):
        line.send("stopped")


def _wait(line: Connection) -> None:
    try:
        line.recv()
    except EOFError:
        return


def shape(text: str, calls_tool: bool) -> list[str]:
    """What a whole turn leaves in the history."""
    whole = lines(text)
    return whole if calls_tool else [whole[0], whole[-1]]


class _Writer:
    """Takes one turn after the other, each with a text of its own, and notes what became of it."""

    def __init__(self, factory: MongoDBSessionManagerFactory, pen: Pen, orders: Orders, group: str) -> None:
        self.stopping = False
        self._factory = factory
        self._pen = pen
        self._orders = orders
        self._group = group
        self._random = random.Random(f"{orders.seed} {orders.name} {group}")
        self._number = 0
        self._kept: tuple[str, Turn] | None = None
        self._idle: deque[Turn] = deque(maxlen=8)

    async def write(self) -> None:
        while not self.stopping:
            await self._take_turn()
            await asyncio.sleep(self._random.uniform(0, 0.15))

    def _session_id(self) -> str:
        # The monotonic clock is the same in all processes, so those with one group move on together.
        return f"{self._group}-{int(time.monotonic() / self._orders.session_seconds)}"

    async def _take_turn(self) -> None:
        session_id, text, calls_tool = self._session_id(), self._text(), self._number % 2 == 0
        self._pen.note("begun", session_id=session_id, text=text, calls_tool=calls_tool)
        pause = 0.0
        try:
            await self._ask(session_id, text, calls_tool)
            self._ended(text, "acknowledged")
        except SessionBusyError as error:
            self._ended(text, "busy", error)
            pause = min(error.retry_after, 0.2)
        except SessionConflictError as error:
            self._ended(text, "conflict", error)
        except SessionNotFoundError as error:
            # Nobody deletes here; but what was seen of a new session may be taken back after an election.
            self._kept = None
            self._ended(text, "taken back", error)
        except Exception as error:
            if not _is_the_databases(error):
                self._pen.note("wrong", what=f"{_chain(error)}: {error} in {session_id}")
            self._ended(text, "failed", error)
            self._let_go_or_keep()
            pause = 0.1
        await asyncio.sleep(pause)

    async def _ask(self, session_id: str, text: str, calls_tool: bool) -> None:
        made = await self._agent(session_id, text, calls_tool)
        runs = len(made.tool_runs)
        answer = str(await made.agent.invoke_async(text)).strip()
        ran = made.tool_runs[runs:]
        assert_accepted(made.model.calls[-1])
        if answer != f"answer to {text}" or ran != [text] * calls_tool:
            self._pen.note(
                "wrong", what=f"turn {text[:40]!r} returned another answer, or ran its tool {len(ran)} times"
            )

    async def _agent(self, session_id: str, text: str, calls_tool: bool) -> Turn:
        """An agent that was used before, or a new one, as in a service that keeps nothing between requests."""
        if self._kept is None or self._kept[0] != session_id or self._random.random() < 0.5:
            self._kept = None
            kept_how = self._random.choices(_WAYS, _WEIGHTS)[0]
            manager = await self._factory.open_session(session_id, turn_timeout=self._orders.lease, **kept_how)
            pause = self._random.uniform(0, 0.03)
            self._kept = session_id, turn(manager, "", lambda: time.sleep(pause))
        made = self._kept[1]
        use = {"name": "look_up", "input": {"word": text}, "id": f"use-{text[:40]}"}
        made.model.script = [use, f"answer to {text}"] if calls_tool else [f"answer to {text}"]
        made.model.calls.clear()
        return made

    def _let_go_or_keep(self) -> None:
        """After a failure some go on with their agent, others with a new one while the old one lingers."""
        if self._kept is not None and self._random.random() < 0.5:
            self._idle.append(self._kept[1])
            self._kept = None

    def _text(self) -> str:
        self._number += 1
        size = self._random.choices([10, 2_000, 40_000], [0.9, 0.09, 0.01])[0]
        return f"{self._orders.name}/{self._group}/{self._number} {self._random.randbytes(size).hex()}"

    def _ended(self, text: str, outcome: str, error: BaseException | None = None) -> None:
        self._pen.note("ended", text=text, outcome=outcome, error=_chain(error))


def _is_the_databases(error: BaseException | None) -> bool:
    """Whether a failure comes from the driver: the SDK wraps what was raised inside its event loop."""
    while error is not None:
        if isinstance(error, PyMongoError):
            return True
        error = error.__cause__
    return False


def _chain(error: BaseException | None) -> str:
    names = []
    while error is not None:
        code = getattr(error, "code", None)
        names.append(type(error).__name__ + (f" {code}" if code else ""))
        error = error.__cause__
    return " < ".join(names)
