"""What a fork is going to list of the archive, before it lists it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from bson import ObjectId

from ..archive import Archive, listed

__all__ = ["OUTLINE", "Loan"]

_MOST_BUCKETS = 1000
"""In one command."""

OUTLINE: dict[str, Any] = {
    "first": 1,
    "messages.external": 1,
    "messages.message.role": 1,
    "messages.message.content.toolUse.toolUseId": 1,
    "messages.message.content.toolResult.toolUseId": 1,
}
"""A projection: a bucket without what was said."""


@dataclass
class Loan:
    """Documents of the archive that one more session may list.

    Attributes:
        archive: Where they lie.
        session_id: The other session.
        buckets: Ids of buckets; what their messages list comes with them.
        values: Ids of large values that messages outside them list.
        wanted: Which of the buckets are to be outlined.
        outlines: Buckets without what was said, by id: ``first``, and of each message ``role``, ids of tools, and
            ``external``.
    """

    archive: Archive
    session_id: str
    buckets: list[ObjectId]
    values: list[ObjectId]
    wanted: list[ObjectId]
    outlines: dict[ObjectId, dict[str, Any]] = field(default_factory=dict)

    def take(self) -> bool:
        """Make the session one of those that use all this. It lists it afterwards; until then it is garbage of its own.

        One update for a thousand buckets and one find, one update more where there are large values.

        Returns:
            Whether all of it was there.
        """
        for at in range(0, len(self.buckets), _MOST_BUCKETS):
            if not self.archive.share(self.buckets[at : at + _MOST_BUCKETS], [self.session_id]):
                return False
        if self.buckets:
            # Read afterwards: whoever changes a message from now on gives its values to the other session as well.
            which = [{"messages.external": {"$exists": True}}, {"_id": {"$in": self.wanted}}]
            found = self.archive.collection.find({"_id": {"$in": self.buckets}, "$or": which}, OUTLINE)
            self.outlines = {bucket["_id"]: bucket for bucket in found}
        values = self._values()
        return not values or self.archive.share([*values], [self.session_id])

    def _values(self) -> set[ObjectId]:
        inside = {id_ for bucket in self.outlines.values() for id_ in listed(bucket["messages"])}
        return {*self.values, *inside}

    def give_back(self) -> None:
        """Undo :meth:`take` for a fork that did not come about; a session that is there keeps what it lists."""
        ids = [*{*self.buckets, *self._values()} - self.archive.used_by([self.session_id])]
        self.archive.collection.update_many({"_id": {"$in": ids}}, {"$pull": {"session_ids": self.session_id}})
        self.archive.collection.delete_many({"_id": {"$in": ids}, "session_ids": []})
