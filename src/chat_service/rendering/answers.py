"""An answer as blocks of HTML: whole, or while it is written, when only its last block is made anew.

Markdown is read line by line, and later lines change only the last block of what was read: there are no definitions of
links. So an answer is cut where its blocks begin, each block is rendered by itself, and the HTML of all of them is that
of the answer, in whatever pieces it came. A line that is being written is left out until it is certain what it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from .markdown import block_html, block_starts, plain_html

__all__ = ["AnswerInProgress", "answer_html"]

_LONGEST = 100_000  # characters of an answer that are read as Markdown; what comes after them is shown as it is

_LINE_ENDS = re.compile(r"\r\n|\r(?!\Z)")  # at the very end a line feed may still follow
_FENCE = re.compile(r"[ \t]*```")  # it begins no code if there is another ` in its line
_CERTAIN = re.compile(
    r"[ \t]*(?:[-+*]|\d{1,9}[.)])[ \t]+[^\s*_-]"  # the item of a list, and no ruler
    r"|[ \t]*(?:\d{1,9}[^\d.)]|\d{10})"  # a number that no list begins with
    r"|[\s#>*+\-_=~`|:.)\d]*[^\s#>*+\-_=~`|:.)\d]"  # a sign that is no mark
)
"""What a line begins with when no more of it can change to which block it belongs."""


class AnswerInProgress:
    """An answer that grows. Not thread-safe.

    Attributes:
        size: How many characters :meth:`changes` would read now.
    """

    def __init__(self) -> None:
        """Begin empty."""
        self.size = 0
        self._open = ""  # from the beginning of the last block on
        self._more: list[str] = []
        self._begins = 0  # where that is in the answer
        self._is_plain = False  # whether that is beyond what is read as Markdown
        self._final = 0  # blocks that nothing changes any more
        self._shown: str | None = None  # the block after them

    def add(self, text: str) -> None:
        """More of the answer."""
        self._more.append(text)
        self.size += len(text)

    def changes(self, *, is_over: bool = False) -> Iterator[tuple[int, str]]:
        """Blocks that are new, or not what they were, each with its place. Once a later one is there it is final.

        Args:
            is_over: Whether nothing comes any more.
        """
        text = _LINE_ENDS.sub("\n", self._open + "".join(self._more)).replace("\0", "\ufffd")
        self._more.clear()
        for place, html in enumerate(self._read(text, is_over), self._final):
            if place > self._final or html != self._shown:
                yield place, html
            self._final, self._shown = place, html

    def _read(self, text: str, is_over: bool) -> list[str]:
        """The blocks of what is open; the last of them is open from now on."""
        left = _LONGEST - self._begins
        if self._is_plain:
            beginning, blocks = 0, [plain_html(text)]
        elif len(text) > left:
            self._is_plain = True
            beginning, blocks = left, [*map(block_html, _pieces(text[:left])[1]), plain_html(text[left:])]
        else:
            beginning, pieces = _pieces(text if is_over else text[: _certain(text)])
            blocks = [*map(block_html, pieces)]
        self._open = text[beginning:]
        self._begins += beginning
        self.size = len(self._open)
        return blocks


def answer_html(text: str) -> str:
    """A whole answer."""
    answer = AnswerInProgress()
    answer.add(text)
    return "".join(html for _, html in answer.changes(is_over=True))


def _pieces(text: str) -> tuple[int, list[str]]:
    """The blocks of a text, and where the last one begins."""
    lines = [0, *(found.end() for found in re.finditer("\n", text))]
    beginnings = [lines[line] for line in block_starts(text)]
    if not beginnings:
        return 0, []
    ends = [*beginnings[1:], len(text)]
    return beginnings[-1], [text[start:end].rstrip("\n") for start, end in zip(beginnings, ends, strict=True)]


def _certain(text: str) -> int:
    """How much of a text is certain to be what it looks like."""
    whole = text.rfind("\n") + 1
    line = text[whole:]
    return len(text) if _CERTAIN.match(line) and not _FENCE.match(line) else whole
