"""Markdown becomes sections. What a section says stays Markdown: tables and code are shown as they were written."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from markdown_it import MarkdownIt
from markdown_it.token import Token

from .sections import Anchors, Block, Outline, Section

__all__ = ["markdown_sections"]

_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?\n)?(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
_TITLE = re.compile(r"^title:[ \t]*(\S.*?)[ \t]*$", re.MULTILINE)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_ASKED = re.compile(r"<!--\s*asked:(.*?)-->", re.DOTALL)


def markdown_sections(text: str) -> Iterator[Section]:
    """Read a document.

    Args:
        text: With or without front matter, of which the title is taken and nothing else. A comment
            ``<!-- asked: … | … -->`` holds questions that its section answers.
    """
    outline, anchors = Outline(), Anchors()
    body, title = _without_front_matter(text)
    section = Section(outline.enter(0, title))
    lines = body.splitlines(keepends=True)
    tokens = MarkdownIt("commonmark").enable("table").parse(body)
    for position, token in enumerate(tokens):
        if token.level or not token.map:
            continue
        if token.type == "heading_open":
            if section.blocks:
                yield section
            heading = _shown(tokens[position + 1])
            section = Section(outline.enter(int(token.tag[1]), heading), anchors.of(heading))
            continue
        section.asked += _asked(token)
        if block := _block(token, lines):
            section.blocks.append(block)
    if section.blocks:
        yield section


def _without_front_matter(text: str) -> tuple[str, str]:
    found = _FRONT_MATTER.match(text)
    if not found:
        return text, ""
    title = _TITLE.search(found[1] or "")
    return text[found.end() :], title[1].strip("\"'") if title else ""


def _shown(inline: Token) -> str:
    children = inline.children or []
    text = "".join(" " if child.type in ("softbreak", "hardbreak") else child.content for child in children)
    return " ".join(_COMMENT.sub("", text).split())


def _asked(token: Token) -> Iterator[str]:
    comments = _ASKED.findall(token.content) if token.type == "html_block" else []
    return (" ".join(question.split()) for comment in comments for question in comment.split("|") if question.strip())


def _block(token: Token, lines: Sequence[str]) -> Block | None:
    assert token.map
    written = "".join(lines[token.map[0] : token.map[1]]).strip("\n")
    match token.type:
        case "hr":
            return None
        case "html_block":
            kept = _COMMENT.sub("", written).strip()
            return Block(kept) if re.sub(r"<[^>]*>", "", kept).strip() else None
        case "fence":
            first, _, _ = written.partition("\n")
            inner = written.split("\n")[1:]
            if inner and inner[-1].strip() == token.markup:
                inner.pop()
            return Block("\n".join(inner), f"{first}\n", f"\n{token.markup}", is_prose=False) if inner else None
        case "table_open":
            head = written.split("\n")[:2]
            rows = written.split("\n")[2:]
            return Block("\n".join(rows or head[:1]), "\n".join(head) + "\n" if rows else "", is_prose=False)
        case "paragraph_open" | "blockquote_open":
            return Block(written)
        case _:
            return Block(written, is_prose=False)
