"""The log of the service: its form, and what is kept out of it."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any, Literal

from pythonjsonlogger.json import JsonFormatter
from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["JsonLines", "LogContext", "QueryFreeAccessLog", "bind", "configure"]

_TEXT = "%(asctime)s %(levelname)s %(name)s | %(message)s"
_OURS = ("chat_service", "mongodb_session_manager")
_PAIR = re.compile(r"(\w+)=<%[^>]*>")

_bound: ContextVar[Mapping[str, str]] = ContextVar("log_context", default={})  # noqa: B039 - never changed in place


def configure(level: str, form: Literal["text", "json"] = "text") -> None:
    """Show the log on standard error, unless whoever runs the service has configured logging already.

    Args:
        level: ``LOG_LEVEL``. At ``DEBUG`` other packages stay at ``INFO``: they would show what is said.
        form: ``LOG_FORMAT``: lines for people, or a JSON object a line for programs.
    """
    if logging.root.handlers:
        return
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if form == "json" else logging.Formatter(_TEXT))
    logging.basicConfig(level="INFO" if level == "DEBUG" else level, handlers=[handler])
    for name in _OURS:
        logging.getLogger(name).setLevel(level)


def bind(**fields: str) -> None:
    """Name these in every JSON line that is logged from here on: in this task, and in what it starts."""
    _bound.set({**_bound.get(), **fields})


class LogContext:
    """Binds the id of a request to all that is logged while it is served. Within what gives it one."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, in whose own context this runs."""
        if scope["type"] == "http":
            bind(request_id=scope["state"]["request_id"])
        await self._app(scope, receive, send)


class JsonLines(JsonFormatter):
    """A JSON object a line.

    What a line of text says as ``name=<value>, … | message`` are fields of their own here, beside ``timestamp``,
    ``level``, ``logger``, ``message`` and what is bound to the request.
    """

    def __init__(self) -> None:
        super().__init__("%(message)s", timestamp=True)

    def add_fields(self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]) -> None:
        """Fill the object of one line."""
        super().add_fields(log_data, record, message_dict)
        message, pairs = _taken_apart(record)
        own = {"message": message, "level": record.levelname, "logger": record.name}
        log_data |= {**own, **_bound.get(), **pairs}


def _taken_apart(record: logging.LogRecord) -> tuple[str, dict[str, Any]]:
    """The message of a line and its pairs, found by the template: a value may look like anything."""
    head, mark, tail = str(record.msg).partition(" | ")
    names = _PAIR.findall(head)
    if not (mark and names and isinstance(record.args, tuple)):
        return record.getMessage(), {}
    count = len(names)
    return tail % record.args[count:], dict(zip(names, record.args[:count], strict=True))


class QueryFreeAccessLog(logging.Filter):
    """Cuts query strings from uvicorn's access log: ``GET /api/chat/stream?query=`` carries what a person asked."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record through, changed."""
        if isinstance(record.args, tuple) and len(record.args) == 5:
            client, method, path, *rest = record.args
            record.args = (client, method, str(path).partition("?")[0], *rest)
        return True
