"""Sessions of another database or collection, in the older layout or in this one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pymongo import MongoClient

from ..sessions.summaries import AGENTS, is_agent
from ..store import LoadedAgent, SessionCatalogue
from .moving import ImportReport, Progress, Unreadable, move
from .reading import ReadingCatalogue, ReadingStore

__all__ = ["import_database_sessions"]

_OF_A_SESSION = frozenset(
    "_id session_id session_type schema_version application_name owner title created_at updated_at expires_at lifetime"
    " metadata feedbacks agents multi_agents".split()
)
_OF_AN_AGENT = frozenset(
    "agent_data created_at updated_at revision message_count size totals turn archive messages".split()
)
_NAMES: dict[str, Any] = {
    "names": {"$map": {"input": {"$objectToArray": "$$ROOT"}, "in": "$$this.k"}},
    "agents": AGENTS,
}


def import_database_sessions(
    target: SessionCatalogue,
    client: MongoClient[Any],
    database_name: str,
    collection_name: str,
    *,
    dry_run: bool = False,
    verify: bool = True,
    workers: int = 8,
    progress: Progress | None = None,
) -> ImportReport:
    """Import the sessions of another collection, in the older layout or in this one. Blocks; it is only read.

    Sessions arrive in this layout. Interrupted anywhere, a repeat finishes it. A session that cannot be read whole is
    skipped, with the reason. An original that an older tool kept beside its redaction is not taken along.

    Args:
        target: Where they go, such as ``factory.sessions``.
        client: Of the database that they come from; borrowed.
        database_name: Where they come from.
        collection_name: Where they come from.
        dry_run: Read and compare, and write nothing.
        verify: Read every session back and compare it; also those that are there already.
        workers: How many sessions are moved at once.
        progress: Told in the calling thread how many are done, of how many.
    """
    source = _DatabaseSessions(_Sessions(client, database_name, collection_name))
    return move(source, target, dry_run=dry_run, verify=verify, workers=workers, progress=progress)


class _Sessions(ReadingCatalogue):
    """Its exports hold no original of what was redacted, and do not say where large values lay."""

    def __init__(self, client: MongoClient[Any], database_name: str, collection_name: str) -> None:
        super().__init__(client, database_name, collection_name)
        self._store = _RedactedStore(client, database_name, collection_name)


class _RedactedStore(ReadingStore):
    def messages(self, session_id: str, agent_id: str, offset: int = 0, limit: int | None = None) -> LoadedAgent:
        loaded = super().messages(session_id, agent_id, offset, limit)
        for stored in loaded.messages:
            stored.pop("external", None)  # its large values are in it again, and lie elsewhere next time
            if (redacted := stored.get("redact_message")) is not None:
                stored["message"] = redacted
        return loaded


class _DatabaseSessions:
    """The sessions of a collection."""

    def __init__(self, sessions: _Sessions) -> None:
        self._sessions = sessions
        self._odd: set[str] = set()

    def session_ids(self) -> list[str]:
        found = [each["_id"] for each in self._sessions.collection.find({}, {"_id": 1}).sort("_id")]
        self._odd = {repr(each) for each in found if not isinstance(each, str)}
        return [each if isinstance(each, str) else repr(each) for each in found]

    def lines(self, session_id: str) -> Iterator[str]:
        if session_id in self._odd:
            raise Unreadable("its id is not text")
        if self._sessions.get(session_id) is None:
            raise Unreadable("it has expired, or is half deleted or half imported")
        return iter(self._sessions.export(session_id))

    def left_out(self, session_id: str) -> list[str]:
        found = self._sessions.collection.find_one({"_id": session_id}, _NAMES) or {"names": [], "agents": []}
        left = [name for name in found["names"] if name not in _OF_A_SESSION]
        for entry in found["agents"]:
            left += _left_out(f"agents.{entry['k']}", entry["v"])
        return left


def _left_out(path: str, value: Any) -> Iterator[str]:
    """What is neither an agent nor a part of one, by its path; an older tool nested agents in others."""
    if not _holds_agent(value):
        yield path
        return
    for name, below in value.items():
        if name != "size" and not (is_agent(value) and name in _OF_AN_AGENT):
            yield from _left_out(f"{path}.{name}", below)


def _holds_agent(value: Any) -> bool:
    return isinstance(value, Mapping) and (is_agent(value) or any(map(_holds_agent, value.values())))
