"""Messages of a bidirectional agent that only keep the place of what is still being said. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from strands.types.content import Message

__all__ = ["finished", "is_unfinished"]


def is_unfinished(message: Message) -> bool:
    """Whether a message of a bidirectional agent only keeps the place of what is still being said."""
    return bool(_note(message).get("status") == "pending")


def finished(message: Message) -> Message:
    """A message whose end was lost with its process, as the SDK leaves one whose end was lost with its connection."""
    if not is_unfinished(message):
        return message
    note = {**_note(message), "status": "incomplete"}
    text = f"[{str(note.get('kind', 'message')).capitalize()} unavailable.]"
    return {**message, "content": [{"text": text}], "metadata": {"custom": {"bidi": note}}}


def _note(message: Message) -> dict[str, Any]:
    note = message.get("metadata", {}).get("custom", {}).get("bidi")
    return dict(note) if isinstance(note, Mapping) else {}
