"""The service as a process: how it starts, how it ends, and what a kill leaves behind."""

from __future__ import annotations

import json
import signal
import socket
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from pymongo import MongoClient

from .running import Process, events_of, eventually, running, started


def mongod_pids(folder: Path) -> list[int]:
    """Servers whose command line names the folder."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            command = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if entry.name.isdigit() and b"mongod" in command and str(folder).encode() in command:
            found.append(int(entry.name))
    return found


def test_it_says_where_it_listens_and_keeps_its_data_in_the_working_directory(tmp_path: Path, port: int) -> None:
    with started(tmp_path, port) as process:
        assert f"http://127.0.0.1:{port}" in process.wait_ready()
        assert process.http.get("/readyz").status_code == 200
        assert (tmp_path / ".data").is_dir()
        assert mongod_pids(tmp_path)


def test_a_taken_port_is_told_in_one_line_before_anything_is_started(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        with started(tmp_path, number) as process:
            assert process.process.wait(10) == 1
        assert process.log().count("\n") == 1
        assert process.log().startswith("PORT: ")
        assert str(number) in process.log()
        assert not (tmp_path / ".data").exists()


def test_a_wrong_setting_is_told_in_one_line(tmp_path: Path, port: int) -> None:
    with started(tmp_path, port, ENVIRONMENT="prod") as process:
        assert process.process.wait(10) == 2
    assert process.log().startswith("ENVIRONMENT: ")
    assert process.log().count("\n") == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HOST", "nowhere.invalid"),
        ("HOST", "192.0.2.1"),  # of no machine
        ("HOST", "x" * 300),
        ("MONGODB_URI", "mongodb://["),
        ("DATA_DIR", "file/data"),
        ("DATA_DIR", "file"),
    ],
)
def test_what_cannot_work_here_is_told_in_one_line(tmp_path: Path, port: int, name: str, value: str) -> None:
    (tmp_path / "file").touch()
    with started(tmp_path, port, **{name: value}) as process:
        assert process.process.wait(10) == 2
    assert process.log().startswith(f"{name}: ")
    assert process.log().count("\n") == 1


def test_another_server_gets_the_log_as_well(tmp_path: Path, port: int, mongo_uri: str) -> None:
    program = ("uvicorn", "--factory", "chat_service.main:create_app", "--port", str(port))
    settings = {"MONGODB_URI": mongo_uri, "LOG_LEVEL": "info", "MIN_POOL_SIZE": "0"}
    with started(tmp_path, port, program=program, **settings) as process:
        eventually(lambda: "Uvicorn running on" in process.log(), 20)
        process.http.get("/livez", headers={"X-Request-ID": "abc-1"})
        eventually(lambda: "request_id=<abc-1>" in process.log())
    assert process.log().count("request_id=<abc-1>") == 1


def test_logging_that_is_configured_already_stays_as_it_is(tmp_path: Path, port: int, mongo_uri: str) -> None:
    own = tmp_path / "own.log"
    config = {
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {"own": {"class": "logging.FileHandler", "filename": str(own)}},
        "root": {"level": "INFO", "handlers": ["own"]},
    }
    (tmp_path / "log.json").write_text(json.dumps(config))
    program = ("uvicorn", "--factory", "chat_service.main:create_app", "--port", str(port), "--log-config", "log.json")
    with started(tmp_path, port, program=program, MONGODB_URI=mongo_uri, MIN_POOL_SIZE="0") as process:
        eventually(lambda: own.exists() and "Uvicorn running on" in own.read_text(), 20)
        process.http.get("/livez", headers={"X-Request-ID": "abc-1"})
        eventually(lambda: "request_id=<abc-1>" in own.read_text())
    assert process.log() == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_told_to_end_in_the_middle_of_an_answer_it_stores_what_was_said_and_ends_everything_within_five_seconds(
    tmp_path: Path, port: int, number: signal.Signals
) -> None:
    with running(tmp_path, port) as process:
        with process.http.stream("POST", "/api/chat/stream", json={"query": "Count to 100."}) as response:
            session_id = response.headers["session-id"]
            events = events_of(response)
            seen = [next(events) for _ in range(5)]
            began = time.monotonic()
            process.process.send_signal(number)
            seen.extend(events)
        assert [event["event"] for event in seen if event["event"] != "response_chunk"] == ["stopped"]
        said = "".join(event["text"] for event in seen[:-1])
        assert seen[-1]["response_text"] == said
        assert process.process.wait(5) == 0
        assert time.monotonic() - began < 5
        eventually(lambda: not mongod_pids(tmp_path))
        assert "Traceback" not in process.log()
    with running(tmp_path, port) as process:
        messages = process.http.get(f"/api/sessions/{session_id}").json()["messages"]
        assert [(message["role"], message["text"]) for message in messages] == [
            ("user", "Count to 100."),
            ("assistant", said),
        ]
        again = process.http.post("/api/chat", json={"query": "What did I say first?", "session_id": session_id})
        assert "“Count to 100.”" in again.json()["response_text"]


def test_a_model_that_says_nothing_holds_nothing_up(
    tmp_path: Path, port: int, mongo_uri: str, mongo_client: MongoClient[Any]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings = {
            "MONGODB_URI": mongo_uri,
            "DATABASE_NAME": f"silent_{port}",
            "MODEL_PROVIDER": "openai",
            "MODEL_ID": "some-model",
            "OPENAI_API_KEY": "key",
            "OPENAI_BASE_URL": f"http://127.0.0.1:{silent.getsockname()[1]}/v1",
            "SHUTDOWN_SECONDS": "0.5",
        }
        with running(tmp_path, port, **settings) as process:
            with process.http.stream("POST", "/api/chat/stream", json={"query": "Hello?"}) as response:
                began = time.monotonic()
                process.process.send_signal(signal.SIGTERM)
                events = list(events_of(response))
            assert process.process.wait(5) == 0
            assert time.monotonic() - began < 5
    assert [event["event"] for event in events] == ["stopped"]
    document = mongo_client[f"silent_{port}"]["sessions"].find_one(response.headers["session-id"])
    mongo_client.drop_database(f"silent_{port}")
    assert document
    assert document["agents"]["default"]["messages"][0]["message"]["content"] == [{"text": "Hello?"}]
    assert "turn" not in document["agents"]["default"]


def test_without_a_server_of_any_kind_the_ways_out_are_named(tmp_path: Path, port: int) -> None:
    with started(tmp_path, port, MONGOD_BINARY=str(tmp_path / "none")) as process:
        assert process.process.wait(10) == 2
    assert process.log().startswith("MONGODB_URI: ")
    assert "Traceback" not in process.log()


def test_idle_it_ends_at_once(tmp_path: Path, port: int) -> None:
    with running(tmp_path, port) as process:
        process.http.get("/livez")  # leaves a connection open
        began = time.monotonic()
        assert process.end(signal.SIGINT, 5) == 0
        assert time.monotonic() - began < 3
        eventually(lambda: not mongod_pids(tmp_path))


def test_killed_in_the_middle_of_an_answer_it_goes_on_with_the_conversation_after_a_restart(
    tmp_path: Path, port: int
) -> None:
    with running(tmp_path, port) as process:
        session_id = ask(process, "My name is Ada.")["session_id"]
        body = {"query": "Count to 100.", "session_id": session_id}
        with process.http.stream("POST", "/api/chat/stream", json=body) as response:
            events = events_of(response)
            for _ in range(5):
                next(events)
            assert process.end(signal.SIGKILL, 5) == -signal.SIGKILL
            with pytest.raises(httpx.RemoteProtocolError):
                list(events)
        eventually(lambda: not mongod_pids(tmp_path))
    with running(tmp_path, port) as process:
        sessions = process.http.get("/api/sessions").json()["sessions"]
        assert [(session["session_id"], session["title"]) for session in sessions] == [(session_id, "My name is Ada.")]
        messages = process.http.get(f"/api/sessions/{session_id}").json()["messages"]
        assert [message["text"] for message in messages][0::2] == ["My name is Ada.", "Count to 100."]
        # Nobody waits for the lease of the process that was killed: its turn is cleared at the start.
        assert ask(process, "What is my name?", session_id)["response_text"] == "Your name is Ada."


def ask(process: Process, query: str, session_id: str | None = None) -> dict[str, Any]:
    response = process.http.post("/api/chat", json={"query": query, "session_id": session_id})
    body: dict[str, Any] = response.raise_for_status().json()
    return body
