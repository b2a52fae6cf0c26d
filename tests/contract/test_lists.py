"""Sessions in lists and sums: filters, orders, cursors, statistics."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mongodb_session_manager import SessionCatalogue, SessionStatistics
from tests.contract.places import Place, make_agent
from tests.contract.test_catalogue import ids

NOBODY = SessionStatistics(sessions=0, messages=0, totals={}, days={})


def made(place: Place, *names: str, **fields: Any) -> list[datetime]:
    """Sessions made one after the other, and when."""
    moments = []
    for name in names:
        moments.append(place.sessions.create(name, **fields).created_at)
        time.sleep(0.003)
    return moments


def found(sessions: SessionCatalogue, **which: Any) -> list[str]:
    """The ids, by pages of two."""
    return [name for page in ids(sessions, limit=2, **which) for name in page]


def test_a_title_is_found_by_a_part_of_it_in_any_case(place: Place) -> None:
    for name, title in enumerate(["Red shoes", "RED Boots", "a.*b", "50% off_", "a\0b", "Ärger"]):
        place.sessions.create(str(name), title=title, owner="ann")
    place.sessions.create("untitled")

    assert sorted(found(place.sessions, title="red")) == ["0", "1"]
    assert found(place.sessions, title="red", owner="bob") == []
    assert found(place.sessions, title="shoe", owner="ann") == ["0"]
    assert found(place.sessions, title=".*") == ["2"]
    assert found(place.sessions, title="%") == ["3"]
    assert found(place.sessions, title="_") == ["3"]
    assert found(place.sessions, title="\0") == ["4"]
    assert found(place.sessions, title="ÄrGER") == ["5"]


def test_metadata_is_compared_by_dotted_keys(place: Place) -> None:
    place.sessions.create("a", metadata={"topic": "shoes", "customer": {"tier": 1, "tags": ["x", {"$y": 2**70}]}})
    place.sessions.create("b", metadata={"topic": "boots", "customer": {"tier": 1}})
    place.sessions.create("c", metadata={"topic": {"name": "shoes"}})

    assert found(place.sessions, metadata={"topic": "shoes"}) == ["a"]
    assert sorted(found(place.sessions, metadata={"customer.tier": 1})) == ["a", "b"]
    assert found(place.sessions, metadata={"customer.tier": 1, "topic": "boots"}) == ["b"]
    assert found(place.sessions, metadata={"topic": {"name": "shoes"}}) == ["c"]
    assert found(place.sessions, metadata={"customer.tags": ["x", {"$y": 2**70}]}) == ["a"]
    assert found(place.sessions, metadata={"customer.tier": "1"}) == []
    with pytest.raises(ValueError, match=r"'\$where'"):
        place.sessions.page(metadata={"$where": "1"})


def test_times_are_ranges(place: Place) -> None:
    a, b, c, d = made(place, "a", "b", "c", "d")
    place.sessions.patch("a", title="touched")
    touched = place.sessions.get("a")
    assert touched is not None

    assert found(place.sessions, created_after=b, created_before=d) == ["c", "b"]
    assert found(place.sessions, created_after=d) == ["d"]
    assert found(place.sessions, created_before=a) == []
    assert found(place.sessions, updated_after=touched.updated_at) == ["a"]
    assert found(place.sessions, updated_before=c) == ["b"]
    assert found(place.sessions, created_before=b, updated_after=d) == ["a"]
    naive = c.astimezone(UTC).replace(tzinfo=None)
    assert found(place.sessions, created_after=naive, created_before=c + timedelta(milliseconds=1)) == ["c"]


def test_lists_are_in_the_order_that_is_asked_for(place: Place) -> None:
    made(place, "a", "b", "c", "d")
    place.sessions.patch("b", title="touched")

    assert found(place.sessions) == ["b", "d", "c", "a"]
    assert found(place.sessions, order="created_at") == ["d", "c", "b", "a"]
    with pytest.raises(ValueError, match="order"):
        place.sessions.page(order="title")  # type: ignore[arg-type]


def test_a_cursor_is_of_one_order(place: Place) -> None:
    made(place, "a", "b")
    cursor = place.sessions.page(limit=1).next_cursor
    with pytest.raises(ValueError, match="cursor"):
        place.sessions.page(limit=1, cursor=cursor, order="created_at")


def test_all_filters_hold_at_once(place: Place) -> None:
    made(place, "a", "b", owner="ann", application_name="shop", title="Red", metadata={"k": 1})
    made(place, "c", owner="ann", application_name="shop", title="Red", metadata={"k": 2})
    made(place, "d", owner="ann", application_name="help", title="Red", metadata={"k": 1})
    made(place, "e", owner="bob", application_name="shop", title="Red", metadata={"k": 1})
    which: dict[str, Any] = {"owner": "ann", "application_name": "shop", "title": "RE", "metadata": {"k": 1}}

    assert found(place.sessions, **which) == ["b", "a"]
    assert found(place.sessions, **which, order="created_at") == ["b", "a"]


# statistics


def test_statistics_are_sums(place: Place) -> None:
    place.sessions.create("empty", owner="ann", application_name="shop")
    for name, owner in (("a", "ann"), ("b", "bob")):
        place.sessions.create(name, owner=owner, application_name="shop")
        for agent_id in ("one", "two"):
            make_agent(place.manager(name), "x", agent_id=agent_id)("hi")
    today = datetime.now(UTC).date()

    everything = place.sessions.statistics()
    assert (everything.sessions, everything.messages) == (3, 8)
    assert everything.totals["total_tokens"] == 60
    assert sum(everything.days.values()) == 3
    assert everything.days.keys() <= {today, today - timedelta(days=1)}
    hers = place.sessions.statistics(owner="ann")
    assert (hers.sessions, hers.messages, hers.totals["total_tokens"]) == (2, 4, 30)
    assert place.sessions.statistics(application_name="shop") == everything
    assert place.sessions.statistics(owner="nobody") == NOBODY


def test_what_is_spent_once_is_counted_once(place: Place) -> None:
    make_agent(place.manager("s"), "x")("hi")
    place.sessions.fork("s", "f")
    assert (place.sessions.statistics().messages, place.sessions.statistics().totals["total_tokens"]) == (4, 15)
    place.sessions.delete("s")
    place.sessions.expire("f", 0.001, rolling=False)
    time.sleep(0.01)
    assert place.sessions.statistics() == NOBODY
