"""Answers outlive connections and replicas: who comes back reads on, wherever he comes back to."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from chat_service.events import BEYOND
from chat_service.turn_records import new_turn_id

from .replicas import LONG, Replicas, beginning, rest, resumed
from .running import Service, events_of, eventually

ENDINGS = ("response_complete", "stopped", "error")


def whole(events: list[dict[str, Any]]) -> None:
    """One turn from its first event to its only last one, nothing twice."""
    assert len({event["turn"] for event in events}) == 1
    assert [event["id"] for event in events] == list(range(1, len(events) + 1))
    assert [event["event"] for event in events if event["event"] in ENDINGS] == ["response_complete"]
    assert "".join(event.get("text", "") for event in events) == events[-1]["response_text"]


def until_broken(events: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The events before the connection breaks, which it must."""
    with pytest.raises(httpx.RemoteProtocolError):
        yield from events


def test_an_answer_that_is_being_written_is_read_on_at_another_replica(two: list[Service]) -> None:
    one, other = two
    with one.streamed(LONG) as response:
        seen = beginning(response, 5)
    whole(seen + rest(other.http, seen[-1]))


def test_an_answer_that_has_ended_is_read_again_from_anywhere(two: list[Service]) -> None:
    one, other = two
    events = one.events("calculate 2*21")
    whole_answer = [event for event in events if event["event"] != "comment"]
    for http in (one.http, other.http):
        assert rest(http, f"{events[0]['turn']}-0") == whole_answer
        assert rest(http, events[2]) == whole_answer[3:]
        assert resumed(http, events[-1]).status_code == 204


def test_the_id_alone_is_needed_in_the_header_or_in_the_address(two: list[Service]) -> None:
    events = two[0].events("Hello")
    seen = f"{events[0]['turn']}-{events[0]['id']}"
    by_address = two[1].http.get("/api/chat/stream", params={"last_event_id": seen})
    assert list(events_of(by_address)) == rest(two[1].http, seen) == events[1:]
    assert by_address.headers["session-id"] == events[0]["session_id"]
    last = events[-1]["id"]
    wins = resumed(two[1].http, seen, last_event_id=f"{events[0]['turn']}-{last}", query="Hello")
    assert list(events_of(wins)) == events[1:]


def test_nothing_is_asked_again_by_coming_back(two: list[Service]) -> None:
    events = two[0].events("Hello", session_id=None)
    rest(two[1].http, events[0], query="Hello")
    assert len(two[0].session(events[0]["session_id"])["messages"]) == 2


@pytest.mark.parametrize("where", [0, 1])
def test_the_answer_that_runs_in_a_session_is_told_from_its_beginning(two: list[Service], where: int) -> None:
    with two[0].streamed(LONG) as response:
        session_id = response.headers["session-id"]
        seen = beginning(response, 1)
        again = rest(two[where].http, "0", session_id=session_id)
        whole(again)
        assert again[0] == seen[0]
    assert resumed(two[where].http, "0", session_id=session_id).status_code == 204
    assert resumed(two[where].http, "0").status_code == 204


def test_a_turn_of_another_session_is_not_told(two: list[Service]) -> None:
    events = two[0].events("Hello")
    eventually(lambda: resumed(two[1].http, events[0]).status_code == 200)
    for service in two:
        [event] = rest(service.http, events[0], session_id="another")
        assert (event["event"], event["code"]) == ("error", "turn_interrupted")


@pytest.mark.parametrize("text", ["x", "-1", "1-2", f"{'0' * 31}g-1", "1" * 11])
def test_what_is_no_id_is_refused_with_the_name_of_the_field(two: list[Service], text: str) -> None:
    for response in (
        resumed(two[0].http, text),
        two[0].http.get("/api/chat/stream", params={"last_event_id": text}),
    ):
        assert (response.status_code, response.json()["code"]) == (422, "validation_error")
        [field] = response.json()["details"]["fields"]
        assert field["field"].lower().replace("-", "_") == "last_event_id"


def test_without_a_question_and_without_an_id_the_question_is_missing(two: list[Service]) -> None:
    response = two[0].http.get("/api/chat/stream")
    assert (response.status_code, response.json()["code"]) == (422, "validation_error")
    assert response.json()["details"]["fields"] == [{"field": "query", "problem": "Field required"}]


def test_of_a_turn_that_nobody_knows_the_truth_is_told_once(two: list[Service]) -> None:
    [event] = rest(two[0].http, f"{new_turn_id()}-3")
    assert (event["event"], event["code"], event["status_code"]) == ("error", "turn_interrupted", 503)
    assert event["message"] == event["error"]
    assert event["id"] == BEYOND
    assert resumed(two[1].http, event).status_code == 204


def test_of_a_turn_that_is_kept_no_longer_it_is_said_at_once(two: list[Service]) -> None:
    old = f"{int(time.time()) - 4000:08x}{'0' * 24}"
    began = time.monotonic()
    [event] = rest(two[0].http, f"{old}-3")
    assert (event["code"], event["status_code"]) == ("turn_expired", 410)
    assert time.monotonic() - began < 2  # it is not waited for


def test_a_failure_is_told_again_as_it_was(replicas: Replicas) -> None:
    one, other = replicas.start(2)
    with one.streamed(LONG) as response:
        events = events_of(response)
        seen = next(events)
        session_id = response.headers["session-id"]
        assert one.http.delete(f"/api/sessions/{session_id}").status_code == 204
        ending = list(events)[-1]
    assert ending["code"] == "session_not_found"
    # The session is gone, so what was said in it is not kept.
    found = eventually(lambda: (events := rest(other.http, seen))[0].get("code") == "session_not_found" and events, 10)
    assert found == [ending]


def test_a_replica_that_is_killed_leaves_what_it_wrote_and_one_last_event(replicas: Replicas, tmp_path: Path) -> None:
    survivor = replicas.start(1, turn_timeout=6)[0]
    lost = replicas.process(tmp_path / "lost", DEMO_DELAY="0.05", TURN_TIMEOUT="6")
    with lost.http.stream("POST", "/api/chat/stream", json={"query": LONG}) as response:
        session_id = response.headers["session-id"]
        events = events_of(response)
        seen = [next(events)]
        time.sleep(2.5)  # some of it is written down
        lost.end(signal.SIGKILL, 5)
        killed = time.monotonic()
        seen += until_broken(events)
    first, second = rest(survivor.http, f"{seen[0]['turn']}-0"), rest(survivor.http, f"{seen[0]['turn']}-0")
    assert time.monotonic() - killed < 15
    assert first == second
    *stored, last = first
    assert len(stored) > 3
    assert stored == seen[: len(stored)]
    assert (last["event"], last["code"], last["id"]) == ("error", "turn_interrupted", BEYOND)
    assert rest(survivor.http, seen[-1]) == [last]  # whoever has seen more than was written is told as well
    assert resumed(survivor.http, last).status_code == 204
    assert resumed(survivor.http, "0", session_id=session_id).status_code == 204
    answer = eventually(
        lambda: (found := survivor.ask("Hello", session_id=session_id)).status_code == 200 and found,
        max(0.1, 6 + 2 - (time.monotonic() - killed)),
    )
    assert answer.json()["session_id"] == session_id


def test_a_reader_of_another_replicas_turn_does_not_hold_up_the_end_of_its_own(
    replicas: Replicas, tmp_path: Path
) -> None:
    writer = replicas.start(1, demo_delay=0.2)[0]
    reader = replicas.process(tmp_path / "reader")
    with writer.streamed(LONG) as response:
        session_id = response.headers["session-id"]
        seen = beginning(response, 2)
        url, headers = "/api/chat/stream", {"Last-Event-ID": f"{seen[0]['turn']}-0"}
        with reader.http.stream("GET", url, headers=headers) as other:
            events = events_of(other)
            first = next(events)
            reader.process.send_signal(signal.SIGTERM)
            told = [first, *(event for event in events if "event" in event)]
        assert reader.process.wait(5) == 0
        assert (told[-1]["event"], told[-1]["code"]) == ("error", "service_unavailable")
        assert told[-1]["id"] == told[-2]["id"]  # so that a client can come back with it, to another replica
        assert writer.http.post(f"/api/sessions/{session_id}/cancel").json()["cancelled"]
        assert rest(writer.http, told[-1])[-1]["event"] == "stopped"


def test_told_to_end_a_replica_ends_its_streams_and_writes_the_ends_down(replicas: Replicas, tmp_path: Path) -> None:
    [other] = replicas.start(1)
    ending = replicas.process(tmp_path / "ending", DEMO_DELAY="0.1")
    with ExitStack() as stack:
        responses = [
            stack.enter_context(ending.http.stream("POST", "/api/chat/stream", json={"query": LONG})) for _ in range(4)
        ]
        streams = [events_of(response) for response in responses]
        firsts = [next(stream) for stream in streams]
        began = time.monotonic()
        ending.process.send_signal(signal.SIGTERM)
        rests = [list(stream) for stream in streams]
        assert ending.process.wait(5) == 0
        assert time.monotonic() - began < 5
    for first, told in zip(firsts, rests, strict=True):
        assert (told[-1]["event"], told[-1]["reason"]) == ("stopped", "shutdown")
        assert rest(other.http, first) == told
        answer = other.ask("Hello", session_id=first["session_id"])  # its turn was released
        assert answer.status_code == 200
        said = "".join(event.get("text", "") for event in [first, *told])
        assert other.session(first["session_id"])["messages"][1]["text"] == said
