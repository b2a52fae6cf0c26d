"""The end of sessions on PostgreSQL: deleted, expired, purged, or held."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any

from mongodb_session_manager import DeletionReceipt

from .postgres_catalogue_rows import SessionRows, unknown
from .rows import as_key

__all__ = ["SessionLifetimes"]

_LONGEST = 100 * 366 * 86400.0
_AT_ONCE = 100


class SessionLifetimes(SessionRows):
    """Ends sessions."""

    def delete(self, session_id: str) -> bool:
        """See :class:`~mongodb_session_manager.SessionCatalogue`. One statement."""
        return self._row(session_id, _DELETE, as_key(session_id)) is not None

    def delete_owner(self, owner: str) -> DeletionReceipt:
        """See :class:`~mongodb_session_manager.SessionCatalogue`. A statement for every hundred sessions."""
        sessions = messages = 0
        while (row := self._row(None, _DELETE_SOME, as_key(owner), _AT_ONCE))["sessions"]:
            sessions += row["sessions"]
            messages += row["messages"]
        kept = self._row(None, _KEPT, as_key(owner))["kept"]
        return DeletionReceipt(sessions=sessions, messages=messages, kept_in_forks=kept)

    def expire(self, session_id: str, seconds: float | None, *, rolling: bool = True) -> datetime | None:
        """See :class:`~mongodb_session_manager.SessionCatalogue`. One statement, by the server's clock."""
        if seconds is not None and not (math.isfinite(seconds) and 0 < seconds <= _LONGEST):
            raise ValueError(f"seconds must be above 0, at most a hundred years, or None for never; not {seconds}")
        lifetime, fixed = (seconds, None) if rolling else (None, seconds)
        row = self._row(session_id, _EXPIRE, as_key(session_id), lifetime, fixed)
        if row is None:
            raise unknown(session_id)
        expires_at: datetime | None = row["expires_at"]
        return expires_at

    def hold(self, session_id: str, held: bool = True) -> None:
        """See :class:`~mongodb_session_manager.SessionCatalogue`. One statement."""
        if self._row(session_id, _HOLD, as_key(session_id), held) is None:
            raise unknown(session_id)

    def purge(self, *, limit: int = 1000) -> int:
        """See :class:`~mongodb_session_manager.SessionCatalogue`. One statement."""
        if limit < 1:
            raise ValueError(f"limit must be at least 1, not {limit}")

        async def work(connection: Any) -> int:
            return len(await connection.fetch(_PURGE, min(limit, 2**31)))

        return self._connections.call(work)


_DELETE = "DELETE FROM chat_sessions WHERE session_id = $1 RETURNING session_id"

_DELETE_SOME = """
WITH found AS (SELECT session_id FROM chat_sessions WHERE owner = $1 LIMIT $2 FOR UPDATE),
     counted AS (
         SELECT COALESCE(sum(message_count), 0)::bigint AS messages FROM chat_agents
         WHERE session_id IN (SELECT session_id FROM found) AND part = 'agents'
     ),
     deleted AS (
         DELETE FROM chat_sessions WHERE session_id IN (SELECT session_id FROM found) RETURNING session_id
     )
SELECT (SELECT count(*) FROM deleted) AS sessions, (SELECT messages FROM counted) AS messages
"""

_KEPT = """
SELECT COALESCE(sum(fork.messages - COALESCE(before.messages, 0)), 0)::bigint AS kept
FROM chat_forks fork
JOIN chat_sessions session ON session.session_id = fork.session_id
LEFT JOIN chat_forks before ON before.session_id = fork.session_id AND before.depth = fork.depth - 1
WHERE fork.origin_owner = $1 AND session.owner IS DISTINCT FROM $1 AND NOT chat_session_is_gone(session)
"""

_EXPIRE = """
UPDATE chat_sessions session SET
    last_accessed = clock_timestamp(),
    lifetime = $2::float8,
    expires_at = clock_timestamp() + $3::float8 * interval '1 second'
WHERE session_id = $1 AND NOT chat_session_is_gone(session) RETURNING chat_session_end(session) AS expires_at
"""

_HOLD = """
UPDATE chat_sessions session SET held = $2
WHERE session_id = $1 AND NOT chat_session_is_gone(session) RETURNING session_id
"""

_PURGE = """
DELETE FROM chat_sessions WHERE session_id IN (
    SELECT session_id FROM chat_sessions session
    WHERE (expires_at <= clock_timestamp() OR lifetime IS NOT NULL OR importing IS NOT NULL)
      AND chat_session_is_gone(session)
      AND (importing IS NULL OR last_accessed <= clock_timestamp() - interval '1 hour')
    LIMIT $1 FOR UPDATE SKIP LOCKED
) RETURNING session_id
"""
