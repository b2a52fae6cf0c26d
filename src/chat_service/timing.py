"""How long an answer takes, kept with its messages: not every model's provider tells."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

from strands import Agent
from strands.hooks import HookOrder, MessageAddedEvent

__all__ = ["Timing", "timings_of"]

_FIELD = "timings"


class Timing:
    """Measures one turn from its question on.

    Attributes:
        time_to_first_token_ms: Until the first word; ``None`` before.
    """

    def __init__(self) -> None:
        """Begin to measure."""
        self._began = self._last = time.perf_counter()
        self._has_words = False
        self.time_to_first_token_ms: float | None = None

    def attach(self, agent: Agent) -> None:
        """Keep with each message of the answer how long it took, before the session's own callback stores it."""
        agent.hooks.add_callback(MessageAddedEvent, self._keep, order=HookOrder.SDK_FIRST)

    def spoke(self) -> None:
        """There is a word of the answer."""
        self._has_words = True
        if self.time_to_first_token_ms is None:
            self.time_to_first_token_ms = self.milliseconds()

    def milliseconds(self) -> float:
        """How long it has taken until now."""
        return round((time.perf_counter() - self._began) * 1000, 1)

    async def _keep(self, event: MessageAddedEvent) -> None:
        now, before = time.perf_counter(), self._last
        self._last = now
        message: Any = event.message
        if message["role"] != "assistant":
            return
        timings = {"latency_ms": round((now - before) * 1000, 1)}
        if self._has_words and self.time_to_first_token_ms is not None:
            timings["time_to_first_token_ms"] = self.time_to_first_token_ms
        message.setdefault("metadata", {}).setdefault("custom", {})[_FIELD] = timings


def timings_of(message: Mapping[str, Any]) -> dict[str, float]:
    """``latency_ms`` and ``time_to_first_token_ms`` as they are kept with a message, or as its provider has told."""
    metadata = _object(message, "metadata")
    told, kept = _object(metadata, "metrics"), _object(_object(metadata, "custom"), _FIELD)
    values = {
        "latency_ms": told.get("latencyMs") or kept.get("latency_ms"),
        "time_to_first_token_ms": kept.get("time_to_first_token_ms", told.get("timeToFirstByteMs")),
    }
    return {
        name: float(value) for name, value in values.items() if isinstance(value, int | float) and math.isfinite(value)
    }


def _object(value: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A field that is an object; other programs may have left anything there."""
    found = value.get(name)
    return found if isinstance(found, Mapping) else {}
