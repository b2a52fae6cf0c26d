"""The evaluation: what it counts, what it tells, and what this project's own questions find in its documentation."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from chat_service.config import Settings
from chat_service.rag.evaluated_answers import answering
from chat_service.rag.evaluation import Answer, Outcome, evaluate, is_missed, scores
from chat_service.rag.knowledge_base import KnowledgeBase
from chat_service.rag.limits import verdicts
from chat_service.rag.passages import Mode, Passage
from chat_service.rag.questions import OWN_QUESTIONS, Question, Section, read_questions

from .conftest import MakeSettings

FLOOR = {"min_recall": 0.80, "min_mrr": 0.64, "min_refused": 0.65, "max_wrongly_refused": 0.15, "min_resolved": 1.0}
"""What the held-out questions must not fall below: a little under what they reach."""


def passage(heading: str, source_file: str = "a.md") -> Passage:
    return Passage(heading, source_file, "docs", heading, "text", None, 0.5)


def question(*headings: str, kind: str | None = None) -> Question:
    expected = tuple(Section(source_file="a.md", section_heading=heading) for heading in headings)
    return Question(question="What?", expected=expected, kind=kind)


def outcome(asked: Question, hits: list[int | None], *, is_refused: bool = False, **more: Any) -> Outcome:
    return Outcome(asked, hits, is_refused, {}, more.pop("timings", {}), **more)


def test_figures_are_worked_out_over_all_questions() -> None:
    found = scores(
        "hybrid",
        [
            outcome(question("A"), [0, None]),
            outcome(question("A"), [None, 0]),
            outcome(question("A"), [None, None], is_refused=True),
            outcome(question(), [None], is_refused=True),
            outcome(question(), [None]),
        ],
        top_k=2,
    )
    assert (found.answerable, found.unanswerable) == (3, 2)
    assert found.recall == {1: 1 / 3, 2: 2 / 3}
    assert found.mrr == pytest.approx((1 + 1 / 2 + 0) / 3)
    assert found.refused == 1 / 2
    assert found.wrongly_refused == 1 / 3


def test_citations_are_looked_up_among_the_passages_of_their_answer() -> None:
    listed = (passage("A"), passage("B"))
    found = scores(
        "hybrid",
        [
            outcome(question("A"), [0], answer=Answer("Yes [1] and [2].", listed)),
            outcome(question("A"), [0], answer=Answer("No [2][7].", listed)),
            outcome(question("A"), [0], answer=Answer("Maybe.", listed)),
            outcome(question(), [None], is_refused=True, answer=Answer("Not in these documents.", ())),
        ],
    )
    assert found.cited == 2 / 3
    assert found.citations_resolved == 3 / 4
    assert found.citations_expected == 1 / 4
    assert found.answers_supported == 1 / 2


def test_without_answers_nothing_is_said_of_citations() -> None:
    found = scores("dense", [outcome(question("A"), [0])])
    assert (found.cited, found.citations_resolved, found.answers_supported) == (None, None, None)


def test_latency_is_told_by_stage_and_figures_by_kind() -> None:
    found = scores(
        "hybrid",
        [
            outcome(question("A", kind="term"), [0], timings={"total": 1.0}),
            outcome(question("A", kind="term"), [None], timings={"total": 3.0, "rerank": 2.0}),
            outcome(question(kind="near"), [], is_refused=True, timings={"total": 2.0}),
        ],
    )
    assert found.latency == {"total": (2.0, 3.0), "rerank": (2.0, 2.0)}
    assert found.kinds == {
        "term": {"questions": 2, "recall": 1 / 2, "refused": 0.0},
        "near": {"questions": 1, "recall": None, "refused": 1.0},
    }


def test_a_question_is_missed_when_it_is_not_found_or_wrongly_refused_or_not_refused() -> None:
    assert is_missed(outcome(question("A"), [None]))
    assert is_missed(outcome(question("A"), [0], is_refused=True))
    assert is_missed(outcome(question(), [None]))
    assert not is_missed(outcome(question("A"), [None, 0]))
    assert not is_missed(outcome(question(), [None], is_refused=True))


def test_a_limit_is_kept_at_its_value_and_what_was_not_measured_is_not_kept() -> None:
    found = scores("hybrid", [outcome(question("A"), [0]), outcome(question("A"), [None])])
    said = verdicts(found, {"min_recall": 0.5, "min_mrr": 0.51, "max_wrongly_refused": 0.0, "min_refused": 0.1})
    assert [verdict.is_kept for verdict in said] == [True, False, True, False]
    assert str(said[1]) == "MRR 0.500, ≥ 0.51 wanted: NOT KEPT"
    assert str(said[2]) == "answerable, refused 0.000, ≤ 0 wanted: kept"
    assert said[3].as_json() == {"limit": "--min-refused", "wanted": 0.1, "found": None, "kept": False}


async def test_passages_count_although_they_were_refused(settings: Settings, documents: Path) -> None:
    asked = Question(
        question="Is honey eaten by bees in cold months?",
        expected=(Section(source_file="guide/bees/hives.md", section_heading="Winter"),),
    )
    strict = settings.model_copy(update={"retrieval_threshold": 1.0})
    async with await KnowledgeBase.open(strict) as base:
        await base.ingest([documents])
        [found] = await evaluate(base, [asked], "hybrid")
    assert found.is_refused
    assert 0 in found.hits


@pytest.mark.parametrize("way", ["step", "tool"])
async def test_the_agent_that_is_asked_cites_what_it_was_given(
    make_settings: MakeSettings, documents: Path, way: str
) -> None:
    settings = make_settings(retrieval=way)
    async with await KnowledgeBase.open(settings) as base:
        await base.ingest([documents])
        ask = answering(settings, base, "demo", 5)
        assert ask
        answer = await ask("How long do I knead the dough?", "hybrid")
    assert "ten minutes" in answer.text
    assert "[1]" in answer.text
    assert answer.passages[0].source_file == "guide/bread/dough.md"


@pytest.fixture
async def own_documentation(settings: Settings) -> AsyncIterator[KnowledgeBase]:
    async with await KnowledgeBase.open(settings) as base:
        await base.ingest_default()
        yield base


async def test_held_out_questions_find_their_sections_and_the_others_are_refused(
    settings: Settings, own_documentation: KnowledgeBase
) -> None:
    questions = read_questions(OWN_QUESTIONS, "held-out")
    ask = answering(settings, own_documentation, "demo", 5)
    found = scores("hybrid", await evaluate(own_documentation, questions, "hybrid", answering=ask))
    assert [str(verdict) for verdict in verdicts(found, FLOOR) if not verdict.is_kept] == []


async def test_both_ways_of_searching_together_find_more_than_either(own_documentation: KnowledgeBase) -> None:
    questions = [each for each in read_questions(OWN_QUESTIONS, "held-out") if each.expected]
    modes: tuple[Mode, ...] = ("dense", "sparse", "hybrid")
    found = {mode: scores(mode, await evaluate(own_documentation, questions, mode)).mrr or 0 for mode in modes}
    assert found["hybrid"] > max(found["dense"], found["sparse"])


def chat_service(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "chat_service", "evaluate", *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        cwd=folder,
    )


def own_questions(folder: Path) -> Path:
    file = folder / "mine.jsonl"
    expected = [{"source_file": "guide/bread/dough.md", "section_heading": "Kneading"}]
    lines = [{"question": "How long is dough kneaded?", "expected": expected}, {"question": "zzz?", "expected": []}]
    file.write_text("\n".join(map(json.dumps, lines)))
    return file


def test_the_command_measures_ones_own_questions_and_keeps_to_limits(tmp_path: Path, documents: Path) -> None:
    given = "--questions", str(own_questions(tmp_path)), "--documents", str(documents), "--mode", "sparse", "--json"
    kept = chat_service(*given, "--min-recall", "1", "--min-refused", "1", folder=tmp_path)
    assert kept.returncode == 0, kept.stderr
    report = json.loads(kept.stdout)
    assert report["judged"] == "sparse"
    assert [(mode["mode"], mode["answerable"], mode["mrr"]) for mode in report["modes"]] == [("sparse", 1, 1.0)]
    assert [limit["kept"] for limit in report["limits"]] == [True, True]
    assert not (tmp_path / ".data").exists()


def test_the_command_prints_a_table_and_what_was_missed(tmp_path: Path, documents: Path) -> None:
    file = tmp_path / "mine.jsonl"
    file.write_text('{"question": "How long is dough kneaded?", "expected": [{"source_file": "guide/other.md"}]}')
    told = chat_service(
        *("--questions", str(file), "--documents", str(documents), "--misses", "--min-recall", "0.5"), folder=tmp_path
    )
    assert told.returncode == 1, told.stderr
    assert "1 answerable and 0 unanswerable questions" in told.stdout
    assert "hybrid: not found" in told.stdout
    assert "hybrid: recall 0.000, ≥ 0.5 wanted: NOT KEPT" in told.stdout


def test_the_command_refuses_wrong_questions_and_wrong_documents(tmp_path: Path, documents: Path) -> None:
    file = tmp_path / "wrong.jsonl"
    file.write_text('{"question": "Why?"}')
    wrong = chat_service("--questions", str(file), folder=tmp_path)
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "wrong.jsonl, line 1: expected: Field required" in wrong.stderr

    missing = chat_service(
        *("--questions", str(own_questions(tmp_path)), "--documents", str(tmp_path / "missing")), folder=tmp_path
    )
    assert missing.returncode == 3
    assert "there is no such file or folder" in missing.stderr
    assert "Traceback" not in wrong.stderr + missing.stderr
