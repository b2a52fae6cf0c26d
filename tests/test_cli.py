"""The command line, as people and programs meet it: the real command on a real MongoDB."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer.main
from bson import ObjectId
from pymongo.collection import Collection
from strands import Agent
from strands.session.file_session_manager import FileSessionManager
from strands.types.session import SessionAgent, SessionMessage

from mongodb_session_manager import MongoDBSessionManagerFactory
from mongodb_session_manager.cli import application
from tests.commands import Commands
from tests.models import ScriptedModel

COMMAND = [sys.executable, "-m", "mongodb_session_manager.cli"]
PAGE = Path(__file__).parent.parent / "docs" / "cli.md"


class Done(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def documents(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


@pytest.fixture(autouse=True)
def _unwatched(commands: Commands) -> Iterator[None]:
    with commands.unwatched():
        yield


@pytest.fixture
def place(
    mongo_uri: str, collection: Collection[Any], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Collection[dict[str, Any]]]:
    """The test's own collection, named in the environment."""
    monkeypatch.setenv("MONGODB_URI", mongo_uri)
    monkeypatch.setenv("DATABASE_NAME", collection.database.name)
    monkeypatch.setenv("COLLECTION_NAME", collection.name)
    for name in ("FORCE_COLOR", "PY_COLORS", "GITHUB_ACTIONS", "FROM_MONGODB_URI"):
        monkeypatch.delenv(name, raising=False)
    yield collection
    collection.database[f"{collection.name}_archive"].drop()


@pytest.fixture
def call(place: Collection[Any], capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """A command in this process."""

    def run(*arguments: str) -> Done:
        capsys.readouterr()
        code = application.run(arguments)
        return Done(code, *capsys.readouterr())

    return run


def process(*arguments: str, **options: Any) -> Done:
    """A command in a process of its own."""
    options = {"stdin": subprocess.DEVNULL, **options}
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=60, check=False, **options)
    return Done(done.returncode, done.stdout, done.stderr)


def on_a_terminal(arguments: Sequence[str], answer: bytes | None = b"") -> Done:
    """A command whose input and output are a terminal, with an answer to its question; ``None`` for Ctrl-C."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "120"}
    running = subprocess.Popen([*COMMAND, *arguments], stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    told = b""
    try:
        for piece in _until_closed(ours):
            told += piece
            if answer is None and told.rstrip().endswith(b"[y/N]:"):  # again, should it come just before Python listens
                running.send_signal(signal.SIGINT)
            elif answer is not None and b"[y/N]" in piece:
                os.write(ours, answer)
        return Done(running.wait(10), told.decode(), "")
    finally:
        running.kill()
        running.wait(10)
        os.close(ours)


def _until_closed(terminal: int) -> Iterator[bytes]:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if not select.select([terminal], [], [], 1)[0]:
            yield b""
            continue
        try:
            piece = os.read(terminal, 65536)
        except OSError:  # Linux tells so that the other end is closed
            return
        if not piece:
            return
        yield piece


def chat(factory: MongoDBSessionManagerFactory, session_id: str, *answers: Any, **options: Any) -> None:
    """A session with a turn for each answer."""
    manager = factory.create_session_manager(session_id, **options)
    agent = Agent(model=ScriptedModel(*answers), session_manager=manager, callback_handler=None)
    for number in range(len(answers)):
        agent(f"question {number}")


# Every command


def leaves(group: Any, *path: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from leaves(command, *path, name)
        else:
            yield (*path, name), command


COMMANDS = dict(leaves(typer.main.get_command(application.app)))


def test_the_commands_are_these() -> None:
    assert {" ".join(path) for path in COMMANDS} == {
        *("list", "search", "show", "stats", "export", "import", "fork", "delete", "purge", "doctor"),
        *("indexes list", "indexes ensure", "serve", "mongod"),
    }


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_a_command_has_help_with_an_example_and_is_documented_with_all_options(
    path: tuple[str, ...], call: Callable[..., Done]
) -> None:
    done = call(*path, "--help")

    name = f"mongodb-sessions {' '.join(path)}"
    assert done.code == 0
    assert f"Example: {name}" in done.out
    page = PAGE.read_text()
    assert f"### `{name}`" in page
    assert re.search(rf"^{name}\b", page, re.MULTILINE), "an example"
    options = {option for parameter in COMMANDS[path].params for option in (*parameter.opts, *parameter.secondary_opts)}
    section = page.partition(f"### `{name}`")[2].partition("\n### ")[0]
    everywhere = page.partition("## Commands")[0]
    assert {each for each in options if each.startswith("--") and f"`{each}" not in section + everywhere} == set()


def test_the_package_has_the_script() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("mongodb-sessions"), "--help"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert "mongodb-sessions [OPTIONS] COMMAND" in done.stdout


def test_a_shell_can_complete_commands() -> None:
    words = {"COMP_WORDS": "mongodb-sessions do", "COMP_CWORD": "1", "_MONGODB_SESSIONS_COMPLETE": "complete_bash"}

    assert process(env={**os.environ, **words}) == (0, "doctor\n", "")


def test_without_the_extra_it_says_what_to_install() -> None:
    code = "import sys; sys.modules['typer'] = None; from mongodb_session_manager.cli import main; sys.exit(main())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "mongodb-sessions needs the package typer: pip install 'mongodb-session-manager[cli]'\n"


# Looking


def test_list_shows_the_newest_first_and_where_to_go_on(
    call: Callable[..., Done], factory: MongoDBSessionManagerFactory
) -> None:
    for number in range(5):
        factory.sessions.create(f"s{number}", owner="ada" if number % 2 else None, title=f"title {number}")

    first = call("list", "--limit", "2")
    cursor = first.err.split("--cursor ")[1].strip()
    second = call("list", "--limit", "9", "--cursor", cursor)
    owned = call("list", "--owner", "ada", "--json", "--order", "created")

    assert [line.split()[0] for line in first.out.splitlines()] == ["session", "s4", "s3"]
    assert [line.split()[0] for line in second.out.splitlines()] == ["session", "s2", "s1", "s0"]
    assert second.err == ""
    assert [each["session_id"] for each in owned.documents] == ["s3", "s1"]
    assert [*owned.documents[0]] == [
        *("session_id", "title", "owner", "application_name", "created_at", "updated_at", "expires_at", "lifetime"),
        *("is_held", "forked_from", "message_count", "metadata", "agents"),
    ]


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (["INVOICE"], ["b", "a"]),
        (["(invoice"], []),
        (["--metadata", "customer.tier=gold"], ["a"]),
        (["--metadata", "n=3"], ["b"]),
        (["--metadata", 'n="3"'], ["c"]),
        (["--owner", "ada", "--application", "support"], ["a"]),
        (["--created-after", "1h"], ["c", "b", "a"]),
        (["--created-before", "1h"], []),
        (["--updated-after", "2020-01-01", "--updated-before", "2020-01-02T00:00+01:00"], []),
        (["invoice", "--order", "created", "--limit", "1"], ["b"]),
    ],
)
def test_search_finds_by_all_that_is_given(
    arguments: list[str], found: list[str], call: Callable[..., Done], factory: MongoDBSessionManagerFactory
) -> None:
    create = factory.sessions.create
    create("a", owner="ada", title="An invoice", application_name="support", metadata={"customer": {"tier": "gold"}})
    create("b", owner="ada", title="Invoices", metadata={"n": 3})
    create("c", owner="bob", title="Other", metadata={"n": "3"})

    done = call("search", *arguments, "--json")

    assert (done.code, [each["session_id"] for each in done.documents]) == (0, found)


def test_show_is_a_transcript_with_tool_calls_folded(
    call: Callable[..., Done], factory: MongoDBSessionManagerFactory
) -> None:
    repository = factory.create_session_manager("s", owner="ada", title="Sums").session_repository
    repository.create_agent("s", SessionAgent("default", {"mood": "good"}, {}))
    said: list[Any] = [
        {"role": "user", "content": [{"text": "Add\nthese"}]},
        {"role": "assistant", "content": [{"toolUse": {"toolUseId": "t", "name": "add", "input": {"a": ["1" * 150]}}}]},
        {
            "role": "user",
            "content": [{"toolResult": {"toolUseId": "t", "status": "success", "content": [{"text": "3"}]}}],
        },
        {"role": "assistant", "content": [{"text": "Three"}, {"image": {"format": "png", "source": {"bytes": b"x"}}}]},
        {"role": "user", "content": [{"text": "my card is 1234"}]},
    ]
    for position, message in enumerate(said):
        redacted: Any = {"role": "user", "content": [{"text": "[removed]"}]} if position == 4 else None
        repository.create_message("s", "default", SessionMessage(message, position, redacted))

    done, unfolded = call("show", "s"), call("show", "s", "--tools")
    last = call("show", "s", "--last", "1", "--json").documents[0]

    assert done.code == 0
    lines = [line.strip() for line in done.out.splitlines()]
    assert lines[:3] == ["Session s", "title: Sums", "owner: ada"]
    assert "Agent default: 5 messages" in lines
    assert 'state: {"mood": "good"}' in lines
    assert lines[lines.index("Add") :][:2] == ["Add", "these"]
    [tool] = [line for line in lines if line.startswith("> add")]
    assert (len(tool), tool[-1]) == (100, "…")
    assert "1" * 150 in unfolded.out.replace("\n", "").replace(" ", "")
    assert {"< success: 3", "Three", "[image png]", "[removed]"} <= {*lines}
    assert "1234" not in done.out
    assert [re.sub("  .*", "", line)[:13] for line in lines if line.startswith("#")] == [
        *("#0 user", "#1 assistant", "#2 user", "#3 assistant", "#4 user"),
    ]
    assert next(line for line in lines if line.startswith("#4")).endswith("(redacted)")
    [agent] = last["agents"]
    assert [(each["message_id"], each["redacted"]) for each in agent["messages"]] == [(4, True)]
    assert [*agent["messages"][0]] == ["message_id", "role", "content", "redacted", "created_at", "updated_at"]


def test_what_was_said_cannot_steer_the_terminal(
    call: Callable[..., Done], factory: MongoDBSessionManagerFactory
) -> None:
    chat(factory, "s\x1b]0;title\x07", "red \x1b[31m [bold]x[/bold] \u202e\x9b1m\ud800", title="\x1b[2Jgone")

    listed, shown = call("list"), call("show", "s\x1b]0;title\x07")

    for done in (listed, shown):
        assert done.code == 0
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e\ud800]", done.out)
    assert "[bold]x[/bold]" in shown.out


def test_a_long_conversation_is_shown_whole(call: Callable[..., Done], factory: MongoDBSessionManagerFactory) -> None:
    repository = factory.create_session_manager("s").session_repository
    repository.create_agent("s", SessionAgent("default", {}, {}))
    for position in range(230):
        message: Any = {"role": "user", "content": [{"text": f"word{position}"}]}
        repository.create_message("s", "default", SessionMessage(message, position))

    assert re.findall(r"word(\d+)", call("show", "s").out) == [str(position) for position in range(230)]


def test_looking_makes_neither_a_collection_nor_an_index(call: Callable[..., Done], place: Collection[Any]) -> None:
    for arguments in (["list"], ["search", "x"], ["stats"], ["export", "--all"], ["indexes", "list"]):
        assert call(*arguments).code == 0
    assert call("show", "x").code == 1

    assert place.name not in place.database.list_collection_names()


def test_stats_count(call: Callable[..., Done], factory: MongoDBSessionManagerFactory) -> None:
    chat(factory, "a", "one", "two", owner="ada")
    chat(factory, "b", "one")

    everything, hers = call("stats", "--json").documents[0], call("stats", "--owner", "ada", "--json").documents[0]

    assert (everything["sessions"], everything["messages"], sum(everything["days"].values())) == (2, 6, 2)
    assert (hers["sessions"], hers["messages"]) == (1, 4)
    assert hers["totals"]["input_tokens"] == 20
    assert re.search(r"^messages +6$", call("stats").out, re.MULTILINE)


# Carrying


def test_what_is_exported_is_imported_elsewhere(
    call: Callable[..., Done], factory: MongoDBSessionManagerFactory, tmp_path: Path
) -> None:
    chat(factory, "a", "one", owner="ada")
    chat(factory, "b", "two")
    file = tmp_path / "all.jsonl"

    assert call("export", "--all", "-o", str(file)) == (0, "", "")
    assert file.read_text() == call("export", "b", "a").out
    for session_id in "ab":
        assert call("delete", session_id, "--yes").code == 0
    dry = call("import", str(file), "--dry-run", "--json").documents[0]
    assert (dry["imported"], dry["dry_run"]) == (2, True)
    assert factory.sessions.page().items == []
    done = call("import", str(file), "--json")
    again = call("import", str(file))

    assert (done.code, done.documents[0]["imported"], done.documents[0]["messages"]) == (0, 2, 4)
    assert (again.code, again.out.count("exists already")) == (1, 2)
    assert [each.session_id for each in factory.sessions.page(owner="ada").items] == ["a"]


def test_an_import_gives_another_id_and_owner(
    call: Callable[..., Done], factory: MongoDBSessionManagerFactory, tmp_path: Path
) -> None:
    chat(factory, "a", "one", owner="ada")
    file = tmp_path / "a.jsonl"
    call("export", "a", "--output", str(file))

    assert call("import", str(file), "--session-id", "b", "--owner", "bob").code == 0

    found = factory.sessions.get("b")
    assert found is not None
    assert (found.owner, found.message_count) == ("bob", 2)


def test_a_damaged_session_is_skipped_and_the_next_one_imported(
    call: Callable[..., Done], factory: MongoDBSessionManagerFactory, place: Collection[Any], tmp_path: Path
) -> None:
    chat(factory, "a", "one")
    chat(factory, "b", "two")
    lines = call("export", "a").out.replace("question 0", "question 1") + call("export", "b").out
    (tmp_path / "x.jsonl").write_text(lines)
    factory.sessions.delete("a")
    factory.sessions.delete("b")

    done = call("import", str(tmp_path / "x.jsonl"), "--json")

    assert (done.code, done.documents[0]["imported"]) == (1, 1)
    [skipped] = done.documents[0]["skipped"]
    assert skipped["session_id"] == "session 1 of the file"
    assert skipped["reason"].startswith("line 3: it was changed")
    assert [each["_id"] for each in place.find()] == ["b"]


def test_an_export_that_fails_leaves_no_file(
    call: Callable[..., Done], factory: MongoDBSessionManagerFactory, tmp_path: Path
) -> None:
    chat(factory, "a", "one")

    done = call("export", "a", "missing", "-o", str(tmp_path / "x.jsonl"))

    assert (done.code, done.err) == (1, "mongodb-sessions: session 'missing' does not exist\n")
    assert [*tmp_path.iterdir()] == []
    assert call("export", "a", "-o", str(tmp_path / "no" / "x")).code == 1


def test_file_sessions_are_imported_by_command(
    call: Callable[..., Done], factory: MongoDBSessionManagerFactory, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        files = FileSessionManager(name, storage_dir=str(tmp_path))
        Agent(model=ScriptedModel("hi"), session_manager=files, callback_handler=None)("hello")
    (tmp_path / "session_b" / "session.json").write_text("{")

    done = call("import", "--from-files", str(tmp_path), "--owner", "ada", "--application", "support")

    assert done.code == 1
    assert done.out.startswith("imported 1 of 2 sessions with 2 messages; 0 were there already, 1 skipped, 1 compared")
    assert "session.json is no JSON" in done.out
    found = factory.sessions.get("a")
    assert found is not None
    assert (found.owner, found.application_name) == ("ada", "support")


def test_fork_begins_another_session(call: Callable[..., Done], factory: MongoDBSessionManagerFactory) -> None:
    chat(factory, "a", "one", "two")

    done = call("fork", "a", "b", "--at", "2", "--owner", "bob", "--title", "again")

    assert (done.code, done.out) == (0, "b begins with 2 messages of a\n")
    found = factory.sessions.get("b")
    assert found is not None
    assert (found.message_count, found.owner, found.title, found.forked_from) == (2, "bob", "again", "a")
    assert call("fork", "a", "b").code == 1
    assert call("fork", "a", "c", "--at", "99").code == 1
    assert call("fork", "a", "d", "--json").documents[0]["forked_from"] == "a"


# Ending


def test_delete_needs_a_yes_where_nobody_can_be_asked(
    call: Callable[..., Done], factory: MongoDBSessionManagerFactory
) -> None:
    factory.sessions.create("a")

    refused = call("delete", "a")
    assert (refused.code, refused.out) == (1, "")
    assert "--yes" in refused.err
    assert factory.sessions.get("a") is not None

    done = call("delete", "a", "b", "--yes", "--json")
    assert (done.code, done.documents) == (1, [{"deleted": ["a"], "not_found": ["b"]}])
    assert factory.sessions.get("a") is None


@pytest.mark.parametrize(("answer", "code", "left"), [(b"y\n", 0, 0), (b"n\n", 1, 1), (b"\n", 1, 1), (None, 130, 1)])
def test_on_a_terminal_delete_asks(
    answer: bytes | None, code: int, left: int, place: Collection[Any], factory: MongoDBSessionManagerFactory
) -> None:
    factory.sessions.create("a")

    done = on_a_terminal(["delete", "a"], answer)

    assert "Delete 'a' from" in done.out
    assert (done.code, place.count_documents({})) == (code, left)
    assert "Traceback" not in done.out


def test_all_sessions_of_an_owner_are_deleted(call: Callable[..., Done], factory: MongoDBSessionManagerFactory) -> None:
    for name in ("a", "b"):
        chat(factory, name, "one", owner="ada")
    chat(factory, "c", "one", owner="bob")

    done = call("delete", "--owner", "ada", "--yes", "--json")

    assert (done.code, done.documents) == (0, [{"sessions": 2, "messages": 4, "kept_in_forks": 0}])
    assert [each.session_id for each in factory.sessions.page().items] == ["c"]
    assert call("delete", "--yes").code == call("delete", "c", "--owner", "bob", "--yes").code == 2


def test_purge_removes_what_has_expired(
    call: Callable[..., Done], factory: MongoDBSessionManagerFactory, place: Collection[Any]
) -> None:
    for name in ("a", "b", "c"):
        factory.sessions.create(name)
    factory.sessions.expire("a", 0.001, rolling=False)
    factory.sessions.expire("b", 0.001, rolling=False)
    time.sleep(0.1)

    assert call("purge").code == 1
    assert call("purge", "--yes", "--json").documents == [{"purged": 2}]
    assert [each["_id"] for each in place.find()] == ["c"]


# Keeping


def test_doctor_says_that_a_session_is_not_there(call: Callable[..., Done]) -> None:
    done = call("doctor", "--session", "nope")

    assert (done.code, "session 'nope' does not exist" in done.err) == (1, True)


def test_doctor_removes_what_interrupted_writes_left_in_the_storage(
    call: Callable[..., Done], factory: MongoDBSessionManagerFactory, place: Collection[Any]
) -> None:
    storage = place.database[f"{place.name}_storage"]
    old = ObjectId.from_datetime(datetime.now(UTC) - timedelta(days=1))
    for namespace in ("/", "team%2Fa/"):
        storage.insert_one({"_id": {"of": f"{namespace}key", "write": old, "part": 0}, "data": b"1"})
    fresh = {"_id": {"of": "/key", "write": ObjectId(), "part": 0}, "data": b"1"}
    storage.insert_one(fresh)

    assert call("doctor", "--json").documents[0]["storage_parts"] == 0
    assert call("doctor", "--repair", "--json").documents[0]["storage_parts"] == 2
    assert [each["_id"] for each in storage.find()] == [fresh["_id"]]


def test_doctor_finds_and_mends(
    call: Callable[..., Done], factory: MongoDBSessionManagerFactory, place: Collection[Any]
) -> None:
    chat(factory, "a", "one")
    assert call("doctor").code == 0
    place.update_one({"_id": "a"}, {"$set": {"agents.default.message_count": 7}})

    found, mended = call("doctor", "--json"), call("doctor", "--session", "a", "--repair")

    assert found.code == 1
    assert [each["kind"] for each in found.documents[0]["findings"]] == ["message_count"]
    assert found.documents[0]["is_healthy"] is False
    assert (mended.code, "(mended)" in mended.out) == (0, True)
    assert call("doctor", "--grace", "0", "--turn-timeout", "1").code == 0


def test_indexes_are_listed_and_made(call: Callable[..., Done], place: Collection[Any]) -> None:
    assert call("indexes", "list", "--json") == (0, "", "")

    made = call("indexes", "ensure", "--metadata-field", "tier", "--json").documents

    names = {each["collection"] for each in made}
    assert names == {place.name, f"{place.name}_archive"}
    assert ["metadata.tier", "updated_at", "_id", "owner"] in [each["fields"] for each in made]
    assert call("indexes", "list", "--json").documents == made
    assert {*place.index_information()} == {each["name"] for each in made if each["collection"] == place.name}
    assert "updated_at, _id, title" in call("indexes", "list").out


# How it ends


@pytest.mark.parametrize(
    "uri",
    [
        "mongodb://ada:s3cr%40t@127.0.0.1:1/?serverSelectionTimeoutMS=200",
        "mongodb://ada:s3cr@t:x@127.0.0.1:1/",
        "mongo//ada:s3cr@t@h/",
        "mongodb://ada:s3cr%40t@127.0.0.1:1/?authMechanism=NONE&authSource=s3cr@t&serverSelectionTimeoutMS=200",
    ],
)
def test_no_error_holds_a_credential(uri: str, call: Callable[..., Done], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MONGODB_URI", uri)
    for arguments in (["list"], ["show", uri], ["list", uri], ["list", "--uri", uri], ["import", "--from-files", uri]):
        done = call(*arguments)
        assert done.code in (1, 2, 3)
        assert "Traceback" not in done.err
        assert not re.search("s3cr|ada", done.out + done.err)


def test_a_wrong_password_is_told_without_it(
    call: Callable[..., Done], mongo_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MONGODB_URI", mongo_uri.replace("mongodb://", "mongodb://ada:s3cret@"))

    done = call("list")

    assert (done.code, done.out) == (3, "")
    assert done.err.startswith("mongodb-sessions: the database refuses: ")
    assert not re.search("s3cret|ada", done.err)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["show", "missing"], 1),
        (["export", "missing"], 1),
        (["fork", "missing", "x"], 1),
        (["import", "missing.jsonl"], 1),
        (["import", "--from-files", "missing"], 1),
        (["list", "--limit", "0"], 2),
        (["list", "--cursor", "x"], 2),
        (["list", "--order", "size"], 2),
        (["search", "--metadata", "x"], 2),
        (["search", "--metadata", "$x=1"], 2),
        (["search", "--created-after", "soon"], 2),
        (["export"], 2),
        (["export", "a", "--all"], 2),
        (["import"], 2),
        (["import", "a.jsonl", "--from-files", "b"], 2),
        (["import", "--from-files", "b", "--session-id", "c"], 2),
        (["import", "--from-database", "tests"], 2),
        (["indexes"], 2),
        (["nonsense"], 2),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else str(value),
)
def test_the_exit_code_tells_what_was_wrong(arguments: list[str], code: int, call: Callable[..., Done]) -> None:
    done = call(*arguments)

    assert (done.code, done.out if code == 1 else "") == (code, "")
    assert done.err or arguments == ["indexes"]


def test_where_the_sessions_are_must_be_said(call: Callable[..., Done], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLLECTION_NAME")

    done = call("list")

    assert done.code == 2
    assert "--collection" in done.err


def test_an_unreachable_database_is_told_in_one_line(place: Collection[Any]) -> None:
    done = process("list", "--uri", "mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=200")

    assert (done.code, done.out) == (3, "")
    assert re.fullmatch("mongodb-sessions: the database cannot be reached: [^\n]*127.0.0.1:1[^\n]*\n", done.err)


def test_a_reader_that_goes_away_is_no_error(place: Collection[Any], factory: MongoDBSessionManagerFactory) -> None:
    repository = factory.create_session_manager("s").session_repository
    repository.create_agent("s", SessionAgent("default", {}, {}))
    for position in range(50):
        message: Any = {"role": "user", "content": [{"text": "x" * 10_000}]}
        repository.create_message("s", "default", SessionMessage(message, position))
    for command in ("export", "show"):
        line = f"{' '.join(COMMAND)} {command} s | head -c 10 >/dev/null; echo ${{PIPESTATUS[0]}}"
        done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=60, check=False)
        assert (done.stdout, done.stderr) == ("0\n", ""), command


def test_colour_is_for_terminals_alone(place: Collection[Any], factory: MongoDBSessionManagerFactory) -> None:
    factory.sessions.create("a")

    plain = process("list", env={**os.environ, "TERM": "xterm-256color"})
    coloured = on_a_terminal(["list"])

    assert (plain.code, coloured.code) == (0, 0)
    assert "\x1b" not in plain.out
    assert "\x1b[" in coloured.out


def test_on_a_terminal_an_import_shows_how_far_it_is(place: Collection[Any], tmp_path: Path) -> None:
    for number in range(30):
        FileSessionManager(str(number), storage_dir=str(tmp_path))

    done = on_a_terminal(["import", "--from-files", str(tmp_path), "--workers", "1"])

    assert done.code == 0
    assert "importing" in done.out
    assert "/30" in done.out
    assert "imported 30 of 30 sessions" in done.out


def test_ctrl_c_is_quiet_and_the_import_can_be_repeated(
    place: Collection[Any], factory: MongoDBSessionManagerFactory, tmp_path: Path
) -> None:
    for number in range(400):
        FileSessionManager(f"s{number:03}", storage_dir=str(tmp_path))
    importing = subprocess.Popen(
        [*COMMAND, "import", "--from-files", str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 60
    while place.count_documents({}) < 50 and time.monotonic() < deadline:
        time.sleep(0.01)
    importing.send_signal(signal.SIGINT)
    told = importing.communicate(timeout=60)

    assert (importing.returncode, *told) == (130, b"", b"")
    assert 0 < len(factory.sessions.page(limit=400).items) < 400
    assert process("import", "--from-files", str(tmp_path), "--json").documents[0]["verified"] == 400


# Running


def test_mongod_prints_its_address_and_ends_with_ctrl_c(tmp_path: Path) -> None:
    with subprocess.Popen(
        [*COMMAND, "mongod", "--folder", str(tmp_path / "db"), "--json"], stdout=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout is not None
        told = json.loads(running.stdout.readline())
        assert (told["owned"], [*told]) == (True, ["uri", "port", "pid", "owned"])
        shared = process("mongod", "--folder", str(tmp_path / "db"))
        assert (shared.code, shared.out) == (0, f"{told['uri']}\n")
        assert "another process" in shared.err
        listed = process("list", "--uri", told["uri"], "--database", "d", "--collection", "c")
        running.send_signal(signal.SIGINT)
        assert running.wait(30) == 0
    assert listed.code == 0
    assert process("mongod", "--folder", "/dev/null/x").code == 1


def test_serve_runs_the_chat_service(place: Collection[Any], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with subprocess.Popen(
        [*COMMAND, "serve", "--port", str(port), "--host", "127.0.0.1"], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout is not None
        assert f"http://127.0.0.1:{port}" in running.stdout.readline()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=10) as response:
            assert response.status == 200
        running.send_signal(signal.SIGINT)
        assert running.wait(30) == 0
