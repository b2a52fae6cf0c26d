"""What surrounds every request: its id and path, the size of its body, a line in the log, headers, always an answer."""

from __future__ import annotations

import logging
import re
import time
import uuid
from collections.abc import Mapping
from urllib.parse import quote, unquote

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .exceptions import explain, is_of_turn, report

__all__ = ["Errors", "RequestContext"]

logger = logging.getLogger(__name__)

_ACCEPTED_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""Of every answer that does not say otherwise."""


class RequestContext:
    """Gives each request an id (``X-Request-ID``, the client's own where it is a plain word). The outermost of all."""

    def __init__(self, app: ASGIApp, hsts_seconds: int = 0) -> None:
        """Surround an application.

        Args:
            app: The application.
            hsts_seconds: How long browsers shall insist on HTTPS; 0: the answers do not mention it.
        """
        self._app = app
        hsts = {"Strict-Transport-Security": f"max-age={hsts_seconds}"} if hsts_seconds else {}
        self._headers = {**_HEADERS, **hsts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(Headers(scope=scope))
        scope.setdefault("state", {})["request_id"] = request_id
        raw_path = scope.get("raw_path") or quote(scope["path"]).encode()  # not every server tells both
        scope = {**scope, "path": _path(raw_path)}  # a copy: the server logs its own
        answer = _Answer(send, {"X-Request-ID": request_id}, self._headers)
        started = time.perf_counter()
        try:
            await self._app(scope, receive, answer.send)
        finally:
            logger.info(
                "request_id=<%s>, method=<%s>, path=<%s>, status=<%s>, duration_ms=<%.1f> | request served",
                request_id,
                scope["method"],
                raw_path.decode("ascii", "replace"),  # as sent: no line break of a client's gets into the log
                answer.status,
                (time.perf_counter() - started) * 1000,
            )


class Errors:
    """Makes whatever is raised within into an answer, and refuses bodies that are too large."""

    def __init__(self, app: ASGIApp, max_body_bytes: int) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = _Answer(send)
        try:
            await self._app(scope, self._limited(receive), answer.send)
        except Exception as error:
            if answer.status and is_of_turn(error):
                return  # an answer without its end: the server cuts the connection and logs one line
            request_id = scope["state"]["request_id"]
            problem = explain(error)
            report(problem, error, request_id)
            if answer.status:  # too late for a status code: the connection is cut, which no client takes for an end
                raise
            await problem.response(request_id)(scope, receive, answer.send)

    def _limited(self, receive: Receive) -> Receive:
        received = 0

        async def limited() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._max_body_bytes:
                raise HTTPException(413)
            return message

        return limited


class _Answer:
    """Adds headers to the answer and remembers its status."""

    def __init__(
        self, send: Send, headers: Mapping[str, str] | None = None, defaults: Mapping[str, str] | None = None
    ) -> None:
        self._send = send
        self._headers = headers or {}
        self._defaults = defaults or {}
        self.status = 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers.update(self._headers)
            for name, value in self._defaults.items():
                headers.setdefault(name, value)
        await self._send(message)


def _path(raw_path: bytes) -> str:
    """The path to route by: decoded, but for ``/`` and ``%``, so that an id may contain a slash (sent as ``%2F``).

    Whoever takes a part of it as a parameter decodes it once more.
    """
    parts = map(unquote, raw_path.decode("ascii", "replace").split("/"))
    return "/".join(part.replace("%", "%25").replace("/", "%2F") for part in parts)


def _request_id(headers: Headers) -> str:
    given = headers.get("x-request-id", "")
    return given if _ACCEPTED_ID.fullmatch(given) else uuid.uuid4().hex
