"""The page and what it is made of, as any application can serve them: the service itself, or the front end alone."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
from html import escape
from pathlib import Path
from typing import Any

from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Scope

from .rendering.highlighting import stylesheet

__all__ = ["assets", "page"]

_WEB = Path(__file__).parent / "web"
_ADDRESS = '<meta name="service-url" content="">'
_HIGHLIGHT = "highlight.css"


async def page(request: Request, service_url: str = "") -> Response:
    """The page.

    Args:
        request: Says what the browser has already, and whether it takes compressed answers.
        service_url: Where the page finds the service; empty: where it came from.
    """
    body, etag = await asyncio.to_thread(_written, service_url)
    headers = {**_headers(service_url), "ETag": etag, "Vary": "Accept, Accept-Encoding"}
    if request.headers.get("if-none-match") == etag:
        return Response(status_code=304, headers=headers)
    if "gzip" in request.headers.get("accept-encoding", ""):
        body, headers["Content-Encoding"] = gzip.compress(body, mtime=0), "gzip"
    return Response(body, media_type="text/html", headers=headers)


def assets(service_url: str = "") -> ASGIApp:
    """Scripts and styles, compressed for whoever takes them so.

    Args:
        service_url: As for :func:`page`.
    """
    return GZipMiddleware(_Assets(service_url), minimum_size=500)


class _Assets(StaticFiles):
    """Scripts and styles, asked for again at every visit: an old script must not meet a new page."""

    def __init__(self, service_url: str) -> None:
        super().__init__(directory=_WEB)
        self._headers = _headers(service_url)

    async def get_response(self, path: str, scope: Scope) -> Response:
        """A file, or the colours of code, which are made here."""
        if path != _HIGHLIGHT:
            return await super().get_response(path, scope)
        request = Request(scope)
        if request.method not in ("GET", "HEAD"):
            return Response(status_code=405, headers={"Allow": "GET, HEAD"})
        sheet = stylesheet().encode()
        headers = {**self._headers, "ETag": _etag(sheet)}
        if request.headers.get("if-none-match") == headers["ETag"]:
            return Response(status_code=304, headers=headers)
        return Response(sheet, media_type="text/css", headers=headers)

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        """The file, or that it has not changed."""
        response = super().file_response(*args, **kwargs)
        response.headers.update(self._headers)
        return response


def _written(service_url: str) -> tuple[bytes, str]:
    text = (_WEB / "chat.html").read_text(encoding="utf-8")
    body = text.replace(_ADDRESS, f'<meta name="service-url" content="{escape(service_url)}">').encode()
    return body, _etag(body)


def _etag(body: bytes) -> str:
    return f'W/"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'


def _headers(service_url: str) -> dict[str, str]:
    service = service_url or "'self'"
    return {
        "Cache-Control": "no-cache",
        "Content-Security-Policy": (
            f"default-src 'none'; script-src 'self'; style-src 'self'; connect-src {service}; "
            "img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        ),
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }
