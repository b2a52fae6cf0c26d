"""One server without a replica set, for which no driver retries a write: one fault after the other, of every kind."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.storm.faults import KILL_APPLICATION, KILL_PRIMARY, OTHERS_ALONE
from tests.storm.servers import Standalone
from tests.storm.storm import Storm


@pytest.fixture(scope="module")
def storm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storm]:
    folder = tmp_path_factory.mktemp("storm")
    with Standalone(folder / "servers") as servers, Storm(servers, folder / "ledger", "bounded") as storm:
        yield storm


@pytest.mark.parametrize("fault", [KILL_PRIMARY, KILL_APPLICATION, *OTHERS_ALONE])
def test_nothing_acknowledged_is_lost_doubled_or_torn_when(storm: Storm, fault: str) -> None:
    storm.found.problems.clear()
    storm.strike(fault)

    assert storm.found.problems == {}


def test_when_all_is_over_every_session_is_whole_and_free(storm: Storm) -> None:
    storm.found.problems.clear()
    storm.finish()

    assert storm.found.problems == {}
    assert len(storm.ledger.acknowledged()) > 100
