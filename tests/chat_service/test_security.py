"""Keys, what a start refuses, headers, and what the log must not hold."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from chat_service.config import ConfigurationError, Settings, load_settings
from chat_service.main import create_app
from chat_service.security.api_keys import KeyRing, made_for, parse
from chat_service.security.authentication import PUBLIC
from chat_service.security.refusals import Forbidden, Overloaded, RateLimited, Unauthorized
from chat_service.security.settings import SecuritySettings

from .callers import API_KEYS, KEYS, bearer
from .conftest import MakeService
from .running import ROOT, Service, running, started

ADA = KEYS["ada"][0]


@pytest.fixture(scope="module")
def guarded(make_service: MakeService) -> Service:
    return make_service(api_keys=API_KEYS, failed_key_limit="1000/minute")


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-m", "chat_service", *arguments]
    environment = {"PYTHONPATH": str(ROOT / "src"), "ENVIRONMENT": "production"}
    return subprocess.run(program, env=environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {ADA}"},
        {"Authorization": f"bearer  {ADA}"},
        {"X-API-Key": ADA},
        {"Authorization": "Basic Zm9v", "X-API-Key": ADA},
    ],
)
def test_a_key_is_taken_from_either_header(guarded: Service, headers: dict[str, str]) -> None:
    assert guarded.http.get("/api/sessions", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ADA},
        {"Authorization": "Bearer"},
        {"Authorization": f"Bearer {ADA}x"},
        {"Authorization": f"Bearer {ADA[:-1]}"},
        {"Authorization": f"Bearer {hashlib.sha256(ADA.encode()).hexdigest()}"},
        {"Authorization": "Bearer ada"},
        {"Authorization": f"Bearer {'x' * 5_000}"},
        {"X-API-Key": "no"},
        {"Cookie": f"key={ADA}"},
    ],
)
def test_without_a_known_key_the_answer_is_401_and_tells_how_to_send_one(
    guarded: Service, headers: dict[str, str]
) -> None:
    response = guarded.http.get("/api/sessions", headers=headers)
    assert (response.status_code, response.json()["code"]) == (401, "unauthorized")
    assert response.headers["WWW-Authenticate"] == "Bearer"


def test_a_key_of_odd_bytes_is_wrong_and_nothing_worse(guarded: Service) -> None:
    for value in (b"Bearer \xff\xfe", "Bearer ключ".encode(), b"Bearer \xc2\xa0"):
        assert guarded.http.get("/api/sessions", headers=[(b"Authorization", value)]).status_code == 401


def test_a_key_in_the_address_is_no_key(guarded: Service) -> None:
    assert guarded.http.get("/api/sessions", params={"key": ADA, "api_key": ADA}).status_code == 401


def test_without_a_key_nothing_of_a_request_is_read(guarded: Service) -> None:
    for body in (b"{", b"x" * 100_000):
        assert guarded.http.post("/api/chat", content=body).status_code == 401


def test_keys_of_one_owner_rotate(make_service: MakeService) -> None:
    (old, first), (new, second), (other, _) = (made_for("ada") for _ in range(3))
    service = make_service(api_keys=f" {first} ,{second},")
    made = service.http.post("/api/sessions", json={}, headers={"X-API-Key": old}).json()["session_id"]
    path = f"/api/sessions/{made}"
    assert service.http.get(path, headers={"X-API-Key": new}).json()["session_id"] == made
    assert service.http.get(path, headers={"X-API-Key": other}).status_code == 401


def test_every_configured_key_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[str] = []
    monkeypatch.setattr("hmac.compare_digest", lambda one, other: compared.append(one) or one == other)
    ring = KeyRing(parse(API_KEYS))
    for owner, (key, _) in KEYS.items():
        compared.clear()
        found = ring.find(key.encode())
        assert (found and found.owner, len(compared)) == (owner, len(KEYS))


def test_a_new_key_is_printed_once_with_the_entry_that_lets_it_in() -> None:
    first, second = command("key", "ada"), command("key", "ada")
    assert first.returncode == 0, first.stderr
    assert first.stdout != second.stdout
    (key,) = (line.strip() for line in first.stdout.splitlines() if line.startswith("    chat_"))
    (entry,) = (line.strip() for line in first.stdout.splitlines() if line.startswith("    API_KEYS="))
    assert len(key) >= 40
    found = KeyRing(parse(entry.removeprefix("API_KEYS="))).find(key.encode())
    assert found
    assert found.owner == "ada"


@pytest.mark.parametrize("arguments", [("key",), ("key", "a:b"), ("key", "a", "b"), ("key", ""), ("key", "x" * 65)])
def test_a_key_needs_the_name_of_an_owner(arguments: tuple[str, ...]) -> None:
    refused = command(*arguments)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "owner" in refused.stderr


@pytest.mark.parametrize(
    "value",
    [
        "secret-key",
        "ada:secret-key",
        f"ada:{'0' * 63}",
        f":{'0' * 64}",
        f"a b:{'0' * 64}",
        f"ada:{'0' * 64},secret",
        f"ada:{'0' * 64},bob:{'0' * 64}",
    ],
)
def test_a_plain_key_in_the_settings_is_refused_and_not_repeated(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("API_KEYS", value)
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    assert str(caught.value).startswith("API_KEYS: entry ")
    assert "python -m chat_service key" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_keys_do_not_show_in_the_settings() -> None:
    digest = KEYS["ada"][1].partition(":")[2]
    settings = Settings(_env_file=None, api_keys=API_KEYS, rate_limit_storage="mongodb://user:secret@host")
    assert digest not in repr(settings)
    assert "secret" not in repr(settings)


def test_every_setting_and_error_of_the_kind_is_explained() -> None:
    page = (ROOT / "docs" / "security.md").read_text() + (ROOT / "docs" / "service.md").read_text()
    errors = (Unauthorized, Forbidden, RateLimited, Overloaded)
    names = [name.upper() for name in SecuritySettings.model_fields]
    assert [name for name in (*names, *(error.code for error in errors), *PUBLIC) if f"`{name}`" not in page] == []


PRODUCTION = {"ENVIRONMENT": "production", "API_KEYS": API_KEYS}


@pytest.mark.parametrize(
    ("environment", "name", "remedy"),
    [
        ({"ENVIRONMENT": "production"}, "API_KEYS", "python -m chat_service key"),
        ({"ENVIRONMENT": "staging", "HOST": "0.0.0.0"}, "API_KEYS", "127.0.0.1"),
        ({"ENVIRONMENT": "staging", "HOST": "example.com"}, "API_KEYS", "127.0.0.1"),
        ({**PRODUCTION, "DEBUG_ROUTES": "true"}, "DEBUG_ROUTES", "false"),
        ({**PRODUCTION, "CORS_ORIGINS": "*"}, "CORS_ORIGINS", "https://example.com"),
        ({"ALLOWED_ORIGINS": "https://a.example,*"}, "CORS_ORIGINS", "ALLOWED_ORIGINS"),
        ({"FORWARDED_ALLOW_IPS": "*"}, "FORWARDED_ALLOW_IPS", "proxies"),
        ({"FORWARDED_ALLOW_IPS": "proxy"}, "FORWARDED_ALLOW_IPS", "proxies"),
        ({"OPERATORS": "a b"}, "OPERATORS", "owners"),
        ({"RATE_LIMIT": "many"}, "RATE_LIMIT", "60/minute"),
        ({"FAILED_KEY_LIMIT": "off"}, "FAILED_KEY_LIMIT", "20/minute"),
        ({"RATE_LIMIT_STORAGE": "redis://localhost"}, "RATE_LIMIT_STORAGE", "memory://"),
        ({"RATE_LIMIT_STORAGE": "nowhere://x"}, "RATE_LIMIT_STORAGE", "memory://"),
        ({"RATE_LIMIT_STORAGE": "async+memory://"}, "RATE_LIMIT_STORAGE", "memory://"),
        ({"MAX_CONCURRENT_TURNS": "0"}, "MAX_CONCURRENT_TURNS", "200"),
    ],
)
def test_what_is_not_safe_does_not_start(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], name: str, remedy: str
) -> None:
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    assert str(caught.value).startswith(f"{name}: ")
    assert remedy in str(caught.value)


@pytest.mark.parametrize(
    "environment",
    [
        PRODUCTION,
        {**PRODUCTION, "HOST": "0.0.0.0", "DEBUG_ROUTES": "false"},
        {"ENVIRONMENT": "staging", "HOST": "localhost"},
        {"ENVIRONMENT": "staging", "HOST": "::1"},
        {"HOST": "0.0.0.0"},
    ],
)
def test_what_is_safe_starts(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> None:
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    create_app()


def test_a_wrong_setting_ends_the_start_in_one_line(tmp_path: Path, port: int) -> None:
    with started(tmp_path, port, ENVIRONMENT="production") as process:
        assert process.process.wait(20) == 2
    assert process.log().startswith("API_KEYS: missing")
    assert process.log().count("\n") == 1


@pytest.mark.parametrize(("host", "warned"), [("0.0.0.0", True), ("127.0.0.1", False)])
def test_in_development_an_open_address_without_keys_is_warned_of(
    tmp_path: Path, port: int, mongo_uri: str, host: str, warned: bool
) -> None:
    with running(tmp_path, port, MONGODB_URI=mongo_uri, HOST=host, MIN_POOL_SIZE="0") as process:
        response = process.http.get("/livez")
    assert ("API_KEYS" in process.log()) is warned
    assert "server" not in response.headers


@pytest.mark.parametrize(("debug", "status"), [(True, 401), (False, 404), (None, 404)])
def test_debugging_routes_are_there_when_they_are_wanted(
    make_service: MakeService, debug: bool | None, status: int
) -> None:
    service = make_service(environment="staging", api_keys=API_KEYS, debug_routes=debug)
    assert service.http.get("/debug/pool").status_code == status


def test_every_answer_has_the_headers_that_keep_a_browser_from_mischief(guarded: Service) -> None:
    ada = bearer("ada")
    page = guarded.http.get("/chat.html")
    assert "script-src 'self'" in page.headers["Content-Security-Policy"]
    session_id = guarded.http.post("/api/chat", json={"query": "Hello"}, headers=ada).json()["session_id"]
    answers = [
        page,
        guarded.http.get("/livez"),
        guarded.http.get("/static/app.js"),
        guarded.http.get("/api/sessions"),
        guarded.http.get(f"/api/sessions/{session_id}", headers=ada),
        guarded.http.get("/nowhere", headers=ada),
        guarded.http.post("/api/chat", content=b"{", headers=ada),
        guarded.http.post("/api/chat", content=b"x" * 100_000, headers=ada),
        guarded.http.post("/api/chat/stream", json={"query": "Hello"}, headers=ada),
        guarded.http.options("/api/chat", headers={"Origin": "http://localhost:3000", **_PREFLIGHT}),
    ]
    assert {response.status_code for response in answers} == {200, 401, 404, 413, 422}
    for response in answers:
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Referrer-Policy"] == "no-referrer"
        assert "frame-ancestors 'none'" in response.headers["Content-Security-Policy"]
        assert response.headers["X-Request-ID"]
        assert "Strict-Transport-Security" not in response.headers
    for response in answers[3:8]:
        assert response.headers["Cache-Control"] == "no-store"


_PREFLIGHT = {"Access-Control-Request-Method": "POST"}


def test_browsers_insist_on_https_where_it_is_set(make_service: MakeService) -> None:
    service = make_service(hsts_seconds=31_536_000)
    assert service.http.get("/livez").headers["Strict-Transport-Security"] == "max-age=31536000"


async def test_a_server_that_does_not_tell_the_path_as_it_came_is_served_as_well() -> None:
    app = create_app(Settings(_env_file=None, api_keys=API_KEYS))
    sent: list[Any] = []
    for path, status in (("/livez", 200), ("/api/sessions/ä%2F/x", 401), ("/%00", 401)):
        scope = {"type": "http", "method": "GET", "path": path, "headers": [], "query_string": b""}

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b""}

        async def send(message: Any) -> None:
            sent.append(message)

        sent.clear()
        await app(scope, receive, send)
        assert sent[0]["status"] == status


async def test_there_are_no_websockets() -> None:
    app = create_app(Settings(_env_file=None))
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    await app({"type": "websocket", "path": "/", "headers": []}, receive, send)
    assert [message["type"] for message in sent] == ["websocket.close"]


@pytest.mark.parametrize("level", ["INFO", "DEBUG"])
def test_no_log_holds_a_key_or_a_password_nor_at_info_what_was_said(
    tmp_path: Path, port: int, mongo_uri: str, mongo_client: MongoClient[Any], level: str
) -> None:
    name = f"secrets_{port}"
    mongo_client[name].command("createUser", name, pwd="the-password", roles=["readWrite"])
    uri = mongo_uri.replace("mongodb://", f"mongodb://{name}:the-password@", 1)
    uri += f"{'&' if '?' in uri else '?'}authSource={name}"
    said = ["the-question", "the-selection", "the-title", "the-comment", "the-metadata"]
    settings = {"MONGODB_URI": uri, "DATABASE_NAME": name, "API_KEYS": API_KEYS, "LOG_LEVEL": level}
    settings |= {"OPENAI_API_KEY": "sk-the-model-key", "MIN_POOL_SIZE": "0", "DEMO_DELAY": "0"}
    try:
        with running(tmp_path, port, **settings) as process:
            http = process.http
            http.headers.update(bearer("ada"))
            body = {"query": "What is the-question?", "selected_text": "the-selection"}
            asked = http.post("/api/chat", json=body).raise_for_status().json()
            path = f"/api/sessions/{asked['session_id']}"
            http.get("/api/chat/stream", params={"query": "the-question"}).raise_for_status()
            http.patch(path, json={"title": "the-title", "metadata": {"k": "the-metadata"}}).raise_for_status()
            http.post(f"{path}/feedback", json={"rating": "up", "comment": "the-comment"}).raise_for_status()
            http.post("/api/chat", json={"query": "the-question", "temperature": "the-question"})
            http.post("/api/chat", json={"query": "the-question" * 100})
            http.get(f"/api/sessions/{asked['session_id']}", headers={"Authorization": "Bearer the-wrong-key"})
    finally:
        mongo_client[name].command("dropUser", name)
        mongo_client.drop_database(name)
    log = process.log()
    assert "request served" in log
    keys = [each for key, entry in KEYS.values() for each in (key, entry.partition(":")[2])]
    assert [each for each in (*keys, "the-password", "sk-the-model-key", "the-wrong-key") if each in log] == []
    if level == "INFO":
        assert [each for each in said if each in log] == []
