"""Questions whose answers are known, one JSON object a line: what retrieval is measured with."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .passages import Passage

__all__ = ["OWN_QUESTIONS", "Question", "QuestionFileError", "Section", "Split", "read_questions"]

Split: TypeAlias = Literal["tune", "held-out", "all"]
"""Questions to choose parameters by, questions to judge them by, or both."""

OWN_QUESTIONS = Path(__file__).parent / "questions.jsonl"
"""Those about this project's own documentation."""

_FORM = (
    'A line is {"question": "…", "expected": [{"source_file": "…", "section_heading": "…"}]}, with [] where the'
    " documents hold no answer"
)


class QuestionFileError(ValueError):
    """A file of questions cannot be used. The message names the file, the line and the remedy."""


class Section(BaseModel):
    """Where an answer stands.

    Attributes:
        source_file: The file, as the knowledge base calls it.
        section_heading: A heading in it, or several, outermost first, with ``" › "`` between. What stands below
            belongs to it. ``None`` for all of the file.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    source_file: str = Field(min_length=1)
    section_heading: str | None = Field(None, min_length=1)

    def holds(self, passage: Passage) -> bool:
        """Whether a passage is of this section."""
        if passage.source_file != self.source_file:
            return False
        if self.section_heading is None:
            return True
        wanted, found = _headings(self.section_heading), _headings(passage.section_heading)
        return any(found[start : start + len(wanted)] == wanted for start in range(len(found)))


class Question(BaseModel):
    """A question, and where its answer stands.

    Attributes:
        question: As a user asks.
        expected: Sections that answer it, each by itself. None when the documents hold no answer.
        split: Which part of the questions it belongs to.
        kind: A word of the author's own, by which the results are told apart as well.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    question: str = Field(min_length=1, max_length=1000)
    expected: tuple[Section, ...]
    split: Literal["tune", "held-out"] | None = None
    kind: str | None = None


def read_questions(file: Path, split: Split = "all") -> list[Question]:
    """Read a file of questions. Blank lines count for nothing.

    Args:
        file: JSON Lines in UTF-8.
        split: Only these; a question without a ``split`` belongs to ``"all"`` alone.

    Raises:
        QuestionFileError: It cannot be read, a line is wrong, or no question is left.
    """
    assert split in get_args(Split)
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise QuestionFileError(f"{file}: cannot be read ({_reason(error)}). Name a file of JSON Lines.") from error
    questions = [question for question in _questions(file, text) if split in ("all", question.split)]
    if not questions:
        raise QuestionFileError(
            f'{file}: no question of --split {split}. Add "split" to its lines, or use --split all.'
        )
    return questions


def _questions(file: Path, text: str) -> Iterator[Question]:
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        if not line.strip():
            continue
        try:
            yield Question.model_validate(json.loads(line))
        except json.JSONDecodeError as error:
            raise QuestionFileError(f"{file}, line {number}: no JSON ({error.msg}). {_FORM}.") from None
        except ValidationError as error:
            raise QuestionFileError(f"{file}, line {number}: {_complaint(error)}. {_FORM}.") from None


def _complaint(error: ValidationError) -> str:
    problem = error.errors(include_input=False, include_url=False, include_context=False)[0]
    place = ".".join(map(str, problem["loc"]))
    return f"{place}: {problem['msg']}" if place else problem["msg"]


def _reason(error: OSError | UnicodeDecodeError) -> str:
    return error.strerror or type(error).__name__ if isinstance(error, OSError) else "it is not UTF-8"


def _headings(path: str) -> list[str]:
    """Headings one by one, without marks, in small letters."""
    return [heading.replace("`", "").replace("*", "").strip().casefold() for heading in path.split(" › ")]
