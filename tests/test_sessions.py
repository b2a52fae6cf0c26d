"""The catalogue: sessions seen from beside their turns."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pymongo.collection import Collection
from strands import Agent

from mongodb_session_manager import (
    MongoDBSessionManager,
    MongoDBSessionManagerFactory,
    SessionBusyError,
    SessionError,
    SessionNotFoundError,
)
from mongodb_session_manager.sessions import MongoDBSessionCatalogue
from tests.commands import Commands
from tests.models import ScriptedModel

Document = Callable[[str], Any]


@pytest.fixture
def sessions(factory: MongoDBSessionManagerFactory) -> MongoDBSessionCatalogue:
    return factory.sessions


def agent_of(manager: MongoDBSessionManager, answer: str = "an answer", **options: Any) -> Agent:
    return Agent(model=ScriptedModel(answer), session_manager=manager, callback_handler=None, **options)


def ids(sessions: MongoDBSessionCatalogue, **which: Any) -> list[list[str]]:
    """The ids of every page."""
    pages, cursor = [], None
    while True:
        page = sessions.page(cursor=cursor, **which)
        pages.append([item.session_id for item in page.items])
        cursor = page.next_cursor
        if cursor is None:
            return pages


# create, get, patch, delete


def test_a_created_session_is_empty_and_whole(sessions: MongoDBSessionCatalogue, stored: Document) -> None:
    made = sessions.create("s", metadata={"a": {"b": 2**70}}, title="Shoes", owner="ann", application_name="shop")

    assert (made.session_id, made.title, made.owner, made.application_name) == ("s", "Shoes", "ann", "shop")
    assert (made.metadata, made.message_count, made.agents) == ({"a": {"b": 2**70}}, 0, {})
    assert made.created_at == made.updated_at
    assert abs(datetime.now(UTC) - made.created_at) < timedelta(minutes=1)
    assert sessions.get("s") == made
    document = stored("s")
    assert (document["session_id"], document["session_type"], document["feedbacks"]) == ("s", "AGENT", [])
    assert document["schema_version"] == 1


def test_what_is_not_given_is_not_stored(sessions: MongoDBSessionCatalogue, stored: Document) -> None:
    sessions.create("s")

    assert not {"title", "owner", "application_name"} & {*stored("s")}
    summary = sessions.get("s")
    assert summary is not None
    assert (summary.title, summary.owner, summary.application_name) == (None, None, None)


def test_a_session_that_exists_is_not_created_again(
    sessions: MongoDBSessionCatalogue, factory: MongoDBSessionManagerFactory
) -> None:
    agent_of(factory.create_session_manager("s"))("hi")

    with pytest.raises(SessionError, match="'s' exists") as raised:
        sessions.create("s", title="another")
    assert raised.value.session_id == "s"
    summary = sessions.get("s")
    assert summary is not None
    assert summary.message_count == 2


def test_an_expired_session_reads_as_absent_and_gives_way(
    sessions: MongoDBSessionCatalogue, collection: Collection[Any]
) -> None:
    collection.insert_one({"_id": "s", "title": "old", "expires_at": datetime(2020, 1, 1, tzinfo=UTC)})
    assert sessions.get("s") is None
    assert sessions.page().items == []

    assert sessions.create("s", title="new").title == "new"


def test_a_session_that_does_not_expire_yet_is_there(
    sessions: MongoDBSessionCatalogue, collection: Collection[Any]
) -> None:
    collection.insert_one({"_id": "s", "expires_at": datetime.now(UTC) + timedelta(hours=1)})

    assert sessions.get("s") is not None
    assert ids(sessions) == [["s"]]


def test_a_created_session_is_continued_by_an_agent(
    sessions: MongoDBSessionCatalogue, factory: MongoDBSessionManagerFactory
) -> None:
    made = sessions.create("s", title="Shoes", metadata={"a": 1})
    agent_of(factory.create_session_manager("s", title="other"))("hi")

    summary = sessions.get("s")
    assert summary is not None
    assert (summary.title, summary.metadata, summary.message_count) == ("Shoes", {"a": 1}, 2)
    assert summary.created_at == made.created_at
    assert summary.updated_at > made.updated_at


def test_a_summary_tells_of_every_agent(
    sessions: MongoDBSessionCatalogue, factory: MongoDBSessionManagerFactory, commands: Commands
) -> None:
    manager = factory.create_session_manager("s")
    one = agent_of(manager, agent_id="one", name="Ada", system_prompt="be kind")
    one.state.set("colour", "blue")
    one("hi")
    agent_of(manager, agent_id="a.b$")("hi")
    commands.clear()

    summary = sessions.get("s")

    assert commands.names == ["find"]
    assert summary is not None
    assert summary.message_count == 4
    assert {*summary.agents} == {"one", "a.b$"}
    agent = summary.agents["one"]
    assert (agent.agent_id, agent.name, agent.message_count, agent.state) == ("one", "Ada", 2, {"colour": "blue"})
    assert agent.totals["total_tokens"] == 15
    assert agent.config == {"name": "Ada", "model": "scripted-1", "system_prompt": "be kind"}


def test_an_unknown_session_is_none(sessions: MongoDBSessionCatalogue) -> None:
    assert sessions.get("nobody's") is None
    assert sessions.agent_summary("nobody's", "default") is None


def test_a_patch_changes_the_title_and_merges_metadata(sessions: MongoDBSessionCatalogue) -> None:
    made = sessions.create("s", title="old", metadata={"a": 1, "b": 2})

    assert sessions.patch("s", title="new").title == "new"
    patched = sessions.patch("s", metadata={"b": 3, "c.d": 4})

    assert (patched.title, patched.metadata) == ("new", {"a": 1, "b": 3, "c": {"d": 4}})
    assert patched.created_at == made.created_at
    assert patched.updated_at >= made.updated_at
    assert sessions.get("s") == patched


def test_a_patch_of_nothing_changes_nothing(sessions: MongoDBSessionCatalogue) -> None:
    made = sessions.create("s")

    assert sessions.patch("s") == made


def test_a_patch_of_an_unknown_session_or_key_is_refused(sessions: MongoDBSessionCatalogue, stored: Document) -> None:
    with pytest.raises(SessionNotFoundError, match="nobody's"):
        sessions.patch("nobody's", title="x")
    with pytest.raises(SessionNotFoundError, match="nobody's"):
        sessions.patch("nobody's")
    assert stored("nobody's") is None
    sessions.create("s", title="old")
    with pytest.raises(ValueError, match=r"'\$a'"):
        sessions.patch("s", title="new", metadata={"$a": 1})
    summary = sessions.get("s")
    assert summary is not None
    assert summary.title == "old"


def test_deleting_tells_whether_there_was_something(
    sessions: MongoDBSessionCatalogue, factory: MongoDBSessionManagerFactory
) -> None:
    agent_of(factory.create_session_manager("s"))("hi")

    assert sessions.delete("s") is True
    assert sessions.delete("s") is False
    assert sessions.get("s") is None
    agent_of(factory.create_session_manager("s"))("a new start")
    assert [message.message_id for message in sessions.messages("s")] == [0, 1]


# page


def test_the_newest_come_first(sessions: MongoDBSessionCatalogue) -> None:
    for name in ("a", "b", "c"):
        sessions.create(name)
    sessions.patch("a", title="touched")

    assert ids(sessions) == [["a", "c", "b"]]


def test_there_is_no_page_of_nothing(sessions: MongoDBSessionCatalogue) -> None:
    page = sessions.page()

    assert (page.items, page.next_cursor) == ([], None)


def test_pages_are_stable_when_many_changed_at_the_same_moment(
    sessions: MongoDBSessionCatalogue, collection: Collection[Any]
) -> None:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    names = [f"s{number:02}" for number in range(23)]
    collection.insert_many([{"_id": name, "created_at": moment, "updated_at": moment} for name in names])

    pages = ids(sessions, limit=5)

    assert [len(page) for page in pages] == [5, 5, 5, 5, 3]
    assert [name for page in pages for name in page] == names[::-1]


def test_a_session_made_between_two_pages_disturbs_neither(sessions: MongoDBSessionCatalogue) -> None:
    for name in ("a", "b", "c", "d"):
        sessions.create(name)
    first = sessions.page(limit=2)
    sessions.create("e")
    second = sessions.page(limit=2, cursor=first.next_cursor)

    assert [item.session_id for item in first.items + second.items] == ["d", "c", "b", "a"]
    assert second.next_cursor is None


@pytest.mark.parametrize("count", [3, 4])
def test_a_full_last_page_has_no_next(sessions: MongoDBSessionCatalogue, count: int) -> None:
    for number in range(count):
        sessions.create(str(number))

    assert len(ids(sessions, limit=2)) == 2


def test_lists_are_filtered_by_owner_and_application(sessions: MongoDBSessionCatalogue) -> None:
    for number in range(6):
        application_name = "shop" if number < 3 else ""
        sessions.create(str(number), owner="ann" if number % 2 else "bob", application_name=application_name)

    assert ids(sessions, owner="ann", limit=2) == [["5", "3"], ["1"]]
    assert ids(sessions, owner="ann", application_name="shop") == [["1"]]
    assert ids(sessions, application_name="") == [["5", "4", "3"]]
    assert ids(sessions, owner="nobody") == [[]]


def test_awkward_ids_go_through_a_cursor(sessions: MongoDBSessionCatalogue, collection: Collection[Any]) -> None:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    names = ["", "a/b", "\x00", "ü€😀", "$x", '"', "x" * 2000]
    collection.insert_many([{"_id": name, "created_at": moment, "updated_at": moment} for name in names])

    pages = ids(sessions, limit=1)

    assert sorted(name for [name] in pages) == sorted(names)


@pytest.mark.parametrize("limit", [0, -1])
def test_a_page_holds_something(sessions: MongoDBSessionCatalogue, limit: int) -> None:
    with pytest.raises(ValueError, match="limit"):
        sessions.page(limit=limit)


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "nonsense",
        "ü",
        "\ud800",
        base64.urlsafe_b64encode(b"\xff\xfe").decode(),
        base64.urlsafe_b64encode(b"[1, 2]").decode(),
        base64.urlsafe_b64encode(b'["2026-01-01"]').decode(),
        base64.urlsafe_b64encode(b'{"a": 1, "b": 2}').decode(),
        base64.urlsafe_b64encode(b"[" * 100_000).decode(),
        base64.urlsafe_b64encode(json.dumps(["2026-01-01T00:00:00", {"$gt": ""}]).encode()).decode(),
        base64.urlsafe_b64encode(json.dumps(["2026-01-01T00:00:00+00:00", "\ud800"]).encode()).decode(),
        base64.urlsafe_b64encode(json.dumps(["0001-01-01T00:00:00+14:00", "s"]).encode()).decode(),
    ],
    ids=range(12),
)
def test_a_bad_cursor_is_refused_and_not_quoted(sessions: MongoDBSessionCatalogue, cursor: str) -> None:
    with pytest.raises(ValueError, match="cursor") as raised:
        sessions.page(cursor=cursor)
    assert not cursor or cursor not in str(raised.value)


def test_older_sessions_are_listed(sessions: MongoDBSessionCatalogue, collection: Collection[Any]) -> None:
    naive = datetime(2020, 1, 1)  # noqa: DTZ001
    for day, name in enumerate(("a", "b", "c")):
        collection.insert_one({"_id": name, "created_at": naive, "updated_at": naive + timedelta(days=day)})

    assert ids(sessions, limit=1) == [["c"], ["b"], ["a"]]
    summary = sessions.get("c")
    assert summary is not None
    assert summary.updated_at == datetime(2020, 1, 3, tzinfo=UTC)
    assert (summary.metadata, summary.agents, summary.message_count) == ({}, {}, 0)


# messages


@pytest.fixture
def talked(factory: MongoDBSessionManagerFactory) -> str:
    agent = agent_of(factory.create_session_manager("s"))
    for words in ("one", "two", "three"):
        agent(words)
    return "s"


def test_messages_come_in_order_with_ids_and_times(sessions: MongoDBSessionCatalogue, talked: str) -> None:
    messages = sessions.messages(talked)

    assert [message.message_id for message in messages] == [0, 1, 2, 3, 4, 5]
    assert [message.message["content"][0]["text"] for message in messages[::2]] == ["one", "two", "three"]
    assert all(datetime.fromisoformat(message.created_at).tzinfo for message in messages)


@pytest.mark.parametrize(
    ("window", "expected"),
    [
        ({"limit": 2}, [0, 1]),
        ({"limit": 2, "offset": 3}, [3, 4]),
        ({"offset": 4}, [4, 5]),
        ({"limit": 100, "offset": 5}, [5]),
        ({"offset": 6}, []),
        ({"limit": 3, "offset": 1000}, []),
        ({"limit": 0}, []),
        ({"limit": 0, "offset": 2}, []),
    ],
    ids=repr,
)
def test_a_window_of_messages(
    sessions: MongoDBSessionCatalogue, talked: str, window: dict[str, int], expected: list[int]
) -> None:
    assert [message.message_id for message in sessions.messages(talked, **window)] == expected  # type: ignore[arg-type]


@pytest.mark.parametrize("window", [{"limit": -1}, {"offset": -1}], ids=repr)
def test_a_negative_window_is_refused(sessions: MongoDBSessionCatalogue, talked: str, window: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="negative"):
        sessions.messages(talked, **window)  # type: ignore[arg-type]


def test_an_unknown_session_has_no_messages_and_says_so(sessions: MongoDBSessionCatalogue, talked: str) -> None:
    with pytest.raises(SessionNotFoundError, match="nobody's"):
        sessions.messages("nobody's")
    assert sessions.messages(talked, "another agent") == []


def test_a_redacted_message_is_shown_redacted(
    sessions: MongoDBSessionCatalogue, factory: MongoDBSessionManagerFactory
) -> None:
    agent = agent_of(factory.create_session_manager("s"))
    agent.model.redact = "[removed]"  # type: ignore[attr-defined]
    agent("the secret")

    [question, _] = sessions.messages("s")
    assert question.to_message()["content"] == [{"text": "[removed]"}]
    assert "secret" not in repr(question)


# clear_turns


def test_clearing_turns_frees_those_of_a_process_that_died(
    sessions: MongoDBSessionCatalogue, factory: MongoDBSessionManagerFactory, stored: Document
) -> None:
    died = agent_of(factory.create_session_manager("held"), agent_id="a.b")
    factory.create_session_manager("idle").update_metadata({"a": 1})
    manager = died._session_manager
    assert isinstance(manager, MongoDBSessionManager)
    manager.claim(died).__enter__()
    with pytest.raises(SessionBusyError):
        agent_of(factory.create_session_manager("held"), agent_id="a.b")("hi")

    assert sessions.clear_turns() == 1
    assert sessions.clear_turns() == 0

    agent_of(factory.create_session_manager("held"), agent_id="a.b")("hi")
    assert stored("held")["agents"]["a%2Eb"]["message_count"] == 2


def test_clearing_turns_leaves_everything_else_as_it_was(
    sessions: MongoDBSessionCatalogue, collection: Collection[Any], stored: Document
) -> None:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    turn = {"turn": {"owner": "o", "stamp": moment}}
    agent = {"agent_data": {"state": {"turn": 1}}, "messages": [{"$odd": "value", "turn": 2}], "a.b": 3}
    graph = {"state": {"v": "$x"}}
    held = {"agents": {"x": agent, "y": {**agent, **turn}, "z": 4}, "multi_agents": {"g": {**graph, **turn}}}
    collection.insert_one({"_id": "s", **held, "updated_at": moment})
    sessions.clear_turns()

    after = collection.with_options(sessions.collection.codec_options).find_one({"_id": "s"})
    free = {"agents": {"x": agent, "y": agent, "z": 4}, "multi_agents": {"g": graph}}
    assert after == {"_id": "s", **free, "updated_at": moment}


# The awaitable form


async def test_everything_has_an_awaitable_form(
    factory: MongoDBSessionManagerFactory, commands: Commands, stored: Document
) -> None:
    catalogue = factory.sessions.aio
    await catalogue.create("s", title="Shoes")
    await agent_of(await factory.open_session("s")).invoke_async("hi")
    assert (await catalogue.get("s")).message_count == 2
    assert len(await catalogue.messages("s", limit=1)) == 1
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
    assert commands.on_a_loop == []


async def test_calls_run_side_by_side(factory: MongoDBSessionManagerFactory) -> None:
    await asyncio.gather(*(factory.sessions.aio.create(f"s{number}") for number in range(20)))

    assert len((await factory.sessions.aio.page()).items) == 20


def test_creating_is_won_by_one(sessions: MongoDBSessionCatalogue) -> None:
    start = threading.Barrier(8)

    def create(number: int) -> bool:
        start.wait()
        try:
            sessions.create("s", title=str(number))
        except SessionError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(create, range(8))) == 1


def test_a_lone_surrogate_is_no_session_id(sessions: MongoDBSessionCatalogue) -> None:
    with pytest.raises(ValueError, match="surrogate"):
        sessions.create("\ud800")
