"""The order of what was found, and whether it holds an answer. Pure functions.

Ranks say nothing between questions, so what is found by vector and by words is fused by scores that do: the cosine of
question and passage, and the share of the question's words, each by how much it says, that the passage holds (BM25 over
its limit). That there is an answer is judged by signals of the best passages together.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .calibration import Calibration
from .candidates import Candidate, Candidates
from .passages import Mode
from .terms import FULL_WEIGHT, UNKNOWN

__all__ = ["Ranked", "ranked", "signals_of"]

_ASKED = 0.7
"""How much the likeness to a question that a section answers counts, beside that to its text."""

_LOOKED_AT = 5
"""Passages by which it is judged whether there is an answer."""


@dataclass(frozen=True, slots=True)
class Ranked:
    """A candidate with its score.

    Attributes:
        candidate: What was found.
        similarity: From 0 to 1.
    """

    candidate: Candidate
    similarity: float


def ranked(found: Candidates, mode: Mode) -> list[Ranked]:
    """All chunks among the candidates, the best first. A question that a section answers lifts the section's chunks.

    Args:
        found: By vector and by words.
        mode: Which of them count.
    """
    by_mode = {"dense": found.by_vector, "sparse": found.by_words}
    candidates = (*by_mode.get(mode, (*found.by_vector, *found.by_words)), *found.beside)
    scored = {
        (each.chunk.chunk_id, each.chunk.asked): Ranked(each, _similarity(each, found, mode)) for each in candidates
    }
    asked: dict[str, float] = {}
    for each in scored.values():
        if each.candidate.chunk.asked:
            asked[each.candidate.chunk.section] = max(each.similarity, asked.get(each.candidate.chunk.section, 0.0))
    lifted = (_lifted(each, asked) for each in scored.values() if not each.candidate.chunk.asked)
    return sorted(lifted, key=lambda each: -each.similarity)


def _lifted(chunk: Ranked, asked: Mapping[str, float]) -> Ranked:
    """A chunk with the best of the questions that its section answers, which never lowers it."""
    best = asked.get(chunk.candidate.chunk.section, 0.0)
    together = (chunk.similarity + _ASKED * best) / (1 + _ASKED)
    return Ranked(chunk.candidate, max(chunk.similarity, together))


def _similarity(candidate: Candidate, found: Candidates, mode: Mode) -> float:
    near, share = _near(candidate.cosine), _share(candidate, found)
    return {"dense": near, "sparse": share}.get(mode, (near + share) / 2)


def _near(cosine: float) -> float:
    return min(1.0, max(0.0, cosine))


def _share(candidate: Candidate, found: Candidates) -> float:
    full = sum(found.rarity.values()) * FULL_WEIGHT
    return min(1.0, candidate.weight / full) if full else 0.0


def signals_of(order: Sequence[Ranked], found: Candidates, mode: Mode, calibration: Calibration) -> dict[str, float]:
    """What tells whether there is an answer, of the first passages.

    Args:
        order: What was found, the best first.
        found: What that was ranked from.
        mode: Which of them count.
        calibration: Of the embedder.

    Returns:
        ``similarity``, of the best passage by vector and words; ``evidence``, the logarithm of the most that one of the
        first shares with the question; ``unknown``, the part of the question's words that no document has; ``support``,
        one number of them, from 0 to 1.
    """
    if not order:
        return {"similarity": 0.0, "evidence": 0.0, "unknown": 1.0, "support": 0.0}
    if mode == "sparse":
        similarity = (calibration.usual + order[0].similarity) / 2
    else:
        similarity = ranked(found, "hybrid")[0].similarity
    evidence = math.log1p(max(each.candidate.weight for each in order[:_LOOKED_AT]))
    unknown = sum(value == UNKNOWN for value in found.rarity.values()) / max(1, len(found.rarity))
    return {
        "similarity": similarity,
        "evidence": evidence,
        "unknown": unknown,
        "support": calibration.support(similarity, evidence, unknown),
    }
