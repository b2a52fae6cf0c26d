"""The catalogue: all that can be asked of sessions beside their turns."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from pymongo.errors import DuplicateKeyError

from ..aio import Awaitables
from ..codec import encode
from ..doctor import DoctorReport, examine
from ..documents import valid_session_id
from ..errors import SessionError
from ..mongodb_collection import background_of, database_attributes
from ..mongodb_commands import new_session
from ..store import SessionSummary
from ..telemetry import traced
from .arguments import checked
from .forks import Forks
from .histories import Histories
from .lifetimes import Lifetimes
from .listing import Listing
from .rewinds import Rewinds
from .summaries import session_summary
from .transfers import Transfers

__all__ = ["MongoDBSessionCatalogue"]


@traced(lambda catalogue: database_attributes(catalogue.collection))
@checked
class MongoDBSessionCatalogue(Listing, Histories, Lifetimes, Forks, Rewinds, Transfers):
    """A :class:`~mongodb_session_manager.SessionCatalogue` on one collection."""

    @cached_property
    def aio(self) -> Awaitables:
        """The awaitable form of every method."""
        kind = type(self)
        methods = {name for name in dir(kind) if not name.startswith("_") and callable(getattr(kind, name))}
        return Awaitables(self, background_of(self.client), frozenset(methods))

    def create(
        self,
        session_id: str,
        *,
        metadata: Mapping[str, Any] | None = None,
        title: str | None = None,
        owner: str | None = None,
        application_name: str | None = None,
    ) -> SessionSummary:
        """See :class:`~mongodb_session_manager.SessionCatalogue`. One insert."""
        fields = {"title": title, "owner": owner, "application_name": application_name}
        document = new_session(valid_session_id(session_id), fields)
        document |= {"_id": session_id, "updated_at": document["created_at"], "metadata": encode(dict(metadata or {}))}
        try:
            self._insert(document)
        except DuplicateKeyError as error:
            raise SessionError(f"session {session_id!r} exists already", session_id=session_id) from error
        return session_summary(document)

    def clear_turns(self) -> int:
        """See :class:`~mongodb_session_manager.SessionCatalogue`. Two updates."""
        each = {"$map": {"input": {"$objectToArray": "$$part"}, "as": "a", "in": {"k": "$$a.k", "v": _WITHOUT_TURN}}}
        changed = 0
        for part in ("agents", "multi_agents"):
            free = {"$let": {"vars": {"part": f"${part}"}, "in": {"$arrayToObject": each}}}
            turns = {"$map": {"input": {"$objectToArray": f"${part}"}, "as": "a", "in": {"$type": "$$a.v.turn"}}}
            condition = {part: {"$type": "object"}, "$expr": {"$in": ["object", turns]}}
            changed += self.collection.update_many(condition, [{"$set": {part: free}}]).modified_count
        return changed

    def doctor(
        self,
        session_id: str | None = None,
        *,
        repair: bool = False,
        grace: float = 3600.0,
        turn_timeout: float = 30.0,
    ) -> DoctorReport:
        """Find what a crash left, in one session or in all, and mend it. See :func:`.doctor.examine`."""
        return examine(self._store, session_id, repair=repair, grace=grace, turn_timeout=turn_timeout)


_WITHOUT_TURN: dict[str, Any] = {
    "$cond": [
        {"$eq": [{"$type": "$$a.v"}, "object"]},
        {"$unsetField": {"field": "turn", "input": "$$a.v"}},
        "$$a.v",
    ]
}
