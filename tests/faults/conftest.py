"""A proxy before the tests' server, and factories that reach it through it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, TypeAlias

import pytest
from pymongo import MongoClient
from pymongo.collection import Collection

from mongodb_session_manager import MongoDBSessionManagerFactory
from tests.faults.proxy import Proxy
from tests.faults.workers import Place

MakeFactory: TypeAlias = Callable[..., MongoDBSessionManagerFactory]


@pytest.fixture
def make_factory(mongo_uri: str, collection: Collection[Any], monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeFactory]:
    """Factories on the test's own collection, each with a client of its own: ``make_factory(uri, **options)``."""
    # A driver that lost its server looks for it every half second; tests lose it a hundred times.
    monkeypatch.setattr("pymongo.common.MIN_HEARTBEAT_INTERVAL", 0.02)
    with ExitStack() as clients:

        def make(uri: str = mongo_uri, **options: Any) -> MongoDBSessionManagerFactory:
            client = clients.enter_context(MongoClient[Any](uri, **options))
            return MongoDBSessionManagerFactory(
                client=client, database_name=collection.database.name, collection_name=collection.name
            )

        yield make


@pytest.fixture
def place(mongo_uri: str, collection: Collection[Any]) -> Place:
    """The test's own collection, as another process needs to know it."""
    return Place(mongo_uri, collection.database.name, collection.name)


@pytest.fixture
def proxy(mongo_client: MongoClient[Any]) -> Iterator[Proxy]:
    """A network between ``proxied`` and the server."""
    mongo_client.admin.command("ping")
    address = mongo_client.primary
    assert address is not None
    with Proxy(*address) as proxy:
        yield proxy


@pytest.fixture
def proxied(proxy: Proxy, make_factory: MakeFactory) -> MongoDBSessionManagerFactory:
    """A factory whose client reaches the server through the proxy, and does not retry writes."""
    return make_factory(proxy.uri)
