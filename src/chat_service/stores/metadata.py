"""Fields of a session's metadata by dotted keys. No I/O."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, TypeAlias

__all__ = ["Path", "path_of", "paths_of", "with_fields", "without_fields"]

Path: TypeAlias = tuple[str, ...]

_UNFIT = re.compile("[\0\ud800-\udfff]")


def path_of(key: object) -> Path:
    """The segments of a dotted key. The same keys are refused as on MongoDB.

    Raises:
        ValueError: It is not text, or cannot be stored.
    """
    if not isinstance(key, str):
        raise ValueError(f"metadata key {key!r} is not text")
    path = tuple(key.split("."))
    if _UNFIT.search(key) or any(not part or part[0] == "$" for part in path):
        raise ValueError(
            f"metadata key {key!r} cannot be stored: a key is text without NUL and lone surrogates, and no part of it"
            " between dots is empty or begins with a dollar sign"
        )
    return path


def paths_of(metadata: Mapping[str, Any]) -> dict[Path, Any]:
    """What to set, by path."""
    return {path_of(key): value for key, value in metadata.items()}


def with_fields(metadata: dict[str, Any], fields: Mapping[Path, Any]) -> dict[str, Any]:
    """The metadata with fields set. Objects on the way are made; other values in the way are not replaced.

    Raises:
        ValueError: A key lies inside another's value, or inside a value that is no object.
    """
    _refuse_overlap(fields)
    for path, value in fields.items():
        place: Any = metadata
        for name in path[:-1]:
            place = place.setdefault(name, {})
            if not isinstance(place, dict):
                raise _collision(fields)
        place[path[-1]] = value
    return metadata


def without_fields(metadata: dict[str, Any], paths: Sequence[Path]) -> dict[str, Any]:
    """The metadata without fields; those that are not there do not matter.

    Raises:
        ValueError: A key lies inside another's value.
    """
    _refuse_overlap(paths)
    for path in paths:
        place: Any = metadata
        for name in path[:-1]:
            place = place.get(name) if isinstance(place, dict) else None
        if isinstance(place, dict):
            place.pop(path[-1], None)
    return metadata


def _refuse_overlap(paths: Iterable[Path]) -> None:
    for one, following in pairwise(sorted(set(paths))):
        if following[: len(one)] == one:
            raise _collision(paths)


def _collision(paths: Iterable[Path]) -> ValueError:
    names = sorted(".".join(path) for path in paths)
    return ValueError(
        f"metadata keys {names}: one of them lies inside another's value, or inside a value that is no object"
    )
