"""What does a durable session cost a turn? Counts first, then times, all in one run on an embedded MongoDB.

Compared, alternating, in this process:

* a resumed turn with our session manager, against a floor written by hand: the same agent without a session manager,
  one find of its history, two durable updates of a document in the same layout, none of them on the event loop;
* 100 streamed chats at once on one event loop, against the same without sessions: with a model that streams ninety
  words at the speed of a fast one (fifty words a second), and with one that takes no time at all.

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
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pymongo
from pymongo import IndexModel, MongoClient, WriteConcern, monitoring
from strands import Agent

from benchmarks.model import WordModel
from mongodb_session_manager import MongoDBSessionManagerFactory
from mongodb_session_manager.embedded import EmbeddedMongoDB

_PROMPT = "What do you remember of what I said before?"
_HISTORY = 20
"""Turns that a session has before it is measured: as many as the SDK's default window keeps."""


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


def new_agent(model: WordModel | None = None, **options: Any) -> Agent:
    return Agent(model=model or WordModel(), callback_handler=None, **options)


def make_managers(factory: MongoDBSessionManagerFactory, count: int) -> float:
    """Seconds for so many session managers."""
    start = time.perf_counter()
    for number in range(count):
        factory.create_session_manager(f"session-{number}")
    return time.perf_counter() - start


async def our_turn(factory: MongoDBSessionManagerFactory, session_id: str) -> None:
    await new_agent(session_manager=await factory.open_session(session_id)).invoke_async(_PROMPT)


async def floor_turn(sessions: Any, session_id: str) -> None:
    """The least that a durable turn can do on an event loop: read the messages, write the question and the answer."""
    newest = {"agents.default.messages": {"$slice": -40}}
    found = await asyncio.to_thread(sessions.find_one, {"_id": session_id}, newest)
    stored = found["agents"]["default"]["messages"]
    agent = new_agent(messages=[each["message"] for each in stored])
    agent.messages.append({"role": "user", "content": [{"text": _PROMPT}]})
    await asyncio.to_thread(push, sessions, session_id, agent.messages[-1], len(stored))
    await agent.invoke_async()
    await asyncio.to_thread(push, sessions, session_id, agent.messages[-1], len(stored) + 1)


async def bare_turn() -> None:
    await new_agent().invoke_async(_PROMPT)


def push(sessions: Any, session_id: str, message: Any, message_id: int) -> None:
    now = datetime.now(UTC)
    stored = {"message": message, "message_id": message_id, "created_at": now, "updated_at": now}
    sessions.update_one(
        {"_id": session_id},
        {"$push": {"agents.default.messages": stored}, "$currentDate": {"updated_at": True}},
    )


def grow(factory: MongoDBSessionManagerFactory, ours: Any, floor: Any, copies: int) -> None:
    """The same sessions on both sides, in one layout, one for each turn to measure: ``grown-0`` and on."""
    agent = new_agent(session_manager=factory.create_session_manager("grown"))
    for _ in range(_HISTORY):
        agent(_PROMPT)
    grown = ours.find_one({"_id": "grown"})
    floor.create_indexes([IndexModel([("created_at", 1)]), IndexModel([("updated_at", 1)])])
    for side in (ours, floor):
        side.insert_many({**grown, "_id": f"grown-{number}"} for number in range(copies))


async def medians(rounds: int, *works: Callable[[int], Awaitable[None]]) -> list[float]:
    """Milliseconds of each work, measured in turns so that the machine's moods fall on all of them alike."""
    times: list[list[float]] = [[] for _ in works]
    for number in range(rounds):
        order = list(enumerate(works))
        for index, work in order if number % 2 else reversed(order):
            start = time.perf_counter()
            await work(number)
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


async def concurrent_chats(
    factory: MongoDBSessionManagerFactory, count: int, rounds: int, model: WordModel
) -> tuple[float, float]:
    """Chats a second with sessions and without."""
    run = uuid.uuid4().hex[:6]

    async def with_session(number: int) -> None:
        await stream(new_agent(model, session_manager=await factory.open_session(f"chat-{run}-{number}")))

    async def without_session(number: int) -> None:
        await stream(new_agent(model))

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
    making = statistics.median(make_managers(factory, 1000) for _ in range(5))
    print(f"1,000 session managers     {len(counter.names)} commands   {making:.3f} s, median of 5")

    asyncio.run(our_turn(factory, "new"))
    counter.names.clear()
    asyncio.run(our_turn(factory, "new"))
    print(f"a resumed turn             {len(counter.names)} commands   {', '.join(counter.names)}")

    grow(factory, database["sessions"], sessions, rounds)
    ours, floor, bare = asyncio.run(
        medians(
            rounds,
            lambda number: our_turn(factory, f"grown-{number}"),
            lambda number: floor_turn(sessions, f"grown-{number}"),
            lambda _: bare_turn(),
        )
    )
    print(f"\nA resumed turn after {_HISTORY} turns, median of {rounds}, milliseconds")
    print(f"  ours                     {ours:8.2f}")
    print(f"  floor written by hand    {floor:8.2f}")
    print(f"  without any session      {bare:8.2f}")
    print(f"  ours / floor             {ours / floor:8.2f}   (promised: at most 1.30)")

    for title, model in (
        ("ninety words at fifty words a second", WordModel(repeats=3, pause=0.02)),
        ("a model that takes no time", WordModel()),
    ):
        durable, alone = asyncio.run(concurrent_chats(factory, 100, 6, model))
        print(f"\n100 streamed chats at once on one event loop, {title}, median of 5, chats a second")
        print(f"  with sessions            {durable:8.1f}")
        print(f"  without sessions         {alone:8.1f}")
        promise = "   (promised: at least 0.60)" if model.takes_time else ""
        print(f"  with / without           {durable / alone:8.2f}{promise}")
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
