"""What may be passed to the catalogue. To MongoDB a mapping in the place of a text is a condition that others meet."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["checked"]

_Class = TypeVar("_Class", bound=type)

_TEXTS = ("session_id", "new_id", "agent_id", "owner", "title", "application_name", "cursor", "replacement")
_NUMBERS = ("at", "position", "limit", "offset")
_SAID = {str: "a string", int: "an integer"}
_KINDS: dict[str, type] = {**dict.fromkeys(_TEXTS, str), **dict.fromkeys(_NUMBERS, int)}


def checked(kind: _Class) -> _Class:
    """Let the public methods of a class refuse texts and numbers that are none, with a ``ValueError``."""
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
            if wanted is None or type(value) is wanted or (value is None and name in optional):
                continue
            if not isinstance(value, wanted) or isinstance(value, bool):
                raise ValueError(f"{name} must be {_SAID[wanted]}, not {type(value).__name__}")
        return method(self, *args, **kwargs)

    return call
