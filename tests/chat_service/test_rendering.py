"""Markdown as safe HTML: the same in whatever pieces it comes, harmless whatever it says, and bounded work."""

from __future__ import annotations

import time
from html.parser import HTMLParser
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chat_service.rendering import markdown
from chat_service.rendering.answers import AnswerInProgress, answer_html
from chat_service.rendering.cache import Rendered
from chat_service.rendering.highlighting import COLOURS, highlighted, stylesheet

PIECES = [
    *("foo", "bar baz", "é", "1", "42 ", "\\", "\n", "\n\n", "\r\n", "\r", "\0", "    ", "  ", "\t", "- ", "* ", "+ "),
    *("1. ", "2) ", "-", "+", "> ", "# ", "## ", "```", "```py", "~~~", "|", "| a | b |", "|---|---|", "|:-:|--|"),
    *("---", "***", "===", "_ _", "* * *", "`", "**", "_", "~~", "[1]", "[x](http://a)", "[x]: http://y", "!["),
    *("<b>", "</p>", "<script>", "&amp;", "&", "http://x.com", "javascript:a", '"', "'"),
]
texts = st.lists(st.sampled_from(PIECES), max_size=16).map("".join)


def in_pieces(text: str, sizes: list[int], looks: list[bool]) -> str:
    """The HTML of an answer that came in pieces, looked at now and then, as a page puts it together."""
    answer, blocks, start = AnswerInProgress(), dict[int, str](), 0
    for size, looked in zip(sizes * len(text), looks * len(text), strict=False):
        answer.add(text[start : start + size])
        start += size
        if looked:
            follow(blocks, answer)
        if start >= len(text):
            break
    follow(blocks, answer, is_over=True)
    assert sorted(blocks) == list(range(len(blocks)))
    return "".join(blocks[place] for place in sorted(blocks))


def follow(blocks: dict[int, str], answer: AnswerInProgress, *, is_over: bool = False) -> None:
    for place, html in answer.changes(is_over=is_over):
        assert place >= max(blocks, default=0), "a block has changed behind which another one had begun"
        blocks[place] = html


@given(texts, st.lists(st.integers(1, 9), min_size=1, max_size=4), st.lists(st.booleans(), min_size=1, max_size=4))
@example("foo\n| a | b |\n|---|---|\n| 1 | 2 |", [1], [True])
@example("- foo\n\n1. bar\n\n- ", [1], [True])
@example("foo\n```a`b", [1], [True])
@example("- a\n\n1. b\n\n1\n---\n2", [1], [True])
@example("foo\r\n\r\nbar\r", [1], [True])
def test_an_answer_is_the_same_in_whatever_pieces_it_comes(text: str, sizes: list[int], looks: list[bool]) -> None:
    assert in_pieces(text, sizes, looks) == answer_html(text)


def test_an_answer_that_is_too_long_is_the_same_in_pieces_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chat_service.rendering.answers._LONGEST", 40)
    text = "# One\n\nTwo *three* four.\n\n- five\n- six\n\nand <b>so</b> on and on\n\n- and on\n"
    assert in_pieces(text, [1], [True]) == in_pieces(text, [7, 3], [True, False]) == answer_html(text)
    assert '<pre class="long"' in answer_html(text)
    assert "&lt;b&gt;so" in answer_html(text)


class Harmful(HTMLParser):
    """Finds what is not on the list."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in markdown.TAGS:
            self.found.append(f"<{tag}>")
        allowed = markdown.ATTRIBUTES.get(tag, set()) | ({"rel", "target"} if tag == "a" else set())
        for name, value in attrs:
            if name not in allowed:
                self.found.append(f"{tag} {name}")
            if name == "href" and (value or "").partition(":")[0].lower() not in markdown.SCHEMES:
                self.found.append(f"{tag} href")
        if tag == "a" and dict(attrs).get("href"):
            assert (dict(attrs)["rel"], dict(attrs)["target"]) == ("noopener noreferrer nofollow", "_blank")

    def handle_comment(self, data: str) -> None:
        self.found.append("a comment")

    def handle_decl(self, decl: str) -> None:
        self.found.append("a declaration")


def harm_in(html: str) -> list[str]:
    reader = Harmful()
    reader.feed(html)
    reader.close()
    return reader.found


HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg/onload=alert(1)>",
    "<a href='javascript:alert(1)'>x</a>",
    "<style>*{background:url(http://evil)}</style>",
    "<iframe srcdoc='<script>alert(1)</script>'></iframe>",
    "<!--<script>-->",
    "<math><mi//xlink:href='data:x,<script>alert(4)</script>'>",
    "<form action=http://evil><input name=key></form>",
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt:alert(1))",
    "[x](java\nscript:alert(1))",
    "[x](&#106;avascript:alert(1))",
    "[x](javascript&colon;alert(1))",
    "[x](\\javascript:alert(1))",
    "[x]( javascript:alert(1))",
    "[x](\x01javascript:alert(1))",
    "[x](data:text/html;base64,PHNjcmlwdD4=)",
    "[x](vbscript:msgbox(1))",
    "[x](file:///etc/passwd)",
    "[x](//evil.example/a)",
    "[x](/static/app.js)",
    "[x](http://a 'title\" onmouseover=\"alert(1)')",
    '[x](<http://a" onmouseover="alert(1)>)',
    "![x](javascript:alert(1))",
    '![x" onerror="alert(1)](http://a/b.png)',
    "![<img src=x onerror=alert(1)>](http://a)",
    "<javascript:alert(1)>",
    "<data:text/html,x>",
    "[x]: javascript:alert(1)\n\n[x]",
    "```<script>\nalert(1)\n```",
    '```"><img src=x onerror=alert(1)>\nx\n```',
    "```html\n<script>alert(1)</script>\n```",
    "```js\n'</script><script>alert(1)</script>'\n```",
    "`<script>alert(1)</script>`",
    "|<script>|\n|--|\n|<img src=x onerror=alert(1)>|",
    "# <svg onload=alert(1)>",
    "> <b onclick=alert(1)>x</b>",
    "http://a.example/\"onmouseover='alert(1)'",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "\u202e<script>",
    "<a\x00href=javascript:alert(1)>",
    "</p></li></div><script>",
    '<p style="position:fixed">x</p>',
    "mailto:a@b.example?body=<script>",
    "[x](mailto:a@b.example\"onclick='x')",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_what_is_hostile_does_nothing(text: str) -> None:
    for whole in (text, f"- {text}", f"> {text}", f"**{text}**", f"a {text} b", f"```\n{text}", f"[{text}](http://a)"):
        assert harm_in(answer_html(whole)) == []


@given(texts, st.lists(st.sampled_from(HOSTILE), max_size=3))
def test_nothing_that_anybody_writes_does_anything(text: str, hostile: list[str]) -> None:
    half = len(text) // 2
    assert harm_in(answer_html(text[:half] + "".join(hostile) + text[half:])) == []


def test_the_last_word_is_the_sanitisers() -> None:
    kept = markdown._CLEANER.clean(
        '<p style="a" onclick="b" id="c">x<a href="javascript:d">y</a><script>z</script></p>'
    )
    assert harm_in(kept) == []
    assert "z" not in kept


def test_what_is_usual_is_there() -> None:
    html = answer_html(
        "## Two\n\n*a* **b** ~~c~~ `d` [e](https://f.example) https://g.example\n\n| h | i |\n|--|--:|\n| j | k |\n\n"
        "1. l\n   - m\n\n> n\n\n---\n\n```python\nif o: pass\n```\n\n![p](https://q.example/r.png)\n"
    )
    link = '<a href="https://{0}" target="_blank" rel="noopener noreferrer nofollow">{1}</a>'
    for part in (
        '<h3 class="level-2">Two</h3>',
        "<em>a</em> <strong>b</strong> <s>c</s> <code>d</code>",
        link.format("f.example", "e"),
        link.format("g.example", "https://g.example"),
        '<td class="right">k</td>',
        "<ol>",
        "<blockquote>",
        "<hr>",
        '<pre class="code" tabindex="0"><code class="language-python"><span class="k">if</span>',
        link.format("q.example/r.png", "p"),
    ):
        assert part in html


def test_what_cites_a_passage_stays_as_it_is() -> None:
    html = answer_html("So it is [1], and [2](x.md).\n\n[1]: https://a.example\n")
    assert "[1], and <span>2</span>." in html
    assert "[1]: <a href" in html


def test_a_name_of_a_file_is_no_address() -> None:
    assert "<a" not in answer_html("See service.md, setup.py and a@b.example or www.example.com")


BAD = {
    "quotes": "> " * 4_000 + "x",
    "lists in lists": "".join("  " * depth + "- a\n" for depth in range(200)),
    "emphasis": "*a **b " * 2_500,
    "stars": "a" + "*" * 20_000 + "b",
    "brackets": "[" * 10_000 + "]" * 10_000,
    "images": "![[]()" * 3_000,
    "links": "[a](<b" * 3_000,
    "code": "".join("e" + "`" * count for count in range(1, 190)),
    "addresses": "http://" * 2_500,
    "entities": "&a" * 9_000,
    "a wide table": "|" + "a|" * 5_000 + "\n|" + "-|" * 5_000 + "\n" + "|x\n" * 2_000,
    "a long table": "|a|b|\n|-|-|\n" + "|x|y|\n" * 20_000,
    "a long line": "word " * 200_000,
    "a long word": "a" * 1_000_000,
    "lines": "a\n" * 300_000,
    "much code": "```python\n" + '"""x = (1\n' * 20_000,
    "many blocks": "# a\n\n- b\n" * 30_000,
}


@pytest.mark.parametrize("name", BAD)
def test_work_is_bounded_by_length(name: str) -> None:
    """A minute is no measure of speed: what is not bounded takes hours, or the memory of the machine."""
    began = time.monotonic()
    html = answer_html(BAD[name])
    assert time.monotonic() - began < 60
    assert len(html) < 20 * len(BAD[name]) + 1_000_000
    assert harm_in(html[:100_000]) == []


def test_only_the_last_block_is_read_again() -> None:
    answer = AnswerInProgress()
    answer.add("A paragraph.\n\n" * 500 + "And the last one")
    assert len(list(answer.changes())) == 501
    assert answer.size == len("And the last one")
    answer.add(" goes on")
    assert list(answer.changes()) == [(500, "<p>And the last one goes on</p>\n")]
    assert list(answer.changes()) == []


def test_code_is_coloured_by_classes_where_its_language_is_known() -> None:
    html, name = highlighted("x = '<b>'\n", "Python")
    assert name == "python"
    assert "&lt;b&gt;" in html
    assert '<span class="n">x</span>' in html
    assert "style" not in html
    assert highlighted("x <b>", "klingon") == ("x &lt;b&gt;", None)
    assert highlighted("x" * 100_000, "python") == ("x" * 100_000, "python")


@pytest.mark.parametrize(("side", "background"), [(0, "#f6f7f7"), (0, "#ffffff"), (1, "#0e1415"), (1, "#161b22")])
def test_colours_can_be_read(side: int, background: str) -> None:
    for kind, colours in COLOURS.items():
        assert contrast(colours[side], background) >= 4.5, kind


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    parts = [int(colour[start:end], 16) / 255 for start, end in pairwise(range(1, 8, 2))]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_the_style_sheet_has_a_colour_for_what_is_coloured() -> None:
    sheet = stylesheet()
    for name in (".code .k,", ".code .kn", ".code .s2", ".code .mi", ".code .c1", ".code .nf"):
        assert name in sheet
    assert sheet.count("light-dark(") == len(COLOURS)
    names = [
        name.strip() for line in sheet.splitlines() if "color" in line for name in line.partition("{")[0].split(",")
    ]
    assert sorted(names) == sorted(set(names)), "a class has two colours"


async def test_what_was_rendered_is_kept_within_bounds() -> None:
    rendered = Rendered(most=100)
    assert await rendered.html(["*a*", "*a*"]) == ["<p><em>a</em></p>\n"] * 2
    assert len(rendered._kept) == 1
    await rendered.html([f"text {count}" for count in range(50)])
    assert rendered._size <= 100
    assert rendered._size == sum(map(len, rendered._kept.values()))


async def test_what_says_nothing_is_nothing() -> None:
    assert await Rendered().html(["", " \n"]) == ["", ""]
