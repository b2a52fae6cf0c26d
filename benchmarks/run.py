"""What does a durable session cost a turn? Counts first, then times, all in one run on an embedded MongoDB.

Compared, alternating, in this process:

* a resumed turn with our session manager, against a floor written by hand: the same agent without a session manager,
  one find of its history, two durable updates;
* 100 streamed chats at once on one event loop, against the same without sessions.

Run it with ``make bench``. Numbers depend on the machine; ratios less so.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import statistics
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pymongo
from pymongo import MongoClient, WriteConcern, monitoring
from strands import Agent

from benchmarks.model import WordModel
from mongodb_session_manager import MongoDBSessionManagerFactory
from mongodb_session_manager.embedded import EmbeddedMongoDB

_PROMPT = "What do you remember of what I said before?"
_HISTORY = 100
"""Turns that a session has before it is measured."""


class Counter(monitoring.CommandListener):
    """Names of the commands sent since the last reset."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        if event.command_name not in {"hello", "ping", "endSessions"}:
            self.names.append(event.command_name)

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        return None

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        return None


def new_agent(**options: Any) -> Agent:
    return Agent(model=WordModel(), callback_handler=None, **options)


def our_turn(factory: MongoDBSessionManagerFactory, session_id: str) -> None:
    new_agent(session_manager=factory.create_session_manager(session_id))(_PROMPT)


def floor_turn(sessions: Any, session_id: str) -> None:
    """The least that a durable turn can do: read the newest messages, write the question, write the answer."""
    found = sessions.find_one({"_id": session_id}, {"messages": {"$slice": -40}})
    agent = new_agent(messages=[stored["message"] for stored in found["messages"]])
    agent.messages.append({"role": "user", "content": [{"text": _PROMPT}]})
    push(sessions, session_id, agent.messages[-1])
    agent()
    push(sessions, session_id, agent.messages[-1])


def push(sessions: Any, session_id: str, message: Any) -> None:
    sessions.update_one(
        {"_id": session_id},
        {"$push": {"messages": {"message": message}}, "$currentDate": {"updated_at": True}},
        upsert=True,
    )


def grow(factory: MongoDBSessionManagerFactory, sessions: Any, session_id: str) -> None:
    """A session of the same history on both sides."""
    agent = new_agent(session_manager=factory.create_session_manager(session_id))
    for _ in range(_HISTORY):
        agent(_PROMPT)
    for stored in factory.sessions.messages(session_id):
        push(sessions, session_id, stored.message)


def medians(rounds: int, *works: Callable[[], object]) -> list[float]:
    """Milliseconds of each work, measured in turns so that the machine's moods fall on all of them alike."""
    times: list[list[float]] = [[] for _ in works]
    for number in range(rounds):
        order = list(enumerate(works))
        for index, work in order if number % 2 else reversed(order):
            start = time.perf_counter()
            work()
            times[index].append((time.perf_counter() - start) * 1000)
    return [statistics.median(each) for each in times]


async def chats(count: int, one: Callable[[int], Awaitable[None]]) -> float:
    """Seconds for so many chats at once on this loop."""
    start = time.perf_counter()
    await asyncio.gather(*(one(number) for number in range(count)))
    return time.perf_counter() - start


async def stream(agent: Agent) -> None:
    async for _ in agent.stream_async(_PROMPT):
        pass


async def concurrent_chats(factory: MongoDBSessionManagerFactory, count: int, rounds: int) -> tuple[float, float]:
    """Chats a second with sessions and without."""
    run = uuid.uuid4().hex[:6]

    async def with_session(number: int) -> None:
        await stream(new_agent(session_manager=await factory.open_session(f"chat-{run}-{number}")))

    async def without_session(number: int) -> None:
        await stream(new_agent())

    durable, bare = [], []
    for _ in range(rounds):
        bare.append(count / await chats(count, without_session))
        durable.append(count / await chats(count, with_session))
    return statistics.median(durable[1:]), statistics.median(bare[1:])


def measure(uri: str, rounds: int) -> None:
    counter = Counter()
    client = MongoClient[Any](uri, event_listeners=[counter])
    database = client[f"bench_{uuid.uuid4().hex[:8]}"]
    sessions = database.get_collection("floor", write_concern=WriteConcern("majority", j=True))
    factory = MongoDBSessionManagerFactory(client=client, database_name=database.name, collection_name="sessions")
    version = client.server_info()["version"]
    print(f"Python {platform.python_version()}, PyMongo {pymongo.version}, MongoDB {version}, {os.cpu_count()} cores\n")

    counter.names.clear()
    (making,) = medians(5, lambda: [factory.create_session_manager(f"session-{i}") for i in range(1000)])
    print(f"1,000 session managers     {len(counter.names)} commands   {making / 1000:.3f} s")

    our_turn(factory, "new")
    counter.names.clear()
    our_turn(factory, "new")
    print(f"a resumed turn             {len(counter.names)} commands   {', '.join(counter.names)}")

    grow(factory, sessions, "grown")
    ours, floor, bare = medians(
        rounds, lambda: our_turn(factory, "grown"), lambda: floor_turn(sessions, "grown"), lambda: new_agent()(_PROMPT)
    )
    print(f"\nA resumed turn after {_HISTORY} turns, median of {rounds}, milliseconds")
    print(f"  ours                     {ours:8.2f}")
    print(f"  floor written by hand    {floor:8.2f}")
    print(f"  without any session      {bare:8.2f}")
    print(f"  ours / floor             {ours / floor:8.2f}   (promised: at most 1.30)")

    durable, alone = asyncio.run(concurrent_chats(factory, 100, 6))
    print("\n100 streamed chats at once on one event loop, median of 5, chats a second")
    print(f"  with sessions            {durable:8.1f}")
    print(f"  without sessions         {alone:8.1f}")
    print(f"  with / without           {durable / alone:8.2f}   (promised: at least 0.60)")
    client.drop_database(database.name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=200, help="turns of each kind to measure")
    parser.add_argument("--uri", help="another MongoDB than an embedded one")
    arguments = parser.parse_args()
    if arguments.uri:
        measure(arguments.uri, arguments.rounds)
        return
    with tempfile.TemporaryDirectory() as folder, EmbeddedMongoDB(Path(folder)) as server:
        measure(server.uri, arguments.rounds)


if __name__ == "__main__":
    main()
