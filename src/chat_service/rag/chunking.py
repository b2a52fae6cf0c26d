"""Sections become chunks: what is embedded, found and cited. Pure functions.

A chunk never reaches over a heading. A section that is too long is taken apart between its blocks, then between
sentences or lines; the end of a chunk is said again at the beginning of the next.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from .sections import Block, Section, words_of

__all__ = ["LAYOUT", "DocumentChunk", "chunked", "embedded_text"]

LAYOUT = 2
"""Counted up when the same file would become other chunks: then it is ingested again."""

_GOAL = 75  # words: the vectors of the offline model blur with length
_LONGEST = 120
_OVERLAP = 15
_BETWEEN_HEADINGS = " › "
_SENTENCE_END = re.compile(r"(?<=[.!?。！？])[\"')\]*_`]*\s+")
_LINK = re.compile(r"\[([^\]]*)\]\([^)\s]*\)")


@dataclass(frozen=True, slots=True)
class DocumentChunk:
    """A part of a document.

    Attributes:
        chunk_id: The same as long as its text and place are.
        source_file: The file that it is from.
        module_name: The part of the documents that the file belongs to.
        section_heading: The headings that it stands under, outermost first.
        text: What it says.
        link: The file and the anchor of the section, relative to where the documents are published.
        content_hash: Of all that is embedded.
        ordinal: Its place in the file, from 0.
        section: The same for all chunks of a section.
        asked: A question that its section answers: then it is not shown itself, but lifts the chunks of that section.
    """

    chunk_id: str
    source_file: str
    module_name: str
    section_heading: str
    text: str
    link: str
    content_hash: str
    ordinal: int
    section: str
    asked: str = ""


def chunked(sections: Iterable[Section], source_file: str, module_name: str) -> Iterator[DocumentChunk]:
    """Take a document apart. Behind the chunks of a section come the questions that it answers.

    Args:
        sections: In the order of the document.
        source_file: The name of the file in the knowledge base.
        module_name: The part of the documents that it belongs to.
    """
    seen: Counter[str] = Counter()
    ordinal = 0
    for number, section in enumerate(sections):
        name = _digest(f"{source_file}\0{number}")[:16]
        heading = _BETWEEN_HEADINGS.join(section.headings)
        link = f"{source_file}#{section.anchor}" if section.anchor else source_file
        first: DocumentChunk | None = None
        for text in _texts(section.blocks):
            place = f"{source_file}\0{heading}\0{text}"
            seen[place] += 1
            chunk = DocumentChunk(
                _digest(f"{place}\0{seen[place]}")[:24],
                source_file,
                module_name,
                heading,
                text,
                link,
                _digest(f"{heading}\0{text}"),
                ordinal,
                name,
            )
            yield chunk
            first = first or chunk
            ordinal += 1
        for asked in section.asked if first else ():
            assert first
            yield replace(first, asked=asked, content_hash=_digest(f"{heading}\0\0{asked}"), ordinal=ordinal)
            ordinal += 1


def embedded_text(chunk: DocumentChunk) -> str:
    """What stands for a chunk when it is compared with a question: its headings and its words, no addresses."""
    return "\n".join([chunk.section_heading, chunk.asked or _LINK.sub(r"\1", chunk.text)])


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _texts(blocks: Iterable[Block]) -> Iterator[str]:
    gathered: list[str] = []
    length = 0
    is_new = False
    for block in blocks:
        for part in filter(str.strip, _parts(block)):
            words = words_of(part)
            if is_new and length + words > _GOAL:
                yield "\n\n".join(gathered)
                gathered = [rest] if (rest := _end_of(gathered[-1])) else []
                length = sum(map(words_of, gathered))
                if length + words > _LONGEST:
                    gathered, length = [], 0
            gathered.append(part)
            length += words
            is_new = True
    if is_new:
        yield "\n\n".join(gathered)


def _parts(block: Block) -> Iterator[str]:
    if words_of(block.text) <= _LONGEST:
        yield f"{block.before}{block.text}{block.after}"
        return
    pieces = _SENTENCE_END.split(block.text) if block.is_prose else block.text.split("\n")
    joint = " " if block.is_prose else "\n"
    gathered: list[str] = []
    length = 0
    for piece in (short for long in pieces for short in _shortened(long)):
        words = words_of(piece)
        if gathered and length + words > _GOAL:
            yield f"{block.before}{joint.join(gathered)}{block.after}"
            gathered, length = [], 0
        gathered.append(piece)
        length += words
    if gathered:
        yield f"{block.before}{joint.join(gathered)}{block.after}"


def _shortened(piece: str) -> Iterator[str]:
    """A piece that is longer than a chunk may be, in parts that are not."""
    if words_of(piece) <= _LONGEST:
        yield piece
        return
    words = [part for word in piece.split() for part in _cut(word)]
    start, length = 0, 0
    for position, word in enumerate(words):
        length += words_of(word)
        if length > _GOAL:
            yield " ".join(words[start : position + 1])
            start, length = position + 1, 0
    if start < len(words):
        yield " ".join(words[start:])


def _cut(word: str) -> Iterator[str]:
    return (word[start : start + 2 * _GOAL] for start in range(0, len(word), 2 * _GOAL))


def _end_of(text: str) -> str:
    """The last sentences of a text, if they are short enough to be said twice."""
    if text.startswith(("|", "```", "~~~")) or text.endswith(("|", "```", "~~~")):
        return ""
    sentences = _SENTENCE_END.split(text)
    end = ""
    while sentences:
        longer = f"{sentences.pop()} {end}".strip()
        if words_of(longer) > _OVERLAP:
            break
        end = longer
    return end if end != text else ""
