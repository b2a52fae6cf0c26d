"""Short quotations from Markdown: the sentences that share most words with a question."""

from __future__ import annotations

import re
from collections.abc import Iterator

__all__ = ["best_of"]

_LONGEST = 320  # characters
_CODE = re.compile(r"^(```|~~~).*?^\1[^\n]*$", re.MULTILINE | re.DOTALL)
_SKIPPED = ("|", "<", "![", "#", "---")  # tables, tags, images, headings and rules make poor quotations
_WORD = re.compile(r"[^\W_]{4,}")
_COMMON = frozenset("about does from have into that them then they this what when where which will with your".split())
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z“\"(])")


def best_of(text: str, question: str) -> str:
    """What a text says that is nearest to a question, in at most a few sentences. Nothing where there are none.

    Args:
        text: Markdown.
        question: Its words decide.
    """
    sentences = list(_sentences(_CODE.sub("", text)))
    if not sentences:
        return ""
    asked = _words(question)
    scores = [len(asked & _words(sentence)) * (1.0 if _is_whole(sentence) else 0.5) for sentence in sentences]
    first = scores.index(max(scores))
    quote = sentences[first]
    for following in sentences[first + 1 :]:
        if len(quote) + len(following) >= _LONGEST:
            break
        quote = f"{quote} {following}"
    return _shortened(quote)


def _sentences(text: str) -> Iterator[str]:
    for paragraph in re.split(r"\n\s*\n|\n(?=\s*(?:[-*+]|\d+\.)\s)", text):
        lines = [line.strip() for line in paragraph.strip().splitlines()]
        prose = " ".join(line for line in lines if line and not line.startswith(_SKIPPED))
        yield from (said for said in _SENTENCE.split(_unmarked(prose)) if said)


def _is_whole(sentence: str) -> bool:
    """Whether it says something by itself: it neither begins in the middle nor leads to what comes after it."""
    return not sentence[0].islower() and not sentence.endswith(":")


def _unmarked(text: str) -> str:
    text = re.sub(r"^(?:[-*+]|\d+\.)\s+", "", text)
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"\*\*|__|`|(?<![\w*])\*(?=\w)|(?<=\w)\*(?![\w*])", "", text)
    return re.sub(r"\[(\d{1,3}(?:, ?\d{1,3})*)\]", r"(\1)", text).strip()  # brackets with numbers are citations here


def _shortened(text: str) -> str:
    if len(text) <= _LONGEST:
        return text
    return f"{text[:_LONGEST].rsplit(' ', 1)[0]} …"


def _words(text: str) -> set[str]:
    """Words without the endings by which they differ most often."""
    return {re.sub(r"(?:ing|ed|es|s)$", "", word) for word in _WORD.findall(text.lower()) if word not in _COMMON}
