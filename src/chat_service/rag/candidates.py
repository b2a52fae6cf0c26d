"""What a search hands to the ranking, and the seam between two ways to search: a server, or this process' memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from .chunking import DocumentChunk
from .embedders import Vectors

__all__ = ["Candidate", "Candidates", "Question", "Searcher"]


@dataclass(frozen=True, slots=True)
class Question:
    """What is looked for.

    Attributes:
        vector: Of the question; ``None`` when only words count.
        terms: Of the question.
        module: Only of this module.
        source: Only of this file.
    """

    vector: Vectors | None
    terms: frozenset[int]
    module: str | None = None
    source: str | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A chunk that may be a passage.

    Attributes:
        chunk: The chunk.
        cosine: Of its vector and the question's; 0 when only words count.
        weight: Of the words that it shares with the question (BM25).
    """

    chunk: DocumentChunk
    cosine: float
    weight: float


@dataclass(frozen=True, slots=True)
class Candidates:
    """What was found.

    Attributes:
        by_vector: The nearest first.
        by_words: The heaviest first; each shares a word with the question.
        beside: Where a question that a section answers is among those, the chunks of that section, in any order.
        rarity: How much each term of the question says.
    """

    by_vector: tuple[Candidate, ...]
    by_words: tuple[Candidate, ...]
    beside: tuple[Candidate, ...]
    rarity: dict[int, float]


class Searcher(Protocol):
    """Finds candidates. Blocks; may be called from several threads at once."""

    def search(self, question: Question, limit: int) -> Candidates:
        """The best candidates by vector, and the best by words: so many of each, at most.

        Raises:
            StoreUnavailable: The store cannot be asked.
        """
