"""Passages of the project's documentation, found by the words they share with a question (BM25)."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Library", "Passage", "documentation"]

_PACKAGED = Path(__file__).parent / "passages.md"
_CHECKOUT = Path(__file__).resolve().parents[2]
_LONGEST = 700  # characters quoted at once
_WORD = re.compile(r"[a-z0-9]+")
_COMMON = frozenset(
    "a about am an and any are as at be been but by can could did do does for from get give had has have how i if in "
    "into is it its me my no not of on or our please say should so some tell than that the their them then there these "
    "they this to us use used was we were what when where which who why will with would you your".split()
)


@dataclass(frozen=True, slots=True)
class Passage:
    """A paragraph with the heading it stands under and the file it is from."""

    source: str
    heading: str
    text: str


class Library:
    """Passages that can be searched."""

    def __init__(self, passages: Iterable[Passage]) -> None:
        self._passages = list(passages)
        self._counts = [
            Counter(_words(f"{passage.heading} {passage.heading} {passage.text}")) for passage in self._passages
        ]
        self._known = Counter(word for counts in self._counts for word in counts)
        self._average = sum(counts.total() for counts in self._counts) / max(1, len(self._counts))

    def search(self, question: str, limit: int = 2) -> list[Passage]:
        """The passages that answer best, best first; none when no word of weight is shared."""
        words = set(_words(question))
        scored = [
            (self._score(words, counts) * _likeness(question, passage.heading), passage)
            for passage, counts in zip(self._passages, self._counts, strict=True)
        ]
        scored.sort(key=lambda entry: -entry[0])
        best = scored[0][0] if scored else 0.0
        return [passage for score, passage in scored[:limit] if score > 0 and score >= best / 2]

    def _score(self, words: set[str], counts: Counter[str]) -> float:
        length = 1.5 * (0.25 + 0.75 * counts.total() / self._average)
        return sum(
            self._weight(word) * counts[word] * 2.5 / (counts[word] + length) for word in words if word in counts
        )

    def _weight(self, word: str) -> float:
        holding = self._known[word]
        return math.log(1 + (len(self._passages) - holding + 0.5) / (holding + 0.5))


def _likeness(question: str, heading: str) -> float:
    """From 1 to 2: how far a heading asks the question itself, small words included."""
    asked, headed = set(_WORD.findall(question.lower())), set(_WORD.findall(heading.lower()))
    return 1 + len(asked & headed) / max(1, len(asked | headed))


def documentation() -> Library:
    """The documentation: of the checkout that this runs from, else the short text that the package carries."""
    if not (_CHECKOUT / "pyproject.toml").is_file():
        return Library(_passages(_PACKAGED, "the documentation"))
    files = [_CHECKOUT / "README.md", _CHECKOUT / "ARCHITECTURE.md", *sorted((_CHECKOUT / "docs").rglob("*.md"))]
    found = [passage for file in files if file.is_file() for passage in _passages(file, _name(file))]
    return Library([*found, *_passages(_PACKAGED, "the documentation")])


def _name(file: Path) -> str:
    return file.relative_to(_CHECKOUT).as_posix()


def _passages(file: Path, source: str) -> Iterator[Passage]:
    heading = source
    # Code, tables and drawings make poor quotations.
    prose = re.sub(r"^```.*?^```$", "", file.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for paragraph in re.split(r"\n\s*\n", prose):
        lines = paragraph.strip().splitlines()
        while lines and lines[0].startswith("#"):
            heading = _unmarked(lines.pop(0).lstrip("# "))
        text = _unmarked("\n".join(lines))
        if len(text) > 40 and not text.startswith(("|", "<", "![")) and not text.endswith(":"):
            yield Passage(source, heading, _shortened(text))


def _unmarked(text: str) -> str:
    text = re.sub(r"\[([^\]]+)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"\*\*|`", "", text)
    # Lines were broken for an editor; only list items begin a line of their own.
    return re.sub(r"\s*\n\s*(?![-*\d])", " ", text).strip()


def _shortened(text: str) -> str:
    if len(text) <= _LONGEST:
        return text
    end = text.rfind(". ", 0, _LONGEST)
    return text[: end + 1] if end > 0 else text[:_LONGEST].rsplit(" ", 1)[0] + " …"


def _words(text: str) -> Iterator[str]:
    for word in _WORD.findall(text.lower()):
        if word not in _COMMON:
            # The plural finds the singular; more than that needs a real stemmer.
            yield word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word
