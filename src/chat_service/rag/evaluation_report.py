"""What an evaluation tells people: a table, and what went wrong."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from .evaluation import Outcome, Scores, is_missed
from .limits import values_of
from .quality import first_rank

__all__ = ["print_misses", "print_table"]

_STAGES = ("embed", "search", "rerank", "total")


def print_table(every: Sequence[Scores], console: Console) -> None:
    """A column for each mode."""
    first = every[0]
    table = Table(title=f"{first.answerable} answerable and {first.unanswerable} unanswerable questions")
    table.add_column("", no_wrap=True)
    for scores in every:
        table.add_column(scores.mode, justify="right")
    shown = [_rows(scores) for scores in every]
    for name in shown[0]:
        table.add_row(name, *(rows.get(name, "–") for rows in shown))
    console.print(table)


def print_misses(mode: str, outcomes: Sequence[Outcome], console: Console) -> None:
    """A line for each question that went wrong: where its answer was, what the search said, the question."""
    for outcome in outcomes:
        if is_missed(outcome):
            place = f"found at {rank}" if (rank := first_rank(outcome.hits)) else "not found"
            state = "refused" if outcome.is_refused else "not refused"
            said = " ".join(f"{name}={value:.2f}" for name, value in outcome.signals.items())
            console.print(Text(f"{mode}: {place}, {state}  {said}  {outcome.question.question}"), soft_wrap=True)


def _rows(scores: Scores) -> dict[str, str]:
    rows = {f"recall@{k}": _figure(value) for k, value in scores.recall.items()}
    rows |= {name: _figure(value) for name, value in values_of(scores).items() if name != "recall"}
    for kind, those in scores.kinds.items():
        rows |= {
            f"{kind} ({those['questions']}): {name}": _figure(value)
            for name in ("recall", "refused")
            if (value := those[name]) is not None
        }
    stages = sorted(scores.latency, key=lambda stage: (*_STAGES, stage).index(stage))
    for stage in stages:
        median, most = scores.latency[stage]
        rows[f"{stage}, ms: median, p95"] = f"{median:.1f}, {most:.1f}"
    return rows


def _figure(value: float | int | None) -> str:
    return "–" if value is None else f"{value:.3f}"
