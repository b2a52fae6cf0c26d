"""Texts become weighted terms, so that they can be found by their words (BM25). Pure functions.

A document's weights are the part of BM25 that depends on the document alone; how rare a term is comes in when it is
searched. An identifier counts whole and by its parts: ``MAX_POOL_SIZE`` is also ``max``, ``pool`` and ``size``.
"""

from __future__ import annotations

import math
import re
import threading
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import lru_cache
from zlib import crc32

import snowballstemmer  # type: ignore[import-untyped]

__all__ = ["FULL_WEIGHT", "UNKNOWN", "Weights", "document_weights", "question_terms", "rarity", "terms_of"]

Weights = dict[int, float]
"""Of terms, by number."""

_SATURATION = 1.2  # k1
_LENGTH = 0.75  # b
FULL_WEIGHT = _SATURATION + 1
"""That no term of a document reaches."""
UNKNOWN = 1.0
"""The rarity of a term that no document holds."""
_AVERAGE = 150.0  # terms of a chunk; fixed, so that a chunk's weights do not depend on the others
_FEWEST = 500  # chunks from which on their number counts
_HEADING = 3  # times that a word of a heading counts

_WORD = re.compile(r"[^\W_]+(?:[_.:/-]+[^\W_]+)*")
_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z][a-z]+|[a-z]+|\d+|[^\W\d_A-Za-z]+")
_UNSPACED = re.compile(r"[\u2e80-\u9fff\uac00-\ud7ff\uf900-\ufaff]+")
_COMMON = frozenset(
    "a about after all also am an and any anything are as ask at be been being but by can cannot could did do "
    "does doing done each else ever every few for from get gets give given gives got had has have having he help "
    "her here him his how i if in into instead is it its itself just kind know let like many may me might more "
    "most much must my need no not of off on one only onto or other our out over own per please rather really s "
    "said same say says shall she should so some something such t tell than that the their them then there these "
    "they thing things this those though through to too under until up upon us use used very want wants was we "
    "well were what whatever when where whether which while who whom whose why will with within without won would "
    "yes yet you your".split()
)


def document_weights(heading: str, text: str) -> Weights:
    """The weight of each term of a chunk.

    Args:
        heading: Counts more than the text.
        text: The rest.
    """
    counts = Counter(terms_of(text))
    for term in terms_of(heading):
        counts[term] += _HEADING
    longer = _SATURATION * (1 - _LENGTH + _LENGTH * counts.total() / _AVERAGE)
    return {number(term): count * (_SATURATION + 1) / (count + longer) for term, count in counts.items()}


def question_terms(question: str) -> frozenset[int]:
    """The terms by which passages for a question are looked for."""
    return frozenset(map(number, terms_of(question)))


def rarity(holding: int, documents: int) -> float:
    """How much a term says, to 1: more, the fewer documents hold it.

    A few documents say little about how rare a word is: they are looked at as a part of more.
    """
    documents = max(documents, _FEWEST)
    return _rarity(holding, documents) / _rarity(0, documents)


def _rarity(holding: int, documents: int) -> float:
    return math.log(1 + (documents - holding + 0.5) / (holding + 0.5))


def terms_of(text: str) -> Iterator[str]:
    """The terms of a text in their order, without words that say nothing."""
    for word in _WORD.findall(unicodedata.normalize("NFKC", text)):
        yield from _terms_of_word(word)


@lru_cache(maxsize=65_536)
def _terms_of_word(word: str) -> tuple[str, ...]:
    if _UNSPACED.search(word):
        return tuple(_pairs(word))
    whole = word.lower()
    parts = [part.lower() for part in _PART.findall(word)]
    return tuple(_stemmed([whole, *parts] if len(parts) > 1 else [whole]))


def _stemmed(words: Iterable[str]) -> list[str]:
    with _STEMMING:
        return [_STEMMER.stemWord(word) for word in words if word not in _COMMON]


def _pairs(word: str) -> Iterator[str]:
    """Of a script without spaces between words, each two signs that stand together."""
    yield from ([word] if len(word) == 1 else (word[start : start + 2] for start in range(len(word) - 1)))


def number(term: str) -> int:
    """The number of a term, as Qdrant wants it: 32 bits."""
    return crc32(term.encode())


_STEMMER = snowballstemmer.stemmer("english")
_STEMMING = threading.Lock()  # a stemmer keeps the word that it works on
