"""Forks, rewinds and redactions on PostgreSQL. A fork is a copy."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from mongodb_session_manager import (
    AgentSummary,
    LoadedAgent,
    OriginalMessage,
    SessionBusyError,
    SessionError,
    SessionNotFoundError,
    SessionSummary,
    cut_data,
    looked_at,
    redact_message,
    refuse_cut,
    session_message,
    valid_session_id,
)

from ..models import public_message_id
from .faithful_json import Fields
from .postgres_catalogue_rows import SUMMARY_OF_AGENT, SessionRows, unknown
from .rows import agent_summary, as_id, as_key

__all__ = ["SessionForks"]


class SessionForks(SessionRows):
    """Begins sessions with the history of others, and cuts histories."""

    def fork(
        self,
        session_id: str,
        new_id: str,
        *,
        agent_id: str = "default",
        at: int | None = None,
        owner: str | None = None,
        title: str | None = None,
    ) -> SessionSummary:
        """See :class:`~mongodb_session_manager.SessionCatalogue`. One transaction of at most eleven statements."""
        key, new_key, agent_key = as_key(session_id), as_key(valid_session_id(new_id)), as_key(agent_id)
        texts = [None if text is None else as_key(text) for text in (owner, title)]
        token = secrets.token_urlsafe(12)

        async def work(connection: Any) -> SessionSummary:
            if await connection.fetchval(_IS_THERE, key) is None:
                raise unknown(session_id)
            agent = await self._agent(connection, session_id, agent_id)
            position = agent["message_count"] if at is None else at
            data = await _cut(connection, key, agent_key, agent, position)
            await connection.execute(_REMOVE_GONE, new_key)
            await connection.execute(_FORK, new_key, key, *texts, token)
            if await connection.fetchval(_TOKEN, new_key) != token:
                raise SessionError(f"session {new_id!r} exists already", session_id=new_id)
            revision = secrets.token_urlsafe(12)
            forked = await connection.fetchval(_FORK_AGENT, new_key, key, agent_key, revision, Fields(data), position)
            if forked is not None:  # else a repeat of what was done already
                await connection.execute(_FORK_MESSAGES, new_key, key, agent_key, position)
                await connection.execute(_FORK_ORIGINS, new_key, key, agent_key, position)
                await self._name_messages(connection, new_id, agent_key)
            return await self._summary(connection, new_id)

        return self._in_transaction(session_id, work)

    async def _name_messages(self, connection: Any, new_id: str, agent_key: str) -> None:
        """Give those of its messages that are known by session and place other public ids."""
        rows = await connection.fetch(_UNTRACKED, as_key(new_id), agent_key)
        positions = [row["position"] for row in rows]
        if positions:
            names = [public_message_id({"role": "user", "content": []}, f"{new_id}/{each}") for each in positions]
            await connection.execute(_NAME, as_key(new_id), agent_key, positions, names)

    async def _agent(self, connection: Any, session_id: str, agent_id: str) -> Any:
        agent = await connection.fetchrow(_AGENT, as_key(session_id), as_key(agent_id))
        if agent is None:
            raise SessionNotFoundError(
                f"agent {agent_id!r} in session {session_id!r} does not exist",
                session_id=session_id,
                agent_id=agent_id,
            )
        return agent

    def rewind(
        self, session_id: str, position: int, *, agent_id: str = "default", turn_timeout: float = 30.0
    ) -> AgentSummary:
        """See :class:`~mongodb_session_manager.SessionCatalogue`. One transaction of at most seven statements."""
        key, agent_key = as_key(session_id), as_key(agent_id)

        async def work(connection: Any) -> AgentSummary:
            await self._touched(connection, session_id)
            agent = await self._agent(connection, session_id, agent_id)
            wait = turn_timeout - (agent["age"] or 0)
            if agent["turn_owner"] is not None and wait > 0:
                raise SessionBusyError(
                    f"a turn of agent {agent_id!r} in session {session_id!r} is running; try again when it has ended",
                    session_id=session_id,
                    agent_id=agent_id,
                    retry_after=wait,
                )
            data = await _cut(connection, key, agent_key, agent, position)
            await connection.execute(_CUT_MESSAGES, key, agent_key, position)
            await connection.execute(_CUT_ORIGINS, key, agent_key, position)
            revision = secrets.token_urlsafe(12)
            row = await connection.fetchrow(_CUT_AGENT, key, agent_key, position, revision, Fields(data))
            return agent_summary(row["agent"])

        return self._in_transaction(session_id, work)

    def redact(
        self,
        session_id: str,
        position: int,
        replacement: str = "[redacted]",
        *,
        agent_id: str = "default",
        turn_timeout: float = 30.0,
    ) -> list[str]:
        """See :class:`~mongodb_session_manager.SessionCatalogue`. For each session a statement and a transaction."""

        def forks_of(agent: LoadedAgent) -> list[str]:
            async def work(connection: Any) -> list[str]:
                arguments = (as_key(session_id), as_key(agent_id), agent.created_at, position)
                return [as_id(row["session_id"]) for row in await connection.fetch(_FORKS_OF, *arguments)]

            return self._connections.call(work, session_id=session_id)

        return redact_message(
            self._store,
            session_id,
            agent_id,
            position,
            replacement,
            turn_timeout,
            forks_of,
            keeps_originals=self._keeps_originals,
        )

    def originals(self, session_id: str, agent_id: str = "default") -> list[OriginalMessage]:
        """See :class:`~mongodb_session_manager.SessionCatalogue`. Two statements."""

        async def work(connection: Any) -> list[OriginalMessage]:
            if await connection.fetchval(_EXISTS, as_key(session_id)) is None:
                raise unknown(session_id)
            rows = await connection.fetch(_ORIGINALS, as_key(session_id), as_key(agent_id))
            return [
                OriginalMessage(
                    position=row["position"],
                    redacted_at=row["redacted_at"],
                    message=session_message(row, row["position"]).message,
                )
                for row in rows
            ]

        return self._connections.call(work, session_id=session_id)


async def _cut(connection: Any, key: str, agent_key: str, agent: Mapping[str, Any], position: int) -> dict[str, Any]:
    """The data of an agent after a cut, if it can be cut there."""
    data, count = agent["data"], agent["message_count"]
    refuse_cut(position, count, {})
    window = looked_at(data, count, position)
    rows = await connection.fetch(_WINDOW, key, agent_key, window.start, window.stop)
    messages = {row["position"]: {"message": row["message"]} for row in rows}
    refuse_cut(position, count, messages)
    return cut_data(data, count, position, messages)


_EXISTS = "SELECT true FROM chat_sessions session WHERE session_id = $1 AND NOT chat_session_is_gone(session)"
_ORIGINALS = """
SELECT position, redacted_at, message FROM chat_originals
WHERE session_id = $1 AND agent_id = $2 ORDER BY position, redacted_at
"""

_IS_THERE = """
SELECT true FROM chat_sessions session WHERE session_id = $1 AND NOT chat_session_is_gone(session) FOR SHARE
"""

_REMOVE_GONE = "DELETE FROM chat_sessions session WHERE session_id = $1 AND chat_session_is_gone(session)"

_TOKEN = "SELECT token FROM chat_sessions WHERE session_id = $1"  # noqa: S105

_AGENT = """
SELECT data, message_count, turn_owner, extract(epoch FROM clock_timestamp() - turn_stamp)::float8 AS age
FROM chat_agents WHERE session_id = $1 AND part = 'agents' AND agent_id = $2 AND data IS NOT NULL
"""

_WINDOW = """
SELECT position, message FROM chat_messages
WHERE session_id = $1 AND agent_id = $2 AND position >= $3 AND position < $4
"""

_FORK = """
INSERT INTO chat_sessions (session_id, title, owner, application_name, metadata, lifetime, expires_at, token)
SELECT $1, COALESCE($4::text, title), COALESCE($3::text, owner), application_name, metadata, lifetime, expires_at, $5
FROM chat_sessions WHERE session_id = $2
ON CONFLICT DO NOTHING
"""

_FORK_AGENT = """
INSERT INTO chat_agents (session_id, part, agent_id, revision, data, message_count)
SELECT $1, part, agent_id, $4, data || $5::jsonb, $6::integer FROM chat_agents
WHERE session_id = $2 AND part = 'agents' AND agent_id = $3
ON CONFLICT DO NOTHING RETURNING true
"""

_FORK_MESSAGES = """
INSERT INTO chat_messages (session_id, agent_id, position, message_id, role, content, selected_text, "timestamp",
                           updated_at, response_time_ms, message, details)
SELECT $1, agent_id, position, message_id, role, content, selected_text, "timestamp", updated_at, response_time_ms,
       message, details
FROM chat_messages WHERE session_id = $2 AND agent_id = $3 AND position < $4
"""

_FORK_ORIGINS = """
INSERT INTO chat_forks (session_id, depth, origin_id, origin_created_at, origin_owner, agent_id, messages)
SELECT $1, row_number() OVER (ORDER BY depth), origin_id, origin_created_at, origin_owner, agent_id,
       LEAST(messages, $4::integer)
FROM (
    SELECT depth, origin_id, origin_created_at, origin_owner, agent_id, messages
    FROM chat_forks WHERE session_id = $2 AND agent_id = $3
    UNION ALL
    SELECT 2147483647, session_id, created_at, owner, $3, $4::integer FROM chat_sessions WHERE session_id = $2
) origins
"""

_UNTRACKED = """
SELECT position FROM chat_messages
WHERE session_id = $1 AND agent_id = $2 AND COALESCE(message ->> 'tracking_id', '') = ''
"""

_NAME = """
UPDATE chat_messages SET message_id = named.message_id
FROM unnest($3::integer[], $4::text[]) AS named (position, message_id)
WHERE session_id = $1 AND agent_id = $2 AND chat_messages.position = named.position
"""

_CUT_MESSAGES = "DELETE FROM chat_messages WHERE session_id = $1 AND agent_id = $2 AND position >= $3"

_CUT_ORIGINS = "UPDATE chat_forks SET messages = LEAST(messages, $3) WHERE session_id = $1 AND agent_id = $2"

_CUT_AGENT = f"""
UPDATE chat_agents SET message_count = $3, revision = $4, data = data || $5::jsonb, turn_owner = NULL,
                       turn_stamp = NULL, updated_at = clock_timestamp()
WHERE session_id = $1 AND part = 'agents' AND agent_id = $2 RETURNING {SUMMARY_OF_AGENT} AS agent
"""  # noqa: S608

_FORKS_OF = """
SELECT session_id FROM chat_forks
WHERE origin_id = $1 AND agent_id = $2 AND origin_created_at = $3 AND messages > $4 ORDER BY session_id
"""
