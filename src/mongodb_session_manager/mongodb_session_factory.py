"""Session managers for a stateless service: one client, any number of sessions."""

from __future__ import annotations

import threading
from collections.abc import Hashable, Sequence
from functools import cached_property, partial
from types import TracebackType
from typing import Any, Literal, Self

from pymongo import MongoClient

from .aio import Awaitables
from .background import Background
from .connection import Connection
from .mongodb_collection import background_of
from .mongodb_connection_pool import connection_stats
from .mongodb_session_manager import MongoDBSessionManager, Place
from .sessions import MongoDBSessionCatalogue
from .storage import MongoDBStorage
from .turn_options import TurnOptions

__all__ = [
    "MongoDBSessionManagerFactory",
    "close_global_factory",
    "get_global_factory",
    "initialize_global_factory",
]

_CLOSE_SECONDS = 5.0


class MongoDBSessionManagerFactory:
    """Makes session managers that share one client.

    Attributes:
        database_name: Where sessions lie unless a call says otherwise.
        collection_name: Where sessions lie unless a call says otherwise.
        aio: ``close`` and ``get_connection_stats`` in their awaitable form.
        sessions: The catalogue: sessions seen from beside their turns.
    """

    def __init__(
        self,
        connection_string: str | None = None,
        database_name: str = "database_name",
        collection_name: str = "collection_name",
        client: MongoClient[Any] | None = None,
        metadata_fields: Sequence[str] | None = None,
        *,
        redacted_originals: Literal["remove", "keep"] = "remove",
        **client_kwargs: Any,
    ) -> None:
        """Remember where sessions lie. Connects in the background.

        Args:
            connection_string: The factory owns its client: ``close()`` gives it back. Factories with the same address
                and options share one.
            database_name: Default database of its managers.
            collection_name: Default collection of its managers.
            client: A borrowed client, which wins; ``close()`` leaves it open.
            metadata_fields: Names below ``metadata`` that get an index each.
            redacted_originals: ``"remove"``, or ``"keep"``: what redacted messages said is kept for an audit, of what
                the catalogue redacts as well.
            **client_kwargs: Any option of ``MongoClient``, with a connection string.

        Raises:
            ValueError: Neither a connection string nor a client was given, or writes would not be acknowledged.
        """
        self._connection = Connection(connection_string, client, {} if client is not None else client_kwargs)
        self.database_name = database_name
        self.collection_name = collection_name
        self._metadata_fields = tuple(metadata_fields or ())
        self._redacted_originals = TurnOptions(redacted_originals=redacted_originals).redacted_originals
        self._places: dict[Hashable, Place] = {}
        self._closed = False

    @property
    def _background(self) -> Background:
        if not self._closed:
            self._last_background = background_of(self._connection.client)
        return self._last_background

    def create_session_manager(
        self,
        session_id: str,
        database_name: str | None = None,
        collection_name: str | None = None,
        metadata_fields: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> MongoDBSessionManager:
        """Make a session manager. No I/O; the session is loaded when an agent is made with it, which then blocks.

        Args:
            session_id: Any text that UTF-8 can express.
            database_name: Instead of the factory's.
            collection_name: Instead of the factory's.
            metadata_fields: Instead of the factory's.
            **kwargs: Of :class:`MongoDBSessionManager`: ``metadata_hook``, ``feedback_hook``, ``application_name``, …
        """
        place = self._place(database_name, collection_name, metadata_fields)
        options = {"redacted_originals": self._redacted_originals, **kwargs}
        return MongoDBSessionManager(session_id, _place=place, **options)

    def _place(
        self,
        database_name: str | None = None,
        collection_name: str | None = None,
        metadata_fields: Sequence[str] | None = None,
    ) -> Place:
        """The collection that these overrides lead to, with the client of this process."""
        client = self._connection.client
        database_name = self.database_name if database_name is None else database_name
        collection_name = self.collection_name if collection_name is None else collection_name
        fields = self._metadata_fields if metadata_fields is None else tuple(metadata_fields)
        key = (id(client), database_name, collection_name, fields)
        place = self._places.get(key)
        if place is None:
            place = self._places[key] = Place(client, database_name, collection_name, fields, self._redacted_originals)
        return place

    async def open_session(self, session_id: str, *, agent_id: str = "default", **kwargs: Any) -> MongoDBSessionManager:
        """Make a session manager and load one agent's history, without blocking the event loop.

        Args:
            session_id: Any text that UTF-8 can express.
            agent_id: The agent that will be made with it. No call of that agent's life blocks the loop.
            **kwargs: As of :meth:`create_session_manager`.
        """
        manager = self.create_session_manager(session_id, **kwargs)
        await self._background.run(partial(manager.unit_of_work.load, agent_id))
        return manager

    @property
    def sessions(self) -> MongoDBSessionCatalogue:
        """The catalogue of this factory's collection. Every method also under ``sessions.aio``."""
        return self._place().catalogue

    def storage(self, namespace: str = "", collection_name: str | None = None) -> MongoDBStorage:
        """The SDK's storage on this factory's client and database. No I/O.

        Args:
            namespace: Any text. What is in one namespace no other one sees.
            collection_name: Instead of the name of the factory's collection with ``_storage`` behind it.
        """
        if collection_name is None:
            collection_name = f"{self.collection_name}_storage"
        return MongoDBStorage(
            database_name=self.database_name,
            collection_name=collection_name,
            namespace=namespace,
            _connection=self._connection,
        )

    def get_connection_stats(self) -> dict[str, Any]:
        """Describe the connection, within about a second whatever the server does.

        Returns:
            For an owned client ``status`` (``connected``, ``error``, ``not_initialized``), ``connection_string``
            without credentials, ``server_version``, ``pool_config``, ``active_connections`` and ``total_connections``;
            for a borrowed one ``status`` ``external_client`` and a ``message``.
        """
        if self._connection.lease is None:
            return {"status": "external_client", "message": "the client belongs to the application"}
        return connection_stats(self._connection.lease)

    @cached_property
    def aio(self) -> Awaitables:
        """The awaitable form of the methods that do I/O."""
        return Awaitables(self, self._background, frozenset({"close", "get_connection_stats"}))

    def close(self) -> None:
        """Wait up to five seconds for running turns, then give back a client of one's own. May be called again."""
        if self._connection.lease is not None and not self._closed:
            background, self._closed = self._background, True
            background.wait_for_turns(_CLOSE_SECONDS)
            self._places.clear()
            self._connection.close()

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


_global_factory: MongoDBSessionManagerFactory | None = None
_global_lock = threading.Lock()


def initialize_global_factory(
    connection_string: str,
    database_name: str = "database_name",
    collection_name: str = "virtualagent_sessions",
    metadata_fields: Sequence[str] | None = None,
    **client_kwargs: Any,
) -> MongoDBSessionManagerFactory:
    """Make the factory of this application; an earlier one is closed first. The arguments are the factory's."""
    global _global_factory
    close_global_factory()
    factory = MongoDBSessionManagerFactory(
        connection_string, database_name, collection_name, metadata_fields=metadata_fields, **client_kwargs
    )
    with _global_lock:
        _global_factory, earlier = factory, _global_factory
    if earlier is not None:
        earlier.close()
    return factory


def get_global_factory() -> MongoDBSessionManagerFactory:
    """The factory of this application.

    Raises:
        RuntimeError: :func:`initialize_global_factory` was not called.
    """
    factory = _global_factory
    if factory is None:
        raise RuntimeError("there is no global factory; call initialize_global_factory when the application starts")
    return factory


def close_global_factory() -> None:
    """Close the factory of this application, if there is one."""
    global _global_factory
    with _global_lock:
        factory, _global_factory = _global_factory, None
    if factory is not None:
        factory.close()
