"""Under which names a service without keys answers.

A page from anywhere may point a name of its own at this machine, and its scripts then read what the service answers,
as if it were theirs (DNS rebinding). The name is in ``Host``, which scripts cannot change.
"""

from __future__ import annotations

import re
from ipaddress import ip_address

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from .refusals import UnknownHost

__all__ = ["PROBES", "Hosts", "host_name"]

PROBES = frozenset({"/livez", "/readyz"})
"""What answers under any name: it is asked for by address, by whoever runs the service, and shows nothing."""

_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9_-]+(?:\.[a-z0-9_-]+)*)\.?(?::\d{1,5})?")


class Hosts:
    """Refuses requests that name another host. Within what makes errors into answers."""

    def __init__(self, app: ASGIApp, *, listening: str, names: tuple[str, ...] | None) -> None:
        """Take what the settings say.

        Args:
            app: What is guarded.
            listening: Where the service listens; a name of its own. Where that is every address, any address is.
            names: Other names, with ``*.`` before one for all below it; ``None``: any name will do.
        """
        self._app = app
        self._names = None if names is None else {listening.lower(), "localhost", "*.localhost", *names}
        self._is_any_address = listening in ("0.0.0.0", "::")  # noqa: S104

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http" and scope["path"].removeprefix(scope.get("root_path", "")) not in PROBES:
            host = Headers(scope=scope).get("host")  # no browser leaves it out
            if host is not None and not self._is_ours(host):
                raise UnknownHost
        await self._app(scope, receive, send)

    def _is_ours(self, host: str) -> bool:
        if self._names is None:
            return True
        found = _HOST.fullmatch(host.lower())
        if not found:
            return False
        name = found[1].strip("[]")
        try:
            return ip_address(name).is_loopback or self._is_any_address or name in self._names
        except ValueError:
            return name in self._names or any(f"*.{rest}" in self._names for rest in _above(name))


def host_name(text: str) -> str:
    """A name as it may stand in ``ALLOWED_HOSTS``.

    Raises:
        ValueError: It is none, or stands for all of them.
    """
    if text == "*":
        raise ValueError("* would let every page on the web in; name the hosts, or set API_KEYS")
    found = _HOST.fullmatch(text.lower().removeprefix("*."))
    if not found or found[1] != text.lower().removeprefix("*."):
        raise ValueError("one of these is not the name of a host, without a scheme and a port")
    return text.lower().strip("[]")


def _above(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[start:]) for start in range(1, len(parts))]
