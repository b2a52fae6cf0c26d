"""The configuration as it is in force, for people: no secret is in it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any

from dotenv import dotenv_values
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from .config import Settings

__all__ = ["default", "effective", "written"]

_MASK = "********"
_USER_INFO = re.compile(r"(?<=://)[^/@\s]+(?=@)")


def effective(settings: Settings) -> Iterator[str]:
    """A line for each setting: ``NAME=value``, and where the value comes from.

    Args:
        settings: As they were read from the environment and ``.env``.
    """
    environment = _named(dict(os.environ))
    file = _named(dotenv_values(".env", interpolate=False))
    for name, field in Settings.model_fields.items():
        names = _names(name, field)
        source = "environment" if names & environment else ".env" if names & file else "default"
        value = getattr(settings, name)
        shown = written(value) if source != "default" else default(field)
        yield f"{name.upper()}={shown}  # {source}"


def default(field: FieldInfo) -> str:
    """What a setting is when nobody sets it, which is no secret."""
    value = field.default
    return written(value.get_secret_value() if isinstance(value, SecretStr) else value)


def written(value: Any) -> str:
    """A value as it would stand in ``.env``; of a secret only that there is one."""
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case SecretStr():
            return _MASK if value.get_secret_value() else ""
        case tuple():
            return ",".join(map(str, value))
    return _USER_INFO.sub(_MASK, str(value))


def _named(values: dict[str, str | None]) -> set[str]:
    return {name.lower() for name, value in values.items() if value}


def _names(name: str, field: FieldInfo) -> set[str]:
    choices = getattr(field.validation_alias, "choices", [])
    return {name, *(str(choice) for choice in choices)}
