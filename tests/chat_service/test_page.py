"""The page as it is served: by the service, with keys and in production, and alone for a service elsewhere."""

from __future__ import annotations

import gzip
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from chat_service.rendering.highlighting import stylesheet

from .callers import API_KEYS, bearer
from .conftest import MakeService
from .running import Process, Service, events_of, running, started


def policy(response: httpx.Response) -> dict[str, str]:
    parts = (part.strip().partition(" ") for part in response.headers["content-security-policy"].split(";"))
    return {name: value for name, _, value in parts}


def linked(page: str) -> list[str]:
    return re.findall(r'(?:href|src)="(/[^"]*)"', page)


def test_the_page_and_all_that_it_names_are_there(service: Service) -> None:
    page = service.http.get("/chat.html").raise_for_status()
    assert '<meta name="service-url" content="">' in page.text
    names = linked(page.text)
    assert "/static/highlight.css" in names
    for name in names:
        found = service.http.get(name).raise_for_status()
        assert found.headers["x-content-type-options"] == "nosniff"
        assert found.headers["cache-control"] == "no-cache"


def test_nothing_runs_on_the_page_but_what_the_service_serves(service: Service) -> None:
    for path in ("/chat.html", "/static/highlight.css", "/static/icon.svg"):
        rules = policy(service.http.get(path))
        assert rules["default-src"] == "'none'"
        assert rules["script-src"] == rules["style-src"] == rules["connect-src"] == "'self'"
        assert "unsafe" not in str(rules)


def test_the_page_travels_compressed_and_only_when_it_has_changed(service: Service) -> None:
    for path in ("/chat.html", "/static/highlight.css"):
        with service.http.stream("GET", path) as response:
            compressed = b"".join(response.iter_raw())
        assert response.headers["content-encoding"] == "gzip"
        assert "accept-encoding" in response.headers["vary"].lower()
        whole = service.http.get(path, headers={"Accept-Encoding": "identity"})
        assert gzip.decompress(compressed) == whole.content
        assert len(compressed) < len(whole.content)
        again = service.http.get(path, headers={"If-None-Match": response.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")


def test_a_stream_is_not_compressed(service: Service) -> None:
    with service.streamed("What is a session?") as response:
        assert "content-encoding" not in response.headers
        assert list(events_of(response))


def test_the_colours_of_code_are_made_by_the_service(service: Service) -> None:
    response = service.http.get("/static/highlight.css")
    assert response.headers["content-type"].startswith("text/css")
    assert response.text == stylesheet()
    assert service.http.head("/static/highlight.css").status_code == 200
    assert service.http.post("/static/highlight.css").status_code == 405


def test_in_production_the_page_is_open_and_its_calls_ask_for_a_key(make_service: MakeService) -> None:
    service = make_service(environment="production", api_keys=API_KEYS, hsts_seconds=31536000)
    names = ["/", "/chat.html", *linked(service.http.get("/chat.html").text)]
    for name in names:
        response = service.http.get(name, headers={"Accept": "text/html", "Host": "chat.example.com"})
        assert response.status_code == 200, name
        assert response.headers["strict-transport-security"] == "max-age=31536000"
    for path in ("/api/sessions", "/api/suggestions", "/api/sessions/a/turn"):
        refused = service.http.get(path)
        assert (refused.status_code, refused.json()["code"]) == (401, "unauthorized")
        assert refused.headers["www-authenticate"]
        assert service.http.get(path, headers=bearer("ada")).status_code in (200, 404)


def test_in_production_the_page_answers_to_the_names_that_are_allowed(make_service: MakeService) -> None:
    service = make_service(environment="production", api_keys=API_KEYS, allowed_hosts="chat.example.com")
    assert service.http.get("/chat.html", headers={"Host": "chat.example.com"}).status_code == 200
    assert service.http.get("/chat.html", headers={"Host": "evil.example.com"}).status_code == 421


@pytest.fixture
def front_end(tmp_path: Path, port: int) -> Iterator[Process]:
    program = ("chat_service", "frontend", "--port", str(port), "--service", "http://127.0.0.1:8880/")
    with started(tmp_path, port, program=program) as process:
        line = process.wait_ready()
        assert line == f"Page for http://127.0.0.1:8880 on http://127.0.0.1:{port}/chat.html  (Ctrl-C ends it)\n"
        yield process


def test_the_front_end_serves_the_page_for_a_service_elsewhere(front_end: Process) -> None:
    for path in ("/", "/chat.html"):
        page = front_end.http.get(path).raise_for_status()
        assert '<meta name="service-url" content="http://127.0.0.1:8880">' in page.text
        assert policy(page)["connect-src"] == "http://127.0.0.1:8880"
        assert policy(page)["script-src"] == "'self'"
    for name in linked(page.text):
        front_end.http.get(name).raise_for_status()
    assert front_end.http.get("/api/sessions").status_code == 404


def test_the_front_end_ends_when_it_is_told_to(front_end: Process) -> None:
    assert front_end.end(signal.SIGTERM, 10) in (0, -signal.SIGTERM)


@pytest.mark.parametrize("arguments", [["--port", "TAKEN"], ["--port", "99999"], ["--host", "192.0.2.1"]])
def test_a_front_end_that_cannot_listen_says_why_and_what_to_do(tmp_path: Path, arguments: list[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        words = [str(taken.getsockname()[1]) if word == "TAKEN" else word for word in arguments]
        result = subprocess.run(
            [sys.executable, "-m", "chat_service", "frontend", *words],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert result.returncode == (2 if "--host" in words else 1)
    assert result.stderr.startswith(f"{words[0]}: ")
    assert "Traceback" not in result.stderr
    assert "Take 127.0.0.1" in result.stderr or "--port 8882" in result.stderr


@pytest.mark.parametrize("address", ["127.0.0.1:8880", "http://a/b", "ftp://a", "http://a; script-src *", ""])
def test_a_service_without_an_address_is_refused(tmp_path: Path, address: str) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "chat_service", "frontend", "--service", address],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 2
    assert "as in http://127.0.0.1:8880" in result.stderr


def test_a_page_of_another_port_may_ask_stream_and_read_what_it_needs(
    tmp_path: Path, port: int, mongo_uri: str
) -> None:
    with running(tmp_path, port, MONGODB_URI=mongo_uri, DEMO_DELAY="0", RETRIEVAL="off") as back_end:
        for origin in ("http://127.0.0.1:8881", "http://localhost:8881"):
            for method in ("GET", "POST", "PATCH", "DELETE"):
                asked = {
                    "Origin": origin,
                    "Access-Control-Request-Method": method,
                    "Access-Control-Request-Headers": "authorization,content-type,idempotency-key",
                }
                allowed = back_end.http.options("/api/sessions/a", headers=asked)
                assert allowed.status_code == 200
                assert allowed.headers["access-control-allow-origin"] == origin
            body = {"query": "What is a session?"}
            with back_end.http.stream(
                "POST", "/api/chat/stream?render=html", json=body, headers={"Origin": origin}
            ) as response:
                events = list(events_of(response))
            assert events[-1]["metadata"]["html"]
            exposed = response.headers["access-control-expose-headers"].lower()
            assert {"session-id", "retry-after", "content-disposition"} <= {name.strip() for name in exposed.split(",")}
        stranger = back_end.http.get("/api/sessions", headers={"Origin": "http://evil.example"})
        assert "access-control-allow-origin" not in stranger.headers
