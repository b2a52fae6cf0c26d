"""nginx as it is deployed: what it passes on, what it holds back, and what it never says twice."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import httpx
import pytest

from tests.contract.postgresql import free_port

from .nginx import before, configured


class Echo(BaseHTTPRequestHandler):
    """Tells what arrived, in three parts, unless it is to die over it."""

    protocol_version = "HTTP/1.1"
    seen: ClassVar[list[str]]

    def do_GET(self) -> None:
        type(self).seen.append(f"{self.command} {self.path}")
        if "die" in self.path:
            self.close_connection = True  # and no answer
            return
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for part in ("[", json.dumps([self.path, dict(self.headers)]), "]"):
            self.wfile.write(f"{len(part):x}\r\n{part}\r\n".encode())
            self.wfile.flush()
            time.sleep(0.3 if "slow" in self.path else 0)
        self.wfile.write(b"0\r\n\r\n")

    do_POST = do_PATCH = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


def echo() -> type[Echo]:
    """One that keeps what it has seen to itself."""

    class Own(Echo):
        seen: ClassVar[list[str]] = []

    return Own


class Behind:
    """Three replicas that echo, and nginx before them."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self.folder = folder
        kinds = [echo() for _ in range(3)]
        self._servers = [ThreadingHTTPServer(("127.0.0.1", 0), kind) for kind in kinds]
        self._kinds = kinds
        for server in self._servers:
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
            stack.callback(server.server_close)
            stack.callback(server.shutdown)
        address = stack.enter_context(before([server.server_port for server in self._servers], folder))
        self.http = stack.enter_context(httpx.Client(base_url=address, timeout=10))

    def arrived(self, part: str) -> int:
        """How often a request has arrived at any of them."""
        return sum(part in line for kind in self._kinds for line in kind.seen)


@pytest.fixture
def behind(tmp_path: Path) -> Iterator[Behind]:
    with ExitStack() as stack:
        yield Behind(stack, tmp_path)


def test_nginx_takes_the_configuration(tmp_path: Path) -> None:
    run = subprocess.run([*configured(tmp_path, free_port(), [1, 2, 3]), "-t"], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert "warn" not in run.stderr


def test_a_path_arrives_as_it_was_sent(behind: Behind) -> None:
    for path in ("/api/sessions/a%2Fmessages/messages", "/api/sessions/%2e%2e%2f", "/chat/a%25b//c", "/x?query=a%2Fb"):
        [[arrived, _]] = behind.http.get(httpx.URL(behind.http.base_url, raw_path=path.encode())).json()
        assert arrived == path


def test_the_service_learns_who_asks_and_not_what_he_claims(behind: Behind) -> None:
    claims = {"X-Forwarded-For": "1.2.3.4", "X-Forwarded-Proto": "https", "Authorization": "Bearer key"}
    [[_, headers]] = behind.http.get("/", headers=claims).json()
    assert headers["X-Forwarded-For"] == "127.0.0.1"
    assert headers["X-Forwarded-Proto"] == "http"
    assert headers["Host"] == behind.http.base_url.netloc.decode()
    assert headers["Authorization"] == "Bearer key"


def test_nothing_of_a_stream_is_held_back(behind: Behind) -> None:
    with behind.http.stream("GET", "/slow") as response:
        times = [time.monotonic() for _ in response.iter_raw()]
    assert len(times) == 3
    assert times[1] - times[0] > 0.1 < times[2] - times[1]


@pytest.mark.parametrize(
    ("method", "path", "headers", "count"),
    [
        ("POST", "/api/chat/die", {}, 1),
        ("PATCH", "/api/sessions/die", {}, 1),
        ("GET", "/api/chat/stream?query=die", {}, 1),
        ("GET", "/api/chat/stream?query=die&idempotency_key=k", {}, 3),
        ("GET", "/api/chat/stream?query=die", {"Last-Event-ID": "0"}, 3),
        ("GET", "/api/sessions/die", {}, 3),
    ],
)
def test_what_must_not_be_repeated_is_sent_to_one_replica_alone(
    behind: Behind, method: str, path: str, headers: dict[str, str], count: int
) -> None:
    assert behind.http.request(method, path, headers=headers).status_code == 502
    assert behind.arrived("die") == count


def test_a_question_that_could_not_be_sent_goes_to_another_replica(tmp_path: Path) -> None:
    with ExitStack() as stack:
        kind = echo()
        server = stack.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), kind))
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        stack.callback(server.shutdown)
        address = stack.enter_context(before([free_port(), free_port(), server.server_port], tmp_path))
        for number in range(6):
            assert httpx.post(f"{address}/api/chat", json={"query": str(number)}).status_code == 200
        assert len(kind.seen) == 6


def test_the_log_holds_no_question(behind: Behind) -> None:
    behind.http.get("/api/chat/stream", params={"query": "a-secret"})
    behind.http.get("/api/chat/stream", params={"query": "die-secret"})
    lines = [line for line in (behind.folder / "access.log").read_text().splitlines() if "/api/chat/stream" in line]
    assert len(lines) == 2
    assert "secret" not in "\n".join(lines)
    assert "secret" not in (behind.folder / "error.log").read_text()
