"""The provider for OpenAI-compatible servers, against a small server that speaks the chat-completions protocol."""

from __future__ import annotations

import json
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from .conftest import MakeService
from .running import Service, events_of, eventually

Reply = Callable[[dict[str, Any]], Iterator[dict[str, Any] | str]]


class CompletionServer(ThreadingHTTPServer):
    """Answers ``POST /v1/chat/completions`` with the chunks that ``reply`` gives for a request."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), CompletionHandler)
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.reply: Reply = words("Hello", " there.")
        self.refusals: list[int] = []  # a status for each request that is refused before the others are answered

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class CompletionHandler(BaseHTTPRequestHandler):
    server: CompletionServer

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append(request)
        self.server.keys.append(self.headers["Authorization"])
        if self.path != "/v1/chat/completions":
            self.send_error(404)
            return
        if self.server.refusals:
            self._refuse(self.server.refusals.pop(0))
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        for chunk in self.server.reply(request):
            self.wfile.write(f"data: {chunk if isinstance(chunk, str) else json.dumps(chunk)}\n\n".encode())
            self.wfile.flush()

    def _refuse(self, status: int) -> None:
        body = b'{"error": {"message": "secret of the provider"}}'
        self.send_response(status)
        self.send_header("Retry-After", "40")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Quiet."""


def chunk(delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}


def words(*said: str) -> Reply:
    def reply(request: dict[str, Any]) -> Iterator[dict[str, Any] | str]:
        yield chunk({"role": "assistant", "content": ""})
        for word in said:
            yield chunk({"content": word})
        yield chunk({}, "stop")
        usage = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}
        yield {**chunk({}), "choices": [], "usage": usage}
        yield "[DONE]"

    return reply


def asks_for_the_clock(request: dict[str, Any]) -> Iterator[dict[str, Any] | str]:
    if request["messages"][-1]["role"] == "tool":
        yield from words("It is late.")(request)
        return
    call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "current_time", "arguments": ""}}
    yield chunk({"role": "assistant", "tool_calls": [call]})
    yield chunk({"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]})
    yield chunk({}, "tool_calls")
    yield "[DONE]"


def breaks_off(request: dict[str, Any]) -> Iterator[dict[str, Any] | str]:
    yield chunk({"role": "assistant", "content": "Half of"})
    yield '{"error": {"message": "secret of the provider"}}'


def is_cut_off(request: dict[str, Any]) -> Iterator[dict[str, Any] | str]:
    yield chunk({"role": "assistant", "content": "Half of"})


def is_cut_off_and_says_done(request: dict[str, Any]) -> Iterator[dict[str, Any] | str]:
    yield chunk({"role": "assistant", "content": "Half of"})
    yield "[DONE]"


def is_cut_off_in_a_call(request: dict[str, Any]) -> Iterator[dict[str, Any] | str]:
    if request["messages"][-1]["role"] == "tool":
        yield from words("It ran all the same.")(request)
        return
    function = {"name": "calculate", "arguments": '{"expression": "1'}
    yield chunk(
        {"role": "assistant", "tool_calls": [{"index": 0, "id": "c", "type": "function", "function": function}]}
    )


def says_nothing(request: dict[str, Any]) -> Iterator[dict[str, Any] | str]:
    yield "[DONE]"


def is_throttled_in_the_middle(request: dict[str, Any]) -> Iterator[dict[str, Any] | str]:
    yield chunk({"role": "assistant", "content": "Half of"})
    yield '{"error": {"message": "rate limit", "code": "rate_limit_exceeded"}}'


@pytest.fixture(scope="module")
def provider() -> Iterator[CompletionServer]:
    with CompletionServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def service(make_service: MakeService, provider: CompletionServer) -> Service:
    return make_service(
        model_provider="openai", model_id="some-model", openai_base_url=provider.address, openai_api_key="key-1"
    )


def test_a_real_model_answers(service: Service, provider: CompletionServer) -> None:
    provider.reply = words("Good", " evening.")
    events = service.events("Hello", temperature=0.2)
    assert [event["text"] for event in events[:-1] if event["text"]] == ["Good", " evening."]
    assert events[-1]["response_text"] == "Good evening."
    assert events[-1]["metadata"]["usage"] == {"input_tokens": 7, "output_tokens": 2, "total_tokens": 9}
    request = provider.requests[-1]
    assert (request["model"], request["temperature"], request["stream"]) == ("some-model", 0.2, True)
    assert provider.keys[-1] == "Bearer key-1"
    assert request["messages"][0]["role"] == "system"


def test_a_real_model_gets_the_whole_conversation(service: Service, provider: CompletionServer) -> None:
    provider.reply = words("Hello Ada.")
    session_id = service.ask("I am Ada").json()["session_id"]
    service.ask("And now?", session_id=session_id)
    said = [
        (message["role"], "".join(part["text"] for part in message["content"]))
        for message in provider.requests[-1]["messages"][1:]
    ]
    assert said == [("user", "I am Ada"), ("assistant", "Hello Ada."), ("user", "And now?")]


def test_a_real_model_uses_tools(service: Service, provider: CompletionServer) -> None:
    provider.reply = asks_for_the_clock
    events = service.events("How late is it?")
    names = [event["event"] for event in events if event["event"] != "response_chunk"]
    assert names == ["tool_start", "tool_complete", "response_complete"]
    assert {tool["function"]["name"] for tool in provider.requests[0]["tools"]} == {"current_time", "calculate"}
    assert "UTC" in str(provider.requests[-1]["messages"][-1]["content"])


def test_a_model_that_fails_in_the_middle_ends_the_stream_in_an_error(
    service: Service, provider: CompletionServer
) -> None:
    provider.reply = breaks_off
    events = service.events("Hello")
    assert events[0]["text"] == "Half of"
    assert [event["event"] for event in events[1:]] == ["error"]
    assert (events[-1]["code"], events[-1]["status_code"]) == ("agent_error", 500)
    assert "secret" not in json.dumps(events)


def test_a_model_that_fails_answers_with_a_status_when_nothing_is_streamed(
    service: Service, provider: CompletionServer
) -> None:
    provider.reply = breaks_off
    response = service.ask("Hello")
    assert (response.status_code, response.json()["code"]) == (500, "agent_error")
    provider.reply = words("Again.")
    newest = service.http.get("/api/sessions").json()["sessions"][0]["session_id"]
    assert service.ask("Once more", session_id=newest).json()["response_text"] == "Again."


@pytest.mark.parametrize("reply", [is_cut_off, is_cut_off_and_says_done, is_cut_off_in_a_call, says_nothing])
def test_an_answer_that_was_cut_off_is_an_error_and_not_stored(
    service: Service, provider: CompletionServer, reply: Reply
) -> None:
    provider.reply = reply
    with service.streamed("Hello") as response:
        session_id = response.headers["session-id"]
        events = list(events_of(response))
    assert [event["event"] for event in events if event["event"] != "response_chunk"] == ["error"]
    assert (events[-1]["code"], events[-1]["status_code"]) == ("agent_error", 500)
    assert [message["text"] for message in service.session(session_id)["messages"]] == ["Hello"]


def test_after_a_failed_answer_the_model_sees_both_questions(service: Service, provider: CompletionServer) -> None:
    provider.reply = is_cut_off
    with service.streamed("Hello") as response:
        list(events_of(response))
    provider.reply = words("Hello.")
    assert service.ask("Again", session_id=response.headers["session-id"]).json()["response_text"] == "Hello."
    assert [message["role"] for message in provider.requests[-1]["messages"]] == ["system", "user", "user"]


def test_an_overloaded_model_is_asked_again(service: Service, provider: CompletionServer) -> None:
    provider.reply, provider.refusals = words("At last."), [503]
    before = len(provider.requests)
    assert service.ask("Hello").json()["response_text"] == "At last."
    assert len(provider.requests) == before + 2


@pytest.mark.parametrize("status", [429, 503])
def test_a_model_that_stays_overloaded_is_given_up_soon(
    service: Service, provider: CompletionServer, status: int
) -> None:
    provider.refusals = [status] * 3
    before = len(provider.requests)
    response = service.ask("Hello")
    assert len(provider.requests) == before + 3
    assert (response.status_code, response.json()["code"]) == (503, "model_unavailable")
    assert response.headers["retry-after"] == "10"
    assert "secret" not in response.text


def test_a_model_that_is_throttled_in_the_middle_of_its_answer_does_not_begin_anew(
    service: Service, provider: CompletionServer
) -> None:
    provider.reply = is_throttled_in_the_middle
    before = len(provider.requests)
    events = service.events("Hello")
    assert [event.get("text", event.get("code")) for event in events] == ["Half of", "agent_error"]
    assert len(provider.requests) == before + 1


def test_a_model_that_cannot_be_reached_is_unavailable(make_service: MakeService, port: int) -> None:
    service = make_service(
        model_provider="openai", model_id="m", openai_base_url=f"http://127.0.0.1:{port}/v1", openai_api_key="key"
    )
    ending = service.events("Hello")[-1]
    assert (ending["event"], ending["code"], ending["status_code"]) == ("error", "model_unavailable", 503)


def test_a_silent_model_is_not_asked_again(make_service: MakeService) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(0.2)
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        service = make_service(
            model_provider="openai", model_id="m", openai_base_url=address, openai_api_key="key", model_timeout=0.3
        )
        assert service.ask("Hello").json()["code"] == "model_unavailable"
        silent.accept()[0].close()
        with pytest.raises(TimeoutError):
            silent.accept()


def test_a_failure_is_logged_once_with_the_place_where_it_arose(
    service: Service, provider: CompletionServer, caplog: pytest.LogCaptureFixture
) -> None:
    for reply, place in [(is_cut_off, "in format_chunk"), (breaks_off, "openai/_streaming.py")]:
        provider.reply = reply
        caplog.clear()
        with caplog.at_level(logging.INFO, "chat_service"):
            service.ask("Hello")
            eventually(lambda: "request served" in caplog.text)
        assert caplog.text.count("request failed") == 1
        assert place in caplog.text
        assert "secret" not in caplog.text
