"""Sessions in lists and sums."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any

from ..documents import aware
from ..mongodb_collection import in_time
from ..mongodb_commands import alive
from ..store import Order, SessionPage, SessionStatistics
from .cursors import behind, cursor_after
from .notes import metadata_fields
from .session_documents import SessionDocuments
from .summaries import MESSAGES, SUMMARY, session_summary

__all__ = ["Listing"]


class Listing(SessionDocuments):
    """Looks at many sessions at once, as the client's read preference says."""

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
        order: Order = "updated_at",
    ) -> SessionPage:
        """See :class:`~mongodb_session_manager.SessionCatalogue`. One find; two behind a cursor, four at the end."""
        if limit < 1:
            raise ValueError(f"limit must be at least 1, not {limit}")
        if order not in ("updated_at", "created_at"):
            raise ValueError(f"order must be updated_at or created_at, not {order!r}")
        conditions = [
            _equal({"owner": owner, "application_name": application_name}),
            metadata_fields(metadata or {}),
            {} if title is None else {"title": {"$regex": _pattern(title), "$options": "i"}},
            _between("created_at", created_after, created_before),
            _between("updated_at", updated_after, updated_before),
            alive(),
        ]
        self._prepare()
        found: list[dict[str, Any]] = []
        with in_time(self._lists):
            for stretch in [{}] if cursor is None else behind(cursor, order):
                matching = self._lists.find({"$and": [each for each in [*conditions, stretch] if each]}, SUMMARY)
                found += matching.sort([(order, -1), ("_id", -1)]).limit(limit + 1 - len(found))
                if len(found) > limit:
                    break
        more = len(found) > limit
        items = [session_summary(document) for document in found[:limit]]
        return SessionPage(items=items, next_cursor=cursor_after(found[limit - 1], order) if more else None)

    def statistics(self, *, owner: str | None = None, application_name: str | None = None) -> SessionStatistics:
        """See :class:`~mongodb_session_manager.SessionCatalogue`. One aggregation, which reads each of the sessions."""
        self._prepare()
        whose = _equal({"owner": owner, "application_name": application_name})
        with in_time(self._lists):
            [sums] = self._lists.aggregate([{"$match": {**whose, **alive()}}, {"$project": _PARTS}, {"$facet": _SUMS}])
        days = sums["days"]
        return SessionStatistics(
            sessions=sum(each["sessions"] for each in days),
            messages=sum(each["messages"] for each in days),
            totals={each["_id"]: each["sum"] for each in sums["totals"]},
            days={date.fromisoformat(each["_id"]): each["sessions"] for each in days if each["_id"] is not None},
        )


def _entries(field: str) -> dict[str, Any]:
    return {"$objectToArray": {"$cond": [{"$eq": [{"$type": field}, "object"]}, field, {}]}}


_AGENTS = {"$map": {"input": _entries("$agents"), "as": "each", "in": "$$each.v"}}
_DAY = {"$dateToString": {"date": "$created_at", "format": "%Y-%m-%d"}}
_PARTS: dict[str, Any] = {
    "day": {"$cond": [{"$eq": [{"$type": "$created_at"}, "date"]}, _DAY, None]},
    "messages": MESSAGES,
    "totals": {"$map": {"input": _AGENTS, "as": "agent", "in": _entries("$$agent.totals")}},
}
_SUMS: dict[str, Any] = {
    "days": [
        {"$group": {"_id": "$day", "sessions": {"$sum": 1}, "messages": {"$sum": "$messages"}}},
        {"$sort": {"_id": 1}},
    ],
    "totals": [
        {"$unwind": "$totals"},
        {"$unwind": "$totals"},
        {"$group": {"_id": "$totals.k", "sum": {"$sum": "$totals.v"}}},
        {"$sort": {"_id": 1}},
    ],
}


def _equal(fields: Mapping[str, str | None]) -> dict[str, str]:
    return {name: value for name, value in fields.items() if value is not None}


def _between(field: str, after: datetime | None, before: datetime | None) -> dict[str, Any]:
    bounds = {"$gte": after, "$lt": before}
    given = {operator: aware(date).astimezone(UTC) for operator, date in bounds.items() if date is not None}
    return {field: given} if given else {}


def _pattern(text: str) -> str:
    """A text as a regular expression for itself; the database takes no NUL there."""
    return re.escape(text).replace("\0", r"\x00")
