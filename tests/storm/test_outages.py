"""A database that cannot be used: a clear error in time, and nothing stuck afterwards."""

from __future__ import annotations

import pytest

from tests.storm.outages import CONNECTED, UNCONNECTED, Told, all_told

EVERY = [(name, "open a session") for name in UNCONNECTED] + [
    (name, asked) for name, (_, asks) in CONNECTED.items() for asked in asks
]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Told]:
    """All of them at the same time: each is mostly a wait."""
    return all_told(tmp_path_factory.mktemp("outages"))


@pytest.mark.parametrize(("name", "asked"), EVERY)
def test_a_clear_error_comes_in_time(told: dict[tuple[str, str], Told], name: str, asked: str) -> None:
    outcome = told[name, asked]
    assert outcome.wrong == ""
    assert "127.0.0.1" in outcome.error or "Authentication failed" in outcome.error or "pool" in outcome.error


@pytest.mark.parametrize(("name", "asked"), EVERY)
def test_nothing_is_stuck_afterwards(told: dict[tuple[str, str], Told], name: str, asked: str) -> None:
    assert told[name, asked].stuck == ""
