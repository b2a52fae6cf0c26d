"""Times that can be compared: all variants in one run, in another order each round."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Work:
    """One variant.

    Attributes:
        name: How its times are found again.
        do: Does it once; called with the number of the round.
        every: Only each so many rounds, for what takes long; once at least.
    """

    name: str
    do: Callable[[int], Awaitable[None]]
    every: int = 1


@dataclass(frozen=True)
class Times:
    """How long something took each time, in milliseconds."""

    milliseconds: Sequence[float]

    @property
    def median(self) -> float:
        return statistics.median(self.milliseconds)

    def __str__(self) -> str:
        """The median, and between which times the middle half lies."""
        if len(self.milliseconds) < 2:
            return _short(self.median)
        low, _, high = statistics.quantiles(self.milliseconds, n=4, method="inclusive")
        return f"{_short(self.median)} ({_short(low)}–{_short(high)})"

    def ratio(self, other: Times) -> float:
        """Of the medians."""
        return self.median / other.median


async def interleaved(rounds: int, works: Sequence[Work]) -> dict[str, Times]:
    """Do each work once a round, so that the machine's moods fall on all of them alike.

    Args:
        rounds: How many rounds are timed. Round 0 comes before them and is not.
        works: The variants.
    """
    times: dict[str, list[float]] = {work.name: [] for work in works}
    for number in range(rounds + 1):
        # In another order each round: what one leaves behind for the next falls on all alike, too.
        for work in random.Random(number).sample(works, len(works)):
            if number % min(work.every, rounds):
                continue
            start = time.perf_counter()
            await work.do(number)
            if number:
                times[work.name].append((time.perf_counter() - start) * 1000)
    return {name: Times(found) for name, found in times.items()}


def _short(milliseconds: float) -> str:
    return f"{milliseconds:,.2f}" if milliseconds < 100 else f"{milliseconds:,.0f}"
