from __future__ import annotations

import pytest
from pymongo.errors import AutoReconnect, DuplicateKeyError, NetworkTimeout, ServerSelectionTimeoutError
from starlette.exceptions import HTTPException
from strands.types.exceptions import EventLoopException

from chat_service.exceptions import (
    AgentError,
    ModelUnavailable,
    ShuttingDown,
    TurnFailed,
    UnknownSession,
    explain,
    failure_of_turn,
)
from mongodb_session_manager import (
    SessionBusyError,
    SessionConflictError,
    SessionError,
    SessionNotFoundError,
    SessionTooLargeError,
)


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (SessionNotFoundError("secret", session_id="s"), 404, "session_not_found"),
        (UnknownSession(), 404, "session_not_found"),
        (SessionBusyError("secret", session_id="s", retry_after=12.3), 409, "session_busy"),
        (SessionConflictError("secret", session_id="s"), 409, "session_conflict"),
        (SessionTooLargeError("secret", session_id="s"), 413, "session_too_large"),
        (SessionError("secret", session_id="s"), 500, "internal_server_error"),
        (ServerSelectionTimeoutError("secret"), 503, "service_unavailable"),
        (AutoReconnect("secret"), 503, "service_unavailable"),
        (NetworkTimeout("secret"), 503, "service_unavailable"),
        (DuplicateKeyError("secret"), 500, "internal_server_error"),
        (ShuttingDown(), 503, "service_unavailable"),
        (AgentError(), 500, "agent_error"),
        (ModelUnavailable(), 503, "model_unavailable"),
        (HTTPException(405, "secret", {"Allow": "POST"}), 405, "method_not_allowed"),
        (RuntimeError("secret"), 500, "internal_server_error"),
    ],
)
def test_each_error_has_a_status_and_a_code_and_tells_nothing_internal(
    error: Exception, status: int, code: str
) -> None:
    problem = explain(error)
    assert (problem.status_code, problem.code) == (status, code)
    assert "secret" not in str(problem.body("r"))
    assert set(problem.body("r")) == {"error", "code", "status_code", "details", "request_id"}


def test_a_client_is_told_when_to_come_back() -> None:
    assert explain(SessionBusyError("", session_id="s", retry_after=29.3)).headers == {"Retry-After": "5"}
    assert explain(SessionBusyError("", session_id="s", retry_after=1.3)).headers == {"Retry-After": "2"}
    assert explain(SessionBusyError("", session_id="s", retry_after=0)).headers == {"Retry-After": "1"}
    assert explain(SessionConflictError("", session_id="s")).headers == {"Retry-After": "1"}
    assert explain(ModelUnavailable()).headers == {"Retry-After": "10"}
    assert explain(ShuttingDown()).headers == {"Retry-After": "5"}


def test_the_cause_of_an_error_is_what_counts() -> None:
    wrapped = EventLoopException(SessionBusyError("", session_id="s"))
    wrapped.__cause__ = wrapped.original_exception
    assert explain(wrapped).code == "session_busy"
    assert explain(failure_of_turn(wrapped)).code == "session_busy"


def test_a_failed_turn_is_told_by_its_cause() -> None:
    failed = TurnFailed()
    failed.__cause__ = ModelUnavailable()
    assert explain(failed).code == "model_unavailable"


def test_what_a_model_raises_is_the_fault_of_the_agent() -> None:
    failure = failure_of_turn(ZeroDivisionError("secret"))
    assert isinstance(failure, AgentError)
    assert isinstance(failure.__cause__, ZeroDivisionError)
