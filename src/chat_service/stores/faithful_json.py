r"""Stored values as ``jsonb`` and back, exactly. No I/O.

The library hands over what BSON can hold; ``jsonb`` can hold less, and sorts the keys of an object. What it would
refuse or change is put into an object with one key that begins with ``$``, which no stored value has:

    {"$text": "\"a\\u0000b\""}      text with a NUL, as JSON
    {"$float": "1e+300"}           a float that is not finite, negative zero, or that would come back as an integer
    {"$bytes": "<base64>"}
    {"$bson": "<base64>"}          a value of MongoDB's own types, as the BSON of {"v": value}

An object whose keys are in another order than ``jsonb`` keeps them in has one key more: ``{"$order": [1, 0], …}`` says
which of the sorted keys comes first, second, and so on. Everything else is plain and can be queried.
"""

from __future__ import annotations

import json
import re
from base64 import b64decode, b64encode
from collections.abc import Callable
from typing import Any

import bson

__all__ = ["Fields", "dumps", "loads"]

_ORDER = "$order"
_PLAIN_FLOAT = re.compile(r"-?[0-9]+\.[0-9]+")


class Fields(dict[str, Any]):
    """Fields that a statement merges into others: their order is not kept."""


def dumps(value: Any) -> str:
    """The text of a stored value that ``jsonb`` holds without loss.

    Args:
        value: As the library's codec returns it.
    """
    merged = isinstance(value, Fields)
    tagged = {name: _tagged(item) for name, item in value.items()} if merged else _tagged(value)
    return json.dumps(tagged, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def loads(text: str) -> Any:
    """The stored value that :func:`dumps` was given."""
    return json.loads(text, object_hook=_untagged)


def _tagged(value: Any) -> Any:
    kind = type(value)
    if kind is str:
        return {"$text": json.dumps(value)} if "\0" in value else value
    if value is None or kind is bool or kind is int:
        return value
    if kind is float:
        text = repr(value)
        return value if _PLAIN_FLOAT.fullmatch(text) and text != "-0.0" else {"$float": text}
    if kind is bytes:
        return {"$bytes": _base64(value)}
    if kind is list:
        return [_tagged(item) for item in value]
    if kind is dict and not any(key.startswith("$") or "\0" in key for key in value):
        return _ordered(value)
    return {"$bson": _base64(bson.encode({"v": value}))}


def _ordered(value: dict[str, Any]) -> dict[str, Any]:
    tagged = {key: _tagged(item) for key, item in value.items()}
    kept = _as_kept(value)
    if list(value) != kept:
        places = {key: place for place, key in enumerate(kept)}
        tagged[_ORDER] = [places[key] for key in value]
    return tagged


def _as_kept(keys: Any) -> list[str]:
    """Keys in the order in which ``jsonb`` keeps them: by length in bytes, then by bytes."""
    return sorted(keys, key=lambda key: (len(encoded := key.encode()), encoded))


def _untagged(node: dict[str, Any]) -> Any:
    if len(node) == 1:
        [(name, content)] = node.items()
        return _READERS[name](content) if name in _READERS else node
    if _ORDER in node:
        kept = _as_kept(node.keys() - {_ORDER})
        return {kept[place]: node[kept[place]] for place in node[_ORDER]}
    return node


def _base64(value: bytes) -> str:
    return b64encode(value).decode("ascii")


_READERS: dict[str, Callable[[str], Any]] = {
    "$text": json.loads,
    "$float": float,
    "$bytes": lambda content: b64decode(content, validate=True),
    "$bson": lambda content: bson.decode(b64decode(content, validate=True))["v"],
}
