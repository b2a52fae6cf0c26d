"""What the service needs of a session store, whichever it is."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Protocol, Self

from mongodb_session_manager import SessionCatalogue, SessionManager

__all__ = ["SessionFactory", "Sessions"]


class Sessions(SessionCatalogue, Protocol):
    """A catalogue of sessions that can be asked from an event loop."""

    @property
    def aio(self) -> Any:
        """Every method in its awaitable form."""


class SessionFactory(Protocol):
    """Makes session managers that share their connections. An asynchronous context manager: leaving it closes it."""

    @property
    def aio(self) -> Any:
        """``get_connection_stats`` and ``close`` in their awaitable form."""

    @property
    def sessions(self) -> Sessions:
        """Sessions seen from beside their turns."""

    async def open_session(self, session_id: str, *, agent_id: str = "default", **kwargs: Any) -> SessionManager:
        """Make a session manager and load one agent's history, without blocking the event loop."""

    def get_connection_stats(self) -> dict[str, Any]:
        """Describe the connection within about a second; ``status`` is ``"connected"`` when all is well."""

    def close(self) -> None:
        """Wait for running turns, bounded, then close the connections. May be called again."""

    async def __aenter__(self) -> Self:
        """Itself."""

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close, off the event loop."""
