"""A request that is repeated with its key is answered once."""

from __future__ import annotations

import signal
import socket
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from pymongo import MongoClient

from .conftest import MakeService
from .replicas import LONG, Replicas, beginning
from .running import Service, events_of, eventually


def ask(service: Service, key: str, query: str = "Hello", path: str = "/api/chat", **fields: Any) -> httpx.Response:
    return service.http.post(path, json={"query": query, **fields}, headers={"Idempotency-Key": key})


@pytest.fixture
def key() -> str:
    return uuid.uuid4().hex


@pytest.mark.parametrize("where", [0, 1])
def test_a_repeated_request_gets_the_same_answer(two: list[Service], key: str, where: int) -> None:
    first = ask(two[0], key)
    again = ask(two[where], key)
    assert again.status_code == 200
    assert again.json() == first.json()
    assert len(two[0].session(first.json()["session_id"])["messages"]) == 2


@pytest.mark.parametrize("where", [0, 1])
def test_a_repeated_request_joins_the_answer_that_is_being_written(two: list[Service], key: str, where: int) -> None:
    headers, body = {"Idempotency-Key": key}, {"query": LONG}
    with two[0].http.stream("POST", "/api/chat/stream", json=body, headers=headers) as response:
        session_id = response.headers["session-id"]
        seen = beginning(response, 3)
        joined = list(events_of(ask(two[where], key, LONG, "/api/chat/stream")))
    assert joined[:3] == seen
    assert [event["id"] for event in joined if "id" in event] == list(range(1, len(joined) + 1))
    assert joined[-1]["event"] == "response_complete"
    assert ask(two[where], key, LONG).json()["response_text"] == joined[-1]["response_text"]  # or whole
    assert len(two[0].session(session_id)["messages"]) == 2


def test_of_many_at_once_everywhere_one_is_answered_and_all_get_that(two: list[Service], key: str) -> None:
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda number: ask(two[number % 2], key), range(6)))
    assert [answer.status_code for answer in answers] == [200] * 6
    assert len({str(answer.json()) for answer in answers}) == 1
    assert len(two[0].session(answers[0].json()["session_id"])["messages"]) == 2


def test_a_key_that_came_with_another_question_is_refused(two: list[Service], key: str) -> None:
    session_id = ask(two[0], key).json()["session_id"]
    for service, changes in (
        (two[0], {"query": "Something else"}),
        (two[1], {"session_id": session_id}),
        (two[1], {"temperature": 0.1}),
    ):
        refused = ask(service, key, **changes)
        assert (refused.status_code, refused.json()["code"]) == (422, "idempotency_key_reused")
    assert len(two[0].session(session_id)["messages"]) == 2


@pytest.mark.parametrize("path", ["/api/chat", "/api/chat/stream"])
@pytest.mark.parametrize("wrong", ["", "x" * 201, "müller".encode("latin-1"), "a\tb"])
def test_a_key_that_is_none_is_refused_with_the_name_of_the_header(
    two: list[Service], path: str, wrong: str | bytes
) -> None:
    headers: Any = {"Idempotency-Key": wrong}
    refused = two[0].http.post(path, json={"query": "Hello"}, headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (422, "validation_error")
    assert [found["field"] for found in refused.json()["details"]["fields"]] == ["Idempotency-Key"]


@pytest.mark.parametrize("where", [0, 1])
def test_a_key_whose_request_was_refused_may_be_tried_again(two: list[Service], key: str, where: int) -> None:
    with two[0].streamed(LONG) as response:
        session_id = response.headers["session-id"]
        beginning(response, 1)
        for _ in range(2):
            refused = ask(two[where], key, session_id=session_id)
            assert (refused.status_code, refused.json()["code"]) == (409, "session_busy")
        two[0].http.post(f"/api/sessions/{session_id}/cancel")
    assert ask(two[1 - where], key, session_id=session_id).status_code == 200


def test_a_key_whose_answer_failed_may_be_tried_again(replicas: Replicas, key: str) -> None:
    model = {"model_provider": "openai", "model_id": "m", "openai_api_key": "key"}
    [broken] = replicas.start(1, **model, openai_base_url="http://127.0.0.1:1/v1")
    [whole] = replicas.start(1)
    failed = ask(broken, key)
    assert (failed.status_code, failed.json()["code"]) == (503, "model_unavailable")
    eventually(lambda: ask(whole, key).status_code == 200)


def test_a_cancelled_answer_is_one(two: list[Service], key: str) -> None:
    headers, body = {"Idempotency-Key": key}, {"query": LONG}
    with two[0].http.stream("POST", "/api/chat/stream", json=body, headers=headers) as response:
        session_id = response.headers["session-id"]
        events = events_of(response)
        told = [next(events)]
        two[0].http.post(f"/api/sessions/{session_id}/cancel")
        told += events
    for service in two:
        again = ask(service, key, LONG)
        assert (again.status_code, again.json()["code"]) == (409, "turn_cancelled")
    assert list(events_of(ask(two[1], key, LONG, "/api/chat/stream"))) == told


def test_an_event_source_brings_its_key_in_the_address(two: list[Service], key: str) -> None:
    parameters = {"query": "Hello", "idempotency_key": key}
    first, again = (list(events_of(service.http.get("/api/chat/stream", params=parameters))) for service in two)
    assert first == again


def test_without_a_key_every_request_is_a_question_of_its_own(two: list[Service]) -> None:
    assert two[0].ask("Hello").json()["session_id"] != two[0].ask("Hello").json()["session_id"]


def test_a_key_is_free_again_when_its_replica_was_killed(replicas: Replicas, key: str, tmp_path: Path) -> None:
    [survivor] = replicas.start(1, turn_timeout=3)
    lost = replicas.process(tmp_path / "lost", DEMO_DELAY="0.05", TURN_TIMEOUT="3")
    headers, body = {"Idempotency-Key": key}, {"query": LONG}
    with lost.http.stream("POST", "/api/chat/stream", json=body, headers=headers) as response:
        beginning(response, 1)
        time.sleep(1.5)
    lost.end(signal.SIGKILL, 5)
    repeated = list(events_of(ask(survivor, key, LONG, "/api/chat/stream")))
    assert repeated[0]["event"] == "response_chunk"  # the one that was killed
    assert repeated[-1]["code"] == "turn_interrupted"
    answer = eventually(lambda: (found := ask(survivor, key, LONG)).status_code == 200 and found, 10)
    assert answer.json()["response_text"]


@pytest.mark.parametrize("where", [0, 1])
def test_a_key_that_a_refused_request_could_not_give_back_is_free_again(
    make_service: MakeService, mongo_client: MongoClient[Any], key: str, where: int
) -> None:
    service = make_service()
    first = ask(service, key).json()
    turns = mongo_client[service.database_name]["sessions_turns"]
    # As it lies there when the database goes away between the claim of the key and the refusal of the question.
    not_begun = {"$unset": {"begun": "", "ending": "", "events": ""}}
    eventually(
        lambda: turns.update_one({"key": {"$exists": True}, "ending": {"$exists": True}}, not_begun).modified_count
    )
    if where:  # of another replica, which is there and has long forgotten it
        found = turns.find_one_and_delete({"key": {"$exists": True}})
        assert found
        turns.insert_one({**found, "_id": f"00000000{found['_id'][8:]}", "replica": "other"})
        turns.insert_one({"_id": "other", "alive": datetime.now(UTC) + timedelta(hours=1)})
    assert ask(service, key).json()["session_id"] != first["session_id"]


def test_while_the_database_is_away_many_requests_with_keys_are_refused_at_once(make_service: MakeService) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections, and never says a word
        service = make_service(mongodb_uri=f"mongodb://127.0.0.1:{silent.getsockname()[1]}")
        with ThreadPoolExecutor(24) as pool:  # each gives up after 20 seconds
            answers = list(pool.map(lambda number: ask(service, f"key {number}"), range(24)))
    assert {(answer.status_code, answer.json()["code"]) for answer in answers} == {(503, "service_unavailable")}
