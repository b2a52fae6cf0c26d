"""Gunicorn with two workers on the embedded server: one of them owns it, and either may be lost."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.chat_service.running import Process, eventually, started

from .gunicorn import PROGRAM, configuration
from .streams import LONG, Stream, answers, begun, history


class Workers:
    """Gunicorn and its workers."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.address = str(process.http.base_url).rstrip("/")

    def pids(self) -> set[int]:
        master = self.process.process.pid
        return set(map(int, Path(f"/proc/{master}/task/{master}/children").read_text().split()))

    def clients(self, pid: int) -> int:
        """How many connections of clients a worker holds, as the kernel knows."""
        mine = {_target(file) for file in Path(f"/proc/{pid}/fd").iterdir()}
        rows = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
        here = f":{self.process.http.base_url.port:04X}"
        return sum(row[1].endswith(here) and row[3] == "01" and f"socket:[{row[9]}]" in mine for row in rows)

    def owner(self) -> int:
        """The worker that owns the server."""
        return int((self.process.folder / ".data" / "owner.lock").read_text())

    def reached(self, count: int = 24) -> set[str]:
        """Which workers answered, by when they began; each request has a connection of its own."""
        return {httpx.get(self.address, timeout=20).json()["startup_time"] for _ in range(count)}

    def are_two(self) -> bool:
        try:
            return len(self.reached()) == 2 and self.owner() in self.pids()
        except (httpx.TransportError, OSError, ValueError):
            return False


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:  # closed meanwhile
        return ""


@contextmanager
def two_workers(folder: Path, port: int) -> Iterator[Workers]:
    settings = {"WEB_CONCURRENCY": "2", "HOST": "127.0.0.1", "DEMO_DELAY": "0.05", "TURN_TIMEOUT": "6"}
    with started(folder, port, program=PROGRAM, **settings) as process:
        workers = Workers(process)
        try:
            eventually(workers.are_two, 40)
            yield workers
        finally:
            if process.process.poll() is None:  # its workers would live on until they notice that it is gone
                process.end(signal.SIGTERM, 20)


def again(workers: Workers, session_id: str) -> dict[str, object]:
    """The answer to another question in a session, once it takes one."""
    body = {"query": "Hello", "session_id": session_id}
    return answers(lambda: httpx.post(f"{workers.address}/api/chat", json=body, timeout=20), 40)


def streams_on_both(workers: Workers) -> list[Stream]:
    """So many streams that each worker writes some."""
    workers.process.http.close()  # what is idle is no stream
    workers.process.http = httpx.Client(base_url=workers.address, timeout=20)
    streams: list[Stream] = []
    while not all(workers.clients(pid) >= 2 for pid in workers.pids()):
        assert len(streams) < 60, "one worker gets them all"
        streams += begun([Stream(workers.address) for _ in range(4)])
    return streams


def test_one_worker_owns_the_server_and_the_other_reaches_it(tmp_path: Path, port: int) -> None:
    with two_workers(tmp_path, port) as workers:
        session_id = workers.process.http.post("/api/chat", json={"query": "My name is Ada."}).json()["session_id"]
        for _ in range(12):  # whichever worker is asked
            body = {"query": "What is my name?", "session_id": session_id}
            assert httpx.post(f"{workers.address}/api/chat", json=body, timeout=20).json()["response_text"] == (
                "Your name is Ada."
            )
        response = workers.process.http.get("/api/sessions")
        assert "server" not in response.headers
        eventually(lambda: "path=</api/sessions>" in workers.process.log())
        assert workers.process.log().count("/api/sessions") == 1  # one line a request: the service's own
        began = time.monotonic()
        assert workers.process.end(signal.SIGTERM, 20) == 0
        assert time.monotonic() - began < 10
        assert "Traceback" not in workers.process.log()


@pytest.mark.parametrize("owner", [True, False], ids=["owner", "other"])
def test_a_worker_that_is_killed_comes_back_and_nothing_acknowledged_is_lost(
    tmp_path: Path, port: int, owner: bool
) -> None:
    with two_workers(tmp_path, port) as workers:
        asked = [workers.process.http.post("/api/chat", json={"query": f"My name is Ada{n}."}).json() for n in range(4)]
        before = workers.reached()
        [victim] = {workers.owner()} if owner else workers.pids() - {workers.owner()}
        streams = streams_on_both(workers)
        os.kill(victim, signal.SIGKILL)
        for stream in streams:
            stream.join()
        lost = [stream for stream in streams if stream.broken]
        kept = [stream for stream in streams if stream not in lost]
        assert lost
        assert kept
        assert [stream.ending for stream in lost if stream.ending] == []
        assert all(stream.ending for stream in kept)  # exactly one last event, whatever became of the database
        eventually(workers.are_two, 40)
        assert workers.reached() != before
        http = workers.process.http
        for answer in asked:
            assert history(http, answer["session_id"])[-1] == answer["response_text"]
        for stream in kept:
            if stream.ending and stream.ending["event"] == "response_complete":
                assert history(http, stream.session_id) == [LONG, stream.said]
        if not owner:
            assert {stream.ending["event"] for stream in kept if stream.ending} == {"response_complete"}
        for stream in [*lost[:2], *kept[:2]]:
            assert "response_text" in again(workers, stream.session_id)


def test_told_to_end_all_workers_end_their_streams_and_what_was_said_is_stored(tmp_path: Path, port: int) -> None:
    with two_workers(tmp_path, port) as workers:
        streams = streams_on_both(workers)
        began = time.monotonic()
        workers.process.process.send_signal(signal.SIGTERM)
        for stream in streams:
            stream.join()
        assert workers.process.process.wait(20) == 0
        assert time.monotonic() - began < 10
        assert "Traceback" not in workers.process.log()
    assert [stream.broken for stream in streams if stream.broken] == []
    assert [(stream.ending or {}).get("event") for stream in streams] == ["stopped"] * len(streams)
    with two_workers(tmp_path, port) as workers:
        for stream in streams:
            assert history(workers.process.http, stream.session_id) == [LONG, stream.said]


@pytest.mark.parametrize("owner", [True, False], ids=["owner", "other"])
def test_one_worker_that_is_told_to_end_is_replaced_and_every_stream_has_its_end(
    tmp_path: Path, port: int, owner: bool
) -> None:
    with two_workers(tmp_path, port) as workers:
        [leaving] = {workers.owner()} if owner else workers.pids() - {workers.owner()}
        streams = streams_on_both(workers)
        os.kill(leaving, signal.SIGTERM)
        for stream in streams:
            stream.join()
        assert [stream.broken for stream in streams if stream.broken] == []
        endings = [stream.ending["event"] for stream in streams if stream.ending]
        assert len(endings) == len(streams)
        assert "stopped" in endings
        eventually(workers.are_two, 40)
        for stream in streams:
            if stream.ending and stream.ending["event"] != "error":
                assert history(workers.process.http, stream.session_id) == [LONG, stream.said]


def test_the_settings_of_the_service_are_those_of_gunicorn() -> None:
    found = configuration(HOST="127.0.0.1", PORT="7", WEB_CONCURRENCY="3", SHUTDOWN_SECONDS="9.5")
    assert (found["bind"], found["workers"], found["graceful_timeout"]) == ("127.0.0.1:7", 3, 19)
    assert found["_Worker"].CONFIG_KWARGS["timeout_graceful_shutdown"] < found["graceful_timeout"]
    plain = configuration()
    assert (plain["bind"], plain["workers"], plain["preload_app"]) == ("0.0.0.0:8880", 1, False)
    assert plain["forwarded_allow_ips"] == ""
    assert configuration(FORWARDED_ALLOW_IPS="10.0.0.0/8")["forwarded_allow_ips"] == "10.0.0.0/8"
