"""HTML becomes sections: what a reader of the page sees, without navigation and scripts."""

from __future__ import annotations

from collections.abc import Iterator

from bs4 import BeautifulSoup, Comment, Tag
from bs4.dammit import UnicodeDammit
from bs4.element import NavigableString, PageElement, PreformattedString

from .sections import Block, Outline, Section, UnreadableError

__all__ = ["html_sections"]

_UNSEEN = [
    "script",
    "style",
    "noscript",
    "template",
    "svg",
    "nav",
    "footer",
    "aside",
    "form",
    "iframe",
    "head",
    "title",
    "button",
]
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_BLOCKS = {"p", "li", "pre", "tr", "dt", "dd", "blockquote", "figcaption", "caption", "summary", "address"}
_AROUND = {"div", "section", "article", "main", "header", "body", "html", "ul", "ol", "dl", "table", "thead", "tbody"}


def html_sections(data: bytes) -> Iterator[Section]:
    """Read a page.

    Args:
        data: In UTF-8, or in the encoding that it declares.

    Raises:
        UnreadableError: It is in neither.
    """
    soup = BeautifulSoup(_decoded(data), "html.parser")
    title = _text(soup.title) if soup.title else ""
    for unseen in soup.find_all(_UNSEEN):
        unseen.decompose()
    for hidden in soup.select("[hidden], [aria-hidden=true]"):
        hidden.decompose()
    content = soup.find("main") or soup.find("article") or soup.body or soup
    outline = Outline()
    section = Section(outline.enter(0, "" if content.find("h1") else title))
    for heading, block in _pieces(content):
        if heading is None:
            section.blocks.append(Block(block))
            continue
        if section.blocks:
            yield section
        section = Section(outline.enter(_HEADINGS[heading.name], block), _anchor(heading))
    if section.blocks:
        yield section


def _decoded(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        guess = UnicodeDammit(data, is_html=True)
        if guess.unicode_markup is None or not (guess.declared_html_encoding or data[:2] in (b"\xff\xfe", b"\xfe\xff")):
            raise UnreadableError("it is not UTF-8 and declares no encoding", "Save it as UTF-8") from None
        return guess.unicode_markup


def _pieces(content: Tag) -> Iterator[tuple[Tag | None, str]]:
    """Each heading with its text, and each block of text without one, in the order of the page."""
    loose: list[str] = []
    stack: list[PageElement] = list(reversed(list(content.children)))
    while stack:
        node = stack.pop()
        if isinstance(node, NavigableString):
            if not isinstance(node, Comment | PreformattedString):
                loose.append(str(node))
            continue
        if not isinstance(node, Tag):
            continue
        is_block = node.name in _HEADINGS or node.name in _AROUND or node.name in _BLOCKS
        if not is_block:
            loose.append(_text(node))
            continue
        yield from _gathered(loose)
        if node.name in _AROUND or (node.name in _BLOCKS and node.find([*_HEADINGS, "pre", "table", "p", "li"])):
            stack.extend(reversed(list(node.children)))
        elif text := _block_text(node):
            yield (node if node.name in _HEADINGS else None), text
    yield from _gathered(loose)


def _gathered(loose: list[str]) -> Iterator[tuple[None, str]]:
    text = " ".join(" ".join(loose).split())
    loose.clear()
    if text:
        yield None, text


def _block_text(node: Tag) -> str:
    if node.name == "pre":
        return f"```\n{node.get_text().strip(chr(10))}\n```" if node.get_text().strip() else ""
    if node.name == "tr":
        cells = [_text(cell) for cell in node.find_all(["td", "th"])]
        return f"| {' | '.join(cells)} |" if any(cells) else ""
    text = _text(node)
    return f"- {text}" if node.name == "li" and text else text


def _text(node: Tag) -> str:
    return " ".join(node.get_text().split()).removesuffix("¶").rstrip()


def _anchor(heading: Tag) -> str | None:
    inner = heading.find(id=True) or heading.find("a", attrs={"name": True})
    outer = heading.find_parent(["section", "article", "div"], id=True)
    first = outer.find(list(_HEADINGS)) if outer else None
    for holder in (heading, inner, outer if first is heading else None):
        if isinstance(holder, Tag) and (name := holder.get("id") or holder.get("name")):
            return str(name)
    return None
