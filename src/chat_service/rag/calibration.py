"""How it is judged whether there is an answer. No I/O."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["Calibration"]


@dataclass(frozen=True, slots=True)
class Calibration:
    """What the signals of a search mean, for one embedder.

    Found by logistic regression over questions with known answers, then moved so that 0.5 refuses one answerable
    question in twenty.

    Attributes:
        similarity: Weight of the best passage's score.
        evidence: Weight of the logarithm of what question and passage share in words.
        unknown: Weight of the part of the question's words that no document has.
        constant: Added to these.
        usual: The best cosine of a question that has an answer. It stands in where none was computed.
    """

    similarity: float
    evidence: float
    unknown: float
    constant: float
    usual: float

    def support(self, similarity: float, evidence: float, unknown: float) -> float:
        """One number, from 0 to 1: how likely it is that there is an answer."""
        total = self.similarity * similarity + self.evidence * evidence + self.unknown * unknown + self.constant
        return 1 / (1 + math.exp(-max(-30.0, min(30.0, total))))
