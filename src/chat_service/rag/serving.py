"""The knowledge base of a running service: opened and filled in the background, so that nothing waits for it.

A store that cannot be used, because another worker has its folder or its server is away, ends nothing: it is said once,
tried again every few seconds, and until then a search raises
:class:`~chat_service.exceptions.KnowledgeBaseUnavailable`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.util import find_spec

from ..config import Settings
from ..exceptions import KnowledgeBaseUnavailable
from .errors import IngestStopped, KnowledgeBaseError, KnowledgeBaseMismatch
from .ingest_report import Ingested
from .knowledge_base import KnowledgeBase
from .passages import Mode, Retrieved

__all__ = ["ServedKnowledge", "served_knowledge"]

logger = logging.getLogger(__name__)

_NEEDED = ("bs4", "pypdf", "qdrant_client", "snowballstemmer")
_AGAIN_SECONDS = 5.0
_REBUILT_SECONDS = 60.0
"""Between looks whether somebody has built it anew, who needs the folder meanwhile."""
_PATIENCE_SECONDS = 15.0
"""That a question waits for a knowledge base that is being opened, or filled for the first time."""
_TELL_SECONDS = 2.0
_MOST_PROBLEMS = 20  # that are told one by one


@asynccontextmanager
async def served_knowledge(settings: Settings) -> AsyncIterator[ServedKnowledge | None]:
    """The knowledge base that is set, for as long as this lasts.

    Returns:
        At once. ``None`` when ``RETRIEVAL`` is ``off``, or packages are missing, which is said in the log.
    """
    if settings.retrieval == "off":
        yield None
        return
    if missing := [name for name in _NEEDED if not find_spec(name)]:
        logger.warning(
            "packages=<%s> | answers come without documents: install the extra rag, or set RETRIEVAL=off",
            ", ".join(missing),
        )
        yield None
        return
    knowledge = ServedKnowledge(settings)
    opening = asyncio.create_task(knowledge.open())
    try:
        yield knowledge
    finally:
        opening.cancel()
        await asyncio.gather(opening, return_exceptions=True)
        await knowledge.close()


class ServedKnowledge:
    """Implements :class:`~chat_service.rag.passages.Retriever`."""

    def __init__(self, settings: Settings) -> None:
        """Nothing is opened yet."""
        self._settings = settings
        self._base: KnowledgeBase | None = None
        self._answers = asyncio.Event()
        self._told = ""

    async def open(self) -> None:
        """Open and fill it, however often that has to be tried."""
        while True:
            try:
                await self._open()
                return
            except IngestStopped:
                return
            except KnowledgeBaseError as error:
                self._tell(error)
                mends_itself = not isinstance(error, KnowledgeBaseMismatch)
            await asyncio.sleep(_AGAIN_SECONDS if mends_itself else _REBUILT_SECONDS)

    async def _open(self) -> None:
        if self._base is None:
            self._base = await KnowledgeBase.open(self._settings)
        if self._base.is_filled:
            self._answers.set()
        report = await self._base.ingest_default(progress=_Told())
        self._answers.set()
        self._told = ""
        if report:
            _summarize(report)

    async def retrieve(
        self,
        query: str,
        *,
        top_k: int = 5,
        mode: Mode | None = None,
        module: str | None = None,
        source: str | None = None,
    ) -> Retrieved:
        """Find passages for a question.

        Args:
            query: The question, as asked.
            top_k: How many passages at most.
            mode: How to search; ``None`` as the settings say.
            module: Only of this module.
            source: Only of this file.

        Raises:
            KnowledgeBaseUnavailable: It cannot be searched now. The log says why.
        """
        if self._told and not self._answers.is_set():  # nobody need wait for what has failed
            raise KnowledgeBaseUnavailable
        try:
            await asyncio.wait_for(self._answers.wait(), _PATIENCE_SECONDS)
            assert self._base
            return await self._base.retrieve(query, top_k=top_k, mode=mode, module=module, source=source)
        except (TimeoutError, KnowledgeBaseError) as error:
            if isinstance(error, KnowledgeBaseError):
                self._tell(error)
            raise KnowledgeBaseUnavailable from error

    async def close(self) -> None:
        """Let go of it."""
        self._answers.clear()
        if self._base:
            await self._base.close()
            self._base = None

    def _tell(self, error: KnowledgeBaseError) -> None:
        """Say what is wrong, once as long as it is the same."""
        if str(error) != self._told:
            self._told = str(error)
            logger.warning("error=<%s> | knowledge base: %s", type(error).__name__, error)


def _summarize(report: Ingested) -> None:
    for problem in report.problems[:_MOST_PROBLEMS]:
        logger.warning("file=<%s> | left out: %s. %s", problem.file, problem.reason, problem.remedy)
    if report.added or report.changed or report.removed:
        logger.info(
            "added=<%d>, changed=<%d>, removed=<%d>, chunks=<%d>, seconds=<%.1f>, problems=<%d> | documents taken in",
            len(report.added),
            len(report.changed),
            len(report.removed),
            report.chunks,
            report.seconds,
            len(report.problems),
        )


class _Told:
    """Tells the log how far an ingest is, now and then."""

    def __init__(self) -> None:
        self._told_at = time.monotonic()

    def __call__(self, done: int, files: int, name: str) -> None:
        if time.monotonic() - self._told_at > _TELL_SECONDS:
            self._told_at = time.monotonic()
            logger.info("done=<%d>, files=<%d> | taking documents in", done, files)
