"""What each error means to a client, decided here and nowhere else.

Routers and turns raise; :func:`explain` walks an error and its causes until it meets one that the table knows::

    ServiceError                    its own status and code
    SessionNotFoundError            404 session_not_found
    SessionBusyError                409 session_busy           Retry-After
    SessionConflictError            409 session_conflict       Retry-After
    SessionTooLargeError            413 session_too_large
    no connection to the database   503 service_unavailable    Retry-After
    anything else                   500 internal_server_error

What a client reads is written here: no text of an error from below ever reaches it.
"""

from __future__ import annotations

import logging
import math
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pymongo import errors as driver
from starlette.exceptions import HTTPException

from mongodb_session_manager import (
    SessionBusyError,
    SessionConflictError,
    SessionError,
    SessionNotFoundError,
    SessionTooLargeError,
)

from .models import ErrorResponse, plain

__all__ = [
    "AgentError",
    "InvalidRequest",
    "Problem",
    "ServiceError",
    "ShuttingDown",
    "UnknownSession",
    "explain",
    "failure_of_turn",
    "install",
    "report",
]

logger = logging.getLogger(__name__)


class ServiceError(Exception):
    """An error that the service itself finds. Its message is meant for people who use the service."""

    status_code = 500
    code = "internal_server_error"


class AgentError(ServiceError):
    """The model or a tool failed. HTTP status 500."""

    code = "agent_error"

    def __init__(self) -> None:
        super().__init__("The model could not finish this answer. Please try again.")


class ShuttingDown(ServiceError):
    """The service ends. HTTP status 503."""

    status_code = 503
    code = "service_unavailable"

    def __init__(self) -> None:
        super().__init__("The service is being restarted. What was said so far is stored; try again in a moment.")


class InvalidRequest(ServiceError):
    """A value that only the server can judge is wrong. HTTP status 422."""

    status_code = 422
    code = "validation_error"


class UnknownSession(ServiceError):
    """There is no such session. HTTP status 404."""

    status_code = 404
    code = "session_not_found"

    def __init__(self) -> None:
        super().__init__("This session does not exist, or was deleted.")


@dataclass(frozen=True, slots=True)
class Problem:
    """An error as a client sees it."""

    status_code: int
    code: str
    message: str
    details: dict[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)

    def body(self, request_id: str) -> dict[str, Any]:
        """The fields of the error's JSON."""
        return ErrorResponse(
            error=self.message,
            code=self.code,
            status_code=self.status_code,
            details=self.details,
            request_id=request_id,
        ).model_dump()

    def response(self, request_id: str) -> JSONResponse:
        """The error as an answer of its own."""
        return JSONResponse(self.body(request_id), status_code=self.status_code, headers=self.headers)


_UNAVAILABLE = (
    driver.ConnectionFailure,  # no server, no primary, a broken or timed-out connection
    driver.ExecutionTimeout,
    driver.WaitQueueTimeoutError,
)


def explain(error: BaseException) -> Problem:
    """Find what an error means to a client.

    Args:
        error: Any error; the ones it was raised from are looked at in turn.

    Returns:
        The first that the table knows, else an internal error.
    """
    for cause in _causes(error):
        if problem := _problem(cause):
            return problem
    return Problem(500, "internal_server_error", "Something went wrong on the server. Please try again.")


def failure_of_turn(error: Exception) -> Exception:
    """The error to report when an agent raises: the sessions' and the database's own, else :class:`AgentError`."""
    if any(isinstance(cause, ServiceError | SessionError | driver.PyMongoError) for cause in _causes(error)):
        return error
    failure = AgentError()
    failure.__cause__ = error
    return failure


def _causes(error: BaseException) -> Iterator[BaseException]:
    current: BaseException | None = error
    while current is not None:
        yield current
        current = current.__cause__


def _problem(error: BaseException) -> Problem | None:
    match error:
        case ServiceError():
            return Problem(error.status_code, error.code, str(error))
        case SessionNotFoundError():
            return _problem(UnknownSession())
        case SessionBusyError():
            return _later(
                409,
                "session_busy",
                "Another answer is being written in this session. Try again in a moment.",
                error.retry_after,
            )
        case SessionConflictError():
            return _later(409, "session_conflict", "This session has moved on. Reload it and try again.")
        case SessionTooLargeError():
            return Problem(413, "session_too_large", "This session cannot take more. Start a new one.")
        case HTTPException():
            return _http_problem(error)
        case RequestValidationError():
            return _validation_problem(error)
    if isinstance(error, _UNAVAILABLE):
        return _later(503, "service_unavailable", "The database cannot be reached. Try again in a moment.")
    return None


def _later(status_code: int, code: str, message: str, seconds: float = 1.0) -> Problem:
    return Problem(status_code, code, message, headers={"Retry-After": str(max(1, math.ceil(seconds)))})


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
    fields = plain(
        [
            {"field": ".".join(map(str, found["loc"][1:])) or str(found["loc"][0]), "problem": found["msg"]}
            for found in error.errors()
        ]
    )
    message = "; ".join(f"{found['field']}: {found['problem']}" for found in fields)
    return Problem(422, "validation_error", message, details={"fields": fields})


def report(problem: Problem, error: BaseException, request_id: str) -> None:
    """Log an error: what it was and where it arose. Its text may quote messages and is shown at DEBUG only."""
    kinds = " < ".join(type(cause).__name__ for cause in _causes(error))
    serious = problem.status_code >= 500
    frames = traceback.format_tb(error.__traceback__) if serious else []
    logger.log(
        logging.ERROR if serious else logging.INFO,
        "request_id=<%s>, status=<%d>, code=<%s>, error=<%s> | request failed%s",
        request_id,
        problem.status_code,
        problem.code,
        kinds,
        "".join(["\n", *frames]).rstrip(),
    )
    if serious:
        logger.debug("request_id=<%s> | the error in full", request_id, exc_info=error)


async def _answer(request: Request, error: Exception) -> JSONResponse:
    request_id: str = request.state.request_id
    problem = explain(error)
    report(problem, error, request_id)
    return problem.response(request_id)


def install(app: FastAPI) -> None:
    """Answer every error that a route raises. What escapes even this is answered by the middleware."""
    for kind in (ServiceError, RequestValidationError, HTTPException, SessionError, driver.PyMongoError):
        app.add_exception_handler(kind, _answer)
