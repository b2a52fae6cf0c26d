"""What one answer rests on: the passages that were found for it, each under the number that cites it."""

from __future__ import annotations

from .chunks import Chunk, chunk_of
from .passages import Passage, Retrieved

__all__ = ["EVIDENCE", "Evidence"]

EVIDENCE = "evidence"
"""Where the SDK's state of an invocation holds it."""

_MOST = 20  # passages of one answer, however often the model searches


class Evidence:
    """What was found for one answer.

    Attributes:
        passages: The first has the number 1. Only such as may hold an answer.
        is_searched: Whether the documents were asked at all.
        timings: Milliseconds of each stage, over all searches.
    """

    def __init__(self) -> None:
        """Begin with nothing."""
        self.passages: list[Passage] = []
        self.is_searched = False
        self.timings: dict[str, float] = {}

    @property
    def chunks(self) -> list[Chunk]:
        """All passages as readers see them."""
        return [chunk_of(number, passage) for number, passage in enumerate(self.passages, 1)]

    def add(self, found: Retrieved) -> list[int]:
        """Take over what a search found.

        Returns:
            The numbers of its passages, the best first; a passage that was found before keeps its number. None where
            the documents hold no answer.
        """
        self.is_searched = True
        for stage, milliseconds in found.timings.items():
            self.spend(stage if stage != "total" else "retrieval", milliseconds)
        if not found.is_supported:
            return []
        return [number for passage in found.passages if (number := self._number(passage))]

    def spend(self, stage: str, milliseconds: float) -> None:
        """Add to the time of a stage."""
        self.timings[stage] = round(self.timings.get(stage, 0.0) + milliseconds, 1)

    def _number(self, passage: Passage) -> int | None:
        for number, known in enumerate(self.passages, 1):
            if known.chunk_id == passage.chunk_id:
                return number
        if len(self.passages) >= _MOST:
            return None
        self.passages.append(passage)
        return len(self.passages)
