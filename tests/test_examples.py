"""The examples do what they say: each runs as a program of its own and is asked over HTTP."""

from __future__ import annotations

import json
import os
import re
import runpy
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from pymongo import MongoClient

from tests.commands import Commands

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"

Run = Callable[[str], httpx.Client]


def environment(**changes: str) -> dict[str, str]:
    names = ("PATH", "HOME", "MONGOD_BINARY", "TMPDIR")
    inherited = {name: os.environ[name] for name in names if name in os.environ}
    return {**inherited, "PYTHONPATH": str(ROOT / "src"), **changes}


@contextmanager
def running(name: str, folder: Path, **changes: str) -> Iterator[httpx.Client]:
    """``python examples/NAME.py`` in a folder of its own, once it answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, EXAMPLES / f"{name}.py"],
            cwd=folder,
            env=environment(PORT=str(port), **changes),
            stdout=log,
            stderr=log,
        )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as http:
            wait_ready(http, process, folder / "log")
            yield http
    finally:
        process.terminate()
        process.wait(20)


def wait_ready(http: httpx.Client, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 40
    while time.monotonic() < end and process.poll() is None:
        try:
            http.get("/readyz").raise_for_status()
        except httpx.HTTPError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError(log.read_text())


@pytest.fixture
def database(mongo_client: MongoClient[Any], commands: Commands) -> Iterator[str]:
    """A name of its own for the databases of a test."""
    name = f"examples_{uuid.uuid4().hex[:12]}"
    yield name
    with commands.unwatched():
        for made in mongo_client.list_database_names():
            if made.startswith(name):
                mongo_client.drop_database(made)


@pytest.fixture
def run(mongo_uri: str, database: str, tmp_path: Path) -> Iterator[Run]:
    with ExitStack() as stack:
        yield lambda name: stack.enter_context(running(name, tmp_path, MONGODB_URI=mongo_uri, DATABASE_NAME=database))


@pytest.fixture
def roles(mongo_client: MongoClient[Any], database: str, commands: Commands) -> Callable[..., list[str]]:
    """Who said something in a session, as the database has it."""

    def find(session_id: str, suffix: str = "") -> list[str]:
        with commands.unwatched():
            found = mongo_client[database + suffix]["sessions"].find_one({"_id": session_id})
        return [each["message"]["role"] for each in found["agents"]["default"]["messages"]] if found else []

    return find


TURN = ["user", "assistant"]


def test_the_chat_example_remembers_and_tells_how_it_is(run: Run, roles: Callable[..., list[str]]) -> None:
    http = run("example_fastapi")
    for prompt in ("My name is Ada.", "Hello"):
        response = http.post("/chat", json={"prompt": prompt}, headers={"session-id": "ada"}).raise_for_status()
    body = response.json()
    assert body["response"].strip() == "You have said 2 things, and the first was: My name is Ada."
    assert (body["session_id"], body["metrics"]["total_messages"], body["metrics"]["total_tokens"]) == ("ada", 4, 30)
    assert roles("ada") == TURN * 2
    for path in ("/health", "/livez", "/metrics", "/debug/pool"):
        assert http.get(path).status_code == 200
    assert http.post("/chat", json={"prompt": "Hello"}).status_code == 422


def test_the_streaming_example_streams_text_and_events(run: Run, roles: Callable[..., list[str]]) -> None:
    http = run("example_fastapi_streaming")
    ada = {"session-id": "ada"}
    text = http.post("/chat/stream", json={"prompt": "Hello"}, headers=ada)
    assert text.headers["content-type"].startswith("text/plain")
    assert text.text == "You have said 1 things, and the first was: Hello"
    events = http.post("/chat/events", json={"prompt": "Hello"}, headers=ada).text
    told = [json.loads(line.removeprefix("data: ")) for line in events.splitlines() if line.startswith("data: ")]
    assert [each["event"] for each in told] == ["response_chunk", "response_chunk", "response_complete"]
    assert told[-1]["response_text"] == "You have said 2 things, and the first was: Hello"
    assert roles("ada") == TURN * 2


def test_the_example_of_dependencies_knows_which_sessions_there_are(run: Run, roles: Callable[..., list[str]]) -> None:
    http = run("example_fastapi_dependencies")
    ada = {"session-id": "ada"}
    unknown = http.post("/feedback", params={"rating": "up"}, headers=ada)
    assert (unknown.status_code, unknown.json()["code"]) == (404, "session_not_found")
    assert "You have said 1" in http.post("/chat", params={"prompt": "Hello"}, headers=ada).json()["response"]
    assert http.post("/feedback", params={"rating": "up"}, headers=ada).json() == {"status": "success"}
    assert http.get("/sessions").json()["sessions"] == ["ada"]
    assert roles("ada") == TURN


def test_in_the_example_of_tenants_nobody_sees_the_others_session(run: Run, roles: Callable[..., list[str]]) -> None:
    http = run("example_multi_tenant")

    def ask(key: str) -> httpx.Response:
        headers = {"Authorization": f"Bearer {key}", "session-id": "ada"}
        return http.post("/chat", params={"prompt": f"I have the {key}"}, headers=headers)

    for key, tenant in (("key-of-acme", "acme"), ("key-of-globex", "globex")):
        told = ask(key).json()
        assert told["tenant"] == tenant
        assert told["response"].strip() == f"You have said 1 things, and the first was: I have the {key}"
        assert roles("ada", f"_{tenant}") == TURN
    assert ask("none").status_code == http.post("/chat", params={"prompt": "Hello"}).status_code == 401
    assert roles("ada") == []


def test_the_lambda_example_keeps_its_factory_from_one_invocation_to_the_next(
    mongo_uri: str, database: str, roles: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MONGODB_URI", mongo_uri)
    monkeypatch.setenv("DATABASE_NAME", database)
    monkeypatch.delenv("MODEL_ID", raising=False)
    module = runpy.run_path(str(EXAMPLES / "example_lambda.py"))
    handler, factory = module["handler"], module["factory"]

    def invoke(prompt: str) -> tuple[int, dict[str, Any]]:
        event = {"headers": {"session-id": "ada"}, "body": json.dumps({"prompt": prompt})}
        answer = handler(event, None)
        return answer["statusCode"], json.loads(answer["body"])

    assert invoke("My name is Ada.")[0] == 200
    status, body = invoke("Hello")
    assert (status, body["session_id"]) == (200, "ada")
    assert body["response"].strip() == "You have said 2 things, and the first was: My name is Ada."
    assert (factory.cache_info().misses, factory.cache_info().hits) == (1, 1)
    assert [handler(event, None)["statusCode"] for event in ({}, {"headers": {"session-id": "a"}, "body": "["})] == [
        400
    ] * 2
    assert roles("ada") == TURN * 2
    factory().close()


def test_an_application_of_the_examples_needs_no_database_of_ones_own(tmp_path: Path) -> None:
    with running("example_fastapi", tmp_path) as http:
        http.post("/chat", json={"prompt": "Hello"}, headers={"session-id": "ada"}).raise_for_status()
    assert (tmp_path / ".data" / "examples").is_dir()


def test_the_lambda_example_needs_no_database_of_ones_own(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, EXAMPLES / "example_lambda.py"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert [json.loads(line)["response"].split(",")[0] for line in ended.stdout.splitlines()] == [
        "You have said 1 things",
        "You have said 2 things",
    ]


def test_the_example_of_a_graph_goes_on_after_it_was_killed(mongo_uri: str, database: str, tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, EXAMPLES / "example_graph.py"],
        cwd=tmp_path,
        env=environment(MONGODB_URI=mongo_uri, DATABASE_NAME=database),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert ended.stdout.splitlines() == [
        "research begins",
        "write begins",
        "killed",
        "write begins",
        "review begins",
        "completed: research, write, review",
    ]


def test_every_example_is_listed_and_tells_how_to_run_it() -> None:
    listed = re.findall(r"\]\((example_\w+\.py)\)", (EXAMPLES / "README.md").read_text())
    assert sorted(listed) == sorted(file.name for file in EXAMPLES.glob("*.py"))
    for name in listed:
        assert f"python examples/{name}" in (EXAMPLES / name).read_text()
