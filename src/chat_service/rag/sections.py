"""What a document is made of once it has been read: sections under headings, each of some blocks."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass, field

__all__ = ["Anchors", "Block", "Outline", "Section", "UnreadableError", "words_of"]

_WORD = re.compile(r"\S+")


class UnreadableError(Exception):
    """A file cannot be read as what its name says.

    Attributes:
        reason: Why.
        remedy: What its owner can do.
    """

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(f"{reason}. {remedy}")
        self.reason = reason
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class Block:
    """A paragraph, a list, a table, a piece of code.

    Attributes:
        text: As it is shown.
        before: What stands before each part when it is taken apart, such as the head of a table.
        after: What stands behind each part.
        is_prose: Whether it is made of sentences, so that it may be taken apart between any two.
    """

    text: str
    before: str = ""
    after: str = ""
    is_prose: bool = True


@dataclass(slots=True)
class Section:
    """What stands under a heading, up to the next one.

    Attributes:
        headings: Those that it stands under, outermost first.
        anchor: What follows the ``#`` in a link to it.
        blocks: What it says.
        asked: Questions that it answers, in the words of those who ask. Its author may name some; nobody is shown them.
    """

    headings: tuple[str, ...]
    anchor: str | None = None
    blocks: list[Block] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)


class Outline:
    """The headings that are in force while a document is read from its beginning to its end."""

    def __init__(self) -> None:
        self._open: list[tuple[int, str]] = []

    def enter(self, level: int, heading: str) -> tuple[str, ...]:
        """Come to a heading.

        Args:
            level: 1 for the outermost.
            heading: Its text.

        Returns:
            All headings that what follows stands under.
        """
        while self._open and self._open[-1][0] >= level:
            self._open.pop()
        if heading:
            self._open.append((level, heading))
        return tuple(text for _, text in self._open)


class Anchors:
    """Names of headings in addresses, as GitHub makes them and many other renderers of Markdown do."""

    def __init__(self) -> None:
        self._seen: Counter[str] = Counter()

    def of(self, heading: str) -> str:
        """The anchor of the next heading of a document."""
        kept = (sign for sign in heading.strip().lower() if sign in " -_" or unicodedata.category(sign)[0] in "LMN")
        anchor = "".join(kept).replace(" ", "-")
        number = self._seen[anchor]
        self._seen[anchor] += 1
        return f"{anchor}-{number}" if number else anchor


def words_of(text: str) -> int:
    """How long a text is, in words. Scripts without spaces between words are counted by two signs."""
    return sum(1 if len(word) < 30 else 1 + len(word) // 2 for word in _WORD.findall(text))
