"""Sessions as they are stored, for who looks into the database. Blocks."""

from __future__ import annotations

from typing import Any, Protocol

import pymongo
from bson.codec_options import CodecOptions, DatetimeConversion
from pymongo import MongoClient

__all__ = ["MongoDBDocuments", "StoredDocuments"]

_SECONDS = 5.0
_OPTIONS: CodecOptions[dict[str, Any]] = CodecOptions(
    tz_aware=True, datetime_conversion=DatetimeConversion.DATETIME_AUTO
)


class StoredDocuments(Protocol):
    """Reads what is stored of a session."""

    def read(self, session_id: str) -> dict[str, Any] | None:
        """What is stored; ``None`` when there is nothing."""


class MongoDBDocuments:
    """The documents of a collection."""

    def __init__(self, client: MongoClient[Any], database_name: str, collection_name: str) -> None:
        """Address the collection; no I/O. The client is borrowed."""
        self._collection = client[database_name].get_collection(collection_name, codec_options=_OPTIONS)

    def read(self, session_id: str) -> dict[str, Any] | None:
        """The document; its archive is not in it. One command."""
        with pymongo.timeout(_SECONDS):
            return self._collection.find_one({"_id": session_id})
