from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from chat_service.log import JsonLines, bind

from .running import eventually, running


def line(template: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
    record = logging.getLogger("a.name").makeRecord(
        "a.name", logging.WARNING, "file", 1, template, args, None, **kwargs
    )
    shown: dict[str, Any] = json.loads(JsonLines().format(record))
    return shown


def test_the_pairs_of_a_line_are_fields_of_its_object() -> None:
    shown = line("session_id=<%s>, status=<%d>, duration_ms=<%.1f> | request served", "s", 200, 1.25)
    assert shown.pop("timestamp").endswith("+00:00")
    assert shown == {
        "message": "request served",
        "level": "WARNING",
        "logger": "a.name",
        "session_id": "s",
        "status": 200,
        "duration_ms": 1.25,
    }


@pytest.mark.parametrize("value", ["> | x", "a>, b=<c", "100%", '"\n', "\ud800", "=<%s>"])
def test_a_value_may_look_like_anything(value: str) -> None:
    shown = line("session_id=<%s>, error=<%s> | failed%s", value, "KeyError", " badly | so")
    assert (shown["session_id"], shown["error"], shown["message"]) == (value, "KeyError", "failed badly | so")


def test_a_line_without_pairs_is_its_message() -> None:
    assert line("turns are written down again")["message"] == "turns are written down again"
    assert line("%d of %d | done", 1, 2)["message"] == "1 of 2 | done"
    assert line("Started server process [%(pid)d]", {"pid": 7})["message"] == "Started server process [7]"


def test_what_is_bound_is_in_every_line_and_the_lines_own_fields_win() -> None:
    bind(request_id="r-1")
    bind(session_id="s-1")
    assert line("nothing of its own")["request_id"] == "r-1"
    assert line("nothing of its own")["session_id"] == "s-1"
    assert line("session_id=<%s> | other", "s-2")["session_id"] == "s-2"


def test_the_log_of_a_service_is_one_object_a_line(tmp_path: Path, port: int) -> None:
    with running(tmp_path, port, LOG_FORMAT="json", LOG_LEVEL="debug", DEMO_DELAY="0") as service:
        answer = service.http.post(
            "/api/chat", json={"query": "xyzzy is my secret"}, headers={"X-Request-ID": "asked-1"}
        ).json()
        assert service.http.get("/api/sessions/none").status_code == 404
        eventually(lambda: service.log().count("request served") >= 2)
        lines = [json.loads(text) for text in service.log().splitlines()]
    assert all({"timestamp", "level", "logger", "message"} <= set(each) for each in lines)
    served = next(each for each in lines if each["message"] == "request served")
    assert (served["request_id"], served["method"], served["path"]) == ("asked-1", "POST", "/api/chat")
    assert (served["status"], served["session_id"]) == (200, answer["session_id"])
    refused = next(each for each in lines if each["message"] == "request failed")
    assert (refused["code"], refused["status"]) == ("session_not_found", 404)
    assert "xyzzy" not in service.log()


def test_the_log_of_a_turn_names_request_and_session(tmp_path: Path, port: int) -> None:
    # Nothing listens where the model should be: the failure is logged by the turn, beside the request.
    model = {"MODEL_PROVIDER": "openai", "MODEL_ID": "m", "OPENAI_API_KEY": "key-of-mine"}
    address = {"OPENAI_BASE_URL": "http://127.0.0.1:1/v1"}
    with running(tmp_path, port, LOG_FORMAT="json", LOG_LEVEL="debug", **model, **address) as service:
        with service.http.stream(
            "POST", "/api/chat/stream", json={"query": "xyzzy"}, headers={"X-Request-ID": "asked-2"}
        ) as response:
            session_id = response.headers["session-id"]
            response.read()
        eventually(lambda: "request served" in service.log())
        lines = [json.loads(text) for text in service.log().splitlines()]
    failed = [each for each in lines if each["message"].startswith("request failed")]
    assert [(each["request_id"], each["session_id"]) for each in failed] == [("asked-2", session_id)]
    assert "xyzzy" not in service.log()
    assert "key-of-mine" not in service.log()


def test_the_text_form_is_what_people_read(tmp_path: Path, port: int) -> None:
    with running(tmp_path, port, DEMO_DELAY="0") as service:
        service.http.get("/livez")
        eventually(lambda: "request served" in service.log())
    line = next(text for text in service.log().splitlines() if "request served" in text)
    assert " INFO chat_service.middleware | request_id=<" in line
    assert line.endswith(" | request served")


def test_a_program_that_logs_its_own_way_is_left_alone() -> None:
    program = """
import logging, sys
logging.basicConfig(level="ERROR", format="mine %(message)s")
from chat_service.log import configure
configure("DEBUG", "json")
assert logging.root.level == logging.ERROR
assert len(logging.root.handlers) == 1
logging.getLogger("chat_service").error("said")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr == "mine said\n"
