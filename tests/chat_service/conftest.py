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

from .running import Service, served

MakeService = Callable[..., Service]


@pytest.fixture(scope="module")
def make_service(mongo_uri: str, mongo_client: MongoClient[Any]) -> Iterator[MakeService]:
    """Starts services with settings of one's own, each on a database of its own."""
    with ExitStack() as stack:

        def make(**changes: Any) -> Service:
            database_name = f"service_{uuid.uuid4().hex[:12]}"
            values = {"mongodb_uri": mongo_uri, "demo_delay": 0, "min_pool_size": 0, **changes}
            settings = Settings(_env_file=None, database_name=database_name, **values)
            stack.callback(mongo_client.drop_database, database_name)
            address = stack.enter_context(served(settings))
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
