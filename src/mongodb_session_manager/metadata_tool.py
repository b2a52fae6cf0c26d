"""A tool with which a model reads and writes the metadata of its session."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from strands import tool
from strands.types.tools import AgentTool

from .aio import Awaitables
from .errors import SessionError
from .plain_json import plain_json

__all__ = ["metadata_tool"]

logger = logging.getLogger(__name__)

_DESCRIPTION = """\
Read and write the metadata of this conversation: named values that are kept beside its messages.

get returns all metadata as JSON, or only the given keys. set and update both store the given values and leave all
others as they are. delete removes the given keys. A dot in a key addresses a field inside another: "customer.tier"."""

_INPUT = {
    "type": "object",
    "properties": {
        "action": {"type": "string", "enum": ["get", "set", "update", "delete"], "description": "What to do."},
        "metadata": {"type": "object", "description": "For set and update: the values by key."},
        "keys": {"type": "array", "items": {"type": "string"}, "description": "For delete and get: the keys."},
    },
    "required": ["action"],
}


class _WrongInputError(ValueError):
    """What the model asked for makes no sense; the text tells it what would."""


def metadata_tool(aio: Awaitables, session_id: str, allowed_keys: Sequence[str] | None) -> AgentTool:
    """Make the tool ``manage_metadata``.

    Args:
        aio: The awaitable ``get_metadata``, ``update_metadata`` and ``delete_metadata`` of a session.
        session_id: The session, for the log.
        allowed_keys: What it may write and delete, with all fields inside; by default everything. It may read all.

    Raises:
        TypeError: ``allowed_keys`` is not several keys.
    """
    allowed = None if allowed_keys is None else _as_allowed(allowed_keys)
    actions = _Actions(aio, allowed)
    description = _DESCRIPTION
    if allowed is not None:
        description += f" Only these keys may be written: {', '.join(allowed) or 'none'}."

    # The types are `Any` so that it is ours to say what is wrong with the input.
    @tool(name="manage_metadata", description=description, inputSchema={"json": _INPUT})
    async def manage_metadata(action: Any = None, metadata: Any = None, keys: Any = None) -> dict[str, Any]:
        try:
            return _result("success", await actions.do(action, metadata, keys))
        except (ValueError, PermissionError, SessionError) as refused:
            return _result("error", str(refused))
        except Exception as error:
            logger.warning("session_id=<%s>, error=<%s> | the metadata tool failed", session_id, type(error).__name__)
            return _result("error", "The metadata cannot be reached at the moment. Try again later, or go on without.")

    return manage_metadata


def _result(status: str, text: str) -> dict[str, Any]:
    return {"status": status, "content": [{"text": text}]}


class _Actions:
    """What the tool does, by the name of the action. Each returns what the model is told."""

    def __init__(self, aio: Awaitables, allowed: tuple[str, ...] | None) -> None:
        self._aio = aio
        self._allowed = allowed

    async def do(self, action: Any, metadata: Any, keys: Any) -> str:
        name = action.strip().lower() if isinstance(action, str) else action
        if name == "get":
            return await self._get(_as_keys(keys))
        if name in ("set", "update"):
            return await self._set(name, _as_values(metadata))
        if name == "delete":
            return await self._delete(_as_keys(keys))
        raise _WrongInputError("action must be one of: get, set, update, delete.")

    async def _get(self, keys: list[str]) -> str:
        found = await self._aio.get_metadata()
        return plain_json({key: _at(found, key) for key in keys} if keys else found)

    async def _set(self, name: str, values: dict[str, Any]) -> str:
        if not values:
            raise _WrongInputError(f'{name} needs metadata, an object such as {{"status": "open"}}.')
        self._check(values)
        await self._aio.update_metadata(values)
        return f"Stored: {', '.join(values)}."

    async def _delete(self, keys: list[str]) -> str:
        if not keys:
            raise _WrongInputError('delete needs keys, a list such as ["status"].')
        self._check(keys)
        await self._aio.delete_metadata(keys)
        return f"Deleted: {', '.join(keys)}."

    def _check(self, keys: Mapping[str, Any] | list[str]) -> None:
        if self._allowed is None:
            return
        refused = [key for key in keys if not any(f"{key}.".startswith(f"{one}.") for one in self._allowed)]
        if refused:
            allowed = ", ".join(self._allowed) or "none"
            raise _WrongInputError(f"These keys may not be written: {', '.join(refused)}. Allowed: {allowed}.")


def _as_allowed(keys: Sequence[str]) -> tuple[str, ...]:
    if isinstance(keys, str) or not all(isinstance(key, str) for key in keys):
        raise TypeError("allowed_keys must be several keys, such as a list of them")
    return tuple(keys)


def _as_values(metadata: Any) -> dict[str, Any]:
    """The values to store. Models write objects and lists as JSON text now and then, whole or as one of the values."""
    values = _read(metadata)
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise _WrongInputError('metadata must be an object such as {"status": "open"}.')
    return {key: _read(value) for key, value in values.items()}


def _as_keys(keys: Any) -> list[str]:
    """The keys, of which a single one may stand without a list."""
    given = _read(keys)
    if given is None:
        return []
    given = [given] if isinstance(given, str) else given
    if not isinstance(given, list) or not all(isinstance(key, str) for key in given):
        raise _WrongInputError('keys must be a list of texts such as ["status"].')
    return given


def _read(value: Any) -> Any:
    """An object or list, also when it was written as JSON text; any other value as it is."""
    if not isinstance(value, str) or not value.strip().startswith(("{", "[")):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def _at(metadata: Mapping[str, Any], key: str) -> Any:
    """The value at a dotted key, ``None`` when there is none."""
    value: Any = metadata
    for name in key.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value
