"""Sessions seen from beside their turns."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bson import ObjectId
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mongodb_session_manager import (
    SessionCatalogue,
    SessionError,
    SessionNotFoundError,
    SessionTooLargeError,
)
from tests.contract.places import Place, make_agent
from tests.contract.test_store import say
from tests.strategies import identical, json_like

SHARED = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)


def ids(sessions: SessionCatalogue, **which: Any) -> list[list[str]]:
    """The ids of every page."""
    pages, cursor = [], None
    while True:
        page = sessions.page(cursor=cursor, **which)
        pages.append([item.session_id for item in page.items])
        cursor = page.next_cursor
        if cursor is None:
            return pages


# create, get, patch, delete


def test_a_created_session_is_empty_and_whole(place: Place) -> None:
    made = place.sessions.create("s", metadata={"a": {"b": 2**70}}, title="Sh\0es", owner="ann", application_name="")

    assert (made.session_id, made.title, made.owner, made.application_name) == ("s", "Sh\0es", "ann", "")
    assert (made.metadata, made.message_count, made.agents) == ({"a": {"b": 2**70}}, 0, {})
    assert made.created_at == made.updated_at
    assert abs(datetime.now(UTC) - made.created_at) < timedelta(minutes=1)
    assert place.sessions.get("s") == made


def test_what_is_not_given_is_none(place: Place) -> None:
    made = place.sessions.create("s")

    assert (made.title, made.owner, made.application_name, made.metadata) == (None, None, None, {})


def test_a_session_that_exists_is_not_created_again(place: Place) -> None:
    say(place, "hello")

    with pytest.raises(SessionError, match="'s' exists") as raised:
        place.sessions.create("s", title="another")
    assert raised.value.session_id == "s"
    summary = place.sessions.get("s")
    assert summary is not None
    assert (summary.title, summary.message_count) == (None, 1)


def test_creating_is_won_by_one(place: Place) -> None:
    start = threading.Barrier(8)

    def create(number: int) -> bool:
        start.wait()
        try:
            place.sessions.create("s", title=str(number))
        except SessionError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(create, range(8))) == 1


def test_a_lone_surrogate_is_no_session_id(place: Place) -> None:
    with pytest.raises(ValueError, match="surrogate"):
        place.sessions.create("\ud800")


def test_the_date_of_creation_stays_and_that_of_the_last_change_moves(place: Place) -> None:
    made = place.sessions.create("s")
    changes: list[Callable[[], object]] = [
        lambda: say(place, "a"),
        lambda: place.sessions.patch("s", title="b"),
        lambda: place.sessions.update_metadata("s", {"c": 1}),
        lambda: place.sessions.delete_metadata("s", ["c"]),
        lambda: place.sessions.add_feedback("s", {"rating": "up"}),
    ]
    for change in changes:
        before = place.sessions.get("s")
        time.sleep(0.002)
        change()
        after = place.sessions.get("s")
        assert before is not None
        assert after is not None
        assert after.created_at == made.created_at
        assert after.updated_at > before.updated_at


def test_a_summary_tells_of_every_agent(place: Place) -> None:
    manager = place.manager("s")
    one = make_agent(manager, "a", agent_id="one", name="Ada", system_prompt="be kind")
    one.state.set("colour", "blue")
    one("hi")
    make_agent(manager, "a", agent_id="a.b$")("hi")

    summary = place.sessions.get("s")
    assert summary is not None
    assert summary.message_count == 4
    assert {*summary.agents} == {"one", "a.b$"}
    agent = summary.agents["one"]
    assert (agent.agent_id, agent.name, agent.message_count, agent.state) == ("one", "Ada", 2, {"colour": "blue"})
    assert agent.totals["total_tokens"] == 15
    assert agent.config == {"name": "Ada", "model": "scripted-1", "system_prompt": "be kind"}
    assert place.sessions.agent_summary("s", "one") == agent
    assert place.sessions.page().items == [summary]


def test_a_graph_is_no_agent(place: Place) -> None:
    loaded = place.store.load("s", "g", "multi_agents")
    say(place, agent_id="g", at=loaded.at, part="multi_agents", data={"state": {"a": 1}})

    summary = place.sessions.get("s")
    assert summary is not None
    assert (summary.agents, place.sessions.agent_summary("s", "g")) == ({}, None)


def test_an_unknown_session_is_none(place: Place) -> None:
    assert place.sessions.get("nobody's") is None
    assert place.sessions.agent_summary("nobody's", "default") is None
    place.sessions.create("s")
    assert place.sessions.agent_summary("s", "default") is None


def test_a_patch_changes_the_title_and_merges_metadata(place: Place) -> None:
    made = place.sessions.create("s", title="old", metadata={"a": 1, "b": 2})

    assert place.sessions.patch("s", title="new").title == "new"
    patched = place.sessions.patch("s", metadata={"b": 3, "c.d": 4})

    assert (patched.title, patched.metadata) == ("new", {"a": 1, "b": 3, "c": {"d": 4}})
    assert patched.created_at == made.created_at
    assert place.sessions.get("s") == patched
    assert place.sessions.patch("s") == patched


def test_a_patch_of_an_unknown_session_or_key_is_refused(place: Place) -> None:
    changes: list[dict[str, Any]] = [{"title": "x"}, {"metadata": {"a": 1}}, {}]
    for change in changes:
        with pytest.raises(SessionNotFoundError, match="nobody's"):
            place.sessions.patch("nobody's", **change)
    assert place.sessions.get("nobody's") is None
    place.sessions.create("s", title="old", metadata={"a": 1})
    for metadata in ({"$a": 1}, {"a.b": 1}):
        with pytest.raises(ValueError, match="a"):
            place.sessions.patch("s", title="new", metadata=metadata)
    summary = place.sessions.get("s")
    assert summary is not None
    assert (summary.title, summary.metadata) == ("old", {"a": 1})


def test_deleting_removes_all_and_tells_whether_there_was_something(place: Place) -> None:
    say(place, "needle")
    place.sessions.add_feedback("s", {"comment": "needle"})
    place.sessions.update_metadata("s", {"a": "needle"})
    assert "needle" in place.raw("s")

    assert place.sessions.delete("s") is True
    assert place.sessions.delete("s") is False
    assert place.sessions.get("s") is None
    assert "needle" not in place.raw("s")
    assert place.sessions.feedbacks("s") == []
    assert [stored["message_id"] for stored in say(place, "a new start").messages] == [0]


# page


def test_the_newest_come_first(place: Place) -> None:
    for name in ("a", "b", "c"):
        place.sessions.create(name)
        time.sleep(0.002)
    place.sessions.patch("a", title="touched")

    assert ids(place.sessions) == [["a", "c", "b"]]
    assert ids(place.sessions, limit=1) == [["a"], ["c"], ["b"]]


def test_there_is_no_page_of_nothing(place: Place) -> None:
    page = place.sessions.page()

    assert (page.items, page.next_cursor) == ([], None)


def test_pages_show_every_session_once(place: Place) -> None:
    names = ["", "a/b", "ü€😀", "$x", '"', "back\\slash", "x" * 900, *(f"s{number}" for number in range(16))]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(place.sessions.create, names))

    pages = ids(place.sessions, limit=5)
    assert [len(page) for page in pages] == [5, 5, 5, 5, 3]
    assert sorted(name for page in pages for name in page) == sorted(names)


def test_a_session_made_between_two_pages_disturbs_neither(place: Place) -> None:
    for name in ("a", "b", "c", "d"):
        place.sessions.create(name)
        time.sleep(0.002)
    first = place.sessions.page(limit=2)
    place.sessions.create("e")
    second = place.sessions.page(limit=2, cursor=first.next_cursor)

    assert [item.session_id for item in first.items + second.items] == ["d", "c", "b", "a"]
    assert second.next_cursor is None


def test_lists_are_filtered_by_owner_and_application(place: Place) -> None:
    for number in range(6):
        application_name = "shop" if number < 3 else ""
        place.sessions.create(str(number), owner="ann" if number % 2 else "bob", application_name=application_name)
        time.sleep(0.002)

    assert ids(place.sessions, owner="ann", limit=2) == [["5", "3"], ["1"]]
    assert ids(place.sessions, owner="ann", application_name="shop") == [["1"]]
    assert ids(place.sessions, application_name="") == [["5", "4", "3"]]
    assert ids(place.sessions, owner="nobody") == [[]]


@pytest.mark.parametrize("limit", [0, -1])
def test_a_page_holds_something(place: Place, limit: int) -> None:
    with pytest.raises(ValueError, match="limit"):
        place.sessions.page(limit=limit)


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "nonsense",
        "\ud800",
        base64.urlsafe_b64encode(b"\xff\xfe").decode(),
        base64.urlsafe_b64encode(b"[1, 2]").decode(),
        base64.urlsafe_b64encode(b'["2026-01-01"]').decode(),
        base64.urlsafe_b64encode(b"[" * 100_000).decode(),
        base64.urlsafe_b64encode(json.dumps(["2026-01-01T00:00:00+00:00", {"$gt": ""}]).encode()).decode(),
        base64.urlsafe_b64encode(json.dumps(["2026-01-01T00:00:00+00:00", "\ud800"]).encode()).decode(),
    ],
    ids=range(9),
)
def test_a_bad_cursor_is_refused_and_not_quoted(place: Place, cursor: str) -> None:
    with pytest.raises(ValueError, match="cursor") as raised:
        place.sessions.page(cursor=cursor)
    assert not cursor or cursor not in str(raised.value)


# messages


@pytest.mark.parametrize(
    ("window", "expected"),
    [
        ({}, [0, 1, 2, 3, 4, 5]),
        ({"limit": 2, "offset": 3}, [3, 4]),
        ({"offset": 4}, [4, 5]),
        ({"limit": 2**70, "offset": 5}, [5]),
        ({"limit": 3, "offset": 2**70}, []),
        ({"limit": 0}, []),
    ],
    ids=repr,
)
def test_a_window_of_messages(place: Place, window: dict[str, int], expected: list[int]) -> None:
    say(place, *"abcdef", data={"conversation_manager_state": {"removed_message_count": 4}})

    found = place.sessions.messages("s", **window)  # type: ignore[arg-type]
    assert [message.message_id for message in found] == expected
    assert [message.message["content"][0]["text"] for message in found] == ["abcdef"[at] for at in expected]
    assert all(datetime.fromisoformat(message.created_at).tzinfo for message in found)


@pytest.mark.parametrize(
    ("window", "expected"),
    [
        ({}, [0, 1, 2, 3, 4, 5]),
        ({"limit": 2}, [4, 5]),
        ({"position": 4, "limit": 2}, [2, 3]),
        ({"position": 1, "limit": 2}, [0]),
        ({"position": 0}, []),
        ({"position": 2**70, "limit": 1}, [5]),
    ],
    ids=repr,
)
def test_messages_before_a_position(place: Place, window: dict[str, int], expected: list[int]) -> None:
    say(place, *"abcdef")

    found = place.sessions.messages_before("s", **window)  # type: ignore[arg-type]
    assert [message.message_id for message in found] == expected


def test_windows_that_make_no_sense_are_refused(place: Place) -> None:
    say(place, "a")
    for window in ({"limit": -1}, {"offset": -1}):
        with pytest.raises(ValueError, match="negative"):
            place.sessions.messages("s", **window)  # type: ignore[arg-type]
    for window in ({"limit": 0}, {"position": -1}):
        with pytest.raises(ValueError, match="position"):
            place.sessions.messages_before("s", **window)  # type: ignore[arg-type]


def test_an_unknown_session_has_no_messages_and_says_so(place: Place) -> None:
    say(place, "a")
    with pytest.raises(SessionNotFoundError, match="nobody's"):
        place.sessions.messages("nobody's")
    assert place.sessions.messages("s", "another agent") == []
    assert place.sessions.messages_before("s", "another agent") == []


# Metadata


def test_metadata_is_merged_and_removed_by_dotted_keys(place: Place) -> None:
    place.sessions.create("s")
    place.sessions.update_metadata("s", {"a.b": 1, "a.c.d": 2, "e": {"f": 3, "g": 4}})
    place.sessions.update_metadata("s", {"a.b": 5, "e": {"h": 6}})
    assert place.sessions.metadata("s") == {"a": {"b": 5, "c": {"d": 2}}, "e": {"h": 6}}
    place.sessions.delete_metadata("s", ["a.c", "e", "never.there", "e", "a.b.too.deep"])
    assert place.sessions.metadata("s") == {"a": {"b": 5}}


@pytest.mark.parametrize("key", ["", "a.", ".a", "a..b", "$a", "a.$b", "a\x00b", "\ud800"], ids=repr)
def test_a_key_that_cannot_be_stored_is_named(place: Place, key: str) -> None:
    place.sessions.create("s")
    with pytest.raises(ValueError) as raised:
        place.sessions.update_metadata("s", {"fine": 1, key: 2})
    assert repr(key)[1:-1] in str(raised.value)
    if key != "\ud800":
        with pytest.raises(ValueError) as raised:
            place.sessions.delete_metadata("s", ["fine", key])
        assert repr(key) in str(raised.value)
    assert place.sessions.metadata("s") == {}


def test_what_is_no_mapping_or_no_list_of_keys_is_refused_by_name(place: Place) -> None:
    sessions: Any = place.sessions
    sessions.create("s")
    with pytest.raises(TypeError, match="metadata"):
        sessions.update_metadata("s", ["a"])
    with pytest.raises(TypeError, match="metadata"):
        sessions.patch("s", metadata=["a"])
    with pytest.raises(TypeError, match="keys"):
        sessions.delete_metadata("s", "abc")
    with pytest.raises(TypeError, match="feedback"):
        sessions.add_feedback("s", "good")


@pytest.mark.parametrize("metadata", [{"a": 1, "a.b": 2}, {"a.b": 2, "a": 1}, {"x.y": 1}])
def test_a_key_inside_the_value_of_another_is_refused(place: Place, metadata: dict[str, Any]) -> None:
    place.sessions.create("s", metadata={"x": 1})
    with pytest.raises(ValueError, match="metadata keys"):
        place.sessions.update_metadata("s", metadata)
    assert place.sessions.metadata("s") == {"x": 1}


@SHARED
@given(value=json_like() | st.builds(ObjectId))
def test_any_value_of_metadata_comes_back_equal(place: Place, value: Any) -> None:
    place.sessions.delete("s")
    place.sessions.create("s", metadata={"made": value})
    place.sessions.update_metadata("s", {"v": value, "deep.er": value})

    found = place.sessions.metadata("s")
    assert {*found} == {"made", "v", "deep"}
    assert identical([found["made"], found["v"], found["deep"]["er"]], [value] * 3)


def test_many_writers_of_metadata_and_feedback_lose_nothing(place: Place) -> None:
    def write(number: int) -> None:
        place.manager("s").update_metadata({f"k{number}": number})
        place.manager("s").add_feedback({"number": number})

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(24)))
    assert place.sessions.metadata("s") == {f"k{number}": number for number in range(24)}
    assert sorted(entry["number"] for entry in place.sessions.feedbacks("s")) == [*range(24)]


@pytest.mark.parametrize("method", ["update_metadata", "delete_metadata", "add_feedback"])
def test_a_write_creates_a_session_only_if_it_may(place: Place, method: str) -> None:
    argument: Any = ["a"] if method == "delete_metadata" else {"a": 1}
    write: Any = getattr(place.sessions, method)
    with pytest.raises(SessionNotFoundError, match="'s'"):
        write("s", argument)
    assert place.sessions.get("s") is None
    write("s", argument, create={"title": "Shoes", "owner": "ann"})
    summary = place.sessions.get("s")
    assert summary is not None
    assert (summary.title, summary.owner) == ("Shoes", "ann")
    write("s", argument, created_at=summary.created_at)
    with pytest.raises(SessionNotFoundError):
        write("s", argument, created_at=summary.created_at - timedelta(seconds=1))


# Feedback


def test_feedback_comes_back_in_order_with_its_time(place: Place) -> None:
    place.sessions.create("s")
    began = datetime.now(UTC) - timedelta(seconds=5)
    given_ = {"rating": "up", "comment": "a\0b", "created_at": "mine", "$odd": {"a.b": 2**70}}
    place.sessions.add_feedback("s", given_)
    place.sessions.add_feedback("s", {"rating": "down"})

    first, second = place.sessions.feedbacks("s")
    assert {**first, "created_at": "mine"} == given_
    assert began < first["created_at"] <= second["created_at"]
    assert second["rating"] == "down"
    assert place.sessions.feedbacks("nobody's") == []


def test_more_than_a_megabyte_of_feedback_is_refused(place: Place) -> None:
    place.sessions.create("s")
    place.sessions.add_feedback("s", {"comment": b"x" * 600_000})
    place.sessions.add_feedback("s", {"comment": "é" * 200_000})
    with pytest.raises(SessionTooLargeError, match="1 MB"):
        place.sessions.add_feedback("s", {"comment": "x" * 60_000})
    with pytest.raises(SessionTooLargeError):
        place.sessions.add_feedback("new", {"comment": "x" * 1_100_000}, create={})
    place.sessions.add_feedback("s", {"comment": "x" * 40_000})
    assert len(place.sessions.feedbacks("s")) == 3
    assert place.sessions.get("new") is None


# Agents


def test_an_agents_set_up_can_be_changed(place: Place) -> None:
    say(place, "a", data={"agent_id": "default", "model": "one", "state": {"a": 1}})
    config = {"model": "two", "system_prompt": "be\0kind", "prompt_metadata": {"$v": 1, "a": 2}}
    place.sessions.update_agent_config("s", "default", config)

    agent = place.sessions.agent_summary("s", "default")
    assert agent is not None
    assert (agent.config, agent.state) == (config, {"a": 1})
    for session_id, agent_id in (("s", "nobody"), ("nobody's", "default")):
        with pytest.raises(SessionNotFoundError, match=agent_id):
            place.sessions.update_agent_config(session_id, agent_id, config)


@pytest.mark.parametrize("config", [{"agent_id": "b"}, {"state": {}}, {"model": "m", "$x.y": 1}])
def test_nothing_else_of_an_agent_can_be_changed_by_hand(place: Place, config: dict[str, Any]) -> None:
    say(place, "a", data={"agent_id": "default", "model": "one", "state": {"a": 1}})
    with pytest.raises(ValueError, match="only model, system_prompt, prompt_metadata"):
        place.sessions.update_agent_config("s", "default", config)

    agent = place.sessions.agent_summary("s", "default")
    assert agent is not None
    assert (agent.agent_id, agent.config["model"], agent.state) == ("default", "one", {"a": 1})


# The awaitable form


async def test_everything_has_an_awaitable_form(place: Place) -> None:
    catalogue: Any = place.sessions.aio  # type: ignore[attr-defined]
    await catalogue.create("s", title="Shoes")
    await make_agent(await place.open("s"), "a").invoke_async("hi")
    assert (await catalogue.get("s")).message_count == 2
    assert len(await catalogue.messages("s", limit=1)) == 1
    assert len(await catalogue.messages_before("s", limit=1)) == 1
    assert (await catalogue.page()).items[0].title == "Shoes"
    assert (await catalogue.patch("s", metadata={"a": 1})).metadata == {"a": 1}
    await catalogue.update_metadata("s", {"b": 2})
    await catalogue.delete_metadata("s", ["a"])
    assert await catalogue.metadata("s") == {"b": 2}
    await catalogue.add_feedback("s", {"rating": "up"})
    assert len(await catalogue.feedbacks("s")) == 1
    await catalogue.update_agent_config("s", "default", {"model": "m"})
    assert (await catalogue.agent_summary("s", "default")).config["model"] == "m"
    assert await catalogue.clear_turns() == 0
    assert await catalogue.delete("s") is True


async def test_calls_run_side_by_side(place: Place) -> None:
    sessions: Any = place.sessions
    await asyncio.gather(*(sessions.aio.create(f"s{number}") for number in range(40)))

    assert len((await sessions.aio.page()).items) == 40
