"""Which pages of other origins may use the service from a browser."""

from __future__ import annotations

import re
from typing import Any

__all__ = ["HEADERS", "LOCAL", "METHODS", "cors_options", "origin", "origin_of_host"]

METHODS = ("GET", "POST", "PATCH", "DELETE")
HEADERS = (
    "Authorization",
    "Content-Type",
    "Idempotency-Key",
    "Last-Event-ID",
    "session-id",
    "X-API-Key",
    "X-Request-ID",
)
_EXPOSED = ("Content-Disposition", "Retry-After", "session-id", "X-Request-ID")

LOCAL = r"https?://(localhost|127\.0\.0\.1|\[::1\])(:\d{1,5})?"
"""Any port of this machine, for development."""

_ORIGIN = re.compile(r"([a-z][a-z0-9+.-]*)://([a-z0-9_-]+(?:\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])(?::(\d{1,5}))?")
_USUAL = {"http": "80", "https": "443"}


def origin(text: str) -> str:
    """An origin as browsers send it.

    Raises:
        ValueError: It is none, or stands for all of them.
    """
    if text == "*":
        raise ValueError("* would let every page on the web in, which a browser refuses with credentials")
    found = _ORIGIN.fullmatch(text.lower())
    if not found or int(found[3] or 0) > 65535:
        raise ValueError("this is no origin: scheme://host or scheme://host:port, without a path or a slash at its end")
    scheme, host, port = found.groups()
    return f"{scheme}://{host}" if port in (None, _USUAL.get(scheme)) else f"{scheme}://{host}:{port}"


def origin_of_host(host: str) -> str:
    """The origin of a name such as ``example.com``."""
    return origin(host if "://" in host else f"https://{host}")


def cors_options(origins: tuple[str, ...], *, local: bool) -> dict[str, Any]:
    """What Starlette's ``CORSMiddleware`` is told.

    Args:
        origins: From :func:`origin`.
        local: Whether pages from any port of this machine are let in as well.
    """
    return {
        "allow_origins": origins,
        "allow_origin_regex": LOCAL if local else None,
        "allow_credentials": True,
        "allow_methods": METHODS,
        "allow_headers": HEADERS,
        "expose_headers": _EXPOSED,
        "max_age": 600,
    }
