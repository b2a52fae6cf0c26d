from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from chat_service.rag.chunking import DocumentChunk, chunked, embedded_text
from chat_service.rag.markdown import markdown_sections
from chat_service.rag.sections import words_of


def chunks(text: str, source: str = "docs/page.md") -> list[DocumentChunk]:
    return list(chunked(markdown_sections(text), source, "docs"))


def sentences(count: int, word: str = "word") -> str:
    return " ".join(f"Sentence {number} has one more {word} in it." for number in range(count))


def test_a_short_section_is_one_chunk_with_all_its_fields() -> None:
    (chunk,) = chunks("# Guide\n\n## Start\n\nFirst.\n\nSecond.")
    assert chunk.section_heading == "Guide › Start"
    assert chunk.text == "First.\n\nSecond."
    assert chunk.link == "docs/page.md#start"
    assert (chunk.source_file, chunk.module_name, chunk.ordinal) == ("docs/page.md", "docs", 0)
    assert len(chunk.content_hash) == 64


def test_a_chunk_never_reaches_over_a_heading() -> None:
    texts = [chunk.text for chunk in chunks("# A\n\none\n\n# B\n\ntwo\n\n# C\n\nthree")]
    assert texts == ["one", "two", "three"]


def test_a_long_paragraph_is_cut_between_sentences_and_its_end_is_said_again() -> None:
    parts = chunks(f"# Long\n\n{sentences(60)}")
    assert len(parts) > 2
    assert all(words_of(part.text) <= 200 and part.text.endswith("in it.") for part in parts)
    for one, next_one in pairwise(parts):
        assert next_one.text.partition("it.")[0] in one.text
    assert [part.ordinal for part in parts] == list(range(len(parts)))


def test_each_part_of_a_table_has_its_head_and_each_part_of_code_its_fence() -> None:
    table = "| name | what |\n|---|---|\n" + "\n".join(f"| n{row} | {'word ' * 8}|" for row in range(60))
    code = "```python\n" + "\n".join(f"print('one more line', {line})" for line in range(120)) + "\n```"
    parts = chunks(f"# Table\n\n{table}\n\n# Code\n\n{code}")
    tables = [part.text for part in parts if part.section_heading == "Table"]
    codes = [part.text for part in parts if part.section_heading == "Code"]
    assert len(tables) > 2
    assert all(text.startswith("| name | what |\n|---|---|\n| n") for text in tables)
    assert sum(text.count("\n| n") for text in tables) == 60
    assert len(codes) > 2
    assert all(text.startswith("```python\nprint") and text.endswith("\n```") for text in codes)


def test_questions_come_behind_the_chunks_of_their_section_and_stand_for_themselves() -> None:
    text = f"# Bread\n\n<!-- asked: how long | when -->\n\n{sentences(30)}\n\n# Bees\n\nHoney."
    bread = [chunk for chunk in chunks(text) if chunk.section_heading == "Bread"]
    assert [chunk.asked for chunk in bread] == [*[""] * (len(bread) - 2), "how long", "when"]
    assert len(bread) > 3
    assert len({chunk.section for chunk in bread}) == 1
    assert chunks(text)[-1].section != bread[0].section
    assert [chunk.ordinal for chunk in chunks(text)] == list(range(len(bread) + 1))
    assert [embedded_text(chunk) for chunk in bread[-2:]] == ["Bread\nhow long", "Bread\nwhen"]
    assert len({chunk.content_hash for chunk in bread}) == len(bread)


def test_questions_of_a_section_without_text_are_none() -> None:
    assert chunks("# Bread\n\n<!-- asked: how long -->\n\n## Dough\n\nFlour.")[0].section_heading == "Bread › Dough"
    assert [chunk.asked for chunk in chunks("# Bread\n\n<!-- asked: how long -->\n\n## Dough\n\nFlour.")] == [""]


def test_a_word_without_an_end_is_cut() -> None:
    parts = chunks("# Data\n\n" + "x" * 20_000)
    assert sum(part.text.count("x") for part in parts) >= 20_000
    assert all(words_of(part.text) <= 250 for part in parts)


def test_a_chunk_keeps_its_id_when_others_change_and_gets_another_when_it_does() -> None:
    before = chunks("# A\n\none\n\n# B\n\ntwo\n\ntwo")
    after = chunks("# New\n\nzero\n\n# A\n\none\n\n# B\n\nTWO\n\ntwo")
    assert before[0].chunk_id == after[1].chunk_id
    assert before[1].chunk_id != after[2].chunk_id
    assert chunks("# A\n\none", "docs/other.md")[0].chunk_id != before[0].chunk_id


def test_equal_sections_have_ids_of_their_own() -> None:
    parts = chunks("# A\n\nsame\n\n# A\n\nsame")
    assert len({part.chunk_id for part in parts}) == 2
    assert len({part.content_hash for part in parts}) == 1


def test_what_is_embedded_has_the_headings_and_no_addresses() -> None:
    (chunk,) = chunks("# Guide\n\n## Start\n\nSee [the page](https://example.com/a?b=c).")
    assert embedded_text(chunk) == "Guide › Start\nSee the page."


@given(st.text(max_size=3_000))
def test_whatever_is_written_becomes_chunks_with_ids_of_their_own(text: str) -> None:
    parts = chunks(text.replace("\0", ""))
    assert len({part.chunk_id for part in parts}) == len(parts)
    assert all(part.text.strip() for part in parts)
