"""What does a durable session cost a turn, against the least that it can cost?

The floor is written by hand: the same agent without a session manager, one find of its history, two durable updates of
a document in the same layout, none of them on the event loop. It claims nothing and compares nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pymongo import IndexModel, WriteConcern

from benchmarks.counting import Cost
from benchmarks.ground import DELAY, Ground
from benchmarks.table import Promise, Table
from benchmarks.timing import Times, Work, interleaved
from benchmarks.turns import bare_turn, copy_session, floor_turn, grow_ours, our_turn
from mongodb_session_manager import MongoDBSessionManagerFactory

_PROMPT = "What do you remember of what I said before?"
_TURNS = 20
"""That a session has before it is measured: as many as the SDK's default window keeps."""

_FAR_EVERY = 4


@dataclass(frozen=True)
class _Way:
    """One way to have a turn, near or far."""

    ground: Ground
    name: str
    far: bool
    collection: str
    options: dict[str, Any]

    @property
    def label(self) -> str:
        return _label(self.name, self.far)

    @property
    def factory(self) -> MongoDBSessionManagerFactory:
        return self.ground.far if self.far else self.ground.near

    def session(self, number: int) -> str:
        return f"{self.label} {number}"

    async def turn(self, number: int) -> None:
        """A turn of a session that nobody else uses."""
        if self.name == _BARE:
            await bare_turn(_PROMPT)
        elif self.name == _FLOOR:
            sessions = self.ground.collection(self.factory, self.collection)
            durable = sessions.with_options(write_concern=WriteConcern("majority", j=True))
            await floor_turn(durable, self.session(number), _PROMPT)
        else:
            await our_turn(self.factory, self.session(number), _PROMPT, **self.options)


def _label(name: str, far: bool = False) -> str:
    return f"{name} far" if far else name


_OURS, _ONCE, _FLOOR, _BARE = "ours", 'ours, `durability="turn"`', "floor written by hand", "without any session"
_WAYS: dict[str, tuple[str, dict[str, Any]]] = {
    _OURS: ("sessions", {}),
    _ONCE: ("sessions", {"durability": "turn"}),
    'ours, `on_busy="wait"`': ("sessions", {"on_busy": "wait"}),
    _FLOOR: ("floor", {}),
    _BARE: ("", {}),
}


def turn(ground: Ground) -> Iterator[Table | Promise]:
    ways = [
        _Way(ground, name, far, collection, options)
        for far in (False, True)
        for name, (collection, options) in _WAYS.items()
    ]
    _make_sessions(ground, ways)
    costs, times = asyncio.run(_measure(ground, ways))
    yield Table(
        f"A resumed turn after {_TURNS} turns: what is asked of MongoDB",
        ("", "commands", "sent", "received"),
        [(name, *costs[name].a_turn()) for name in _WAYS],
    )
    yield Table(
        f"A resumed turn after {_TURNS} turns: milliseconds",
        ("", "near", "× floor", f"+{DELAY} ms a round trip", "× floor"),
        [(name, *_cells(name, False, times), *_cells(name, True, times)) for name in _WAYS],
        f"Medians of {ground.rounds} rounds near and of {ground.rounds // _FAR_EVERY} far, and between which the middle"
        " half lies.",
    )
    usual, once, ratio = costs[_OURS].total, costs[_ONCE].total, times[_OURS].ratio(times[_FLOOR])
    yield Promise("a resumed turn: commands", "3", str(usual), usual == 3)
    yield Promise('a resumed turn with `durability="turn"`: commands', "2", str(once), once == 2)
    yield Promise("a resumed turn, × floor", "≤ 1.30", f"{ratio:.2f}", ratio <= 1.30)


def _cells(name: str, far: bool, times: dict[str, Times]) -> tuple[str, str]:
    found = times[_label(name, far)]
    return str(found), f"{found.ratio(times[_label(_FLOOR, far)]):.2f}"


def _make_sessions(ground: Ground, ways: list[_Way]) -> None:
    """The same session for each way and each round, both sides in one layout."""

    async def grown() -> None:
        await grow_ours(ground.near, "grown", 2 * _TURNS, len(_PROMPT))

    asyncio.run(grown())
    sessions, floor = ground.collection(ground.near), ground.collection(ground.near, "floor")
    floor.create_indexes([IndexModel([("created_at", 1)]), IndexModel([("updated_at", 1)])])
    floor.insert_one(sessions.find_one({"_id": "grown"}))
    for way in ways:
        if way.collection:
            collection = ground.collection(ground.near, way.collection)
            copy_session(collection, "grown", [way.session(number) for number in range(-1, ground.rounds + 1)])


async def _measure(ground: Ground, ways: list[_Way]) -> tuple[dict[str, Cost], dict[str, Times]]:
    costs = {}
    for way in ways:
        with ground.commands.counting() as costs[way.label]:
            await way.turn(-1)
    works = [Work(way.label, way.turn, every=_FAR_EVERY if way.far else 1) for way in ways]
    return costs, await interleaved(ground.rounds, works)
