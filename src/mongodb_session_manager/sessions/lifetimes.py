"""The end of sessions: deleted, expired, purged, or held."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from pymongo import ReturnDocument

from ..mongodb_collection import in_time, noted
from ..mongodb_commands import EXPIRES_AT, GONE, alive
from ..store import DeletionReceipt
from .session_documents import SessionDocuments, unknown
from .summaries import MESSAGES

__all__ = ["Lifetimes"]

_LONGEST = 100 * 366 * 86400.0
_AT_ONCE = 100
_IMPORT = timedelta(hours=1)
"""For how long an import that has come to a stop is left alone."""


class Lifetimes(SessionDocuments):
    """Ends sessions."""

    def delete(self, session_id: str) -> bool:
        """See :class:`~mongodb_session_manager.SessionCatalogue`."""
        with noted(session_id):
            return self._archive.delete(session_id)

    def delete_owner(self, owner: str) -> DeletionReceipt:
        """See :class:`~mongodb_session_manager.SessionCatalogue`. For each session as :meth:`delete`."""
        self._prepare()
        sessions = messages = 0
        while found := list(self.collection.find({"owner": owner}, {"messages": MESSAGES}).limit(_AT_ONCE)):
            for each in found:
                with noted(each["_id"]):
                    if self._archive.delete(each["_id"], {"owner": owner}):
                        sessions += 1
                        messages += each["messages"]
        return DeletionReceipt(sessions=sessions, messages=messages, kept_in_forks=self._kept_in_forks(owner))

    def _kept_in_forks(self, owner: str) -> int:
        """How many messages of an owner's sessions are in forks of others."""
        condition = {"forked_from.owner": owner, "owner": {"$ne": owner}, **alive()}
        kept = 0
        for fork in self.collection.find(condition, {"forked_from.owner": 1, "forked_from.count": 1}):
            before = 0
            for origin in fork["forked_from"]:
                kept += origin["count"] - before if origin.get("owner") == owner else 0
                before = origin["count"]
        return kept

    def expire(self, session_id: str, seconds: float | None, *, rolling: bool = True) -> datetime | None:
        """See :class:`~mongodb_session_manager.SessionCatalogue`. One update, by the server's clock."""
        if seconds is not None and not (math.isfinite(seconds) and 0 < seconds <= _LONGEST):
            raise ValueError(f"seconds must be above 0, at most a hundred years, or None for never; not {seconds}")
        self._prepare()
        fields: dict[str, Any] = {"expires_at": "$$REMOVE", "lifetime": "$$REMOVE", "updated_at": "$$NOW"}
        if seconds is not None and rolling:
            fields["lifetime"] = float(seconds)
        if seconds is not None and not rolling:
            fields["expires_at"] = {"$add": ["$$NOW", int(seconds * 1000)]}
        with noted(session_id), in_time(self.collection):
            changed = self.collection.find_one_and_update(
                {"_id": session_id, **alive()},
                [{"$set": fields}],
                {"expires_at": EXPIRES_AT},
                return_document=ReturnDocument.AFTER,
            )
        if changed is None:
            raise unknown(session_id)
        expires_at: datetime | None = changed["expires_at"]
        return expires_at

    def hold(self, session_id: str, held: bool = True) -> None:
        """See :class:`~mongodb_session_manager.SessionCatalogue`. One update."""
        self._prepare()
        change = {"$set": {"hold": True}} if held else {"$unset": {"hold": True}}
        with noted(session_id), in_time(self.collection):
            if not self.collection.update_one({"_id": session_id, **alive()}, change).matched_count:
                raise unknown(session_id)

    def purge(self, *, limit: int = 1000) -> int:
        """See :class:`~mongodb_session_manager.SessionCatalogue`.

        Three finds, two more for each lifetime in use, and for each session as :meth:`delete`.
        """
        if limit < 1:
            raise ValueError(f"limit must be at least 1, not {limit}")
        self._prepare()
        purged = 0
        for condition, still in self._over():
            for each in list(self.collection.find(condition, {"_id": 1}).limit(limit - purged)):
                with noted(each["_id"]):
                    purged += self._archive.delete(each["_id"], still)
            if purged == limit:
                break
        return purged

    def _over(self) -> Iterator[tuple[dict[str, Any], Mapping[str, Any]]]:
        """Where to look for what is over, and what must still hold on the server's clock when it is removed."""
        now = datetime.now(UTC)
        gone = {"$expr": GONE, "importing": {"$exists": False}}
        free = {"hold": {"$ne": True}, "importing": {"$exists": False}}
        stopped = {"importing": {"$exists": True}, "updated_at": {"$lte": now - _IMPORT}}
        yield {"deleting": {"$exists": True}}, {"deleting": {"$exists": True}}
        yield stopped, stopped
        yield {"expires_at": {"$lte": now}, **free}, gone
        for lifetime in self._lifetimes():
            changed = now - timedelta(seconds=lifetime)
            yield {"lifetime": lifetime, "updated_at": {"$lte": changed}, **free}, gone

    def _lifetimes(self) -> Iterator[float]:
        """The lifetimes in use, each by a step on the index."""
        lifetime = 0.0
        while found := self.collection.find_one(
            {"lifetime": {"$gt": lifetime}}, {"lifetime": 1}, sort=[("lifetime", 1)]
        ):
            lifetime = found["lifetime"]
            yield lifetime
