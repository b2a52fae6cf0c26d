"""Turn records on MongoDB: one collection beside the sessions, a document for each turn and for each replica.

```
{ _id: turn id, session_id, owner?, replica, key?, body?, started, begun?, expires_at,
  events: [ { first, last, text }, … ]?,                    # one event a line
  ending: { position, text }? }                             # the last event; its absence: the turn runs
{ _id: replica id, alive, expires_at, cancels: [turn id, …]? }
```

Every date is the server's. An index on ``expires_at`` removes what is kept no longer.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pymongo
from pymongo import IndexModel, MongoClient, ReadPreference, ReturnDocument, UpdateOne, WriteConcern
from pymongo.errors import DuplicateKeyError
from pymongo.read_concern import ReadConcern

from ..turn_records import LONGEST_SILENCE, StoredTurn, TurnChange, TurnRecord

__all__ = ["MongoDBTurnRecords"]

_SECONDS = 5.0
"""How long one call may take."""

_FIELDS = ("session_id", "owner", "replica", "key", "body")


class MongoDBTurnRecords:
    """:class:`~chat_service.turn_records.TurnRecords` on a collection."""

    def __init__(self, client: MongoClient[Any], database_name: str, collection_name: str, retention: float) -> None:
        """Address the collection; no I/O. The client is borrowed.

        Args:
            client: Of the sessions.
            database_name: Where the sessions are.
            collection_name: Its own.
            retention: Seconds for which a turn is kept after its end.
        """
        self._turns = client[database_name].get_collection(
            collection_name,
            read_preference=ReadPreference.PRIMARY,
            write_concern=WriteConcern("majority"),
            read_concern=ReadConcern("local"),
        )
        self._retention = retention
        self._lock = threading.Lock()
        self._is_prepared = False

    def claim(self, record: TurnRecord) -> StoredTurn | None:
        """See :class:`~chat_service.turn_records.TurnRecords`."""
        self._prepare()
        with pymongo.timeout(_SECONDS):
            for _ in range(3):  # what has the key may end without an answer at any time
                try:
                    self._turns.update_one({"_id": record.turn_id}, [{"$set": self._fields(record)}], upsert=True)
                    return None
                except DuplicateKeyError:
                    if found := self._find([{"$match": {"key": record.key}}]):
                        return found
        raise TimeoutError("a key changed hands three times while it was asked for")

    def release(self, record: TurnRecord) -> None:
        """See :class:`~chat_service.turn_records.TurnRecords`."""
        with pymongo.timeout(_SECONDS):
            self._turns.delete_one({"_id": record.turn_id, "begun": {"$exists": False}})

    def write(self, changes: Sequence[TurnChange]) -> None:
        """See :class:`~chat_service.turn_records.TurnRecords`."""
        self._prepare()
        updates = [UpdateOne({"_id": change.record.turn_id}, self._update(change), upsert=True) for change in changes]
        with pymongo.timeout(_SECONDS):
            self._turns.bulk_write(updates, ordered=False)

    def beat(self, replica: str) -> list[str]:
        """See :class:`~chat_service.turn_records.TurnRecords`."""
        alive = {"alive": "$$NOW", "expires_at": self._expiry()}
        with pymongo.timeout(_SECONDS):
            found = self._turns.find_one_and_update(
                {"_id": replica}, [{"$set": alive}], {"cancels": 1}, upsert=True, return_document=ReturnDocument.AFTER
            )
        return list((found or {}).get("cancels", ()))

    def read(self, turn_id: str, position: int = 0) -> StoredTurn | None:
        """See :class:`~chat_service.turn_records.TurnRecords`."""
        with pymongo.timeout(_SECONDS):
            return self._find([{"$match": {"_id": turn_id}}], position)

    def unfinished(self, session_id: str) -> StoredTurn | None:
        """See :class:`~chat_service.turn_records.TurnRecords`."""
        running = {"session_id": session_id, "begun": True, "ending": {"$exists": False}}
        with pymongo.timeout(_SECONDS):
            return self._find([{"$match": running}, {"$sort": {"started": -1}}, {"$limit": 1}])

    def interrupt(self, turn_id: str, ending: tuple[int, str]) -> None:
        """See :class:`~chat_service.turn_records.TurnRecords`."""
        position, text = ending
        with pymongo.timeout(_SECONDS):
            self._turns.update_one(
                {"_id": turn_id, "ending": {"$exists": False}},
                {"$set": {"ending": {"position": position, "text": text}}, "$unset": {"key": ""}},
            )

    def cancel(self, record: TurnRecord) -> None:
        """See :class:`~chat_service.turn_records.TurnRecords`."""
        wanted = {"$each": [record.turn_id], "$slice": -1000}
        with pymongo.timeout(_SECONDS):
            self._turns.update_one(
                {"_id": record.replica},
                {
                    "$push": {"cancels": wanted},
                    "$setOnInsert": {"expires_at": datetime.now(UTC) + timedelta(seconds=self._retention)},
                },
                upsert=True,
            )

    def forget(self, session_id: str) -> None:
        """See :class:`~chat_service.turn_records.TurnRecords`."""
        with pymongo.timeout(_SECONDS):
            self._turns.delete_many({"session_id": session_id})

    def _prepare(self) -> None:
        """Make sure of the indexes, once."""
        if self._is_prepared:
            return
        with self._lock, pymongo.timeout(_SECONDS):
            if not self._is_prepared:
                self._turns.create_indexes(
                    [
                        IndexModel("expires_at", expireAfterSeconds=0),
                        IndexModel("key", unique=True, partialFilterExpression={"key": {"$exists": True}}),
                        IndexModel(["session_id", "started"]),
                    ]
                )
                self._is_prepared = True

    def _expiry(self, *, runs: bool = False) -> dict[str, Any]:
        return {"$add": ["$$NOW", int((self._retention + LONGEST_SILENCE * runs) * 1000)]}

    def _fields(self, record: TurnRecord, *, with_key: bool = True) -> dict[str, Any]:
        """What every turn has. What is there already stays."""
        fields = {name: getattr(record, name) for name in _FIELDS if with_key or name not in ("key", "body")}
        kept = {name: {"$ifNull": [f"${name}", {"$literal": value}]} for name, value in fields.items() if value}
        return {**kept, "started": {"$ifNull": ["$started", "$$NOW"]}, "expires_at": self._expiry(runs=True)}

    def _update(self, change: TurnChange) -> list[dict[str, Any]]:
        # A key is only ever set by its claim: it may have been freed since.
        fields = self._fields(change.record, with_key=False) | {"begun": True}
        if change.batch:
            fields["events"] = {"$concatArrays": [_before(change.batch.first), {"$literal": [_stored(change)]}]}
        if change.ending:
            position, text = change.ending
            fields["expires_at"] = self._expiry()
            fields["ending"] = {"$ifNull": ["$ending", {"$literal": {"position": position, "text": text}}]}
        gone = [name for name, wanted in (("key", change.frees_key), ("events", change.forgets)) if wanted]
        return [{"$set": fields}, *([{"$unset": gone}] if gone else [])]

    def _find(self, stages: list[dict[str, Any]], position: int | None = None) -> StoredTurn | None:
        name = self._turns.name
        alive = {"$lookup": {"from": name, "localField": "replica", "foreignField": "_id", "as": "replicas"}}
        later = {"$filter": {"input": "$events", "cond": {"$gt": ["$$this.last", position]}}}
        wanted: dict[str, Any] = dict.fromkeys((*_FIELDS, "begun", "ending"), 1)
        wanted["quiet"] = {"$subtract": ["$$NOW", {"$max": ["$started", {"$first": "$replicas.alive"}]}]}
        if position is not None:
            wanted["events"] = later
        found = next(self._turns.aggregate([*stages, alive, {"$project": wanted}]), None)
        return None if found is None else _turn(found)


def _before(first: int) -> dict[str, Any]:
    """The batches that a new one leaves as they are: what is written again takes its own place."""
    return {"$filter": {"input": {"$ifNull": ["$events", []]}, "cond": {"$lt": ["$$this.first", first]}}}


def _stored(change: TurnChange) -> dict[str, Any]:
    assert change.batch
    return {"first": change.batch.first, "last": change.batch.last, "text": change.batch.text}


def _turn(found: Mapping[str, Any]) -> StoredTurn:
    ending = found.get("ending")
    return StoredTurn(
        record=TurnRecord(
            turn_id=found["_id"],
            session_id=found["session_id"],
            owner=found.get("owner"),
            replica=found["replica"],
            key=found.get("key"),
            body=found.get("body"),
        ),
        begun="begun" in found,
        events=[
            event
            for batch in found.get("events") or ()
            for event in enumerate(batch["text"].split("\n"), batch["first"])
        ],
        ending=ending and (ending["position"], ending["text"]),
        quiet=found["quiet"] / 1000,
    )
