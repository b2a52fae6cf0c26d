"""The service in figures, for Prometheus. Labels have few values: no session, no caller and no text is among them."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, multiprocess
from prometheus_client.exposition import choose_encoder

from .exceptions import explain
from .rag.passages import Retrieved

__all__ = ["ServiceMetrics", "TurnMetrics"]

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 60, 120, 300)
_STAGE_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20)
_SEVERAL_PROCESSES = "PROMETHEUS_MULTIPROC_DIR"


class ServiceMetrics:
    """The figures of one application. With ``PROMETHEUS_MULTIPROC_DIR``, of all its processes on this machine."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        self.requests = Counter("chat_requests", "Questions by how they ended.", ["outcome"], registry=registry)
        self.duration = Histogram(
            "chat_duration_seconds", "From the question to the end of its answer.", buckets=_SECONDS, registry=registry
        )
        self.first_token = Histogram(
            "chat_time_to_first_token_seconds",
            "From the question to the first word of its answer.",
            buckets=_SECONDS,
            registry=registry,
        )
        self.tokens = Counter("chat_tokens", "Tokens of models, input and output.", ["direction"], registry=registry)
        self.retrieval = Histogram(
            "chat_retrieval_seconds",
            "Searches of the documents by their stages, and as a whole.",
            ["stage"],
            buckets=_STAGE_SECONDS,
            registry=registry,
        )
        self.retrievals = Counter(
            "chat_retrievals", "Searches of the documents by what came of them.", ["outcome"], registry=registry
        )
        self.active = self._gauge("active_sessions", "Sessions in which an answer is being written.")
        self.queued = self._gauge("chat_turns_queued", "Questions that wait for their turn to begin.")
        self._database_up = Gauge(
            "database_up",
            "Whether the database answered when it was last asked.",
            registry=registry,
            multiprocess_mode="mostrecent",
        )
        self._connections = {
            "active_connections": self._gauge("database_connections_active", "Connections in use."),
            "total_connections": self._gauge("database_connections", "Open connections."),
            "maxPoolSize": self._gauge("database_connections_max", "Connections at most."),
        }
        for direction in ("input", "output"):
            self.tokens.labels(direction)
        for outcome in ("complete", "stopped", "session_busy", "session_conflict", "model_unavailable", "agent_error"):
            self.requests.labels(outcome)  # a counter that is absent until it counts cannot be watched

        for outcome in ("found", "unsupported", "failed"):
            self.retrievals.labels(outcome)

    def asked(self) -> TurnMetrics:
        """Somebody asks a question."""
        return TurnMetrics(self)

    def observe_pool(self, stats: Mapping[str, Any]) -> None:
        """Take over the figures of the connection pool.

        Args:
            stats: As a factory of session managers gives them.
        """
        self._database_up.set(stats.get("status") == "connected")
        figures = {**stats, **stats.get("pool_config", {})}
        for name, gauge in self._connections.items():
            gauge.set(figures.get(name, 0))

    def written(self, accept: str) -> tuple[bytes, str]:
        """The figures as text.

        Args:
            accept: The request's header, which chooses between Prometheus' own form and OpenMetrics.

        Returns:
            The text and its media type.
        """
        write, media_type = choose_encoder(accept)
        registry = self._registry
        if _SEVERAL_PROCESSES in os.environ:
            registry = CollectorRegistry()
            multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return write(registry), media_type

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(name, text, registry=self._registry, multiprocess_mode="livesum")


class TurnMetrics:
    """What is measured of one question, from its arrival on. It ends once: what is said of it later counts no more."""

    def __init__(self, metrics: ServiceMetrics) -> None:
        """Begin to measure: the question waits."""
        self._metrics = metrics
        self._began = time.perf_counter()
        self._has_spoken = False
        self._counted_in: Gauge | None = None
        self._count_in(metrics.queued)

    def started(self) -> None:
        """The agent is asked."""
        if self._waits():
            self._count_in(self._metrics.active)

    def spoke(self) -> None:
        """There is a word of the answer. Only the first counts."""
        if not self._has_spoken:
            self._has_spoken = True
            self._metrics.first_token.observe(self._seconds())

    def retrieved(self, found: Retrieved | None) -> None:
        """The documents were searched.

        Args:
            found: ``None`` when they could not be.
        """
        supported = found and found.is_supported and found.passages
        self._metrics.retrievals.labels("failed" if found is None else "found" if supported else "unsupported").inc()
        for stage, milliseconds in (found.timings if found else {}).items():
            self._metrics.retrieval.labels(stage).observe(milliseconds / 1000)

    def ended(self, ending: Mapping[str, Any]) -> None:
        """The turn is over.

        Args:
            ending: Its last event.
        """
        if self._counted_in is None:
            return
        self._count_in(None)
        self._metrics.duration.observe(self._seconds())
        self._metrics.requests.labels(_outcome(ending)).inc()
        usage = ending.get("metadata", {}).get("usage", {})
        for direction in ("input", "output"):
            self._metrics.tokens.labels(direction).inc(usage.get(f"{direction}_tokens", 0))

    def not_started(self, why: BaseException | None) -> None:
        """Nothing was begun, unless :meth:`started` has said that it was.

        Args:
            why: The refusal; ``None`` where the answer to the same request, sent before, is the answer to this one.
        """
        if self._waits():
            self._count_in(None)
            self._metrics.requests.labels(_reason(why)).inc()

    def _waits(self) -> bool:
        return self._counted_in is self._metrics.queued

    def _count_in(self, gauge: Gauge | None) -> None:
        if self._counted_in is not None:
            self._counted_in.dec()
        if gauge is not None:
            gauge.inc()
        self._counted_in = gauge

    def _seconds(self) -> float:
        return time.perf_counter() - self._began


def _outcome(ending: Mapping[str, Any]) -> str:
    if ending["event"] == "error":
        return str(ending["code"])
    return "complete" if ending["event"] == "response_complete" else "stopped"


def _reason(why: BaseException | None) -> str:
    if why is None:
        return "repeated"
    return explain(why).code if isinstance(why, Exception) else "gone"  # a client that did not wait
