"""What all sections stand on: a server, one factory near it and one far from it, and ears on both."""

from __future__ import annotations

import os
import platform
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pymongo import MongoClient

from benchmarks.counting import Commands
from benchmarks.proxy import delayed
from mongodb_session_manager import MongoDBSessionManagerFactory
from mongodb_session_manager.embedded import EmbeddedMongoDB

DELAY = 10
"""Milliseconds that a round trip to the far server takes longer."""


@dataclass(frozen=True)
class Ground:
    """Where a section works.

    Attributes:
        uri: The server.
        near: Makes session managers on it.
        far: Makes the same, over a network that takes ``DELAY`` longer.
        commands: Counts what both send.
        folder: For files; removed afterwards.
        quick: Whether everything is small, to see that it works.
        rounds: How often a turn is timed.
    """

    uri: str
    near: MongoDBSessionManagerFactory
    far: MongoDBSessionManagerFactory
    commands: Commands
    folder: Path
    quick: bool
    rounds: int

    def size(self, full: int, quick: int) -> int:
        """How much, according to ``quick``."""
        return quick if self.quick else full

    def collection(self, factory: MongoDBSessionManagerFactory, name: str = "sessions") -> Any:
        """A collection behind a factory's client."""
        return factory.sessions.client[factory.database_name][name]


@contextmanager
def open_ground(uri: str | None, *, quick: bool = False, rounds: int | None = None) -> Iterator[Ground]:
    """Start what is needed; everything is gone afterwards.

    Args:
        uri: A server; by default an embedded one is started.
        quick: Whether everything is small.
        rounds: How often a turn is timed, instead of as often as it takes.
    """
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        address = opened.enter_context(_server(uri, folder))
        commands = Commands()
        near = opened.enter_context(MongoClient[Any](address, event_listeners=[commands]))
        near.admin.command("ping")
        host, port = near.address or ("", 0)
        there = f"mongodb://127.0.0.1:{opened.enter_context(delayed(host, port, DELAY))}/?directConnection=true"
        far = opened.enter_context(MongoClient[Any](there, event_listeners=[commands]))
        database = f"bench_{uuid.uuid4().hex[:8]}"
        opened.callback(near.drop_database, database)
        files = folder / "files"
        files.mkdir()
        yield Ground(
            address,
            MongoDBSessionManagerFactory(client=near, database_name=database, collection_name="sessions"),
            MongoDBSessionManagerFactory(client=far, database_name=database, collection_name="sessions"),
            commands,
            files,
            quick,
            rounds or (5 if quick else 200),
        )


@contextmanager
def _server(uri: str | None, folder: Path) -> Iterator[str]:
    if uri is not None:
        yield uri
        return
    with EmbeddedMongoDB(folder / "mongodb") as server:
        yield server.uri


def machine(ground: Ground) -> str:
    """What it all ran on."""
    mongod = ground.near.sessions.client.server_info()["version"]
    parts = [
        f"Python {platform.python_version()}",
        f"strands-agents {version('strands-agents')}",
        f"PyMongo {version('pymongo')}",
        f"MongoDB {mongod}",
        f"{platform.system()} {platform.machine()}",
        f"{os.cpu_count()} cores",
        f"load {os.getloadavg()[0]:.1f} at the start",
        f"a ping {ping(ground.near):.2f} ms near and {ping(ground.far):.2f} ms far",
    ]
    return ", ".join(parts)


def ping(factory: MongoDBSessionManagerFactory) -> float:
    """Milliseconds of a round trip, the median of twenty-one."""
    times = []
    for _ in range(21):
        start = time.perf_counter()
        factory.sessions.client.admin.command("ping")
        times.append((time.perf_counter() - start) * 1000)
    return sorted(times)[10]
