"""Cutting a history: where it may be cut, and what an agent remembers afterwards. Pure functions over stored values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .codec import decode, encode

__all__ = ["cut_data", "looked_at", "refuse_cut"]

_NO_INTERRUPT: dict[str, Any] = {"interrupts": {}, "context": {}, "activated": False}


def looked_at(data: Mapping[str, Any], count: int, position: int) -> range:
    """The messages that decide about a cut.

    Args:
        data: ``agent_data`` as stored.
        count: Length of the history.
        position: How many messages are to be left.
    """
    removed = _removed(decode(data.get("conversation_manager_state") or {}))
    kept = count - removed if removed >= position else 1
    return range(max(0, position - max(1, kept)), position)


def refuse_cut(position: int, count: int, messages: Mapping[int, Mapping[str, Any]]) -> None:
    """Raise unless a history can be cut there.

    Args:
        position: How many messages are to be left.
        count: Length of the history.
        messages: Stored messages by position, those that :func:`looked_at` names. What was said may be left out.

    Raises:
        ValueError: There is no such position, or it lies between a tool use and its result.
    """
    if not 0 <= position <= count:
        raise ValueError(f"there are {count} messages: the position is 0 to {count}, not {position}")
    if position < count and _has(messages.get(position - 1, {}), "toolUse"):
        raise ValueError(
            f"position {position} lies between a tool use and its result; take {position - 1} or {position + 1}"
        )


def cut_data(
    data: Mapping[str, Any], count: int, position: int, messages: Mapping[int, Mapping[str, Any]]
) -> dict[str, Any]:
    """What ``agent_data`` is after a cut.

    An interrupt has nothing left to hang on, and a stateful model remembers what is cut off: both are dropped. Where
    the conversation manager had left out all that is left, as many messages as it had kept are given back, from a
    question on, and its summary of more than that is dropped.

    Args:
        data: ``agent_data`` as stored. Not changed.
        count: Length of the history before.
        position: How many messages are left.
        messages: As for :func:`refuse_cut`.
    """
    if position == count:
        return dict(data)
    changed = dict(data)
    internal = decode(data.get("_internal_state") or {})
    forgotten = {"interrupt_state": _NO_INTERRUPT, "model_state": {}}
    changed["_internal_state"] = encode({name: forgotten.get(name, value) for name, value in internal.items()})
    manager = decode(data.get("conversation_manager_state") or {})
    if _removed(manager) > 0 and _removed(manager) >= position:
        manager["removed_message_count"] = _beginning(looked_at(data, count, position), messages)
        if "summary_message" in manager:
            manager["summary_message"] = None
        changed["conversation_manager_state"] = encode(manager)
    return changed


def _beginning(window: range, messages: Mapping[int, Mapping[str, Any]]) -> int:
    """The first question in a window, or the window's own beginning."""
    return next((position for position in window if _is_question(messages.get(position, {}))), window.start)


def _is_question(stored: Mapping[str, Any]) -> bool:
    message = stored.get("message")
    return isinstance(message, Mapping) and message.get("role") == "user" and not _has(stored, "toolResult")


def _has(stored: Mapping[str, Any], kind: str) -> bool:
    message = stored.get("message")
    content = message.get("content") if isinstance(message, Mapping) else None
    return isinstance(content, list) and any(isinstance(block, dict) and kind in block for block in content)


def _removed(manager: Mapping[str, Any]) -> int:
    removed = manager.get("removed_message_count")
    return int(removed) if isinstance(removed, (int, float)) else 0
