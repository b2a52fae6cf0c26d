"""Stored values as plain JSON, for readers that know nothing of MongoDB: a queue, a topic, a model."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from datetime import UTC, date, datetime
from typing import Any

__all__ = ["plain", "plain_json"]


def plain(value: Any) -> Any:
    """The value in what JSON has.

    Dates become ISO 8601 (one without a zone is UTC, as MongoDB has it), bytes base64, numbers that JSON does not have
    ``None``, ObjectIds and anything else their text.
    """
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple, AbstractSet)):
        return [plain(each) for each in value]
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).isoformat()
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, (bytes, bytearray, memoryview)):
        return base64.b64encode(value).decode()
    return str(value)


def plain_json(value: Any) -> str:
    """The value as JSON in ASCII characters."""
    return json.dumps(plain(value))
