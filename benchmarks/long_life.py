"""A process that serves many turns and tells how much memory it takes: at the start, after a fifth, and at the end."""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
from pathlib import Path
from typing import Any

from pymongo import MongoClient

from benchmarks.turns import KB, new_agent, our_turn, text
from mongodb_session_manager import MongoDBSessionManagerFactory


async def live(factory: MongoDBSessionManagerFactory, turns: int, way: str) -> dict[int, int]:
    """Serve so many turns.

    Args:
        factory: Where the sessions lie.
        turns: How many.
        way: ``one`` agent for all, a ``bare`` one without a session, a new manager and agent for ``each``, or
            ``sessions``, one for each.

    Returns:
        Bytes of resident memory by the number of turns so far.
    """
    agent = new_agent(session_manager=await factory.open_session("memory-one") if way == "one" else None)
    sizes = {}
    for number in range(turns + 1):
        if way in ("one", "bare"):
            await agent.invoke_async(text(KB, number))
        else:
            await our_turn(factory, f"memory-{number if way == 'sessions' else way}", text(KB, number))
        if number in (0, turns // 5, turns):
            gc.collect()
            sizes[number] = _resident()
    return sizes


def _resident() -> int:
    """Bytes of this process that lie in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("uri")
    parser.add_argument("database")
    parser.add_argument("turns", type=int)
    parser.add_argument("way", choices=("bare", "one", "each", "sessions"))
    arguments = parser.parse_args()
    with MongoClient[Any](arguments.uri) as client:
        factory = MongoDBSessionManagerFactory(
            client=client, database_name=arguments.database, collection_name="sessions"
        )
        print(json.dumps(asyncio.run(live(factory, arguments.turns, arguments.way))))


if __name__ == "__main__":
    main()
