"""The documents of sessions as the catalogue reads and changes them; an error of the driver names the session."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, NamedTuple

from bson.codec_options import CodecOptions
from pymongo import MongoClient, ReturnDocument
from pymongo.errors import DocumentTooLarge, DuplicateKeyError, OperationFailure

from ..archive import Archive
from ..documents import aware, valid_session_id
from ..errors import SessionNotFoundError, SessionTooLargeError
from ..mongodb_collection import Sessions, in_time, noted, open_collection, prepare
from ..mongodb_commands import GONE, TOO_LARGE, alive, new_session, unending
from ..mongodb_session_store import MongoDBSessionStore

__all__ = ["SessionDocuments", "Written", "unknown"]

_CREATED_AT = {"_id": 0, "created_at": 1}


class SessionDocuments:
    """The sessions of one collection."""

    def __init__(
        self,
        client: MongoClient[Any],
        database_name: str = "database_name",
        collection_name: str = "collection_name",
        metadata_fields: Sequence[str] | None = None,
        *,
        redacted_originals: Literal["remove", "keep"] = "remove",
    ) -> None:
        """Address the collection; no I/O. The client is borrowed and never closed here.

        Args:
            client: Borrowed.
            database_name: Its database.
            collection_name: Its collection.
            metadata_fields: Names below ``metadata`` that get an index each.
            redacted_originals: Whether a redaction keeps for an audit what was said.
        """
        self._keeps_originals = redacted_originals == "keep"
        self.client = client
        self.metadata_fields = tuple(metadata_fields or ())
        self.collection: Sessions = open_collection(client, database_name, collection_name).with_options(
            codec_options=CodecOptions(tz_aware=True)
        )
        # Lists and histories are read as the client says, all else from the primary.
        self._lists = self.collection.with_options(read_preference=client.read_preference)
        self._archive = Archive(self.collection)
        self._store = MongoDBSessionStore(client, database_name, collection_name, metadata_fields)

    def _prepare(self) -> None:
        prepare(self.collection, self.metadata_fields)

    def _find(self, session_id: str, projection: Mapping[str, Any]) -> dict[str, Any] | None:
        """A session, ``None`` if it reads as absent."""
        self._prepare()
        with noted(session_id), in_time(self.collection):
            document = self.collection.find_one({"_id": session_id}, {**projection, "gone": GONE})
        return None if document is None or document["gone"] else document

    def _insert(self, document: dict[str, Any]) -> None:
        """Insert a session, in the place of one that reads as absent.

        Raises:
            DuplicateKeyError: The session exists.
        """
        self._prepare()
        session_id = document["_id"]
        with noted(session_id), in_time(self.collection):
            try:
                self.collection.insert_one(document)
            except DuplicateKeyError:
                self._archive.finish_deletion(session_id)
                self.collection.insert_one(document)

    def _update(
        self,
        session_id: str,
        update: dict[str, Any],
        condition: Mapping[str, Any] | None = None,
        create: Mapping[str, Any] | None = None,
        created_at: datetime | None = None,
    ) -> Written | None:
        """What was written; ``None`` when there was no such session and it may not be created."""
        self._prepare()
        meant = {"_id": session_id, **(condition or {})}
        if created_at is not None:
            meant["created_at"] = created_at
        update = {**update, "$currentDate": {"updated_at": True}}
        creating = update
        if create is not None:
            creating = _with_fields(update, new_session(valid_session_id(session_id), create))
        upsert = create is not None
        with noted(session_id), in_time(self.collection):
            for _ in range(4):
                try:
                    if upsert:
                        return self._written({**meant, **unending()}, creating, upsert=True)
                    written = self._written({**meant, "$and": [alive()]}, update)
                    if written or create is None:
                        return written
                    self._archive.finish_deletion(session_id)
                    upsert = True
                except DuplicateKeyError:
                    # Another writer has made the session meanwhile, or it expires some day, or reads as absent.
                    upsert = False
                except (DocumentTooLarge, OperationFailure) as error:
                    if isinstance(error, DocumentTooLarge) or error.code in TOO_LARGE:
                        raise _too_large(session_id) from None
                    if not self._replace_nulls(session_id):
                        raise
        return None

    def _written(self, condition: dict[str, Any], update: dict[str, Any], *, upsert: bool = False) -> Written | None:
        written = self.collection.find_one_and_update(
            condition, update, _CREATED_AT, upsert=upsert, return_document=ReturnDocument.AFTER
        )
        return None if written is None else Written(_when(written))

    def _replace_nulls(self, session_id: str) -> bool:
        """Whether an older tool had left null where fields or entries are to be set, which the database refuses."""
        empty: dict[str, Any] = {"metadata": {}, "feedbacks": []}
        changed = [
            self.collection.update_one({"_id": session_id, name: {"$type": "null"}}, {"$set": {name: value}})
            for name, value in empty.items()
        ]
        return any(result.modified_count for result in changed)


class Written(NamedTuple):
    """A session was changed that was created then; an older tool may have left no date."""

    created_at: datetime | None


def unknown(session_id: str) -> SessionNotFoundError:
    """There is no such session."""
    return SessionNotFoundError(f"session {session_id!r} does not exist", session_id=session_id)


def _with_fields(update: Mapping[str, Any], fresh: Mapping[str, Any]) -> dict[str, Any]:
    """An update that may create the session: with the fields that it then starts with, less what it sets itself."""
    set_already = {name.partition(".")[0] for fields in update.values() for name in fields}
    return {**update, "$setOnInsert": {name: value for name, value in fresh.items() if name not in set_already}}


def _when(document: Mapping[str, Any]) -> datetime | None:
    created_at = document.get("created_at")
    return aware(created_at) if isinstance(created_at, datetime) else None


def _too_large(session_id: str) -> SessionTooLargeError:
    return SessionTooLargeError(
        f"session {session_id!r} would outgrow the 16 MB that MongoDB allows a document; nothing was written",
        session_id=session_id,
    )
