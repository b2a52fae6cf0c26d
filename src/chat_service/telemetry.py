"""Traces and figures by OpenTelemetry. Nothing that is said is in them.

A request is a trace, with its agent, model and tools below, and what they asked of the database. The figures are those
of the session store; the service's own are at ``/metrics``.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI

from .config import ConfigurationError

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter

__all__ = ["flush", "instrument", "without_content"]

logger = logging.getLogger(__name__)

_FIGURES_SECONDS = 2.0
"""What sending them may take; an end of the process waits for that."""

_PACKAGES = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http", "opentelemetry.instrumentation.fastapi")
_QUIET = "livez,readyz,health,metrics,static/"  # asked for every few seconds, by programs

# What carries what people and models say: addresses with their query, messages, instructions, a tool's arguments.
_SAYING = ("http.url", "http.target", "url.full", "url.query", "gen_ai.system_instructions", "system_prompt")
_COUNTED = ("strands.telemetry.metrics", "opentelemetry.instrumentation.fastapi")
_SAYING_ENDS = (".messages", ".arguments", ".result", ".definitions", ".content", ".message", ".stacktrace")


def instrument(app: FastAPI, endpoint: str | None) -> None:
    """Send traces of an application and figures of its store, if there is somewhere to send them.

    A provider that the process has already, from ``opentelemetry-instrument`` for example, is used as it is.

    Args:
        app: The application; nothing of it runs yet.
        endpoint: Where to send them by OTLP over HTTP; to its paths ``/v1/traces`` and ``/v1/metrics``.

    Raises:
        ConfigurationError: A package is missing.
    """
    if not endpoint:
        return
    if not all(map(_is_installed, _PACKAGES)):
        raise ConfigurationError(
            "OTEL_EXPORTER_OTLP_ENDPOINT: traces need packages that are not installed. "
            "Install mongodb-session-manager[telemetry], or remove it."
        )
    from opentelemetry import metrics, trace
    from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.trace import TracerProvider

    if not isinstance(trace.get_tracer_provider(), TracerProvider):
        _send_traces(endpoint)
    if not isinstance(metrics.get_meter_provider(), MeterProvider):
        _send_figures(endpoint)
    # Without the exclusion each part of a streamed answer has a span of its own.
    FastAPIInstrumentor.instrument_app(app, excluded_urls=_QUIET, exclude_spans=["receive", "send"])


def flush(endpoint: str | None, seconds: float = 2.0) -> None:
    """Send what has not been sent yet, traces and figures at once, as far as the time allows. Blocks.

    Args:
        endpoint: As for :func:`instrument`.
        seconds: What it may take.
    """
    if endpoint:
        from opentelemetry import metrics, trace

        providers = (trace.get_tracer_provider(), metrics.get_meter_provider())
        senders = [sender for each in providers if (sender := getattr(each, "force_flush", None))]
        # Their own time limits do not hold while they try again; a thread that is left ends with the process.
        threads = [threading.Thread(target=_sent, args=(each, int(seconds * 1000)), daemon=True) for each in senders]
        until = time.monotonic() + seconds
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))


def _sent(sender: Callable[[int], object], milliseconds: int) -> None:
    try:
        sender(milliseconds)
    except Exception as error:  # of figures it raises whatever it meets
        logger.warning("error=<%s> | what was measured last was not sent", type(error).__name__)


def _is_installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:  # not even what is around it
        return False


def _send_traces(endpoint: str) -> None:
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=_resource(), shutdown_on_exit=False)  # a lost collector must not hold up an end
    exporter = without_content(OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces"))
    provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)


def _send_figures(endpoint: str) -> None:
    from opentelemetry import metrics
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
    from opentelemetry.sdk.metrics.view import DropAggregation, View

    exporter = OTLPMetricExporter(endpoint=f"{endpoint.rstrip('/')}/v1/metrics", timeout=_FIGURES_SECONDS)
    reader = PeriodicExportingMetricReader(exporter)
    # Those of others name tools and their calls, or count what is at /metrics already.
    others = [View(meter_name=name, instrument_name="*", aggregation=DropAggregation()) for name in _COUNTED]
    metrics.set_meter_provider(MeterProvider([reader], resource=_resource(), shutdown_on_exit=False, views=others))


def _resource() -> Resource:
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource

    return Resource.create({SERVICE_NAME: os.environ.get("OTEL_SERVICE_NAME", "chat-service")})


def without_content(exporter: SpanExporter) -> SpanExporter:
    """An exporter that passes spans on without what people and models say.

    Args:
        exporter: What sends them.
    """
    from opentelemetry.sdk.trace import Event, ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
    from opentelemetry.trace import Status

    def cleaned(span: ReadableSpan) -> ReadableSpan:
        return ReadableSpan(
            name=span.name,
            context=span.context,
            parent=span.parent,
            resource=span.resource,
            attributes=_silent(span.attributes),
            events=[Event(event.name, _silent(event.attributes), event.timestamp) for event in span.events],
            links=span.links,
            kind=span.kind,
            status=Status(span.status.status_code),  # its description quotes errors
            start_time=span.start_time,
            end_time=span.end_time,
            instrumentation_scope=span.instrumentation_scope,
        )

    class WithoutContent(SpanExporter):
        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            return exporter.export([cleaned(span) for span in spans])

        def shutdown(self) -> None:
            exporter.shutdown()

        def force_flush(self, timeout_millis: int = 30_000) -> bool:
            return exporter.force_flush(timeout_millis)

    return WithoutContent()


def _silent(attributes: Mapping[str, Any] | None) -> dict[str, Any]:
    return {
        name: value
        for name, value in (attributes or {}).items()
        if name not in (*_SAYING, "content", "message") and not name.endswith(_SAYING_ENDS)
    }
