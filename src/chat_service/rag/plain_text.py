"""Plain text becomes sections, by the underlined headings that it may have."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .sections import Anchors, Block, Outline, Section, UnreadableError

__all__ = ["decoded", "text_sections"]

_RULE = re.compile(r"^([=\-~^#*+])\1{2,}\s*$")
_BOMS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}


def decoded(data: bytes) -> str:
    """The text of a file, its lines ended as Python ends them.

    Raises:
        UnreadableError: It is neither UTF-8 nor UTF-16 with a mark, or no text at all.
    """
    encoding = next((name for mark, name in _BOMS.items() if data.startswith(mark)), "utf-8")
    if encoding == "utf-8" and b"\0" in data:
        raise UnreadableError("it is no text", "Give it the name that fits its kind, or take it out of the folder")
    try:
        return data.decode(encoding).replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        where = f"it is not {'UTF-16' if encoding == 'utf-16' else 'UTF-8'}, from byte {error.start} on"
        raise UnreadableError(where, "Save it as UTF-8, for example with: iconv -f WINDOWS-1252 -t UTF-8") from None


def text_sections(text: str) -> Iterator[Section]:
    """Read a text.

    Args:
        text: A line with a rule of one sign below it is a heading; signs are levels in the order in which they come.
    """
    outline, anchors = Outline(), Anchors()
    levels: list[str] = []
    section = Section(())
    for paragraph in re.split(r"\n[ \t]*\n", text):
        lines = paragraph.strip("\n").split("\n")
        if len(lines) > 1 and (rule := _RULE.match(lines[1])) and lines[0].strip() and not _RULE.match(lines[0]):
            if rule[1] not in levels:
                levels.append(rule[1])
            if section.blocks:
                yield section
            heading = " ".join(lines[0].split())
            section = Section(outline.enter(1 + levels.index(rule[1]), heading), anchors.of(heading))
            lines = lines[2:]
        shown = "\n".join(line for line in lines if not _RULE.match(line)).strip("\n")
        if shown.strip():
            section.blocks.append(Block(shown))
    if section.blocks:
        yield section
