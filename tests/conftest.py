"""What every test stands on: a real MongoDB, and an ear on every command that is sent to it."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import hypothesis
import pytest
from pymongo import MongoClient
from pymongo.collection import Collection

from mongodb_session_manager import MongoDBSessionManagerFactory
from mongodb_session_manager.embedded import EmbeddedMongoDB
from tests.commands import LISTENER, Commands

hypothesis.settings.register_profile("ci", max_examples=50, deadline=None, derandomize=True)
hypothesis.settings.register_profile("thorough", max_examples=10_000, deadline=None)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture(scope="session")
def mongo_uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A one-node replica set for the whole run; TEST_MONGODB_URI names another one."""
    if uri := os.environ.get("TEST_MONGODB_URI"):
        yield uri
        return
    with EmbeddedMongoDB(tmp_path_factory.mktemp("mongodb")) as server:
        yield server.uri


@pytest.fixture(scope="session")
def mongo_client(mongo_uri: str) -> Iterator[MongoClient[Any]]:
    with MongoClient[Any](mongo_uri) as client:
        yield client


@pytest.fixture
def collection(mongo_client: MongoClient[Any], commands: Commands) -> Iterator[Collection[dict[str, Any]]]:
    """A collection of its own for each test."""
    collection = mongo_client["tests"][f"sessions_{uuid.uuid4().hex[:12]}"]
    yield collection
    with commands.unwatched():
        collection.drop()


@pytest.fixture
def factory(mongo_client: MongoClient[Any], collection: Collection[Any]) -> MongoDBSessionManagerFactory:
    """A factory on the test's own collection."""
    return MongoDBSessionManagerFactory(client=mongo_client, database_name="tests", collection_name=collection.name)


@pytest.fixture
def stored(collection: Collection[Any], commands: Commands) -> Callable[[str], Any]:
    """What the database holds of a session, read by the test itself."""

    def find(session_id: str) -> Any:
        with commands.unwatched():
            return collection.find_one({"_id": session_id})

    return find


@pytest.fixture(autouse=True)
def commands() -> Iterator[Commands]:
    """The commands of this test. None may come from a thread that runs an event loop."""
    LISTENER.clear()
    yield LISTENER
    assert LISTENER.on_a_loop == [], "commands were sent from a thread that runs an event loop"


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In CI a skipped test is a failure: there the run must be complete."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") == "true" and reporter is not None and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
