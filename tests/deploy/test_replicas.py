"""Three replicas behind nginx, each a process: one of them dies in the middle of an answer."""

from __future__ import annotations

import re
import signal
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from pymongo import MongoClient

from chat_service.events import BEYOND
from tests.chat_service.replicas import rest
from tests.chat_service.running import Process, eventually, running, started
from tests.contract.postgresql import free_port

from .nginx import before
from .streams import LONG, Stream, answers, begun, history

TURN_TIMEOUT = 6


class Site:
    """What is deployed, and its clients' way to it."""

    def __init__(self, replicas: list[Process], address: str, stack: ExitStack) -> None:
        self.replicas, self.address = replicas, address
        self.http = stack.enter_context(httpx.Client(base_url=address, timeout=30))

    def writing(self) -> list[Process]:
        """The replicas that are writing answers."""
        return [replica for replica in self.replicas if active(replica)]


def active(replica: Process) -> float:
    text = replica.http.get("/metrics", headers={"Accept": "text/plain"}).text
    return float(re.findall(r"^active_sessions (\S+)", text, re.MULTILINE)[0])


@pytest.fixture
def site(tmp_path: Path, mongo_uri: str, mongo_client: MongoClient[Any]) -> Iterator[Site]:
    database = f"deployed_{uuid.uuid4().hex[:12]}"
    settings = {"MONGODB_URI": mongo_uri, "DATABASE_NAME": database, "DEMO_DELAY": "0.05", "MIN_POOL_SIZE": "0"}
    with ExitStack() as stack:
        stack.callback(mongo_client.drop_database, database)
        replicas = []
        for number in range(3):
            folder = tmp_path / f"replica-{number}"
            folder.mkdir()
            replica = started(folder, free_port(), TURN_TIMEOUT=str(TURN_TIMEOUT), **settings)
            replicas.append(stack.enter_context(replica))
        for each in replicas:
            each.wait_ready()
        ports = [replica.http.base_url.port or 0 for replica in replicas]
        yield Site(replicas, stack.enter_context(before(ports, tmp_path)), stack)


def test_an_answer_whose_replica_was_killed_is_told_as_far_as_it_was_stored_and_can_be_asked_for_again(
    site: Site,
) -> None:
    [stream] = begun([Stream(site.address)])
    [lost] = site.writing()
    time.sleep(2.5)  # some of it is written down
    lost.end(signal.SIGKILL, 5)
    killed = time.monotonic()
    stream.join()
    assert stream.broken  # no end of the stream: a broken one
    assert stream.ending is None
    url = f"{stream.events[0]['turn']}-0"
    first, second = rest(site.http, url), rest(site.http, url)
    assert first == second
    *stored, last = first
    assert len(stored) > 3
    assert stored == stream.events[: len(stored)]
    assert (last["event"], last["code"], last["id"]) == ("error", "turn_interrupted", BEYOND)
    # Who goes on from what he has seen is told only what is new, which is the end.
    assert rest(site.http, stream.events[-1]) == [last]
    body = {"query": "Hello", "session_id": stream.session_id}
    left = max(1.0, TURN_TIMEOUT + 2 - (time.monotonic() - killed))
    answer = answers(lambda: site.http.post("/api/chat", json=body), left)
    assert history(site.http, stream.session_id)[-1] == answer["response_text"]


def test_a_killed_replica_takes_only_its_own_answers_with_it(site: Site) -> None:
    acknowledged = [site.http.post("/api/chat", json={"query": f"My name is Ada{n}."}).json() for n in range(6)]
    streams = begun([Stream(site.address) for _ in range(6)])
    assert len(site.writing()) == 3  # all of them share the work
    site.replicas[0].end(signal.SIGKILL, 5)
    for stream in streams:
        stream.join()
    whole = [stream for stream in streams if stream.ending]
    assert 0 < len(whole) < 6
    assert {stream.ending["event"] for stream in whole if stream.ending} == {"response_complete"}
    assert all(stream.broken for stream in streams if stream not in whole)
    # Nothing that was acknowledged is lost, and no request meets the replica that is gone.
    for answer in acknowledged:
        assert history(site.http, answer["session_id"])[-1] == answer["response_text"]
    for stream in whole:
        assert history(site.http, stream.session_id) == [LONG, stream.said]


def test_a_replica_that_is_told_to_end_ends_its_streams_and_the_others_go_on(site: Site) -> None:
    streams = begun([Stream(site.address) for _ in range(6)])
    began = time.monotonic()
    assert site.replicas[0].end(signal.SIGTERM, 10) == 0
    assert time.monotonic() - began < 5
    for stream in streams:
        stream.join()
    assert [stream.broken for stream in streams if stream.broken] == []
    endings = [stream.ending["event"] for stream in streams if stream.ending]
    assert len(endings) == 6
    assert {*endings} == {"stopped", "response_complete"}
    for stream in streams:
        assert history(site.http, stream.session_id) == [LONG, stream.said]
        assert site.http.post("/api/chat", json={"query": "Hello", "session_id": stream.session_id}).status_code == 200


def test_an_id_with_a_slash_in_it_finds_its_session_through_nginx(site: Site) -> None:
    site.http.post("/api/chat", json={"query": "Hello", "session_id": "a/b c%"}).raise_for_status()
    found = site.http.get("/api/sessions/a%2Fb%20c%25").raise_for_status().json()
    assert (found["session_id"], found["message_count"]) == ("a/b c%", 2)
    assert site.http.get("/api/sessions/a%2Fb%20c%25/messages").json()["total"] == 2


def test_a_replica_that_comes_back_is_used_again(site: Site, tmp_path: Path) -> None:
    gone = site.replicas[1]
    gone.end(signal.SIGKILL, 5)
    statuses = [site.http.get("/readyz").status_code for _ in range(6)]
    assert statuses == [200] * 6
    folder, port = tmp_path / "again", gone.http.base_url.port or 0
    folder.mkdir()
    with running(folder, port, MONGODB_URI="mongodb://127.0.0.1:1", MIN_POOL_SIZE="0"):
        eventually(lambda: site.http.get("/readyz").status_code == 503, 20)  # this one's database cannot be reached
