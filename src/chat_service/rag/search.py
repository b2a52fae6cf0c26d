"""One search: embed the question, find candidates, rank them, tell how long each took. Blocks."""

from __future__ import annotations

import time
from typing import Protocol
from urllib.parse import quote

from .candidates import Question, Searcher
from .embedders import Embedder
from .passages import Mode, Passage, Retrieved
from .ranking import Ranked, ranked, signals_of
from .terms import question_terms

__all__ = ["Reranker", "Search"]

_CANDIDATES = 50
"""Of each kind."""


class Reranker(Protocol):
    """Reads questions and passages together. Blocks; may be called from several threads."""

    def scores(self, question: str, texts: list[str]) -> list[float]:
        """How well each text answers, from 0 to 1.

        Raises:
            EmbedderError: It cannot be done now.
        """

    def close(self) -> None:
        """Let go of what it holds."""


class Search:
    """Searches one knowledge base. May be called from several threads."""

    def __init__(
        self, embedder: Embedder, searcher: Searcher, reranker: Reranker | None, *, published_at: str | None
    ) -> None:
        self._embedder = embedder
        self._searcher = searcher
        self._reranker = reranker
        self._published_at = published_at

    def __call__(
        self, query: str, top_k: int, mode: Mode, threshold: float, module: str | None, source: str | None
    ) -> Retrieved:
        """Find passages for a question.

        Raises:
            KnowledgeBaseError: The embedder or the store fails.
        """
        began = time.perf_counter()
        vector = self._embedder.of_question(query) if mode != "sparse" else None
        embedded = time.perf_counter()
        found = self._searcher.search(Question(vector, question_terms(query), module, source), _CANDIDATES)
        order = ranked(found, mode)
        searched = time.perf_counter()
        timings = {"embed": embedded - began, "search": searched - embedded}
        signals = signals_of(order, found, mode, self._embedder.calibration)
        if self._reranker and order:
            order = self._reranked(query, order, self._reranker)
            timings["rerank"] = time.perf_counter() - searched
            signals = {**signals, "support": order[0].similarity}
        timings["total"] = time.perf_counter() - began
        is_supported = bool(order) and signals["support"] >= threshold
        return Retrieved(
            passages=tuple(map(self._passage, order[:top_k])) if is_supported else (),
            timings={stage: round(seconds * 1000, 3) for stage, seconds in timings.items()},
            is_supported=is_supported,
            signals=signals,
        )

    def close(self) -> None:
        """Let go of the models."""
        self._embedder.close()
        if self._reranker:
            self._reranker.close()

    def _reranked(self, query: str, order: list[Ranked], reranker: Reranker) -> list[Ranked]:
        first = order[:_CANDIDATES]
        scores = reranker.scores(
            query, [f"{each.candidate.chunk.section_heading}\n{each.candidate.chunk.text}" for each in first]
        )
        again = [Ranked(each.candidate, score) for each, score in zip(first, scores, strict=True)]
        return sorted(again, key=lambda each: -each.similarity)

    def _passage(self, found: Ranked) -> Passage:
        chunk = found.candidate.chunk
        link = f"{self._published_at.rstrip('/')}/{quote(chunk.link, safe='/#=&')}" if self._published_at else None
        return Passage(
            chunk.chunk_id,
            chunk.source_file,
            chunk.module_name,
            chunk.section_heading,
            chunk.text,
            link,
            round(found.similarity, 4),
        )
