from __future__ import annotations

from pathlib import Path

import pytest
from fpdf import FPDF

from chat_service.rag.documents import sections_of
from chat_service.rag.sections import Section, UnreadableError


def read(kind: str, data: str | bytes) -> list[Section]:
    return list(sections_of(kind, data.encode() if isinstance(data, str) else data))


def shown(section: Section) -> str:
    return "\n".join(f"{block.before}{block.text}{block.after}" for block in section.blocks)


def test_markdown_stands_under_all_its_headings_with_githubs_anchors() -> None:
    first, second, third, fourth = read(
        "markdown",
        "# The *guide*\n\nIntro.\n\n## What's `new`?\n\nNews.\n\nSet-up\n------\n\nSteps.\n\n# Other"
        "\n\n## What's `new`?\n\nMore.",
    )
    assert (first.headings, first.anchor) == (("The guide",), "the-guide")
    assert (second.headings, second.anchor) == (("The guide", "What's new?"), "whats-new")
    assert (third.headings, third.anchor) == (("The guide", "Set-up"), "set-up")
    assert (fourth.headings, fourth.anchor) == (("Other", "What's new?"), "whats-new-1")


def test_a_sign_of_a_heading_inside_code_is_no_heading() -> None:
    (section,) = read("markdown", "# Real\n\n```sh\n# not a heading\nls\n```\n")
    assert section.headings == ("Real",)
    assert shown(section) == "```sh\n# not a heading\nls\n```"


def test_front_matter_gives_the_title_and_comments_are_not_shown() -> None:
    (section,) = read("markdown", '---\ntitle: "A page"\ntags: [a]\n---\n\n<!-- secret -->\n\nText.\n\n---\n')
    assert section.headings == ("A page",)
    assert shown(section) == "Text."


def test_a_comment_of_markdown_may_hold_questions_that_its_section_answers() -> None:
    first, second = read(
        "markdown", "# One\n\n<!-- asked: what is\nit | why -->\n\nText.\n\n# Two\n\nMore.\n\n<!-- asked: when| -->"
    )
    assert (first.asked, second.asked) == (["what is it", "why"], ["when"])
    assert (shown(first), shown(second)) == ("Text.", "More.")


def test_html_is_what_a_reader_sees() -> None:
    sections = read(
        "html",
        "<html><head><title>Site</title><style>p{}</style></head><body><nav>Menu</nav><main><h1 id='top'>Bees</h1>"
        "<p>They <b>fly</b>.</p><section id='winter'><h2>Winter<a href='#winter'>¶</a></h2><ul><li>Honey</li>"
        "<li>Wool</li></ul><pre>feed  now</pre><table><tr><th>Month</th><td>May</td></tr></table></section>"
        "<script>track()</script></main><p hidden>no</p><footer>Imprint</footer></body></html>",
    )
    assert [(section.headings, section.anchor) for section in sections] == [
        (("Bees",), "top"),
        (("Bees", "Winter"), "winter"),
    ]
    assert shown(sections[0]) == "They fly."
    assert shown(sections[1]) == "- Honey\n- Wool\n```\nfeed  now\n```\n| Month | May |"


def test_html_without_headings_has_its_title_and_text_between_blocks_is_kept() -> None:
    (section,) = read("html", "<title>Note</title><div>Loose <i>text</i><p>Block</p>end</div>")
    assert section.headings == ("Note",)
    assert [block.text for block in section.blocks] == ["Loose text", "Block", "end"]


def test_html_may_declare_its_encoding() -> None:
    page = '<meta charset="iso-8859-1"><p>Käse</p>'.encode("iso-8859-1")
    assert shown(read("html", page)[0]) == "Käse"
    with pytest.raises(UnreadableError, match="declares no encoding"):
        read("html", "<p>Käse</p>".encode("iso-8859-1"))


def pdf(*pages: str, title: str = "", password: str = "") -> bytes:
    document = FPDF()
    document.set_font("helvetica", size=12)
    if title:
        document.set_title(title)
    for page in pages:
        document.add_page()
        if page.startswith("# "):
            document.start_section(page[2:].partition("\n")[0])
        document.multi_cell(0, text=page.partition("\n")[2] or page)
    if password:
        document.set_encryption(owner_password="owner", user_password=password)
    return bytes(document.output())


def test_a_pdf_is_read_by_page_under_the_headings_of_its_outline() -> None:
    sections = read("pdf", pdf("A page before.", "# Hives\nWhere bees live.", "Another page.", title="Bees"))
    assert [(section.headings, section.anchor) for section in sections] == [
        (("Bees",), "page=1"),
        (("Hives",), "page=2"),
        (("Hives",), "page=3"),
    ]
    assert shown(sections[1]) == "Where bees live."


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "whole PDF"),
        (b"%PDF-1.7\n garbage", "whole PDF"),
        (b"This is no PDF at all.", "whole PDF"),
        (pdf("A page.")[:300], "whole PDF"),
        (pdf("A page.", password="word"), "password"),
    ],
)
def test_a_damaged_or_locked_pdf_says_so(data: bytes, reason: str) -> None:
    with pytest.raises(UnreadableError, match=reason):
        read("pdf", data)


def test_plain_text_has_the_headings_that_are_underlined() -> None:
    first, second, third = read("text", "Bees\n====\n\nFly.\n\nWinter\n------\nCold.\n\nBread\n=====\n\nBake.\r\n")
    assert (first.headings, first.anchor, shown(first)) == (("Bees",), "bees", "Fly.")
    assert (second.headings, shown(second)) == (("Bees", "Winter"), "Cold.")
    assert third.headings == ("Bread",)


@pytest.mark.parametrize("kind", ["markdown", "text"])
def test_encodings_are_those_with_a_mark_or_utf8(kind: str) -> None:
    for data in ("Käse".encode(), "Käse".encode("utf-8-sig"), "Käse".encode("utf-16")):
        assert shown(read(kind, data)[0]) == "Käse"
    with pytest.raises(UnreadableError, match="not UTF-8, from byte 1"):
        read(kind, "Käse".encode("windows-1252"))
    with pytest.raises(UnreadableError, match="no text"):
        read(kind, b"PK\x03\x04\0\0binary")


def test_nothing_comes_of_an_empty_file() -> None:
    assert [read(kind, b" \n\n ") for kind in ("markdown", "text", "html")] == [[], [], []]


def test_every_page_of_this_project_can_be_read() -> None:
    for page in (Path(__file__).parents[2] / "docs").glob("*.md"):
        assert read("markdown", page.read_bytes())
