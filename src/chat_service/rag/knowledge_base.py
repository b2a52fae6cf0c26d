"""The knowledge base: documents are taken in, and passages are found for questions.

Whatever blocks runs in threads of its own: one for all that touches the store, a few for searches. The packages of the
extra ``rag`` are imported when one is opened, not before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Self

from .errors import KnowledgeBaseError
from .passages import Mode, Retrieved

if TYPE_CHECKING:
    from ..config import Settings
    from .ingest_report import Ingested, Progress
    from .opened import OpenedBase

__all__ = ["KnowledgeBase"]

_SEARCHES = 4
"""At once. One in the embedded store takes a few milliseconds of one core."""


class KnowledgeBase:
    """An open knowledge base. Implements :class:`~chat_service.rag.passages.Retriever`. Never blocks the event loop."""

    def __init__(self, settings: Settings, opened: OpenedBase, writing: ThreadPoolExecutor) -> None:
        """Made by :meth:`open`."""
        self._settings = settings
        self._opened = opened
        self._writing = writing
        self._searching = ThreadPoolExecutor(_SEARCHES, "retrieval")

    @classmethod
    async def open(cls, settings: Settings, *, create: bool = True, check: bool = True) -> Self:
        """Open the store that is set, and load the embedder.

        Args:
            settings: Which store and embedder, and how to search.
            create: Make the folder of the embedded store when there is none; not wanted for a dry run.
            check: Refuse what was made by another embedder; not wanted for a rebuild.

        Raises:
            KnowledgeBaseError: The store cannot be used, was made by another embedder, or a package is missing. The
                message names the setting and the remedy.
        """
        writing = ThreadPoolExecutor(1, "knowledge-base")
        opening = asyncio.wrap_future(writing.submit(_opened, settings, create, check))
        try:
            return cls(settings, await asyncio.shield(opening), writing)
        except asyncio.CancelledError:
            await asyncio.wait([opening])  # a thread cannot be cancelled; what it opens must not stay open
            if not opening.exception():
                await asyncio.wrap_future(writing.submit(opening.result().close))
            raise
        except KnowledgeBaseError:
            writing.shutdown(wait=False)
            raise

    @property
    def is_filled(self) -> bool:
        """Whether documents were ever taken in to the end of an ingest."""
        return self._opened.is_filled

    async def ingest(
        self,
        paths: Sequence[Path],
        *,
        dry_run: bool = False,
        rebuild: bool = False,
        progress: Progress | None = None,
    ) -> Ingested:
        """Take in files and folders.

        Args:
            paths: What changed in them is taken in, what vanished from them is removed, other paths are left alone.
                None: those of ``KNOWLEDGE_PATHS``, or this project's own documentation.
            dry_run: Only say what would be done.
            rebuild: Fill a new collection with these paths and nothing else; the old one answers until it is full.
            progress: Told how far it is, in another thread.

        Raises:
            KnowledgeBaseError: The embedder or the store fails. What was done so far stays.
        """
        return await asyncio.get_running_loop().run_in_executor(
            self._writing, lambda: self._opened.ingest(paths, dry_run=dry_run, rebuild=rebuild, progress=progress)
        )

    async def ingest_default(self, *, progress: Progress | None = None) -> Ingested | None:
        """Take in ``KNOWLEDGE_PATHS``; where that is not set this project's own documentation, unless others are there.

        Returns:
            ``None`` when there are others.

        Raises:
            KnowledgeBaseError: As for :meth:`ingest`.
        """
        return await asyncio.get_running_loop().run_in_executor(
            self._writing, lambda: self._opened.ingest_default(progress)
        )

    async def retrieve(
        self,
        query: str,
        *,
        top_k: int = 5,
        mode: Mode | None = None,
        module: str | None = None,
        source: str | None = None,
        threshold: float | None = None,
    ) -> Retrieved:
        """Find passages for a question.

        Args:
            query: The question, as asked.
            top_k: How many passages at most.
            mode: How to search; ``None`` as ``RETRIEVAL_MODE`` says.
            module: Only of this module.
            source: Only of this file.
            threshold: The least support of an answer; ``None`` as ``RETRIEVAL_THRESHOLD`` says.

        Raises:
            KnowledgeBaseError: The embedder or the store fails.
        """
        settings = self._settings
        least = settings.retrieval_threshold if threshold is None else threshold
        return await asyncio.get_running_loop().run_in_executor(
            self._searching, self._opened.find, query, top_k, mode or settings.retrieval_mode, least, module, source
        )

    async def close(self) -> None:
        """Let go of the store. An ingest that runs is stopped."""
        self._opened.stop()
        await asyncio.get_running_loop().run_in_executor(self._writing, self._opened.close)
        self._searching.shutdown(wait=False)
        self._writing.shutdown(wait=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def _opened(settings: Settings, create: bool, check: bool) -> OpenedBase:
    from .opened import OpenedBase

    return OpenedBase(settings, create=create, check=check)
