"""What OpenTelemetry is told of PostgreSQL: the same spans and figures as of MongoDB."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import metrics, trace

from chat_service.stores.postgres import PostgresSessionFactory
from tests.contract.places import make_agent
from tests.contract.postgresql import PASSWORD
from tests.test_telemetry import SECRET, Told, told

__all__ = ["told"]


@pytest.fixture
def watched(told: Told, database_url: str) -> Iterator[PostgresSessionFactory]:
    with PostgresSessionFactory(database_url, min_size=1, max_size=2) as factory:
        yield factory


def test_a_turn_on_postgresql_is_told_like_one_on_mongodb(told: Told, watched: PostgresSessionFactory) -> None:
    agent = make_agent(watched.create_session_manager("watched"), SECRET)
    agent(SECRET)
    watched.sessions.delete("watched")

    spans = told.of_the_store()
    assert [span.name for span in spans] == ["load", "commit", "commit", "delete"]
    [whole] = [span for span in told.spans if span.name.startswith("invoke_agent")]
    assert {span.context.trace_id for span in spans[1:3]} == {whole.context.trace_id}
    attributes = dict(spans[1].attributes or {})
    assert attributes.pop("server.port")
    assert attributes.pop("db.namespace")
    assert attributes.pop("server.address")
    assert attributes == {
        "db.system.name": "postgresql",
        "db.operation.name": "commit",
        "gen_ai.conversation.id": "watched",
    }
    figures = told.figures()
    statements = {point.attributes["db.operation.name"] for point in figures["db.client.operation.duration"]}
    assert {"SELECT", "UPDATE", "COMMIT"} <= statements
    assert sum(point.count for point in figures["db.client.connection.use_time"]) >= 4
    assert [point.value for point in figures["db.client.connection.count"]] == [0]
    told_text = "".join(span.to_json() for span in spans) + str(figures)
    assert [word for word in (SECRET, PASSWORD, "INSERT INTO") if word in told_text] == []


def test_postgresql_is_not_listened_to_without_a_provider(database_url: str) -> None:
    assert isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
    assert type(metrics.get_meter_provider()).__module__.startswith("opentelemetry.metrics")
    with PostgresSessionFactory(database_url, min_size=1, max_size=1) as factory:

        async def listeners(connection: Any) -> list[str]:
            return [each.cb.__name__ for each in connection._con._query_loggers]

        assert "_measure" not in factory._connections.call(listeners)
