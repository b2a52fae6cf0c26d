"""Traces by OpenTelemetry: of each request, with its agent, model and tools below. Nothing that is said is in them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI

from .config import ConfigurationError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter

__all__ = ["flush", "instrument", "without_content"]

_PACKAGES = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http", "opentelemetry.instrumentation.fastapi")
_QUIET = "livez,readyz,health,metrics,static/"  # asked for every few seconds, by programs

# What carries what people and models say: addresses with their query, messages, instructions, a tool's arguments.
_SAYING = ("http.url", "http.target", "url.full", "url.query", "gen_ai.system_instructions", "system_prompt")
_SAYING_ENDS = (".messages", ".arguments", ".result", ".definitions", ".content", ".message", ".stacktrace")


def instrument(app: FastAPI, endpoint: str | None) -> None:
    """Send traces of an application, if there is somewhere to send them.

    A tracer provider that the process has already, from ``opentelemetry-instrument`` for example, is used as it is.

    Args:
        app: The application; nothing of it runs yet.
        endpoint: Where to send them by OTLP over HTTP; to its path ``/v1/traces``.

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
    from opentelemetry import trace
    from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
    from opentelemetry.sdk.trace import TracerProvider

    if not isinstance(trace.get_tracer_provider(), TracerProvider):
        _send_to(endpoint)
    # Without the exclusion each part of a streamed answer has a span of its own.
    FastAPIInstrumentor.instrument_app(app, excluded_urls=_QUIET, exclude_spans=["receive", "send"])


def flush(endpoint: str | None, seconds: float = 2.0) -> None:
    """Send what has not been sent yet, as far as the time allows. Blocks.

    Args:
        endpoint: As for :func:`instrument`.
        seconds: What it may take.
    """
    if endpoint:
        from opentelemetry import trace

        sender = getattr(trace.get_tracer_provider(), "force_flush", None)
        if sender is not None:
            sender(int(seconds * 1000))


def _is_installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:  # not even what is around it
        return False


def _send_to(endpoint: str) -> None:
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    resource = Resource.create({SERVICE_NAME: os.environ.get("OTEL_SERVICE_NAME", "chat-service")})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)  # a lost collector must not hold up an end
    exporter = without_content(OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces"))
    provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)


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
