"""Qdrant: in a folder of this machine, or a server.

A knowledge base is an alias. It names one of two collections, ``<name>-a`` and ``<name>-b``: a rebuild fills the other
one, then the alias is switched, in one step. Whoever is killed before leaves the old one answering.

The embedded Qdrant belongs to one process and must be used by one thread at a time; nothing here does that by itself.
"""

from __future__ import annotations

import os
import pickle
import sqlite3
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import portalocker
from httpx import HTTPError
from qdrant_client import QdrantClient, models
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from .collection import Collection
from .errors import KnowledgeBaseError, KnowledgeBaseLocked, StoreUnavailable
from .records import About
from .settings import RetrievalSettings

__all__ = ["Store"]

_SECONDS = 10
"""That a server may take for one command."""

_OF_SECTIONS = 1_000
"""Chunks at most, of all sections that a search is about."""


class Store:
    """The two collections of a knowledge base, of which one counts. Blocks."""

    def __init__(
        self, client: QdrantClient, name: str, *, lock: IO[str] | None = None, is_remote: bool = False
    ) -> None:
        self._client = client
        self._name = name
        self._lock = lock
        self.is_remote = is_remote

    @classmethod
    def open(cls, settings: RetrievalSettings, data_dir: Path, *, create: bool = True) -> Store:
        """Reach the server that is set, else open the folder.

        Args:
            settings: Which server, and the name of the collection.
            data_dir: The folder is ``qdrant`` in it.
            create: Make the folder when there is none; else the store is empty then, and what is written is lost.

        Raises:
            KnowledgeBaseLocked: Another process has the folder.
            StoreUnavailable: The server cannot be reached or refuses us; the folder cannot be used.
        """
        if settings.qdrant_url:
            return cls(_server(settings, settings.qdrant_url), settings.qdrant_collection, is_remote=True)
        folder = data_dir / "qdrant"
        if not create and not folder.exists():
            return cls(QdrantClient(":memory:"), settings.qdrant_collection)
        lock = _locked(folder)
        try:
            with told(folder):
                warnings.filterwarnings("ignore", "Local mode is not recommended", UserWarning)  # said in our words
                client = QdrantClient(path=str(folder), force_disable_check_same_thread=True)
        except BaseException:
            lock.close()
            raise
        return cls(client, settings.qdrant_collection, lock=lock)

    def close(self) -> None:
        """Let go of the folder or the server."""
        self._client.close()
        if self._lock:
            self._lock.close()

    def current(self) -> Collection | None:
        """The collection that counts, if there is one."""
        with told():
            for alias in self._client.get_aliases().aliases:
                if alias.alias_name == self._name:
                    return self._collection(alias.collection_name)
            if self._name in self._names():
                raise StoreUnavailable(
                    f"QDRANT_COLLECTION: {self._name} is a collection that was not made by this service. Take another "
                    "name."
                )
            return None

    def beside(self) -> Collection:
        """The other one: what a rebuild fills. It may not be there, or be what a rebuild left that was killed."""
        current = self.current()
        return self._collection(f"{self._name}-{'b' if current and current.name.endswith('-a') else 'a'}")

    def prepare(self, collection: Collection, about: About) -> None:
        """Make a collection that holds nothing but what it is, unless it is there already and is the same."""
        words = models.SparseVectorParams(modifier=models.Modifier.IDF)
        with told():
            if collection.name in self._names():
                if collection.is_like(about):
                    return
                self._client.delete_collection(collection.name)
            self._client.create_collection(
                collection.name,
                vectors_config={"dense": models.VectorParams(size=about.dimension, distance=models.Distance.COSINE)},
                sparse_vectors_config={"words": words} if self.is_remote else None,
            )
        collection.prepare(about)

    def switch(self, collection: Collection) -> None:
        """Let a collection count, from now on. The one that did is removed."""
        before = self.current()
        if before and before.name == collection.name:
            return
        with told():
            forget = models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=self._name))
            name = models.CreateAlias(collection_name=collection.name, alias_name=self._name)
            self._client.update_collection_aliases(
                [*([forget] if before else []), models.CreateAliasOperation(create_alias=name)]
            )
            if before:
                self._client.delete_collection(before.name)

    def asked(self, requests: list[models.QueryRequest]) -> list[list[models.ScoredPoint]]:
        """What the server finds in the collection that counts."""
        return [answer.points for answer in self._client.query_batch_points(self._name, requests)]

    def of_sections(self, sections: set[str]) -> list[models.Record]:
        """The chunks of these sections that count, without the questions that they answer."""
        if not sections:
            return []
        wanted = models.Filter(
            must=[
                models.FieldCondition(key="live", match=models.MatchValue(value=True)),
                models.FieldCondition(key="section", match=models.MatchAny(any=sorted(sections))),
                models.FieldCondition(key="asked", match=models.MatchValue(value="")),
            ]
        )
        points, _ = self._client.scroll(
            self._name, wanted, limit=_OF_SECTIONS, with_payload=True, with_vectors=["dense"]
        )
        return points

    def _collection(self, name: str) -> Collection:
        return Collection(self._client, name, is_remote=self.is_remote)

    def _names(self) -> set[str]:
        return {each.name for each in self._client.get_collections().collections}


def _server(settings: RetrievalSettings, url: str) -> QdrantClient:
    key = settings.qdrant_api_key.get_secret_value() if settings.qdrant_api_key else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a key over plain HTTP: the guide tells of that
        return QdrantClient(url=url, port=None, api_key=key, timeout=_SECONDS, check_compatibility=False)


def _locked(folder: Path) -> IO[str]:
    """The lock of the folder, taken before anything in it is read: another process may be writing."""
    try:
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        file = (folder.parent / f"{folder.name}.lock").open("a+")
    except OSError as error:
        raise StoreUnavailable(
            f"DATA_DIR: {folder} cannot be created or written ({error.strerror}). Set it to a folder that can be, or "
            "set QDRANT_URL to use a server."
        ) from error
    try:
        portalocker.lock(file, portalocker.LockFlags.EXCLUSIVE | portalocker.LockFlags.NON_BLOCKING)
    except portalocker.exceptions.LockException as error:
        file.seek(0)
        holder = file.read().strip()
        file.close()
        raise _in_use(folder, f" {holder}" if holder.isdigit() else "") from error
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file


def _in_use(folder: Path, holder: str = "") -> KnowledgeBaseLocked:
    return KnowledgeBaseLocked(
        f"{folder} is in use by another process{holder}: Qdrant's embedded mode serves one at a time. End that "
        "process, or run a Qdrant server and set QDRANT_URL for both; several workers need one."
    )


@contextmanager
def told(folder: Path | None = None) -> Iterator[None]:
    """Tell what goes wrong in Qdrant in words that name the setting and the remedy."""
    try:
        yield
    except KnowledgeBaseError:
        raise
    except UnexpectedResponse as error:
        if error.status_code in (401, 403):
            raise StoreUnavailable("QDRANT_API_KEY: the server refuses it. Set it to a key that may write.") from error
        raise StoreUnavailable(
            f"QDRANT_URL: the server answers with status {error.status_code}. See its log, and whether it is a "
            "Qdrant server."
        ) from error
    except ResourceExhaustedResponse as error:
        raise StoreUnavailable("QDRANT_URL: the server takes no more for now. Try again later.") from error
    except (ResponseHandlingException, HTTPError) as error:
        raise StoreUnavailable("QDRANT_URL: the server cannot be reached. Start it, or correct the address.") from error
    except (sqlite3.Error, pickle.UnpicklingError, EOFError, OSError, ValueError, KeyError, RuntimeError) as error:
        if folder and "already accessed" in str(error):
            raise _in_use(folder) from error
        raise StoreUnavailable(
            f"{folder or 'The embedded store'} cannot be used ({type(error).__name__}). If its disk is neither full nor"
            " read-only, remove the folder qdrant in DATA_DIR and ingest again."
        ) from error
