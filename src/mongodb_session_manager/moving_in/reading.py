"""Sessions that are only looked at."""

from __future__ import annotations

from typing import Any

from pymongo import MongoClient

from ..documents import addresses
from ..mongodb_collection import noted
from ..mongodb_connection_pool import check_server
from ..mongodb_session_store import MongoDBSessionStore
from ..sessions import MongoDBSessionCatalogue
from ..store import LoadedAgent, Part

__all__ = ["ReadingCatalogue", "ReadingStore"]


class ReadingCatalogue(MongoDBSessionCatalogue):
    """A catalogue that reads alone: it makes neither a collection nor an index, and needs no right to write."""

    def __init__(self, client: MongoClient[Any], database_name: str, collection_name: str) -> None:
        """Address the collection; no I/O. The client is borrowed."""
        super().__init__(client, database_name, collection_name)
        self._store = ReadingStore(client, database_name, collection_name)

    def _prepare(self) -> None:
        check_server(self.client)


class ReadingStore(MongoDBSessionStore):
    """Loads without preparing the collection."""

    def load(self, session_id: str, agent_id: str, part: Part = "agents") -> LoadedAgent:
        """See :class:`~mongodb_session_manager.SessionStore`."""
        with noted(session_id):
            places = addresses(part, agent_id)
            return self.archive.load(session_id, agent_id, places, graph=part == "multi_agents")
