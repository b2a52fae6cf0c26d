"""How turns are kept, where it is chosen: one write a turn however many tools, and turns that wait for each other."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

from benchmarks.counting import Cost
from benchmarks.ground import Ground
from benchmarks.model import ToolModel, look_up
from benchmarks.table import Promise, Table
from benchmarks.timing import Times
from benchmarks.turns import new_agent, our_turn

_CALLS = (0, 1, 5, 20)


def options(ground: Ground) -> Iterator[Table | Promise]:
    costs = asyncio.run(_with_tools(ground))
    yield Table(
        "A resumed turn with tool calls, one after the other: commands",
        ("tool calls", '`durability="message"`', '`durability="turn"`'),
        [
            (str(calls), *(costs[durability, calls].a_turn()[0] for durability in ("message", "turn")))
            for calls in _CALLS
        ],
    )
    found = sorted({costs["turn", calls].total for calls in _CALLS})
    yield Promise('`durability="turn"`: commands, however many tools', "2", ", ".join(map(str, found)), found == [2])

    count = ground.size(30, 6)
    rows, whole = [], []
    for durability in ("message", "turn"):
        cost, times, turns = asyncio.run(_competing(ground, count, durability))
        whole.append(turns)
        rows.append(
            (
                f'`durability="{durability}"`',
                str(turns),
                *cost.a_turn(count),
                str(times),
                f"{max(times.milliseconds):,.0f}",
            )
        )
    yield Table(
        f'{count} turns with a tool call at once in one session, `on_busy="wait"`',
        ("", "whole", "commands a turn", "sent", "received", "milliseconds a turn", "the longest"),
        rows,
        "Each by a manager and an agent of its own, on one event loop. Whole: the question, the tool's call and result,"
        " and the answer follow one another. Most of the milliseconds are waiting for the others.",
    )
    yield Promise(
        f'{count} competing turns with `on_busy="wait"`: whole',
        str(count),
        ", ".join(map(str, whole)),
        {*whole} == {count},
    )


async def _with_tools(ground: Ground) -> dict[tuple[str, int], Cost]:
    costs = {}
    for durability in ("message", "turn"):
        for calls in _CALLS:
            session_id = f"tools-{durability}-{calls}"
            how: Any = {"agent": {"model": ToolModel(calls), "tools": [look_up]}, "durability": durability}
            await our_turn(ground.near, session_id, "one", **how)
            with ground.commands.counting() as costs[durability, calls]:
                await our_turn(ground.near, session_id, "two", **how)
    return costs


async def _competing(ground: Ground, count: int, durability: str) -> tuple[Cost, Times, int]:
    """What so many turns at once cost, how long each took, and how many of them are whole."""
    session_id = f"competing-{durability}"
    await our_turn(ground.near, session_id, "first")
    milliseconds = []

    async def ask(number: int) -> None:
        start = time.perf_counter()
        how: Any = {"durability": durability, "on_busy": "wait", "busy_timeout": 120.0}
        manager = await ground.near.open_session(session_id, **how)
        await new_agent(ToolModel(1, number=number), session_manager=manager, tools=[look_up]).invoke_async(str(number))
        milliseconds.append((time.perf_counter() - start) * 1000)

    with ground.commands.counting() as cost:
        await asyncio.gather(*(ask(number) for number in range(count)))
    stored = await ground.near.sessions.aio.messages(session_id)
    contents: list[Any] = [message.message["content"][0] for message in stored[2:]]
    turns = [contents[at : at + 4] for at in range(0, len(contents), 4)]
    return cost, Times(milliseconds), len({turn[0]["text"] for turn in turns if is_whole(turn)})


def is_whole(turn: list[Any]) -> bool:
    """Whether it is a question with its number, the call for that number, its result, and an answer."""
    kinds = [next(iter(block)) for block in turn]
    if kinds != ["text", "toolUse", "toolResult", "text"]:
        return False
    asked, use, result, _ = turn
    same_call = use["toolUse"]["toolUseId"] == result["toolResult"]["toolUseId"]
    return bool(same_call and use["toolUse"]["input"]["number"] == int(asked["text"]))
