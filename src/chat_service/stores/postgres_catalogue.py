"""PostgreSQL beside a turn: the catalogue of sessions."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from strands.types.session import SessionMessage

from mongodb_session_manager import (
    Awaitables,
    LoadedAgent,
    SessionError,
    SessionSummary,
    encode,
    session_message,
    valid_session_id,
)
from mongodb_session_manager.telemetry import traced

from .postgres_catalogue_forks import SessionForks
from .postgres_catalogue_lifetimes import SessionLifetimes
from .postgres_catalogue_listing import SessionListing
from .postgres_catalogue_rows import unknown
from .postgres_catalogue_transfers import SessionTransfers
from .postgres_store import load_agent
from .rows import as_key

__all__ = ["PostgresSessionCatalogue"]


@traced(lambda catalogue: catalogue.attributes)
class PostgresSessionCatalogue(SessionListing, SessionLifetimes, SessionForks, SessionTransfers):
    """A :class:`~mongodb_session_manager.SessionCatalogue` on the tables of ``migrations/``."""

    @cached_property
    def aio(self) -> Awaitables:
        """The awaitable form of every method."""
        kind = type(self)
        methods = {name for name in dir(kind) if not name.startswith("_") and callable(getattr(kind, name))}
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
            await connection.execute(_REMOVE_GONE, key)
            await connection.execute(_INSERT, *arguments)
            is_ours = await connection.fetchval(_TOKEN, key) == token
            return await self._summary(connection, session_id) if is_ours else None

        summary = self._in_transaction(session_id, work)
        if summary is None:
            raise SessionError(f"session {session_id!r} exists already", session_id=session_id)
        return summary

    def messages(
        self, session_id: str, agent_id: str = "default", *, limit: int | None = None, offset: int = 0
    ) -> list[SessionMessage]:
        """See :class:`~mongodb_session_manager.SessionCatalogue`. Two statements.

        Raises:
            ValueError: ``limit`` or ``offset`` is negative.
        """
        if offset < 0 or (limit is not None and limit < 0):
            raise ValueError(f"limit and offset must not be negative: limit={limit}, offset={offset}")
        return self._messages(session_id, agent_id, start=offset, stop=None if limit is None else offset + limit)

    def messages_before(
        self, session_id: str, agent_id: str = "default", *, position: int | None = None, limit: int = 50
    ) -> list[SessionMessage]:
        """See :class:`~mongodb_session_manager.SessionCatalogue`. Two statements.

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
            if not await connection.fetchval(_IS_THERE, as_key(session_id)):
                raise unknown(session_id)
            return await load_agent(connection, session_id, agent_id, start=start, stop=stop, limit=limit)

        agent = self._connections.call(work, session_id=session_id)
        if not agent.found:
            raise unknown(session_id)
        return [session_message(stored, agent.first + index) for index, stored in enumerate(agent.messages)]

    def clear_turns(self) -> int:
        """See :class:`~mongodb_session_manager.SessionCatalogue`. One statement."""
        row = self._row(None, _CLEAR_TURNS)
        return int(row["sessions"])


_INSERT = """
INSERT INTO chat_sessions (session_id, title, owner, application_name, metadata, token)
VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING
"""

_TOKEN = "SELECT token FROM chat_sessions WHERE session_id = $1"  # noqa: S105

_REMOVE_GONE = "DELETE FROM chat_sessions session WHERE session_id = $1 AND chat_session_is_gone(session)"
_IS_THERE = "SELECT true FROM chat_sessions session WHERE session_id = $1 AND NOT chat_session_is_gone(session)"

_CLEAR_TURNS = """
WITH freed AS (
    UPDATE chat_agents SET turn_owner = NULL, turn_stamp = NULL WHERE turn_owner IS NOT NULL RETURNING session_id
)
SELECT count(DISTINCT session_id) AS sessions FROM freed
"""
