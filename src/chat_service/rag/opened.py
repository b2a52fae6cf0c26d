"""What a knowledge base does, in its own threads. Blocks."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from .chunking import LAYOUT
from .collection import Collection
from .default_documents import DEFAULT_ROOT, default_listing
from .embedders import Embedder, OfflineEmbedder
from .errors import KnowledgeBaseMismatch
from .ingest import Run
from .ingest_report import Ingested, Progress
from .memory_index import MemoryIndex
from .passages import Mode, Retrieved
from .records import About
from .search import Reranker, Search
from .server_search import ServerSearch
from .sources import Listing, listed
from .store import Store, told

if TYPE_CHECKING:
    from ..config import Settings

__all__ = ["OpenedBase"]


class OpenedBase:
    """A store, an embedder, and the search over both. All but :meth:`find` belongs to one thread."""

    def __init__(self, settings: Settings, *, create: bool = True, check: bool = True) -> None:
        """Open it.

        Args:
            settings: Which store and embedder.
            create: Make the folder of the embedded store when there is none.
            check: Refuse what was made by another embedder or version; else it cannot be searched, but replaced. What
                holds nothing but this project's own documentation is never refused: the next ingest builds it anew.

        Raises:
            KnowledgeBaseError: The store cannot be used, or a package is missing.
        """
        self._settings = settings
        self._stopping = threading.Event()
        with ExitStack() as undone:
            self._store = Store.open(settings, settings.data_dir, create=create)  # first, because it may be taken
            undone.callback(self._store.close)
            self._embedder = _embedder(settings)
            self._memory = None if self._store.is_remote else MemoryIndex()
            self._searcher = self._memory or ServerSearch(self._store)
            self._search = Search(
                self._embedder, self._searcher, _reranker(settings), published_at=settings.knowledge_url
            )
            undone.callback(self._search.close)
            current = self._store.current()
            self._problem = self._mismatch(current) if current else None
            if current and self._problem and check and not _is_ours(current):
                raise self._problem
            self.is_filled = current is not None and not self._problem
            if current and self.is_filled:
                self._load(current)
            self._closing = undone.pop_all()

    def find(
        self, query: str, top_k: int, mode: Mode, threshold: float, module: str | None, source: str | None
    ) -> Retrieved:
        """Search. May be called by any thread.

        Raises:
            KnowledgeBaseError: The embedder or the store fails, or what is there has yet to be built anew.
        """
        if self._problem:
            raise self._problem
        return self._search(query, top_k, mode, threshold, module, source)

    def stop(self) -> None:
        """End what is being written as soon as it can be. May be called by any thread."""
        self._stopping.set()

    def close(self) -> None:
        """Let go of the store and the models."""
        self._closing.close()

    def ingest(self, paths: Sequence[Path], *, dry_run: bool, rebuild: bool, progress: Progress | None) -> Ingested:
        """Take in files and folders, else what the settings name, else this project's own documentation."""
        listing = listed(chosen) if (chosen := paths or self._settings.knowledge_paths) else default_listing()
        # The documentation is there by default: documents of somebody's own take its place.
        forget = frozenset({DEFAULT_ROOT}) if chosen else frozenset()
        return self._ingest(listing, forget, dry_run, rebuild, progress)

    def ingest_default(self, progress: Progress | None) -> Ingested | None:
        """Take in what the settings name, else this project's own documentation unless others are there."""
        current = self._store.current()
        if current and not self._settings.knowledge_paths and not _is_ours(current):
            return None
        return self.ingest((), dry_run=False, rebuild=False, progress=progress)

    def _ingest(
        self, listing: Listing, forget: frozenset[str], dry_run: bool, rebuild: bool, progress: Progress | None
    ) -> Ingested:
        current = self._store.current()
        rebuild = rebuild or bool(current and self._problem and _is_ours(current))
        if dry_run:
            with told():
                return Run(listing, None if rebuild else current, None, progress=progress).go(forget=forget)
        dimension = self._embedder.dimension()
        collection = current if current and not rebuild else self._store.beside()
        if collection is not current:
            self._store.prepare(collection, About(self._embedder.name, dimension, LAYOUT))
        elif problem := self._mismatch(collection, dimension):
            raise problem
        is_live = collection is current
        with told():
            run = Run(
                listing,
                collection,
                self._embedder,
                published=self._memory.put if self._memory and is_live else None,
                progress=progress,
                is_stopped=self._stopping.is_set,
            )
            report = run.go(forget=forget)
        if not is_live:
            self._store.switch(collection)
            self._load(collection)
            self.is_filled, self._problem = True, None
        elif self._memory:
            self._memory.refresh()
        if isinstance(self._searcher, ServerSearch):
            self._searcher.forget()
        return report

    def _load(self, collection: Collection) -> None:
        if self._memory:
            with told():
                self._memory.fill(each for _, each in collection.chunks())

    def _mismatch(self, collection: Collection, dimension: int | None = None) -> KnowledgeBaseMismatch | None:
        """What is wrong with a collection that was made otherwise than it would be now."""
        with told():
            about = collection.about()
        if about and about.layout != LAYOUT:
            return KnowledgeBaseMismatch(
                f"QDRANT_COLLECTION: {self._settings.qdrant_collection} was made by another version of this service. "
                "Build it anew: chat-service ingest --rebuild PATH…"
            )
        if about and about.embedder == self._embedder.name and dimension in (None, about.dimension):
            return None
        made = f"{about.embedder} ({about.dimension} numbers)" if about else "another version"
        asked = f"{self._embedder.name} ({dimension} numbers)" if dimension else self._embedder.name
        return KnowledgeBaseMismatch(
            f"QDRANT_COLLECTION: {self._settings.qdrant_collection} was made with {made}, and the settings ask for "
            f"{asked}. Set EMBEDDINGS and COHERE_MODEL back, or build it anew: chat-service ingest --rebuild PATH…"
        )


def _is_ours(collection: Collection) -> bool:
    """Whether it holds nothing but this project's own documentation."""
    with told():
        return all(record.root == DEFAULT_ROOT for record in collection.files().values())


def _embedder(settings: Settings) -> Embedder:
    if settings.embeddings == "offline":
        return OfflineEmbedder()
    from .cohere_models import CohereEmbedder

    return CohereEmbedder(settings)


def _reranker(settings: Settings) -> Reranker | None:
    if not settings.cohere_rerank_model:
        return None
    from .cohere_models import CohereReranker

    return CohereReranker(settings)
