"""The older dialect of routes, over the same turns."""

from __future__ import annotations

import socket
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from .conftest import MakeService
from .model_servers import BREAK, Ollama, running_model
from .running import Service, eventually

OLLAMA = Ollama()


def ask(service: Service, prompt: str, session_id: str = "user-1", **fields: Any) -> httpx.Response:
    headers = {"session-id": quote(session_id, safe="")}
    return service.http.post("/chat", json={"prompt": prompt, **fields}, headers=headers)


def test_a_question_is_answered_in_the_session_that_the_header_names(service: Service) -> None:
    first = ask(service, "my name is Ada").json()
    assert set(first) == {"response", "session_id", "metrics"}
    assert first["session_id"] == "user-1"
    second = ask(service, "what is my name?").json()
    assert "Ada" in second["response"]
    assert set(second["metrics"]) == {"total_tokens", "average_latency_ms", "total_messages"}
    assert second["metrics"]["total_messages"] == 4
    assert second["metrics"]["total_tokens"] > first["metrics"]["total_tokens"] > 0
    assert service.session("user-1")["messages"][0]["text"] == "my name is Ada"


@pytest.mark.parametrize("session_id", ["Zoë/1 +%2F", "stream", "日本"])
def test_the_header_is_percent_encoded(service: Service, session_id: str) -> None:
    assert ask(service, "hello", session_id).json()["session_id"] == session_id
    assert service.session(quote(session_id, safe=""))["message_count"] == 2


def test_an_answer_streams_as_plain_text(service: Service) -> None:
    headers = {"session-id": "streamed"}
    with service.http.stream("POST", "/chat/stream", json={"prompt": "hello"}, headers=headers) as response:
        assert response.headers["content-type"] == "text/plain; charset=utf-8"
        assert response.headers["x-accel-buffering"] == "no"
        parts = list(response.iter_text())
    assert len(parts) > 1
    assert "".join(parts) == service.session("streamed")["messages"][-1]["text"]


def test_a_question_may_stand_in_the_address(service: Service) -> None:
    answer = service.http.post("/chat/user%2F2", params={"message": "my name is Bob"}).json()
    assert set(answer) == {"session_id", "response"}
    assert answer["session_id"] == "user/2"
    assert "Bob" in service.http.post("/chat/user%2F2", params={"message": "what is my name?"}).json()["response"]


def test_feedback_is_stored_with_the_session(service: Service) -> None:
    ask(service, "hello", "judged")
    given = service.http.post("/feedback/judged", params={"rating": "up", "comment": "good"})
    assert (given.status_code, given.json()) == (200, {"status": "success"})
    (stored,) = service.http.get("/api/sessions/judged/feedback").json()["feedback"]
    assert (stored["rating"], stored["comment"]) == ("up", "good")
    assert service.http.post("/feedback/nobody", params={"rating": "up"}).status_code == 404
    assert service.http.post("/feedback/judged").status_code == 422


@pytest.mark.parametrize(
    ("body", "headers", "field"),
    [
        ({"prompt": "hello"}, {}, "session-id"),
        ({"prompt": "hello"}, {"session-id": ""}, "session-id"),
        ({"prompt": "hello"}, {"session-id": "%00"}, "session-id"),
        ({"prompt": " "}, {"session-id": "s"}, "prompt"),
        ({}, {"session-id": "s"}, "prompt"),
        (
            {"prompt": "hello", "agent_config": {"system_prompt": "x"}},
            {"session-id": "s"},
            "agent_config.system_prompt",
        ),
        ({"prompt": "hello", "agent_config": {"tools": []}}, {"session-id": "s"}, "agent_config.tools"),
        ({"prompt": "hello", "agent_config": {"temperature": 3}}, {"session-id": "s"}, "agent_config.temperature"),
        ({"prompt": "hello", "agent_config": {"max_tokens": 0}}, {"session-id": "s"}, "agent_config.max_tokens"),
        ({"prompt": "hello", "agent_config": {"model": "another"}}, {"session-id": "s"}, "agent_config.model"),
        ({"prompt": "hello", "agent_config": {"model": {"x": 1}}}, {"session-id": "s"}, "agent_config.model"),
    ],
)
@pytest.mark.parametrize("path", ["/chat", "/chat/stream"])
def test_what_is_not_allowed_is_refused_by_name(
    service: Service, path: str, body: dict[str, Any], headers: dict[str, str], field: str
) -> None:
    refused = service.http.post(path, json=body, headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (422, "validation_error")
    assert field in refused.json()["error"]


def test_a_client_chooses_among_the_values_that_are_allowed(make_service: MakeService) -> None:
    with running_model(OLLAMA) as server:
        models = {"model_id": "small", "model_choices": ("large",)}
        service = make_service(model_provider="ollama", ollama_host=server.address, **models)
        server.say(OLLAMA.words("Yes."))
        chosen = {"temperature": 0.25, "max_tokens": 9, "model": "large"}
        assert ask(service, "hello", agent_config=chosen).json()["response"] == "Yes."
        assert ask(service, "hello", agent_config={"model": "small"}).status_code == 200
        assert OLLAMA.asked(server.requests[0]) == {"model": "large", "temperature": 0.25, "max_tokens": 9}
        assert server.requests[1]["model"] == "small"
        assert ask(service, "hello", agent_config={"model": "huge"}).status_code == 422


def test_a_prompt_may_be_longer_than_a_query(service: Service) -> None:
    assert ask(service, "hello " * 400, "long").status_code == 200
    assert ask(service, "hello " * 20_000, "long").status_code == 413


def test_a_failure_in_mid_stream_does_not_look_like_an_end(
    make_service: MakeService, caplog: pytest.LogCaptureFixture
) -> None:
    with running_model(OLLAMA) as server:
        service = make_service(model_provider="ollama", ollama_host=server.address, model_id="m")
        server.say([*OLLAMA.words("Half", " of", " it")[:2], BREAK])
        asked = service.http.build_request("POST", "/chat/stream", json={"prompt": "x"}, headers={"session-id": "s"})
        response = service.http.send(asked, stream=True)
        assert response.status_code == 200
        parts = response.iter_text()
        assert next(parts) + next(parts) == "Half of"
        with pytest.raises(httpx.RemoteProtocolError):
            next(parts)
    failures = [record.getMessage() for record in caplog.records if "request failed" in record.getMessage()]
    assert ["code=<agent_error>" in message for message in failures] == [True]  # told once, as what it was
    assert not [record for record in caplog.records if record.name.startswith("uvicorn") and record.exc_info]


def test_a_failure_before_the_first_word_has_its_status(make_service: MakeService) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unused.getsockname()[1]}"
        service = make_service(model_provider="ollama", ollama_host=address, model_id="m")
        refused = ask(service, "hello")
    assert (refused.status_code, refused.json()["code"]) == (503, "model_unavailable")


def test_an_answer_that_was_cancelled_ends_with_what_was_said(slow_service: Service) -> None:
    with slow_service.http.stream(
        "POST", "/chat/stream", json={"prompt": "hello"}, headers={"session-id": "cancelled"}
    ) as response:
        parts = response.iter_text()
        read = next(parts)
        assert slow_service.http.post("/api/sessions/cancelled/cancel").json()["cancelled"]
        read += "".join(parts)
    assert slow_service.session("cancelled")["messages"][-1]["text"].startswith(read.strip()[:5])


def test_a_session_answers_one_question_at_a_time_in_either_dialect(slow_service: Service) -> None:
    with slow_service.http.stream(
        "POST", "/chat/stream", json={"prompt": "hello"}, headers={"session-id": "both"}
    ) as response:
        next(response.iter_text())
        refused = slow_service.ask("hello", session_id="both")
        assert (refused.status_code, refused.json()["code"]) == (409, "session_busy")
        assert int(refused.headers["retry-after"]) >= 1


def test_outside_development_sessions_are_made_by_the_service(make_service: MakeService) -> None:
    service = make_service(environment="staging")
    assert ask(service, "hello", "mine").json()["code"] == "session_not_found"
    made = service.http.post("/api/sessions", json={}).json()["session_id"]
    assert ask(service, "hello", made).json()["session_id"] == made


def test_the_factory_has_a_health_check_of_its_own(service: Service) -> None:
    health = service.http.get("/health/factory")
    assert (health.status_code, health.json()["status"]) == (200, "healthy")
    assert health.json()["connection_pool"]["status"] == "connected"


def test_the_root_says_that_the_service_runs(service: Service) -> None:
    assert service.http.get("/").json()["status"] == "running"


def test_the_metrics_of_a_session_count_its_messages(service: Service) -> None:
    ask(service, "hello", "counted/1")
    ask(service, "hello again", "counted/1")
    shown = eventually(lambda: service.http.get("/metrics/session/counted%2F1").raise_for_status().json())
    assert set(shown) == {"session_id", "agents", "total_messages"}
    assert (shown["session_id"], shown["total_messages"]) == ("counted/1", 4)
    assert set(shown["agents"]["default"]) == {"name", "message_count", "state"}
    assert shown["agents"]["default"]["message_count"] == 4
    assert service.http.get("/metrics/session/nobody").json()["code"] == "session_not_found"
