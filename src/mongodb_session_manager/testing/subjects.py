"""The session managers that the suite knows: this library's, and two of the SDK's."""

from __future__ import annotations

import asyncio
import shutil
import threading
import uuid
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import bson
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient, monitoring
from strands import Agent
from strands.session import FileSessionManager, SnapshotSessionManager
from strands.storage import LocalFileStorage

from ..mongodb_session_factory import MongoDBSessionManagerFactory
from .subject import Subject

__all__ = ["files", "mongodb", "snapshots"]

T = TypeVar("T")


def mongodb(uri: str, database: str = "contract", collection: str = "", turn_timeout: str | float = 30.0) -> Subject:
    """This library's session manager.

    Args:
        uri: Of the server.
        database: Where its sessions lie.
        collection: By default a new one, which is dropped at the end with what belongs to it.
        turn_timeout: Seconds until the turn of a killed process may be taken over.
    """
    collection = collection or f"sessions_{uuid.uuid4().hex[:12]}"
    sent = _BytesSent()
    client = MongoClient[Any](uri, event_listeners=[sent])
    factory = MongoDBSessionManagerFactory(client=client, database_name=database, collection_name=collection)

    def stored(session_id: str) -> bytes:
        found: list[RawBSONDocument] = []
        for name in _collections():
            where = {"_id": session_id} if name == collection else {"session_ids": session_id}
            found += client[database][name].with_options(_RAW).find(where, sort=[("_id", 1)])
        return b"".join(document.raw for document in found)

    def cleanup() -> None:
        for name in _collections():
            client[database].drop_collection(name)
        client.close()

    def _collections() -> list[str]:
        return [name for name in sorted(client[database].list_collection_names()) if name.startswith(collection)]

    return Subject(
        "MongoDBSessionManager",
        lambda session_id: factory.create_session_manager(session_id, turn_timeout=float(turn_timeout)),
        child=(f"{__name__}:mongodb", uri, database, collection, str(turn_timeout)),
        delete_session=factory.sessions.delete,
        stored=stored,
        bytes_written=lambda: sent.total,
        cleanup=cleanup,
    )


_RAW: Any = bson.CodecOptions(document_class=RawBSONDocument)


class _BytesSent(monitoring.CommandListener):
    """Counts the bytes of all commands."""

    def __init__(self) -> None:
        self.total = 0
        self._lock = threading.Lock()

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        size = len(bson.encode(event.command))
        with self._lock:
            self.total += size

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        return None

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        return None


def files(folder: str) -> Subject:
    """The SDK's session manager that keeps a file of every message.

    Args:
        folder: For the files; removed at the end.
    """
    return Subject(
        "FileSessionManager",
        lambda session_id: FileSessionManager(session_id, storage_dir=folder),
        child=(f"{__name__}:files", folder),
        delete_session=lambda session_id: FileSessionManager(session_id, storage_dir=folder).delete_session(session_id),
        stored=_stored(folder),
        bytes_written=_bytes_written(folder),
        cleanup=lambda: shutil.rmtree(folder, ignore_errors=True),
    )


def snapshots(folder: str, save_latest_on: Any = "invocation") -> Subject:
    """The SDK's session manager that keeps the whole agent in one file.

    Args:
        folder: For the files; removed at the end.
        save_latest_on: When it saves: ``"invocation"``, as by default, or ``"message"``.
    """

    def manager(session_id: str) -> SnapshotSessionManager:
        storage = LocalFileStorage(folder)
        return SnapshotSessionManager(session_id, storage=storage, save_latest_on=save_latest_on)

    def checkpoint(manager: Any, agent: Agent) -> str:
        name = _done(manager.save_snapshot(agent, is_latest=False))
        return str(name)

    def go_back(manager: Any, agent: Agent, name: str) -> None:
        _done(manager.restore_snapshot(agent, snapshot_id=name))

    return Subject(
        "SnapshotSessionManager" + ("" if save_latest_on == "invocation" else f"(save_latest_on={save_latest_on!r})"),
        manager,
        child=(f"{__name__}:snapshots", folder, save_latest_on),
        delete_session=lambda session_id: _done(manager(session_id).delete_session()),
        stored=_stored(folder),
        bytes_written=_bytes_written(folder),
        checkpoint=checkpoint,
        go_back=go_back,
        cleanup=lambda: shutil.rmtree(folder, ignore_errors=True),
    )


def _done(work: Coroutine[Any, Any, T]) -> T:
    """What a coroutine returns, in a thread of its own, because the caller's may run a loop already."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


def _stored(folder: str) -> Callable[[str], bytes]:
    def stored(session_id: str) -> bytes:
        paths = sorted(path for path in Path(folder).rglob("*") if session_id in str(path) and path.is_file())
        return b"".join(path.read_bytes() for path in paths)

    return stored


def _bytes_written(folder: str) -> Callable[[], int]:
    """Adds up the files that are new or other at each look: at least what was written, for a file may change twice."""
    seen: dict[Path, tuple[int, int]] = {}
    total = 0

    def look() -> int:
        nonlocal total
        for path in Path(folder).rglob("*"):
            found = path.stat()
            if path.is_file() and seen.get(path) != (found.st_ino, found.st_mtime_ns):
                seen[path] = (found.st_ino, found.st_mtime_ns)
                total += found.st_size
        return total

    return look
