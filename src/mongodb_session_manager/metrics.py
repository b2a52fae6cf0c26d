"""What a conversation has cost, as numbers: pure functions over the SDK's counters.

The SDK counts for as long as an ``Agent`` object lives; a stored session outlives many of them. So differences are
added up: what an agent counted since its last flush goes into the stored ``totals``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from strands.types.agent import LocalAgent

__all__ = ["Counters", "counters", "difference", "summary", "turn_metrics"]

Counters: TypeAlias = dict[str, int]
"""Totals by their stored name: tokens, milliseconds, calls."""

_USAGE = {
    "input_tokens": "inputTokens",
    "output_tokens": "outputTokens",
    "total_tokens": "totalTokens",
    "cache_read_input_tokens": "cacheReadInputTokens",
    "cache_write_input_tokens": "cacheWriteInputTokens",
}


def counters(agent: LocalAgent, model_calls: int) -> Counters:
    """What the agent's own counters say now.

    Args:
        agent: Its ``event_loop_metrics`` are read.
        model_calls: Answers of the model seen so far; the SDK itself does not count them.

    Returns:
        Totals by their stored name, zeros included.
    """
    measured = agent.event_loop_metrics
    usage: Mapping[str, Any] = measured.accumulated_usage
    totals = {name: int(usage.get(key) or 0) for name, key in _USAGE.items()}
    totals["latency_ms"] = int(measured.accumulated_metrics.get("latencyMs") or 0)
    totals["model_calls"] = model_calls
    totals["tool_calls"] = sum(tool.call_count for tool in list(measured.tool_metrics.values()))
    return totals


def difference(now: Counters, before: Counters) -> Counters:
    """What was counted between two readings, without the zeros."""
    return {name: value - before.get(name, 0) for name, value in now.items() if value != before.get(name, 0)}


def turn_metrics(counted: Counters) -> dict[str, Any]:
    """The ``event_loop_metrics`` of a turn's last message, under the SDK's names.

    Args:
        counted: What the turn added to the totals.

    Returns:
        ``{"accumulated_usage": {…}, "accumulated_metrics": {"latencyMs"}, "model_calls", "tool_calls"}``.
    """
    usage = {key: counted[name] for name, key in _USAGE.items() if counted.get(name)}
    return {
        "accumulated_usage": usage,
        "accumulated_metrics": {"latencyMs": counted.get("latency_ms", 0)},
        "model_calls": counted.get("model_calls", 0),
        "tool_calls": counted.get("tool_calls", 0),
    }


def summary(agent_id: str, model: str | None, messages: int, totals: Mapping[str, Any]) -> dict[str, Any]:
    """A session's metrics as ``get_metrics_summary`` answers them.

    Args:
        agent_id: Whose they are.
        model: The model's id, if known.
        messages: Length of the history.
        totals: The stored totals.

    Returns:
        Sums over the life of the session: tokens, and milliseconds per model call as ``average_latency_ms``.
    """
    calls = int(totals.get("model_calls") or 0)
    latency = int(totals.get("latency_ms") or 0)
    sums = {f"total_{name.removeprefix('total_')}": int(totals.get(name) or 0) for name in _USAGE}
    return {
        "agent_id": agent_id,
        "model": model,
        "total_messages": messages,
        **sums,
        "total_model_calls": calls,
        "total_tool_calls": int(totals.get("tool_calls") or 0),
        "total_latency_ms": latency,
        "average_latency_ms": latency / calls if calls else 0,
    }
