"""Markdown as safe HTML: CommonMark with tables, strikethrough and plain addresses; no raw HTML, no images.

What a model writes may be hostile. The renderer makes no HTML of what it reads, links lead to the web and mail alone,
and a sanitiser has the last word. Work is bounded by the length of what is rendered.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import nh3
from linkify_it import LinkifyIt  # type: ignore[import-untyped]
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.rules_block import StateBlock, table
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict

from .highlighting import highlighted

__all__ = ["ATTRIBUTES", "SCHEMES", "TAGS", "block_html", "block_starts", "plain_html"]

_LONGEST_BLOCK = 20_000  # characters of a block that is read as Markdown; a longer one is shown as it is
_MOST_COLUMNS = 100  # of a table

TAGS = frozenset(
    "a blockquote br code em h3 hr li ol p pre s span strong table tbody td th thead tr ul".split(),
)
ATTRIBUTES = {
    "a": {"href", "title"},
    "code": {"class"},
    "h3": {"class"},
    "ol": {"start"},
    "pre": {"class", "tabindex"},
    "span": {"class"},
    "td": {"class"},
    "th": {"class"},
}
SCHEMES = frozenset({"http", "https", "mailto"})

_CLEANER = nh3.Cleaner(
    tags=set(TAGS),
    clean_content_tags={"script", "style"},
    attributes=ATTRIBUTES,
    url_schemes=set(SCHEMES),
    url_relative="deny",
    link_rel="noopener noreferrer nofollow",
    set_tag_attribute_values={"a": {"target": "_blank"}},
)


class _Renderer(RendererHTML):
    """HTML without anything that only a style attribute could say."""

    def fence(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        """A block of code; people reach it by the keyboard, to scroll it."""
        language = tokens[idx].info.strip().split(maxsplit=1)
        html, known = highlighted(tokens[idx].content, language[0] if language else "")
        kind = f' class="language-{escape(known)}"' if known else ""
        return f'<pre class="code" tabindex="0"><code{kind}>{html}</code></pre>\n'

    code_block = fence

    def image(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        """A link to it: to show it would tell its server who reads."""
        token = tokens[idx]
        address = escape(str(token.attrs.get("src", "")))
        return f'<a href="{address}">{escape(token.content) or address}</a>'

    def link_open(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        """A link; the words alone where it leads to a place that is not of this page."""
        return self.renderToken(tokens, idx, options, env) if _leads_out(tokens[idx]) else "<span>"

    def link_close(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        """Its end."""
        opening = next(token for token in reversed(tokens[:idx]) if token.type == "link_open")
        return "</a>" if _leads_out(opening) else "</span>"

    def heading_open(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        """All of one rank, below the titles of a page: the ranks of several answers make no outline."""
        return f'<h3 class="level-{tokens[idx].tag[1:]}">'

    def heading_close(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        """Its end."""
        return "</h3>\n"

    def td_open(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        """A cell; its column may be aligned."""
        token = tokens[idx]
        side = str(token.attrs.get("style", "")).rpartition(":")[2]
        return f'<{token.tag} class="{escape(side)}">' if side else f"<{token.tag}>"

    th_open = td_open


def _leads_out(link: Token) -> bool:
    return str(link.attrs.get("href", "")).partition(":")[0].lower() in SCHEMES


def _is_harmless(url: str) -> bool:
    scheme, colon, _ = url.partition(":")
    return not colon or scheme.lower() in SCHEMES or any(sign in scheme for sign in "/?#")


def _parser() -> MarkdownIt:
    options = {"html": False, "linkify": True, "maxNesting": 20}
    markdown = MarkdownIt("commonmark", options, renderer_cls=_Renderer)
    markdown.enable(["table", "strikethrough", "linkify"])
    markdown.block.ruler.at("table", _narrow_table, {"alt": ["paragraph", "reference"]})
    # [1] names a passage. A definition would make it a link, and its own line disappear.
    markdown.disable("reference")
    links = LinkifyIt(options={"fuzzy_link": False, "fuzzy_email": False, "fuzzy_ip": False})
    for scheme in ("ftp:", "//"):
        links.add(scheme, None)
    markdown.linkify = links
    markdown.validateLink = _is_harmless  # type: ignore[method-assign]
    return markdown


def _narrow_table(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """A table, unless it is so wide that its rows would be filled up with cells beyond all bounds."""
    line = state.src[state.bMarks[start] : state.eMarks[start]]
    return line.count("|") <= _MOST_COLUMNS and table(state, start, end, silent)


_MARKDOWN = _parser()


def block_starts(text: str) -> list[int]:
    r"""The lines at which the blocks of a text begin: paragraphs, lists, tables, code.

    Args:
        text: With ``\n`` at the ends of its lines.
    """
    tokens: list[Token] = []
    _MARKDOWN.block.parse(text, _MARKDOWN, {}, tokens)
    return [token.map[0] for token in tokens if token.level == 0 and token.nesting >= 0 and token.map]


def block_html(text: str) -> str:
    """One block as safe HTML.

    Args:
        text: Of the block, as :func:`block_starts` finds it.
    """
    return _CLEANER.clean(_MARKDOWN.render(text)) if len(text) <= _LONGEST_BLOCK else plain_html(text)


def plain_html(text: str) -> str:
    """A text as it is."""
    return _CLEANER.clean(f'<pre class="long" tabindex="0">{escape(text, quote=False)}</pre>\n')
