"""Documents in memory, for tests of what is done with passages once they are found."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Iterable
from typing import Any

from chat_service.rag.passages import Mode, Passage, Retrieved

SESSIONS = Passage(
    chunk_id="c-sessions",
    source_file="docs/sessions.md",
    module_name="docs",
    section_heading="Sessions › What one is",
    text="A session is one conversation and everything that belongs to it. It is kept in one document.",
    link="/docs/sessions.md#what-one-is",
    similarity_score=0.91,
)
TURNS = Passage(
    chunk_id="c-turns",
    source_file="docs/turns.md",
    module_name="docs",
    section_heading="Turns",
    text="Two writers cannot interleave in a session: one of them is told that it is busy.",
    link=None,
    similarity_score=0.85,
)


class MemoryRetriever:
    """Finds passages that share a long word with the question.

    Attributes:
        calls: What was asked, with the arguments.
        error: When set, every search raises it.
        hold: When set, a search waits for this event.
    """

    def __init__(self, passages: Iterable[Passage] = (SESSIONS, TURNS)) -> None:
        self.passages = list(passages)
        self.calls: list[dict[str, Any]] = []
        self.error: Exception | None = None
        self.hold: threading.Event | None = None

    async def retrieve(
        self,
        query: str,
        *,
        top_k: int = 5,
        mode: Mode | None = None,
        module: str | None = None,
        source: str | None = None,
    ) -> Retrieved:
        self.calls.append({"query": query, "top_k": top_k, "mode": mode, "module": module, "source": source})
        if self.hold is not None:
            while not self.hold.is_set():
                await asyncio.sleep(0.01)
        if self.error:
            raise self.error
        asked = _words(query)
        found = [
            passage
            for passage in self.passages
            if asked & _words(passage.text)
            and module in (None, passage.module_name)
            and source in (None, passage.source_file)
        ]
        timings = {"embed": 1.5, "search": 2.5, "total": 4.0}
        return Retrieved(tuple(found[:top_k]), timings, is_supported=bool(found))


def _words(text: str) -> set[str]:
    return {word.removesuffix("s") for word in re.findall(r"[a-z]{5,}", text.lower())}
