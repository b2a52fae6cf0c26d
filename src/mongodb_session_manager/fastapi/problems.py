"""What an error of a session or of its database means to a client.

::

    SessionNotFoundError            404 session_not_found
    SessionBusyError                409 session_busy           Retry-After
    SessionConflictError            409 session_conflict       Retry-After
    SessionTooLargeError            413 session_too_large
    no connection to the database   503 service_unavailable    Retry-After

What a client reads is written here: no text of an error from below ever reaches it.
"""

from __future__ import annotations

import logging
import math
import re
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from pymongo import errors as driver
from strands.types.exceptions import EventLoopException

from ..errors import (
    SessionBusyError,
    SessionConflictError,
    SessionError,
    SessionNotFoundError,
    SessionTooLargeError,
)

__all__ = ["Problem", "explain", "install_error_handlers", "new_request_id", "report"]

logger = logging.getLogger(__name__)

# A session's own figure is when the lease of a lost process expires; the turn that runs most likely ends sooner.
_LONGEST_WAIT = 5.0

_UNAVAILABLE = (
    driver.ConnectionFailure,  # no server, no primary, a broken or timed-out connection
    driver.ExecutionTimeout,
    driver.WaitQueueTimeoutError,
)
_ACCEPTED_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass(frozen=True, slots=True)
class Problem:
    """An error as a client sees it.

    Attributes:
        status_code: Of HTTP.
        code: A stable name, for programs.
        message: For people.
        details: More about it, as JSON can carry it.
        headers: Of the answer, such as ``Retry-After``.
    """

    status_code: int
    code: str
    message: str
    details: dict[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def later(cls, status_code: int, code: str, message: str, seconds: float = 1.0) -> Self:
        """A problem that may be gone after some seconds, at least one: with ``Retry-After``."""
        return cls(status_code, code, message, headers={"Retry-After": str(max(1, math.ceil(seconds)))})

    def body(self, request_id: str) -> dict[str, Any]:
        """The fields of the error's JSON."""
        return {
            "error": self.message,
            "code": self.code,
            "status_code": self.status_code,
            "details": self.details,
            "request_id": request_id,
        }

    def response(self, request_id: str) -> JSONResponse:
        """The error as an answer of its own."""
        return JSONResponse(self.body(request_id), status_code=self.status_code, headers=dict(self.headers))


def explain(error: BaseException, also: Callable[[BaseException], Problem | None] | None = None) -> Problem | None:
    """Find what an error means to a client.

    Args:
        error: Any error; the ones it was raised from are looked at in turn.
        also: A table of the application's own, asked first about each of them.

    Returns:
        What the first known one means, ``None`` when none is known.
    """
    for cause in _causes(error):
        if problem := (also and also(cause)) or _problem(cause):
            return problem
    return None


def install_error_handlers(app: FastAPI) -> None:
    """Answer errors of sessions and of the database as ``{error, code, status_code, details, request_id}``.

    What an agent raises is looked into as well; where nothing of a session is found in it, it stays the application's.
    The answer's ``X-Request-ID`` is ``request.state.request_id`` where a middleware has set that, else the request's
    own where it is a plain word, else a new one; the log names it.
    """
    for kind in (SessionError, driver.PyMongoError, EventLoopException):
        app.add_exception_handler(kind, _answer)


def report(problem: Problem, error: BaseException, request_id: str) -> None:
    """Log that an error was answered: which kinds it was made of, never what it says."""
    logger.log(
        logging.ERROR if problem.status_code >= 500 else logging.INFO,
        "request_id=<%s>, status=<%d>, code=<%s>, error=<%s> | request failed",
        request_id,
        problem.status_code,
        problem.code,
        " < ".join(type(cause).__name__ for cause in _causes(error)),
    )


def new_request_id() -> str:
    """A name for a request that brings none."""
    return uuid.uuid4().hex


async def _answer(request: Request, error: Exception) -> JSONResponse:
    problem = explain(error)
    if problem is None:
        if isinstance(error, EventLoopException):
            raise error  # the model's or a tool's, and none of ours
        problem = Problem(500, "internal_server_error", "Something went wrong on the server. Please try again.")
    request_id = _request_id(request)
    report(problem, error, request_id)
    response = problem.response(request_id)
    response.headers["X-Request-ID"] = request_id
    return response


def _request_id(request: Request) -> str:
    given = getattr(request.state, "request_id", None) or request.headers.get("x-request-id", "")
    return given if _ACCEPTED_ID.fullmatch(given) else new_request_id()


def _causes(error: BaseException) -> Iterator[BaseException]:
    current: BaseException | None = error
    while current is not None:
        yield current
        current = current.__cause__


def _problem(error: BaseException) -> Problem | None:
    match error:
        case SessionNotFoundError():
            return Problem(404, "session_not_found", "This session does not exist, or was deleted.")
        case SessionBusyError(retry_after=seconds):
            message = "Another answer is being written in this session. Try again in a moment."
            return Problem.later(409, "session_busy", message, min(seconds, _LONGEST_WAIT))
        case SessionConflictError():
            return Problem.later(409, "session_conflict", "This session has moved on. Reload it and try again.")
        case SessionTooLargeError():
            return Problem(413, "session_too_large", "This session cannot take more. Start a new one.")
    if isinstance(error, _UNAVAILABLE):
        return Problem.later(503, "service_unavailable", "The database cannot be reached. Try again in a moment.")
    return None
