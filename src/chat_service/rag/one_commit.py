"""Many points of the embedded store in one commit. By itself it waits for the disk after every point."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from qdrant_client import QdrantClient

__all__ = ["one_commit"]


@contextmanager
def one_commit(client: QdrantClient, collection: str) -> Iterator[None]:
    """Let all that is written meanwhile be written whole, or not at all. With a server this does nothing.

    Args:
        client: Used by this thread alone.
        collection: The one that is written to.
    """
    # The package offers no such thing; where its inside is another one, every point is a commit, which is slow.
    kept = getattr(getattr(client, "_client", None), "collections", {}).get(collection)
    storage = getattr(kept, "storage", None)
    connection = getattr(storage, "storage", None)
    if storage is None or not isinstance(connection, sqlite3.Connection):
        yield
        return
    storage.storage = _Held(connection)
    try:
        with connection:
            yield
    finally:
        storage.storage = connection


class _Held:
    """A connection that somebody else commits."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __enter__(self) -> _Held:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is committed yet."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)
