r"""What an agent may hand over, as values that MongoDB stores exactly.

`encode` turns a value into one that BSON holds as it is and that a MongoDB server (5.0 or newer) accepts as the value
in an insert, `$set`, `$push`, `$setOnInsert`, with or without an upsert; `decode` gives back what was handed over. Both
are pure, and both return a deep copy.

Nearly everything is stored plain, so that it can be read and queried: text, bytes, numbers, lists, dictionaries; dots
in keys, empty keys and NULs in text included. What BSON would refuse or change is wrapped, that value alone:

    {"__json__": "<JSON text in ASCII>"}

These are wrapped: integers beyond 64 bits; text with lone surrogates; datetimes (BSON cuts them to milliseconds and
drops the zone); dictionaries with keys that start with `$`, hold a NUL or a lone surrogate, or are not text; what is
nested deeper than `MAX_LEVELS`; and a dictionary that looks like this tag, or like the SDK's own encoding of bytes.
In that text, what JSON itself lacks is an object with one key that starts with `$`:

    {"$int": "-0x1f"}                           an integer beyond 64 bits
    {"$float": "nan"}                           a float that is no finite number
    {"$bytes": "<base64>"}
    {"$str": ["\ud83d", "\ude00"]}                text whose surrogates JSON would join: to be concatenated
    {"$datetime": ["2024-10-27T02:30:00", 3600.0, "Europe/Berlin", 1]}
                                                local time, offset in seconds, name of the zone (each or null), fold
    {"$bson": "<base64>"}                       a value of the driver's own types, as the BSON of {"v": value}
    {"$dict": [[key, value], ...]}              a dictionary with other keys, or with one key that starts with `$`
    {"$part": n}                                the n-th of {"$parts": [...]}, the form of a text too deep for one piece

An aggregation pipeline reads its values as expressions (text that starts with `$`, keys with dots): there an encoded
value needs `$literal`.
"""

from __future__ import annotations

import json
import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import bson
from bson.binary import Binary
from bson.dbref import DBRef
from bson.decimal128 import Decimal128
from bson.errors import BSONError
from bson.int64 import Int64
from bson.max_key import MaxKey
from bson.min_key import MinKey
from bson.objectid import ObjectId
from bson.regex import Regex
from bson.timestamp import Timestamp

__all__ = ["MAX_LEVELS", "TAG", "decode", "encode", "size"]

TAG = "__json__"
"""The only key of a wrapped value."""

MAX_LEVELS = 80
"""Levels of nesting in what `encode` returns. MongoDB promises 100 for a document and for a command: this leaves 20 for
the session document, or the update command, around the value."""

_SDK_BYTES = "__bytes_encoded__"
_PART_LEVELS = 32
_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1
_JOINABLE = re.compile("(?<=[\ud800-\udbff])(?=[\udc00-\udfff])")
_PLAIN_TYPES = frozenset({type(None), bool, float, bytes})
_CONTAINERS = frozenset({dict, list, tuple})
_DRIVER_TYPES = frozenset({Binary, Decimal128, MaxKey, MinKey, ObjectId, Regex, Timestamp})
_STORABLE = "store JSON values, bytes or datetimes"


class _Refused(Exception):
    """Carries what cannot be stored up to `encode`, which knows the way to it."""

    def __init__(self, offender: object, error: type[Exception], reason: str) -> None:
        super().__init__(reason)
        self.offender, self.error, self.reason = offender, error, reason


def encode(value: object) -> Any:
    """Return the form in which MongoDB stores a value exactly.

    Tuples become lists, bytearrays and memoryviews bytes, and instances of subclasses of `str`, `int`, `float`,
    `bytes`, `list` and `dict` the plain value, as in JSON.

    Args:
        value: JSON-like data that may hold bytes, datetimes, the driver's own types (`ObjectId`, `Decimal128`, …),
            and keys that are text, numbers, booleans or None. Nesting may be of any depth.

    Returns:
        A copy at most `MAX_LEVELS` deep that shares nothing mutable with the value.

    Raises:
        TypeError: A part is of another type. The message names its place and its type, never its content.
        ValueError: A container contains itself.
    """
    try:
        return _encode(value, 1)
    except _Refused as refused:
        raise refused.error(f"{_place(value, refused.offender)} {refused.reason}") from None


def decode(stored: object) -> Any:
    """Return the value that `encode` was given.

    Older data decodes as well: the SDK's base64 encoding of bytes becomes bytes, a 64-bit integer of the driver a plain
    one, a dictionary that the driver took for a reference (`$ref`, `$id`) the dictionary; its other types (datetime,
    `ObjectId`, `Decimal128`, …) are returned as they are. So is a tag whose content nobody can read: one damaged value
    must not make a whole session unreadable.

    Args:
        stored: A value as the driver read it.

    Returns:
        A copy that shares nothing mutable with the stored value.
    """
    kind = type(stored)
    if kind is str:
        return stored
    if isinstance(stored, dict):
        return _decode_dict(stored)
    if isinstance(stored, list):
        return [decode(item) for item in stored]
    if kind is Int64:
        return int(stored)  # type: ignore[call-overload]
    if isinstance(stored, DBRef):
        return _decode_dict(stored.as_doc())
    return stored


def size(stored: object) -> int:
    """Return the bytes that a stored value takes in a document, with a name of one letter and the document's frame."""
    return len(bson.encode({"v": stored}))


def _encode(value: Any, level: int) -> Any:
    kind = type(value)
    if kind is str:
        return value if value.isascii() or _is_unicode(value) else _wrap(value)
    if kind in _PLAIN_TYPES:
        return value
    if kind is int:
        return value if _INT64_MIN <= value <= _INT64_MAX else _wrap(value)
    if kind in _CONTAINERS:
        return _encode_container(value, level)
    if kind in _DRIVER_TYPES:
        return bson.decode(bson.encode({"v": value}))["v"]
    return _wrap(value) if isinstance(value, datetime) else _encode(_exact(value), level)


def _encode_container(value: Any, level: int) -> Any:
    if level >= MAX_LEVELS:  # here and not one deeper: the tag is a level too
        return _wrap(value)
    level += 1
    if type(value) is not dict:
        return [_encode(item, level) for item in value]
    if not _has_plain_keys(value):
        value = _with_exact_keys(value)
    if not _has_plain_keys(value) or _looks_encoded(value):
        return _wrap(value)
    return {key: _encode(item, level) for key, item in value.items()}


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _has_plain_keys(value: dict[Any, Any]) -> bool:
    for key in value:  # a loop: with a generator this alone would take half of the time
        if type(key) is not str or key[:1] == "$" or "\0" in key or not (key.isascii() or _is_unicode(key)):
            return False
    return True


def _with_exact_keys(value: dict[Any, Any]) -> dict[Any, Any]:
    return {_exact_key(key): item for key, item in value.items()}


def _looks_encoded(value: dict[str, Any]) -> bool:
    return (len(value) == 1 and TAG in value) or (value.get(_SDK_BYTES) is True and "data" in value)


def _exact(value: Any) -> Any:
    """Reduce an instance of a subclass to the built-in value that it is, whatever the subclass overrides."""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return memoryview(value).tobytes()
    if isinstance(value, dict):
        return dict(value)
    if isinstance(value, list | tuple):
        return list(value)
    raise _Refused(value, TypeError, f"is of type {_type_name(value)}, which cannot be stored: {_STORABLE}")


def _exact_key(key: Any) -> Any:
    if key is None or isinstance(key, bool):
        return key
    if isinstance(key, str | int | float):
        return _exact(key)
    raise _Refused(key, TypeError, f"has a key of type {_type_name(key)}, which cannot be stored: use text")


def _type_name(value: object) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _wrap(value: Any) -> dict[str, str]:
    _refuse_cycles(value)
    pending = [value]  # grows meanwhile: a part leaves what lies too deep for itself to a later one
    parts = [_to_json(part, _PART_LEVELS, pending) for part in pending]
    return {TAG: json.dumps(parts[0] if len(parts) == 1 else {"$parts": parts}, separators=(",", ":"))}


def _to_json(value: Any, levels: int, pending: list[Any]) -> Any:
    kind = type(value)
    if value is None or kind is bool:
        return value
    if kind in _CONTAINERS:
        return _container_to_json(value, levels, pending)
    if isinstance(value, datetime):
        return {"$datetime": _datetime_to_json(value)}
    if kind in _DRIVER_TYPES:
        return {"$bson": _base64(bson.encode({"v": value}))}
    write = _JSON_WRITERS.get(kind)
    return write(value) if write else _to_json(_exact(value), levels, pending)


def _container_to_json(value: Any, levels: int, pending: list[Any]) -> Any:
    if levels == 0:
        pending.append(value)
        return {"$part": len(pending) - 1}
    levels -= 1
    if type(value) is not dict:
        return [_to_json(item, levels, pending) for item in value]
    value = _with_exact_keys(value)
    if _has_json_keys(value):
        return {key: _to_json(item, levels, pending) for key, item in value.items()}
    return {"$dict": [[_to_json(key, 0, pending), _to_json(item, levels, pending)] for key, item in value.items()]}


def _has_json_keys(value: dict[Any, Any]) -> bool:
    if not all(type(key) is str and not _JOINABLE.search(key) for key in value):
        return False
    return len(value) != 1 or not next(iter(value)).startswith("$")


def _base64(value: bytes) -> str:
    return b64encode(value).decode("ascii")


def _text_to_json(text: str) -> Any:
    # JSON reads two escaped surrogates in a row as the one character that they would make in UTF-16.
    return text if text.isascii() or not _JOINABLE.search(text) else {"$str": _JOINABLE.split(text)}


_JSON_WRITERS: dict[type, Callable[[Any], Any]] = {
    str: _text_to_json,
    # Hexadecimal, because Python refuses to convert more than 4300 decimal digits.
    int: lambda value: value if _INT64_MIN <= value <= _INT64_MAX else {"$int": hex(value)},
    float: lambda value: value if value - value == 0 else {"$float": repr(value)},
    bytes: lambda value: {"$bytes": _base64(value)},
}


def _decode_dict(stored: dict[str, Any]) -> Any:
    if len(stored) == 1 and isinstance(stored.get(TAG), str):
        try:
            return _unwrap(stored[TAG])
        except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, BSONError):
            pass  # damaged, or not ours: it falls through and stays what it is
    elif stored.get(_SDK_BYTES) is True and isinstance(stored.get("data"), str):
        try:
            return b64decode(stored["data"], validate=True)
        except ValueError:
            pass  # not the SDK's after all
    return {key: decode(item) for key, item in stored.items()}


def _unwrap(text: str) -> Any:
    node = json.loads(text)
    if not isinstance(node, dict) or node.keys() != {"$parts"}:
        return _from_json(node, {})
    parts: dict[int, Any] = {}
    for number, part in reversed(list(enumerate(node["$parts"]))):  # a part refers to later ones only
        parts[number] = _from_json(part, parts)
    return parts[0]


def _from_json(node: Any, parts: dict[int, Any]) -> Any:
    if isinstance(node, list):
        return [_from_json(item, parts) for item in node]
    if not isinstance(node, dict):
        return node
    if len(node) == 1:
        [(name, content)] = node.items()
        if name.startswith("$"):
            return _JSON_READERS[name](content, parts)
    return {key: _from_json(item, parts) for key, item in node.items()}


def _datetime_to_json(moment: datetime) -> list[Any]:
    # The offset apart from the text: Python reads no "+00:00:00.000001" there.
    offset = moment.utcoffset()
    zone = moment.tzinfo.key if isinstance(moment.tzinfo, ZoneInfo) else None
    local = datetime.isoformat(moment.replace(tzinfo=None))
    return [local, None if offset is None else offset.total_seconds(), zone, moment.fold]


def _datetime_from_json(content: Any, _: object) -> datetime:
    text, offset, zone, fold = content
    local = datetime.fromisoformat(text).replace(fold=fold)
    if offset is None:
        return local
    fixed = timezone(timedelta(seconds=offset))
    try:
        return local.replace(tzinfo=ZoneInfo(zone) if zone else fixed)
    except (LookupError, OSError, ValueError):  # a machine that does not know the zone still knows the offset
        return local.replace(tzinfo=fixed)


_JSON_READERS: dict[str, Callable[[Any, dict[int, Any]], Any]] = {
    "$str": lambda content, _: "".join(content),
    "$int": lambda content, _: int(content, 16),
    "$float": lambda content, _: float(content),
    "$bytes": lambda content, _: b64decode(content, validate=True),
    "$datetime": _datetime_from_json,
    "$bson": lambda content, _: bson.decode(b64decode(content, validate=True))["v"],
    "$dict": lambda content, parts: {_from_json(key, parts): _from_json(item, parts) for key, item in content},
    "$part": lambda content, parts: parts.pop(content),
}


def _children(value: object) -> Iterator[tuple[Any, Any]]:
    if isinstance(value, dict):
        yield from value.items()
    elif isinstance(value, list | tuple):
        yield from enumerate(value)


def _refuse_cycles(value: object) -> None:
    """Follow every branch with a stack of our own, which no depth can exhaust."""
    open_ids = {id(value)}
    branch = [(value, _children(value))]
    while branch:
        container, children = branch[-1]
        for _, child in children:
            if not isinstance(child, dict | list | tuple):
                continue
            if id(child) in open_ids:
                raise _Refused(child, ValueError, "contains itself and cannot be stored")
            open_ids.add(id(child))
            branch.append((child, _children(child)))
            break
        else:
            open_ids.remove(id(container))
            branch.pop()


def _place(value: object, offender: object) -> str:
    """Find the way to a refused part, or to the dictionary of which it is a key."""
    queue, seen = [("value", value)], {id(value)}
    for place, node in queue:
        if node is offender:
            return place
        for key, child in _children(node):
            if key is offender:
                return place
            if id(child) not in seen:
                seen.add(id(child))
                queue.append((f"{place}[{key!r}]", child))
    return "value"
