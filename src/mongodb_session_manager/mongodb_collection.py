"""The collection of sessions: how it is opened, prepared once, and how its errors name their session."""

from __future__ import annotations

import math
import os
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, TypeAlias

import pymongo
from bson.codec_options import CodecOptions
from pymongo import IndexModel, MongoClient, ReadPreference, WriteConcern
from pymongo.collection import Collection
from pymongo.errors import ConnectionFailure, OperationFailure, PyMongoError
from pymongo.read_concern import ReadConcern

from .background import Background
from .client_telemetry import server_attributes
from .mongodb_connection_pool import check_server, check_write_concern
from .telemetry import Attributes

__all__ = [
    "Sessions",
    "background_of",
    "database_attributes",
    "in_time",
    "is_electing",
    "knows_server",
    "max_concurrency",
    "noted",
    "open_collection",
    "patience",
    "prepare",
    "prepare_archive",
]

_PATIENCE = 5.0
_SLOWEST = 1_000_000
"""Bytes a second of the slowest network on which large messages are stored."""

_VOTERS = {"RSSecondary", "RSArbiter"}

_EXISTS_OTHERWISE = {85, 86}
"""IndexOptionsConflict and IndexKeySpecsConflict."""

_RARE = {
    "application_name",
    "deleting",
    "forked_from.owner",
    "forked_from.session_id",
    "importing",
    "lifetime",
    "owner",
}
"""What not every session has."""

Sessions: TypeAlias = Collection[dict[str, Any]]


class _Prepared:
    """What was prepared on one server. Its lock is held while that server is asked, and disturbs no other."""

    def __init__(self) -> None:
        self.places: set[tuple[str, ...]] = set()
        self.lock = threading.Lock()
        self.failure: tuple[float, ConnectionFailure] | None = None


# By identity: clients of the same address are equal, and one must not go with another.
_prepared: dict[int, _Prepared] = {}
_preparing = threading.Lock()


def _after_fork() -> None:
    # Another thread of the parent may have held a lock.
    global _prepared, _preparing
    _prepared, _preparing = {}, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def open_collection(client: MongoClient[Any], database_name: str, collection_name: str) -> Sessions:
    """The collection with what a turn needs of it, whatever the client says. No I/O.

    Raises:
        ValueError: The client's write concern is unacknowledged.
    """
    check_write_concern(client)
    return client[database_name].get_collection(
        collection_name,
        # Dates come without a zone: they are UTC, and hundreds of them are read with a history.
        codec_options=CodecOptions(),
        read_preference=ReadPreference.PRIMARY,
        write_concern=WriteConcern("majority", j=True),
        read_concern=ReadConcern("local"),
    )


def prepare(collection: Sessions, metadata_fields: Sequence[str]) -> None:
    """Make sure of the server's version and of the indexes, once per process, client and collection."""
    # Behind the order, what a list may be filtered by besides: then only what is shown is read.
    indexes = [
        ("created_at", "_id", "title"),
        ("updated_at", "_id", "title"),
        ("owner", "created_at", "_id", "application_name", "title"),
        ("owner", "updated_at", "_id", "application_name", "title"),
        ("application_name", "created_at", "_id", "title"),
        ("application_name", "updated_at", "_id", "title"),
        ("expires_at",),
        ("lifetime", "updated_at"),
        ("deleting",),
        ("importing",),
        ("forked_from.session_id",),
        ("forked_from.owner",),
        *((f"metadata.{name}", "updated_at", "_id", "owner") for name in metadata_fields),
    ]
    _prepare(collection, indexes, metadata_fields)


def prepare_archive(collection: Sessions) -> None:
    """Make sure of the archive's indexes, once per process, client and collection."""
    # With the id, so that a list of ids reads the index alone.
    _prepare(collection, [("session_ids", "agent_id", "digest", "_id")])


def _prepare(collection: Sessions, indexes: Sequence[tuple[str, ...]], named: Sequence[str] = ()) -> None:
    place = (collection.database.name, collection.name, *named)
    client = collection.database.client
    with _preparing:
        prepared = _prepared.get(id(client))
        if prepared is None:
            prepared = _prepared[id(client)] = _Prepared()
            weakref.finalize(client, _prepared.pop, id(client), None)
    if place in prepared.places:
        return
    asked_at = time.monotonic()
    with prepared.lock:
        if place in prepared.places:
            return
        if prepared.failure is not None and prepared.failure[0] >= asked_at:
            # Found out while we waited for it: to ask again, one after the other, would take as long for each.
            failure = prepared.failure[1]
            raise type(failure)(str(failure)) from failure
        try:
            _create(collection, [_index(fields) for fields in indexes])
        except ConnectionFailure as error:
            prepared.failure = (time.monotonic(), error)
            raise
        check_server(client)
        prepared.places.add(place)


def _create(collection: Sessions, indexes: list[IndexModel]) -> None:
    """Create what is missing, in one command; where an index was made with other options, that one serves."""
    try:
        collection.create_indexes(indexes)
        return
    except OperationFailure as error:
        if error.code not in _EXISTS_OTHERWISE:
            raise
    for index in indexes:
        try:
            collection.create_indexes([index])
        except OperationFailure as error:
            if error.code not in _EXISTS_OTHERWISE:
                raise


def _index(fields: tuple[str, ...]) -> IndexModel:
    options: dict[str, Any] = {}
    if fields[0] in _RARE or fields[0].startswith("metadata."):
        # Sessions without it need no entry: every write would renew it.
        options["partialFilterExpression"] = {fields[0]: {"$exists": True}}
    return IndexModel([(field, 1) for field in fields], **options)


def max_concurrency(client: MongoClient[Any]) -> int:
    """How many calls a client serves at once: the size of its pool, 100 where that is unlimited."""
    size = client.options.pool_options.max_pool_size
    return int(size) if size and size < 10_000 else 100


def background_of(client: MongoClient[Any]) -> Background:
    """The threads that all session managers on a client share."""
    return Background.of(client, max_concurrency(client))


def patience(client: MongoClient[Any], size: int = 0) -> float:
    """Seconds that a call may take: five, or what the client's ``timeoutMS`` says.

    Args:
        client: Whose option counts.
        size: Bytes that travel, which may take longer.
    """
    chosen = client.options.timeout
    if chosen is None:
        chosen = _PATIENCE
    return float(chosen + size / _SLOWEST) if chosen else math.inf  # as the driver counts: 0 is no limit


def in_time(collection: Sessions, size: int = 0, *, seconds: float | None = None) -> AbstractContextManager[None]:
    """Give up on commands that take longer than :func:`patience`, or so many seconds: a server may be mute.

    Where no server is known the driver's own time to look for one counts, which this would replace.
    """
    client = collection.database.client
    limit = patience(client, size) if seconds is None else seconds
    return pymongo.timeout(limit) if knows_server(client) and limit < math.inf else nullcontext()


def database_attributes(collection: Sessions) -> Attributes:
    """What spans and figures say of a collection; sends nothing."""
    servers = collection.database.client.topology_description.server_descriptions().values()
    primary = next((each for each in servers if each.is_writable), None)
    return {
        "db.system.name": "mongodb",
        "db.namespace": collection.database.name,
        "db.collection.name": collection.name,
        **server_attributes(primary.address if primary else None),
    }


def knows_server(client: MongoClient[Any]) -> bool:
    """Whether there is a server to write to, as far as the driver knows; sends nothing."""
    return client.topology_description.has_writable_server()


def is_electing(client: MongoClient[Any]) -> bool:
    """Whether there is no primary now but there are members that can elect one; sends nothing."""
    known = client.topology_description
    if known.topology_type_name != "ReplicaSetNoPrimary" or not known.has_readable_server(ReadPreference.SECONDARY):
        return False
    servers = known.server_descriptions().values()
    return sum(each.server_type_name in _VOTERS for each in servers) > len(servers) / 2


@contextmanager
def noted(session_id: str) -> Iterator[None]:
    """Let an error of the driver say which session it is about; otherwise it passes unchanged."""
    try:
        yield
    except PyMongoError as error:
        error.add_note(f"session_id={session_id!r}")
        raise
