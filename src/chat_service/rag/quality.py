"""How good a ranking is: pure functions over what was found, question by question.

What was found for a question is a list, the best passage first: of each the number of the expected section that it is
of, or ``None``. Expected sections answer the question each by itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import TypeAlias

__all__ = ["Hits", "first_rank", "mean_reciprocal_rank", "ndcg", "percentile", "recall", "share"]

Hits: TypeAlias = Sequence[int | None]


def first_rank(hits: Hits) -> int | None:
    """The place, from 1, of the first passage that answers; ``None`` when none does."""
    return next((rank for rank, hit in enumerate(hits, 1) if hit is not None), None)


def recall(found: Iterable[Hits], k: int) -> float | None:
    """The share of questions with an answering passage among the first ``k``."""
    return share((first_rank(hits[:k]) is not None) for hits in found)


def mean_reciprocal_rank(found: Iterable[Hits]) -> float | None:
    """The mean of 1 / the place of the first passage that answers, 0 where none does."""
    return _mean(1 / rank if (rank := first_rank(hits)) else 0.0 for hits in found)


def ndcg(found: Iterable[tuple[Hits, int]], k: int) -> float | None:
    """The mean normalized discounted cumulative gain of the first ``k`` passages.

    Each expected section counts once, where it comes first; the ideal ranking has all of them at its top.

    Args:
        found: Of each question what was found, and how many sections are expected.
        k: How far to look.
    """
    return _mean(_gain(_first_ones(hits[:k])) / _gain([True] * min(expected, k)) for hits, expected in found)


def share(outcomes: Iterable[bool]) -> float | None:
    """The share that is true; ``None`` of nothing."""
    return _mean(map(float, outcomes))


def percentile(values: Iterable[float], percent: int) -> float | None:
    """The smallest value that so many percent of all do not exceed (nearest rank); ``None`` of nothing."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)] if ordered else None


def _mean(values: Iterable[float]) -> float | None:
    numbers = list(values)
    return fmean(numbers) if numbers else None


def _first_ones(hits: Hits) -> list[bool]:
    return [hit is not None and hit not in hits[:place] for place, hit in enumerate(hits)]


def _gain(answers: Sequence[bool]) -> float:
    return sum(1 / math.log2(place + 2) for place, answer in enumerate(answers) if answer)
