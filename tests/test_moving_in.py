"""Moving in from the SDK's files and from other databases: everything arrives, once, whatever happens on the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.collection import Collection
from strands import Agent
from strands.session.file_session_manager import FileSessionManager
from strands.types.session import SessionAgent, SessionMessage

from mongodb_session_manager import MongoDBSessionManagerFactory
from mongodb_session_manager.moving_in import (
    ImportReport,
    Skipped,
    import_database_sessions,
    import_file_sessions,
)
from tests.commands import Commands
from tests.graphs import graph, node
from tests.models import ScriptedModel
from tests.older_layout import OLDER

MANY = 1000


@pytest.fixture(autouse=True)
def _unwatched(commands: Commands) -> Iterator[None]:
    with commands.unwatched():
        yield


@pytest.fixture
def elsewhere(mongo_client: MongoClient[Any], collection: Collection[Any]) -> Iterator[Collection[dict[str, Any]]]:
    """Another collection, from which sessions come."""
    other = mongo_client["tests_elsewhere"][collection.name]
    yield other
    other.drop()
    mongo_client["tests_elsewhere"][f"{collection.name}_archive"].drop()


def write(folder: Path, session_id: str, *messages: dict[str, Any], agent_id: str = "default", **state: Any) -> None:
    """A session as the SDK keeps it in files."""
    manager = FileSessionManager(session_id, storage_dir=str(folder))
    kept = {"__name__": "SlidingWindowConversationManager", "removed_message_count": 0, "model_call_count": 0}
    manager.create_agent(session_id, SessionAgent(agent_id, state, kept))
    for position, message in enumerate(messages):
        manager.create_message(session_id, agent_id, SessionMessage(message, position))  # type: ignore[arg-type]


def say(role: str, *content: Any) -> dict[str, Any]:
    return {"role": role, "content": [{"text": each} if isinstance(each, str) else each for each in content]}


def from_files(folder: Path, session_id: str, agent_id: str = "default") -> tuple[list[Any], dict[str, Any]]:
    """Messages and state, as the SDK reads its own files."""
    manager = FileSessionManager(session_id, storage_dir=str(folder))
    agent = manager.read_agent(session_id, agent_id)
    assert agent is not None
    return [each.to_message() for each in manager.list_messages(session_id, agent_id)], agent.state


def stored_here(
    factory: MongoDBSessionManagerFactory, session_id: str, agent_id: str = "default"
) -> tuple[list[Any], dict[str, Any]]:
    """The same of this library's session."""
    agent = factory.sessions.agent_summary(session_id, agent_id)
    assert agent is not None
    return [each.to_message() for each in factory.sessions.messages(session_id, agent_id)], agent.state


def reasons(report: ImportReport) -> dict[str, str]:
    return {each.session_id: each.reason for each in report.skipped}


# The SDK's files


def test_file_sessions_arrive_as_the_sdk_reads_them(factory: MongoDBSessionManagerFactory, tmp_path: Path) -> None:
    picture = {"image": {"format": "png", "source": {"bytes": b"\x89PNG\x00\xff"}}}
    call = {"toolUse": {"toolUseId": "t", "name": "add", "input": {"$a.b": 2**70, "n": None, "f": 1.0}}}
    result = {"toolResult": {"toolUseId": "t", "status": "success", "content": [{"json": {"": [1, True]}}]}}
    write(tmp_path, "odd", say("user", "héllo\x00", picture), say("assistant", call), say("user", result), n=2**65)
    write(tmp_path, "two agents", say("user", "for a"), agent_id="team.a", mood="good")
    write(tmp_path, "empty")
    other = FileSessionManager("two agents", storage_dir=str(tmp_path))
    other.create_agent("two agents", SessionAgent("b", {}, {}))

    report = import_file_sessions(factory.sessions, tmp_path, owner="ada", application_name="support")

    assert report == ImportReport(
        found=3, imported=3, present=0, messages=4, verified=3, skipped=(), left_out={}, dry_run=False
    )
    for session_id, agent_id in (
        ("odd", "default"),
        ("two agents", "team.a"),
        ("two agents", "b"),
        ("empty", "default"),
    ):
        assert stored_here(factory, session_id, agent_id) == from_files(tmp_path, session_id, agent_id)
    summary = factory.sessions.get("odd")
    assert summary is not None
    assert (summary.owner, summary.application_name, summary.is_dated) == ("ada", "support", True)
    assert [each.message_id for each in factory.sessions.messages("odd")] == [0, 1, 2]


def test_an_imported_conversation_goes_on(factory: MongoDBSessionManagerFactory, tmp_path: Path) -> None:
    files = FileSessionManager("u", storage_dir=str(tmp_path))
    Agent(model=ScriptedModel("hi Ada"), session_manager=files, callback_handler=None, state={"n": 1})("I am Ada")

    assert import_file_sessions(factory.sessions, tmp_path).imported == 1

    model = ScriptedModel("Ada")
    agent = Agent(model=model, session_manager=factory.create_session_manager("u"), callback_handler=None)
    agent("Who am I?")
    assert [each["content"][0]["text"] for each in model.calls[0]] == ["I am Ada", "hi Ada", "Who am I?"]
    assert agent.state.get() == {"n": 1}
    assert len(factory.sessions.messages("u")) == 4


def test_a_graph_in_files_arrives(factory: MongoDBSessionManagerFactory, tmp_path: Path) -> None:
    ran: list[str] = []
    files: Any = FileSessionManager("g", storage_dir=str(tmp_path))
    graph(files, {"one": node("one", ran)}, [])("go")

    assert import_file_sessions(factory.sessions, tmp_path).imported == 1

    repository = factory.create_session_manager("g").session_repository
    state = repository.read_multi_agent("g", "graph") or {}
    assert state == files.read_multi_agent("g", "graph")
    assert state["status"] == "completed"


def test_what_was_redacted_stays_behind(
    factory: MongoDBSessionManagerFactory, tmp_path: Path, stored: Callable[[str], Any]
) -> None:
    write(tmp_path, "r")
    files = FileSessionManager("r", storage_dir=str(tmp_path))
    removed: Any = say("user", "[removed]")
    original: Any = say("user", "my card is 1234")
    files.create_message("r", "default", SessionMessage(original, 0, removed))

    assert import_file_sessions(factory.sessions, tmp_path).verified == 1

    [message] = factory.sessions.messages("r")
    assert (message.message, message.redact_message) == (removed, removed)
    assert "my card" not in str(stored("r"))


def test_messages_come_in_the_order_of_their_numbers(factory: MongoDBSessionManagerFactory, tmp_path: Path) -> None:
    write(tmp_path, "gaps")
    files = FileSessionManager("gaps", storage_dir=str(tmp_path))
    for number in (11, 2, 100):
        message: Any = say("user", str(number))
        files.create_message("gaps", "default", SessionMessage(message, number))

    import_file_sessions(factory.sessions, tmp_path)

    assert [each.message["content"][0]["text"] for each in factory.sessions.messages("gaps")] == ["2", "11", "100"]


BAD: dict[str, tuple[str, Callable[[Path], object]]] = {
    "a message that is no JSON": ("message_1.json is no JSON", lambda s: message(s, 1).write_text('{"message": ')),
    "a message that is no object": ("message_0.json holds no object", lambda s: message(s, 0).write_text("[]")),
    "a message without one": ("message_0.json lacks a field", lambda s: message(s, 0).write_text('{"message_id": 0}')),
    "a message that is text": (
        "message_0.json holds no message",
        lambda s: message(s, 0).write_text('{"message": "hi", "message_id": 0}'),
    ),
    "a message without a number": ("messages holds a message without", lambda s: message(s, "x").write_text("{}")),
    "a message that is a link": ("message_9.json is a symbolic link", lambda s: message(s, 9).symlink_to("/dev/null")),
    "no session": ("session.json cannot be read", lambda s: (s / "session.json").unlink()),
    "a date that is none": (
        "session.json holds a date that is none",
        lambda s: (s / "session.json").write_text('{"session_id": "b", "session_type": "AGENT", "created_at": "soon"}'),
    ),
    "no agent": ("agent.json cannot be read", lambda s: (s / "agents/agent_default/agent.json").unlink()),
    "an agent whose state is none": (
        "agent.json lacks a field",
        lambda s: (s / "agents/agent_default/agent.json").write_text('{"agent_id": "default"}'),
    ),
    "no folder of messages": (
        "messages cannot be read",
        lambda s: (s / "agents/agent_default/messages").rename(s / "m"),
    ),
}


def message(session: Path, number: object) -> Path:
    return session / "agents" / "agent_default" / "messages" / f"message_{number}.json"


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_session_is_skipped_whole_with_the_reason(
    kind: str, factory: MongoDBSessionManagerFactory, tmp_path: Path, stored: Callable[[str], Any]
) -> None:
    reason, spoil = BAD[kind]
    for session_id in ("a", "bad", "c"):
        write(tmp_path, session_id, say("user", "secret words"), say("assistant", "more"))
    spoil(tmp_path / "session_bad")

    report = import_file_sessions(factory.sessions, tmp_path)

    assert (report.found, report.imported, report.verified) == (3, 2, 2)
    assert [each.session_id for each in report.skipped] == ["bad"]
    assert reason in report.skipped[0].reason
    assert "secret" not in report.skipped[0].reason
    assert stored("bad") is None
    assert len(factory.sessions.messages("c")) == 2


def test_a_repaired_session_is_imported_by_a_repeat(factory: MongoDBSessionManagerFactory, tmp_path: Path) -> None:
    write(tmp_path, "a", say("user", "one"))
    write(tmp_path, "b", say("user", "two"))
    broken = message(tmp_path / "session_b", 0)
    whole = broken.read_text()
    broken.write_text(whole[:-9])
    assert import_file_sessions(factory.sessions, tmp_path).imported == 1
    broken.write_text(whole)

    report = import_file_sessions(factory.sessions, tmp_path)

    assert (report.imported, report.present, report.verified, report.skipped) == (1, 1, 2, ())


def test_a_dry_run_tells_and_writes_nothing(
    factory: MongoDBSessionManagerFactory, collection: Collection[Any], tmp_path: Path
) -> None:
    write(tmp_path, "a", say("user", "one"))
    write(tmp_path, "b", say("user", "two"))
    (tmp_path / "session_b" / "session.json").unlink()

    report = import_file_sessions(factory.sessions, tmp_path, dry_run=True)

    assert (report.dry_run, report.imported, report.messages, report.verified) == (True, 1, 1, 0)
    assert [each.session_id for each in report.skipped] == ["b"]
    assert collection.count_documents({}) == 0


def test_a_session_that_has_gone_on_here_is_left_and_told(
    factory: MongoDBSessionManagerFactory, tmp_path: Path
) -> None:
    write(tmp_path, "a", say("user", "one"), n=1)
    import_file_sessions(factory.sessions, tmp_path)
    Agent(model=ScriptedModel("two"), session_manager=factory.create_session_manager("a"), callback_handler=None)(
        "and?"
    )

    report = import_file_sessions(factory.sessions, tmp_path)
    unverified = import_file_sessions(factory.sessions, tmp_path, verify=False)

    assert report.skipped == (
        Skipped(session_id="a", reason="exists already, and differs in agent 'default', session"),
    )
    assert (unverified.present, unverified.verified, unverified.skipped) == (1, 0, ())
    assert len(factory.sessions.messages("a")) == 3


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"$set": {"agents.default.agent_data.state.n": 1.0}}, "agent 'default'"),
        ({"$set": {"agents.default.messages.0.message.content.0.text": "0ne"}}, "agent 'default'"),
        ({"$pop": {"agents.default.messages": 1}}, "agent 'default'"),
        ({"$set": {"metadata.x": None}}, "session"),
        ({"$unset": {"owner": True}}, "session"),
        ({"$push": {"feedbacks": {"rating": "up"}}}, "feedback"),
    ],
)
def test_reading_back_notices_any_difference(
    change: dict[str, Any],
    where: str,
    factory: MongoDBSessionManagerFactory,
    collection: Collection[Any],
    tmp_path: Path,
) -> None:
    write(tmp_path, "a", say("user", "one"), n=1)
    import_file_sessions(factory.sessions, tmp_path, owner="ada")
    collection.update_one({"_id": "a"}, change)

    report = import_file_sessions(factory.sessions, tmp_path, owner="ada")

    assert reasons(report) == {"a": f"exists already, and differs in {where}"}


def test_progress_is_told_for_each_session(factory: MongoDBSessionManagerFactory, tmp_path: Path) -> None:
    for number in range(5):
        write(tmp_path, str(number))
    told: list[tuple[int, int, str]] = []

    import_file_sessions(
        factory.sessions,
        tmp_path,
        workers=2,
        progress=lambda done, total: told.append((done, total, threading.current_thread().name)),
    )

    assert told == [(number, 5, threading.current_thread().name) for number in range(1, 6)]


def test_no_folder_and_no_workers_are_told(factory: MongoDBSessionManagerFactory, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        import_file_sessions(factory.sessions, tmp_path / "missing")
    with pytest.raises(ValueError, match="workers must be at least 1"):
        import_file_sessions(factory.sessions, tmp_path, workers=0)


def test_two_imports_at_once_end_as_one(factory: MongoDBSessionManagerFactory, tmp_path: Path) -> None:
    for number in range(20):
        write(tmp_path, str(number), say("user", "one"), say("assistant", "two"))
    threads = [threading.Thread(target=import_file_sessions, args=(factory.sessions, tmp_path)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    report = import_file_sessions(factory.sessions, tmp_path)

    assert (report.verified, report.skipped) == (20, ())


# Killed


def test_a_thousand_sessions_and_a_kill_in_the_middle_end_equal_to_the_files(
    factory: MongoDBSessionManagerFactory, mongo_uri: str, collection: Collection[Any], tmp_path: Path
) -> None:
    for number in range(MANY):
        write(tmp_path, f"s{number:04}", say("user", f"ask {number}"), say("assistant", f"say {number}"), n=number)
    importing = subprocess.Popen(
        [sys.executable, "-m", "mongodb_session_manager.cli", "import", "--from-files", str(tmp_path), "--no-verify"],
        env={
            **os.environ,
            "MONGODB_URI": mongo_uri,
            "DATABASE_NAME": collection.database.name,
            "COLLECTION_NAME": collection.name,
        },
    )
    deadline = time.monotonic() + 60
    while collection.count_documents({}) < MANY // 4 and time.monotonic() < deadline and importing.poll() is None:
        time.sleep(0.01)
    importing.send_signal(signal.SIGKILL)
    assert importing.wait(30) == -signal.SIGKILL

    seen = factory.sessions.page(limit=MANY).items
    assert 0 < len(seen) < MANY
    assert {each.message_count for each in seen} == {2}, "a session that can be seen is there as a whole"

    report = import_file_sessions(factory.sessions, tmp_path)

    assert (report.found, report.imported + report.present, report.verified) == (MANY, MANY, MANY)
    assert report.present >= len(seen)
    assert collection.count_documents({}) == collection.count_documents({"importing": {"$exists": False}}) == MANY
    for number in range(0, MANY, 50):
        session_id = f"s{number:04}"
        assert stored_here(factory, session_id) == from_files(tmp_path, session_id)


# Other databases


@pytest.mark.parametrize("kind", OLDER)
def test_a_session_of_the_older_layout_arrives_in_this_one(
    kind: str,
    factory: MongoDBSessionManagerFactory,
    collection: Collection[Any],
    elsewhere: Collection[Any],
    stored: Callable[[str], Any],
) -> None:
    older = OLDER[kind]
    elsewhere.insert_one({"_id": "s", **older.document})
    before = elsewhere.find_one()

    report = import_database_sessions(factory.sessions, elsewhere.database.client, "tests_elsewhere", elsewhere.name)

    assert (report.imported, report.verified, report.skipped) == (1, 1, ())
    assert elsewhere.find_one() == before
    assert [*elsewhere.index_information()] == ["_id_"]
    was = MongoDBSessionManagerFactory(
        client=elsewhere.database.client, database_name="tests_elsewhere", collection_name=elsewhere.name
    )
    old, new = was.sessions.get("s"), factory.sessions.get("s")
    assert old is not None
    assert new is not None
    assert new.metadata == old.metadata
    assert factory.sessions.feedbacks("s") == was.sessions.feedbacks("s")
    assert new.agents == old.agents
    assert [*new.agents] == [*old.agents]
    for agent_id in old.agents:
        mine, theirs = factory.sessions.messages("s", agent_id), was.sessions.messages("s", agent_id)
        assert [each.to_message() for each in mine] == [each.to_message() for each in theirs]
        assert [each.created_at for each in mine] == [each.created_at for each in theirs]
    assert all("revision" in agent for agent in stored("s").get("agents", {}).values())


def test_what_no_session_here_has_is_told_by_name(
    factory: MongoDBSessionManagerFactory, elsewhere: Collection[Any]
) -> None:
    for kind in ("fields that nobody knows", "stub agents beside a whole one", "a dotted id, nested", "plain"):
        elsewhere.insert_one({"_id": kind, **OLDER[kind].document})

    report = import_database_sessions(factory.sessions, elsewhere.database.client, "tests_elsewhere", elsewhere.name)

    assert report.left_out == {
        "fields that nobody knows": [
            *("tenant", "legacy.flags", ""),
            *("agents.default.message_stats", "agents.default.turn_count"),
        ],
        "stub agents beside a whole one": [
            *("agents.ghost", "agents.null", "agents.number", "agents.messages only"),
            *("agents.data is empty", "agents.data is null"),
        ],
    }


def test_an_original_that_an_older_tool_kept_stays_behind(
    factory: MongoDBSessionManagerFactory, elsewhere: Collection[Any], stored: Callable[[str], Any]
) -> None:
    elsewhere.insert_one({"_id": "s", **OLDER["a redacted message"].document})

    import_database_sessions(factory.sessions, elsewhere.database.client, "tests_elsewhere", elsewhere.name)

    assert "my card" not in str(stored("s"))
    assert factory.sessions.messages("s")[0].to_message()["content"] == [{"text": "[removed]"}]


def test_sessions_of_this_layout_arrive_with_archive_and_large_values(
    factory: MongoDBSessionManagerFactory, elsewhere: Collection[Any]
) -> None:
    was = MongoDBSessionManagerFactory(
        client=elsewhere.database.client, database_name="tests_elsewhere", collection_name=elsewhere.name
    )
    manager = was.create_session_manager("s", owner="ada", title="large", application_name="support")
    agent = Agent(model=ScriptedModel("x" * 9000), session_manager=manager, callback_handler=None, state={"n": 1})
    picture: Any = {"image": {"format": "png", "source": {"bytes": os.urandom(100_000)}}}
    agent([picture, {"text": "look"}])
    for _ in range(20):
        agent("again")
    was.sessions.update_metadata("s", {"tier": "gold"})
    was.sessions.add_feedback("s", {"rating": "up"})
    was.sessions.expire("s", 3600)
    was.sessions.hold("s")
    assert elsewhere.database[f"{elsewhere.name}_archive"].count_documents({}) > 1

    report = import_database_sessions(factory.sessions, elsewhere.database.client, "tests_elsewhere", elsewhere.name)

    assert reasons(report) == {}
    assert (report.imported, report.verified, report.messages, report.left_out) == (1, 1, 42, {"s": ["hold"]})
    assert stored_here(factory, "s") == stored_here(was, "s")
    old, new = was.sessions.get("s"), factory.sessions.get("s")
    assert old is not None
    assert new is not None
    for name in ("owner", "title", "application_name", "metadata", "created_at", "lifetime", "agents"):
        assert getattr(new, name) == getattr(old, name)
    assert factory.sessions.feedbacks("s") == was.sessions.feedbacks("s")
    again = import_database_sessions(factory.sessions, elsewhere.database.client, "tests_elsewhere", elsewhere.name)
    assert (again.present, again.verified, again.left_out) == (1, 1, report.left_out)


def test_what_reads_as_absent_or_has_an_id_of_another_kind_is_skipped(
    factory: MongoDBSessionManagerFactory, elsewhere: Collection[Any]
) -> None:
    elsewhere.insert_one({"_id": "deleting", "deleting": "x", **OLDER["plain"].document})
    elsewhere.insert_one({"_id": 7, **OLDER["plain"].document})

    report = import_database_sessions(factory.sessions, elsewhere.database.client, "tests_elsewhere", elsewhere.name)

    assert reasons(report) == {
        "7": "its id is not text",
        "deleting": "it has expired, or is half deleted or half imported",
    }
    assert factory.sessions.page().items == []


def test_the_report_is_json_by_the_command_line(
    mongo_uri: str, collection: Collection[Any], elsewhere: Collection[Any]
) -> None:
    elsewhere.insert_one({"_id": "s", **OLDER["plain"].document})
    place = ["--uri", mongo_uri, "--database", "tests", "--collection", collection.name]
    command = [sys.executable, "-m", "mongodb_session_manager.cli", "import", *place, "--json"]

    done = subprocess.run(
        [*command, "--from-database", "tests_elsewhere"], capture_output=True, text=True, timeout=60, check=True
    )

    assert json.loads(done.stdout) == {
        "found": 1,
        "imported": 1,
        "present": 0,
        "messages": 2,
        "verified": 1,
        "left_out": {},
        "dry_run": False,
        "skipped": [],
    }
    assert done.stderr == ""
