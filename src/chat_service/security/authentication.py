"""Who sends a request: asked of every one, but for the few addresses that anybody may read."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from .api_keys import ApiKey, KeyRing
from .caller import Caller
from .rate_limits import Failures
from .refusals import Forbidden, Unauthorized

__all__ = ["PUBLIC", "Authentication", "address_of", "is_for_operators"]

PUBLIC = frozenset({"/", "/chat.html", "/health", "/api/health", "/health/factory", "/livez", "/readyz"})
"""What anybody may read, besides the files under ``/static/``. Everything else needs a key where keys are asked for."""

_DEBUG = "/debug/"


class Authentication:
    """Leaves a :class:`.Caller` in the request's state, or refuses. Within what makes errors into answers."""

    def __init__(
        self, app: ASGIApp, *, keys: tuple[ApiKey, ...], operators: frozenset[str], debug: bool, failures: str
    ) -> None:
        """Take what the settings say.

        Args:
            app: What is guarded.
            keys: The keys that are accepted; none: everybody is, and no session is anybody's own.
            operators: Owners who may read what concerns the service as a whole.
            debug: Whether there are debugging routes.
            failures: How many wrong keys an address may send, as in ``20/minute``.
        """
        self._app = app
        self._keys = KeyRing(keys)
        self._operators = operators
        self._debug = debug
        self._failures = Failures(failures)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http":
            scope.setdefault("state", {})["caller"] = self._caller(scope)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        await self._app(scope, receive, send)

    def _caller(self, scope: Scope) -> Caller:
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        if path.startswith(_DEBUG) and not self._debug:
            raise HTTPException(404)
        address = address_of(scope)
        if not self._keys or path in PUBLIC or path.startswith("/static/"):
            return Caller(None, f"address {address}")
        key = self._known(_presented(Headers(scope=scope)), address)
        if key.owner not in self._operators and is_for_operators(path):
            raise Forbidden
        return Caller(key.owner, f"key {key.name}")

    def _known(self, presented: str | None, address: str) -> ApiKey:
        if presented is None:
            raise Unauthorized
        self._failures.check(address)
        if key := self._keys.find(presented.encode("latin-1")):
            return key
        self._failures.count(address)
        raise Unauthorized


def is_for_operators(path: str) -> bool:
    """Whether a path concerns the service as a whole."""
    return path == "/metrics" or path.startswith(_DEBUG)


def address_of(scope: Scope) -> str:
    """What limits count by: the address, of IPv6 the network, in which everybody has as many addresses as he likes."""
    try:
        address = ip_address((scope.get("client") or ("", 0))[0])
    except ValueError:  # a socket in the file system, or a test
        return "unknown"
    address = getattr(address, "ipv4_mapped", None) or address
    return str(address) if address.version == 4 else str(ip_network((address, 64), strict=False))


def _presented(headers: Headers) -> str | None:
    scheme, _, key = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and key.strip():
        return key.strip()
    return headers.get("x-api-key", "").strip() or None
