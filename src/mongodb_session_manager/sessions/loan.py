"""What a fork is going to list of the archive, before it lists it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bson import ObjectId

from ..archive import Archive

__all__ = ["OUTLINE", "Loan", "lent_stages"]

_MOST_BUCKETS = 1000
"""In one command."""

_NONE = 2**31 - 1

OUTLINE: dict[str, Any] = {
    "first": 1,
    "messages.message.role": 1,
    "messages.message.content.toolUse.toolUseId": 1,
    "messages.message.content.toolResult.toolUseId": 1,
}
"""A projection: a bucket without what was said."""


def lent_stages(archive: Archive, places: int, at: int | None) -> list[dict[str, Any]]:
    """Stages behind the projection of an agent: what a fork of it has to know of its buckets.

    Args:
        archive: Where they lie.
        places: At how many addresses the agent was looked for.
        at: How many messages the fork begins with, ``None`` for all.

    Returns:
        They add ``lent``, of each bucket that was rewritten or holds large values how often, and the ids; and
        ``outlines``, of each bucket that decides about the cut, unless its state tells that in an unusual way.
    """
    found = [{"$ifNull": [f"$at{index}.references", []]} for index in range(places)]
    lookup = {"from": archive.collection.name, "localField": "references.id", "foreignField": "_id"}
    has_values = {"$gt": [{"$size": {"$ifNull": ["$messages.external", []]}}, 0]}
    lent = [
        {"$match": {"$expr": {"$or": [{"$gt": ["$rewritten", 0]}, has_values]}}},
        {"$project": {"rewritten": 1, "ids": "$messages.external.ids"}},
    ]
    decides = {"$gt": [{"$add": ["$first", {"$size": "$messages"}]}, "$$start"]}
    outlines = [{"$match": {"$expr": decides}}, {"$project": OUTLINE}]
    return [
        {"$set": {"references": {"$concatArrays": found}}},
        {"$lookup": {**lookup, "pipeline": lent, "as": "lent"}},
        {"$lookup": {**lookup, "let": {"start": _start(at)}, "pipeline": outlines, "as": "outlines"}},
        {"$unset": "references"},
    ]


def _start(at: int | None) -> Any:
    """The first message that decides about a cut, as :func:`..history_cut.looked_at` has it."""
    if at is None:
        return _NONE
    state = "$at0.data.conversation_manager_state.removed_message_count"
    removed = {"$cond": [{"$isNumber": state}, state, 0]}
    kept = {"$subtract": [{"$add": ["$at0.archived", "$at0.size"]}, removed]}
    return {"$cond": [{"$gte": [removed, at]}, {"$subtract": [at, {"$max": [1, kept]}]}, at - 1]}


@dataclass
class Loan:
    """Documents of the archive that one more session may list.

    Attributes:
        archive: Where they lie.
        session_id: The other session.
        buckets: Ids of buckets; what their messages list comes with them.
        values: Ids of large values that messages outside them list.
        lent: What :func:`lent_stages` has found of the buckets.
    """

    archive: Archive
    session_id: str
    buckets: list[ObjectId]
    values: list[ObjectId]
    lent: list[Mapping[str, Any]]

    def take(self) -> bool:
        """Make the session one of those that use all this. It lists it afterwards; until then it is garbage of its own.

        One update for a thousand buckets, with which the large values go.

        Returns:
            Whether all of it was there, as it was read: whoever rewrites a bucket from now on gives what its messages
            list to the other session as well.
        """
        rewritten = {bucket["_id"]: bucket.get("rewritten", 0) for bucket in self.lent}
        ids = dict.fromkeys(self.all_values, 0)
        for at in range(0, max(len(self.buckets), bool(ids)), _MOST_BUCKETS):
            ids |= {id_: rewritten.get(id_, 0) for id_ in self.buckets[at : at + _MOST_BUCKETS]}
            if not self.archive.share(ids, [self.session_id]):
                return False
            ids = {}
        return True

    @property
    def all_values(self) -> set[ObjectId]:
        """The large values that the session will list, by way of its buckets too."""
        ours = {*self.buckets}
        inside = (bucket.get("ids") for bucket in self.lent if bucket["_id"] in ours)
        return {*self.values, *_flat(inside)}

    def give_back(self) -> None:
        """Undo :meth:`take` for a fork that did not come about; a session that is there keeps what it lists."""
        self.give_up({*self.buckets, *self.all_values} - self.archive.used_by([self.session_id]))

    def give_up(self, ids: Iterable[ObjectId]) -> None:
        """Let go of some documents."""
        ours = {"_id": {"$in": [*ids]}}
        self.archive.collection.update_many(ours, {"$pull": {"session_ids": self.session_id}})
        self.archive.collection.delete_many({**ours, "session_ids": []})


def _flat(ids: Any) -> Iterator[ObjectId]:
    """Ids in lists of any depth."""
    for each in ids:
        if isinstance(each, ObjectId):
            yield each
        elif each:
            yield from _flat(each)
