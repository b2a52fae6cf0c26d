"""Answers as HTML: with stored messages, and block by block while they are written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from .running import Service, events_of

RESULT = ("response_complete", "stopped")


def blocks_of(events: list[dict[str, Any]]) -> list[list[str]]:
    """The blocks of each message of the answer, as a page puts them together."""
    messages: list[list[str]] = [[]]
    for event in events:
        if event["event"] == "tool_complete":
            messages.append([])
        elif event["event"] == "response_block":
            blocks = messages[-1]
            assert event["index"] in (len(blocks) - 1, len(blocks)), "an earlier block has changed, or one is missing"
            blocks[event["index"] :] = [event["html"]]
    return messages


def asked(service: Service, query: str, **parameters: Any) -> list[dict[str, Any]]:
    fields = {"query": query, **parameters}
    with service.http.stream("POST", "/api/chat/stream?render=html", json=fields) as response:
        return list(events_of(response))


def frames_of(response: httpx.Response) -> Iterator[dict[str, Any]]:
    return (event for event in events_of(response) if "comment" not in event)


def test_an_answer_comes_in_blocks_that_are_the_whole_in_the_end(slow_service: Service) -> None:
    events = asked(slow_service, "What is a session?")
    ending = events[-1]
    assert ending["event"] == "response_complete"
    (blocks,) = blocks_of(events)
    assert blocks
    assert "".join(blocks) == ending["metadata"]["html"]
    text = "".join(event["text"] for event in events if event["event"] == "response_chunk")
    assert text == ending["response_text"]


def test_behind_a_tool_the_blocks_begin_anew(slow_service: Service) -> None:
    events = asked(slow_service, "calculate 2*21")
    kinds = [event["event"] for event in events]
    assert "tool_complete" in kinds
    messages = blocks_of(events)
    assert "".join(messages[-1]) == events[-1]["metadata"]["html"]
    first = next(event for event in events[kinds.index("tool_complete") :] if event["event"] == "response_block")
    assert first["index"] == 0


def test_a_block_carries_the_id_of_the_event_before_it(slow_service: Service) -> None:
    last = 0
    for event in asked(slow_service, "What is a session?"):
        assert event["id"] == (last if event["event"] == "response_block" else last + 1)
        last = event["id"]


def test_who_wants_text_alone_is_sent_no_html(service: Service) -> None:
    events = service.events("What is a session?")
    assert "response_block" not in {event["event"] for event in events}
    assert "html" not in events[-1]["metadata"]


@pytest.mark.parametrize("path", ["/api/chat", "/api/sessions/{id}/messages"])
def test_every_way_to_stream_an_answer_has_blocks(service: Service, path: str) -> None:
    session_id = service.http.post("/api/sessions", json={}).json()["session_id"]
    body = {"query": "What is a session?", "stream": True}
    with service.http.stream("POST", path.format(id=session_id) + "?render=html", json=body) as response:
        events = list(frames_of(response))
    assert blocks_of(events)[-1]


def test_who_comes_back_gets_all_blocks_again_and_no_word_twice(two: list[Service]) -> None:
    first, second = two
    whole: list[dict[str, Any]] = []
    with first.http.stream("POST", "/api/chat/stream?render=html", json={"query": "What is a session?"}) as response:
        for event in frames_of(response):
            whole.append(event)
            if event["event"] == "response_block" and len(whole) > 12:
                break
    seen = whole[-1]
    text = "".join(event["text"] for event in whole if event["event"] == "response_chunk")
    for service in (first, second):
        parameters = {"render": "html", "last_event_id": f"{seen['turn']}-{seen['id']}"}
        with service.http.stream("GET", "/api/chat/stream", params=parameters) as response:
            rest = list(frames_of(response))
        more = "".join(event["text"] for event in rest if event["event"] == "response_chunk")
        assert text + more == rest[-1]["response_text"]
        assert "".join(blocks_of(rest)[-1]) == rest[-1]["metadata"]["html"], service.http.base_url


def test_an_answer_that_has_ended_can_be_read_again_in_blocks(two: list[Service]) -> None:
    events = asked(two[0], "What is a session?")
    for service in two:
        parameters = {"render": "html", "last_event_id": f"{events[0]['turn']}-0"}
        with service.http.stream("GET", "/api/chat/stream", params=parameters) as response:
            again = list(frames_of(response))
        assert "".join(blocks_of(again)[-1]) == events[-1]["metadata"]["html"]
        assert [e for e in again if e["event"] != "response_block"] == [
            e for e in events if e["event"] != "response_block"
        ]


def test_stored_answers_come_as_html_where_that_is_asked_for(service: Service) -> None:
    session_id = service.ask("What is a session?").json()["session_id"]
    service.ask("calculate 2*21", session_id=session_id)
    path = f"/api/sessions/{session_id}"
    for address in (path, f"{path}/messages"):
        plain = service.http.get(address).json()["messages"]
        assert {message["html"] for message in plain} == {None}
        messages = service.http.get(address, params={"render": "html"}).json()["messages"]
        kinds = {(message["role"], message["kind"], message["html"] is not None) for message in messages}
        assert ("assistant", "text", True) in kinds
        assert {role for role, _, has_html in kinds if has_html} == {"assistant"}
        (calling,) = (message for message in messages if message["kind"] == "tool_use")
        assert calling["html"] == "<p>I will use the tool calculate.</p>\n"
    assert json.dumps(messages).count("<p>") >= 2


def test_a_message_tells_what_its_model_call_has_cost(slow_service: Service) -> None:
    session_id = slow_service.ask("What is a session?").json()["session_id"]
    question, answer = slow_service.session(session_id)["messages"]
    assert (question["usage"], question["latency_ms"]) == (None, None)
    assert answer["usage"]["output_tokens"] > 0
    assert answer["latency_ms"] >= answer["time_to_first_token_ms"] > 0


def test_another_rendering_is_refused(service: Service) -> None:
    response = service.http.post("/api/chat/stream?render=pdf", json={"query": "What is a session?"})
    assert (response.status_code, response.json()["code"]) == (422, "validation_error")
