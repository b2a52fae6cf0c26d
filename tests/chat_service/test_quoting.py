from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat_service.quoting import best_of

PAGE = """## Turns

A turn is a lease of thirty seconds. It is renewed in the background. Writers cannot **interleave**: one of them
is told that the [session](service.md) is `busy`.

| a | table |
|---|---|

```python
writers.interleave(1)
```

- A list of writers. See [1].
"""


def test_it_begins_with_the_sentence_that_shares_most_words_with_the_question() -> None:
    quote = best_of(PAGE, "Can writers interleave?")
    assert quote.startswith("Writers cannot interleave: one of them is told that the session is busy.")


@pytest.mark.parametrize("fragment", ["of a session is cut here.", "A session has:"])
def test_a_whole_sentence_goes_before_a_fragment(fragment: str) -> None:
    assert best_of(f"{fragment}\n\nA session is one conversation.", "What is a session?").startswith("A session is one")
    assert best_of(fragment, "What is a session?") == fragment


def test_code_tables_and_headings_are_not_quoted() -> None:
    quote = best_of(PAGE, "python table turns")
    assert not {"|", "```", "#", "interleave(1)"} & {*quote.split()}


def test_what_looks_like_a_citation_in_a_document_is_none_in_a_quotation() -> None:
    assert "[1]" not in best_of("It is so, see [1] and [2, 3].", "so")
    assert "(1)" in best_of("It is so, see [1].", "so")


def test_emphasis_goes_and_arithmetic_stays() -> None:
    assert (
        best_of("An *important* and **very** `small` sum: 2 * 3.", "sum") == "An important and very small sum: 2 * 3."
    )


@pytest.mark.parametrize("text", ["", " \n ", "![picture](a.png)", "```\nmake run\n```", "| a | b |"])
def test_nothing_is_quoted_where_there_is_no_sentence(text: str) -> None:
    assert best_of(text, "run") == ""


@given(text=st.text(max_size=3000), question=st.text(max_size=50))
def test_a_quotation_is_short_whatever_it_is_from(text: str, question: str) -> None:
    assert len(best_of(text, question)) <= 330
