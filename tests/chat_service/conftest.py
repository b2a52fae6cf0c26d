"""Services that tests talk to."""

from __future__ import annotations

import socket
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest
from pymongo import MongoClient

from chat_service.config import Settings
from chat_service.rag.passages import Retriever

from .callers import API_KEYS, acting_as
from .replicas import Replicas, replicas_on
from .running import Service, served

MakeService = Callable[..., Service]


@pytest.fixture(scope="module")
def make_service(mongo_uri: str, mongo_client: MongoClient[Any]) -> Iterator[MakeService]:
    """Starts services with settings of one's own, each on a database of its own."""
    with ExitStack() as stack:

        def make(retriever: Retriever | None = None, **changes: Any) -> Service:
            database_name = f"service_{uuid.uuid4().hex[:12]}"
            values = {"mongodb_uri": mongo_uri, "demo_delay": 0, "min_pool_size": 0, **changes}
            values.setdefault("retrieval", "step" if retriever else "off")
            settings = Settings(_env_file=None, database_name=database_name, **values)
            stack.callback(mongo_client.drop_database, database_name)
            address = stack.enter_context(served(settings, retriever))
            return Service(stack.enter_context(httpx.Client(base_url=address, timeout=20)), database_name)

        yield make


@pytest.fixture(scope="module")
def service(make_service: MakeService) -> Service:
    """A service whose demo model answers at once."""
    return make_service()


@pytest.fixture(scope="module")
def slow_service(make_service: MakeService) -> Service:
    """A service whose demo model takes its time."""
    return make_service(demo_delay=0.012)


@pytest.fixture
def port() -> int:
    """A port that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        number: int = listening.getsockname()[1]
        return number


@pytest.fixture(scope="module", params=["mongodb", "postgres"])
def replicas(request: pytest.FixtureRequest, mongo_uri: str) -> Iterator[Replicas]:
    """Starts replicas of the service on one database: once on MongoDB, once on PostgreSQL."""
    with replicas_on(request.param, mongo_uri) as made:
        yield made


@pytest.fixture(scope="module")
def two(replicas: Replicas) -> list[Service]:
    """Two replicas whose demo model takes its time."""
    return replicas.start(2)


@pytest.fixture(scope="module")
def guarded(make_service: MakeService) -> Service:
    """A service that asks for keys."""
    return make_service(api_keys=API_KEYS, operators="ops", failed_key_limit="100000/minute")


@pytest.fixture
def ada(guarded: Service) -> Iterator[Service]:
    """That service with a key of Ada's."""
    with acting_as("ada", guarded) as caller:
        yield caller


@pytest.fixture
def bob(guarded: Service) -> Iterator[Service]:
    """That service with a key of Bob's."""
    with acting_as("bob", guarded) as caller:
        yield caller
