"""Large values of a message, taken out of it and put back. Pure functions over stored values.

A message that is larger than ``LARGEST_MESSAGE`` keeps its place in the history; what is large in it lies elsewhere::

    { message: { role: "user", content: [ { image: { format: "png", source: { bytes: null } } } ] },
      external: [ { path: ["message", "content", 0, "image", "source", "bytes"], … } ], … }

Text and bytes above the limit are taken out one by one, so that a picture that is sent again is the same value again.
If what is left is still too large, the whole content is taken out after them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias, cast

from strands.types.content import Message

from .codec import size

__all__ = ["LARGEST_MESSAGE", "Path", "put_back", "take_out", "without_binary"]

LARGEST_MESSAGE = 64 * 1024
"""Bytes of a message that stays whole in its place."""

Path: TypeAlias = list[str | int]
"""Keys and indexes from the stored message to a value in it."""

_FIELDS = ("message", "redact_message")
_BINARY = {"audio", "document", "image", "video"}


def take_out(stored: Mapping[str, Any]) -> tuple[dict[str, Any], list[tuple[Path, Any]]]:
    """A stored message without what is large in it.

    Args:
        stored: A stored message, or the fields of one that an update replaces. Not changed.

    Returns:
        The message with ``None`` in the place of what was taken out (``[]`` for a whole content), and the values with
        their paths, in the order in which they were taken out.
    """
    if size(stored) <= LARGEST_MESSAGE:
        return dict(stored), []
    taken: list[tuple[Path, Any]] = []
    rest = {name: _without_large(value, [name], taken) if name in _FIELDS else value for name, value in stored.items()}
    for name in _FIELDS:
        if name in rest and size(rest[name]) > LARGEST_MESSAGE and rest[name].get("content"):
            taken.append(([name, "content"], rest[name]["content"]))
            rest[name] = {**rest[name], "content": []}
    return rest, taken


def put_back(stored: dict[str, Any], values: Sequence[tuple[Sequence[str | int], Any]]) -> None:
    """Set values at their paths again, in place.

    Args:
        stored: What :func:`take_out` left.
        values: What it took out, in the same order.
    """
    for path, value in reversed(values):
        *way, last = path
        place: Any = stored
        for key in way:
            place = place[key]
        place[last] = value


def without_binary(message: Message) -> Message:
    """A message with a note in the place of each large picture, document, video or sound: what there was of it."""
    return cast(Message, {**message, "content": [_noted(block) for block in message["content"]]})


def _noted(block: Any) -> Any:
    if "toolResult" in block:
        result = block["toolResult"]
        return {**block, "toolResult": {**result, "content": [_noted(each) for each in result["content"]]}}
    for kind in _BINARY & block.keys():
        content = block[kind].get("source", {}).get("bytes", b"")
        if len(content) > LARGEST_MESSAGE:
            return {
                "text": f"[{kind}, {block[kind].get('format', 'unknown format')}, {len(content):,} bytes: not stored]"
            }
    return block


def _without_large(value: Any, path: Path, taken: list[tuple[Path, Any]]) -> Any:
    if isinstance(value, (str, bytes)):
        # Text has at least as many bytes as characters.
        if len(value) > LARGEST_MESSAGE:
            taken.append((path, value))
            return None
        return value
    if isinstance(value, (dict, list)):
        copied = {key: _without_large(each, [*path, key], taken) for key, each in _items(value)}
        return copied if isinstance(value, dict) else list(copied.values())
    return value


def _items(value: dict[str, Any] | list[Any]) -> Iterator[tuple[Any, Any]]:
    return iter(value.items()) if isinstance(value, dict) else enumerate(value)
