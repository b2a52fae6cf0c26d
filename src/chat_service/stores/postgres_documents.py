"""Sessions as they are stored on PostgreSQL: their rows. Blocks."""

from __future__ import annotations

from typing import Any

from .connections import Connections
from .rows import as_key

__all__ = ["PostgresDocuments"]

_MESSAGES = 100


class PostgresDocuments:
    """See :class:`~chat_service.stores.documents.StoredDocuments`: the row of a session, and those of other tables."""

    def __init__(self, connections: Connections) -> None:
        """Use these connections; no I/O."""
        self._connections = connections

    def read(self, session_id: str) -> dict[str, Any] | None:
        """Session, agents, newest messages and feedback. Four statements."""
        key = as_key(session_id)

        async def work(connection: Any) -> dict[str, list[dict[str, Any]]]:
            return {
                table: [dict(row) for row in await connection.fetch(statement, key)]
                for table, statement in _TABLES.items()
            }

        rows = self._connections.call(work, session_id=session_id)
        sessions = rows.pop("chat_sessions")
        return {**sessions[0], **rows} if sessions else None


_TABLES = {
    "chat_sessions": "SELECT * FROM chat_sessions WHERE session_id = $1",
    "chat_agents": "SELECT * FROM chat_agents WHERE session_id = $1 ORDER BY part, agent_id",
    "chat_messages": f"""
        SELECT * FROM (
            SELECT * FROM chat_messages WHERE session_id = $1 ORDER BY "timestamp" DESC, position DESC LIMIT {_MESSAGES}
        ) AS newest ORDER BY agent_id, position
    """,  # noqa: S608
    "chat_feedback": "SELECT * FROM chat_feedback WHERE session_id = $1 ORDER BY feedback_id",
}
