"""The SDK's repository on MongoDB for direct use: every call loads, changes and writes by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from pymongo import MongoClient
from strands.session.session_repository import SessionRepository
from strands.types.session import Session, SessionAgent, SessionMessage, SessionType

from .connection import Connection
from .documents import iso
from .errors import SessionError, SessionNotFoundError
from .mongodb_session_store import MongoDBSessionStore
from .sessions import MongoDBSessionCatalogue
from .store import Part, SessionSummary
from .unit_of_work import UnitOfWork

if TYPE_CHECKING:
    from strands.multiagent.base import MultiAgentBase

__all__ = ["MongoDBSessionRepository"]


class MongoDBSessionRepository(SessionRepository):
    """Sessions, agents and messages in MongoDB, one call at a time.

    A session manager does not use it: it writes whole turns. Both keep the same document::

        { _id, session_id, session_type, created_at, updated_at, metadata: {}, feedbacks: [],
          agents: { <agent key>: { agent_data: {…}, created_at, updated_at, revision, message_count, totals,
                                   messages: [ { message, message_id, redact_message?, created_at, … } ] } } }

    Every write is refused with ``SessionBusyError`` while a turn of that agent is running.
    """

    def __init__(
        self,
        connection_string: str | None = None,
        database_name: str = "database_name",
        collection_name: str = "collection_name",
        client: MongoClient[Any] | None = None,
        metadata_fields: Sequence[str] | None = None,
        **client_kwargs: Any,
    ) -> None:
        """Address the collection; no I/O.

        Args:
            connection_string: Makes a client of its own; ``close()`` gives it back.
            database_name: The database.
            collection_name: The collection.
            client: A borrowed client, which wins; ``close()`` leaves it open.
            metadata_fields: Names below ``metadata`` that get an index each.
            **client_kwargs: Options of the client, with a connection string.

        Raises:
            ValueError: Neither a connection string nor a client was given.
        """
        self._connection = Connection(connection_string, client, {} if client is not None else client_kwargs)
        self._address = (database_name, collection_name, metadata_fields)

    @property
    def _store(self) -> MongoDBSessionStore:
        return MongoDBSessionStore(self._connection.client, *self._address)

    @property
    def _catalogue(self) -> MongoDBSessionCatalogue:
        return MongoDBSessionCatalogue(self._connection.client, *self._address)

    def _unit(self, session_id: str, agent_id: str, part: Part = "agents") -> UnitOfWork:
        """A session that exists, with one agent or graph loaded."""
        unit = UnitOfWork(session_id, self._store)
        unit.load(agent_id, part)
        if not unit.found:
            raise _unknown(session_id)
        return unit

    def create_session(self, session: Session, **kwargs: Any) -> Session:
        """Create an empty session.

        Raises:
            SessionError: It exists already.
        """
        return _session(self._catalogue.create(session.session_id))

    def read_session(self, session_id: str, **kwargs: Any) -> Session | None:
        """One session, ``None`` when it is unknown."""
        summary = self._catalogue.get(session_id)
        return None if summary is None else _session(summary)

    def delete_session(self, session_id: str, **kwargs: Any) -> None:
        """Remove a session and all that belongs to it.

        Raises:
            SessionNotFoundError: It is unknown.
        """
        if not self._catalogue.delete(session_id):
            raise _unknown(session_id)

    def create_agent(self, session_id: str, session_agent: SessionAgent, **kwargs: Any) -> None:
        """Add an agent to a session, or replace its state; its history stays."""
        self._unit(session_id, session_agent.agent_id).create_agent(session_id, session_agent)

    def read_agent(self, session_id: str, agent_id: str, **kwargs: Any) -> SessionAgent | None:
        """One agent, ``None`` when it or its session is unknown."""
        return UnitOfWork(session_id, self._store).read_agent(session_id, agent_id)

    def update_agent(self, session_id: str, session_agent: SessionAgent, **kwargs: Any) -> None:
        """Write an agent's state as far as it changed; ``created_at`` stays."""
        self._unit(session_id, session_agent.agent_id).update_agent(session_id, session_agent)

    def create_message(self, session_id: str, agent_id: str, session_message: SessionMessage, **kwargs: Any) -> None:
        """Append a message.

        Raises:
            ValueError: Its ``message_id`` is not the next position of the history.
        """
        self._unit(session_id, agent_id).create_message(session_id, agent_id, session_message)

    def read_message(self, session_id: str, agent_id: str, message_id: int, **kwargs: Any) -> SessionMessage | None:
        """One message by its position, ``None`` when there is none."""
        return self._unit(session_id, agent_id).read_message(session_id, agent_id, message_id)

    def update_message(self, session_id: str, agent_id: str, session_message: SessionMessage, **kwargs: Any) -> None:
        """Replace or redact a message; ``created_at`` stays.

        Raises:
            SessionError: There is no such message.
        """
        self._unit(session_id, agent_id).update_message(session_id, agent_id, session_message)

    def list_messages(
        self, session_id: str, agent_id: str, limit: int | None = None, offset: int = 0, **kwargs: Any
    ) -> list[SessionMessage]:
        """Messages from a position on, oldest first.

        Raises:
            ValueError: ``limit`` or ``offset`` is negative.
        """
        return self._unit(session_id, agent_id).list_messages(session_id, agent_id, limit, offset)

    def create_multi_agent(self, session_id: str, multi_agent: MultiAgentBase, **kwargs: Any) -> None:
        """Write the state of a graph or swarm."""
        self._unit(session_id, multi_agent.id, "multi_agents").create_multi_agent(session_id, multi_agent)

    def read_multi_agent(self, session_id: str, multi_agent_id: str, **kwargs: Any) -> dict[str, Any] | None:
        """The state of a graph or swarm, ``None`` when there is none."""
        return UnitOfWork(session_id, self._store).read_multi_agent(session_id, multi_agent_id)

    def update_multi_agent(self, session_id: str, multi_agent: MultiAgentBase, **kwargs: Any) -> None:
        """Write the state of a graph or swarm as far as it changed.

        Raises:
            SessionError: There is no such graph or swarm.
        """
        unit = self._unit(session_id, multi_agent.id, "multi_agents")
        if unit.read_multi_agent(session_id, multi_agent.id) is None:
            raise SessionError(
                f"graph or swarm {multi_agent.id!r} in session {session_id!r} does not exist",
                session_id=session_id,
                agent_id=multi_agent.id,
            )
        unit.update_multi_agent(session_id, multi_agent)

    def update_metadata(self, session_id: str, metadata: Mapping[str, Any]) -> None:
        """Merge into a session's metadata; dotted keys address nested fields."""
        self._catalogue.update_metadata(session_id, metadata)

    def get_metadata(self, session_id: str) -> dict[str, Any]:
        """A session's metadata, ``{}`` when there is none."""
        return self._catalogue.metadata(session_id)

    def delete_metadata(self, session_id: str, metadata_keys: Sequence[str]) -> None:
        """Remove keys of a session's metadata."""
        self._catalogue.delete_metadata(session_id, metadata_keys)

    def add_feedback(self, session_id: str, feedback: Mapping[str, Any]) -> None:
        """Append feedback to a session."""
        self._catalogue.add_feedback(session_id, feedback)

    def get_feedbacks(self, session_id: str) -> list[dict[str, Any]]:
        """A session's feedback, oldest first."""
        return self._catalogue.feedbacks(session_id)

    def close(self) -> None:
        """Give the client back if it is our own. May be called again."""
        self._connection.close()

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()


def _session(summary: SessionSummary) -> Session:
    return Session(
        session_id=summary.session_id,
        session_type=SessionType.AGENT,
        created_at=iso(summary.created_at),
        updated_at=iso(summary.updated_at),
    )


def _unknown(session_id: str) -> SessionNotFoundError:
    return SessionNotFoundError(f"session {session_id!r} does not exist", session_id=session_id)
