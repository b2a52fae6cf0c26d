"""The search beside the embedded store: what it holds, in arrays in memory.

Qdrant's embedded mode compares point by point in Python: at 10,000 chunks 0.1 seconds for sparse vectors, and more with
a filter, on one thread. Here a search is a few operations on arrays, over a view that never changes, so that it needs
no lock and sees a file as it was before an ingest or after it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from .candidates import Candidate, Candidates, Question
from .chunking import DocumentChunk
from .collection import EmbeddedChunk
from .embedders import Vectors
from .terms import rarity

__all__ = ["MemoryIndex"]

_STALE_SECONDS = 2.0
"""How old a view may be while an ingest goes on: a new one takes a tenth of a second at 10,000 chunks."""

_Numbers = NDArray[np.int64]

T = TypeVar("T", bound=np.generic)


@dataclass(frozen=True, slots=True)
class _File:
    """The chunks of a file.

    Attributes:
        chunks: In their order.
        dense: A row for each.
        owners: Of each weight, the place of its chunk.
        terms: Of each weight, the number of its term.
        weights: All weights of all chunks.
    """

    chunks: tuple[DocumentChunk, ...]
    dense: Vectors
    owners: _Numbers
    terms: _Numbers
    weights: Vectors

    @classmethod
    def of(cls, chunks: Sequence[EmbeddedChunk]) -> _File:
        ordered = sorted(chunks, key=lambda each: each.chunk.ordinal)
        return cls(
            tuple(each.chunk for each in ordered),
            np.stack([each.dense for each in ordered]),
            np.repeat(np.arange(len(ordered)), [len(each.words) for each in ordered]),
            np.fromiter((term for each in ordered for term in each.words), np.int64),
            np.fromiter((weight for each in ordered for weight in each.words.values()), np.float32),
        )


class MemoryIndex:
    """All chunks that count. Filled by one thread, searched by any."""

    def __init__(self) -> None:
        self._files: dict[str, _File] = {}
        self._view = _View(())
        self._is_stale = False
        self._viewed = 0.0
        self._viewing = threading.Lock()

    def put(self, source_file: str, chunks: Sequence[EmbeddedChunk]) -> None:
        """Take the chunks of a file instead of those that it had."""
        with self._viewing:
            self._files.pop(source_file, None)
            if chunks:
                self._files[source_file] = _File.of(chunks)
            self._is_stale = True

    def fill(self, chunks: Iterable[EmbeddedChunk]) -> None:
        """Take these, and nothing else."""
        by_file: dict[str, list[EmbeddedChunk]] = {}
        for each in chunks:
            by_file.setdefault(each.chunk.source_file, []).append(each)
        self._files = {name: _File.of(gathered) for name, gathered in by_file.items()}
        self.refresh()

    def refresh(self) -> None:
        """Let searches see all that was put."""
        with self._viewing:
            self._is_stale = False
            self._view = _View(tuple(self._files.values()))
            self._viewed = time.monotonic()

    def search(self, question: Question, limit: int) -> Candidates:
        """The best candidates by vector, and the best by words."""
        if self._is_stale and time.monotonic() - self._viewed > _STALE_SECONDS:
            self.refresh()
        return self._view.search(question, limit)


class _View:
    """The files of a moment, put together. Never changes."""

    def __init__(self, files: Sequence[_File]) -> None:
        self.chunks = [chunk for file in files for chunk in file.chunks]
        starts = np.cumsum([0, *(len(file.chunks) for file in files)])
        self._dense = np.concatenate([file.dense for file in files]) if files else np.zeros((0, 1), np.float32)
        terms = _joined([file.terms for file in files], np.int64)
        order = np.argsort(terms, kind="stable")
        self._terms = terms[order]
        self._owners = _joined([file.owners + start for file, start in zip(files, starts, strict=False)], np.int64)[
            order
        ]
        self._weights = _joined([file.weights for file in files], np.float32)[order]
        chunks_of: dict[str, list[int]] = {}
        for place, chunk in enumerate(self.chunks):
            if not chunk.asked:
                chunks_of.setdefault(chunk.section, []).append(place)
        self._sections = [chunks_of[chunk.section] for chunk in self.chunks]
        self._modules = _numbered([chunk.module_name for chunk in self.chunks])
        self._sources = _numbered([chunk.source_file for chunk in self.chunks])

    def search(self, question: Question, limit: int) -> Candidates:
        count = len(self.chunks)
        chosen = self._chosen(question)
        by_words = np.zeros(count, np.float32)
        rarities = {}
        for term in question.terms:
            first, last = np.searchsorted(self._terms, [term, term + 1])
            rarities[term] = rarity(int(last - first), count)
            by_words[self._owners[first:last]] += self._weights[first:last] * np.float32(rarities[term])
        cosines = self._cosines(question.vector)
        near = _best(cosines, chosen, limit) if question.vector is not None else []
        heavy = [place for place in _best(by_words, chosen, limit) if by_words[place] > 0]
        beside = {place for each in (*near, *heavy) if self.chunks[each].asked for place in self._sections[each]}
        made = {
            place: Candidate(self.chunks[place], float(cosines[place]), float(by_words[place]))
            for place in {*near, *heavy, *beside}
        }
        near_ones, heavy_ones, others = (tuple(made[place] for place in places) for places in (near, heavy, beside))
        return Candidates(near_ones, heavy_ones, others, rarities)

    def _cosines(self, vector: Vectors | None) -> Vectors:
        if vector is None or not self.chunks:
            return np.zeros(len(self.chunks), np.float32)
        # Not `@`: that wakes a thread on each core for a millisecond's work, and waits long where cores are busy.
        cosines: Vectors = np.einsum("ij,j->i", self._dense, vector)
        return cosines

    def _chosen(self, question: Question) -> NDArray[np.bool_] | None:
        """Which chunks may be found at all; ``None`` for all."""
        masks = [
            codes[1] == codes[0].get(name, -1)
            for codes, name in ((self._modules, question.module), (self._sources, question.source))
            if name is not None
        ]
        return np.logical_and.reduce(masks) if masks else None


def _joined(parts: Sequence[NDArray[T]], kind: type[T]) -> NDArray[T]:
    return np.concatenate(parts) if parts else np.zeros(0, kind)


def _numbered(names: Sequence[str]) -> tuple[dict[str, int], _Numbers]:
    numbers: dict[str, int] = {}
    return numbers, np.fromiter((numbers.setdefault(name, len(numbers)) for name in names), np.int64, len(names))


def _best(scores: Vectors, chosen: NDArray[np.bool_] | None, limit: int) -> list[int]:
    places = np.arange(len(scores)) if chosen is None else np.flatnonzero(chosen)
    if len(places) > limit:
        places = places[np.argpartition(-scores[places], limit - 1)[:limit]]
    return [int(place) for place in places[np.argsort(-scores[places], kind="stable")]]
