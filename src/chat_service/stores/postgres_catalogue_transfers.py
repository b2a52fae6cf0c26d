"""Sessions on PostgreSQL as lines: exported, and imported again, here or elsewhere."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import bson

from mongodb_session_manager import (
    LoadedAgent,
    SessionConflictError,
    SessionError,
    SessionExport,
    SessionSummary,
    change_of,
    decode,
    encode,
    exported_lines,
    read_lines,
    valid_session_id,
)

from ..exceptions import ServiceError
from .connections import Work
from .postgres_catalogue_notes import SessionNotes
from .rows import Place, as_id, as_key, message_columns

__all__ = ["SessionTransfers"]

_MOST = 200
_AT_ONCE = 1024 * 1024


class SessionTransfers(SessionNotes):
    """Exports and imports sessions."""

    def export(self, session_id: str) -> SessionExport:
        """See :class:`~mongodb_session_manager.SessionCatalogue`. A statement for every few megabytes of messages."""
        self._known(session_id)
        return SessionExport(lambda: self._lines(session_id), self._background)

    def _lines(self, session_id: str) -> Iterator[str]:
        async def work(connection: Any) -> dict[str, dict[str, Any]]:
            rows = await connection.fetch(_GRAPHS, as_key(session_id))
            named = ("data", "created_at", "updated_at")
            return {as_id(row["agent_id"]): {name: row[name] for name in named} for row in rows}

        yield from exported_lines(
            self._store,
            self._known(session_id),
            graphs=self._connections.call(work, session_id=session_id),
            feedbacks=self.feedbacks(session_id),
        )

    def import_lines(
        self, lines: Iterable[str | bytes], *, session_id: str | None = None, owner: str | None = None
    ) -> SessionSummary:
        """See :class:`~mongodb_session_manager.SessionCatalogue`. A transaction for every megabyte of messages."""
        read = read_lines(lines)
        header = next(read).fields
        name = valid_session_id(header["session_id"] if session_id is None else session_id)
        if header["expires_at"] is not None and header["expires_at"] <= datetime.now(UTC):
            raise ValueError("line 1: the session has expired since it was exported")
        staged = _Import(self, name, secrets.token_urlsafe(12))
        staged.begin()
        try:
            for line in read:
                staged.take(line.number, line.kind, line.fields)
            staged.publish(header, owner)
        except BaseException:
            # What cannot be removed now is purged later; it was never seen.
            with suppress(ServiceError):
                self._row(name, _DROP, as_key(name), staged.token)
            raise
        return self._known(name)


class _Import:
    """A session that is being written and cannot be seen yet. Everything may be done twice."""

    def __init__(self, catalogue: SessionTransfers, session_id: str, token: str) -> None:
        self.token = token
        self._catalogue = catalogue
        self._session_id = session_id
        self._agent_id = ""
        self._count = self._bytes = 0
        self._messages: list[dict[str, Any]] = []

    def begin(self) -> None:
        """Insert it."""
        key = as_key(self._session_id)

        async def work(connection: Any) -> bool:
            await connection.execute(_REMOVE_GONE, key, self.token)
            await connection.execute(_STAGE, key, self.token)
            return bool(await connection.fetchval(_IS_OURS, key, self.token))

        if not self._catalogue._in_transaction(self._session_id, work):
            raise SessionError(f"session {self._session_id!r} exists already", session_id=self._session_id)

    def take(self, number: int, kind: str, fields: Mapping[str, Any]) -> None:
        """Write what a line says; messages when there are some."""
        if kind == "message":
            self._messages.append({**fields["stored"], "message_id": self._count})
            self._count += 1
            self._bytes += len(bson.encode(fields["stored"]))
            if self._bytes > _AT_ONCE or len(self._messages) >= _MOST:
                self._write()
            return
        self._write()
        if kind == "feedback":
            self._feedback(number, decode(fields["feedback"]))
            return
        agent_id = str(decode(fields["agent_id"]))
        part = "agents" if kind == "agent" else "multi_agents"
        if kind == "agent":
            self._agent_id, self._count = agent_id, 0
        arguments = (part, as_key(agent_id), secrets.token_urlsafe(12), fields["data"], fields.get("count", 0))
        dates = [_date(fields[name]) for name in ("created_at", "updated_at")]
        self._execute(_AGENT, *arguments, fields.get("totals", {}), *dates)

    def _write(self) -> None:
        messages, self._messages, self._bytes = self._messages, [], 0
        if messages:
            nowhere = LoadedAgent(at=Place("agents", self._agent_id), count=self._count)
            commit = replace(change_of(self._agent_id, nowhere, {}), messages=messages)
            self._execute(_MESSAGES, as_key(self._agent_id), *message_columns(commit, self._session_id))

    def _feedback(self, number: int, feedback: Any) -> None:
        if not isinstance(feedback, dict):
            raise ValueError(f"line {number}: it is not a feedback")
        entry = encode({name: value for name, value in feedback.items() if name != "created_at"})
        size = len(bson.encode({"v": entry}))
        self._execute(_FEEDBACK, _date(feedback.get("created_at")), entry, size, f"{self.token}/{number}")

    def publish(self, header: Mapping[str, Any], owner: str | None) -> None:
        """Let it be seen."""
        self._write()
        rolling = header["lifetime"] is not None
        texts = (header["title"], header["owner"] if owner is None else owner, header["application_name"])
        self._execute(
            _PUBLISH,
            self.token,
            *(None if text is None else as_key(text) for text in texts),
            header["created_at"],
            datetime.now(UTC) if rolling else header["updated_at"],
            header["metadata"],
            float(header["lifetime"]) if rolling else None,
            header["expires_at"],
        )

    def _execute(self, statement: str, *arguments: Any) -> None:
        key = as_key(self._session_id)

        async def work(connection: Any) -> bool:
            if not await connection.fetchval(_IS_OURS, key, self.token):
                return False
            await connection.execute(statement, key, *arguments)
            return True

        if not self._done(work):
            raise SessionConflictError(
                f"session {self._session_id!r} was made by somebody else while it was imported; nothing of the import"
                " is kept",
                session_id=self._session_id,
            )

    def _done(self, work: Work[bool]) -> bool:
        return self._catalogue._in_transaction(self._session_id, work)


def _date(value: Any) -> datetime:
    return value if isinstance(value, datetime) else datetime.now(UTC)


_GRAPHS = """
SELECT agent_id, data, created_at, updated_at FROM chat_agents
WHERE session_id = $1 AND part = 'multi_agents' AND data IS NOT NULL ORDER BY agent_id
"""

_REMOVE_GONE = """
DELETE FROM chat_sessions session
WHERE session_id = $1 AND importing IS DISTINCT FROM $2 AND chat_session_is_gone(session)
"""

_STAGE = "INSERT INTO chat_sessions (session_id, importing, token) VALUES ($1, $2, $2) ON CONFLICT DO NOTHING"

# The token is left when the import is done, so that what is sent again then is taken for done.
_IS_OURS = """
UPDATE chat_sessions SET last_accessed = CASE WHEN importing IS NULL THEN last_accessed ELSE clock_timestamp() END
WHERE session_id = $1 AND token = $2 RETURNING true
"""

_DROP = "DELETE FROM chat_sessions WHERE session_id = $1 AND importing = $2 RETURNING session_id"

_AGENT = """
INSERT INTO chat_agents (session_id, part, agent_id, revision, data, message_count, totals, created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING
"""

_MESSAGES = """
INSERT INTO chat_messages (session_id, agent_id, position, message_id, role, content, selected_text, "timestamp",
                           updated_at, response_time_ms, message, details)
SELECT $1, $2, new.* FROM unnest($3::integer[], $4::text[], $5::text[], $6::text[], $7::text[], $8::timestamptz[],
                                 $9::timestamptz[], $10::float8[], $11::jsonb[], $12::jsonb[]) AS new
ON CONFLICT DO NOTHING
"""

_FEEDBACK = """
INSERT INTO chat_feedback (session_id, created_at, feedback, bytes, token) SELECT $1, $2, $3, $4, $5
WHERE NOT EXISTS (SELECT FROM chat_feedback WHERE session_id = $1 AND token = $5)
"""

_PUBLISH = """
UPDATE chat_sessions SET importing = NULL, title = $3, owner = $4, application_name = $5, created_at = $6,
                         last_accessed = $7, metadata = $8, lifetime = $9, expires_at = $10
WHERE session_id = $1 AND importing = $2
"""
