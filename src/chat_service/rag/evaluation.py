"""How well questions are answered from documents: each is asked, and what comes is compared with what should come."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from .citations import cited
from .passages import Mode, Passage, Retrieved
from .quality import Hits, first_rank, mean_reciprocal_rank, ndcg, percentile, recall, share
from .questions import Question

__all__ = ["Answer", "Answering", "Outcome", "Scores", "Searched", "evaluate", "is_missed", "scores"]

_ANY = 999  # more passages than an answer can have, so that every citation in it counts


class Searched(Protocol):
    """A knowledge base, as far as it is measured."""

    async def retrieve(
        self, query: str, *, top_k: int = 5, mode: Mode | None = None, threshold: float | None = None
    ) -> Retrieved:
        """Find passages; with ``threshold=0`` also where they do not suffice for an answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What an agent said to a question.

    Attributes:
        text: All of it.
        passages: What was listed for it: the first is ``[1]``.
    """

    text: str
    passages: tuple[Passage, ...]


Answering = Callable[[str, Mode], Awaitable[Answer]]
"""Asks an agent a question, in a conversation of its own."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a question in a mode.

    Attributes:
        question: As it was asked.
        hits: Of each passage that was found, the number of the expected section that it is of.
        is_refused: Whether the documents were said to hold no answer.
        signals: What the search says of itself.
        timings: Milliseconds of each stage.
        answer: What an agent said, if one was asked.
    """

    question: Question
    hits: Hits
    is_refused: bool
    signals: dict[str, float]
    timings: dict[str, float]
    answer: Answer | None = None


@dataclass(frozen=True, slots=True)
class Scores:
    """How well a mode did. A share is ``None`` where there was nothing to divide by.

    Attributes:
        mode: How was searched.
        top_k: How many passages were asked for.
        answerable: Questions that the documents answer.
        unanswerable: Those that they do not.
        recall: By *k*, the share of answerable questions with an answering passage among the first *k*.
        mrr: The mean reciprocal rank of the first such passage, 0 where none was found.
        ndcg: The mean normalized discounted cumulative gain, to ``top_k``.
        refused: The share of unanswerable questions that were refused.
        wrongly_refused: The share of answerable ones that were.
        cited: The share of answers to answerable questions, not refused, with a citation.
        citations_resolved: The share of citations that name a passage listed for their answer.
        citations_expected: The share of citations, in answers to answerable questions, of an expected section.
        answers_supported: The share of those answers with at least one citation of an expected section.
        latency: By stage, the median and the 95th percentile in milliseconds.
        kinds: By the kind of a question: how many, ``recall`` of answerable ones, and how many were ``refused``.
    """

    mode: Mode
    top_k: int
    answerable: int
    unanswerable: int
    recall: dict[int, float | None]
    mrr: float | None
    ndcg: float | None
    refused: float | None
    wrongly_refused: float | None
    cited: float | None
    citations_resolved: float | None
    citations_expected: float | None
    answers_supported: float | None
    latency: dict[str, tuple[float, float]]
    kinds: dict[str, dict[str, float | int | None]]

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return asdict(self)


async def evaluate(
    searched: Searched,
    questions: Sequence[Question],
    mode: Mode,
    *,
    top_k: int = 5,
    answering: Answering | None = None,
    progress: Callable[[int], object] = lambda done: None,
) -> list[Outcome]:
    """Ask all questions in one mode, one after the other.

    Args:
        searched: What is measured.
        questions: What is asked.
        mode: How to search.
        top_k: How many passages to ask for.
        answering: Asks an agent as well, if citations are to be looked at.
        progress: Called with how many questions are done.

    Returns:
        What came of each question. Passages count whether they suffice for an answer or not: ``is_refused`` tells that.
    """
    outcomes = []
    for done, question in enumerate(questions, 1):
        found = await searched.retrieve(question.question, top_k=top_k, mode=mode)
        every = found if found.is_supported else await _every(searched, question, mode, top_k)
        answer = await answering(question.question, mode) if answering else None
        hits = [_section(question, passage) for passage in every.passages]
        signals = dict(getattr(every, "signals", {}))
        outcomes.append(Outcome(question, hits, not found.is_supported, signals, found.timings, answer))
        progress(done)
    return outcomes


async def _every(searched: Searched, question: Question, mode: Mode, top_k: int) -> Retrieved:
    return await searched.retrieve(question.question, top_k=top_k, mode=mode, threshold=0.0)


def scores(mode: Mode, outcomes: Sequence[Outcome], top_k: int = 5) -> Scores:
    """Sum up what came of all questions.

    Args:
        mode: How was searched.
        outcomes: Of :func:`evaluate`.
        top_k: How many passages were asked for.
    """
    answerable = [outcome for outcome in outcomes if outcome.question.expected]
    unanswerable = [outcome for outcome in outcomes if not outcome.question.expected]
    found = [outcome.hits for outcome in answerable]
    return Scores(
        mode=mode,
        top_k=top_k,
        answerable=len(answerable),
        unanswerable=len(unanswerable),
        recall={k: recall(found, k) for k in sorted({1, 3, 5, top_k}) if k <= top_k},
        mrr=mean_reciprocal_rank(found),
        ndcg=ndcg([(outcome.hits, len(outcome.question.expected)) for outcome in answerable], top_k),
        refused=share(outcome.is_refused for outcome in unanswerable),
        wrongly_refused=share(outcome.is_refused for outcome in answerable),
        **_citations(outcomes),
        latency=_latency(outcomes),
        kinds=_kinds(outcomes, top_k),
    )


def _citations(outcomes: Iterable[Outcome]) -> dict[str, float | None]:
    answers = [(outcome, _cited(outcome.answer)) for outcome in outcomes if outcome.answer]
    right = [(outcome, numbers) for outcome, numbers in answers if outcome.question.expected and not outcome.is_refused]
    citing = [(outcome, numbers) for outcome, numbers in right if numbers]
    return {
        "cited": share(bool(numbers) for _, numbers in right),
        "citations_resolved": share(_passage(outcome, number) is not None for outcome, ns in answers for number in ns),
        "citations_expected": share(_is_expected(outcome, number) for outcome, ns in citing for number in ns),
        "answers_supported": share(any(_is_expected(outcome, number) for number in ns) for outcome, ns in citing),
    }


def _cited(answer: Answer) -> list[int]:
    return cited(answer.text, _ANY)


def _passage(outcome: Outcome, number: int) -> Passage | None:
    passages = outcome.answer.passages if outcome.answer else ()
    return passages[number - 1] if 1 <= number <= len(passages) else None


def _is_expected(outcome: Outcome, number: int) -> bool:
    passage = _passage(outcome, number)
    return passage is not None and _section(outcome.question, passage) is not None


def _section(question: Question, passage: Passage) -> int | None:
    return next((number for number, section in enumerate(question.expected) if section.holds(passage)), None)


def _latency(outcomes: Iterable[Outcome]) -> dict[str, tuple[float, float]]:
    stages: dict[str, list[float]] = {}
    for outcome in outcomes:
        for stage, milliseconds in outcome.timings.items():
            stages.setdefault(stage, []).append(milliseconds)
    return {stage: (percentile(times, 50) or 0.0, percentile(times, 95) or 0.0) for stage, times in stages.items()}


def _kinds(outcomes: Iterable[Outcome], k: int) -> dict[str, dict[str, float | int | None]]:
    kinds: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        kinds.setdefault(outcome.question.kind or "other", []).append(outcome)
    return {
        kind: {
            "questions": len(those),
            "recall": recall((one.hits for one in those if one.question.expected), k),
            "refused": share(one.is_refused for one in those),
        }
        for kind, those in kinds.items()
    }


def is_missed(outcome: Outcome) -> bool:
    """Whether something about a question went wrong: not found, refused, or not refused."""
    if not outcome.question.expected:
        return not outcome.is_refused
    return outcome.is_refused or first_rank(outcome.hits) is None
