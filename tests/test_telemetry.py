"""What OpenTelemetry is told of the store: names, parents and counts; and that it is told nothing unasked."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pymongo import MongoClient
from pymongo.collection import Collection
from strands import Agent, tool
from strands.telemetry import tracer as sdk

from mongodb_session_manager import MongoDBSessionManagerFactory, SessionBusyError, client_listeners
from tests.commands import Commands
from tests.models import ScriptedModel

SECRET = "xyzzy-said-in-confidence"


class Told:
    """What the process told OpenTelemetry since the test began."""

    def __init__(self, exporter: InMemorySpanExporter, reader: InMemoryMetricReader) -> None:
        self._exporter = exporter
        self._reader = reader

    @property
    def spans(self) -> list[ReadableSpan]:
        return list(self._exporter.get_finished_spans())

    def of_the_store(self) -> list[ReadableSpan]:
        return [span for span in self.spans if "db.system.name" in (span.attributes or {})]

    def figures(self) -> dict[str, list[Any]]:
        """The data points of each of the library's instruments."""
        data = self._reader.get_metrics_data()
        scopes = [scope for resource in (data.resource_metrics if data else ()) for scope in resource.scope_metrics]
        return {
            metric.name: list(metric.data.data_points)
            for scope in scopes
            if scope.scope.name == "mongodb_session_manager"
            for metric in scope.metrics
        }

    def clear(self) -> None:
        self._exporter.clear()


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Iterator[Told]:
    """OpenTelemetry, configured for one test: a process can set its providers only once."""
    exporter, reader = InMemorySpanExporter(), InMemoryMetricReader()
    traces, figures = TracerProvider(), MeterProvider([reader])
    traces.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", traces)
    monkeypatch.setattr(metrics._internal, "_METER_PROVIDER", figures)
    monkeypatch.setattr(sdk, "_tracer_instance", None)
    yield Told(exporter, reader)
    traces.shutdown()
    figures.shutdown()


@pytest.fixture
def watched(told: Told, mongo_uri: str, collection: Collection[Any]) -> Iterator[MongoDBSessionManagerFactory]:
    """A factory with a client that was made when OpenTelemetry was configured."""
    with MongoDBSessionManagerFactory(mongo_uri, "tests", collection.name, appname=collection.name) as factory:
        yield factory


@tool
def look_up(word: str) -> str:
    """Look something up."""
    return f"{word}: {SECRET}"


def test_what_a_turn_asks_of_the_store_lies_within_the_agents_span(
    told: Told, watched: MongoDBSessionManagerFactory, collection: Collection[Any]
) -> None:
    Agent(model=ScriptedModel("hi"), session_manager=watched.create_session_manager("a"), callback_handler=None)(
        "hello"
    )
    told.clear()
    script = {"name": "look_up", "input": {"word": "x"}}, "done"
    manager = watched.create_session_manager("a")
    agent = Agent(model=ScriptedModel(*script), tools=[look_up], session_manager=manager, callback_handler=None)
    agent("hello again")

    spans = told.of_the_store()
    assert [span.name.partition(" ")[0] for span in spans] == ["load", "commit", "commit", "commit", "commit"]
    [whole] = [span for span in told.spans if span.name.startswith("invoke_agent")]
    family = {span.context.span_id: span.parent.span_id if span.parent else None for span in told.spans}
    for span in spans[1:]:
        above = span.context.span_id
        while above != whole.context.span_id:
            above = family[above]  # of the agent's own span in the end, or this fails
        assert span.context.trace_id == whole.context.trace_id
    uri_host, uri_port = watched._connection.client.address or ("", 0)
    assert dict(spans[1].attributes or {}) == {
        "db.system.name": "mongodb",
        "db.namespace": "tests",
        "db.collection.name": collection.name,
        "db.operation.name": "commit",
        "server.address": uri_host,
        "server.port": uri_port,
        "gen_ai.conversation.id": "a",
        "session_store.commands": 1,
    }
    assert {span.kind for span in spans} == {trace.SpanKind.CLIENT}


def test_as_many_commands_are_measured_as_are_sent(
    told: Told, watched: MongoDBSessionManagerFactory, commands: Commands
) -> None:
    manager = watched.create_session_manager("a")
    agent = Agent(model=ScriptedModel("x" * 70_000), session_manager=manager, callback_handler=None)
    for _ in range(3):
        agent("y" * 40_000)
    manager.update_metadata({"stage": "won"})
    watched.sessions.page(limit=1)
    watched.sessions.fork("a", "b", at=2)

    measured = told.figures()["db.client.operation.duration"]
    by_name: dict[str, int] = {}
    for point in measured:
        name = point.attributes["db.operation.name"]
        by_name[name] = by_name.get(name, 0) + point.count
    sent = [name for name, _, _ in commands.sent]
    assert by_name == {name: sent.count(name) for name in sent}
    counted = [(span.attributes or {}).get("session_store.commands") for span in told.of_the_store()]
    of_operations = sum(each for each in counted if isinstance(each, int))
    assert of_operations == len(sent)
    assert {(point.attributes["db.system.name"], point.attributes["db.namespace"]) for point in measured} == {
        ("mongodb", "tests")
    }


def test_the_store_tells_its_bytes_and_its_spills(told: Told, watched: MongoDBSessionManagerFactory) -> None:
    manager = watched.create_session_manager("a")
    agent = Agent(model=ScriptedModel("x" * 30_000), session_manager=manager, callback_handler=None)
    for _ in range(4):
        agent("y" * 30_000)
    Agent(model=ScriptedModel(), session_manager=watched.create_session_manager("a"), callback_handler=None)

    figures = told.figures()
    io = {point.attributes["session_store.io.direction"]: point.value for point in figures["session_store.io"]}
    assert io["write"] > 240_000
    assert io["read"] > 60_000
    [spills] = figures["session_store.spills"]
    assert spills.value >= 1
    asked = {
        point.attributes["db.operation.name"]: point.count for point in figures["session_store.operation.duration"]
    }
    assert asked == {"load": 2, "commit": 8}


def test_a_refusal_is_told_by_its_kind_and_not_by_its_text(told: Told, watched: MongoDBSessionManagerFactory) -> None:
    first, second = (
        Agent(model=ScriptedModel("ok"), session_manager=watched.create_session_manager("a"), callback_handler=None)
        for _ in range(2)
    )
    first("begin")
    holding = ScriptedModel("slow")
    holding.hold = threading.Event()
    first.model = holding
    working = threading.Thread(target=first, args=("again",))
    working.start()
    while not holding.calls:
        threading.Event().wait(0.01)
    second = Agent(
        model=ScriptedModel("ok"), session_manager=watched.create_session_manager("a"), callback_handler=None
    )
    with pytest.raises(SessionBusyError):
        second(SECRET)
    waiting = watched.create_session_manager("a", on_busy="wait", busy_timeout=0.2)
    with pytest.raises(SessionBusyError):
        Agent(model=ScriptedModel("ok"), session_manager=waiting, callback_handler=None)("me too")
    holding.hold.set()
    working.join()

    refused = [span for span in told.of_the_store() if not span.status.is_ok and span.status.description is None]
    failed = [span for span in refused if span.status.status_code is trace.StatusCode.ERROR]
    assert {(span.attributes or {})["error.type"] for span in failed} == {"SessionBusyError"}
    assert not any(span.events for span in failed)
    figures = told.figures()
    assert {point.attributes["error.type"] for point in figures["session_store.refusals"]} == {"SessionBusyError"}
    [waited] = figures["session_store.turn.wait_time"]
    assert (waited.count, waited.attributes["error.type"]) == (1, "SessionBusyError")
    assert waited.sum >= 0.2


def test_the_pool_is_told_by_the_conventions_names(told: Told, watched: MongoDBSessionManagerFactory) -> None:
    watched.sessions.page()

    figures = told.figures()
    states = {point.attributes["db.client.connection.state"]: point.value for point in figures[_COUNT]}
    assert states["used"] == 0
    assert states["idle"] >= 1
    assert [point.value for point in figures["db.client.connection.max"]] == [100]
    assert [point.value for point in figures["db.client.connection.idle.min"]] == [10]
    assert [point.value for point in figures["db.client.connection.pending_requests"]] == [0]
    for name in ("create_time", "wait_time", "use_time"):
        assert sum(point.count for point in figures[f"db.client.connection.{name}"]) >= 1


_COUNT = "db.client.connection.count"


def test_what_the_doctor_mends_is_counted(
    told: Told, watched: MongoDBSessionManagerFactory, collection: Collection[Any]
) -> None:
    manager = watched.create_session_manager("a")
    Agent(model=ScriptedModel(), session_manager=manager, callback_handler=None)("hello")
    collection.update_one({"_id": "a"}, {"$set": {"agents.default.message_count": 77}})
    watched.sessions.doctor(repair=True)

    [mended] = told.figures()["session_store.repairs"]
    assert (mended.value, dict(mended.attributes)) == (1, {"session_store.repair.kind": "message_count"})


async def test_the_storage_is_told_without_its_keys(told: Told, watched: MongoDBSessionManagerFactory) -> None:
    storage = watched.storage()
    await storage.write(SECRET, b"1")
    await storage.read(SECRET)
    await storage.list(SECRET)

    assert [span.name.partition(" ")[0] for span in told.of_the_store()] == ["write", "read", "list"]
    assert SECRET not in "".join(span.to_json() for span in told.of_the_store())


def test_nothing_that_is_said_and_no_credential_is_told(
    told: Told, mongo_uri: str, collection: Collection[Any]
) -> None:
    with MongoDBSessionManagerFactory(mongo_uri, "tests", collection.name) as factory:
        manager = factory.create_session_manager("a", owner="the-owner", title=SECRET)
        Agent(model=ScriptedModel(SECRET), session_manager=manager, callback_handler=None)(SECRET)
        manager.update_metadata({"stage": SECRET})
        factory.sessions.page(title=SECRET, owner="the-owner")
        factory.sessions.redact("a", 0)
    unreachable = "mongodb://user:hunter2@127.0.0.1:1/?serverSelectionTimeoutMS=50"
    with MongoDBSessionManagerFactory(unreachable) as factory, pytest.raises(Exception, match="127"):
        factory.sessions.get("a")

    text = "".join(span.to_json() for span in told.of_the_store()) + str(told.figures())
    assert len(told.of_the_store()) > 5
    assert [word for word in (SECRET, "the-owner", "hunter2", "user:") if word in text] == []


def test_a_client_of_ones_own_is_measured_with_the_listeners(
    told: Told, mongo_uri: str, collection: Collection[Any]
) -> None:
    with MongoClient[Any](mongo_uri, event_listeners=client_listeners()) as client:
        factory = MongoDBSessionManagerFactory(client=client, database_name="tests", collection_name=collection.name)
        factory.sessions.page()

    assert sum(point.count for point in told.figures()["db.client.operation.duration"]) == 2  # the indexes, the page


def test_a_client_that_was_there_before_the_figures_tells_none_of_its_pool(
    told: Told, mongo_uri: str, collection: Collection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(metrics._internal, "_METER_PROVIDER", None)
        client = MongoClient[Any](mongo_uri, event_listeners=client_listeners())
        client.admin.command("ping")
    factory = MongoDBSessionManagerFactory(client=client, database_name="tests", collection_name=collection.name)
    factory.sessions.page()
    client.close()

    assert sum(point.count for point in told.figures()["db.client.operation.duration"]) == 2  # the indexes, the page
    assert [name for name in told.figures() if name.startswith("db.client.connection")] == []


UNCONFIGURED = """
import sys
from strands import Agent
from mongodb_session_manager import MongoDBSessionManagerFactory, client_listeners, telemetry
from tests.models import ScriptedModel

def refused(*args, **kwargs):
    raise AssertionError("something was told")

telemetry.operation = telemetry._instruments = telemetry._tracer = refused
assert client_listeners() == []
with MongoDBSessionManagerFactory(sys.argv[1], "tests", "unconfigured_" + sys.argv[2]) as factory:
    assert not factory._connection.client._event_listeners.enabled_for_commands
    manager = factory.create_session_manager("a")
    Agent(model=ScriptedModel("x" * 90_000), session_manager=manager, callback_handler=None)("y")
    factory.sessions.doctor(repair=True)
    factory.sessions.delete("a")
"""


def test_without_a_provider_nothing_is_told_and_no_command_is_listened_to(mongo_uri: str) -> None:
    program = [sys.executable, "-c", UNCONFIGURED, mongo_uri, "one"]
    ended = subprocess.run(program, capture_output=True, text=True, timeout=120, check=False)

    assert (ended.returncode, ended.stderr) == (0, "")
