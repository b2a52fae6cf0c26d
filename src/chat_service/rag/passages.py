"""What retrieval hands over: the seam between those who search and those who answer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias

__all__ = ["Mode", "Passage", "Retrieved", "Retriever"]

Mode: TypeAlias = Literal["dense", "sparse", "hybrid"]


@dataclass(frozen=True, slots=True)
class Passage:
    """A chunk of a document that was found for a question.

    Attributes:
        chunk_id: Names the chunk in its collection; the same as long as its text and place are.
        source_file: The file, relative to what was ingested.
        module_name: The folder or part of the documents that it belongs to.
        section_heading: The headings that it stands under, outermost first, joined by ``" › "``.
        text: The chunk itself.
        link: Where a reader finds it, with the anchor of its section; ``None`` when there is no such place.
        similarity_score: How well it fits, from 0 to 1, comparable between questions.
    """

    chunk_id: str
    source_file: str
    module_name: str
    section_heading: str
    text: str
    link: str | None
    similarity_score: float


@dataclass(frozen=True, slots=True)
class Retrieved:
    """What was found for a question.

    Attributes:
        passages: The best first; none when the documents hold no answer.
        timings: Milliseconds of each stage: ``embed``, ``search``, ``rerank`` where it ran, and ``total``.
        is_supported: Whether the documents hold an answer, as far as scores can tell.
        signals: What that was judged by: ``similarity``, ``evidence`` and, made of both, ``support``.
    """

    passages: tuple[Passage, ...]
    timings: dict[str, float] = field(default_factory=dict)
    is_supported: bool = True
    signals: dict[str, float] = field(default_factory=dict)


class Retriever(Protocol):
    """Searches documents. Never blocks the event loop."""

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
        """
