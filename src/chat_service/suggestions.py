"""Questions to begin with, of which the documents hold the answers."""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path

from .rag.passages import Retriever

__all__ = ["Suggester"]

logger = logging.getLogger(__name__)

_FILE = Path(__file__).with_name("suggestions.txt")
_WITHOUT_DOCUMENTS = ["What can you do?", "What time is it?", "What is 17 * 23?"]
_FEWEST = 3
_LONGEST_HEADING = 60
_PATIENCE = 2.0  # seconds for all searches together
_KEPT = 300.0  # seconds


class Suggester:
    """Knows what one may ask."""

    def __init__(self) -> None:
        """Read what fits this project's own documentation."""
        self._own = [line for line in _FILE.read_text(encoding="utf-8").splitlines() if line]
        self._found: list[str] = []
        self._until = 0.0

    async def suggestions(self, retriever: Retriever | None) -> list[str]:
        """Questions to begin with.

        Args:
            retriever: Searches the documents; ``None`` where there are none.
        """
        if retriever is None:
            return _WITHOUT_DOCUMENTS
        if time.monotonic() >= self._until:
            try:
                async with asyncio.timeout(_PATIENCE):
                    self._found = await self._answered(retriever)
            except Exception as error:  # a page without suggestions is better than none
                logger.info("error=<%s> | suggestions could not be looked for", type(error).__name__)
                return self._found or self._own
            self._until = time.monotonic() + _KEPT
        return self._found

    async def _answered(self, retriever: Retriever) -> list[str]:
        """The questions of ours that the documents answer; where these are others, questions about their headings."""
        found = await asyncio.gather(*(retriever.retrieve(question, top_k=1) for question in self._own))
        answered = [question for question, each in zip(self._own, found, strict=True) if each.passages]
        return answered if len(answered) >= _FEWEST else await _about_headings(retriever)


async def _about_headings(retriever: Retriever) -> list[str]:
    found = await retriever.retrieve("overview, introduction, first steps", top_k=6)
    headings = [passage.section_heading.split(" › ")[-1].strip() for passage in found.passages]
    short = [heading for heading in dict.fromkeys(headings) if 0 < len(heading) <= _LONGEST_HEADING]
    return [f"What do the documents say about “{heading}”?" for heading in short]
