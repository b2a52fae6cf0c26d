"""A session as JSON Lines: what an export writes and an import reads. No I/O.

::

    {"kind": "session", "format": 1, "session_id", "title", "owner", "application_name", "created_at", "updated_at",
     "lifetime", "expires_at", "metadata", "sum"}
    {"kind": "agent", "agent_id", "count", "data", "totals", "created_at", "updated_at", "sum"}
    {"kind": "message", "stored": { "message": …, "created_at", … }, "sum"}        as many as the agent before has
    {"kind": "graph", "agent_id", "data", "created_at", "updated_at", "sum"}
    {"kind": "feedback", "feedback", "sum"}
    {"kind": "end", "sum"}

Values are as the database stores them, in MongoDB's Extended JSON: binary, dates and numbers come back as they were,
and what BSON cannot hold is wrapped by the codec already. ``sum`` is a checksum of the line and all before it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from bson import json_util
from bson.errors import BSONError

from .codec import decode, encode

__all__ = ["FORMAT", "Line", "LineWriter", "read_lines"]

FORMAT = 1

_RELAXED = json_util.RELAXED_JSON_OPTIONS.with_options(tz_aware=True)
_SUM = re.compile(r', "sum": "([0-9a-f]{32})"\}\Z')
_TEXT = (str, type(None))
_DATE = (datetime, str, type(None))
_DATES = ("created_at", "updated_at", "expires_at")
_FIELDS: dict[str, dict[str, tuple[type, ...]]] = {
    "session": {
        "format": (int,),
        "session_id": (str,),
        "title": _TEXT,
        "owner": _TEXT,
        "application_name": _TEXT,
        "created_at": (datetime,),
        "updated_at": (datetime,),
        "lifetime": (int, float, type(None)),
        "expires_at": (datetime, type(None)),
        "metadata": (dict,),
    },
    "agent": {
        "agent_id": (str, dict),
        "count": (int,),
        "data": (dict,),
        "totals": (dict,),
        "created_at": _DATE,
        "updated_at": _DATE,
    },
    "message": {"stored": (dict,)},
    "graph": {"agent_id": (str, dict), "data": (dict,), "created_at": _DATE, "updated_at": _DATE},
    "feedback": {"feedback": (dict,)},
    "end": {},
}


class Line(NamedTuple):
    """One line.

    Attributes:
        number: From 1.
        kind: What it is about.
        fields: Of stored values.
    """

    number: int
    kind: str
    fields: dict[str, Any]


class LineWriter:
    """Writes lines one after the other."""

    def __init__(self) -> None:
        """Begin."""
        self._sum = ""

    def line(self, kind: str, fields: Mapping[str, Any]) -> str:
        """The next line, without a line end.

        Args:
            kind: What it is about.
            fields: Of stored values.
        """
        body = json_util.dumps({"kind": kind, **_exact_dates(fields, _to_text)}, json_options=_RELAXED)
        self._sum = _sum(self._sum, body)
        return f'{body[:-1]}, "sum": "{self._sum}"}}'


def read_lines(lines: Iterable[str | bytes]) -> Iterator[Line]:
    """The lines of an export in order, each checked; the last one is not among them.

    Raises:
        ValueError: A line is damaged, missing, or out of order; the message says which.
    """
    number, total, left = 0, "", 0
    expected: frozenset[str] = frozenset({"session"})
    for number, raw in enumerate(lines, 1):
        body, found = _parts(number, raw)
        total = _sum(total, body)
        if found != total:
            raise ValueError(f"line {number}: it was changed, or lines before it are missing or out of order")
        line = _line(number, body)
        if line.kind not in expected:
            raise ValueError(f"line {number}: {line.kind!r} where {' or '.join(sorted(expected))} should be")
        if line.kind == "end":
            return
        left = line.fields["count"] if line.kind == "agent" else left - 1 if line.kind == "message" else left
        expected = frozenset({"message"} if left else {"agent", "graph", "feedback", "end"})
        yield line
    raise ValueError(f"line {number + 1}: it is missing; the export is cut off")


def _exact_dates(fields: Mapping[str, Any], change: Callable[[Any], Any]) -> dict[str, Any]:
    """Fields with their dates changed: Extended JSON knows milliseconds only."""
    dated = {name: change(fields[name]) for name in _DATES if name in fields}
    stored = fields.get("stored")
    inside = {"stored": _exact_dates(stored, change)} if isinstance(stored, dict) else {}
    return {**fields, **dated, **inside}


def _to_text(date: Any) -> Any:
    return encode(date) if isinstance(date, datetime) and date.microsecond % 1000 else date


def _sum(before: str, body: str) -> str:
    return hashlib.sha256(f"{before}{body}".encode()).hexdigest()[:32]


def _parts(number: int, raw: str | bytes) -> tuple[str, str]:
    try:
        text = (raw.decode() if isinstance(raw, bytes) else raw).rstrip("\r\n")
        text.encode()
    except UnicodeError:
        raise ValueError(f"line {number}: it is not UTF-8") from None
    found = _SUM.search(text)
    if found is None:
        raise ValueError(f"line {number}: it is not a line of an export, or cut off")
    return f"{text[: found.start()]}}}", found[1]


def _line(number: int, body: str) -> Line:
    try:
        fields = _exact_dates(json_util.loads(body, json_options=_RELAXED), decode)
        kind = fields.pop("kind")
        wanted = _FIELDS[kind]
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError, BSONError):
        raise ValueError(f"line {number}: it is not a line of an export") from None
    if wrong := [name for name, types in wanted.items() if not isinstance(fields.get(name), types)]:
        raise ValueError(f"line {number}: {', '.join(wrong)} of {kind} is missing or of another type")
    if kind == "session" and fields["format"] != FORMAT:
        raise ValueError(f"line {number}: it is of format {fields['format']}; this version reads format {FORMAT}")
    if kind == "agent" and fields["count"] < 0:
        raise ValueError(f"line {number}: count is negative")
    return Line(number, kind, fields)
