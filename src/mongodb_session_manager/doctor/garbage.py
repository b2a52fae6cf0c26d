"""The archive: what no session lists any more, and what is listed and not there."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from bson import ObjectId

from ..archive import listed, listed_by
from ..codec import decode
from ..documents import aware
from .examination import Examination, Listing
from .skeleton import ARCHIVED

__all__ = ["Garbage"]


class Garbage:
    """Compares the archive with what sessions list of it."""

    def __init__(self, examination: Examination) -> None:
        """Note what is found in an examination."""
        self._examination = examination
        self._sessions = examination.store.collection
        self._archive = examination.store.archive.collection

    def examine(self, batch: Mapping[str, Listing]) -> None:
        """Examine what the archive holds of some sessions.

        Args:
            batch: What each of them lists. Read before: what was listed then is found now, even if it has moved from a
                message of the document into a bucket meanwhile.
        """
        if not batch:
            return
        there: set[ObjectId] = set()
        unlisted: list[dict[str, Any]] = []
        for document in self._archive.find({"session_ids": {"$in": list(batch)}}, ARCHIVED):
            self._examination.documents += 1
            there.add(document["_id"])
            self._follow(document, batch)
            # The first of its sessions answers for it.
            if document["session_ids"][0] in batch and not _is_listed(document, batch):
                unlisted.append(document)
        self._collect(document for document in unlisted if not _is_listed(document, batch))
        for session_id, listing in batch.items():
            if not listing.gone:
                self._check_missing(session_id, listing, listing.ids.keys() - there)
            for agent_id, number in (+listing.odd).items():
                detail = f"{number} buckets hold messages with ids that are not their positions"
                self._examination.found((session_id, agent_id), "message_ids", detail)

    def _follow(self, document: dict[str, Any], batch: Mapping[str, Listing]) -> None:
        """A bucket that is listed lists the large values of its messages."""
        values = list(listed(document.pop("messages", [])))
        for listing in _listings(document, batch):
            if (agent_id := listing.ids.get(document["_id"])) is not None:
                listing.ids |= dict.fromkeys(values, agent_id)
                listing.odd[agent_id] += listing.dense and not document["dense"]

    def examine_orphans(self, documents: Sequence[dict[str, Any]]) -> None:
        """Look for what belongs to sessions that are not there.

        Args:
            documents: Some of the archive, as :data:`ORPHAN` projects them.
        """
        firsts = {session_id for document in documents for session_id in document["session_ids"][:1]}
        there = {each["_id"] for each in self._sessions.find({"_id": {"$in": list(firsts)}}, {"_id": 1})}
        orphans = [document for document in documents if not there.intersection(document["session_ids"][:1])]
        self._examination.documents += len(orphans)
        self._collect(orphans)

    def _check_missing(self, session_id: str, listing: Listing, ids: set[ObjectId]) -> None:
        if not ids:
            return
        missing = ids - {each["_id"] for each in self._archive.find({"_id": {"$in": list(ids)}}, {"_id": 1})}
        # What is still listed now was listed when it was not there.
        missing &= self._in_use([session_id])
        for agent_id, number in Counter(listing.ids[id_] for id_ in missing).items():
            detail = f"{number} documents of the archive that it lists are not there"
            self._examination.found((session_id, agent_id), "missing", detail)

    def _collect(self, documents: Iterable[dict[str, Any]]) -> None:
        """Remove what nobody lists, also at a second look, and nobody has touched for the grace time."""
        groups = defaultdict(list)
        for document in documents:
            groups[tuple(document["session_ids"]), str(decode(document.get("agent_id")))].append(document)
        for (session_ids, agent_id), group in groups.items():
            in_use = self._in_use(session_ids)
            cutoff = datetime.now(UTC) - self._examination.grace
            garbage = [document for document in group if document["_id"] not in in_use]
            old = [document for document in garbage if _last_used(document) <= cutoff]
            self._examination.young += len(garbage) - len(old)
            number = self._remove(session_ids, old, cutoff) if self._examination.repair else len(old)
            if number:
                whose = (session_ids[0] if session_ids else None, agent_id)
                detail = f"{number} documents of the archive that no session lists"
                self._examination.found(whose, "garbage", detail, repaired=self._examination.repair)

    def _in_use(self, session_ids: Sequence[str]) -> set[ObjectId]:
        """All that some sessions list now."""
        condition = {"_id": {"$in": list(session_ids)}, "deleting": {"$exists": False}}
        used = {id_ for each in self._sessions.find(condition, {"agents": 1}) for id_ in listed_by(each)}
        buckets = {"_id": {"$in": list(used)}, "messages.external": {"$exists": True}}
        for bucket in self._archive.find(buckets, {"messages.external.ids": 1}):
            used |= set(listed(bucket["messages"]))
        return used

    def _remove(self, session_ids: Sequence[str], documents: Sequence[Mapping[str, Any]], cutoff: datetime) -> int:
        """Remove documents unless they are touched meanwhile; how many there were."""
        untouched = {"session_ids": list(session_ids), "used_at": {"$not": {"$gt": cutoff}}}
        parts = {each["_id"] for each in documents if "ids" not in each and "first" not in each}
        whole = [each["_id"] for each in documents if each["_id"] not in parts]
        removed = self._archive.delete_many({"_id": {"$in": whole}, **untouched}).deleted_count if whole else 0
        if parts:
            # A value is found by its first part: where a writer has found it, the others stay.
            found = self._archive.find({"session_ids": list(session_ids), "ids": {"$in": list(parts)}}, {"ids": 1})
            parts -= {id_ for each in found for id_ in each["ids"]}
            removed += self._archive.delete_many({"_id": {"$in": list(parts)}, **untouched}).deleted_count
        return removed


def _listings(document: Mapping[str, Any], batch: Mapping[str, Listing]) -> list[Listing]:
    return [batch[session_id] for session_id in document["session_ids"] if session_id in batch]


def _is_listed(document: Mapping[str, Any], batch: Mapping[str, Listing]) -> bool:
    return any(document["_id"] in listing.ids for listing in _listings(document, batch))


def _last_used(document: Mapping[str, Any]) -> datetime:
    """When a writer inserted or touched a document: values are touched when they are used again."""
    used_at = document.get("used_at")
    found: datetime = aware(used_at) if isinstance(used_at, datetime) else document["_id"].generation_time
    return found
