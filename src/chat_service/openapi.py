"""The OpenAPI document, whose errors are the ones that the service raises.

A route names the errors of its own with :func:`errors`. What any route may answer, because of what stands before it, is
added here, to all of them: keys, hosts, the size and the form of a request, the headers of every answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import TypeAdapter
from starlette.exceptions import HTTPException

from mongodb_session_manager import (
    SessionBusyError,
    SessionConflictError,
    SessionNotFoundError,
    SessionTooLargeError,
)

from .config import Settings
from .events import Event, ResponseBlock
from .exceptions import (
    AgentError,
    IdempotencyKeyReused,
    InvalidRequest,
    KnowledgeBaseUnavailable,
    ModelUnavailable,
    RecordsUnavailable,
    TurnCancelled,
    TurnExpired,
    TurnInterrupted,
    explain,
)
from .models import ErrorResponse
from .security.authentication import PUBLIC, is_for_operators
from .security.hosts import PROBES
from .security.refusals import Forbidden, Overloaded, RateLimited, Unauthorized, UnknownHost

__all__ = [
    "BUSY",
    "DATABASE",
    "FRAME",
    "OF_SESSION",
    "OF_TURN",
    "REFUSED_VALUE",
    "REPEATED",
    "TOO_LARGE",
    "Described",
    "Responses",
    "errors",
]

Responses: TypeAlias = dict[int | str, dict[str, Any]]

FRAME: dict[str, Any] = {
    "type": "object",
    "required": ["id", "data"],
    "properties": {
        "id": {"type": "string", "pattern": "^[0-9a-f]{32}-[0-9]{1,10}$"},
        "data": {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": {"$ref": "#/components/schemas/Event"},
        },
    },
}
"""One server-sent event."""

_REQUEST_ID = "0123456789abcdef0123456789abcdef"
_SCHEMA = {"$ref": "#/components/schemas/ErrorResponse"}
_HEADERS: dict[str, dict[str, Any]] = {
    "Retry-After": {"description": "Seconds after which trying again may help.", "schema": {"type": "integer"}},
    "WWW-Authenticate": {"description": "How to send a key.", "schema": {"type": "string"}},
    "X-Request-ID": {
        "description": "The name of the request, in the log too: its own where it brings one that is a plain word.",
        "required": True,
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"},
    },
}
_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "A key that the service has given."},
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The same key."},
}

_SESSION = "session_9d4c1f7e2b3a4c5d"
DATABASE: tuple[Exception, ...] = (RecordsUnavailable(),)
"""The database cannot be reached."""
TOO_LARGE: tuple[Exception, ...] = (SessionTooLargeError("", session_id=_SESSION),)
"""A session cannot take more."""
REFUSED_VALUE: tuple[Exception, ...] = (InvalidRequest("cursor: take it as it is from next_cursor of the page before"),)
"""A value that only the server can judge is wrong."""
OF_SESSION: tuple[Exception, ...] = (SessionNotFoundError("", session_id=_SESSION), *DATABASE)
"""Of a route that reads or changes a session."""
BUSY: tuple[Exception, ...] = (
    SessionBusyError("", session_id=_SESSION),
    SessionConflictError("", session_id=_SESSION),
)
"""An answer is being written, or the session has moved on."""
OF_TURN: tuple[Exception, ...] = (
    *OF_SESSION,
    *TOO_LARGE,
    *BUSY,
    TurnCancelled(),
    RateLimited(7),
    AgentError(),
    Overloaded(),
    ModelUnavailable(),
    KnowledgeBaseUnavailable(),
    TurnInterrupted(),
)
"""Of a route that asks a question."""
REPEATED: tuple[Exception, ...] = (IdempotencyKeyReused(), TurnExpired())
"""Of one that takes an ``Idempotency-Key``."""

_MALFORMED = RequestValidationError([{"type": "missing", "loc": ("body", "query"), "msg": "Field required"}])


def errors(*raised: Sequence[Exception]) -> Responses:
    """What the clients of a route see of errors, as FastAPI's ``responses``.

    Args:
        *raised: Groups of errors that the route may raise.
    """
    responses: Responses = {}
    for group in raised:
        for error in group:
            _add(responses, error)
    return responses


class Described(FastAPI):
    """An application whose document tells everything that is true of its routes."""

    _document: dict[str, Any] | None = None

    def openapi(self) -> dict[str, Any]:
        """The document; made once."""
        document = super().openapi()
        if document is not self._document:
            self._document = document
            _complete(document, self.state.settings)
        return document


def _complete(document: dict[str, Any], settings: Settings) -> None:
    if not settings.has_debug_routes:
        document["paths"] = {path: item for path, item in document["paths"].items() if not path.startswith("/debug/")}
    for path, item in document["paths"].items():
        for operation in item.values():
            _complete_operation(path, operation, settings)
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    schemas["ErrorResponse"] = ErrorResponse.model_json_schema()
    events = TypeAdapter(Event | ResponseBlock).json_schema(ref_template="#/components/schemas/{model}")
    schemas.update(events.pop("$defs"), Event=events)
    schemas["AgentConfig"]["properties"]["model"]["enum"] = [*_models(settings), None]
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    if settings.keys:
        components["securitySchemes"] = _SCHEMES
        document["security"] = [{name: []} for name in _SCHEMES]


def _models(settings: Settings) -> list[str]:
    return list(dict.fromkeys(name for name in (settings.model_id, *settings.model_choices) if name))


def _complete_operation(path: str, operation: dict[str, Any], settings: Settings) -> None:
    responses = operation["responses"]
    if "examples" not in responses.get("422", {}).get("content", {}).get("application/json", {}):
        responses.pop("422", None)  # FastAPI's own
    for parameter in operation.get("parameters", ()):
        parameter["schema"] = _without_null(parameter["schema"])
    for error in _anywhere(path, operation, settings):
        _add(responses, error)
    for response in responses.values():
        response.setdefault("headers", {})["X-Request-ID"] = _HEADERS["X-Request-ID"]
    operation["responses"] = dict(sorted(responses.items()))
    if settings.keys and path in PUBLIC:
        operation["security"] = []


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of a parameter, which may be absent, but in an address or a header nothing is null."""
    if schema.get("type") == ["string", "null"]:
        return {**schema, "type": "string"}
    value, *others = schema.get("anyOf", (schema,))
    if others != [{"type": "null"}]:
        return schema
    return {**value, **{name: said for name, said in schema.items() if name != "anyOf"}}


def _anywhere(path: str, operation: dict[str, Any], settings: Settings) -> Iterator[Exception]:
    """What a route may answer beside the errors of its own."""
    yield Exception()
    if settings.hosts is not None and path not in PROBES:
        yield UnknownHost()
    if settings.keys and path not in PUBLIC:
        yield from (Unauthorized(), RateLimited(7))
        if is_for_operators(path):
            yield Forbidden()
    if "requestBody" in operation:
        yield from (HTTPException(400), HTTPException(413))
    if "requestBody" in operation or "parameters" in operation:
        yield _MALFORMED


def _add(responses: dict[Any, dict[str, Any]], error: Exception) -> None:
    """Describe one more error, beside others of the same status."""
    problem = explain(error)
    content: dict[str, Any] = {"schema": _SCHEMA, "examples": {}}
    empty = {"description": "", "content": {"application/json": content}, "headers": {}}
    response = responses.setdefault(str(problem.status_code), empty)
    examples, headers = response["content"]["application/json"]["examples"], response["headers"]
    for name in {*headers, *problem.headers}:
        always = name in problem.headers and (not examples or headers.get(name, {}).get("required", False))
        headers[name] = {**_HEADERS[name], "required": always}
    examples[problem.code] = {"value": problem.body(_REQUEST_ID)}
    response["description"] = ", ".join(f"`{code}`" for code in examples)
