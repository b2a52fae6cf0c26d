"""The end of sessions: renamed and deleted, all of an owner, expired, held, purged."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mongodb_session_manager import DeletionReceipt, SessionNotFoundError
from tests.contract.places import Place, make_agent

SOON = 0.001


def talk(place: Place, *prompts: str, session_id: str = "s") -> None:
    agent = make_agent(place.manager(session_id), "an answer")
    for prompt in prompts:
        agent(prompt)


def let_expire(place: Place, session_id: str = "s", **how: Any) -> None:
    place.sessions.expire(session_id, SOON, **how)
    time.sleep(0.01)


def test_a_title_is_changed_and_removed(place: Place) -> None:
    made = place.sessions.create("s", title="old", metadata={"a": 1})

    renamed = place.sessions.rename("s", "new")
    assert (renamed.title, renamed.metadata) == ("new", {"a": 1})
    assert renamed.updated_at >= made.updated_at
    assert place.sessions.rename("s", None).title is None
    assert place.sessions.get("s") is not None
    with pytest.raises(SessionNotFoundError, match="nobody's"):
        place.sessions.rename("nobody's", "x")


# delete_owner


def test_all_of_an_owner_is_deleted_and_told(place: Place) -> None:
    for name in ("a", "b"):
        place.sessions.create(name, owner="ann")
        talk(place, "hi", session_id=name)
    place.sessions.create("c", owner="bob")
    place.sessions.create("d")
    place.sessions.hold("b")

    assert place.sessions.delete_owner("ann") == DeletionReceipt(sessions=2, messages=4, kept_in_forks=0)
    assert place.sessions.delete_owner("ann") == DeletionReceipt(sessions=0, messages=0, kept_in_forks=0)
    assert {each.session_id for each in place.sessions.page().items} == {"c", "d"}


def test_what_an_owner_wrote_in_forks_of_others_is_counted(place: Place) -> None:
    place.sessions.create("s", owner="ann")
    talk(place, "one", "two", "three")
    place.sessions.fork("s", "her own")
    place.sessions.fork("s", "his", at=4, owner="bob")
    talk(place, "four", session_id="his")
    place.sessions.fork("his", "carls", at=5, owner="carl")
    place.sessions.fork("his", "less", at=4, owner="carl")
    place.sessions.rewind("less", 2)

    assert place.sessions.delete_owner("ann") == DeletionReceipt(sessions=2, messages=12, kept_in_forks=4 + 4 + 2)
    assert place.sessions.delete_owner("bob") == DeletionReceipt(sessions=1, messages=6, kept_in_forks=1)
    assert len(place.sessions.messages("carls")) == 5


# expire


def test_a_session_expires_some_time_after_its_last_change(place: Place) -> None:
    talk(place, "one")
    began = datetime.now(UTC)
    expires_at = place.sessions.expire("s", 1000)

    assert expires_at is not None
    assert abs(expires_at - began - timedelta(seconds=1000)) < timedelta(seconds=10)
    summary = place.sessions.get("s")
    assert summary is not None
    assert (summary.expires_at, summary.lifetime) == (expires_at, 1000)
    time.sleep(0.005)
    talk(place, "two")
    moved = place.sessions.get("s")
    assert moved is not None
    assert moved.expires_at is not None
    assert moved.expires_at > expires_at
    assert moved.expires_at == moved.updated_at + timedelta(seconds=1000)


def test_a_session_expires_at_a_fixed_time_whatever_happens(place: Place) -> None:
    talk(place, "one")
    expires_at = place.sessions.expire("s", 1000, rolling=False)
    talk(place, "two")

    summary = place.sessions.get("s")
    assert summary is not None
    assert (summary.expires_at, summary.lifetime) == (expires_at, None)
    assert place.sessions.expire("s", 5) is not None
    assert place.sessions.expire("s", None) is None
    summary = place.sessions.get("s")
    assert summary is not None
    assert (summary.expires_at, summary.lifetime) == (None, None)


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), 1e12])
def test_a_time_that_makes_no_sense_is_refused(place: Place, seconds: float) -> None:
    place.sessions.create("s")
    with pytest.raises(ValueError, match="seconds"):
        place.sessions.expire("s", seconds)


@pytest.mark.parametrize("rolling", [True, False])
def test_an_expired_session_reads_as_absent_everywhere(place: Place, rolling: bool) -> None:
    place.sessions.create("s", owner="ann", metadata={"a": 1})
    talk(place, "one")
    place.sessions.add_feedback("s", {"rating": "up"})
    let_expire(place, rolling=rolling)

    assert place.sessions.get("s") is None
    assert place.sessions.page().items == place.sessions.page(owner="ann").items == []
    assert place.sessions.metadata("s") == {}
    assert place.sessions.feedbacks("s") == []
    assert place.sessions.agent_summary("s", "default") is None
    calls: list[Callable[[], object]] = [
        lambda: place.sessions.messages("s"),
        lambda: place.sessions.messages_before("s"),
        lambda: place.sessions.patch("s", title="x"),
        lambda: place.sessions.rename("s", "x"),
        lambda: place.sessions.update_metadata("s", {"a": 2}),
        lambda: place.sessions.delete_metadata("s", ["a"]),
        lambda: place.sessions.add_feedback("s", {"rating": "up"}),
        lambda: place.sessions.update_agent_config("s", "default", {"model": "m"}),
        lambda: place.sessions.expire("s", None),
        lambda: place.sessions.hold("s"),
        lambda: place.sessions.fork("s", "f"),
        lambda: place.sessions.rewind("s", 0),
        lambda: place.sessions.export("s"),
    ]
    for call in calls:
        with pytest.raises(SessionNotFoundError):
            call()


@pytest.mark.parametrize("rolling", [True, False])
@pytest.mark.parametrize("method", ["create", "update_metadata", "add_feedback"])
def test_what_comes_after_an_expired_session_is_a_new_one(place: Place, rolling: bool, method: str) -> None:
    place.sessions.create("s", title="old")
    talk(place, "old")
    let_expire(place, rolling=rolling)
    if method == "create":
        place.sessions.create("s")
    else:
        getattr(place.sessions, method)("s", {"a": 1}, create={})

    summary = place.sessions.get("s")
    assert summary is not None
    assert (summary.title, summary.message_count, summary.expires_at) == (None, 0, None)
    assert "old" not in place.raw("s")


@pytest.mark.parametrize("rolling", [True, False])
def test_a_turn_does_not_find_an_expired_session_and_begins_a_new_one(place: Place, rolling: bool) -> None:
    place.sessions.create("s", title="old")
    talk(place, "old")
    let_expire(place, rolling=rolling)

    assert not place.store.load("s", "default").found
    talk(place, "new")

    summary = place.sessions.get("s")
    assert summary is not None
    assert (summary.title, summary.expires_at) == (None, None)
    assert "old" not in place.raw("s")


def test_metadata_that_may_create_a_session_changes_one_that_expires_some_day(place: Place) -> None:
    talk(place, "one")
    for rolling in (True, False):
        place.sessions.expire("s", 1000, rolling=rolling)
        place.sessions.update_metadata("s", {str(rolling): 1}, create={})
        place.sessions.add_feedback("s", {"a": 1}, create={})

    summary = place.sessions.get("s")
    assert summary is not None
    assert (summary.message_count, summary.metadata) == (2, {"True": 1, "False": 1})
    assert len(place.sessions.feedbacks("s")) == 2


# hold


@pytest.mark.parametrize("rolling", [True, False])
def test_what_is_held_does_not_expire(place: Place, rolling: bool) -> None:
    talk(place, "one")
    place.sessions.hold("s")
    let_expire(place, rolling=rolling)

    summary = place.sessions.get("s")
    assert summary is not None
    assert summary.is_held
    assert [each.session_id for each in place.sessions.page().items] == ["s"]
    assert place.sessions.purge() == 0
    talk(place, "two")
    assert len(place.sessions.messages("s")) == 4
    place.sessions.hold("s", False)
    time.sleep(0.01)
    assert place.sessions.get("s") is None
    assert place.sessions.purge() == 1


def test_what_is_held_can_be_deleted(place: Place) -> None:
    place.sessions.create("s")
    place.sessions.hold("s")
    assert place.sessions.delete("s") is True
    assert place.sessions.get("s") is None


# purge


def test_a_purge_removes_what_has_expired_and_nothing_else(place: Place) -> None:
    for name in ("rolling", "fixed", "later", "never"):
        place.sessions.create(name)
        talk(place, "needle", session_id=name)
    let_expire(place, "rolling")
    let_expire(place, "fixed", rolling=False)
    place.sessions.expire("later", 1000)

    assert place.sessions.purge() == 2
    assert place.sessions.purge() == 0
    assert not any("needle" in place.raw(name) for name in ("rolling", "fixed"))
    assert {each.session_id for each in place.sessions.page().items} == {"later", "never"}


def test_a_purge_has_a_limit(place: Place) -> None:
    for number in range(5):
        place.sessions.create(str(number))
        place.sessions.expire(str(number), SOON, rolling=bool(number % 2))
    time.sleep(0.01)

    assert [place.sessions.purge(limit=2) for _ in range(4)] == [2, 2, 1, 0]
    with pytest.raises(ValueError, match="limit"):
        place.sessions.purge(limit=0)


def test_a_purge_leaves_forks_whole(place: Place) -> None:
    talk(place, "one")
    place.sessions.fork("s", "f")
    let_expire(place)
    assert place.sessions.purge() == 1
    assert len(place.sessions.messages("f")) == 2


async def test_all_this_has_an_awaitable_form(place: Place) -> None:
    catalogue: Any = place.sessions.aio  # type: ignore[attr-defined]
    await catalogue.create("s", owner="ann")
    await make_agent(await place.open("s"), "a").invoke_async("hi")
    assert (await catalogue.rename("s", "new")).title == "new"
    assert (await catalogue.fork("s", "f", owner="bob")).message_count == 2
    assert (await catalogue.rewind("f", 0)).message_count == 0
    assert await catalogue.redact("s", 0) == ["s"]
    assert await catalogue.expire("f", 100) is not None
    await catalogue.hold("f")
    assert await catalogue.purge() == 0
    assert (await catalogue.statistics(owner="ann")).sessions == 1
    lines = [line async for line in await catalogue.export("s")]
    assert (await catalogue.import_lines(lines, session_id="again")).message_count == 2
    assert (await catalogue.delete_owner("ann")).sessions == 2
