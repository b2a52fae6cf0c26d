"""The factory: whose client it uses, what it hands on, how it closes, and the one factory of an application."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.collection import Collection
from pymongo.errors import ConfigurationError, InvalidOperation, ServerSelectionTimeoutError
from strands import Agent

from mongodb_session_manager import (
    MongoDBSessionManager,
    MongoDBSessionManagerFactory,
    MongoDBSessionRepository,
    close_global_factory,
    get_global_factory,
    initialize_global_factory,
)
from tests.commands import Commands
from tests.models import ScriptedModel


def talk(manager: MongoDBSessionManager, words: str = "hi") -> Agent:
    agent = Agent(model=ScriptedModel("an answer"), session_manager=manager, callback_handler=None)
    agent(words)
    return agent


@pytest.fixture
def owning(mongo_uri: str, collection: Collection[Any]) -> Iterator[Callable[..., MongoDBSessionManagerFactory]]:
    """Makes factories with clients of their own."""
    made: list[MongoDBSessionManagerFactory] = []

    def make(**options: Any) -> MongoDBSessionManagerFactory:
        made.append(MongoDBSessionManagerFactory(mongo_uri, "tests", collection.name, **options))
        return made[-1]

    yield make
    for factory in made:
        factory.close()


# Whose client


@pytest.mark.parametrize("kind", [MongoDBSessionManagerFactory, MongoDBSessionRepository])
def test_its_arguments_stand_where_they_always_stood(kind: type) -> None:
    parameters = inspect.signature(kind).parameters
    defaults = {name: one.default for name, one in parameters.items() if one.kind is one.POSITIONAL_OR_KEYWORD}

    assert list(defaults.items()) == [
        ("connection_string", None),
        ("database_name", "database_name"),
        ("collection_name", "collection_name"),
        ("client", None),
        ("metadata_fields", None),
    ]


def test_it_needs_a_connection_string_or_a_client() -> None:
    with pytest.raises(ValueError, match="connection_string or client"):
        MongoDBSessionManagerFactory()


def test_a_client_wins_and_stays_open(mongo_client: MongoClient[Any]) -> None:
    factory = MongoDBSessionManagerFactory("mongodb://127.0.0.1:9", client=mongo_client)
    factory.close()
    factory.close()

    assert factory.sessions.client is mongo_client
    assert mongo_client.admin.command("ping")["ok"] == 1


def test_it_says_where_sessions_lie(mongo_client: MongoClient[Any]) -> None:
    factory = MongoDBSessionManagerFactory(client=mongo_client)
    elsewhere = MongoDBSessionManagerFactory(client=mongo_client, database_name="d", collection_name="c")

    assert (factory.database_name, factory.collection_name) == ("database_name", "collection_name")
    assert (elsewhere.database_name, elsewhere.collection_name) == ("d", "c")


def test_the_same_address_and_options_share_a_client_until_the_last_closes(owning: Any) -> None:
    first, second = owning(appname="shared"), owning(appname="shared")
    assert first.sessions.client is second.sessions.client

    first.close()
    talk(second.create_session_manager("s"))
    second.close()

    with pytest.raises(InvalidOperation):
        second.create_session_manager("s").get_metadata()


def test_factories_with_other_options_do_not_disturb_one_another(owning: Any) -> None:
    first, second = owning(appname="one"), owning(appname="two")
    assert first.sessions.client is not second.sessions.client

    first.close()
    talk(second.create_session_manager("s"))

    assert second.get_connection_stats()["status"] == "connected"
    assert first.get_connection_stats()["status"] == "not_initialized"


def test_any_option_of_the_driver_is_accepted_and_an_unknown_one_is_not(owning: Any) -> None:
    factory = owning(maxPoolSize=7, minPoolSize=1, zlibCompressionLevel=3)

    assert factory.get_connection_stats()["pool_config"] == {"maxPoolSize": 7, "minPoolSize": 1}
    with pytest.raises(ConfigurationError, match="colour"):
        owning(colour="blue")


def test_options_beside_a_borrowed_client_do_not_change_it(mongo_client: MongoClient[Any]) -> None:
    factory = MongoDBSessionManagerFactory(client=mongo_client, maxPoolSize=7)

    assert factory.sessions.client is mongo_client


def test_unacknowledged_writes_are_refused(mongo_uri: str) -> None:
    with pytest.raises(ValueError, match="w=0"):
        MongoDBSessionManagerFactory(mongo_uri, w=0)
    with MongoClient[Any](mongo_uri, w=0) as client, pytest.raises(ValueError, match="w=0"):
        MongoDBSessionManagerFactory(client=client)


def test_a_factory_on_a_dead_server_does_not_hold_up_another(owning: Any) -> None:
    with MongoDBSessionManagerFactory("mongodb://127.0.0.1:9", serverSelectionTimeoutMS=1500) as dead:
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(dead.create_session_manager("s").get_session)
            time.sleep(0.1)
            talk(owning(appname="alive").create_session_manager("s"))
            assert not asked.done()
            with pytest.raises(ServerSelectionTimeoutError):
                asked.result()


# Session managers


def test_a_manager_inherits_what_is_not_given(mongo_client: MongoClient[Any], collection: Collection[Any]) -> None:
    factory = MongoDBSessionManagerFactory(
        client=mongo_client, database_name="tests", collection_name=collection.name, metadata_fields=["topic"]
    )
    talk(factory.create_session_manager("s", None, None, None))

    assert collection.find_one({"_id": "s"}) is not None
    assert "metadata.topic_1_updated_at_1__id_1_owner_1" in collection.index_information()


def test_a_manager_may_lie_elsewhere(
    factory: MongoDBSessionManagerFactory, collection: Collection[Any], mongo_client: MongoClient[Any]
) -> None:
    other = mongo_client["tests_elsewhere"][f"{collection.name}_other"]
    manager = factory.create_session_manager("s", other.database.name, other.name, ["colour"])
    talk(manager)
    try:
        assert other.find_one({"_id": "s"}) is not None
        assert "metadata.colour_1_updated_at_1__id_1_owner_1" in other.index_information()
        assert factory.sessions.get("s") is None
    finally:
        other.drop()


def test_an_empty_list_of_metadata_fields_is_not_inherited_from(
    mongo_client: MongoClient[Any], collection: Collection[Any]
) -> None:
    factory = MongoDBSessionManagerFactory(
        client=mongo_client, database_name="tests", collection_name=collection.name, metadata_fields=["topic"]
    )
    talk(factory.create_session_manager("s", metadata_fields=[]))

    assert "metadata.topic_1_updated_at_1__id_1_owner_1" not in collection.index_information()


def test_keywords_reach_the_manager(factory: MongoDBSessionManagerFactory) -> None:
    seen: list[str] = []

    def hook(original_func: Any, action: str, session_id: str, **kwargs: Any) -> Any:
        seen.append(action)
        return original_func(*kwargs.values())

    manager = factory.create_session_manager("s", metadata_hook=hook, feedback_hook=hook, application_name="shop")
    manager.update_metadata({"a": 1})
    manager.add_feedback({"rating": "up"})

    assert seen == ["update", "add"]
    assert factory.sessions.page(application_name="shop").items[0].session_id == "s"


async def test_an_opened_session_is_loaded_and_nothing_of_its_agents_life_blocks_the_loop(
    factory: MongoDBSessionManagerFactory, commands: Commands
) -> None:
    manager = await factory.open_session("s", application_name="shop")
    assert commands.names == ["find"]
    agent = Agent(model=ScriptedModel("an answer"), session_manager=manager, callback_handler=None)
    assert commands.names == ["find"]
    await agent.invoke_async("hi")
    async for _ in agent.stream_async("again"):
        pass

    assert commands.names == ["find", *["update"] * 4]
    assert commands.on_a_loop == []


async def test_an_opened_session_may_be_another_agents(
    factory: MongoDBSessionManagerFactory, commands: Commands
) -> None:
    manager = await factory.open_session("s", agent_id="helper")
    Agent(model=ScriptedModel(), session_manager=manager, agent_id="helper", callback_handler=None)

    assert commands.names == ["find"]


# Statistics


def test_the_statistics_of_an_owned_client_are_true(owning: Any) -> None:
    factory = owning(appname="counted", maxPoolSize=5, minPoolSize=0)
    talk(factory.create_session_manager("s"))

    stats = factory.get_connection_stats()

    assert stats["status"] == "connected"
    assert stats["connection_string"].startswith("mongodb://127.0.0.1")
    assert stats["server_version"].split(".")[0].isdigit()
    assert stats["pool_config"] == {"maxPoolSize": 5, "minPoolSize": 0}
    assert 0 <= stats["active_connections"] <= stats["total_connections"] <= 5
    assert stats["total_connections"] >= 1


def test_the_statistics_of_a_borrowed_client_say_so(factory: MongoDBSessionManagerFactory) -> None:
    stats = factory.get_connection_stats()

    assert stats["status"] == "external_client"
    assert stats["message"]


def test_the_statistics_of_a_lost_server_come_soon_and_without_credentials() -> None:
    with MongoDBSessionManagerFactory("mongodb://ann:verysecret@127.0.0.1:9/?connectTimeoutMS=5000") as factory:
        begin = time.monotonic()
        stats = factory.get_connection_stats()

    assert time.monotonic() - begin < 2.5
    assert stats["status"] == "error"
    assert "verysecret" not in repr(stats)
    assert "ann" not in stats["connection_string"]


async def test_statistics_and_closing_have_awaitable_forms(owning: Any) -> None:
    factory = owning(appname="awaited")

    assert (await factory.aio.get_connection_stats())["status"] == "connected"
    await factory.aio.close()
    assert (await factory.aio.get_connection_stats())["status"] == "not_initialized"


# Closing


async def test_it_is_a_context_manager_of_both_kinds(mongo_uri: str) -> None:
    with MongoDBSessionManagerFactory(mongo_uri, appname="with") as factory:
        pass
    assert factory.get_connection_stats()["status"] == "not_initialized"

    async with MongoDBSessionManagerFactory(mongo_uri, appname="async with") as factory:
        assert (await factory.aio.get_connection_stats())["status"] == "connected"
    assert factory.get_connection_stats()["status"] == "not_initialized"


def test_closing_waits_for_a_running_turn(owning: Any, collection: Collection[Any]) -> None:
    factory = owning(appname="waits")
    model = ScriptedModel("an answer")
    model.hold = threading.Event()
    agent = Agent(model=model, session_manager=factory.create_session_manager("s"), callback_handler=None)
    with ThreadPoolExecutor(2) as pool:
        turn = pool.submit(agent, "hi")
        while not model.calls:
            time.sleep(0.01)
        closing = pool.submit(factory.close)
        time.sleep(0.1)
        assert not closing.done()
        model.hold.set()
        turn.result()
        closing.result()

    [agent_document] = collection.find_one({"_id": "s"})["agents"].values()  # type: ignore[index]
    assert agent_document["message_count"] == 2
    assert "turn" not in agent_document


def test_closing_does_not_wait_for_a_turn_for_ever(owning: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mongodb_session_manager.mongodb_session_factory._CLOSE_SECONDS", 0.1)
    factory = owning(appname="waits no longer")
    model = ScriptedModel("an answer")
    model.hold = threading.Event()
    agent = Agent(model=model, session_manager=factory.create_session_manager("s"), callback_handler=None)
    with ThreadPoolExecutor(1) as pool:
        turn = pool.submit(agent, "hi")
        while not model.calls:
            time.sleep(0.01)
        factory.close()
        assert not turn.done()
        model.hold.set()
        with pytest.raises(InvalidOperation):
            turn.result()


# The factory of an application


@pytest.fixture
def no_global_factory() -> Iterator[None]:
    close_global_factory()
    yield
    close_global_factory()


@pytest.mark.usefixtures("no_global_factory")
def test_there_is_no_global_factory_before_it_is_made() -> None:
    with pytest.raises(RuntimeError, match="initialize_global_factory"):
        get_global_factory()
    close_global_factory()


@pytest.mark.usefixtures("no_global_factory")
def test_the_global_factory_has_a_collection_of_its_own(mongo_uri: str) -> None:
    factory = initialize_global_factory(mongo_uri)

    assert get_global_factory() is factory
    assert (factory.database_name, factory.collection_name) == ("database_name", "virtualagent_sessions")
    close_global_factory()
    close_global_factory()
    with pytest.raises(RuntimeError):
        get_global_factory()


@pytest.mark.usefixtures("no_global_factory")
def test_making_it_again_closes_the_earlier_one(mongo_uri: str) -> None:
    first = initialize_global_factory(mongo_uri, "tests", "one", ["topic"], appname="first")
    second = initialize_global_factory(mongo_uri, "tests", "two", appname="second")

    assert get_global_factory() is second
    assert first.get_connection_stats()["status"] == "not_initialized"
    assert second.get_connection_stats()["status"] == "connected"


@pytest.mark.usefixtures("no_global_factory")
def test_the_global_factory_survives_many_threads(mongo_uri: str) -> None:
    made: list[MongoDBSessionManagerFactory] = []

    def churn(number: int) -> None:
        made.append(initialize_global_factory(mongo_uri, "tests", f"c{number}", appname=f"churn-{number}"))
        if number % 3 == 0:
            close_global_factory()

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(churn, range(12)))
    last = initialize_global_factory(mongo_uri, appname="last")

    assert get_global_factory() is last
    assert {factory.get_connection_stats()["status"] for factory in made} == {"not_initialized"}


# After a fork

FORK = """
import contextlib, os, sys, threading, time
from pymongo.errors import PyMongoError
from strands import Agent
from mongodb_session_manager import *
from tests.models import ScriptedModel

uri, collection = sys.argv[1:]

def talk(manager, words):
    Agent(model=ScriptedModel("an answer"), session_manager=manager, callback_handler=None)(words)

initialize_global_factory(uri, "tests", collection)
repository = MongoDBSessionRepository(uri, "tests", collection, appname="repository")
lone = MongoDBSessionManager("parents", uri, "tests", collection, appname="lone")
talk(get_global_factory().create_session_manager("forked"), "in the parent")
repository.update_metadata("forked", {"parent": 1})
parents = get_global_factory().sessions.client

def ask_a_dead_server():
    with contextlib.suppress(PyMongoError):
        dead.sessions.get("s")

dead = MongoDBSessionManagerFactory("mongodb://127.0.0.1:9", serverSelectionTimeoutMS=1000)
asking = threading.Thread(target=ask_a_dead_server)
asking.start()
time.sleep(0.1)

child = os.fork()
if child == 0:
    try:
        talk(get_global_factory().create_session_manager("forked"), "in the child")
        assert get_global_factory().sessions.client is not parents
        names = {thread.name.rsplit("_", 1)[0] for thread in threading.enumerate()}
        assert "session-flush" in names and "session-renewal" in names, names
        repository.update_metadata("forked", {"child": 1})
        assert repository.get_metadata("forked") == {"parent": 1, "child": 1}
        with MongoDBSessionManager("lone", uri, "tests", collection, appname="lone") as own:
            talk(own, "in the child")
        assert get_global_factory().get_connection_stats()["status"] == "connected"
        close_global_factory()
    except BaseException:
        import traceback
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    os._exit(0)

assert os.waitpid(child, 0)[1] == 0
talk(get_global_factory().create_session_manager("forked"), "in the parent again")
assert repository.get_metadata("forked") == {"parent": 1, "child": 1}
talk(lone, "in the parent again")
asking.join()
lone.close(), repository.close(), dead.close(), close_global_factory()
"""


def test_a_forked_child_makes_its_own_client_and_threads(mongo_uri: str, collection: Collection[Any]) -> None:
    script = [sys.executable, "-W", "ignore:This process:DeprecationWarning", "-c", FORK, mongo_uri, collection.name]
    paths = os.pathsep.join(["src", ".", os.environ.get("PYTHONPATH", "")])
    ended = subprocess.run(
        script, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, timeout=60, check=False
    )

    assert (ended.returncode, ended.stderr) == (0, "")
    agent = collection.find_one({"_id": "forked"})["agents"]["default"]  # type: ignore[index]
    asked = [message["message"]["content"][0]["text"] for message in agent["messages"][::2]]
    assert asked == ["in the parent", "in the child", "in the parent again"]
    assert {document["_id"] for document in collection.find()} == {"forked", "lone", "parents"}


def test_who_waits_while_another_finds_no_server_is_told_so_too_and_does_not_look_again() -> None:
    asking = threading.Barrier(20)

    def ask(factory: MongoDBSessionManagerFactory) -> BaseException:
        asking.wait()
        with pytest.raises(ServerSelectionTimeoutError) as failure:
            factory.sessions.get("s")
        return failure.value

    with MongoDBSessionManagerFactory("mongodb://127.0.0.1:9", serverSelectionTimeoutMS=1500) as factory:
        with ThreadPoolExecutor(20) as pool:
            told = list(pool.map(ask, [factory] * 20))
    assert [error.__cause__ for error in told].count(None) == 1
    assert all("127.0.0.1:9" in str(error) for error in told)
