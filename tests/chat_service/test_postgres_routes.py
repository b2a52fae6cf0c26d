"""The service on PostgreSQL: the tests of its routes again, all that do not look into MongoDB themselves."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest

from chat_service.config import Settings
from tests.contract.postgresql import new_database, running_database

from . import test_chat, test_health, test_odd_requests, test_owners, test_sessions
from .conftest import MakeService
from .running import Service, served


@pytest.fixture(scope="module")
def postgresql() -> Iterator[str]:
    with running_database() as url:
        yield url


@pytest.fixture(scope="module")
def make_service(postgresql: str) -> Iterator[MakeService]:
    """Starts services, each on a database of its own that has no tables yet."""
    with ExitStack() as stack:

        def make(**changes: Any) -> Service:
            url = stack.enter_context(new_database(postgresql))
            values = {"session_store": "postgres", "database_url": url, "demo_delay": 0, "retrieval": "off", **changes}
            address = stack.enter_context(served(Settings(_env_file=None, **values)))
            return Service(stack.enter_context(httpx.Client(base_url=address, timeout=20)), url.rpartition("/")[2])

        yield make


@pytest.fixture(scope="module")
def services() -> dict[str, Service]:
    return {}


@pytest.fixture
def service(request: pytest.FixtureRequest, services: dict[str, Service], make_service: MakeService) -> Service:
    """One for each of the modules that the tests are from, as there."""
    origin = request.function.__module__
    if origin not in services:
        services[origin] = make_service()
    return services[origin]


def _is_of_mongodb(test: Any) -> bool:
    return "mongo_client" in inspect.signature(test).parameters or "mongodb" in inspect.getsource(test)


for module in (test_chat, test_health, test_odd_requests, test_owners, test_sessions):
    for name, test in vars(module).items():
        if name.startswith("test_") and inspect.isfunction(test) and not _is_of_mongodb(test):
            assert name not in globals(), name
            globals()[name] = test


def test_most_tests_of_the_routes_are_run_again() -> None:
    assert sum(name.startswith("test_") and inspect.isfunction(value) for name, value in globals().items()) > 40
