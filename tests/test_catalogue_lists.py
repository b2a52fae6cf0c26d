"""Lists on MongoDB: an index serves each documented combination, and pages far behind cost what the first does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.collection import Collection
from strands import Agent

from mongodb_session_manager import MongoDBSessionManagerFactory
from tests.commands import Commands
from tests.models import ScriptedModel

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
MANY = 2000
LIMIT = 20

INDEXED: list[dict[str, Any]] = [
    {},
    {"owner": "ann"},
    {"application_name": "shop"},
    {"owner": "ann", "application_name": "shop"},
    {"metadata": {"topic": "t1"}},
    {"metadata": {"topic": "t1"}, "owner": "ann"},
    {"updated_after": BEGAN + timedelta(minutes=100), "updated_before": BEGAN + timedelta(minutes=1900)},
    {"owner": "ann", "updated_before": BEGAN + timedelta(minutes=1500)},
    {"application_name": "shop", "updated_after": BEGAN + timedelta(minutes=5)},
    {"title": "NUMBER 1"},
    {"owner": "ann", "title": "number 1"},
    {"application_name": "shop", "title": "number 1"},
    {"order": "created_at"},
    {"order": "created_at", "owner": "ann"},
    {"order": "created_at", "application_name": "shop"},
    {"order": "created_at", "owner": "ann", "application_name": "shop"},
    {"order": "created_at", "created_after": BEGAN, "created_before": BEGAN + timedelta(minutes=1900)},
    {"order": "created_at", "owner": "ann", "created_before": BEGAN + timedelta(minutes=1900)},
    {"order": "created_at", "owner": "ann", "title": "number 1"},
]


def session(number: int) -> dict[str, Any]:
    moment = BEGAN + timedelta(minutes=number // 3 * 3)  # three at every moment
    return {
        "_id": f"s{number:06}",
        "created_at": moment,
        "updated_at": moment,
        "owner": ("ann", "bob")[number % 2],
        "application_name": ("shop", "help")[number // 2 % 2],
        "title": f"Number {number}",
        "metadata": {"topic": f"t{number % 3}"},
    }


@pytest.fixture
def factory(mongo_client: MongoClient[Any], collection: Collection[Any]) -> MongoDBSessionManagerFactory:
    return MongoDBSessionManagerFactory(
        client=mongo_client, database_name="tests", collection_name=collection.name, metadata_fields=["topic"]
    )


@pytest.fixture
def many(factory: MongoDBSessionManagerFactory, collection: Collection[Any], commands: Commands) -> None:
    with commands.unwatched():
        factory.sessions.page()
        collection.insert_many([session(number) for number in range(MANY)])


def explained(collection: Collection[Any], commands: Commands, query: dict[str, Any]) -> Any:
    """What the server did for a find."""
    plain = {name: value for name, value in query.items() if name[0] != "$" and name not in ("lsid", "txnNumber")}
    with commands.unwatched():
        return collection.database.command("explain", plain, verbosity="executionStats")


def stages(plan: Any) -> list[str]:
    if isinstance(plan, list):
        return [name for each in plan for name in stages(each)]
    if not isinstance(plan, dict):
        return []
    own = [plan["stage"]] if isinstance(plan.get("stage"), str) else []
    return [*own, *(name for value in plan.values() for name in stages(value))]


@pytest.mark.parametrize("which", INDEXED, ids=lambda which: "-".join([*which]) or "all")
def test_a_list_reads_from_an_index_no_more_than_it_shows(
    many: None,
    factory: MongoDBSessionManagerFactory,
    collection: Collection[Any],
    commands: Commands,
    which: dict[str, Any],
) -> None:
    cursor, seen = None, []
    for _ in range(4):
        commands.clear()
        page = factory.sessions.page(limit=LIMIT, cursor=cursor, **which)
        assert commands.names == ["find"] * (1 if cursor is None else 2)
        plans = [explained(collection, commands, query) for _, query, _ in commands.sent]
        used = [stages(plan["queryPlanner"]["winningPlan"]) for plan in plans]
        assert all("IXSCAN" in each and not {"SORT", "COLLSCAN"} & {*each} for each in used)
        assert sum(plan["executionStats"]["totalDocsExamined"] for plan in plans) <= LIMIT + 1
        seen += [item.session_id for item in page.items]
        cursor = page.next_cursor
    assert len({*seen}) == len(seen) == 4 * LIMIT
    assert seen == sorted(seen, reverse=True)


def test_a_page_far_behind_costs_what_the_first_does(
    many: None, factory: MongoDBSessionManagerFactory, collection: Collection[Any], commands: Commands
) -> None:
    cursor, examined = None, []
    while True:
        commands.clear()
        page = factory.sessions.page(limit=10, cursor=cursor, owner="ann")
        stats = [explained(collection, commands, query)["executionStats"] for _, query, _ in commands.sent]
        examined.append([sum(each[f"total{what}Examined"] for each in stats) for what in ("Docs", "Keys")])
        cursor = page.next_cursor
        if cursor is None:
            break
    assert len(examined) == 100
    assert {documents for documents, _ in examined[:-1]} == {11}
    assert max(keys for _, keys in examined) <= 11 + 3 + 2


def test_older_dates_are_listed_behind_newer_ones_page_by_page(
    factory: MongoDBSessionManagerFactory, collection: Collection[Any], commands: Commands
) -> None:
    with commands.unwatched():
        moments: list[Any] = [
            BEGAN,
            BEGAN,
            BEGAN - timedelta(days=1),
            "2025-02-01",
            "2025-02-01",
            "2024-01-01",
            None,
            None,
        ]
        collection.insert_many([{"_id": str(number), "updated_at": moment} for number, moment in enumerate(moments)])
        collection.insert_one({"_id": "8"})
    seen, cursor = [], None
    while True:
        page = factory.sessions.page(limit=1, cursor=cursor)
        seen += [item.session_id for item in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert seen == ["1", "0", "2", "4", "3", "5", "8", "7", "6"]


def test_a_list_does_not_read_messages(factory: MongoDBSessionManagerFactory, commands: Commands) -> None:
    loaded = factory.sessions.create("s")
    assert loaded.message_count == 0
    commands.clear()
    factory.sessions.page()
    assert commands.names == ["find"]
    assert commands.received[0] < 2000


@pytest.mark.parametrize("which", [{}, {"owner": "ann"}, {"application_name": "shop"}])
def test_statistics_read_the_sessions_that_are_meant(
    many: None,
    factory: MongoDBSessionManagerFactory,
    collection: Collection[Any],
    commands: Commands,
    which: dict[str, Any],
) -> None:
    commands.clear()
    found = factory.sessions.statistics(**which)
    assert commands.names == ["aggregate"]
    assert found.sessions == (MANY if not which else MANY // 2)
    assert sum(found.days.values()) == found.sessions
    assert found.days[BEGAN.date()] == (1440 if not which else 720)
    if which:
        condition = commands.sent[0][1]["pipeline"][0]["$match"]
        with commands.unwatched():
            explanation = collection.find(condition).explain()
        assert explanation["executionStats"]["totalDocsExamined"] == MANY // 2


# Commands


def test_what_ends_sessions_costs_few_commands(factory: MongoDBSessionManagerFactory, commands: Commands) -> None:
    sessions = factory.sessions
    sessions.create("s", owner="ann")
    costs: dict[str, Any] = {
        "rename": lambda: sessions.rename("s", "x"),
        "expire": lambda: sessions.expire("s", 1000),
        "hold": lambda: sessions.hold("s"),
        "purge": sessions.purge,
        "delete": lambda: sessions.delete("s"),
    }
    counted = {}
    for name, call in costs.items():
        commands.clear()
        call()
        counted[name] = commands.names
    assert counted == {
        "rename": ["findAndModify", "find"],
        "expire": ["findAndModify"],
        "hold": ["update"],
        "purge": ["find"] * 6,
        "delete": ["update", "find", "find", "delete"],
    }


def test_a_turn_of_a_session_that_expires_costs_no_further_command(
    factory: MongoDBSessionManagerFactory, commands: Commands
) -> None:
    from tests.test_lifecycle import make_agent

    make_agent(factory.create_session_manager("s"), "a")("one")
    before = factory.sessions.expire("s", 1000)
    commands.clear()
    make_agent(factory.create_session_manager("s"), "a")("two")
    assert commands.names == ["find", "update", "update"]
    after = factory.sessions.get("s")
    assert after is not None
    assert after.expires_at is not None
    assert before is not None
    assert after.expires_at > before


@pytest.mark.parametrize(
    "ask",
    [
        lambda sessions, other: sessions.get(other),
        lambda sessions, other: sessions.delete(other),
        lambda sessions, other: sessions.delete_owner(other),
        lambda sessions, other: sessions.page(owner=other),
        lambda sessions, other: sessions.page(application_name=other),
        lambda sessions, other: sessions.statistics(owner=other),
        lambda sessions, other: sessions.messages(other),
        lambda sessions, other: sessions.update_metadata(other, {"a": 1}),
        lambda sessions, other: sessions.rename("a", other),
        lambda sessions, other: sessions.fork("a", "b", owner=other),
        lambda sessions, other: sessions.fork("a", "b", at=other),
        lambda sessions, other: sessions.create("b", title=other),
        lambda sessions, other: sessions.redact("a", 0, other),
        lambda sessions, other: sessions.originals(other),
    ],
)
@pytest.mark.parametrize("other", [{"$ne": None}, ["a"], 1.5, True])
def test_what_is_no_text_and_no_number_is_refused_and_never_a_condition(
    factory: MongoDBSessionManagerFactory, ask: Any, other: Any, commands: Commands
) -> None:
    factory.sessions.create("a", owner="ann")
    commands.clear()

    with pytest.raises(ValueError, match=r"must be a string|must be an integer"):
        ask(factory.sessions, other)
    assert commands.names == []
    assert [(each.session_id, each.owner, each.title) for each in factory.sessions.page().items] == [("a", "ann", None)]


def test_all_of_nobody_cannot_be_deleted(factory: MongoDBSessionManagerFactory) -> None:
    factory.sessions.create("a")
    nobody: Any = None

    with pytest.raises(ValueError, match="owner must be a string, not NoneType"):
        factory.sessions.delete_owner(nobody)
    assert factory.sessions.get("a") is not None


@pytest.mark.parametrize(
    ("ask", "name"),
    [
        (lambda sessions: sessions.get("\ud800"), "session_id holds a lone surrogate"),
        (lambda sessions: sessions.create("b", owner="\ud800"), "owner holds a lone surrogate"),
        (lambda sessions: sessions.page(title="\ud800"), "title holds a lone surrogate"),
        (lambda sessions: sessions.page(updated_after="2020"), "updated_after must be a datetime, not str"),
        (lambda sessions: sessions.page(metadata="gold"), "metadata must be a mapping, not str"),
        (lambda sessions: sessions.expire("a", "10"), "seconds must be a number, not str"),
        (lambda sessions: sessions.expire("a", True), "seconds must be a number, not bool"),
    ],
)
def test_a_wrong_argument_is_told_by_its_name(factory: MongoDBSessionManagerFactory, ask: Any, name: str) -> None:
    factory.sessions.create("a")
    with pytest.raises((TypeError, ValueError), match=name):
        ask(factory.sessions)
    assert [each.session_id for each in factory.sessions.page().items] == ["a"]


def test_whatever_an_agent_is_called_its_messages_are_found(factory: MongoDBSessionManagerFactory) -> None:
    odd = "\ud800.$a"
    manager = factory.create_session_manager("a")
    Agent(model=ScriptedModel("one"), agent_id=odd, session_manager=manager, callback_handler=None)("hello")
    factory.sessions.redact("a", 0, "\udfff", agent_id=odd)

    assert [each.to_message()["content"] for each in factory.sessions.messages("a", odd)] == [
        [{"text": "\udfff"}],
        [{"text": "one"}],
    ]
