"""The rows of sessions as the catalogue reads and locks them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Literal, TypeVar

from mongodb_session_manager import Background, SessionNotFoundError, SessionSummary, valid_session_id

from .connections import Connections, Work
from .postgres_store import PostgresSessionStore, touch
from .rows import as_id, as_key, session_summary

__all__ = ["LOCK", "SUMMARY", "SUMMARY_OF_AGENT", "SessionRows", "summary_of", "unknown"]

T = TypeVar("T")


class SessionRows:
    """The sessions of one database."""

    def __init__(
        self,
        connections: Connections,
        background: Background,
        *,
        redacted_originals: Literal["remove", "keep"] = "remove",
    ) -> None:
        """Use these connections, and these threads for the awaitable forms; no I/O.

        Args:
            connections: Of the database.
            background: Of the factory.
            redacted_originals: Whether a redaction keeps for an audit what was said.
        """
        self._keeps_originals = redacted_originals == "keep"
        self._connections = connections
        self.attributes = connections.address.attributes
        self._background = background
        self._store = PostgresSessionStore(connections)

    def get(self, session_id: str) -> SessionSummary | None:
        """See :class:`~mongodb_session_manager.SessionCatalogue`. One statement."""
        row = self._row(session_id, _GET, as_key(session_id))
        return None if row is None else summary_of(row)

    def _known(self, session_id: str) -> SessionSummary:
        summary = self.get(session_id)
        if summary is None:
            raise unknown(session_id)
        return summary

    def _row(self, session_id: str | None, statement: str, *arguments: Any) -> Any:
        async def work(connection: Any) -> Any:
            return await connection.fetchrow(statement, *arguments)

        return self._connections.call(work, session_id=session_id)

    def _in_transaction(self, session_id: str | None, work: Work[T]) -> T:
        async def within(connection: Any) -> T:
            async with connection.transaction(isolation="read_committed"):
                return await work(connection)

        return self._connections.call(within, session_id=session_id)

    async def _touched(
        self,
        connection: Any,
        session_id: str,
        create: Mapping[str, Any] | None = None,
        created_at: datetime | None = None,
    ) -> datetime:
        """Lock the session that is meant, and note that it changes; when it was created."""
        key = as_key(valid_session_id(session_id))
        found: datetime | None
        if create is not None:
            await connection.execute(_REMOVE_GONE, key)
            found = await touch(connection, session_id, dict(create))
        else:
            found = await connection.fetchval(LOCK, key)
        if found is None or created_at not in (None, found):
            raise unknown(session_id)
        return found

    async def _summary(self, connection: Any, session_id: str) -> SessionSummary:
        row = await connection.fetchrow(_GET, as_key(session_id))
        if row is None:
            raise unknown(session_id)
        return summary_of(row)


def summary_of(row: Mapping[str, Any]) -> SessionSummary:
    """A session as :data:`SUMMARY` selects it."""
    return replace(
        session_summary(row),
        expires_at=row["expires_at"],
        lifetime=row["lifetime"],
        is_held=row["held"],
        forked_from=row["forked_from"] and as_id(row["forked_from"]),
    )


def unknown(session_id: str) -> SessionNotFoundError:
    """There is no such session."""
    return SessionNotFoundError(f"session {session_id!r} does not exist", session_id=session_id)


# An agent exists if its data does: a turn may have been taken before anything was written.
SUMMARY_OF_AGENT = """
jsonb_build_object('agent_id', agent_id, 'count', message_count, 'totals', totals,
                   'data', data - 'conversation_manager_state' - '_internal_state')
"""
"""An agent without its messages."""

SUMMARY = f"""
SELECT session_id, created_at, last_accessed, metadata, title, owner, application_name, lifetime, held,
       chat_session_end(session) AS expires_at,
       (SELECT origin_id FROM chat_forks fork WHERE fork.session_id = session.session_id
        ORDER BY depth DESC LIMIT 1) AS forked_from,
       (SELECT jsonb_agg({SUMMARY_OF_AGENT} ORDER BY agent.created_at, agent_id) FROM chat_agents agent
        WHERE agent.session_id = session.session_id AND part = 'agents' AND data IS NOT NULL) AS agents
FROM chat_sessions session WHERE NOT chat_session_is_gone(session)
"""  # noqa: S608
"""Sessions without their messages; conditions may follow."""

_GET = f"{SUMMARY} AND session_id = $1"

LOCK = """
UPDATE chat_sessions session SET last_accessed = clock_timestamp()
WHERE session_id = $1 AND NOT chat_session_is_gone(session) RETURNING created_at
"""
"""Locks a session and notes that it changes."""

_REMOVE_GONE = "DELETE FROM chat_sessions session WHERE session_id = $1 AND chat_session_is_gone(session)"
