"""The session manager on MongoDB."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pymongo import MongoClient

from .connection import Connection
from .hooks import FeedbackHook, MetadataHook
from .mongodb_collection import background_of
from .mongodb_session_store import MongoDBSessionStore
from .session_manager import SessionManager
from .sessions import MongoDBSessionCatalogue
from .turn_options import TURN_OPTIONS

__all__ = ["MongoDBSessionManager", "Place", "create_mongodb_session_manager"]

_OPTIONS = TURN_OPTIONS | {"application_name", "feedbackHook", "metadataHook", "owner", "title"}


class Place:
    """A collection of sessions, and what all session managers on it share."""

    def __init__(
        self,
        client: MongoClient[Any],
        database_name: str,
        collection_name: str,
        metadata_fields: Sequence[str] | None,
        redacted_originals: Literal["remove", "keep"] = "remove",
    ) -> None:
        """Address the collection; no I/O."""
        self.store = MongoDBSessionStore(client, database_name, collection_name, metadata_fields)
        self.catalogue = MongoDBSessionCatalogue(
            client, database_name, collection_name, metadata_fields, redacted_originals=redacted_originals
        )
        self.background = background_of(client)


class MongoDBSessionManager(SessionManager):
    """Persists one session of Strands agents in MongoDB.

    Example:
        >>> factory = MongoDBSessionManagerFactory(connection_string="mongodb://…")  # doctest: +SKIP
        >>> manager = factory.create_session_manager("user-123")  # doctest: +SKIP
        >>> agent = Agent(session_manager=manager)  # doctest: +SKIP
    """

    def __init__(
        self,
        session_id: str,
        connection_string: str | None = None,
        database_name: str = "database_name",
        collection_name: str = "collection_name",
        client: MongoClient[Any] | None = None,
        metadata_fields: Sequence[str] | None = None,
        metadata_hook: MetadataHook | Sequence[MetadataHook] | None = None,
        feedback_hook: FeedbackHook | Sequence[FeedbackHook] | None = None,
        *,
        _place: Place | None = None,
        **kwargs: Any,
    ) -> None:
        """Serve one session.

        With a connection string it connects and loads the session at once, so that a wrong address fails here; with a
        borrowed client there is no I/O before it is used. A service makes its managers with a factory.

        Args:
            session_id: Any text that UTF-8 can express, the empty one included.
            connection_string: Makes a client, shared with whoever names the same one; ``close()`` gives it back.
            database_name: The database.
            collection_name: The collection.
            client: A borrowed client, which wins; ``close()`` leaves it open.
            metadata_fields: Names below ``metadata`` that get an index each.
            metadata_hook: A hook, or several, around reading and writing metadata.
            feedback_hook: A hook, or several, around adding feedback.
            **kwargs: ``application_name``, ``owner``, ``title`` and how turns are kept, as in :class:`SessionManager`;
                with a connection string also any option of ``MongoClient``.

        Raises:
            ValueError: Neither a connection string nor a client was given, or the client does not acknowledge writes.
            TypeError: An argument is unknown.
        """
        options = {name: kwargs.pop(name) for name in _OPTIONS & kwargs.keys()}
        self._connection: Connection | None = None
        if _place is None:
            self._connection = Connection(connection_string, client, kwargs)
            kwargs = {}
            kept = options.get("redacted_originals", "remove")
            _place = Place(self._connection.client, database_name, collection_name, metadata_fields, kept)
        try:
            super().__init__(
                session_id,
                store=_place.store,
                catalogue=_place.catalogue,
                background=_place.background,
                metadata_hook=metadata_hook,
                feedback_hook=feedback_hook,
                **options,
                **kwargs,
            )
            if self._connection is not None and self._connection.lease is not None:
                self.unit_of_work.load("default")
        except BaseException:
            self._disconnect()
            raise

    def close(self) -> None:
        """Write what is recorded and not yet written, and give back a client of one's own.

        A manager that borrows its client stays usable.
        """
        try:
            super().close()
        finally:
            self._disconnect()

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()


def create_mongodb_session_manager(session_id: str, *args: Any, **kwargs: Any) -> MongoDBSessionManager:
    """Make a :class:`MongoDBSessionManager`; the arguments are its own."""
    return MongoDBSessionManager(session_id, *args, **kwargs)
