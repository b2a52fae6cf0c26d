"""What can be asked of an evaluation, and whether it was kept. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .evaluation import Scores

__all__ = ["LIMITS", "Limit", "Verdict", "option_of", "values_of", "verdicts"]


@dataclass(frozen=True, slots=True)
class Limit:
    """Something that can be asked of a mode.

    Attributes:
        what: As it is shown.
        is_least: Whether it must be reached; else it must not be exceeded.
    """

    what: str
    is_least: bool = True

    def value(self, scores: Scores) -> float | None:
        """What a mode reached."""
        return values_of(scores)[self.what]


LIMITS: Mapping[str, Limit] = {
    "min_recall": Limit("recall"),
    "min_mrr": Limit("MRR"),
    "min_ndcg": Limit("nDCG"),
    "min_refused": Limit("unanswerable, refused"),
    "max_wrongly_refused": Limit("answerable, refused", is_least=False),
    "min_resolved": Limit("citations that resolve"),
    "min_supported": Limit("answers that cite an expected section"),
}
"""By the name of the option."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a limit was kept. What could not be measured was not.

    Attributes:
        option: Its name in :data:`LIMITS`.
        wanted: What was asked for.
        found: What was reached.
    """

    option: str
    wanted: float
    found: float | None

    @property
    def is_kept(self) -> bool:
        """Whether it was."""
        if self.found is None:
            return False
        return self.found >= self.wanted if LIMITS[self.option].is_least else self.found <= self.wanted

    def __str__(self) -> str:
        sign = "≥" if LIMITS[self.option].is_least else "≤"
        found = "not measured" if self.found is None else f"{self.found:.3f}"
        outcome = "kept" if self.is_kept else "NOT KEPT"
        return f"{LIMITS[self.option].what} {found}, {sign} {self.wanted:g} wanted: {outcome}"

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {"limit": option_of(self.option), "wanted": self.wanted, "found": self.found, "kept": self.is_kept}


def verdicts(scores: Scores, limits: Mapping[str, float]) -> list[Verdict]:
    """Compare a mode with what is asked of it, by the names in :data:`LIMITS`."""
    return [Verdict(option, wanted, LIMITS[option].value(scores)) for option, wanted in limits.items()]


def option_of(name: str) -> str:
    """How a limit is given on the command line."""
    return "--" + name.replace("_", "-")


def values_of(scores: Scores) -> dict[str, float | None]:
    """The figures of a mode that are one number, by their names."""
    return {
        "recall": scores.recall[scores.top_k],
        "MRR": scores.mrr,
        "nDCG": scores.ndcg,
        "unanswerable, refused": scores.refused,
        "answerable, refused": scores.wrongly_refused,
        "answers with a citation": scores.cited,
        "citations that resolve": scores.citations_resolved,
        "citations of an expected section": scores.citations_expected,
        "answers that cite an expected section": scores.answers_supported,
    }
