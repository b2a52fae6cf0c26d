"""Where a session can be kept: each store with its catalogue, and what a test may see of it from beside."""

from __future__ import annotations

import json
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from pymongo import MongoClient
from strands import Agent

from chat_service.stores.postgres import PostgresSessionFactory
from mongodb_session_manager import (
    MongoDBSessionManagerFactory,
    SessionCatalogue,
    SessionManager,
    SessionStore,
)
from mongodb_session_manager.mongodb_session_store import MongoDBSessionStore
from tests.commands import LISTENER
from tests.contract.postgresql import sql
from tests.models import Line, ScriptedModel


def make_agent(manager: SessionManager, *script: Line, **options: Any) -> Agent:
    """An agent whose model says what is written down for it."""
    model = options.pop("model", None) or ScriptedModel(*script)
    return Agent(model=model, session_manager=manager, callback_handler=None, **options)


class Place(ABC):
    """A store and its catalogue."""

    store: SessionStore
    sessions: SessionCatalogue

    @abstractmethod
    def manager(self, session_id: str, **options: Any) -> SessionManager:
        """A session manager that has not loaded anything."""

    @abstractmethod
    async def open(self, session_id: str, *, agent_id: str = "default", **options: Any) -> SessionManager:
        """A session manager that has."""

    @abstractmethod
    def raw(self, session_id: str) -> str:
        """Everything that the database holds of a session, as text."""

    @abstractmethod
    def auditing(self) -> AbstractContextManager[Place]:
        """The same place, where what redacted messages said is kept."""

    @abstractmethod
    def is_free(self, session_id: str) -> bool:
        """Whether no turn is stored."""

    @abstractmethod
    def cut(self, session_id: str, kept: int) -> None:
        """Leave so many messages of the agent ``default``, as a killed process would have."""


class OnMongoDB(Place):
    def __init__(self, client: MongoClient[Any], name: str | None = None, **options: Any) -> None:
        name = name or f"contract_{uuid.uuid4().hex[:12]}"
        self.client = client
        self.factory = MongoDBSessionManagerFactory(
            client=client, database_name="tests", collection_name=name, **options
        )
        self.store = MongoDBSessionStore(client, "tests", name)
        self.sessions = self.factory.sessions
        self.collection = self.factory.sessions.collection

    def manager(self, session_id: str, **options: Any) -> SessionManager:
        return self.factory.create_session_manager(session_id, **options)

    async def open(self, session_id: str, *, agent_id: str = "default", **options: Any) -> SessionManager:
        return await self.factory.open_session(session_id, agent_id=agent_id, **options)

    def raw(self, session_id: str) -> str:
        with LISTENER.unwatched():
            return repr(self.collection.find_one({"_id": session_id}))

    def auditing(self) -> AbstractContextManager[Place]:
        return nullcontext(OnMongoDB(self.client, self.collection.name, redacted_originals="keep"))

    def is_free(self, session_id: str) -> bool:
        with LISTENER.unwatched():
            document = self.collection.find_one({"_id": session_id}) or {}
        agents = [*document.get("agents", {}).values(), *document.get("multi_agents", {}).values()]
        return not any("turn" in agent for agent in agents)

    def cut(self, session_id: str, kept: int) -> None:
        messages = {"$slice": ["$agents.default.messages", kept]}
        update = {"agents.default.messages": messages, "agents.default.message_count": kept}
        with LISTENER.unwatched():
            self.collection.update_one({"_id": session_id}, [{"$set": update}])

    def drop(self) -> None:
        with LISTENER.unwatched():
            self.collection.drop()


class OnPostgreSQL(Place):
    def __init__(self, factory: PostgresSessionFactory, url: str) -> None:
        """``url`` leads to the database itself, also where the factory goes through a pooler."""
        self.factory, self.url = factory, url
        self.store = factory.store
        self.sessions = factory.sessions

    def manager(self, session_id: str, **options: Any) -> SessionManager:
        return self.factory.create_session_manager(session_id, **options)

    async def open(self, session_id: str, *, agent_id: str = "default", **options: Any) -> SessionManager:
        return await self.factory.open_session(session_id, agent_id=agent_id, **options)

    def raw(self, session_id: str) -> str:
        tables = ("chat_sessions", "chat_agents", "chat_messages", "chat_feedback")
        found = [sql(self.url, f"SELECT * FROM {table} WHERE session_id = $1", session_id) for table in tables]
        return json.dumps([[dict(row) for row in rows] for rows in found], default=str, ensure_ascii=False)

    @contextmanager
    def auditing(self) -> Iterator[Place]:
        address = self.factory._connections.address
        url = f"{address.url}{'&' if '?' in address.url else '?'}pgbouncer=true" if address.is_pooled else address.url
        with PostgresSessionFactory(url, redacted_originals="keep") as factory:
            yield OnPostgreSQL(factory, self.url)

    def is_free(self, session_id: str) -> bool:
        statement = "SELECT FROM chat_agents WHERE session_id = $1 AND turn_owner IS NOT NULL"
        return not sql(self.url, statement, session_id)

    def cut(self, session_id: str, kept: int) -> None:
        key = "session_id = $1 AND agent_id = 'default'"
        sql(self.url, f"DELETE FROM chat_messages WHERE {key} AND position >= $2", session_id, kept)
        sql(self.url, f"UPDATE chat_agents SET message_count = $2 WHERE {key}", session_id, kept)
