"""What may be passed to the catalogue. To MongoDB a mapping in the place of a text is a condition that others meet."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, TypeVar

from ..documents import valid_text

__all__ = ["checked"]

_Class = TypeVar("_Class", bound=type)

_TEXTS = ("session_id", "new_id", "owner", "title", "application_name", "cursor")
_CODED = ("agent_id", "replacement")
"""Texts that are stored in a code where UTF-8 cannot express them."""
_NUMBERS = ("at", "position", "limit", "offset")
_DATES = ("created_after", "created_before", "updated_after", "updated_before")
_SAID: dict[Any, str] = {
    str: "a string",
    int: "an integer",
    datetime: "a datetime",
    Mapping: "a mapping",
    (int, float): "a number",
}
_KINDS: dict[str, Any] = {
    **dict.fromkeys([*_TEXTS, *_CODED], str),
    **dict.fromkeys(_NUMBERS, int),
    **dict.fromkeys(_DATES, datetime),
    "config": Mapping,
    "seconds": (int, float),
}


def checked(kind: _Class) -> _Class:
    """Let the public methods of a class refuse what is of another kind than it should be, with a ``ValueError``."""
    for name in dir(kind):
        method = getattr(kind, name)
        if not name.startswith("_") and inspect.isfunction(method):
            setattr(kind, name, _checking(method))
    return kind


def _checking(method: Callable[..., Any]) -> Callable[..., Any]:
    signature = inspect.signature(method)
    names = list(signature.parameters)[1:]
    optional = {name for name, each in signature.parameters.items() if "None" in str(each.annotation)}

    @functools.wraps(method)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        for name, value in [*zip(names, args, strict=False), *kwargs.items()]:
            wanted = _KINDS.get(name)
            if wanted is None or (value is None and name in optional):
                continue
            if not isinstance(value, wanted) or isinstance(value, bool):
                raise ValueError(f"{name} must be {_SAID[wanted]}, not {type(value).__name__}")
            if name in _TEXTS:
                valid_text(name, value)
        return method(self, *args, **kwargs)

    return call
