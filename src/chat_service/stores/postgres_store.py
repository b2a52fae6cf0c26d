"""PostgreSQL for a turn: one statement to load, one transaction to commit."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NoReturn

from asyncpg import exceptions as driver

from mongodb_session_manager import (
    Claim,
    Commit,
    Committed,
    LoadedAgent,
    SessionBusyError,
    SessionConflictError,
    SessionNotFoundError,
    SessionTooLargeError,
    prompt_change,
    valid_session_id,
)
from mongodb_session_manager.telemetry import traced

from .connections import Connections, DatabaseUnavailable
from .faithful_json import Fields
from .rows import Part, Place, as_key, changed_columns, loaded_agent, message_columns

__all__ = ["ADD_PROMPT_CHANGE", "PostgresSessionStore", "load_agent", "touch"]

_LARGEST_INT = 2**31 - 1
_RENEWAL_SECONDS = 5.0


@traced(lambda store: store.attributes, "load", "messages", "commit", "claim")
class PostgresSessionStore:
    """A :class:`~mongodb_session_manager.SessionStore` on the tables of ``migrations/``.

    Every change locks the row of its session first, so that the changes of one session come one after the other. What
    decides is still the compare-and-set on the revision; a commit that is sent again finds its own revision.
    """

    def __init__(self, connections: Connections) -> None:
        """Use these connections; no I/O."""
        self._connections = connections
        self.attributes = connections.address.attributes

    @property
    def max_concurrency(self) -> int:
        """The size of the pool."""
        return self._connections.max_size

    @property
    def outages(self) -> tuple[type[Exception], ...]:
        """What is raised when the server could not be reached for some seconds; the driver's error is its cause."""
        return (DatabaseUnavailable,)

    def load(self, session_id: str, agent_id: str, part: Part = "agents") -> LoadedAgent:
        """See :class:`~mongodb_session_manager.SessionStore`. One statement."""

        async def work(connection: Any) -> LoadedAgent:
            return await load_agent(connection, session_id, agent_id, part)

        return self._connections.call(work, session_id=session_id)

    def messages(self, session_id: str, agent_id: str, offset: int = 0, limit: int | None = None) -> LoadedAgent:
        """See :class:`~mongodb_session_manager.SessionStore`. One statement."""

        async def work(connection: Any) -> LoadedAgent:
            stop = None if limit is None else offset + limit
            return await load_agent(connection, session_id, agent_id, start=offset, stop=stop)

        return self._connections.call(work, session_id=session_id)

    def commit(self, session_id: str, commit: Commit, turn_timeout: float) -> Committed:
        """See :class:`~mongodb_session_manager.SessionStore`. One transaction."""
        valid_session_id(session_id)

        async def work(connection: Any) -> Committed:
            async with connection.transaction(isolation="read_committed"):
                return await _commit(connection, session_id, commit, turn_timeout)

        try:
            return self._connections.call(work, session_id=session_id)
        except driver.ProgramLimitExceededError as error:
            raise SessionTooLargeError(
                f"a message or the state of agent {commit.agent_id!r} in session {session_id!r} is larger than"
                " PostgreSQL can hold; nothing was written",
                session_id=session_id,
                agent_id=commit.agent_id,
            ) from error

    def claim(self, session_id: str, claim: Claim, turn_timeout: float) -> LoadedAgent:
        """See :class:`~mongodb_session_manager.SessionStore`. One transaction."""
        valid_session_id(session_id)

        async def work(connection: Any) -> LoadedAgent:
            async with connection.transaction(isolation="read_committed"):
                return await _claim(connection, session_id, claim, turn_timeout)

        return self._connections.call(work, session_id=session_id)

    def renew(self, session_id: str, at: Place, owner: str) -> bool:
        """See :class:`~mongodb_session_manager.SessionStore`. One statement, given up after five seconds."""

        async def work(connection: Any) -> bool:
            key = as_key(session_id), at.part, as_key(at.agent_id)
            return await connection.fetchval(_RENEW, *key, owner) is not None

        return self._connections.call(work, session_id=session_id, timeout=_RENEWAL_SECONDS)


async def load_agent(
    connection: Any,
    session_id: str,
    agent_id: str,
    part: Part = "agents",
    *,
    start: int | None = None,
    stop: int | None = None,
    limit: int | None = None,
) -> LoadedAgent:
    """Read one agent with some of its messages, by default those that its conversation manager kept.

    Args:
        connection: Of asyncpg.
        session_id: The session.
        agent_id: The agent.
        part: Whether it is an agent or a graph.
        start: The first position.
        stop: Up to before this position.
        limit: So many before ``stop``.
    """
    window = (None if value is None else min(value, _LARGEST_INT) for value in (start, stop, limit))
    row = await connection.fetchrow(_LOAD, as_key(session_id), part, as_key(agent_id), *window)
    return loaded_agent(row, part, agent_id)


async def touch(connection: Any, session_id: str, create: dict[str, Any] | None = None) -> datetime | None:
    """Lock a session until the transaction ends, and note that it changes.

    Args:
        connection: In a transaction.
        session_id: The session.
        create: If it may be created, the fields that it then starts with.

    Returns:
        When it was created, ``None`` if there is none.
    """
    if create is None:
        found: datetime | None = await connection.fetchval(_TOUCH, as_key(session_id))
        return found
    texts = (create.get(name) for name in ("title", "owner", "application_name"))
    arguments = (None if text is None else as_key(text) for text in texts)
    await connection.execute(_CLEAR, as_key(session_id))
    made: datetime = await connection.fetchval(_CREATE, as_key(session_id), *arguments)
    return made


async def _commit(connection: Any, session_id: str, commit: Commit, turn_timeout: float) -> Committed:
    at: Place = commit.at
    created_at = await touch(connection, session_id, dict(commit.session) if commit.create else None)
    if created_at is None or commit.created_at not in (None, created_at):
        raise _gone(session_id, commit.agent_id)
    key = as_key(session_id), at.part, as_key(at.agent_id)
    standing = await connection.fetchrow(_STANDING, *key)
    committed = Committed(
        at=Place(at.part, at.agent_id, commit.count), created_at=created_at if commit.create else None
    )
    if standing is not None and standing["revision"] == commit.revision:
        return committed
    _refuse(session_id, commit, standing, turn_timeout)
    totals = dict(standing["totals"]) if standing is not None else {}
    for name, value in commit.totals.items():
        totals[name] = totals.get(name, 0) + value
    data = Fields(commit.data) if commit.data else None
    turn = commit.owner if commit.holds else None
    await connection.execute(_WRITE, *key, commit.revision, data, commit.count, totals, turn)
    if commit.messages:
        await connection.execute(_APPEND, key[0], key[2], *message_columns(commit, session_id))
    for position, fields in commit.changes.items():
        await connection.execute(_CHANGE, key[0], key[2], position, *changed_columns(fields))
    for position, original in commit.originals.items():
        await connection.execute(_KEEP, key[0], key[2], position, original["redacted_at"], original["message"])
    if at.part == "agents" and (changed := prompt_change(commit.data, "turn")):
        await connection.execute(ADD_PROMPT_CHANGE, key[0], key[2], changed)
    return committed


def _refuse(session_id: str, commit: Commit, standing: Any, turn_timeout: float) -> None:
    """Raise unless the agent is as the commit expects it."""
    found = None if standing is None else standing["revision"]
    count = 0 if standing is None else standing["message_count"]
    _refuse_turn(session_id, commit.agent_id, standing, commit.owner, turn_timeout)
    if (found, count) == (commit.expected, commit.at.count):
        return
    if commit.create:  # who found nothing has no history that could have moved on: somebody else was first
        _busy(session_id, commit.agent_id, 0.0)
    raise SessionConflictError(
        f"agent {commit.agent_id!r} in session {session_id!r} was changed by another writer since it was loaded;"
        " reload it and try again",
        session_id=session_id,
        agent_id=commit.agent_id,
    )


async def _claim(connection: Any, session_id: str, claim: Claim, turn_timeout: float) -> LoadedAgent:
    at: Place = claim.at
    created_at = await touch(connection, session_id, None if claim.session is None else dict(claim.session))
    if created_at is None or claim.created_at not in (None, created_at):
        raise _gone(session_id, claim.agent_id)
    key = as_key(session_id), at.part, as_key(at.agent_id)
    _refuse_turn(session_id, claim.agent_id, await connection.fetchrow(_STANDING, *key), claim.owner, turn_timeout)
    before = await load_agent(connection, session_id, at.agent_id, at.part)
    await connection.execute(_TAKE, *key, claim.revision, claim.owner)
    return before


def _refuse_turn(session_id: str, agent_id: str, standing: Any, owner: str, turn_timeout: float) -> None:
    """Raise while another owner's turn runs."""
    if standing is None or standing["turn_owner"] in (None, owner):
        return
    wait = turn_timeout - standing["age"]
    if wait > 0:
        _busy(session_id, agent_id, wait)


def _busy(session_id: str, agent_id: str, wait: float) -> NoReturn:
    raise SessionBusyError(
        f"another turn of agent {agent_id!r} in session {session_id!r} is running; try again when it has ended",
        session_id=session_id,
        agent_id=agent_id,
        retry_after=wait,
    )


def _gone(session_id: str, agent_id: str) -> SessionNotFoundError:
    return SessionNotFoundError(
        f"session {session_id!r} was deleted; start a new one", session_id=session_id, agent_id=agent_id
    )


# What an acknowledged change needs, whatever the database says by default: that it is on disk.
_DURABLE = """
set_config('synchronous_commit', CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on'
           ELSE current_setting('synchronous_commit') END, true)
"""

_TOUCH = f"""
UPDATE chat_sessions session SET last_accessed = clock_timestamp()
WHERE session_id = $1 AND NOT chat_session_is_gone(session) RETURNING created_at, {_DURABLE}
"""  # noqa: S608

_CLEAR = """
DELETE FROM chat_sessions session WHERE session_id = $1 AND chat_session_is_gone(session)
"""

_CREATE = f"""
INSERT INTO chat_sessions (session_id, title, owner, application_name) VALUES ($1, $2, $3, $4)
ON CONFLICT (session_id) DO UPDATE SET last_accessed = clock_timestamp() RETURNING created_at, {_DURABLE}
"""  # noqa: S608

_STANDING = """
SELECT revision, message_count, totals, turn_owner,
       extract(epoch FROM clock_timestamp() - turn_stamp)::float8 AS age
FROM chat_agents WHERE session_id = $1 AND part = $2 AND agent_id = $3
"""

_WRITE = """
INSERT INTO chat_agents AS agent (session_id, part, agent_id, revision, data, message_count, totals, turn_owner,
                                  turn_stamp, created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8::text, CASE WHEN $8::text IS NOT NULL THEN clock_timestamp() END,
        clock_timestamp(), clock_timestamp())
ON CONFLICT (session_id, part, agent_id) DO UPDATE SET
    revision = EXCLUDED.revision,
    data = CASE WHEN EXCLUDED.data IS NULL THEN agent.data ELSE COALESCE(agent.data, '{}') || EXCLUDED.data END,
    message_count = EXCLUDED.message_count,
    totals = EXCLUDED.totals,
    turn_owner = EXCLUDED.turn_owner,
    turn_stamp = EXCLUDED.turn_stamp,
    updated_at = EXCLUDED.updated_at
"""

_TAKE = """
INSERT INTO chat_agents (session_id, part, agent_id, revision, turn_owner, turn_stamp)
VALUES ($1, $2, $3, $4, $5, clock_timestamp())
ON CONFLICT (session_id, part, agent_id) DO UPDATE SET
    revision = EXCLUDED.revision, turn_owner = EXCLUDED.turn_owner, turn_stamp = EXCLUDED.turn_stamp
"""

_RENEW = """
UPDATE chat_agents SET turn_stamp = clock_timestamp()
WHERE session_id = $1 AND part = $2 AND agent_id = $3 AND turn_owner = $4 RETURNING true
"""

_APPEND = """
INSERT INTO chat_messages (session_id, agent_id, position, message_id, role, content, selected_text, "timestamp",
                           updated_at, response_time_ms, message, details)
SELECT $1, $2, new.* FROM unnest($3::integer[], $4::text[], $5::text[], $6::text[], $7::text[], $8::timestamptz[],
                                 $9::timestamptz[], $10::float8[], $11::jsonb[], $12::jsonb[]) AS new
"""

# A new content leaves nothing of the one before.
_CHANGE = """
UPDATE chat_messages SET
    message = COALESCE($4::jsonb, message),
    role = COALESCE($5::text, role),
    content = CASE WHEN $4::jsonb IS NULL THEN content ELSE $6::text END,
    selected_text = CASE WHEN $4::jsonb IS NULL THEN selected_text ELSE $7::text END,
    updated_at = COALESCE($8::timestamptz, updated_at),
    response_time_ms = COALESCE($9::float8, response_time_ms),
    details = CASE WHEN $4::jsonb IS NULL THEN details ELSE details - 'redact_message' END || $10::jsonb
WHERE session_id = $1 AND agent_id = $2 AND position = $3
"""

_KEEP = """
INSERT INTO chat_originals (session_id, agent_id, position, redacted_at, message) VALUES ($1, $2, $3, $4, $5)
"""

ADD_PROMPT_CHANGE = """
UPDATE chat_agents SET data = data || jsonb_build_object('prompt_lineage', CASE
    WHEN jsonb_array_length(data -> 'prompt_lineage') >= 50 THEN (data -> 'prompt_lineage') - 0
    ELSE COALESCE(data -> 'prompt_lineage', '[]')
END || jsonb_build_array($3::jsonb))
WHERE session_id = $1 AND part = 'agents' AND agent_id = $2
"""
"""Adds an entry to the lineage of an agent, of which 50 are kept."""

_LOAD = """
SELECT session.created_at AS session_created_at, session.owner AS session_owner,
       agent.data, agent.revision, agent.turn_owner, agent.message_count, agent.created_at, agent.updated_at,
       bounds.first, found.*
FROM chat_sessions session
LEFT JOIN chat_agents agent ON agent.session_id = session.session_id AND agent.part = $2 AND agent.agent_id = $3
CROSS JOIN LATERAL (SELECT agent.data #> '{conversation_manager_state,removed_message_count}' AS removed) state
CROSS JOIN LATERAL (SELECT LEAST(agent.message_count, COALESCE($5, agent.message_count)) AS stop) ending
CROSS JOIN LATERAL (
    SELECT CASE
        WHEN $4::integer IS NOT NULL THEN $4::integer
        WHEN $6::integer IS NOT NULL THEN GREATEST(0, ending.stop - $6::integer)
        -- The last message always comes along: the next one is numbered, and redacted, by it.
        ELSE GREATEST(0, LEAST(CASE WHEN jsonb_typeof(state.removed) = 'number' THEN state.removed::integer ELSE 0 END,
                               agent.message_count - 1))
    END AS first
) bounds
CROSS JOIN LATERAL (
    SELECT array_agg(position ORDER BY position) AS positions,
           array_agg(message ORDER BY position) AS messages,
           array_agg("timestamp" ORDER BY position) AS timestamps,
           array_agg(updated_at ORDER BY position) AS changes,
           array_agg(details ORDER BY position) AS details
    FROM chat_messages
    WHERE session_id = session.session_id AND agent_id = agent.agent_id AND agent.part = 'agents'
      AND position >= bounds.first AND position < ending.stop
) found
WHERE session.session_id = $1 AND NOT chat_session_is_gone(session)
"""
