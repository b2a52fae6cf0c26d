"""Cancelling stops the answer that is being written, wherever it is, and keeps what was said."""

from __future__ import annotations

import socket
import threading
import time
from typing import Any

import pytest

from .replicas import LONG, Replicas, beginning, rest
from .running import Service, events_of


def cancel(service: Service, session_id: str) -> dict[str, Any]:
    body: dict[str, Any] = service.http.post(f"/api/sessions/{session_id}/cancel").raise_for_status().json()
    return body


@pytest.mark.parametrize("where", [0, 1])
def test_the_running_answer_is_stopped_and_what_was_said_is_kept(two: list[Service], where: int) -> None:
    with two[0].streamed(LONG) as response:
        session_id = response.headers["session-id"]
        events = events_of(response)
        seen = [next(events) for _ in range(5)]
        began = time.monotonic()
        assert cancel(two[where], session_id) == {"session_id": session_id, "cancelled": True}
        took = time.monotonic() - began
        seen += events
    assert took < 4  # within about a second, but for a busy machine
    *chunks, last = seen
    assert {event["event"] for event in chunks} == {"response_chunk"}
    assert (last["event"], last["reason"]) == ("stopped", "cancelled")
    said = "".join(event["text"] for event in chunks)
    assert last["response_text"] == said
    messages = two[where].session(session_id)["messages"]
    assert [message["text"] for message in messages] == [LONG, said]
    assert two[where].ask("Hello", session_id=session_id).status_code == 200  # at once


def test_where_nothing_runs_nothing_is_cancelled(two: list[Service]) -> None:
    session_id = two[0].ask("Hello").json()["session_id"]
    for service in two:
        assert cancel(service, session_id) == {"session_id": session_id, "cancelled": False}
    assert len(two[0].session(session_id)["messages"]) == 2


def test_cancelling_again_changes_nothing(two: list[Service]) -> None:
    with two[0].streamed(LONG) as response:
        session_id = response.headers["session-id"]
        beginning(response, 2)
        assert [cancel(two[0], session_id)["cancelled"] for _ in range(2)] == [True, False]


def test_an_unknown_session_cannot_be_cancelled(two: list[Service]) -> None:
    response = two[0].http.post("/api/sessions/session_0123456789abcdef/cancel")
    assert (response.status_code, response.json()["code"]) == (404, "session_not_found")


def test_a_session_with_a_slash_in_its_id_can_be_cancelled(two: list[Service]) -> None:
    two[0].ask("Hello", session_id="a/b c")
    assert two[0].http.post("/api/sessions/a%2Fb%20c/cancel").json() == {"session_id": "a/b c", "cancelled": False}


def test_who_waits_for_the_whole_answer_is_told(two: list[Service]) -> None:
    session_id = two[0].http.post("/api/sessions", json={}).json()["session_id"]
    answers: list[Any] = []
    asking = threading.Thread(target=lambda: answers.append(two[0].ask(LONG, session_id=session_id)))
    asking.start()
    while not two[1].session(session_id)["messages"]:
        time.sleep(0.02)
    assert cancel(two[1], session_id)["cancelled"]
    asking.join()
    assert (answers[0].status_code, answers[0].json()["code"]) == (409, "turn_cancelled")


def test_a_question_that_waits_for_its_place_can_be_cancelled(replicas: Replicas) -> None:
    [service] = replicas.start(1, max_concurrent_turns=1, queue_seconds=10)
    session_id = service.http.post("/api/sessions", json={}).json()["session_id"]
    answers: list[Any] = []
    with service.streamed(LONG) as response:
        next(events_of(response))
        asking = threading.Thread(target=lambda: answers.append(service.ask("Hello", session_id=session_id)))
        asking.start()
        time.sleep(0.3)
        service.http.post(f"/api/sessions/{session_id}/cancel")
        cancel(service, response.headers["session-id"])
        asking.join()
    assert (answers[0].status_code, answers[0].json()["code"]) == (409, "turn_cancelled")
    assert service.session(session_id)["messages"] == []


def test_a_cancelled_answer_is_replayed_as_one(two: list[Service]) -> None:
    with two[0].streamed(LONG) as response:
        session_id = response.headers["session-id"]
        events = events_of(response)
        first = next(events)
        cancel(two[1], session_id)
        told = list(events)
    assert rest(two[1].http, first) == told


def test_a_silent_model_is_cancelled_at_once_and_what_it_said_is_kept(replicas: Replicas) -> None:
    with SilentModel("Once upon") as url:
        model = {"model_provider": "openai", "model_id": "m", "openai_api_key": "key", "openai_base_url": url}
        [service] = replicas.start(1, **model)
        with service.streamed("Tell me") as response:
            session_id = response.headers["session-id"]
            events = events_of(response)
            seen = [next(events)]
            began = time.monotonic()
            assert cancel(service, session_id)["cancelled"]
            assert time.monotonic() - began < 1.5  # SHUTDOWN_SECONDS are not needed
            seen += events
    assert [event["event"] for event in seen] == ["response_chunk", "stopped"]
    assert [message["text"] for message in service.session(session_id)["messages"]] == ["Tell me", "Once upon"]


class SilentModel:
    """A server of the chat-completions protocol that says a few words and then nothing."""

    def __init__(self, words: str) -> None:
        self._words = words

    def __enter__(self) -> str:
        self._listening = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._serve, daemon=True).start()
        return f"http://127.0.0.1:{self._listening.getsockname()[1]}/v1"

    def __exit__(self, *_: object) -> None:
        self._listening.close()

    def _serve(self) -> None:
        connection, _ = self._listening.accept()
        connection.recv(65536)
        choice = f'{{"index": 0, "delta": {{"role": "assistant", "content": "{self._words}"}}}}'
        chunk = f'data: {{"id": "1", "object": "chat.completion.chunk", "model": "m", "choices": [{choice}]}}\n\n'
        head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        connection.sendall(f"{head}{len(chunk):x}\r\n{chunk}\r\n".encode())
        while connection.recv(65536):  # until the client goes away
            pass
        connection.close()
