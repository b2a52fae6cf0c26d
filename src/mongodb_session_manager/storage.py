"""The SDK's unified storage on MongoDB: bytes under text keys, for snapshots, memory stores and offloaded content."""

from __future__ import annotations

import asyncio
import builtins
import copy
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeAlias, TypeVar

from bson import MaxKey, ObjectId
from bson.errors import BSONError
from pymongo import MongoClient
from pymongo.collection import Collection
from pymongo.errors import DuplicateKeyError, OperationFailure, PyMongoError
from strands.storage import InMemoryStorage, Storage
from strands.types.exceptions import StorageError

from .connection import Connection
from .documents import valid_text
from .mongodb_collection import background_of, database_attributes, open_collection
from .telemetry import is_configured, operation

if TYPE_CHECKING:
    from strands.storage.search.types import SearchStrategy
    from strands.storage.storage import StorageSearchResult

__all__ = ["MongoDBStorage", "purge_namespaces"]

T = TypeVar("T")
_Values: TypeAlias = Collection[dict[str, Any]]

_LARGEST_PART = 12 * 1024 * 1024

_LONGEST_WRITE = timedelta(minutes=30)
"""From the first part of a value to its head, by the server's clock; after twice that, parts without one are garbage.

Nothing is lost whatever the clients' clocks say: one that is wrong by more than this cannot write large values.
"""

_NOT_AN_OBJECT = 40228
"""What the server answers to a ``$replaceWith`` whose value is null: here, that a write took too long."""

_VIEW = getattr(InMemoryStorage().namespace("view"), "_namespaced", None)
"""The mark by which the SDK knows a view that its application made, so that it adds no prefix of its own."""


class MongoDBStorage(Storage[str, str]):
    """A :class:`strands.storage.Storage` on one collection. Bytes of any size, safe from any event loop.

    Keys are taken as they are, the empty one included: any text that UTF-8 can express, of which ``/`` is a part like
    any other. The stored documents::

        { _id: "<namespace>/<key>", updated_at, data }              # a value of at most 12 MB
        { _id: "<namespace>/<key>", updated_at, write, bytes }      # the head of a larger one, and its parts:
        { _id: { of: "<namespace>/<key>", write, part: 0 }, data }, …

    The parts of a larger value are inserted under a new id, then its head is replaced in one step: a reader sees one
    value or the other, whole, and a part whose write no head names does not exist. Every write is acknowledged by a
    majority, journalled; every read is from the primary.

    Example:
        >>> storage = MongoDBStorage("mongodb://…", database_name="chat")  # doctest: +SKIP
        >>> manager = SnapshotSessionManager("user-123", storage=storage)  # doctest: +SKIP
    """

    _namespaced: object = None

    def __init__(
        self,
        connection_string: str | None = None,
        database_name: str = "database_name",
        collection_name: str = "storage",
        client: MongoClient[Any] | None = None,
        namespace: str = "",
        *,
        search_strategy: SearchStrategy[MongoDBStorage] | None = None,
        _connection: Connection | None = None,
        **client_kwargs: Any,
    ) -> None:
        """Address the collection; no I/O.

        Args:
            connection_string: Makes a client of its own; ``close()`` gives it back.
            database_name: The database.
            collection_name: The collection.
            client: A borrowed client, which wins; ``close()`` leaves it open.
            namespace: Any text. What is in one namespace no other one sees, whatever the keys are.
            search_strategy: Answers :meth:`search` instead of the SDK's keyword search, and is told of every write.
            **client_kwargs: Options of the client, with a connection string.

        Raises:
            ValueError: Neither a connection string nor a client was given, or the namespace holds a lone surrogate.
        """
        coded = valid_text("namespace", namespace).replace("%", "%25").replace("/", "%2F")
        self._home = f"{coded}/"
        self._place = (database_name, collection_name)
        self._search_strategy = search_strategy
        self._owns = _connection is None
        self._connection = _connection or Connection(
            connection_string, client, {} if client is not None else client_kwargs
        )

    async def write(self, key: str, data: bytes) -> None:
        """Store a value, instead of any that is there. Of several writers at once the last one wins, whole.

        One update up to 12 MB; above it the parts are inserted before it and those replaced are deleted after it.

        Raises:
            StorageError: It could not be stored, or UTF-8 cannot express the key.
        """
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise StorageError(f"data must be bytes, not {type(data).__name__}: encode it")
        data = bytes(data)  # a copy where the caller could still change it
        await self._run(f"write {key!r}", partial(_Value(self._id(key)).write, data=data))
        if self._search_strategy is not None:
            try:
                await self._search_strategy.index(self, key, data)
            except Exception as error:
                raise StorageError(f"wrote {key!r}, but the search strategy did not index it") from error

    async def read(self, key: str) -> bytes | None:
        """The value under a key, ``None`` when there is none. One find; two above 12 MB.

        Raises:
            StorageError: It could not be read, or UTF-8 cannot express the key.
        """
        return await self._run(f"read {key!r}", _Value(self._id(key)).read)

    async def delete(self, key: str) -> None:
        """Remove the value under a key, if there is one.

        Raises:
            StorageError: It could not be removed, or UTF-8 cannot express the key.
        """
        await self._run(f"delete {key!r}", _Value(self._id(key)).delete)

    async def list(self, query: str = "") -> builtins.list[str]:
        """All keys that begin with a text, sorted by code point. One find that reads nothing but their index entries.

        Raises:
            StorageError: They could not be read, or UTF-8 cannot express the text.
        """
        low = self._id(query, "prefix")
        condition = {"_id": {"$gte": low, "$lt": _behind(low)}}

        def keys(collection: _Values) -> builtins.list[str]:
            found = collection.find(condition, {"_id": 1}).sort("_id", 1)
            return [each["_id"][len(self._home) :] for each in found]

        return await self._run(f"list the keys that begin with {query!r}", keys)

    async def search(self, query: str) -> builtins.list[StorageSearchResult]:
        """What matches a question, best first. Without a search strategy it is the SDK's, which reads every value."""
        if self._search_strategy is not None:
            return await self._search_strategy.search(self, query)
        return await super().search(query)

    def namespace(self, prefix: str) -> MongoDBStorage:
        """A view of the keys below ``prefix/``, as the SDK's own storages give one.

        Unlike the namespace of the constructor it is a part of this storage: ``view.read("x")`` and
        ``storage.read("prefix/x")`` are the same value. ``search`` sees only what is in the view. It shares the client.

        Raises:
            StorageError: UTF-8 cannot express the prefix.
        """
        home = self._id(prefix, "prefix").removeprefix(self._home).strip("/")
        view = copy.copy(self)
        view._home = f"{self._home}{home}/" if home else self._home
        view._namespaced = _VIEW
        view._owns = False
        return view

    async def purge(self) -> int:
        """Remove what interrupted writes of large values left, once it is an hour old. Reads no value.

        Such parts are never read, and the next write of a large value under the same key removes them as well.

        Returns:
            How many parts were removed.

        Raises:
            StorageError: The server could not be asked.
        """
        return await self._run("purge", partial(_purge, home=self._home))

    def close(self) -> None:
        """Give the client back if it is our own; a view's is not. May be called again."""
        if self._owns:
            self._connection.close()

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    async def __aenter__(self) -> Self:
        """Itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close, off the event loop."""
        await asyncio.to_thread(self.close)

    def _id(self, text: str, name: str = "key") -> str:
        try:
            return self._home + valid_text(name, text)
        except ValueError as error:
            raise StorageError(str(error)) from error

    async def _run(self, what: str, call: Callable[[_Values], T]) -> T:
        try:
            client = self._connection.client
            collection = open_collection(client, *self._place)
            return await background_of(client).run(partial(_asked, what.partition(" ")[0], call, collection))
        except (PyMongoError, BSONError) as error:
            raise StorageError(f"could not {what}: {type(error).__name__}") from error


def _asked(what: str, call: Callable[[_Values], T], collection: _Values) -> T:
    if not is_configured():
        return call(collection)
    with operation(what, partial(database_attributes, collection)):
        return call(collection)


class _Value:
    """One value of a collection, by the id of its document."""

    def __init__(self, id_: str) -> None:
        """Address it; no I/O."""
        self._id = id_

    def read(self, collection: _Values) -> bytes | None:
        """The value, ``None`` when there is none."""
        earlier = None
        while (head := collection.find_one({"_id": self._id})) is not None:
            if "write" not in head:
                return bytes(head["data"])
            parts = collection.find({"_id": self.parts_of(head["write"])}).sort("_id", 1)
            value = b"".join(part["data"] for part in parts)
            if len(value) == head["bytes"]:
                return value
            if head["write"] == earlier:
                raise StorageError(f"parts of {self._id!r} are missing in {collection.name!r}: write or delete it")
            # Replaced between the two reads.
            earlier = head["write"]
        return None

    def write(self, collection: _Values, data: bytes) -> None:
        """Replace the value."""
        if len(data) > _LARGEST_PART:
            self._write_parts(collection, data)
            return
        document = {"updated_at": datetime.now(UTC), "data": data}
        try:
            # Not findAndModify: of each document that it changes the server keeps a copy for a while.
            collection.replace_one({"_id": self._id, "write": {"$exists": False}}, document, upsert=True)
        except DuplicateKeyError:
            # A head with parts is there, or another writer was first.
            before = collection.find_one_and_replace({"_id": self._id}, document, {"write": 1}, upsert=True)
            self._sweep(collection, (before or {}).get("write"))

    def delete(self, collection: _Values) -> None:
        """Remove the value."""
        if collection.delete_one({"_id": self._id, "write": {"$exists": False}}).deleted_count:
            return
        before = collection.find_one_and_delete({"_id": self._id}, {"write": 1})
        self._sweep(collection, (before or {}).get("write"))

    def _write_parts(self, collection: _Values, data: bytes) -> None:
        write = ObjectId()
        collection.insert_many(
            {"_id": self._part(write, number), "data": data[at : at + _LARGEST_PART]}
            for number, at in enumerate(range(0, len(data), _LARGEST_PART))
        )
        head = {"_id": self._id, "updated_at": datetime.now(UTC), "write": write, "bytes": len(data)}
        age = {"$abs": {"$subtract": ["$$NOW", write.generation_time]}}
        in_time = {"$lt": [age, _LONGEST_WRITE // timedelta(milliseconds=1)]}
        update = [{"$replaceWith": {"$cond": [in_time, {"$literal": head}, None]}}]
        try:
            before = collection.find_one_and_update({"_id": self._id}, update, {"write": 1}, upsert=True)
        except OperationFailure as error:
            if error.code != _NOT_AN_OBJECT:
                raise
            raise StorageError(
                f"writing {self._id!r} took more than {_LONGEST_WRITE}, or this machine's clock differs by as much"
                " from the server's: nothing was changed"
            ) from error
        self._sweep(collection, (before or {}).get("write"), write)

    def _sweep(self, collection: _Values, before: ObjectId | None, write: ObjectId | None = None) -> None:
        """Remove the parts of a write that was replaced, and of those that were never finished.

        What began an hour before a write whose head was set will never be finished: each head is set within half an
        hour of its write's time.
        """
        last = write or before
        if last is None:
            return
        unfinished = {"$gte": {"of": self._id}, "$lt": {"of": self._id, "write": _long_before(last.generation_time)}}
        ranges = [unfinished] if before is None else [unfinished, self.parts_of(before)]
        collection.delete_many({"$or": [{"_id": each} for each in ranges]})

    def _part(self, write: ObjectId, number: Any) -> dict[str, Any]:
        return {"of": self._id, "write": write, "part": number}

    def parts_of(self, write: ObjectId) -> dict[str, Any]:
        """The range of ids that the parts of one write have."""
        return {"$gte": self._part(write, 0), "$lt": self._part(write, MaxKey())}


def purge_namespaces(client: MongoClient[Any], database_name: str, collection_name: str) -> int:
    """What :meth:`MongoDBStorage.purge` does, in all namespaces of a collection. Blocks.

    Returns:
        How many parts were removed.
    """
    return _purge(open_collection(client, database_name, collection_name), home="")


def _purge(collection: _Values, home: str) -> int:
    # Asked before the heads are read: what is old by then and not listed can never be listed any more.
    old = _long_before(collection.database.client.admin.command("hello")["localTime"])
    behind = _behind(home) if home else MaxKey()
    parts = collection.find({"_id": {"$gte": {"of": home}, "$lt": {"of": behind}}}, {"_id": 1})
    writes = {(each["_id"]["of"], each["_id"]["write"]) for each in parts if each["_id"]["write"] < old}
    removed = 0
    for of, write in writes:
        if collection.find_one({"_id": of, "write": write}, {"write": 1}) is None:
            removed += collection.delete_many({"_id": _Value(of).parts_of(write)}).deleted_count
    return removed


def _long_before(moment: datetime) -> ObjectId:
    return ObjectId.from_datetime(moment - 2 * _LONGEST_WRITE)


def _behind(prefix: str) -> str:
    """The first text behind all that begin with a prefix, which is not made of the last character alone."""
    prefix = prefix.rstrip("\U0010ffff")
    last = ord(prefix[-1]) + 1
    # Surrogates are no characters.
    return prefix[:-1] + chr(0xE000 if last == 0xD800 else last)
