"""Metadata, titles and feedback on PostgreSQL, beside the turns, and how an agent is set up."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import bson

from mongodb_session_manager import (
    AgentSummary,
    SessionNotFoundError,
    SessionSummary,
    SessionTooLargeError,
    decode,
    encode,
    prompt_change,
)

from .faithful_json import Fields
from .metadata import path_of, paths_of, with_fields, without_fields
from .postgres_catalogue_rows import LOCK, SUMMARY_OF_AGENT, SessionRows
from .postgres_store import ADD_PROMPT_CHANGE
from .rows import agent_summary, as_key

__all__ = ["SessionNotes"]

_LARGEST_FEEDBACK = 1024 * 1024


class SessionNotes(SessionRows):
    """What is noted of a session and of its agents."""

    def patch(
        self, session_id: str, *, title: str | None = None, metadata: Mapping[str, Any] | None = None
    ) -> SessionSummary:
        """See :class:`~mongodb_session_manager.SessionCatalogue`. One transaction."""
        fields = paths_of(_mapping("metadata", metadata or {}))

        async def work(connection: Any) -> SessionSummary:
            if title is not None or fields:
                await self._touched(connection, session_id)
            if title is not None:
                await connection.execute(_TITLE, as_key(session_id), as_key(title))
            if fields:
                await _change_metadata(connection, session_id, lambda found: with_fields(found, fields))
            return await self._summary(connection, session_id)

        return self._in_transaction(session_id, work)

    def rename(self, session_id: str, title: str | None) -> SessionSummary:
        """See :class:`~mongodb_session_manager.SessionCatalogue`. One transaction."""

        async def work(connection: Any) -> SessionSummary:
            await self._touched(connection, session_id)
            await connection.execute(_TITLE, as_key(session_id), None if title is None else as_key(title))
            return await self._summary(connection, session_id)

        return self._in_transaction(session_id, work)

    def metadata(self, session_id: str) -> dict[str, Any]:
        """See :class:`~mongodb_session_manager.SessionCatalogue`. One statement."""
        row = self._row(session_id, _METADATA, as_key(session_id))
        return {} if row is None else dict(decode(row["metadata"]))

    def update_metadata(
        self,
        session_id: str,
        metadata: Mapping[str, Any],
        *,
        create: Mapping[str, Any] | None = None,
        created_at: datetime | None = None,
    ) -> datetime | None:
        """See :class:`~mongodb_session_manager.SessionCatalogue`. One transaction.

        Raises:
            ValueError: A key cannot be stored, or one key lies inside another's value.
        """
        fields = paths_of(_mapping("metadata", metadata))

        async def work(connection: Any) -> datetime:
            found = await self._touched(connection, session_id, create, created_at)
            await _change_metadata(connection, session_id, lambda stored: with_fields(stored, fields))
            return found

        return self._in_transaction(session_id, work) if fields else None

    def delete_metadata(
        self,
        session_id: str,
        keys: Sequence[str],
        *,
        create: Mapping[str, Any] | None = None,
        created_at: datetime | None = None,
    ) -> datetime | None:
        """See :class:`~mongodb_session_manager.SessionCatalogue`. One transaction.

        Raises:
            ValueError: A key cannot be stored.
        """
        if isinstance(keys, str):
            raise TypeError("keys must be several keys, such as a list, not a single str")
        paths = [path_of(key) for key in keys]

        async def work(connection: Any) -> datetime:
            found = await self._touched(connection, session_id, create, created_at)
            await _change_metadata(connection, session_id, lambda stored: without_fields(stored, paths))
            return found

        return self._in_transaction(session_id, work) if paths else None

    def feedbacks(self, session_id: str) -> list[dict[str, Any]]:
        """See :class:`~mongodb_session_manager.SessionCatalogue`. One statement."""

        async def work(connection: Any) -> list[dict[str, Any]]:
            rows = await connection.fetch(_FEEDBACKS, as_key(session_id))
            return [{**decode(row["feedback"]), "created_at": row["created_at"]} for row in rows]

        return self._connections.call(work, session_id=session_id)

    def add_feedback(
        self,
        session_id: str,
        feedback: Mapping[str, Any],
        *,
        create: Mapping[str, Any] | None = None,
        created_at: datetime | None = None,
    ) -> datetime | None:
        """See :class:`~mongodb_session_manager.SessionCatalogue`. One transaction."""
        given = _mapping("feedback", feedback)
        entry = encode({name: value for name, value in given.items() if name != "created_at"})
        size = len(bson.encode({"v": entry}))  # as on MongoDB, so that the same fits
        token = secrets.token_urlsafe(12)

        async def work(connection: Any) -> datetime:
            found = await self._touched(connection, session_id, create, created_at)
            if await connection.fetchval(_HAS_FEEDBACK, as_key(session_id), token):
                return found
            if await connection.fetchval(_FEEDBACK_BYTES, as_key(session_id)) + size > _LARGEST_FEEDBACK:
                raise SessionTooLargeError(
                    f"the feedback in session {session_id!r} would exceed 1 MB; nothing was stored",
                    session_id=session_id,
                )
            await connection.execute(_ADD_FEEDBACK, as_key(session_id), entry, size, token)
            return found

        return self._in_transaction(session_id, work)

    def agent_summary(self, session_id: str, agent_id: str) -> AgentSummary | None:
        """See :class:`~mongodb_session_manager.SessionCatalogue`. One statement."""
        row = self._row(session_id, _AGENT, as_key(session_id), as_key(agent_id))
        return None if row is None else agent_summary(row["agent"])

    def update_agent_config(
        self, session_id: str, agent_id: str, config: Mapping[str, Any], *, changed_by: str | None = None
    ) -> None:
        """See :class:`~mongodb_session_manager.SessionCatalogue`. One transaction."""
        fields = Fields({name: encode(value) for name, value in config.items()})
        change = prompt_change(fields, "config", changed_by)

        async def work(connection: Any) -> bool:
            if await connection.fetchval(LOCK, as_key(session_id)) is None:
                return False
            key = as_key(session_id), as_key(agent_id)
            if await connection.fetchval(_CONFIGURE, *key, fields) is None:
                return False
            if change:
                await connection.execute(ADD_PROMPT_CHANGE, *key, change)
            return True

        if not self._in_transaction(session_id, work):
            raise SessionNotFoundError(
                f"agent {agent_id!r} in session {session_id!r} does not exist",
                session_id=session_id,
                agent_id=agent_id,
            )


async def _change_metadata(
    connection: Any, session_id: str, change: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    """Read, change and write the metadata of a session that is locked."""
    stored = await connection.fetchval(_METADATA, as_key(session_id))
    await connection.execute(_SET_METADATA, as_key(session_id), encode(change(dict(decode(stored)))))


def _mapping(name: str, value: Mapping[str, Any]) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise TypeError(f"{name} must be a mapping, not {type(value).__name__}")
    return value


_AGENT = f"""
SELECT {SUMMARY_OF_AGENT} AS agent FROM chat_agents
WHERE session_id = $1 AND part = 'agents' AND agent_id = $2 AND data IS NOT NULL
  AND EXISTS (SELECT FROM chat_sessions session WHERE session_id = $1 AND NOT chat_session_is_gone(session))
"""  # noqa: S608

_TITLE = "UPDATE chat_sessions SET title = $2 WHERE session_id = $1"
_METADATA = "SELECT metadata FROM chat_sessions session WHERE session_id = $1 AND NOT chat_session_is_gone(session)"
_SET_METADATA = "UPDATE chat_sessions SET metadata = $2 WHERE session_id = $1"

_FEEDBACKS = """
SELECT created_at, feedback FROM chat_feedback
WHERE session_id = $1
  AND EXISTS (SELECT FROM chat_sessions session WHERE session_id = $1 AND NOT chat_session_is_gone(session))
ORDER BY feedback_id
"""
_FEEDBACK_BYTES = """
SELECT COALESCE(sum(bytes), 0) FROM chat_feedback WHERE session_id = $1
"""
_ADD_FEEDBACK = "INSERT INTO chat_feedback (session_id, feedback, bytes, token) VALUES ($1, $2, $3, $4)"
_HAS_FEEDBACK = "SELECT EXISTS (SELECT FROM chat_feedback WHERE session_id = $1 AND token = $2)"

_CONFIGURE = """
UPDATE chat_agents SET data = data || $3::jsonb
WHERE session_id = $1 AND part = 'agents' AND agent_id = $2 AND data IS NOT NULL RETURNING true
"""
