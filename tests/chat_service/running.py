"""The service as its users meet it: a real uvicorn over a real MongoDB, in this process or in one of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from chat_service.config import Settings
from chat_service.main import create_app
from chat_service.rag.passages import Retriever

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Service:
    """A running service and the collection behind it."""

    http: httpx.Client
    database_name: str

    def ask(self, query: str, **fields: Any) -> httpx.Response:
        return self.http.post("/api/chat", json={"query": query, **fields})

    @contextmanager
    def streamed(self, query: str, **fields: Any) -> Iterator[httpx.Response]:
        with self.http.stream("POST", "/api/chat/stream", json={"query": query, **fields}) as response:
            yield response

    def events(self, query: str, **fields: Any) -> list[dict[str, Any]]:
        with self.streamed(query, **fields) as response:
            return list(events_of(response))

    def session(self, session_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.http.get(f"/api/sessions/{session_id}").raise_for_status().json()
        return found


def events_of(response: httpx.Response) -> Iterator[dict[str, Any]]:
    """The events of a stream with their turn and number; comments come as ``{"comment": …}``."""
    turn_id, number = "", ""
    for line in response.iter_lines():
        name, _, value = line.partition(": ")
        if name == "id":
            turn_id, _, number = value.partition("-")
        elif name == "data":
            yield {"turn": turn_id, "id": int(number), **json.loads(value)}
        elif line.startswith(":"):
            yield {"comment": value}


def eventually(condition: Callable[[], Any], seconds: float = 5.0) -> Any:
    """Wait until a condition holds, and return what it gave."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if result := condition():
            return result
        time.sleep(0.02)
    raise AssertionError("it did not happen in time")


@contextmanager
def served(settings: Settings, retriever: Retriever | None = None) -> Iterator[str]:
    """Run the service in a thread; gives its address. A retriever takes the place of the knowledge base."""
    app = create_app(settings)
    app.state.knowledge = retriever
    config = uvicorn.Config(app, port=0, log_config=None, timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        eventually(lambda: server.started or not thread.is_alive(), 20)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


class Process:
    """``python -m chat_service``, or another program, with a data folder of its own."""

    def __init__(
        self, folder: Path, port: int, *, program: Sequence[str] = ("chat_service",), **environment: str
    ) -> None:
        names = ("PATH", "HOME", "MONGOD_BINARY", "TMPDIR")
        inherited = {name: os.environ[name] for name in names if name in os.environ}
        self.folder = folder
        with (folder / "stderr").open("ab") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *program],
                cwd=folder,
                env={
                    **inherited,
                    "PYTHONPATH": str(ROOT / "src"),
                    "PORT": str(port),
                    "RETRIEVAL": "off",
                    **environment,
                },
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,
            )
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20)

    def wait_ready(self) -> str:
        assert self.process.stdout
        line = self.process.stdout.readline()
        assert line, (self.folder / "stderr").read_text()
        return line

    def end(self, number: int, seconds: float) -> int:
        self.process.send_signal(number)
        return self.process.wait(seconds)

    def log(self) -> str:
        return (self.folder / "stderr").read_text()


@contextmanager
def started(
    folder: Path, port: int, *, program: Sequence[str] = ("chat_service",), **environment: str
) -> Iterator[Process]:
    process = Process(folder, port, program=program, **environment)
    try:
        yield process
    finally:
        process.http.close()
        process.process.kill()
        process.process.wait()
        assert process.process.stdout
        process.process.stdout.close()


@contextmanager
def running(folder: Path, port: int, **environment: str) -> Iterator[Process]:
    with started(folder, port, **environment) as process:
        process.wait_ready()
        yield process
