"""Does a turn cost more when the session is large, and what does a large message cost?"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from typing import Any

from benchmarks.counting import Cost
from benchmarks.ground import DELAY, Ground
from benchmarks.model import ToolModel, look_up, looked_up
from benchmarks.table import Promise, Table, in_bytes
from benchmarks.timing import Times, Work, interleaved
from benchmarks.turns import KB, MB, WINDOW, copy_session, grow_ours, new_agent, our_turn, picture, text

_SHORT = 10
_PICTURES, _RESULTS = 32, 40
_IN_WINDOW = 8
_FAR_EVERY = 4

_LARGE, _HEAVY, _ONE = "large-before", "large-within", "large-message"


def large(ground: Ground) -> Iterator[Table | Promise]:
    one, result, huge = ground.size(5 * MB, MB // 5), ground.size(MB, MB // 10), ground.size(40 * MB, 14 * MB)
    all_of_it, within = in_bytes(_PICTURES * one + _RESULTS * result), in_bytes(_IN_WINDOW * one)
    pictures, results = asyncio.run(_grow(ground, one, result))
    compared = _compare(ground, one, result)
    turns = asyncio.run(_turns(ground, ground.size(200, 30)))
    heavy = asyncio.run(_heavy(ground, one))
    stored, read, equal = asyncio.run(_one_message(ground, huge))
    plain = [cost for cost in turns if not cost.operations["insert"]]
    yield Table(
        f"Large values, and a session of {all_of_it}: what is asked of MongoDB",
        ("", "operations", "sent", "received"),
        [
            (f"a further turn of one agent, with a picture of {in_bytes(one)}", *pictures.a_turn(_PICTURES)),
            (f"a further turn of one agent, with a tool result of {in_bytes(result)}", *results.a_turn(_RESULTS)),
            (f"a resumed turn, {all_of_it} before the window", *plain[0].a_turn()),
            (f"a resumed turn, {within} in the window", *heavy.a_turn()),
            (f"a further turn of one agent, with one message of {in_bytes(huge)}", *stored.a_turn()),
            ("a resumed turn, that message in the window", *read.a_turn()),
        ],
        f"{_PICTURES} pictures, all different, then {_RESULTS} results of a tool, then {WINDOW} short messages, all by"
        f" one agent. {compared} of the pictures and results, read by the catalogue, were equal to what was sent. A"
        " value above 64 KB lies in the archive: find asks whether the agent has sent it before, insert stores it. What"
        " a window takes from there comes in batches of up to 16 MB, each but the first a getMore.",
    )
    spent, spills = sorted({cost.total for cost in plain}), (len(turns) - len(plain)) / len(turns)
    yield Promise(f"a turn after {all_of_it}: commands", "3", ", ".join(map(str, spent)), spent == [3])
    yield Promise(f"a turn after {all_of_it}: spills a turn", "< 0.1", f"{spills:.3f}", spills < 0.1)
    yield Promise(f"a message of {in_bytes(huge)} comes back equal", "yes", "yes" if equal else "no", equal)

    times = asyncio.run(_times(ground))
    names = {
        f"after {_SHORT} messages": _short(_SHORT),
        f"after {WINDOW} messages": _short(WINDOW),
        f"{all_of_it} before the window": _LARGE,
        f"{within} in the window": _HEAVY,
    }
    yield Table(
        f"A resumed turn by the size of the session: milliseconds, and × that after {_SHORT} messages",
        ("", "near", f"+{DELAY} ms a round trip"),
        [(title, _cell(times, name, False), _cell(times, name, True)) for title, name in names.items()],
        f"Medians of {ground.rounds} rounds near and of {ground.rounds // _FAR_EVERY} far; with {within} in the window"
        f" of five and of two. The large session has {WINDOW} messages in its window, as the second one.",
    )
    for count in (_SHORT, WINDOW):
        ratio = times[_key(_LARGE, False)].ratio(times[_key(_short(count), False)])
        yield Promise(f"a turn after {all_of_it}, × one after {count}", "≤ 1.3", f"{ratio:.2f}", ratio <= 1.3)


def _short(messages: int) -> str:
    return f"large-short-{messages}"


async def _grow(ground: Ground, one: int, result: int) -> tuple[Cost, Cost]:
    """The large session; what its turns with pictures and with results cost."""
    agent = new_agent(session_manager=await ground.near.open_session(_LARGE), tools=[look_up])
    with ground.commands.counting() as pictures:
        for number in range(_PICTURES):
            await agent.invoke_async(picture(one, number))
    plain = agent.model
    with ground.commands.counting() as results:
        for number in range(_RESULTS):
            agent.model = ToolModel(1, result, number)
            await agent.invoke_async(text(KB, number))
    agent.model = plain
    for number in range(WINDOW // 2 + 1):
        await agent.invoke_async(text(KB, number))
    return pictures, results


def _compare(ground: Ground, one: int, result: int) -> int:
    """Compare some of the pictures and results with what was sent; how many."""
    chosen = random.Random(one)
    pictures = {2 * number: picture(one, number) for number in chosen.sample(range(_PICTURES), 5)}
    results = {
        2 * _PICTURES + 4 * number + 2: looked_up(result, number) for number in chosen.sample(range(_RESULTS), 5)
    }
    for position, sent in {**pictures, **results}.items():
        (message,) = ground.near.sessions.messages(_LARGE, limit=1, offset=position)
        content: Any = message.message["content"]
        if content != sent and content[0].get("toolResult", {}).get("content") != [{"text": sent}]:
            raise RuntimeError(f"message {position} of session {_LARGE!r} is not what was stored")
    return len(pictures) + len(results)


async def _turns(ground: Ground, turns: int) -> list[Cost]:
    costs = []
    for number in range(turns):
        with ground.commands.counting() as cost:
            await our_turn(ground.near, _LARGE, text(KB, number))
        costs.append(cost)
    return costs


async def _heavy(ground: Ground, one: int) -> Cost:
    """A resumed turn of a session whose window holds pictures."""
    agent = new_agent(session_manager=await ground.near.open_session(_HEAVY))
    for number in range(_IN_WINDOW):
        await agent.invoke_async(picture(one, number))
    with ground.commands.counting() as cost:
        await our_turn(ground.near, _HEAVY, text(KB))
    return cost


async def _one_message(ground: Ground, size: int) -> tuple[Cost, Cost, bool]:
    """What it costs to store and to read one large message, and whether it comes back equal."""
    sent = picture(size, 0)
    agent = new_agent(session_manager=await ground.near.open_session(_ONE))
    await agent.invoke_async(text(KB))
    with ground.commands.counting() as stored:
        await agent.invoke_async(sent)
    with ground.commands.counting() as read:
        again = new_agent(session_manager=await ground.near.open_session(_ONE))
        await again.invoke_async(text(KB))
    return stored, read, again.messages[2]["content"] == sent


def _key(name: str, far: bool) -> str:
    return f"{name} {far}"


def _cell(times: dict[str, Times], name: str, far: bool) -> str:
    found = times[_key(name, far)]
    return f"{found} ×{found.ratio(times[_key(_short(_SHORT), far)]):.2f}"


async def _times(ground: Ground) -> dict[str, Times]:
    rounds = ground.rounds
    works = []
    for messages in (_SHORT, WINDOW):
        name = _short(messages)
        await grow_ours(ground.near, name, messages, KB)
        copies = [f"{name}-{far}-{number}" for far in (False, True) for number in range(rounds + 1)]
        await asyncio.to_thread(copy_session, ground.collection(ground.near), name, copies)
        works += [_work(ground, name, far, _every(far), f"{name}-{far}-{{}}") for far in (False, True)]
    works += [_work(ground, _LARGE, far, _every(far), _LARGE) for far in (False, True)]
    # Seldom, because each turn moves the window on, and the pictures have to stay in it.
    works += [_work(ground, _HEAVY, far, max(1, rounds // (2 if far else 5)), _HEAVY) for far in (False, True)]
    return await interleaved(rounds, works)


def _every(far: bool) -> int:
    return _FAR_EVERY if far else 1


def _work(ground: Ground, name: str, far: bool, every: int, session_id: str) -> Work:
    factory = ground.far if far else ground.near

    async def do(number: int) -> None:
        await our_turn(factory, session_id.format(number), text(KB, number))

    return Work(_key(name, far), do, every)
