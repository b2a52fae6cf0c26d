"""Forks, rewinds and exports of sessions, over HTTP, on both stores."""

from __future__ import annotations

import json
from typing import Any

import pytest

from .replicas import Replicas
from .running import Service, events_of


@pytest.fixture(scope="module")
def one(replicas: Replicas) -> Service:
    """A replica whose demo model answers at once."""
    return replicas.start(1, demo_delay=0)[0]


@pytest.fixture
def told(one: Service) -> str:
    """A session with three questions and their answers."""
    session_id: str = one.ask("My name is Ada.").json()["session_id"]
    for question in ("What is my name?", "calculate 2*21"):
        one.ask(question, session_id=session_id).raise_for_status()
    return session_id


def messages(service: Service, session_id: str) -> list[dict[str, Any]]:
    return list(service.session(session_id)["messages"])


def texts(service: Service, session_id: str) -> list[str]:
    return [message["text"] for message in messages(service, session_id)]


def test_a_fork_holds_everything_up_to_and_with_a_message(one: Service, told: str) -> None:
    before = messages(one, told)
    answer = before[1]
    response = one.http.post(f"/api/sessions/{told}/fork", json={"message_id": answer["message_id"]})
    fork = response.json()
    assert response.status_code == 201
    assert fork["session_id"] != told
    assert (fork["message_count"], fork["title"]) == (2, one.session(told)["title"])
    assert texts(one, fork["session_id"]) == [message["text"] for message in before[:2]]
    one.ask("My name is Bob.", session_id=fork["session_id"]).raise_for_status()
    assert messages(one, told) == before


def test_a_fork_without_a_message_holds_all(one: Service, told: str) -> None:
    fork = one.http.post(f"/api/sessions/{told}/fork", json={}).json()
    assert texts(one, fork["session_id"]) == texts(one, told)


def test_a_session_in_which_nothing_was_said_can_be_forked(one: Service) -> None:
    new = {"title": "Empty", "metadata": {"topic": "tea"}}
    session_id = one.http.post("/api/sessions", json=new).json()["session_id"]
    fork = one.http.post(f"/api/sessions/{session_id}/fork", json={}).json()
    assert (fork["title"], fork["metadata"], fork["message_count"]) == ("Empty", {"topic": "tea"}, 0)


def test_a_question_is_asked_again_after_a_rewind_to_it(one: Service, told: str) -> None:
    before = messages(one, told)
    question = before[2]
    rewound = one.http.post(f"/api/sessions/{told}/rewind", json={"message_id": question["message_id"]}).json()
    assert (rewound["session_id"], rewound["message_count"]) == (told, 2)
    assert messages(one, told) == before[:2]
    one.ask("What is my name?", session_id=told).raise_for_status()
    assert texts(one, told) == [message["text"] for message in before[:4]]


def test_a_message_far_back_is_found(one: Service) -> None:
    session_id = one.ask("My name is Ada.").json()["session_id"]
    for _ in range(105):
        one.ask("What is my name?", session_id=session_id).raise_for_status()
    first = one.http.get(f"/api/sessions/{session_id}/messages?offset=0&limit=2").json()["messages"][1]
    fork = one.http.post(f"/api/sessions/{session_id}/fork", json={"message_id": first["message_id"]})
    assert fork.json()["message_count"] == 2


@pytest.mark.parametrize("action", ["fork", "rewind"])
def test_a_message_that_is_not_there_is_not_found(one: Service, told: str, action: str) -> None:
    response = one.http.post(f"/api/sessions/{told}/{action}", json={"message_id": "msg_0123456789abcdef"})
    assert (response.status_code, response.json()["code"]) == (404, "message_not_found")
    response = one.http.post(f"/api/sessions/{told}/{action}", json={"message_id": "nonsense"})
    assert (response.status_code, response.json()["code"]) == (422, "validation_error")


def test_a_tool_call_and_its_result_are_not_parted(one: Service, told: str) -> None:
    used, result = (
        next(message for message in messages(one, told) if message["kind"] == kind)["message_id"]
        for kind in ("tool_use", "tool_result")
    )
    for action, message_id in (("fork", used), ("rewind", result)):
        response = one.http.post(f"/api/sessions/{told}/{action}", json={"message_id": message_id})
        assert (response.status_code, response.json()["code"]) == (422, "validation_error")
        assert "tool call" in response.json()["error"]
    assert len(messages(one, told)) == 8


def test_nothing_is_rewound_while_an_answer_is_written(replicas: Replicas) -> None:
    slow = replicas.start(1, demo_delay=0.2)[0]
    session_id = slow.ask("My name is Ada.").json()["session_id"]
    message_id = messages(slow, session_id)[0]["message_id"]
    path = f"/api/sessions/{session_id}"
    with slow.streamed("What is my name?", session_id=session_id) as response:
        events = events_of(response)
        next(events)
        refused = slow.http.post(f"{path}/rewind", json={"message_id": message_id})
        assert (refused.status_code, refused.json()["code"]) == (409, "session_busy")
        slow.http.post(f"{path}/cancel").raise_for_status()
        list(events)
    assert slow.http.post(f"{path}/rewind", json={"message_id": message_id}).json()["message_count"] == 0


def test_an_export_is_a_file_of_lines(one: Service, told: str) -> None:
    response = one.http.get(f"/api/sessions/{told}/export")
    assert response.headers["content-type"].partition(";")[0] == "application/x-ndjson"
    assert response.headers["content-disposition"] == f"attachment; filename*=UTF-8''{told}.jsonl"
    lines = [json.loads(line) for line in response.text.splitlines()]
    assert response.text.endswith("\n")
    assert sum("message" in json.dumps(line) for line in lines) >= 8
    assert "Ada" in response.text
