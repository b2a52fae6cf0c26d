"""PostgreSQL beside a turn: the catalogue of sessions, their metadata and their feedback."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any, TypeVar

import bson
from strands.types.session import SessionMessage

from mongodb_session_manager import (
    AgentSummary,
    Awaitables,
    Background,
    LoadedAgent,
    SessionError,
    SessionNotFoundError,
    SessionPage,
    SessionSummary,
    SessionTooLargeError,
    decode,
    encode,
    session_message,
    valid_session_id,
)

from .connections import Connections, Work
from .faithful_json import Fields
from .metadata import path_of, paths_of, with_fields, without_fields
from .postgres_store import load_agent, touch
from .rows import agent_summary, as_id, as_key, session_summary

__all__ = ["PostgresSessionCatalogue"]

T = TypeVar("T")

_LARGEST_FEEDBACK = 1024 * 1024


class PostgresSessionCatalogue:
    """A :class:`~mongodb_session_manager.SessionCatalogue` on the tables of ``migrations/``."""

    def __init__(self, connections: Connections, background: Background) -> None:
        """Use these connections, and these threads for the awaitable forms; no I/O."""
        self._connections = connections
        self._background = background

    @cached_property
    def aio(self) -> Awaitables:
        """The awaitable form of every method."""
        methods = {name for name, value in vars(type(self)).items() if callable(value) and not name.startswith("_")}
        return Awaitables(self, self._background, frozenset(methods))

    def create(
        self,
        session_id: str,
        *,
        metadata: Mapping[str, Any] | None = None,
        title: str | None = None,
        owner: str | None = None,
        application_name: str | None = None,
    ) -> SessionSummary:
        """See :class:`~mongodb_session_manager.SessionCatalogue`."""
        texts = (None if text is None else as_key(text) for text in (title, owner, application_name))
        key, token = as_key(valid_session_id(session_id)), secrets.token_urlsafe(12)
        arguments = (key, *texts, encode(dict(metadata or {})), token)

        async def work(connection: Any) -> SessionSummary | None:
            await connection.execute(_INSERT, *arguments)
            is_ours = await connection.fetchval(_TOKEN, key) == token
            return session_summary(await connection.fetchrow(_GET, key)) if is_ours else None

        summary = self._in_transaction(session_id, work)
        if summary is None:
            raise SessionError(f"session {session_id!r} exists already", session_id=session_id)
        return summary

    def get(self, session_id: str) -> SessionSummary | None:
        """See :class:`~mongodb_session_manager.SessionCatalogue`. One statement."""
        row = self._row(session_id, _GET, as_key(session_id))
        return None if row is None else session_summary(row)

    def page(
        self,
        *,
        limit: int = 50,
        cursor: str | None = None,
        owner: str | None = None,
        application_name: str | None = None,
    ) -> SessionPage:
        """See :class:`~mongodb_session_manager.SessionCatalogue`. One statement.

        Raises:
            ValueError: ``limit`` is below 1, or the cursor is not one of ours.
        """
        if limit < 1:
            raise ValueError(f"limit must be at least 1, not {limit}")
        before = (None, None) if cursor is None else _read_cursor(cursor)
        texts = (None if text is None else as_key(text) for text in (owner, application_name))
        arguments = (*before, *texts, min(limit, 2**31) + 1)

        async def work(connection: Any) -> list[SessionSummary]:
            return [session_summary(row) for row in await connection.fetch(_PAGE, *arguments)]

        found = self._connections.call(work)
        more = len(found) > limit
        return SessionPage(items=found[:limit], next_cursor=_cursor(found[limit - 1]) if more else None)

    def messages(
        self, session_id: str, agent_id: str = "default", *, limit: int | None = None, offset: int = 0
    ) -> list[SessionMessage]:
        """See :class:`~mongodb_session_manager.SessionCatalogue`. One statement.

        Raises:
            ValueError: ``limit`` or ``offset`` is negative.
        """
        if offset < 0 or (limit is not None and limit < 0):
            raise ValueError(f"limit and offset must not be negative: limit={limit}, offset={offset}")
        return self._messages(session_id, agent_id, start=offset, stop=None if limit is None else offset + limit)

    def messages_before(
        self, session_id: str, agent_id: str = "default", *, position: int | None = None, limit: int = 50
    ) -> list[SessionMessage]:
        """See :class:`~mongodb_session_manager.SessionCatalogue`. One statement.

        Raises:
            ValueError: ``position`` is negative or ``limit`` below 1.
        """
        if limit < 1 or (position is not None and position < 0):
            raise ValueError(f"position must not be negative and limit at least 1: position={position}, limit={limit}")
        return self._messages(session_id, agent_id, stop=position, limit=limit)

    def _messages(
        self,
        session_id: str,
        agent_id: str,
        *,
        start: int | None = None,
        stop: int | None = None,
        limit: int | None = None,
    ) -> list[SessionMessage]:
        async def work(connection: Any) -> LoadedAgent:
            return await load_agent(connection, session_id, agent_id, start=start, stop=stop, limit=limit)

        agent = self._connections.call(work, session_id=session_id)
        if not agent.found:
            raise _unknown(session_id)
        return [session_message(stored, agent.first + index) for index, stored in enumerate(agent.messages)]

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
            row = await connection.fetchrow(_GET, as_key(session_id))
            if row is None:
                raise _unknown(session_id)
            return session_summary(row)

        return self._in_transaction(session_id, work)

    def delete(self, session_id: str) -> bool:
        """See :class:`~mongodb_session_manager.SessionCatalogue`. One statement."""
        return self._row(session_id, _DELETE, as_key(session_id)) is not None

    def clear_turns(self) -> int:
        """See :class:`~mongodb_session_manager.SessionCatalogue`. One statement."""
        row = self._row(None, _CLEAR_TURNS)
        return int(row["sessions"])

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

    def update_agent_config(self, session_id: str, agent_id: str, config: Mapping[str, Any]) -> None:
        """See :class:`~mongodb_session_manager.SessionCatalogue`. One transaction."""
        fields = Fields({name: encode(value) for name, value in config.items()})

        async def work(connection: Any) -> bool:
            await touch(connection, session_id)
            changed = await connection.fetchval(_CONFIGURE, as_key(session_id), as_key(agent_id), fields)
            return changed is not None

        if not self._in_transaction(session_id, work):
            raise SessionNotFoundError(
                f"agent {agent_id!r} in session {session_id!r} does not exist",
                session_id=session_id,
                agent_id=agent_id,
            )

    def _row(self, session_id: str | None, statement: str, *arguments: Any) -> Any:
        async def work(connection: Any) -> Any:
            return await connection.fetchrow(statement, *arguments)

        return self._connections.call(work, session_id=session_id)

    def _in_transaction(self, session_id: str, work: Work[T]) -> T:
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
        """Lock the session that is meant; when it was created."""
        found = await touch(connection, valid_session_id(session_id), None if create is None else dict(create))
        if found is None or created_at not in (None, found):
            raise _unknown(session_id)
        return found


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


def _unknown(session_id: str) -> SessionNotFoundError:
    return SessionNotFoundError(f"session {session_id!r} does not exist", session_id=session_id)


def _cursor(last: SessionSummary) -> str:
    return base64.urlsafe_b64encode(
        json.dumps([last.updated_at.isoformat(), as_key(last.session_id)]).encode()
    ).decode()


def _read_cursor(cursor: str) -> tuple[datetime, str]:
    try:
        updated_at, key = json.loads(base64.urlsafe_b64decode(cursor.encode()))
        moment = datetime.fromisoformat(updated_at)
        if moment.tzinfo is None or as_key(as_id(key)) != key:
            raise ValueError("not ours")
        return moment, key
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise ValueError("the cursor is not one that a page of sessions returned") from error


# An agent exists if its data does: a turn may have been taken before anything was written.
_SUMMARY_OF_AGENT = """
jsonb_build_object('agent_id', agent_id, 'count', message_count, 'totals', totals,
                   'data', data - 'conversation_manager_state' - '_internal_state')
"""

_SUMMARY = f"""
SELECT session_id, created_at, last_accessed, metadata, title, owner, application_name,
       (SELECT jsonb_agg({_SUMMARY_OF_AGENT} ORDER BY agent.created_at, agent_id) FROM chat_agents agent
        WHERE agent.session_id = session.session_id AND part = 'agents' AND data IS NOT NULL) AS agents
FROM chat_sessions session
"""  # noqa: S608

_GET = f"{_SUMMARY} WHERE session_id = $1"

_PAGE = f"""
{_SUMMARY}
WHERE ($1::timestamptz IS NULL OR (last_accessed, session_id) < ($1::timestamptz, $2::text))
  AND ($3::text IS NULL OR owner = $3::text) AND ($4::text IS NULL OR application_name = $4::text)
ORDER BY last_accessed DESC, session_id DESC LIMIT $5::bigint
"""

_AGENT = f"""
SELECT {_SUMMARY_OF_AGENT} AS agent FROM chat_agents
WHERE session_id = $1 AND part = 'agents' AND agent_id = $2 AND data IS NOT NULL
"""  # noqa: S608

_INSERT = """
INSERT INTO chat_sessions (session_id, title, owner, application_name, metadata, token)
VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING
"""

_TOKEN = "SELECT token FROM chat_sessions WHERE session_id = $1"  # noqa: S105

_TITLE = "UPDATE chat_sessions SET title = $2 WHERE session_id = $1"
_METADATA = "SELECT metadata FROM chat_sessions WHERE session_id = $1"
_SET_METADATA = "UPDATE chat_sessions SET metadata = $2 WHERE session_id = $1"
_DELETE = "DELETE FROM chat_sessions WHERE session_id = $1 RETURNING session_id"

_CLEAR_TURNS = """
WITH freed AS (
    UPDATE chat_agents SET turn_owner = NULL, turn_stamp = NULL WHERE turn_owner IS NOT NULL RETURNING session_id
)
SELECT count(DISTINCT session_id) AS sessions FROM freed
"""

_FEEDBACKS = "SELECT created_at, feedback FROM chat_feedback WHERE session_id = $1 ORDER BY feedback_id"
_FEEDBACK_BYTES = """
SELECT COALESCE(sum(bytes), 0) FROM chat_feedback WHERE session_id = $1
"""
_ADD_FEEDBACK = "INSERT INTO chat_feedback (session_id, feedback, bytes, token) VALUES ($1, $2, $3, $4)"
_HAS_FEEDBACK = "SELECT EXISTS (SELECT FROM chat_feedback WHERE session_id = $1 AND token = $2)"

_CONFIGURE = """
UPDATE chat_agents SET data = data || $3::jsonb
WHERE session_id = $1 AND part = 'agents' AND agent_id = $2 AND data IS NOT NULL RETURNING true
"""
