"""The order of what was found, and whether it holds an answer. Pure functions.

Ranks say nothing between questions, so what is found by vector and by words is fused by scores that do: the cosine of
question and passage, and the share of the question's words, each by how much it says, that the passage holds (BM25 over
its limit). That there is an answer is judged by signals of the best passages together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .calibration import Calibration
from .candidates import Candidate, Candidates
from .passages import Mode
from .terms import FULL_WEIGHT

__all__ = ["Ranked", "ranked", "signals_of"]

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
    """All candidates, the best first; a chunk that was found in several ways once, as what it was found by best.

    Args:
        found: By vector and by words.
        mode: Which of them count.
    """
    by_mode = {"dense": found.by_vector, "sparse": found.by_words}
    candidates = {
        (each.chunk.chunk_id, each.chunk.asked): each for each in by_mode.get(mode, (*found.by_vector, *found.by_words))
    }
    scored = [Ranked(each, _similarity(each, found, mode)) for each in candidates.values()]
    by_chunk: dict[str, Ranked] = {}
    for each in sorted(scored, key=lambda each: -each.similarity):
        by_chunk.setdefault(each.candidate.chunk.chunk_id, each)
    return list(by_chunk.values())


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
        ``similarity``, the best mean of cosine and share of words; ``evidence``, the logarithm of the most that a
        passage shares with the question; ``support``, one number of both, from 0 to 1.
    """
    first = [each.candidate for each in order[:_LOOKED_AT]]
    if not first:
        return {"similarity": 0.0, "evidence": 0.0, "support": 0.0}
    near = {each.chunk.chunk_id: _near(each.cosine if mode != "sparse" else calibration.usual) for each in first}
    similarity = max((near[each.chunk.chunk_id] + _share(each, found)) / 2 for each in first)
    evidence = math.log1p(max(each.weight for each in first))
    return {
        "similarity": similarity,
        "evidence": evidence,
        "support": calibration.support(similarity, evidence),
    }
