"""Sessions on PostgreSQL in lists and sums."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from mongodb_session_manager import SessionPage, SessionStatistics, SessionSummary, encode

from .metadata import path_of
from .postgres_catalogue_rows import SUMMARY, SessionRows, summary_of
from .rows import as_id, as_key

__all__ = ["SessionListing"]

_COLUMNS = {"updated_at": "last_accessed", "created_at": "created_at"}


class SessionListing(SessionRows):
    """Looks at many sessions at once."""

    def page(
        self,
        *,
        limit: int = 50,
        cursor: str | None = None,
        owner: str | None = None,
        application_name: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        title: str | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        updated_after: datetime | None = None,
        updated_before: datetime | None = None,
        order: str = "updated_at",
    ) -> SessionPage:
        """See :class:`~mongodb_session_manager.SessionCatalogue`. One statement."""
        if limit < 1:
            raise ValueError(f"limit must be at least 1, not {limit}")
        if order not in _COLUMNS:
            raise ValueError(f"order must be updated_at or created_at, not {order!r}")
        column = _COLUMNS[order]
        asked = _Conditions()
        if cursor is not None:
            asked.add(f"({column}, session_id) < ({{}}::timestamptz, {{}}::text)", *_read_cursor(cursor, order))
        asked.add_text("owner = {}::text", owner)
        asked.add_text("application_name = {}::text", application_name)
        asked.add_text("strpos(lower(title), lower({}::text)) > 0", title)
        asked.add_date("created_at >= {}::timestamptz", created_after)
        asked.add_date("created_at < {}::timestamptz", created_before)
        asked.add_date("last_accessed >= {}::timestamptz", updated_after)
        asked.add_date("last_accessed < {}::timestamptz", updated_before)
        for key, value in (metadata or {}).items():
            asked.add("metadata #> {}::text[] = {}::jsonb", list(path_of(key)), encode(value))
        ordered = f"ORDER BY {column} DESC, session_id DESC LIMIT {min(limit, 2**31) + 1}"
        statement = f"{SUMMARY} {asked} {ordered}"

        async def work(connection: Any) -> list[SessionSummary]:
            return [summary_of(row) for row in await connection.fetch(statement, *asked.arguments)]

        found = self._connections.call(work)
        more = len(found) > limit
        return SessionPage(items=found[:limit], next_cursor=_cursor(found[limit - 1], order) if more else None)

    def statistics(self, *, owner: str | None = None, application_name: str | None = None) -> SessionStatistics:
        """See :class:`~mongodb_session_manager.SessionCatalogue`. Two statements on one state of the database."""
        arguments = [None if text is None else as_key(text) for text in (owner, application_name)]

        async def work(connection: Any) -> SessionStatistics:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                days = await connection.fetch(_DAYS, *arguments)
                totals = await connection.fetch(_TOTALS, *arguments)
            return SessionStatistics(
                sessions=sum(row["sessions"] for row in days),
                messages=sum(row["messages"] for row in days),
                totals={row["name"]: int(row["sum"]) for row in totals},
                days={row["day"]: row["sessions"] for row in days},
            )

        return self._connections.call(work)


class _Conditions:
    """Conditions of a statement, and their arguments. Only what is asked for is in it, so that its index is used."""

    def __init__(self) -> None:
        self._conditions: list[str] = []
        self.arguments: list[Any] = []

    def add(self, condition: str, *arguments: Any) -> None:
        """A condition with ``{}`` for each argument."""
        first = len(self.arguments) + 1
        self._conditions.append(condition.format(*(f"${first + index}" for index in range(len(arguments)))))
        self.arguments += arguments

    def add_text(self, condition: str, text: str | None) -> None:
        """A condition about a text, if there is one."""
        if text is not None:
            self.add(condition, as_key(text))

    def add_date(self, condition: str, date: datetime | None) -> None:
        """A condition about a date, if there is one; without a zone it is UTC."""
        if date is not None:
            self.add(condition, date.replace(tzinfo=UTC) if date.tzinfo is None else date)

    def __str__(self) -> str:
        return "".join(f" AND {condition}" for condition in self._conditions)


def _cursor(last: SessionSummary, order: str) -> str:
    moment = last.updated_at if order == "updated_at" else last.created_at
    return base64.urlsafe_b64encode(json.dumps([order, moment.isoformat(), as_key(last.session_id)]).encode()).decode()


def _read_cursor(cursor: str, order: str) -> tuple[datetime, str]:
    try:
        of_order, moment, key = json.loads(base64.urlsafe_b64decode(cursor.encode()))
        read = datetime.fromisoformat(moment)
        if of_order != order or read.tzinfo is None or as_key(as_id(key)) != key:
            raise ValueError("not ours")
        return read, key
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise ValueError("the cursor is not one that a page of sessions in this order returned") from error


_MATCHING = """
chat_sessions session
LEFT JOIN chat_agents agent ON agent.session_id = session.session_id AND part = 'agents' AND data IS NOT NULL
WHERE NOT chat_session_is_gone(session)
  AND ($1::text IS NULL OR owner = $1::text) AND ($2::text IS NULL OR application_name = $2::text)
"""

_DAYS = f"""
SELECT (session.created_at AT TIME ZONE 'UTC')::date AS day, count(DISTINCT session.session_id) AS sessions,
       COALESCE(sum(message_count), 0)::bigint AS messages
FROM {_MATCHING} GROUP BY day ORDER BY day
"""  # noqa: S608

_TOTALS = f"""
SELECT total.key AS name, sum(total.value::numeric) AS sum
FROM (SELECT totals FROM {_MATCHING}) found, jsonb_each_text(totals) total
WHERE NOT starts_with(total.key, '$') GROUP BY total.key ORDER BY total.key
"""  # noqa: S608
