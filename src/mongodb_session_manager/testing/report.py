"""Running the checks, and what came of it as a table."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from .contract import CONTRACT, Check
from .subject import NotOffered, Subject

__all__ = ["NotDoneInTime", "Outcome", "Report", "Result", "comparison", "run"]

Outcome: TypeAlias = Literal["passed", "failed", "not offered"]

_SIGNS: dict[Outcome, str] = {"passed": "yes", "failed": "**no**", "not offered": "–"}


class NotDoneInTime(Exception):
    """A check took longer than it may."""


@dataclass(frozen=True)
class Result:
    """What came of one check.

    Attributes:
        check: The check.
        outcome: ``"passed"``, ``"failed"``, or ``"not offered"`` when the subject could not be asked.
        error: Why it did not pass.
        seconds: How long it took.
    """

    check: Check
    outcome: Outcome
    error: BaseException | None = None
    seconds: float = 0.0

    @property
    def reason(self) -> str:
        """Why it did not pass, in a few words: the check's own, or the name of what the session manager raised."""
        if isinstance(self.error, AssertionError | NotOffered | NotDoneInTime):
            return str(self.error)
        return f"raises {type(self.error).__name__}" if self.error else ""


@dataclass(frozen=True)
class Report:
    """What came of all checks on one subject. As text it is a table for a terminal.

    Attributes:
        subject: The subject's name.
        results: One of each check.
    """

    subject: str
    results: tuple[Result, ...]

    @property
    def failed(self) -> tuple[Result, ...]:
        """The checks that did not pass; those that the subject does not offer are not among them."""
        return self.of("failed")

    def of(self, outcome: Outcome) -> tuple[Result, ...]:
        """The results with this outcome."""
        return tuple(result for result in self.results if result.outcome == outcome)

    def __str__(self) -> str:
        rows = [
            f"{result.outcome:<12}{result.seconds:6.1f} s  {result.check}{_in_brackets(result.reason)}"
            for result in self.results
        ]
        counts = ", ".join(f"{len(self.of(outcome))} {outcome}" for outcome in _SIGNS)
        return "\n".join([f"{self.subject}: {counts}", *rows])

    def markdown(self) -> str:
        """The report as a table in Markdown, with the reasons below it."""
        return comparison([self])


def _in_brackets(reason: str) -> str:
    return f" ({reason})" if reason else ""


def run(subject: Subject, checks: Iterable[Check] = CONTRACT, *, seconds: float = 120.0) -> Report:
    """Ask a subject everything.

    Args:
        subject: It is not cleaned up.
        checks: Which checks.
        seconds: How long one may take; then it has failed, and is left behind in its thread.
    """
    return Report(subject.name, tuple(_result(check, subject, seconds) for check in checks))


def _result(check: Check, subject: Subject, seconds: float) -> Result:
    errors: list[BaseException | None] = []

    def ask() -> None:
        try:
            check(subject)
        except BaseException as error:
            errors.append(error)
        else:
            errors.append(None)

    begun = time.monotonic()
    asking = threading.Thread(target=ask, name=check.name, daemon=True)
    asking.start()
    asking.join(seconds)
    error = errors[0] if errors else NotDoneInTime(f"not done after {seconds:g} seconds")
    outcome: Outcome = "passed" if error is None else "not offered" if isinstance(error, NotOffered) else "failed"
    return Result(check, outcome, error, time.monotonic() - begun)


def comparison(reports: Sequence[Report]) -> str:
    """Several reports on the same checks as one table in Markdown, and below it why something did not pass."""
    names = [f"`{report.subject}`" for report in reports]
    lines = [_row("", names), "|---" * (len(names) + 1) + "|"]
    for capability in dict.fromkeys(result.check.capability for report in reports for result in report.results):
        rows = [*zip(*(_of_capability(report, capability) for report in reports), strict=True)]
        lines.append(_row(f"**{capability}**", [_passed(column) for column in zip(*rows, strict=True)]))
        lines += [_row(row[0].check.promise, [_SIGNS[result.outcome] for result in row]) for row in rows]
    reasons = _reasons(reports)
    if reasons:
        lines += ["", "Why something did not pass, or was not asked:", ""]
        lines += [f"* *{check}*: {reason} ({', '.join(who)})" for (check, reason), who in reasons.items()]
    return "\n".join(lines)


def _reasons(reports: Sequence[Report]) -> dict[tuple[Check, str], list[str]]:
    """Why something did not pass, and with whom, in the order of the checks."""
    found: dict[tuple[Check, str], list[str]] = {}
    for row in zip(*(report.results for report in reports), strict=True):
        for report, result in zip(reports, row, strict=True):
            if result.outcome != "passed":
                found.setdefault((result.check, result.reason), []).append(f"`{report.subject}`")
    return found


def _row(head: str, cells: Iterable[str]) -> str:
    return f"| {' | '.join([head, *cells])} |"


def _of_capability(report: Report, capability: str) -> list[Result]:
    return [result for result in report.results if result.check.capability == capability]


def _passed(results: Sequence[Result]) -> str:
    return f"{sum(result.outcome == 'passed' for result in results)} of {len(results)}"
