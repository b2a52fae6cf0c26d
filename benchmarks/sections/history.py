"""Does a turn cost more when the session is long?"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from typing import Any

from strands.agent.conversation_manager import SlidingWindowConversationManager
from strands.types.content import Message

from benchmarks.counting import Cost, together
from benchmarks.ground import DELAY, Ground
from benchmarks.table import Promise, Table
from benchmarks.timing import Times, Work, interleaved
from benchmarks.turns import KB, WINDOW, check_messages, copy_session, grow_ours, new_agent, our_turn, text

_SHORT = 10
_FAR_EVERY = 4


def history(ground: Ground) -> Iterator[Table | Promise]:
    long, turns = ground.size(50_000, 600), ground.size(500, 60)
    start = time.perf_counter()
    asyncio.run(grow_ours(ground.near, _name(long, WINDOW), long, KB))
    seconds = time.perf_counter() - start
    costs = asyncio.run(_turns(ground, long, turns))
    after = long + 2 * turns
    compared = check_messages(ground.near, _name(long, WINDOW), after, _beginning)
    plain = [cost for cost in costs if not cost.operations["insert"]]
    spilling = [cost for cost in costs if cost.operations["insert"]]
    yield Table(
        f"A resumed turn after {long:,} messages of 1 KB: what is asked of MongoDB",
        ("", "turns", "commands a turn", "sent", "received"),
        [_row("no spill", plain), _row("older messages move into the archive", spilling), _row("all", costs)],
        "The session was grown with `manager.append_message` in turns held by `manager.claim`, 100 messages a turn, the"
        f" last two of them by the agent; that took {seconds:.0f} s. The {turns} turns counted here had an agent each."
        f" Of the {after:,} messages afterwards the catalogue found all, and {compared} at random positions were what"
        " was said.",
    )
    spent, spills = {cost.total for cost in plain}, len(spilling) / turns
    found = ", ".join(map(str, sorted(spent)))
    yield Promise(f"a turn after {long:,} messages: commands", "3", found, spent == {3})
    yield Promise(f"a turn after {long:,} messages: spills a turn", "< 0.1", f"{spills:.3f}", spills < 0.1)

    times = asyncio.run(_times(ground, long))
    rows = [
        (f"{count:,}", *(_cell(times, far, count, window) for far in (False, True) for window in (_SHORT, WINDOW)))
        for count in (_SHORT, WINDOW, long)
    ]
    alone = [times[_alone(count)] for count in (_SHORT, WINDOW)]
    rows.append(("the SDK alone", *(f"{each} ×{each.ratio(alone[0]):.2f}" for each in alone), "", ""))
    ways = [f"{place}, window of {window}" for place in ("near", f"+{DELAY} ms") for window in (_SHORT, WINDOW)]
    yield Table(
        f"A resumed turn by the length of the session: milliseconds, and × that after {_SHORT} messages",
        ("messages before", *ways),
        rows,
        f"The SDK's default window is {WINDOW}: there a session of {_SHORT} gives its agent {_SHORT} messages, a longer"
        f" one {WINDOW}, which cost the SDK more by themselves (last row: agents that are handed as many, without a"
        f" session). With a window of {_SHORT} every agent gets as many. Medians of {ground.rounds} rounds near and of"
        f" {ground.rounds // _FAR_EVERY} far.",
    )
    for window in (_SHORT, WINDOW):
        ratio = times[_key(False, long, window)].ratio(times[_key(False, window, window)])
        what = f"a turn after {long:,} messages, × one after {window}, window of {window}"
        yield Promise(what, "≤ 1.15", f"{ratio:.2f}", ratio <= 1.15)


def _name(messages: int, window: int) -> str:
    return f"history-{messages}-{window}"


def _window(size: int) -> dict[str, Any]:
    return {"conversation_manager": SlidingWindowConversationManager(window_size=size)}


def _beginning(position: int) -> str | None:
    """What is asked says where it stands."""
    return None if position % 2 else str(position)


def _row(title: str, costs: Sequence[Cost]) -> tuple[str, ...]:
    if not costs:
        return (title, "0", "–", "–", "–")
    return (title, str(len(costs)), *together(costs).a_turn(len(costs)))


async def _turns(ground: Ground, long: int, turns: int) -> list[Cost]:
    """What each of so many further turns costs."""
    costs = []
    for number in range(turns):
        with ground.commands.counting() as cost:
            await our_turn(ground.near, _name(long, WINDOW), text(KB, long + 2 * number))
        costs.append(cost)
    return costs


def _key(far: bool, messages: int, window: int) -> str:
    return f"{far} {messages} {window}"


def _cell(times: dict[str, Times], far: bool, messages: int, window: int) -> str:
    found = times.get(_key(far, messages, window))
    if found is None:
        return "–"
    return f"{found} ×{found.ratio(times[_key(far, _SHORT, window)]):.2f}"


async def _times(ground: Ground, long: int) -> dict[str, Times]:
    """Of a long session, which goes on growing, and of copies of short ones, each used once."""
    await grow_ours(ground.near, _name(long, _SHORT), long, KB, **_window(_SHORT))
    works = [_work(ground, far, long, window, _name(long, window)) for window in (_SHORT, WINDOW) for far in (0, 1)]
    for messages, window in ((_SHORT, _SHORT), (_SHORT, WINDOW), (WINDOW, WINDOW)):
        name = _name(messages, window)
        await grow_ours(ground.near, name, messages, KB, **_window(window))
        copies = [f"{name}-{far}-{number}" for far in (0, 1) for number in range(ground.rounds + 1)]
        await asyncio.to_thread(copy_session, ground.collection(ground.near), name, copies)
        works += [_work(ground, far, messages, window, f"{name}-{far}-{{}}") for far in (0, 1)]
    return await interleaved(ground.rounds, [*works, *map(_bare, (_SHORT, WINDOW))])


def _alone(messages: int) -> str:
    return f"alone {messages}"


def _bare(messages: int) -> Work:
    """A turn of an agent that is handed so many messages, and keeps them nowhere."""

    async def do(number: int) -> None:
        said: list[Message] = [
            {"role": ("user", "assistant")[each % 2], "content": [{"text": text(KB, each)}]} for each in range(messages)
        ]
        await new_agent(messages=said).invoke_async(text(KB, number))

    return Work(_alone(messages), do)


def _work(ground: Ground, far: int, messages: int, window: int, session_id: str) -> Work:
    factory = ground.far if far else ground.near

    async def do(number: int) -> None:
        await our_turn(factory, session_id.format(number), text(KB, number), agent=_window(window))

    return Work(_key(bool(far), messages, window), do, every=_FAR_EVERY if far else 1)
