"""What the store does, for OpenTelemetry: a span for each thing asked of it, and figures.

Nothing of it unless the process has configured OpenTelemetry. Names follow the semantic conventions for databases; what
those have no name for begins with ``session_store.``. No message and no credential is in any of it.
"""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeAlias, TypeVar

from opentelemetry import metrics, trace
from opentelemetry.metrics import Counter, Histogram, MeterProvider, UpDownCounter
from opentelemetry.trace import SpanKind, Status, StatusCode, TracerProvider

from .errors import SessionError

__all__ = [
    "READ",
    "WRITTEN",
    "Attributes",
    "add",
    "count_command",
    "is_configured",
    "is_measured",
    "operation",
    "record",
    "shift",
    "traced",
]

Attributes: TypeAlias = Mapping[str, str | int]
_Class = TypeVar("_Class", bound=type)

_NAME = "mongodb_session_manager"
_OF_THE_API = ("opentelemetry.trace", "opentelemetry.metrics")
_SECONDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10)
"""The limits of buckets that the conventions advise for ``db.client.operation.duration``."""

_HISTOGRAMS = {
    "db.client.operation.duration": "Commands to the database.",
    "db.client.connection.create_time": "Making a connection.",
    "db.client.connection.wait_time": "Waiting for a connection of the pool.",
    "db.client.connection.use_time": "Between borrowing a connection and returning it.",
    "session_store.operation.duration": "What was asked of the store, with all its commands.",
    "session_store.turn.wait_time": "Waiting for a turn that somebody else had.",
}
_COUNTERS = {
    "db.client.connection.timeouts": ("{timeout}", "Waits for a connection that ended without one."),
    "session_store.io": ("By", "Stored values written and read."),
    "session_store.refusals": ("{refusal}", "Changes that were refused."),
    "session_store.spills": ("{spill}", "Older messages moved out of the document."),
    "session_store.repairs": ("{repair}", "What a crash left, mended."),
    "session_store.outages": ("{outage}", "What was recorded is held until the database can be reached again."),
}
_LEVELS = {
    "db.client.connection.count": ("{connection}", "Connections by state."),
    "db.client.connection.max": ("{connection}", "Connections at most."),
    "db.client.connection.idle.min": ("{connection}", "Connections that are kept open."),
    "db.client.connection.pending_requests": ("{request}", "Who waits for a connection."),
}


READ = {"session_store.io.direction": "read"}
WRITTEN = {"session_store.io.direction": "write"}
"""Attributes of ``session_store.io``."""


class _Commands:
    """How many commands an operation has sent."""

    def __init__(self) -> None:
        self.sent = 0


_running: ContextVar[_Commands | None] = ContextVar("running_operation", default=None)


class _Instruments:
    """The instruments of one provider."""

    def __init__(self, provider: MeterProvider) -> None:
        meter = metrics.get_meter(_NAME, meter_provider=provider)
        self.histograms: dict[str, Histogram] = {
            name: meter.create_histogram(name, "s", text, explicit_bucket_boundaries_advisory=_SECONDS)
            for name, text in _HISTOGRAMS.items()
        }
        self.counters: dict[str, Counter] = {
            name: meter.create_counter(name, unit, text) for name, (unit, text) in _COUNTERS.items()
        }
        self.levels: dict[str, UpDownCounter] = {
            name: meter.create_up_down_counter(name, unit, text) for name, (unit, text) in _LEVELS.items()
        }


# By provider: one that is set later than the first operation counts as well.
_instruments = functools.lru_cache(maxsize=1)(_Instruments)


@functools.lru_cache(maxsize=1)
def _tracer(provider: TracerProvider) -> trace.Tracer:
    return provider.get_tracer(_NAME)


def _is_real(provider: object) -> bool:
    return not type(provider).__module__.startswith(_OF_THE_API)


def is_configured() -> bool:
    """Whether the process has a provider of traces or of metrics."""
    return _is_real(trace.get_tracer_provider()) or is_measured()


def is_measured() -> bool:
    """Whether the process has a provider of metrics."""
    return _is_real(metrics.get_meter_provider())


def record(name: str, seconds: float, attributes: Attributes | None = None) -> None:
    """Note how long something took.

    Args:
        name: Of a histogram.
        seconds: How long.
        attributes: Of few values.
    """
    if is_measured():
        _instruments(metrics.get_meter_provider()).histograms[name].record(seconds, attributes)


def add(name: str, amount: int = 1, attributes: Attributes | None = None) -> None:
    """Count something.

    Args:
        name: Of a counter.
        amount: How much; nothing is noted of 0.
        attributes: Of few values.
    """
    if amount and is_measured():
        _instruments(metrics.get_meter_provider()).counters[name].add(amount, attributes)


def shift(name: str, amount: int, attributes: Attributes) -> None:
    """Note that there is more, or less, of something than before.

    Args:
        name: Of a level.
        amount: How much more; below 0, less.
        attributes: Of few values.
    """
    if is_measured():
        _instruments(metrics.get_meter_provider()).levels[name].add(amount, attributes)


def count_command() -> None:
    """A command belongs to the operation that runs here, if one does."""
    running = _running.get()
    if running is not None:
        running.sent += 1


@contextmanager
def operation(name: str, database: Callable[[], Attributes], session_id: str | None = None) -> Iterator[None]:
    """A span around something that is asked of a store, and its figures.

    Args:
        name: What is asked.
        database: Its system, namespace, collection and server; which that is may only be known in the end.
        session_id: Of which session; only the span says that.
    """
    named = {**database(), "db.operation.name": name}
    about = {} if session_id is None else {"gen_ai.conversation.id": session_id.encode(errors="replace").decode()}
    tracer = _tracer(trace.get_tracer_provider())
    commands = _Commands()
    token = _running.set(commands)
    began = time.perf_counter()
    with tracer.start_as_current_span(
        f"{name} {named.get('db.collection.name', '')}".rstrip(),
        kind=SpanKind.CLIENT,
        attributes={**named, **about},
        record_exception=False,  # whose text may quote what was said, or name hosts
        set_status_on_exception=False,
    ) as span:
        try:
            yield
        except Exception as error:
            named["error.type"] = type(error).__qualname__
            span.set_status(Status(StatusCode.ERROR))
            if isinstance(error, SessionError):
                add("session_store.refusals", 1, named)
            raise
        finally:
            _running.reset(token)
            named |= database()
            span.set_attributes(named)
            if commands.sent:
                span.set_attribute("session_store.commands", commands.sent)
            record("session_store.operation.duration", time.perf_counter() - began, named)


def traced(attributes_of: Callable[[Any], Attributes], *methods: str) -> Callable[[_Class], _Class]:
    """Let methods of a class be operations; what one of them calls of the others is a part of it.

    Args:
        attributes_of: Those of the database, from the object.
        *methods: Which; without a name all public ones.
    """

    def decorated(kind: _Class) -> _Class:
        public = (name for name in dir(kind) if not name.startswith("_") and callable(getattr(kind, name)))
        for name in methods or public:
            setattr(kind, name, _as_operation(name, getattr(kind, name), attributes_of))
        return kind

    return decorated


def _as_operation(
    name: str, method: Callable[..., Any], attributes_of: Callable[[Any], Attributes]
) -> Callable[..., Any]:
    is_of_a_session = [*inspect.signature(method).parameters][1:2] == ["session_id"]

    @functools.wraps(method)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        if _running.get() is not None or not is_configured():
            return method(self, *args, **kwargs)
        session_id = args[0] if args else kwargs.get("session_id")
        about = session_id if is_of_a_session and isinstance(session_id, str) else None
        with operation(name, functools.partial(attributes_of, self), about):
            return method(self, *args, **kwargs)

    return call
