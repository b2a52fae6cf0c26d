"""Files of questions: read whole, or refused with the line and the remedy."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from chat_service.rag.markdown import markdown_sections
from chat_service.rag.passages import Passage
from chat_service.rag.questions import OWN_QUESTIONS, QuestionFileError, Section, read_questions

ROOT = Path(__file__).parents[2]


def passage(source_file: str, section_heading: str) -> Passage:
    return Passage("1", source_file, "docs", section_heading, "text", None, 0.5)


def written(folder: Path, *lines: object) -> Path:
    file = folder / "questions.jsonl"
    file.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
    return file


def test_a_section_holds_what_stands_under_its_heading() -> None:
    section = Section(source_file="docs/sessions.md", section_heading="When a session is busy")
    assert section.holds(passage("docs/sessions.md", "Sessions › When a session is busy"))
    assert section.holds(passage("docs/sessions.md", "Sessions › When a session is busy › Holding the turn"))
    assert not section.holds(passage("docs/sessions.md", "Sessions › When a session is busy elsewhere"))
    assert not section.holds(passage("docs/other.md", "Sessions › When a session is busy"))


def test_a_heading_is_the_same_with_and_without_marks_and_in_any_case() -> None:
    section = Section(source_file="docs/cli.md", section_heading="`mongodb-sessions list`")
    assert section.holds(passage("docs/cli.md", "The command line › Commands › mongodb-sessions List"))


def test_several_headings_must_follow_one_another() -> None:
    section = Section(source_file="a.md", section_heading="Errors › Retries")
    assert section.holds(passage("a.md", "Service › Errors › Retries"))
    assert not section.holds(passage("a.md", "Errors › Service › Retries"))


def test_a_file_without_a_heading_is_expected_as_a_whole() -> None:
    assert Section(source_file="a.md").holds(passage("a.md", "Anything"))
    assert Section(source_file="a.md").holds(passage("a.md", ""))


def test_a_split_keeps_its_own_questions_and_all_keeps_those_of_none(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        {"question": "one", "expected": [], "split": "tune"},
        "",
        {"question": "two", "expected": [{"source_file": "a.md"}], "split": "held-out"},
        {"question": "three", "expected": []},
    )
    assert [each.question for each in read_questions(file, "held-out")] == ["two"]
    assert [each.question for each in read_questions(file)] == ["one", "two", "three"]


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("{question: no}", "no JSON"),
        ('{"expected": []}', "question: Field required"),
        ('{"question": "q"}', "expected: Field required"),
        ('{"question": "q", "expected": [{"section_heading": "x"}]}', "expected.0.source_file: Field required"),
        ('{"question": "q", "expected": [], "answer": "x"}', "answer: Extra inputs are not permitted"),
        ('{"question": "q", "expected": [], "split": "train"}', "split: Input should be 'tune' or 'held-out'"),
        ("[]", "Input should be"),
    ],
)
def test_a_wrong_line_is_named_with_what_is_wrong_and_how_a_line_looks(
    tmp_path: Path, line: str, complaint: str
) -> None:
    file = written(tmp_path, {"question": "right", "expected": []}, line)
    with pytest.raises(QuestionFileError) as raised:
        read_questions(file)
    assert f"{file}, line 2: " in str(raised.value)
    assert complaint in str(raised.value)
    assert "A line is {" in str(raised.value)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(QuestionFileError, match="No such file"):
        read_questions(tmp_path / "missing.jsonl")
    (tmp_path / "latin.jsonl").write_bytes(b'{"question": "\xe9"}')
    with pytest.raises(QuestionFileError, match="not UTF-8"):
        read_questions(tmp_path / "latin.jsonl")


def test_a_split_without_questions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(QuestionFileError, match="no question of --split tune"):
        read_questions(written(tmp_path, {"question": "q", "expected": []}), "tune")


def test_there_are_enough_questions_of_every_kind_about_the_documentation() -> None:
    for split, answerable, unanswerable in (("tune", 40, 20), ("held-out", 25, 10)):
        questions = read_questions(OWN_QUESTIONS, "tune" if split == "tune" else "held-out")
        assert sum(bool(question.expected) for question in questions) >= answerable
        assert sum(not question.expected for question in questions) >= unanswerable
        assert {question.kind for question in questions} == {"paraphrase", "term", "near", "off-topic"}


def test_no_question_is_asked_twice() -> None:
    asked = Counter(question.question.casefold() for question in read_questions(OWN_QUESTIONS))
    assert [question for question, times in asked.items() if times > 1] == []


def test_every_expected_section_is_in_the_documentation() -> None:
    expected = {section for question in read_questions(OWN_QUESTIONS) for section in question.expected}
    found = {name: sections_of_page(name) for name in {section.source_file for section in expected}}
    missing = [section for section in expected if not any(map(section.holds, found[section.source_file]))]
    assert missing == []


def sections_of_page(name: str) -> list[Passage]:
    sections = markdown_sections((ROOT / name).read_text(encoding="utf-8"))
    return [passage(name, " › ".join(section.headings)) for section in sections]
