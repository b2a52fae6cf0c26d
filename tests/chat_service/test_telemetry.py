"""Traces, as a collector gets them from a service in a process of its own."""

from __future__ import annotations

import gzip
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from .running import Process, events_of, running

SIGTERM = 15


class Collector(ThreadingHTTPServer):
    """Takes ``POST /v1/traces`` and ``POST /v1/metrics``."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.bodies: list[bytes] = []
        self.figures: list[bytes] = []
        self.service = ""

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def metrics(self) -> dict[str, Any]:
        """The latest of each figure, by name."""
        found: dict[str, Any] = {}
        for body in self.figures:
            for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                found |= {metric.name: metric for scope in resource.scope_metrics for metric in scope.metrics}
        return found

    def spans(self) -> list[Any]:
        found = []
        for body in self.bodies:
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                named = {each.key: each.value.string_value for each in resource.resource.attributes}
                self.service = named["service.name"]
                found += [span for scope in resource.scope_spans for span in scope.spans]
        return found


class _Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        kept = {"/v1/traces": self.server.bodies, "/v1/metrics": self.server.figures}[self.path]
        kept.append(gzip.decompress(body) if self.headers["Content-Encoding"] == "gzip" else body)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        """Quiet."""


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def ask(service: Process, query: str) -> list[dict[str, Any]]:
    with service.http.stream("POST", "/api/chat/stream", json={"query": query}) as response:
        assert response.status_code == 200
        return list(events_of(response))


def test_a_streamed_answer_is_one_trace_with_a_span_for_each_thing_done(
    tmp_path: Path, port: int, collector: Collector
) -> None:
    with running(tmp_path, port, OTEL_EXPORTER_OTLP_ENDPOINT=collector.address, DEMO_DELAY="0") as service:
        chunks = [event for event in ask(service, "calculate 2*21") if event["event"] == "response_chunk"]
        service.http.get("/api/chat/stream", params={"query": "my name is Xyzzy"})
        service.http.get("/livez")
        service.end(SIGTERM, 15)  # sends the rest
    spans = collector.spans()
    assert collector.service == "chat-service"
    requests = [span for span in spans if span.name.startswith(("POST ", "GET "))]
    assert sorted(span.name for span in requests) == ["GET /api/chat/stream", "POST /api/chat/stream"]
    whole = [span for span in spans if span.trace_id == next(s for s in requests if "POST" in s.name).trace_id]
    names = [span.name for span in whole]
    assert any(name.startswith("invoke_agent") for name in names)
    assert any(name.startswith("execute_tool calculate") for name in names)
    assert names.count("chat") == 2  # before the tool and after
    of_the_store = [span for span in whole if any(each.key == "db.system.name" for each in span.attributes)]
    assert len(whole) - len(of_the_store) <= 8 < len(chunks)
    assert {"load", "commit"} <= {span.name.partition(" ")[0] for span in of_the_store}
    by_id = {span.span_id for span in whole}
    assert [span.name for span in whole if span.parent_span_id not in by_id] == ["POST /api/chat/stream"]


def test_figures_of_the_session_store_are_sent_as_well(tmp_path: Path, port: int, collector: Collector) -> None:
    with running(tmp_path, port, OTEL_EXPORTER_OTLP_ENDPOINT=collector.address, DEMO_DELAY="0") as service:
        ask(service, "my name is Xyzzy")
        service.end(SIGTERM, 15)
    figures = collector.metrics()
    ours = {"db.client.operation.duration", "db.client.connection.count", "session_store.operation.duration"}
    assert ours <= {*figures}
    assert all(name.startswith(("db.client.", "session_store.")) for name in figures)
    commits = [
        point.count
        for point in figures["session_store.operation.duration"].histogram.data_points
        if any(each.value.string_value == "commit" for each in point.attributes)
    ]
    assert sum(commits) >= 2
    assert b"Xyzzy" not in b"".join(collector.figures)


def test_nothing_that_is_said_gets_into_a_trace(tmp_path: Path, port: int, collector: Collector) -> None:
    with running(tmp_path, port, OTEL_EXPORTER_OTLP_ENDPOINT=collector.address, DEMO_DELAY="0") as service:
        ask(service, "my name is Xyzzy")
        ask(service, "calculate 98765432+1")
        service.http.get("/api/chat/stream", params={"query": "who is Xyzzy?"})
        service.http.post("/api/chat", json={"query": "Xyzzy", "temperature": 7})
        service.end(SIGTERM, 15)
    sent = b"".join(collector.bodies)
    assert len(collector.spans()) > 8
    for word in (b"Xyzzy", b"98765432", b"helpful assistant"):
        assert word not in sent
    attributes = {each.key for span in collector.spans() for each in span.attributes}
    assert {"gen_ai.usage.input_tokens", "http.route"} <= attributes


def test_a_failing_model_shows_without_its_words(tmp_path: Path, port: int, collector: Collector) -> None:
    model = {"MODEL_PROVIDER": "openai", "MODEL_ID": "m", "OPENAI_API_KEY": "key-of-mine"}
    address = {"OPENAI_BASE_URL": "http://127.0.0.1:1/v1", "OTEL_EXPORTER_OTLP_ENDPOINT": collector.address}
    with running(tmp_path, port, **model, **address) as service:
        assert ask(service, "Xyzzy")[-1]["code"] == "model_unavailable"
        service.end(SIGTERM, 15)
    errors = [span for span in collector.spans() if span.status.code == 2]
    assert any(event.name == "exception" for span in errors for event in span.events)
    assert not any(word in b"".join(collector.bodies) for word in (b"Xyzzy", b"key-of-mine", b"Traceback"))


def test_a_lost_collector_holds_up_neither_an_answer_nor_the_end(tmp_path: Path, port: int) -> None:
    with running(tmp_path, port, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1", DEMO_DELAY="0") as service:
        assert ask(service, "hello")[-1]["event"] == "response_complete"
        began = time.monotonic()
        service.end(SIGTERM, 15)
        assert time.monotonic() - began < 10


def test_without_the_setting_nothing_is_loaded_or_traced() -> None:
    program = """
import sys
from opentelemetry import trace
from chat_service.config import Settings
from chat_service.main import create_app
app = create_app(Settings(_env_file=None))
assert not getattr(app, "_is_instrumented_by_opentelemetry", False)
assert isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
assert "opentelemetry.instrumentation.fastapi" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], timeout=60, check=True)


@pytest.mark.parametrize("package", ["opentelemetry.sdk", "opentelemetry.instrumentation.fastapi"])
def test_the_setting_without_the_packages_names_the_extra(package: str) -> None:
    program = f"""
import importlib.util
known = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == {package!r} else known(name, *rest)
from chat_service.config import ConfigurationError, Settings
from chat_service.main import create_app
try:
    create_app(Settings(_env_file=None, otel_exporter_otlp_endpoint="http://127.0.0.1:4318"))
except ConfigurationError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.startswith("OTEL_EXPORTER_OTLP_ENDPOINT: "), done.stderr
    assert "mongodb-session-manager[telemetry]" in done.stdout


def test_a_provider_of_ones_own_is_used(collector: Collector) -> None:
    program = """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
mine = TracerProvider()
trace.set_tracer_provider(mine)
from chat_service.config import Settings
from chat_service.main import create_app
create_app(Settings(_env_file=None, otel_exporter_otlp_endpoint="http://127.0.0.1:4318"))
assert trace.get_tracer_provider() is mine
"""
    subprocess.run([sys.executable, "-c", program], timeout=60, check=True)
