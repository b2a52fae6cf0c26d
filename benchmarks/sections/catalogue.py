"""Does a page of sessions far behind cost more than the first, and a fork more than the history is worth?"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial

from benchmarks.counting import Cost
from benchmarks.ground import Ground
from benchmarks.table import Promise, Table
from benchmarks.turns import KB, grow_ours
from mongodb_session_manager import MongoDBSessionManagerFactory

_BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
_LIMIT = 50


def catalogue(ground: Ground) -> Iterator[Table | Promise]:
    yield from _pages(ground)
    yield from _forks(ground)


def _pages(ground: Ground) -> Iterator[Table | Promise]:
    count, far = ground.size(100_000, 2000), ground.size(500, 10)
    client, database = ground.near.sessions.client, ground.near.database_name
    factory = MongoDBSessionManagerFactory(client=client, database_name=database, collection_name="catalogue")
    factory.sessions.page()
    _fill(ground, count)
    rows, examined = [], []
    for title, owner in (("all", None), ("of an owner", "ann")):
        cursor = None
        for number in range(1, far + 1):
            ask = partial(factory.sessions.page, limit=_LIMIT, cursor=cursor, owner=owner)
            if number in (1, far):
                with ground.commands.counting() as cost:
                    ask()
                documents = _examined(ground, ask)
                examined.append(documents)
                operations, _, received = cost.a_turn()
                milliseconds = f"{_time(ask, ground.size(20, 2)):.1f}"
                rows.append((f"{title}, page {number}", str(documents), operations, received, milliseconds))
            cursor = ask().next_cursor
    yield Table(
        f"Pages of {_LIMIT} of {count:,} sessions",
        ("", "documents examined", "commands", "received", "ms"),
        rows,
        "Documents examined are what the server's profiler counted. Each session has a title, an owner and metadata.",
    )
    what = f"page 1 and page {far} of {count:,} sessions: documents examined"
    found = ", ".join(map(str, examined))
    yield Promise(what, str(_LIMIT + 1), found, {*examined} == {_LIMIT + 1})


def _time(call: Callable[[], object], rounds: int) -> float:
    """Milliseconds of a call, the median."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        call()
        times.append((time.perf_counter() - start) * 1000)
    return sorted(times)[rounds // 2]


def _fill(ground: Ground, count: int) -> None:
    collection = ground.collection(ground.near, "catalogue")
    for start in range(0, count, 10_000):
        collection.insert_many(
            {
                "_id": f"s{number:06}",
                "created_at": _BEGAN + timedelta(seconds=number),
                "updated_at": _BEGAN + timedelta(seconds=number),
                "owner": ("ann", "bob")[number % 2],
                "title": f"Session {number}",
                "metadata": {"topic": f"t{number % 7}"},
            }
            for number in range(start, min(start + 10_000, count))
        )


def _examined(ground: Ground, call: Callable[[], object]) -> int:
    """Documents that the server reads for the finds of a call, by its own profiler."""
    database = ground.collection(ground.near, "catalogue").database
    since = datetime.now(UTC) - timedelta(milliseconds=1)
    database.command("profile", 2)
    try:
        call()
    finally:
        database.command("profile", 0)
    asked = {"ns": f"{database.name}.catalogue", "command.find": "catalogue", "ts": {"$gte": since}}
    found: int = sum(each["docsExamined"] for each in database["system.profile"].find(asked))
    database["system.profile"].drop()
    return found


def _forks(ground: Ground) -> Iterator[Table | Promise]:
    count = ground.size(50_000, 600)
    asyncio.run(grow_ours(ground.near, "long", count, KB))
    buckets = ground.collection(ground.near, "sessions_archive").count_documents({"session_ids": "long"})
    rows: list[tuple[str, ...]] = []
    costs: dict[str, Cost] = {}
    for title, at in (("all of it", None), ("the first half", count // 2), ("two messages", 2)):
        with ground.commands.counting() as cost:
            start = time.perf_counter()
            ground.near.sessions.fork("long", f"fork of {title}", at=at)
            milliseconds = (time.perf_counter() - start) * 1000
        costs[title] = cost
        rows.append((title, *cost.a_turn(), f"{milliseconds:.0f}"))
    yield Table(
        f"A fork of a session of {count:,} messages in {buckets:,} buckets",
        ("what is forked", "commands", "sent", "received", "ms"),
        rows,
    )
    most = 3 + -(-buckets // 1000)
    found = max(cost.total for cost in costs.values())
    yield Promise(f"a fork of {count:,} messages: commands", f"at most {most}", str(found), found <= most)
