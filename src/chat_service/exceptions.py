"""What each error means to a client, decided here and, for errors of sessions, in the library; nowhere else.

Routers and turns raise; :func:`explain` walks an error and its causes until it meets one that a table knows::

    ServiceError                    its own status and code, Retry-After where trying again may help
    SessionError, the database      as in mongodb_session_manager.fastapi
    anything else                   500 internal_server_error

What a client reads is written here: no text of an error from below ever reaches it.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, ClassVar

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pymongo import errors as driver
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Match, Mount
from starlette.types import Scope

from mongodb_session_manager import SessionError
from mongodb_session_manager.fastapi import Problem
from mongodb_session_manager.fastapi import explain as explain_of_sessions

from .models import plain

__all__ = [
    "AgentError",
    "IdempotencyKeyReused",
    "InvalidRequest",
    "KnowledgeBaseUnavailable",
    "ModelUnavailable",
    "Problem",
    "RecordsUnavailable",
    "RepeatedFailure",
    "ServiceError",
    "ShuttingDown",
    "TurnCancelled",
    "TurnExpired",
    "TurnFailed",
    "TurnInterrupted",
    "UnknownMessage",
    "UnknownSession",
    "explain",
    "failure_of_turn",
    "install",
    "is_of_turn",
    "report",
]

logger = logging.getLogger(__name__)


class ServiceError(Exception):
    """An error that the service itself finds. Its message is meant for people who use the service."""

    status_code = 500
    code = "internal_server_error"
    retry_after: int | None = None
    """Seconds after which trying again may help."""
    headers: ClassVar[Mapping[str, str]] = {}
    """What the answer has besides."""


class AgentError(ServiceError):
    """The model or a tool failed. HTTP status 500."""

    code = "agent_error"

    def __init__(self) -> None:
        super().__init__("The model could not finish this answer. Please try again.")


class ModelUnavailable(ServiceError):
    """The model's server cannot be reached, is overloaded, or takes no more for now. HTTP status 503.

    Attributes:
        silent: It did not answer within ``MODEL_TIMEOUT`` seconds.
    """

    status_code = 503
    code = "model_unavailable"
    retry_after = 10

    def __init__(self, *, silent: bool = False) -> None:
        super().__init__("The model cannot be reached or is overloaded. Try again in a moment.")
        self.silent = silent


class KnowledgeBaseUnavailable(ServiceError):
    """The documents cannot be searched. No model is asked: it would answer from memory. HTTP status 503."""

    status_code = 503
    code = "knowledge_base_unavailable"
    retry_after = 10

    def __init__(self) -> None:
        super().__init__("The documents cannot be searched at the moment. Try again in a moment.")


class ShuttingDown(ServiceError):
    """The service ends. HTTP status 503."""

    status_code = 503
    code = "service_unavailable"
    retry_after = 5

    def __init__(self) -> None:
        super().__init__("The service is being restarted. What was said so far is stored; try again in a moment.")


class InvalidRequest(ServiceError):
    """A value that only the server can judge is wrong. HTTP status 422."""

    status_code = 422
    code = "validation_error"


class TurnCancelled(ServiceError):
    """The answer was cancelled while somebody waited for all of it. HTTP status 409."""

    status_code = 409
    code = "turn_cancelled"

    def __init__(self) -> None:
        super().__init__("This answer was cancelled. What was said until then is stored.")


class TurnInterrupted(ServiceError):
    """The process that wrote an answer is gone. HTTP status 503."""

    status_code = 503
    code = "turn_interrupted"
    retry_after = 5

    def __init__(self) -> None:
        super().__init__(
            "This answer was interrupted, because the server that wrote it is gone. Ask again in a moment."
        )


class TurnExpired(ServiceError):
    """The events of an answer are kept no longer. HTTP status 410."""

    status_code = 410
    code = "turn_expired"

    def __init__(self) -> None:
        super().__init__(
            "This answer cannot be read on any more. If its session is still there, what was said is in it."
        )


class RecordsUnavailable(ServiceError):
    """What is written down of turns cannot be read, because the database cannot be reached. HTTP status 503."""

    status_code = 503
    code = "service_unavailable"
    retry_after = 5

    def __init__(self) -> None:
        super().__init__(
            "The database cannot be reached. An answer that is being written goes on; come back in a moment."
        )


class IdempotencyKeyReused(ServiceError):
    """A key came with another question before. HTTP status 422."""

    status_code = 422
    code = "idempotency_key_reused"

    def __init__(self) -> None:
        super().__init__("This Idempotency-Key came with another request before. Use a new key for each question.")


class RepeatedFailure(ServiceError):
    """The failure of a turn, told again to another request that waited for it."""

    def __init__(self, status_code: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status_code = status_code
        self.code = code
        self.retry_after = 5 if status_code in (409, 503) else None


class UnknownSession(ServiceError):
    """There is no such session. HTTP status 404."""

    status_code = 404
    code = "session_not_found"

    def __init__(self) -> None:
        super().__init__("This session does not exist, or was deleted.")


class UnknownMessage(ServiceError):
    """There is no such message in the session. HTTP status 404."""

    status_code = 404
    code = "message_not_found"

    def __init__(self) -> None:
        super().__init__("This message is not in the session, or not any more. Load the session again.")


class TurnFailed(Exception):
    """A turn that was accepted has failed. Its cause says how, and is in the log already."""


def explain(error: BaseException) -> Problem:
    """Find what an error means to a client.

    Args:
        error: Any error; the ones it was raised from are looked at in turn.

    Returns:
        The first that the table knows, else an internal error.
    """
    unknown = Problem(500, "internal_server_error", "Something went wrong on the server. Please try again.")
    return explain_of_sessions(error, also=_problem) or unknown


def failure_of_turn(error: Exception) -> Exception:
    """The error to report when an agent raises: the sessions' and the database's own, else :class:`AgentError`."""
    if any(isinstance(cause, ServiceError | SessionError | driver.PyMongoError) for cause in _causes(error)):
        return error
    failure = AgentError()
    failure.__cause__ = error
    return failure


def is_of_turn(error: Exception) -> bool:
    """Whether a turn that was accepted has failed: what was wrong is in the log then."""
    return any(isinstance(cause, TurnFailed) for cause in _causes(error))


def _causes(error: BaseException) -> Iterator[BaseException]:
    current: BaseException | None = error
    while current is not None:
        yield current
        current = current.__cause__


def _problem(error: BaseException) -> Problem | None:
    match error:
        case ServiceError(retry_after=int(seconds)):
            return Problem.later(error.status_code, error.code, str(error), seconds)
        case ServiceError():
            return Problem(error.status_code, error.code, str(error), headers=error.headers)
        case HTTPException():
            return _http_problem(error)
        case RequestValidationError():
            return _validation_problem(error)
    return None


# Written out: the phrases of the standard library change with the version of Python.
_HTTP = {
    404: ("not_found", "There is nothing under this address."),
    405: ("method_not_allowed", "This address does not take that method."),
    413: ("content_too_large", "The request is too large."),
}


def _http_problem(error: HTTPException) -> Problem:
    code, message = _HTTP.get(error.status_code, ("bad_request", "The request cannot be served."))
    return Problem(error.status_code, code, message, headers=error.headers or {})


def _validation_problem(error: RequestValidationError) -> Problem:
    # Only where and what: the value itself is the client's content and goes neither back nor into a log.
    fields = plain([{"field": _field(found), "problem": found["msg"]} for found in error.errors()])
    message = "; ".join(f"{found['field']}: {found['problem']}" for found in fields)
    return Problem(422, "validation_error", message, details={"fields": fields})


def _field(found: Mapping[str, Any]) -> str:
    where, *names = found["loc"]
    if not names or found["type"] == "json_invalid":  # then what follows is an offset in the body
        return str(where)
    return ".".join(map(str, names))


def report(problem: Problem, error: BaseException, request_id: str) -> None:
    """Log an error: what it was and, where its kind does not say enough, the places that it came through.

    Its text may quote messages and is shown at DEBUG only.
    """
    causes = list(_causes(error))
    logger.log(
        logging.ERROR if problem.status_code >= 500 else logging.INFO,
        "request_id=<%s>, status=<%d>, code=<%s>, error=<%s> | request failed%s",
        request_id,
        problem.status_code,
        problem.code,
        " < ".join(type(cause).__name__ for cause in causes),
        "".join(map(_frames, reversed(causes))) if problem.status_code == 500 else "",
    )
    if problem.status_code >= 500:
        logger.debug("request_id=<%s> | the error in full", request_id, exc_info=error)


def _frames(error: BaseException) -> str:
    frames = traceback.format_tb(error.__traceback__)
    return "".join([f"\n{type(error).__name__} came through\n", *frames]).rstrip() if frames else ""


async def _answer(request: Request, error: Exception) -> JSONResponse:
    request_id: str = request.state.request_id
    problem = explain(error)
    if problem.status_code == 405 and (allowed := _allowed(request)):
        problem = replace(problem, headers={"Allow": allowed})
    if not isinstance(error, TurnFailed):
        report(problem, error, request_id)
    return problem.response(request_id)


def _allowed(request: Request) -> str:
    """What an address takes: the router has told only of the first route that it found there."""
    routes = [route for route in request.app.routes if not isinstance(route, Mount)]
    methods = ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")
    scopes = {method: {**request.scope, "method": method} for method in methods}
    return ", ".join(name for name, scope in scopes.items() if any(_takes(route, scope) for route in routes))


def _takes(route: BaseRoute, scope: Scope) -> bool:
    return route.matches(scope)[0] is Match.FULL


def install(app: FastAPI) -> None:
    """Answer every error that a route raises. What escapes even this is answered by the middleware."""
    for kind in (ServiceError, TurnFailed, RequestValidationError, HTTPException, SessionError, driver.PyMongoError):
        app.add_exception_handler(kind, _answer)
