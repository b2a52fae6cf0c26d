"""What a crash leaves: made by real ones where that is practical, found, mended, and nothing else touched."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
from bson import ObjectId
from pymongo import MongoClient
from pymongo.collection import Collection

from mongodb_session_manager import MongoDBSessionManagerFactory
from mongodb_session_manager.doctor import DoctorReport, Finding
from mongodb_session_manager.doctor.__main__ import main
from tests.commands import Commands
from tests.faults.turns import Listener, assert_accepted, turn
from tests.faults.workers import Place, _die, _Executioner, payer, started, victim
from tests.older_layout import HELLO, OLDER, TOOL_RESULT, TOOL_USE
from tests.older_layout import agent as older_agent
from tests.older_layout import session as older_session
from tests.test_archive import MB, grow, picture, window
from tests.test_lifecycle import ADD, add, make_agent

Stored = Callable[[str], Any]

LONG_AGO = datetime.now(UTC) - timedelta(days=1)


@pytest.fixture
def archive(collection: Collection[Any], commands: Commands) -> Iterator[Any]:
    """The archive's collection, read by the test itself."""
    archive = collection.database[f"{collection.name}_archive"]
    yield archive
    with commands.unwatched():
        archive.drop()


@pytest.fixture
def place(mongo_uri: str, collection: Collection[Any]) -> Place:
    """The test's own collection, as another process needs to know it."""
    return Place(mongo_uri, collection.database.name, collection.name)


@pytest.fixture
def heard(mongo_uri: str, collection: Collection[Any]) -> Iterator[tuple[MongoDBSessionManagerFactory, list[Any]]]:
    """A factory, and what to do right before a command of it, once: ``[function, name of the command, its number]``."""
    order: list[Any] = []

    def called(name: str, number: int) -> None:
        if order[1:] == [name, number]:
            act = order[0]
            order.clear()
            act()

    with MongoClient[Any](mongo_uri, event_listeners=[Listener(called)]) as client:
        yield (
            MongoDBSessionManagerFactory(
                client=client, database_name=collection.database.name, collection_name=collection.name
            ),
            order,
        )


def kinds(report: DoctorReport) -> list[str]:
    return sorted(finding.kind for finding in report.findings)


def mended(factory: MongoDBSessionManagerFactory, **options: Any) -> list[str]:
    """What was found and mended; told before without a change, and not found again."""
    told = factory.sessions.doctor(**options)
    report = factory.sessions.doctor(repair=True, **options)
    assert kinds(told) == kinds(report)
    assert not any(finding.repaired for finding in told.findings)
    assert all(finding.repaired for finding in report.findings)
    assert (told.is_healthy, report.is_healthy) == (not told.findings, True)
    assert factory.sessions.doctor(**options).findings == ()
    return kinds(report)


def only(report: DoctorReport) -> Finding:
    [finding] = report.findings
    return finding


def everything(collection: Collection[Any], archive: Collection[Any]) -> list[Any]:
    return [*collection.find().sort("_id"), *archive.find().sort("_id")]


def leftover(**fields: Any) -> dict[str, Any]:
    """A large value that a crash left long ago."""
    id_ = ObjectId()
    return {
        "_id": id_,
        "session_ids": ["s"],
        "agent_id": "default",
        "digest": str(id_),
        "ids": [id_],
        "used_at": LONG_AGO,
        "bytes": 4,
        "value": "none",
        **fields,
    }


# Nothing to find


def test_sound_sessions_of_all_kinds_are_left_as_they_are(
    factory: MongoDBSessionManagerFactory, collection: Collection[Any], archive: Any, commands: Commands, tmp_path: Path
) -> None:
    grow(factory, 120, session_id="long")
    make_agent(factory.create_session_manager("long"), "seen")([picture(13 * MB)])
    make_agent(factory.create_session_manager("long"), ADD, "three", tools=[add], agent_id="other")("add")
    much = {"name": "note", "input": {"rows": ["x" * 1000] * 100}}
    make_agent(factory.create_session_manager("large tool use"), much, "noted")("note")
    payer(factory, "interrupted", tmp_path / "ledger")[0]("pay")
    factory.sessions.create("empty")
    collection.insert_many([{"_id": name, **older.document} for name, older in OLDER.items()])
    before = everything(collection, archive)
    commands.clear()
    report = factory.sessions.doctor(repair=True, grace=0)
    assert report.findings == ()
    assert (report.sessions, report.documents) == (4 + len(OLDER), archive.count_documents({}))
    assert {*commands.names} == {"find", "aggregate"}
    assert everything(collection, archive) == before


@pytest.mark.parametrize("name", [name for name, older in OLDER.items() if older.says and "interrupt" not in name])
def test_a_session_of_the_older_layout_that_goes_on_is_sound(
    factory: MongoDBSessionManagerFactory, collection: Collection[Any], archive: Any, name: str
) -> None:
    older = OLDER[name]
    collection.insert_one({"_id": "s", **older.document})
    options = {"agent_id": older.agent_id, "conversation_manager": window()}
    make_agent(factory.create_session_manager("s"), "fine", **options)([{"text": "go on"}, picture(MB)])
    assert factory.sessions.doctor(repair=True, grace=0).findings == ()
    assert len(factory.sessions.messages("s", older.agent_id)) == len(older.says) + 2


@pytest.mark.parametrize(
    "agent_id", ["message", "messages", "archive", "agent_data", "id", "ids", "a.b", "$x", "", "0"]
)
def test_nothing_of_an_agent_is_garbage_whatever_it_is_called(
    factory: MongoDBSessionManagerFactory, archive: Any, agent_id: str
) -> None:
    agent = make_agent(
        factory.create_session_manager("s"), "a " + "x" * 20_000, agent_id=agent_id, conversation_manager=window()
    )
    for number in range(20):
        agent([{"text": f"{number}"}, picture(100_000, number)])
    before = factory.sessions.messages("s", agent_id)
    assert archive.count_documents({"first": {"$exists": True}}) > 0
    assert factory.sessions.doctor(repair=True, grace=0).findings == ()
    assert factory.sessions.messages("s", agent_id) == before


@pytest.mark.parametrize("key", ["alpha", "message", "messages", "archive", "agent_data"])
def test_an_agent_inside_another_keeps_its_archive(
    factory: MongoDBSessionManagerFactory, collection: Collection[Any], archive: Any, key: str
) -> None:
    inside = older_agent(*HELLO, agent_id=f"team.{key}")
    collection.insert_one({"_id": "s", **older_session({"team": {key: inside}})})
    make_agent(factory.create_session_manager("s"), "fine", agent_id=f"team.{key}")([picture(MB)])
    archive.insert_one(leftover())
    assert mended(factory, grace=0) == ["garbage"]
    assert factory.sessions.messages("s", f"team.{key}")[2].message["content"] == [picture(MB)]


def test_an_agent_inside_another_is_examined_as_well(
    factory: MongoDBSessionManagerFactory, collection: Collection[Any], archive: Any
) -> None:
    collection.insert_one({"_id": "s", **OLDER["a dotted id, nested in another agent"].document})
    make_agent(factory.create_session_manager("s"), "fine", agent_id="team.alpha")([picture(MB)])
    nested = "agents.team.alpha"
    collection.update_one(
        {"_id": "s"}, {"$set": {f"{nested}.turn": {"owner": "o", "stamp": LONG_AGO}, f"{nested}.message_count": 7}}
    )
    assert mended(factory) == ["message_count", "turn"]
    archive.delete_many({})
    finding = only(factory.sessions.doctor())
    assert (finding.kind, finding.agent_id) == ("missing", "team.alpha")


def test_a_large_database_is_read_in_pages(
    factory: MongoDBSessionManagerFactory, collection: Collection[Any], archive: Any, commands: Commands
) -> None:
    make_agent(factory.create_session_manager("s"), "seen")([picture(MB)])
    one, value = collection.find_one() or {}, archive.find_one()
    for number in range(1, 250):
        collection.insert_one({**one, "_id": f"s{number}"})
        value["_id"] = ObjectId()
        archive.insert_one({**value, "session_ids": [f"s{number}"], "used_at": LONG_AGO})
    commands.clear()
    report = factory.sessions.doctor("s")
    assert (report.sessions, commands.names) == (1, ["find", "find"])
    collection.update_many({}, {"$unset": {"agents": 1}})
    commands.clear()
    report = factory.sessions.doctor(grace=10**9)
    assert (report.sessions, report.documents, report.young) == (250, 250, 250)
    sessions = [
        command for _, command, _ in commands.sent if command.get("sort") and command["find"] == collection.name
    ]
    archived = [command for _, command, _ in commands.sent if command["find"] == archive.name]
    assert [command["limit"] for command in sessions] == [100, 100, 100, 100]
    assert len([command for command in archived if "session_ids" in command["filter"]]) == 3
    assert sum(size for _, _, size in commands.sent) < 250 * 1024


# Crashes


def in_turn(line: Connection, place: Place, text: str, last: int | None) -> None:
    victim(line, place, "s", text, last, {})


def in_deletion(line: Connection, place: Place, last: int | None) -> None:
    """Delete a session, and be killed at a boundary."""
    executioner = _Executioner(last)
    client = MongoClient[Any](place.uri, event_listeners=[executioner])
    factory = MongoDBSessionManagerFactory(
        client=client, database_name=place.database, collection_name=place.collection
    )
    factory.sessions.delete("s")
    line.send(executioner.boundaries)
    _die()


def killed(work: Callable[..., None], *arguments: Any) -> list[Any]:
    with started(work, *arguments) as process:
        return process.killed()


@pytest.mark.parametrize("text", ["x" * 300_000, "x" * 60_000], ids=["a large value", "a bucket"])
def test_what_was_inserted_and_never_listed_is_removed(
    place: Place,
    factory: MongoDBSessionManagerFactory,
    collection: Collection[Any],
    archive: Any,
    text: str,
) -> None:
    for number in range(3):
        turn(factory.create_session_manager("s"), f"{number} {'y' * 25_000}")()
    before, archived = collection.find_one({"_id": "s"}), [*archive.find().sort("_id")]
    boundaries = killed(in_turn, place, text, None)[-1]
    collection.replace_one({"_id": "s"}, before or {})
    archive.delete_many({"_id": {"$nin": [each["_id"] for each in archived]}})

    killed(in_turn, place, text, boundaries.index("after insert") + 1)

    lost = archive.count_documents({}) - len(archived)
    assert lost > 0
    assert factory.sessions.doctor(repair=True).young == lost
    assert [kind for kind in mended(factory, grace=0) if kind not in ("turn", "tool_use")] == ["garbage"]
    assert [*archive.find().sort("_id")] == archived
    turn(factory.create_session_manager("s", turn_timeout=0.001), "next")()


@pytest.mark.parametrize("boundary", range(1, 11))
def test_a_deletion_that_was_killed_is_finished(
    place: Place, factory: MongoDBSessionManagerFactory, collection: Collection[Any], archive: Any, boundary: int
) -> None:
    for session_id in ("s", "t"):
        make_agent(factory.create_session_manager(session_id), "seen")([picture(MB)])
    killed(in_deletion, place, boundary)
    began, ended = boundary > 1, boundary == 10
    told = ["deletion"] * (began and not ended)
    assert kinds(factory.sessions.doctor(grace=0)) == told
    report = factory.sessions.doctor(repair=True, grace=0)
    assert (kinds(report), report.is_healthy) == (told[:1], True)
    assert factory.sessions.doctor(grace=0).findings == ()
    assert collection.count_documents({"_id": "s"}) == (not began)
    assert archive.count_documents({}) == (1 if began else 2)
    assert factory.sessions.messages("t")[0].message["content"] == [picture(MB)]


def test_a_turn_that_was_killed_is_freed_and_its_tool_use_answered(
    place: Place, factory: MongoDBSessionManagerFactory, stored: Stored, archive: Any
) -> None:
    boundaries = killed(in_turn, place, "whole", None)[-1]
    updated = [number for number, name in enumerate(boundaries, 1) if name == "after update"]
    killed(in_turn, place, "killed", updated[1])
    assert "turn" in stored("s")["agents"]["default"]
    assert factory.sessions.doctor(repair=True).findings == ()
    time.sleep(0.3)
    assert mended(factory, turn_timeout=0.2) == ["tool_use", "turn"]
    agent = stored("s")["agents"]["default"]
    assert "turn" not in agent
    last = agent["messages"][-1]
    assert last["message_id"] == len(agent["messages"]) - 1 == agent["message_count"] - 1
    assert last["message"]["content"][0]["toolResult"] == {
        "toolUseId": "use-killed",
        "status": "error",
        "content": [{"text": "Tool was interrupted."}],
    }
    following = turn(factory.create_session_manager("s"), "next")
    following()
    for messages in following.model.calls:
        assert_accepted(messages)
    assert factory.sessions.doctor().findings == ()


# Turns


def test_the_turn_of_a_graph_and_of_a_claim_that_wrote_nothing_are_freed(
    factory: MongoDBSessionManagerFactory, collection: Collection[Any], stored: Stored
) -> None:
    factory.sessions.create("s")
    expired, running = {"owner": "o", "stamp": LONG_AGO}, {"owner": "o", "stamp": datetime.now(UTC)}
    collection.update_one(
        {"_id": "s"},
        {
            "$set": {
                "multi_agents": {"graph": {"state": {}, "turn": expired}, "other": {"state": {}, "turn": running}},
                "agents": {"claimed": {"revision": "r", "turn": expired}, "null": None},
            }
        },
    )
    assert mended(factory) == ["turn", "turn"]
    document = stored("s")
    assert [*document["multi_agents"]["graph"]] == ["state"]
    assert [*document["multi_agents"]["other"]] == ["state", "turn"]
    assert document["agents"]["claimed"] == {"revision": "r"}


def test_a_turn_that_is_renewed_meanwhile_is_left(
    heard: tuple[MongoDBSessionManagerFactory, list[Any]],
    factory: MongoDBSessionManagerFactory,
    collection: Collection[Any],
    stored: Stored,
) -> None:
    doctor, order = heard
    make_agent(factory.create_session_manager("s"), ADD, "three", tools=[add])("add")
    stamp = "agents.default.turn.stamp"
    collection.update_one({"_id": "s"}, {"$set": {stamp: LONG_AGO, "agents.default.turn.owner": "o"}})
    order[:] = [lambda: collection.update_one({"_id": "s"}, {"$currentDate": {stamp: True}}), "update", 1]
    assert doctor.sessions.doctor(repair=True).findings == ()
    assert "turn" in stored("s")["agents"]["default"]
    assert order == []


# Tool uses


def cut(collection: Collection[Any], messages: int) -> None:
    """Let a history end earlier, as if its process had been killed then and its turn had expired."""
    found = (collection.find_one({"_id": "s"}) or {})["agents"]["default"]["messages"][:messages]
    collection.update_one(
        {"_id": "s"}, {"$set": {"agents.default.messages": found, "agents.default.message_count": messages}}
    )


def test_an_agent_that_waits_for_an_answer_is_left_alone(
    factory: MongoDBSessionManagerFactory, tmp_path: Path, stored: Stored
) -> None:
    agent, _ = payer(factory, "s", tmp_path / "ledger")
    result = agent("pay")
    before = stored("s")
    assert factory.sessions.doctor(repair=True).findings == ()
    assert stored("s") == before
    answers: Any = [
        {"interruptResponse": {"interruptId": each.id, "response": "yes"}} for each in result.interrupts or ()
    ]
    agent(answers)
    assert factory.sessions.doctor().findings == ()


def test_a_tool_use_that_lies_in_the_archive_is_answered_too(
    factory: MongoDBSessionManagerFactory, collection: Collection[Any], archive: Any
) -> None:
    much = {"name": "add", "input": {"a": 1, "b": 2, "rows": ["x" * 1000] * 100}}
    make_agent(factory.create_session_manager("s"), [much, ADD], "three", tools=[add])("add")
    cut(collection, 2)
    assert archive.count_documents({}) == 1
    assert mended(factory) == ["tool_use"]
    results = factory.sessions.messages("s")[-1].message["content"]
    assert [block["toolResult"]["status"] for block in results] == ["error", "error"]


def test_a_writer_who_is_faster_refuses_the_answer(
    heard: tuple[MongoDBSessionManagerFactory, list[Any]],
    factory: MongoDBSessionManagerFactory,
    collection: Collection[Any],
) -> None:
    doctor, order = heard
    turn(factory.create_session_manager("s"), "a")()
    cut(collection, 2)
    following = turn(factory.create_session_manager("s"), "b")
    order[:] = [following, "update", 1]
    finding = only(doctor.sessions.doctor(repair=True))
    assert (finding.kind, finding.repaired) == ("tool_use", False)
    messages = [each.message for each in factory.sessions.messages("s")]
    assert len(messages) == 7
    assert_accepted(messages)
    assert factory.sessions.doctor().findings == ()


def test_while_a_turn_is_running_nothing_is_answered(factory: MongoDBSessionManagerFactory, stored: Stored) -> None:
    reports: list[DoctorReport] = []
    made = turn(
        factory.create_session_manager("s"), "a", lambda: reports.append(factory.sessions.doctor(repair=True, grace=0))
    )
    made()
    assert [report.findings for report in reports] == [()]
    assert len(stored("s")["agents"]["default"]["messages"]) == 4


@pytest.mark.parametrize(
    ("contents", "where"),
    [
        ([[TOOL_RESULT], [{"text": "a"}]], "-1"),
        ([[{"text": "a"}], [TOOL_USE], [{"text": "b"}], [{"text": "c"}]], "1"),
        ([[{"text": "a"}], [TOOL_RESULT, {"text": "b"}], [{"text": "c"}]], "0"),
        ([[TOOL_USE, {"toolUse": {**TOOL_USE["toolUse"], "toolUseId": "t-2"}}], [TOOL_RESULT], [{"text": "c"}]], "0"),
        ([[TOOL_USE], [{"toolResult": {**TOOL_RESULT["toolResult"], "toolUseId": "t-9"}}], [{"text": "c"}]], "0"),
        ([[TOOL_USE], [{"text": "a"}]] * 7, "0, 2, 4, 6, 8, …"),
    ],
    ids=["result first", "no result", "no use", "one of two", "another's result", "many"],
)
def test_tool_calls_inside_a_history_that_do_not_fit_are_told_and_left(
    factory: MongoDBSessionManagerFactory, collection: Collection[Any], stored: Stored, contents: Any, where: str
) -> None:
    make_agent(factory.create_session_manager("s"), "a")("hello")
    messages = [
        {"message": {"role": ("user", "assistant")[number % 2], "content": content}, "message_id": number}
        for number, content in enumerate(contents)
    ]
    agent = "agents.default"
    collection.update_one(
        {"_id": "s"}, {"$set": {f"{agent}.messages": messages, f"{agent}.message_count": len(messages)}}
    )
    before = stored("s")
    finding = only(factory.sessions.doctor(repair=True))
    assert (finding.kind, finding.repaired) == ("tool_pair", False)
    assert finding.detail.endswith(f"do not fit their tool uses: {where}")
    assert stored("s") == before


# Counts


def test_a_count_that_disagrees_is_counted_anew(
    factory: MongoDBSessionManagerFactory, collection: Collection[Any], stored: Stored, archive: Any
) -> None:
    grow(factory, 120)
    revision = stored("s")["agents"]["default"]["revision"]
    collection.update_one({"_id": "s"}, {"$inc": {"agents.default.message_count": 3}})
    assert mended(factory) == ["message_count"]
    assert stored("s")["agents"]["default"]["message_count"] == 240
    assert stored("s")["agents"]["default"]["revision"] == revision


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"$pop": {"agents.default.archive": -1}}, "references"),
        ({"$inc": {"agents.default.archive.0.last": 1}}, "references"),
        ({"$set": {"agents.default.messages.3.message_id": 3}}, "message_ids"),
        ({"$unset": {"agents.default.messages.3.message_id": 1}}, "message_ids"),
    ],
)
def test_what_cannot_be_mended_is_told_every_time(
    factory: MongoDBSessionManagerFactory,
    collection: Collection[Any],
    archive: Any,
    change: dict[str, Any],
    kind: str,
) -> None:
    grow(factory, 120)
    collection.update_one({"_id": "s"}, change)
    for _ in range(2):
        report = factory.sessions.doctor(repair=True)
        assert (only(report).kind, report.is_healthy) == (kind, False)


def test_ids_in_a_bucket_that_are_not_positions_are_told(factory: MongoDBSessionManagerFactory, archive: Any) -> None:
    grow(factory, 120)
    archive.update_one({"first": 0}, {"$set": {"messages.7.message_id": 6}})
    finding = only(factory.sessions.doctor(repair=True))
    assert (finding.kind, finding.agent_id) == ("message_ids", "default")


# The archive


@pytest.mark.parametrize("what", ["bucket", "value", "part", "value in a bucket"])
def test_what_is_listed_and_not_there_is_told(factory: MongoDBSessionManagerFactory, archive: Any, what: str) -> None:
    make_agent(factory.create_session_manager("s"), "seen", agent_id="other")([picture(13 * MB)])
    make_agent(factory.create_session_manager("s"), "seen")([picture(MB)])
    grow(factory, 120)
    conditions: dict[str, dict[str, Any]] = {
        "bucket": {"first": {"$gt": 0}},
        "value": {"digest": {"$exists": True}, "agent_id": "other"},
        "part": {"digest": {"$exists": False}, "agent_id": "other"},
        "value in a bucket": {"digest": {"$exists": True}, "agent_id": "default"},
    }
    gone = conditions[what]
    number = archive.count_documents(gone)
    archive.delete_many(gone)
    finding = only(factory.sessions.doctor(repair=True, grace=0))
    assert (finding.kind, finding.agent_id) == ("missing", str(gone.get("agent_id", "default")))
    assert finding.detail == f"{number} documents of the archive that it lists are not there"


@pytest.mark.parametrize("number", [2, 3, 4])
def test_what_is_deleted_during_the_examination_is_not_missing(
    heard: tuple[MongoDBSessionManagerFactory, list[Any]],
    factory: MongoDBSessionManagerFactory,
    archive: Any,
    number: int,
) -> None:
    doctor, order = heard
    make_agent(factory.create_session_manager("s"), "seen")([picture(MB)])
    archive.insert_one(leftover())
    order[:] = [lambda: factory.sessions.delete("s"), "find", number]
    report = doctor.sessions.doctor("s", grace=0)
    assert set(kinds(report)) <= {"garbage"}
    assert order == []


def test_only_what_is_older_than_the_grace_time_is_removed(factory: MongoDBSessionManagerFactory, archive: Any) -> None:
    young, old = leftover(used_at=datetime.now(UTC)), leftover()
    bucket = {"_id": ObjectId.from_datetime(LONG_AGO), "session_ids": ["s"], "first": 0, "messages": []}
    archive.insert_many([young, old, bucket, {**bucket, "_id": ObjectId()}])
    assert factory.sessions.doctor().young == 2
    assert mended(factory) == ["garbage", "garbage"]
    assert archive.count_documents({}) == 2
    assert mended(factory, grace=0) == ["garbage", "garbage"]
    assert archive.count_documents({}) == 0


@pytest.mark.parametrize("there", [True, False], ids=["a session", "no session"])
def test_what_is_touched_right_before_it_would_be_removed_stays(
    heard: tuple[MongoDBSessionManagerFactory, list[Any]], archive: Any, there: bool
) -> None:
    factory, order = heard
    if there:
        factory.sessions.create("s")
    first = leftover()
    part = {"_id": ObjectId(), **{name: first[name] for name in ("session_ids", "agent_id", "used_at", "bytes")}}
    first["ids"].append(part["_id"])
    archive.insert_many([first, part, leftover()])
    touch = {"$set": {"used_at": datetime.now(UTC)}}
    order[:] = [lambda: archive.update_one({"_id": first["_id"]}, touch), "delete", 1]
    finding = only(factory.sessions.doctor(repair=True))
    assert finding.detail == "1 documents of the archive that no session lists"
    assert {each["_id"] for each in archive.find()} == {first["_id"], part["_id"]}


def test_what_another_session_lists_stays(
    factory: MongoDBSessionManagerFactory, collection: Collection[Any], archive: Any
) -> None:
    make_agent(factory.create_session_manager("t"), "seen")([picture(MB)])
    factory.sessions.create("s")
    for session_ids in (["s", "t"], ["gone", "t"], ["t", "s"]):
        archive.update_many({}, {"$set": {"session_ids": session_ids, "used_at": LONG_AGO}})
        assert factory.sessions.doctor(repair=True).findings == ()
        assert factory.sessions.doctor("s", repair=True).findings == ()
        assert factory.sessions.messages("t")[0].message["content"] == [picture(MB)]
    collection.update_one({"_id": "t"}, {"$unset": {"agents": 1}})
    assert mended(factory) == ["garbage"]


def test_what_belongs_to_no_session_is_removed(factory: MongoDBSessionManagerFactory, archive: Any) -> None:
    archive.insert_many([leftover(session_ids=[]), *(leftover(session_ids=[f"gone-{n}"]) for n in range(3))])
    assert mended(factory) == ["garbage"] * 4
    assert archive.count_documents({}) == 0


def test_one_session_is_examined_alone(
    factory: MongoDBSessionManagerFactory, collection: Collection[Any], archive: Any
) -> None:
    for session_id in ("s", "t"):
        make_agent(factory.create_session_manager(session_id), "a")("hello")
        collection.update_one({"_id": session_id}, {"$set": {"agents.default.message_count": 9}})
    archive.insert_many([leftover(session_ids=[session_id]) for session_id in ("s", "t", "gone")])
    assert factory.sessions.doctor("s").sessions == 1
    assert mended(factory, session_id="s") == ["garbage", "message_count"]
    assert mended(factory, session_id="gone") == ["garbage"]
    assert {finding.session_id for finding in factory.sessions.doctor().findings} == {"t"}


def test_a_session_that_has_expired_keeps_what_it_lists(
    factory: MongoDBSessionManagerFactory, collection: Collection[Any], archive: Any
) -> None:
    make_agent(factory.create_session_manager("s"), "seen")([picture(MB)])
    collection.update_one({"_id": "s"}, {"$set": {"expires_at": LONG_AGO, "agents.default.message_count": 9}})
    assert factory.sessions.doctor(repair=True, grace=0).findings == ()
    assert archive.count_documents({}) == 1


def test_nothing_is_lost_while_the_doctor_runs_again_and_again(
    factory: MongoDBSessionManagerFactory, archive: Any
) -> None:
    pictures = [picture(100_000, number) for number in range(40)]
    make_agent(factory.create_session_manager("s"), "seen")(pictures)
    left = [{**each, "used_at": LONG_AGO} for each in archive.find().sort("_id")]
    factory.sessions.delete("s")
    ended = threading.Event()

    def converse(session_id: str) -> None:
        manager = factory.create_session_manager(session_id)
        agent = make_agent(manager, "a " + "x" * 20_000, conversation_manager=window())
        for number, each in enumerate(pictures):
            # What an earlier crash left may be used again, or be removed.
            for value in left[number : number + 2]:
                id_ = ObjectId()
                archive.insert_one({**value, "_id": id_, "ids": [id_], "session_ids": [session_id]})
            agent([{"text": "look " + "y" * 20_000}, each])

    def examine() -> set[str]:
        found = set()
        while not ended.is_set():
            found |= {*kinds(factory.sessions.doctor(repair=True, grace=5))}
        return found

    names = ["a", "b", "c"]
    with ThreadPoolExecutor(5) as pool:
        doctors = [pool.submit(examine) for _ in range(2)]
        try:
            for writer in [pool.submit(converse, name) for name in names]:
                writer.result(120)
        finally:
            ended.set()
        assert [doctor.result(60) for doctor in doctors] == [{"garbage"}] * 2
    for name in names:
        messages = factory.sessions.messages(name)
        assert [each.message["content"][1] for each in messages[::2]] == pictures
    factory.sessions.doctor(repair=True, grace=0)
    assert factory.sessions.doctor(grace=0).findings == ()
    assert archive.count_documents({"digest": {"$exists": True}}) == len(names) * len(pictures)


# How it is called


async def test_it_can_be_awaited(factory: MongoDBSessionManagerFactory, archive: Any, commands: Commands) -> None:
    with commands.unwatched():
        archive.insert_one(leftover())
    report = await factory.sessions.aio.doctor(repair=True)
    assert (only(report).session_id, report.repaired) == ("s", 1)


@pytest.mark.parametrize("options", [{"grace": -1}, {"turn_timeout": 0}])
def test_times_that_make_no_sense_are_refused(factory: MongoDBSessionManagerFactory, options: Any) -> None:
    with pytest.raises(ValueError, match="grace must not be negative, and turn_timeout be above 0"):
        factory.sessions.doctor(**options)


def test_a_report_can_be_read_and_says_nothing_of_what_was_said(
    factory: MongoDBSessionManagerFactory, collection: Collection[Any], archive: Any
) -> None:
    turn(factory.create_session_manager("s"), "secret")()
    cut(collection, 2)
    archive.insert_many([leftover(), leftover(session_ids=[], used_at=datetime.now(UTC))])
    total = "2 findings, 2 of them mended; 1 documents that nobody lists are too young to tell"
    assert str(factory.sessions.doctor(repair=True)).splitlines() == [
        "tool_use: session 's', agent 'default': message 1, the last one, uses tools and has no result (mended)",
        "garbage: session 's', agent 'default': 1 documents of the archive that no session lists (mended)",
        f"1 sessions and 2 documents of the archive examined: {total}",
    ]


@pytest.fixture
def environment(place: Place, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What the command is told, and no more."""
    told = {"MONGODB_URI": place.uri, "DATABASE_NAME": place.database, "COLLECTION_NAME": place.collection}
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    return told


def test_the_command_tells_mends_and_exits_accordingly(
    environment: dict[str, str], archive: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    archive.insert_many([leftover(), leftover(session_ids=["t"])])
    said = "0 sessions and {} documents of the archive examined: {} findings, {} of them mended\n"
    for arguments, status, counts in (
        ([], 1, (2, 2, 0)),
        (["--repair", "--session", "t"], 0, (1, 1, 1)),
        (["--repair", "--grace", "1e9"], 0, (1, 0, 0)),
        (["--repair"], 0, (1, 1, 1)),
        ([], 0, (0, 0, 0)),
    ):
        assert main(arguments) == status
        shown = capsys.readouterr()
        assert said.format(*counts).rstrip() in shown.out
        assert environment["MONGODB_URI"] not in shown.out + shown.err


def test_the_command_needs_to_be_told_where(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in environment:
        monkeypatch.delenv(name)
    with pytest.raises(SystemExit, match="2"):
        main([])
    assert "set MONGODB_URI, DATABASE_NAME, COLLECTION_NAME in the environment" in capsys.readouterr().err


@pytest.mark.parametrize("uri", ["mongodb://ada:hunter2@127.0.0.1/?w=0", "mongodb://ada:hunter2@/@"])
def test_a_command_that_fails_says_why_and_no_secret(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], uri: str
) -> None:
    monkeypatch.setenv("MONGODB_URI", uri)
    assert main([]) == 2
    shown = capsys.readouterr()
    assert shown.err
    assert "hunter2" not in shown.out + shown.err


def test_the_command_is_run_as_a_module(environment: dict[str, str]) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "mongodb_session_manager.doctor"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith("0 sessions")
