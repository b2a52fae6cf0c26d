from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote, unquote

import pytest
from pymongo import MongoClient

from .conftest import MakeService
from .running import Service, events_of


def test_a_session_is_created_and_read(service: Service) -> None:
    made = service.http.post("/api/sessions", json={"metadata": {"topic": "tea"}, "title": "Tea"})
    assert made.status_code == 201
    body = made.json()
    assert re.fullmatch(r"session_[0-9a-f]{16}", body["session_id"])
    assert (body["title"], body["metadata"], body["message_count"]) == ("Tea", {"topic": "tea"}, 0)
    assert body["created_at"] == body["last_accessed"]
    assert service.session(body["session_id"]) == {**body, "messages": [], "offset": 0}


def test_awkward_metadata_is_kept_as_it_is(service: Service) -> None:
    metadata = {"$x": 1, "": {"a.b": None}, "big": 2**70, "nul\x00": "\x00"}
    made = service.http.post("/api/sessions", json={"metadata": metadata}).json()
    assert service.session(made["session_id"])["metadata"] == metadata


def test_text_that_no_encoding_knows_is_shown_with_question_marks(service: Service) -> None:
    headers = {"Content-Type": "application/json"}
    made = service.http.post("/api/sessions", content='{"metadata": {"\\ud800": "\\udfff"}}', headers=headers)
    assert made.json()["metadata"] == {"?": "?"}


def test_a_session_needs_nothing_to_begin_with(service: Service) -> None:
    assert service.http.post("/api/sessions", json={}).json()["metadata"] == {}


@pytest.mark.parametrize("body", [{"title": "x" * 201}, {"metadata": 1}])
def test_what_cannot_be_kept_is_refused(service: Service, body: dict[str, Any]) -> None:
    response = service.http.post("/api/sessions", json=body)
    assert (response.status_code, response.json()["code"]) == (422, "validation_error")


def test_sessions_are_listed_newest_first_in_pages(make_service: MakeService) -> None:
    service = make_service()
    assert service.http.get("/api/sessions").json() == {"sessions": [], "next_cursor": None}
    made = [service.http.post("/api/sessions", json={"title": str(number)}).json() for number in range(5)]
    service.ask("Hello", session_id=made[0]["session_id"])
    titles, cursor = [], None
    while True:
        page = service.http.get("/api/sessions", params={"limit": 2} | ({"cursor": cursor} if cursor else {})).json()
        titles.append([session["title"] for session in page["sessions"]])
        if not (cursor := page["next_cursor"]):
            break
    assert titles == [["0", "4"], ["3", "2"], ["1"]]


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", "cursor=nonsense"])
def test_a_wrong_page_is_refused(service: Service, query: str) -> None:
    response = service.http.get(f"/api/sessions?{query}")
    assert (response.status_code, response.json()["code"]) == (422, "validation_error")


def test_the_newest_messages_come_with_the_session_and_the_rest_on_demand(service: Service) -> None:
    session_id = service.ask("My name is Ada.").json()["session_id"]
    for number in range(51):
        service.ask(f"My number is {number}", session_id=session_id)
    session = service.session(session_id)
    assert (session["message_count"], session["offset"], len(session["messages"])) == (104, 4, 100)
    assert session["messages"][-2]["text"] == "My number is 50"
    path = f"/api/sessions/{session_id}/messages"
    first = service.http.get(path, params={"offset": 0, "limit": 4}).json()
    assert first["messages"][0]["text"] == "My name is Ada."
    assert (first["total"], first["offset"]) == (104, 0)
    newest = service.http.get(path, params={"limit": 2}).json()
    assert (newest["offset"], newest["messages"]) == (102, session["messages"][-2:])
    assert service.http.get(path, params={"offset": 200}).json()["messages"] == []
    assert service.http.get(path, params={"offset": -1}).status_code == 422


@pytest.mark.parametrize(
    "session_id",
    [
        "müller/7 $x.y",
        "a/messages",
        "/",
        "a//b/",
        "100%",
        "%2F",
        "%252F",
        "日本",
        "?#;&+",
        "{session_id}",
        ".hidden",
        "…",
    ],
)
def test_an_id_of_any_kind_names_a_session_in_every_route(service: Service, session_id: str) -> None:
    assert service.ask("Hello", session_id=session_id).json()["session_id"] == session_id
    path = f"/api/sessions/{quote(session_id, safe='')}"
    session = service.http.get(path).raise_for_status().json()
    assert (session["session_id"], session["message_count"]) == (session_id, 2)
    messages = service.http.get(f"{path}/messages").raise_for_status().json()
    assert (messages["session_id"], messages["messages"]) == (session_id, session["messages"])
    with service.streamed("Hello again", session_id=session_id) as response:
        assert unquote(response.headers["session-id"]) == session_id
        events = list(events_of(response))
    assert events[0]["session_id"] == events[-1]["metadata"]["session_id"] == session_id
    assert service.http.delete(path).status_code == 204
    assert service.http.get(path).json()["code"] == "session_not_found"


def test_a_slash_as_such_separates(service: Service) -> None:
    service.ask("Hello", session_id="one")
    service.ask("Hello", session_id="one/messages")
    assert service.http.get("/api/sessions/one/messages").json()["session_id"] == "one"
    assert service.http.get("/api/sessions/one%2Fmessages").json()["session_id"] == "one/messages"
    assert service.http.get("/api/sessions/one%2fmessages/messages").json()["session_id"] == "one/messages"
    assert service.http.get("/api/sessions/one/nothing").json()["code"] == "not_found"


def test_a_deleted_session_is_gone_with_all_that_belonged_to_it(
    service: Service, mongo_client: MongoClient[Any]
) -> None:
    session_id = service.ask("Hello").json()["session_id"]
    assert service.http.delete(f"/api/sessions/{session_id}").status_code == 204
    assert mongo_client[service.database_name].sessions.find_one(session_id) is None
    for path in (f"/api/sessions/{session_id}", f"/api/sessions/{session_id}/messages"):
        response = service.http.get(path)
        assert (response.status_code, response.json()["code"]) == (404, "session_not_found")
    assert service.http.delete(f"/api/sessions/{session_id}").status_code == 404


def test_a_session_gets_another_title_and_more_metadata(service: Service) -> None:
    made = service.http.post("/api/sessions", json={"title": "Tea", "metadata": {"a": 1, "b": {"c": 2}}}).json()
    path = f"/api/sessions/{made['session_id']}"
    patched = service.http.patch(path, json={"title": "Coffee", "metadata": {"b.d": 3, "e": None}}).json()
    assert (patched["title"], patched["metadata"]) == ("Coffee", {"a": 1, "b": {"c": 2, "d": 3}, "e": None})
    assert service.http.patch(path, json={"metadata": {"a": 2}}).json()["title"] == "Coffee"
    assert service.http.patch(path, json={"title": None}).json()["title"] == "Coffee"
    assert service.session(made["session_id"])["metadata"]["a"] == 2


def test_metadata_is_read_merged_and_removed(service: Service) -> None:
    session_id = service.http.post("/api/sessions", json={"metadata": {"a": {"b": 1, "c": 2}, "d": 3}}).json()[
        "session_id"
    ]
    path = f"/api/sessions/{session_id}/metadata"
    assert service.http.get(path).json() == {"session_id": session_id, "metadata": {"a": {"b": 1, "c": 2}, "d": 3}}
    merged = service.http.patch(path, json={"metadata": {"a.b": [1], "e": "x"}}).json()
    assert merged["metadata"] == {"a": {"b": [1], "c": 2}, "d": 3, "e": "x"}
    removed = service.http.delete(path, params={"key": ["a.b", "d", "nothing"]}).json()
    assert removed == {"session_id": session_id, "metadata": {"a": {"c": 2}, "e": "x"}}
    assert service.http.get(path).json() == removed


@pytest.mark.parametrize("key", ["", "a..b", "$set", "a.$x", "nul\x00", "d.e"])
def test_metadata_that_cannot_be_addressed_is_refused(service: Service, key: str) -> None:
    made = service.http.post("/api/sessions", json={"metadata": {"d": 1}}).json()
    path = f"/api/sessions/{made['session_id']}"
    for response in (
        service.http.patch(path, json={"metadata": {key: 1}}),
        service.http.patch(f"{path}/metadata", json={"metadata": {key: 1}}),
    ):
        assert (response.status_code, response.json()["code"]) == (422, "validation_error")
        assert "metadata" in response.json()["error"]
    if key != "d.e":
        assert service.http.delete(f"{path}/metadata", params={"key": key}).status_code == 422
    assert service.http.get(f"{path}/metadata").json()["metadata"] == {"d": 1}


def test_feedback_is_added_and_read(service: Service) -> None:
    answer = service.ask("Hello").json()
    path = f"/api/sessions/{answer['session_id']}/feedback"
    assert service.http.get(path).json() == {"session_id": answer["session_id"], "feedback": []}
    given = {"rating": "down", "comment": "Too short.", "reason": "incomplete", "message_id": answer["message_id"]}
    first = service.http.post(path, json=given)
    assert first.status_code == 201
    assert {name: first.json()[name] for name in given} == given
    second = service.http.post(path, json={"rating": "up"}).json()
    assert second == {**dict.fromkeys(given), "rating": "up", "created_at": second["created_at"]}
    assert service.http.get(path).json()["feedback"] == [first.json(), second]


@pytest.mark.parametrize(
    "body",
    [{}, {"rating": "great"}, {"rating": "up", "comment": "x" * 2001}, {"rating": "up", "message_id": "0"}],
)
def test_feedback_of_another_form_is_refused(service: Service, body: dict[str, Any]) -> None:
    session_id = service.http.post("/api/sessions", json={}).json()["session_id"]
    assert service.http.post(f"/api/sessions/{session_id}/feedback", json=body).status_code == 422


def test_a_question_is_asked_by_way_of_its_session(service: Service) -> None:
    session_id = service.http.post("/api/sessions", json={}).json()["session_id"]
    path = f"/api/sessions/{session_id}/messages"
    asked = service.http.post(path, json={"query": "My name is Ada."}).json()
    assert asked["session_id"] == session_id
    with service.http.stream("POST", path, json={"query": "What is my name?", "stream": True}) as response:
        assert list(events_of(response))[-1]["response_text"] == "Your name is Ada."
    assert service.http.get(path).json()["total"] == 4
    assert service.http.post(path, json={"query": ""}).status_code == 422


def test_sessions_are_listed_by_application(make_service: MakeService) -> None:
    service = make_service()
    for title, name in (("1", "shop"), ("2", None), ("3", "shop")):
        service.http.post("/api/sessions", json={"title": title, "application_name": name})
    listed = service.http.get("/api/sessions", params={"application_name": "shop"}).json()["sessions"]
    assert [(session["title"], session["application_name"]) for session in listed] == [("3", "shop"), ("1", "shop")]


@pytest.mark.parametrize(
    ("method", "rest", "body"),
    [
        ("PATCH", "", {"title": "x"}),
        ("GET", "/metadata", None),
        ("PATCH", "/metadata", {"metadata": {"a": 1}}),
        ("DELETE", "/metadata?key=a", None),
        ("GET", "/feedback", None),
        ("POST", "/feedback", {"rating": "up"}),
        ("POST", "/messages", {"query": "Hello"}),
    ],
)
def test_what_is_beside_a_session_needs_one(service: Service, method: str, rest: str, body: Any) -> None:
    response = service.http.request(method, f"/api/sessions/session_0123456789abcdef{rest}", json=body)
    assert (response.status_code, response.json()["code"]) == (404, "session_not_found")
    assert service.http.get("/api/sessions/session_0123456789abcdef").status_code == 404
