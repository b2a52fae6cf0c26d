"""Whatever a client sends, the fault is not the server's."""

from __future__ import annotations

import base64
import json

import httpx
import pytest

from .running import Service

HUGE = b"9" * 5_000
BODIES = [
    b"",
    b"\xff\xfe",
    b"{",
    b"[]",
    b"[[]]",
    b'"text"',
    b"null",
    b"NaN",
    HUGE,
    b"[" * 20_000 + b"]" * 20_000,
    b'{"a":' * 9_000 + b"1" + b"}" * 9_000,
    b'{"query": {"$gt": ""}}',
    b'{"query": ["x"]}',
    b'{"query": "\\u0000"}',
    b'{"query": "\\ud800"}',
    b'{"query": ' + HUGE + b"}",
    b'{"query": "x", "temperature": NaN}',
    b'{"query": "x", "temperature": 1e999}',
    b'{"query": "x", "top_k": 1e400}',
    b'{"query": "x", "top_k": ' + b"9" * 100 + b"}",
    b'{"query": "x", "stream": "maybe"}',
    b'{"query": "x", "selected_text": "\\u0000"}',
    b'{"query": "x", "selected_text": "\\ud800"}',
    b'{"query": "x", "session_id": "\\u0000"}',
    b'{"query": "x", "session_id": "\\ud800"}',
    b'{"query": "x", "session_id": ["a"]}',
    b'{"query": "x", "session_id": {}}',
    json.dumps({"query": "x", "session_id": "日" * 256}).encode(),
    json.dumps({"query": "😀", "session_id": "😀", "stream": True}).encode(),
    b'{"metadata": []}',
    b'{"metadata": {"a": NaN, "b": 1e999, "c": ' + b"9" * 4_000 + b"}}",
    b'{"metadata": {"$where": 1, "a.b": 2, "": 3, "\\u0000": 4, "\\ud800": 5, "__json__": "{", "_id": 1}}',
    b'{"metadata": ' + b'{"a": ' * 100 + b"1" + b"}" * 100 + b"}",
    b'{"metadata": ' + b'{"a": ' * 300 + b"1" + b"}" * 300 + b"}",
    b'{"metadata": {"a": ' + b"[" * 900 + b"]" * 900 + b"}}",
    b'{"title": "\\u0000"}',
    b'{"title": "\\ud800"}',
    b'{"title": 1}',
]
TYPES = [{"Content-Type": "application/json"}, {"Content-Type": "application/json; charset=utf-16"}, {}]
CURSORS = [
    "null",
    "[]",
    "{}",
    "[1, 2]",
    "[null, null]",
    '["9999-99-99T00:00:00", ""]',
    '["0001-01-01T00:00:00+14:00", "x"]',
]
NUMBERS = ["", "x", "1e3", "-1", "%00", "%FF", "2147483648", "9223372036854775807", "9223372036854775808", "9" * 5_000]
IDS = [
    "%00",
    "%0A",
    "%ED%A0%80",
    "%FF",
    "%",
    "%zz",
    "%2F",
    "%252F",
    "%7B%7D",
    "%20",
    "x" * 257,
    "%E6%97%A5" * 257,
    ";x",
]


def refused_or_served(response: httpx.Response) -> bool:
    assert response.status_code < 500, (response.request.method, response.request.url, response.text)
    return response.status_code >= 400


@pytest.mark.parametrize("path", ["/api/chat", "/api/chat/stream", "/api/sessions"])
def test_any_body_is_served_or_refused(service: Service, path: str) -> None:
    answers = [
        refused_or_served(service.http.post(path, content=body, headers=headers))
        for body in BODIES
        for headers in TYPES
    ]
    assert True in answers
    assert False in answers
    assert service.http.get("/api/sessions").status_code == 200  # whatever was stored can be shown


@pytest.mark.parametrize(
    ("method", "rest"), [("PATCH", ""), ("PATCH", "/metadata"), ("POST", "/feedback"), ("POST", "/messages")]
)
def test_any_body_about_a_session_is_served_or_refused(service: Service, method: str, rest: str) -> None:
    path = f"/api/sessions/{service.http.post('/api/sessions', json={}).json()['session_id']}"
    for body in BODIES:
        for headers in TYPES:
            refused_or_served(service.http.request(method, f"{path}{rest}", content=body, headers=headers))
    for key in ("", "%00", "$x", "a..b", "%ED%A0%80", "x" * 5_000):
        refused_or_served(service.http.delete(f"{path}/metadata?key={key}"))
    for rest in ("", "/metadata", "/feedback", "/messages"):
        assert service.http.get(f"{path}{rest}").status_code == 200  # whatever was stored can be shown


def test_any_query_is_served_or_refused(service: Service) -> None:
    session_id = service.ask("Hello").json()["session_id"]
    cursors = [base64.urlsafe_b64encode(cursor.encode()).decode().rstrip("=") for cursor in CURSORS]
    for cursor in [*cursors, "%00", "%FF", "%ED%A0%80", "x" * 5_000]:
        assert refused_or_served(service.http.get(f"/api/sessions?cursor={cursor}"))
    for number in NUMBERS:
        refused_or_served(service.http.get(f"/api/sessions?limit={number}"))
        for name in ("limit", "offset"):
            refused_or_served(service.http.get(f"/api/sessions/{session_id}/messages?{name}={number}"))
        for query in (f"query=x&top_k={number}", f"query=x&temperature={number}", f"query=x&session_id={number}"):
            refused_or_served(service.http.get(f"/api/chat/stream?{query}"))
        headers = {"Last-Event-ID": number}
        refused_or_served(service.http.get("/api/chat/stream?query=x", headers=headers))


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "PUT", "PATCH", "POST", "OPTIONS"])
def test_any_name_of_a_session_is_served_or_refused(service: Service, method: str) -> None:
    for name in IDS:
        for rest in ("", "/", "/messages", "/metadata", "/feedback", "/nothing"):
            response = service.http.request(method, f"/api/sessions/{name}{rest}")
            refused_or_served(response)


@pytest.mark.parametrize("path", ["/%00", "/%FF", "/static/", "/static/%00", "/static/..%2Fmain.py", "/static/a%2Fb"])
def test_any_other_address_is_refused(service: Service, path: str) -> None:
    for method in ("GET", "HEAD", "POST", "OPTIONS"):
        assert refused_or_served(service.http.request(method, path))


def test_odd_headers_are_served_or_refused(service: Service) -> None:
    odd = [
        (b"X-Request-ID", b"\xff\xfe"),
        (b"X-Request-ID", b"x" * 5_000),
        (b"Accept", b"\xff"),
        (b"Range", b"bytes=5-1"),
        (b"Range", b"bytes=0-99999999999999999999"),
        (b"If-Modified-Since", b"yesterday"),
        (b"Last-Event-ID", b"\xff"),
    ]
    for header in odd:
        for path in ("/", "/chat.html", "/static/app.js", "/livez", "/api/chat/stream?query=x"):
            refused_or_served(service.http.get(path, headers=[header]))


@pytest.mark.parametrize(
    ("field", "value", "status"),
    [
        ("temperature", 1, 200),
        ("temperature", "0.5", 422),
        ("temperature", True, 422),
        ("top_k", 5.0, 200),
        ("top_k", 5.5, 422),
        ("top_k", "5", 422),
        ("stream", "true", 422),
        ("stream", 1, 422),
        ("session_id", " ", 200),
    ],
)
def test_in_json_a_number_is_no_text_and_no_truth_value(
    service: Service, field: str, value: object, status: int
) -> None:
    answer = service.http.post("/api/chat", json={"query": "Hello", field: value})
    assert answer.status_code == status
    if status == 422:
        assert [found["field"] for found in answer.json()["details"]["fields"]] == [field]


def test_in_an_address_everything_is_text(service: Service) -> None:
    asked = {"query": "Hello", "temperature": "0.5", "top_k": "5", "stream": "true"}
    assert service.http.get("/api/chat/stream", params=asked).status_code == 200
