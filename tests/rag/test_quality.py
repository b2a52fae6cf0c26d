"""The figures of an evaluation, against cases worked out by hand."""

from __future__ import annotations

from math import log2

import pytest

from chat_service.rag.quality import Hits, first_rank, mean_reciprocal_rank, ndcg, percentile, recall, share


def test_the_first_rank_counts_from_one() -> None:
    assert first_rank([None, None, 0, 1]) == 3
    assert first_rank([0]) == 1
    assert first_rank([None, None]) is None
    assert first_rank([]) is None


def test_recall_is_the_share_of_questions_with_an_answer_among_the_first_k() -> None:
    found: list[Hits] = [[0, None], [None, 2], [None, None], [None, None, None, 0]]
    assert recall(found, 1) == 1 / 4
    assert recall(found, 2) == 2 / 4
    assert recall(found, 4) == 3 / 4


def test_the_reciprocal_rank_of_what_was_not_found_is_zero() -> None:
    assert mean_reciprocal_rank([[0], [None, 0], [None, None, None, 0], [None]]) == pytest.approx(
        (1 + 1 / 2 + 1 / 4) / 4
    )


def test_a_ranking_with_all_expected_sections_at_its_top_has_a_gain_of_one() -> None:
    assert ndcg([([1, 0, None], 2)], 5) == 1


def test_a_gain_falls_with_the_logarithm_of_the_rank() -> None:
    assert ndcg([([None, 0], 1)], 5) == pytest.approx(1 / log2(3))
    assert ndcg([([0, None, 1], 2)], 5) == pytest.approx((1 + 1 / 2) / (1 + 1 / log2(3)))


def test_a_section_that_is_found_twice_counts_once() -> None:
    assert ndcg([([0, 0, 0], 2)], 5) == pytest.approx(1 / (1 + 1 / log2(3)))


def test_a_gain_asks_for_no_more_sections_than_there_are_places() -> None:
    assert ndcg([([0, 1], 7)], 2) == 1


def test_a_gain_looks_no_further_than_k() -> None:
    assert ndcg([([None, None, 0], 1)], 2) == 0


def test_a_percentile_is_a_value_that_was_measured() -> None:
    assert percentile([40.0, 10.0, 30.0, 20.0], 50) == 20
    assert percentile(map(float, range(1, 101)), 95) == 95
    assert percentile([7.0], 95) == 7


def test_nothing_has_no_share_and_no_mean() -> None:
    assert share([]) is None
    assert recall([], 5) is None
    assert mean_reciprocal_rank([]) is None
    assert ndcg([], 5) is None
    assert percentile([], 50) is None
