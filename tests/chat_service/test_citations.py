"""Citations that name nothing never reach a reader, however the model's words are cut."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chat_service.rag.citations import Citations, cited


def passed(pieces: list[str], count: int = 2) -> str:
    citations = Citations(lambda: count)
    return "".join([*map(citations.read, pieces), citations.rest()])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("So it is [1].", "So it is [1]."),
        ("So it is [3].", "So it is."),
        ("So it is[0].", "So it is."),
        ("Both [1, 2]", "Both [1][2]"),
        ("Both [1][9][2]", "Both [1][2]"),
        ("Both [2,7]", "Both [2]"),
        ("In 2024 [2024] and [a] and []", "In 2024 [2024] and [a] and []"),
        ("`x[9]` and [9]", "`x[9]` and"),
        ("```\nx[9]\n\ny[9]\n```\nz[9]", "```\nx[9]\n\ny[9]\n```\nz"),
        ("a ` alone\n\n[9] here", "a ` alone\n\n here"),
        ("[[9]1]", "[…1]"),
        ("[1[9]2]", "[1…2]"),
    ],
)
def test_what_names_nothing_is_taken_out(text: str, expected: str) -> None:
    assert passed([text]) == expected
    assert passed([*text]) == expected


TEXTS = st.lists(st.sampled_from([*"[]0123459, `\n", "[1]", "[2, 9]", "```", "word", "…"]), max_size=40).map("".join)


@given(text=TEXTS, cuts=st.lists(st.integers(0, 80), max_size=80))
@settings(max_examples=500)
def test_how_it_is_cut_makes_no_difference(text: str, cuts: list[int]) -> None:
    places = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    pieces = [text[start:end] for start, end in itertools.pairwise(places)]
    assert passed(pieces) == passed([text])


@given(text=TEXTS)
def test_what_was_passed_on_cites_only_what_is_there(text: str) -> None:
    said = passed([text])
    assert passed([said]) == said
    if "`" not in said:
        assert {int(number) for number in re.findall(r"\[(\d{1,3})\]", said)} <= {1, 2}


@given(text=TEXTS)
def test_what_is_said_to_be_cited_is_what_the_answer_shows(text: str) -> None:
    citations = Citations(lambda: 2)
    said = citations.read(text) + citations.rest()
    assert citations.numbers == cited(said, 2)


def test_numbers_come_in_the_order_in_which_they_are_cited() -> None:
    assert cited("b [2], a [1], b again [2], nothing [5], `[3]`", 3) == [2, 1]
