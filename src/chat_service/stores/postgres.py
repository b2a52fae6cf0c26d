"""Session managers on PostgreSQL for a stateless service: one pool, any number of sessions."""

from __future__ import annotations

from functools import cached_property, partial
from types import TracebackType
from typing import Any, Literal, Self

from mongodb_session_manager import Awaitables, Background, SessionManager

from .connections import Connections
from .postgres_catalogue import PostgresSessionCatalogue
from .postgres_documents import PostgresDocuments
from .postgres_store import PostgresSessionStore
from .postgres_turn_records import PostgresTurnRecords

__all__ = ["PostgresSessionFactory"]

_CLOSE_SECONDS = 5.0
_STATS_SECONDS = 1.0


class PostgresSessionFactory:
    """Makes session managers that share one pool of connections.

    Attributes:
        store: Where turns are stored.
        sessions: The catalogue: sessions seen from beside their turns.
    """

    def __init__(
        self,
        url: str,
        *,
        min_size: int = 2,
        max_size: int = 10,
        redacted_originals: Literal["remove", "keep"] = "remove",
    ) -> None:
        """Remember where sessions lie. Connects, and applies what migrations are missing, on first use.

        Args:
            url: ``postgresql://user:password@host:port/database``.
            min_size: Connections that are opened at first.
            max_size: Connections at most.
            redacted_originals: ``"remove"``, or ``"keep"``: what redacted messages said is kept for an audit.

        Raises:
            ValueError: The URL is none of a PostgreSQL database.
        """
        self._connections = Connections(url, min_size=min_size, max_size=max_size)
        self._background = Background.of(self._connections, max_size)
        self._closed = False
        self.store = PostgresSessionStore(self._connections)
        self._originals = redacted_originals
        self.sessions = PostgresSessionCatalogue(
            self._connections, self._background, redacted_originals=redacted_originals
        )

    def create_session_manager(self, session_id: str, **kwargs: Any) -> SessionManager:
        """Make a session manager. No I/O; the session is loaded when an agent is made with it, which then blocks.

        Args:
            session_id: Any text that UTF-8 can express.
            **kwargs: Of :class:`~mongodb_session_manager.SessionManager`: ``metadata_hook``, ``on_busy``, …
        """
        options = {"redacted_originals": self._originals, **kwargs}
        return SessionManager(
            session_id, store=self.store, catalogue=self.sessions, background=self._background, **options
        )

    async def open_session(self, session_id: str, *, agent_id: str = "default", **kwargs: Any) -> SessionManager:
        """Make a session manager and load one agent's history, without blocking the event loop.

        Args:
            session_id: Any text that UTF-8 can express.
            agent_id: The agent that will be made with it. No call of that agent's life blocks the loop.
            **kwargs: As of :meth:`create_session_manager`.
        """
        manager = self.create_session_manager(session_id, **kwargs)
        await self._background.run(partial(manager.unit_of_work.load, agent_id))
        return manager

    def turn_records(self, retention: float) -> PostgresTurnRecords:
        """What the replicas of a service tell each other of their turns, on the same connections. No I/O.

        Args:
            retention: Seconds for which a turn is kept after its end.
        """
        return PostgresTurnRecords(self._connections, retention)

    def documents(self) -> PostgresDocuments:
        """Sessions as they are stored, on the same connections. No I/O."""
        return PostgresDocuments(self._connections)

    def migrate(self) -> list[str]:
        """Apply the migrations that are missing. Returns the names of those that this factory has applied."""
        return self._connections.open()

    def get_connection_stats(self) -> dict[str, Any]:
        """Describe the connection, within about a second whatever the server does.

        Returns:
            ``status`` (``connected`` or ``error``), ``connection_string`` without credentials, ``server_version``,
            ``pool_config``, ``active_connections`` and ``total_connections``.
        """
        stats: dict[str, Any] = {
            "status": "connected",
            "connection_string": self._connections.address.redacted,
            "pool_config": {"maxPoolSize": self._connections.max_size, "minPoolSize": self._connections.min_size},
        }

        async def work(connection: Any) -> str:
            return str(await connection.fetchval("SHOW server_version"))

        try:
            stats["server_version"] = self._connections.call(work, timeout=_STATS_SECONDS, retry=False)
        except Exception as error:
            stats |= {"status": "error", "error": type(error).__name__}
        return stats | self._connections.figures()

    @cached_property
    def aio(self) -> Awaitables:
        """The awaitable form of the methods that do I/O."""
        return Awaitables(self, self._background, frozenset({"close", "get_connection_stats", "migrate"}))

    def close(self) -> None:
        """Wait up to five seconds for running turns, then close the connections. May be called again."""
        if not self._closed:
            self._closed = True
            self._background.wait_for_turns(_CLOSE_SECONDS)
            self._connections.close()

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    async def __aenter__(self) -> Self:
        """Itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close, off the event loop."""
        await self.aio.close()
