"""Turn records on PostgreSQL: the tables of ``migrations/0002_turns.sql``. Every date is the server's."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from ..turn_records import LONGEST_SILENCE, StoredTurn, TurnChange, TurnRecord
from .connections import Connections, Work
from .rows import as_id, as_key

__all__ = ["PostgresTurnRecords"]

T = TypeVar("T")

_SECONDS = 5.0
"""How long one call may take."""

_CLEANING_SECONDS = 60.0
"""How often what is kept no longer is removed, while there are turns."""


class PostgresTurnRecords:
    """:class:`~chat_service.turn_records.TurnRecords` on tables."""

    def __init__(self, connections: Connections, retention: float) -> None:
        """Use these connections; no I/O.

        Args:
            connections: Of the sessions.
            retention: Seconds for which a turn is kept after its end.
        """
        self._connections = connections
        self._retention = retention
        self._cleaned = time.monotonic() - _CLEANING_SECONDS

    def claim(self, record: TurnRecord) -> StoredTurn | None:
        """See :class:`~chat_service.turn_records.TurnRecords`. A transaction."""
        texts = (record.turn_id, as_key(record.session_id), _key(record.owner), record.replica, record.key, record.body)

        async def work(connection: Any) -> StoredTurn | None:
            async with connection.transaction(isolation="read_committed"):
                for _ in range(3):  # what has the key may end without an answer at any time
                    await connection.execute(_FREE_EXPIRED, record.key)
                    if await connection.fetchval(_CLAIM, *texts, self._retention + LONGEST_SILENCE):
                        return None
                    holder = await connection.fetchrow(_BY_KEY, record.key)
                    if holder and holder["turn_id"] == record.turn_id:  # sent again
                        return None
                    if holder:
                        return _turn(holder)
            raise TimeoutError("a key changed hands three times while it was asked for")

        return self._connections.call(work, timeout=_SECONDS)

    def release(self, record: TurnRecord) -> None:
        """See :class:`~chat_service.turn_records.TurnRecords`."""
        self._execute("DELETE FROM chat_turns WHERE turn_id = $1 AND NOT begun", record.turn_id)

    def write(self, changes: Sequence[TurnChange]) -> None:
        """See :class:`~chat_service.turn_records.TurnRecords`."""
        turns = [list(column) for column in zip(*map(_turn_columns, changes), strict=True)]
        batches = [(change.record.turn_id, change.batch) for change in changes if change.batch and not change.forgets]
        events = [
            [turn_id for turn_id, _ in batches],
            [batch.first for _, batch in batches],
            [batch.last for _, batch in batches],
            [batch.text for _, batch in batches],
        ]
        forgotten = [change.record.turn_id for change in changes if change.forgets]
        self._execute(_WRITE, *turns, *events, forgotten, self._retention, LONGEST_SILENCE)
        if time.monotonic() - self._cleaned >= _CLEANING_SECONDS:
            self._cleaned = time.monotonic()
            self._execute(_CLEAN)

    def beat(self, replica: str) -> list[str]:
        """See :class:`~chat_service.turn_records.TurnRecords`."""

        async def work(connection: Any) -> list[str]:
            return list(await connection.fetchval(_BEAT, replica, self._retention))

        return self._call(work)

    def read(self, turn_id: str, position: int = 0) -> StoredTurn | None:
        """See :class:`~chat_service.turn_records.TurnRecords`."""
        return self._find(_READ, turn_id, position)

    def unfinished(self, session_id: str) -> StoredTurn | None:
        """See :class:`~chat_service.turn_records.TurnRecords`."""
        return self._find(_UNFINISHED, as_key(session_id))

    def interrupt(self, turn_id: str, ending: tuple[int, str]) -> None:
        """See :class:`~chat_service.turn_records.TurnRecords`."""
        self._execute(_INTERRUPT, turn_id, *ending)

    def cancel(self, record: TurnRecord) -> None:
        """See :class:`~chat_service.turn_records.TurnRecords`."""
        self._execute(_CANCEL, record.replica, record.turn_id, self._retention)

    def forget(self, session_id: str) -> None:
        """See :class:`~chat_service.turn_records.TurnRecords`."""
        self._execute("DELETE FROM chat_turns WHERE session_id = $1", as_key(session_id))

    def _find(self, statement: str, *arguments: Any) -> StoredTurn | None:
        async def work(connection: Any) -> StoredTurn | None:
            row = await connection.fetchrow(statement, *arguments)
            return None if row is None else _turn(row)

        return self._call(work)

    def _execute(self, statement: str, *arguments: Any) -> None:
        async def work(connection: Any) -> None:
            await connection.execute(statement, *arguments)

        self._call(work)

    def _call(self, work: Work[T]) -> T:
        return self._connections.call(work, timeout=_SECONDS)


def _key(text: str | None) -> str | None:
    return None if text is None else as_key(text)


def _turn_columns(change: TurnChange) -> tuple[Any, ...]:
    record = change.record
    position, ending = change.ending or (None, None)
    texts = (record.turn_id, as_key(record.session_id), _key(record.owner), record.replica)
    return (*texts, position, ending, change.frees_key)


def _turn(row: Mapping[str, Any]) -> StoredTurn:
    batches = zip(row["firsts"] or (), row["texts"] or (), strict=True)
    return StoredTurn(
        record=TurnRecord(
            turn_id=row["turn_id"],
            session_id=as_id(row["session_id"]),
            owner=None if row["owner"] is None else as_id(row["owner"]),
            replica=row["replica"],
            key=row["key_digest"],
            body=row["body_digest"],
        ),
        begun=row["begun"],
        events=[event for first, text in batches for event in enumerate(text.split("\n"), first)],
        ending=None if row["ending"] is None else (row["ending_position"], row["ending"]),
        quiet=row["quiet"],
    )


_FREE_EXPIRED = "DELETE FROM chat_turns WHERE key_digest = $1 AND expires_at <= clock_timestamp()"

_CLAIM = """
INSERT INTO chat_turns (turn_id, session_id, owner, replica, key_digest, body_digest, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, clock_timestamp() + make_interval(secs => $7)) ON CONFLICT DO NOTHING RETURNING true
"""

_WRITE = """
WITH written AS (
    INSERT INTO chat_turns AS turn (turn_id, session_id, owner, replica, begun, ending_position, ending, frees_key,
                                    expires_at)
    SELECT new.id, new.session, new.owner, new.replica, true, new.position, new.ending, new.frees_key,
           clock_timestamp() + make_interval(secs => $13::float8)
               + CASE WHEN new.ending IS NULL THEN make_interval(secs => $14::float8) ELSE '0' END
    FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::integer[], $6::text[], $7::boolean[])
         AS new (id, session, owner, replica, position, ending, frees_key)
    ON CONFLICT (turn_id) DO UPDATE SET
        begun = true,
        ending_position = CASE WHEN turn.ending IS NULL THEN EXCLUDED.ending_position ELSE turn.ending_position END,
        ending = COALESCE(turn.ending, EXCLUDED.ending),
        frees_key = turn.frees_key OR EXCLUDED.frees_key,
        key_digest = CASE WHEN EXCLUDED.frees_key THEN NULL ELSE turn.key_digest END,
        expires_at = EXCLUDED.expires_at
), told AS (
    INSERT INTO chat_turn_events (turn_id, first, last, events)
    SELECT * FROM unnest($8::text[], $9::integer[], $10::integer[], $11::text[])
    ON CONFLICT (turn_id, first) DO UPDATE SET last = EXCLUDED.last, events = EXCLUDED.events
)
DELETE FROM chat_turn_events WHERE turn_id = ANY($12::text[])
"""

_CLEAN = """
WITH turns AS (DELETE FROM chat_turns WHERE expires_at <= clock_timestamp())
DELETE FROM chat_replicas WHERE expires_at <= clock_timestamp()
"""

_BEAT = """
INSERT INTO chat_replicas AS replica (replica, alive, expires_at)
VALUES ($1, clock_timestamp(), clock_timestamp() + make_interval(secs => $2))
ON CONFLICT (replica) DO UPDATE SET alive = EXCLUDED.alive, expires_at = EXCLUDED.expires_at
RETURNING cancels
"""

_CANCEL = """
INSERT INTO chat_replicas AS replica (replica, cancels, expires_at)
VALUES ($1, ARRAY[$2], clock_timestamp() + make_interval(secs => $3))
ON CONFLICT (replica) DO UPDATE SET cancels = (replica.cancels || EXCLUDED.cancels)[
    GREATEST(1, cardinality(replica.cancels) - 998):]
"""

_INTERRUPT = """
UPDATE chat_turns SET ending_position = $2, ending = $3, key_digest = NULL WHERE turn_id = $1 AND ending IS NULL
"""

_TURN = """
SELECT turn.*, found.firsts, found.texts,
       extract(epoch FROM clock_timestamp() - GREATEST(turn.started, replica.alive))::float8 AS quiet
FROM chat_turns turn LEFT JOIN chat_replicas replica ON replica.replica = turn.replica
"""

_EVENTS = """
CROSS JOIN LATERAL (
    SELECT array_agg(first ORDER BY first) AS firsts, array_agg(events ORDER BY first) AS texts
    FROM chat_turn_events WHERE turn_id = turn.turn_id AND last > $2
) found
"""

_NO_EVENTS = "CROSS JOIN (SELECT NULL::integer[] AS firsts, NULL::text[] AS texts) found"

_READ = f"{_TURN} {_EVENTS} WHERE turn.turn_id = $1 AND turn.expires_at > clock_timestamp()"

_BY_KEY = f"{_TURN} {_NO_EVENTS} WHERE turn.key_digest = $1"

_UNFINISHED = f"""
{_TURN} {_NO_EVENTS}
WHERE turn.session_id = $1 AND turn.begun AND turn.ending IS NULL AND turn.expires_at > clock_timestamp()
ORDER BY turn.started DESC LIMIT 1
"""
