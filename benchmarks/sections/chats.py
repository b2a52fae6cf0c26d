"""How many chats does one event loop serve with sessions, of those that it serves without?"""

from __future__ import annotations

import asyncio
import statistics
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator

from strands import Agent

from benchmarks.ground import Ground
from benchmarks.model import WordModel
from benchmarks.table import Promise, Table
from benchmarks.turns import new_agent

_PROMPT = "What do you remember of what I said before?"


def chats(ground: Ground) -> Iterator[Table | Promise]:
    count, rounds = ground.size(100, 10), ground.size(6, 2)
    repeats = ground.size(3, 1)
    rows = []
    for title, model in (
        (f"{30 * repeats} words at fifty words a second", WordModel(repeats, pause=0.02)),
        ("a model that takes no time", WordModel()),
    ):
        durable, bare = asyncio.run(_side_by_side(ground, count, rounds, model))
        ratio = durable / bare
        rows.append((title, f"{durable:.1f}", f"{bare:.1f}", f"{ratio:.2f}"))
        if model.takes_time:
            promise = Promise("streamed chats with sessions, of those without", "≥ 0.60", f"{ratio:.2f}", ratio >= 0.60)
    yield Table(
        f"{count} streamed chats at once on one event loop: chats a second",
        ("model", "with sessions", "without", "with / without"),
        rows,
        f"Medians of {rounds - 1} rounds, once with sessions and once without. A round before made the sessions.",
    )
    yield promise


async def _side_by_side(ground: Ground, count: int, rounds: int, model: WordModel) -> tuple[float, float]:
    """Chats a second with sessions and without."""
    run = uuid.uuid4().hex[:6]

    async def with_session(number: int) -> None:
        await _stream(new_agent(model, session_manager=await ground.near.open_session(f"chat-{run}-{number}")))

    async def without_session(number: int) -> None:
        await _stream(new_agent(model))

    durable, bare = [], []
    for _ in range(rounds):
        bare.append(count / await _seconds(count, without_session))
        durable.append(count / await _seconds(count, with_session))
    return statistics.median(durable[1:]), statistics.median(bare[1:])


async def _seconds(count: int, one: Callable[[int], Awaitable[None]]) -> float:
    """For so many chats at once on this loop."""
    start = time.perf_counter()
    await asyncio.gather(*(one(number) for number in range(count)))
    return time.perf_counter() - start


async def _stream(agent: Agent) -> None:
    async for _ in agent.stream_async(_PROMPT):
        pass
