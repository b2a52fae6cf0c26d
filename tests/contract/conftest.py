"""One suite for every session store: each test runs on MongoDB, on PostgreSQL, and on PostgreSQL behind a pooler."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from pymongo import MongoClient

from chat_service.stores.connections import Connections
from chat_service.stores.postgres import PostgresSessionFactory
from tests.contract.places import OnMongoDB, OnPostgreSQL, Place
from tests.contract.postgresql import running_database, running_pooler, sql


@pytest.fixture(scope="session")
def database_url() -> Iterator[str]:
    """A database of its own on a real PostgreSQL."""
    with running_database() as url:
        yield url


@pytest.fixture(scope="session")
def postgres(database_url: str) -> Iterator[PostgresSessionFactory]:
    with PostgresSessionFactory(database_url) as factory:
        yield factory


@pytest.fixture(scope="session")
def pooled(database_url: str, postgres: PostgresSessionFactory) -> Iterator[PostgresSessionFactory]:
    with running_pooler(database_url) as url, PostgresSessionFactory(url) as factory:
        yield factory


@pytest.fixture(autouse=True)
def on_a_loop(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """PostgreSQL is never waited for in a thread that runs an event loop."""
    seen: list[str] = []
    call = Connections.call

    def watched(self: Connections, work: Any, **how: Any) -> Any:
        if asyncio._get_running_loop() is not None:
            seen.append(work.__qualname__)
        return call(self, work, **how)

    monkeypatch.setattr(Connections, "call", watched)
    yield seen
    assert seen == [], "PostgreSQL was waited for in a thread that runs an event loop"


@pytest.fixture(params=["mongodb", "postgres", "pooled"])
def place(request: pytest.FixtureRequest, mongo_client: MongoClient[Any]) -> Iterator[Place]:
    """An empty place for sessions."""
    if request.param == "mongodb":
        on_mongodb = OnMongoDB(mongo_client)
        yield on_mongodb
        on_mongodb.drop()
        return
    factory, url = request.getfixturevalue(request.param), request.getfixturevalue("database_url")
    factory.get_connection_stats()  # the tables are there from now on
    sql(url, "TRUNCATE chat_sessions CASCADE")
    yield OnPostgreSQL(factory, url)
