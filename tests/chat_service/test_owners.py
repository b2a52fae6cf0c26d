"""Nobody gets at a session that is not his: tried on every route that names one, also those that come later."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from fastapi.dependencies.models import Dependant
from fastapi.routing import iter_route_contexts
from pydantic import BaseModel
from pymongo import MongoClient

from chat_service.config import Settings
from chat_service.main import create_app
from chat_service.security.authentication import PUBLIC
from mongodb_session_manager import MongoDBSessionManagerFactory
from tests.commands import Commands

from .callers import API_KEYS, acting_as, bearer
from .conftest import MakeService
from .running import Service

FREE = "session_0123456789abcdef"
REQUIRED: dict[str, Any] = {
    "key": "topic",
    "message": "Hello",
    "message_id": "msg_0123456789abcdef",
    "metadata": {"topic": "coffee"},
    "prompt": "Hello",
    "query": "Hello",
    "rating": "up",
}
"""What fields that must be there are filled with. A route with another one has to be told of here."""
OPTIONAL = {"render": "html"}
"""What other fields are filled with, where not anything will do."""


@dataclass
class Route:
    """A route that names a session, and a request to it that is right in all else."""

    method: str
    path: str
    placed: dict[str, list[str]] = field(default_factory=dict)
    filled: dict[str, dict[str, Any]] = field(default_factory=dict)
    optional: list[tuple[str, str]] = field(default_factory=list)

    def ask(self, http: httpx.Client, session_id: str, besides: tuple[str, str] | None = None) -> httpx.Response:
        values = {place: dict(fields) for place, fields in self.filled.items()}
        if besides:
            place, name = besides
            values.setdefault(place, {})[name] = OPTIONAL.get(name, "1")
        for place, names in self.placed.items():
            encoded = quote(session_id, safe="") if place == "headers" else session_id
            values.setdefault(place, {}).update(dict.fromkeys(names, encoded))
        path = self.path.replace("{session_id}", quote(session_id, safe=""))
        body = values.get("json", {}) if self.method in ("POST", "PUT", "PATCH") else None
        assert "cookies" not in values, "nothing in a cookie is known to this test"
        return http.request(self.method, path, params=values.get("params"), headers=values.get("headers"), json=body)


def is_session_id(name: str) -> bool:
    return name.lower().replace("-", "_") == "session_id"


def fields_of(parameters: list[Any]) -> Iterator[tuple[str, Any]]:
    """Names and descriptions of parameters, of those that are models each of its fields."""
    for parameter in parameters:
        kind = parameter.field_info.annotation
        if inspect.isclass(kind) and issubclass(kind, BaseModel):
            yield from ((info.alias or name, info) for name, info in kind.model_fields.items())
        else:
            yield parameter.alias, parameter.field_info


def all_routes() -> list[tuple[str, str, Dependant | None]]:
    app = create_app(Settings(_env_file=None))
    contexts = list(iter_route_contexts(app.routes))
    return [
        (method, str(context.path), getattr(context, "dependant", None))
        for context in contexts
        for method in sorted(context.methods or ())
    ]


def everything_of(dependant: Dependant | None) -> Iterator[Dependant]:
    if dependant:
        yield dependant
        for each in dependant.dependencies:
            yield from everything_of(each)


def parameters_of(dependant: Dependant | None) -> Iterator[tuple[str, str, Any]]:
    places = {"params": "query_params", "headers": "header_params", "cookies": "cookie_params", "json": "body_params"}
    for each in everything_of(dependant):
        for place, name in places.items():
            for alias, info in fields_of(getattr(each, name)):
                yield place, alias, info


def routes_with_a_session() -> list[Route]:
    found = []
    for method, path, dependant in all_routes():
        route = Route(method, path)
        for place, alias, info in parameters_of(dependant):
            if is_session_id(alias):
                route.placed.setdefault(place, []).append(alias)
            elif info.is_required() or alias == "query":
                route.filled.setdefault(place, {})[alias] = REQUIRED.get(alias)
            elif place in ("headers", "params"):
                route.optional.append((place, alias))
        if "{" in path or route.placed:
            found.append(route)
    return found


ROUTES = routes_with_a_session()


def test_the_routes_that_name_a_session_are_found() -> None:
    assert {(route.method, route.path) for route in ROUTES} >= {
        ("POST", "/api/chat"),
        ("POST", "/api/chat/stream"),
        ("GET", "/api/chat/stream"),
        ("GET", "/api/sessions/{session_id}"),
        ("PATCH", "/api/sessions/{session_id}/metadata"),
        ("POST", "/api/sessions/{session_id}/feedback"),
    }
    unknown = [(route.path, name) for route in ROUTES for fields in route.filled.values() for name in fields]
    assert {name for _, name in unknown} <= REQUIRED.keys()
    assert {part for route in ROUTES for part in route.path.split("/") if "{" in part} == {"{session_id}"}


def refusals(bob: Service, ids: dict[str, str]) -> Iterator[tuple[Route, str, httpx.Response]]:
    for route in ROUTES:
        for besides in (None, *route.optional):
            for kind, session_id in ids.items():
                yield route, kind, route.ask(bob.http, session_id, besides)


def content(response: httpx.Response) -> tuple[int, dict[str, Any], dict[str, str]]:
    volatile = ("date", "x-request-id")
    headers = {name: value for name, value in response.headers.items() if name not in volatile}
    return response.status_code, response.json() | {"request_id": ""}, headers


def seen_by(ada: Service, session_id: str) -> list[Any]:
    path = f"/api/sessions/{session_id}"
    paths = (path, f"{path}/messages", f"{path}/metadata", f"{path}/feedback", "/api/sessions")
    return [ada.http.get(each).raise_for_status().json() for each in paths]


def test_on_every_route_a_session_of_somebody_else_is_answered_like_one_that_does_not_exist(
    ada: Service, bob: Service
) -> None:
    session_id = ada.ask("My name is Ada.").json()["session_id"]
    before = seen_by(ada, session_id), bob.http.get("/api/sessions").json()
    answers: dict[tuple[str, str], list[Any]] = {}
    for route, kind, response in refusals(bob, {"another's": session_id, "free": FREE}):
        told = content(response)
        assert (told[0], told[1]["code"]) == (404, "session_not_found"), (route, kind, response.text)
        answers.setdefault((route.method, route.path), []).append(told)
    assert [route for route, told in answers.items() if any(each != told[0] for each in told)] == []
    assert (seen_by(ada, session_id), bob.http.get("/api/sessions").json()) == before


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_on_every_route_a_session_of_ones_own_is_served(ada: Service, route: Route) -> None:
    session_id = ada.http.post("/api/sessions", json={"metadata": {"topic": "tea"}}).json()["session_id"]
    if "message_id" in (body := route.filled.get("json", {})):
        ada.ask("My name is Ada.", session_id=session_id)
        body["message_id"] = ada.session(session_id)["messages"][0]["message_id"]
    response = route.ask(ada.http, session_id)
    assert response.status_code < 400, response.text


def test_what_is_refused_leaves_no_trace_in_the_database_and_costs_the_same(
    ada: Service, bob: Service, mongo_uri: str, mongo_client: MongoClient[Any], commands: Commands
) -> None:
    database = mongo_client[ada.database_name]
    session_id = ada.ask("My name is Ada.").json()["session_id"]
    with MongoDBSessionManagerFactory(mongo_uri, ada.database_name, "sessions") as factory:
        factory.sessions.create("unowned")

    def everything() -> dict[str, list[Any]]:
        with commands.unwatched():
            names = sorted(database.list_collection_names())
            return {name: list(database[name].find().sort("_id")) for name in names}

    before = everything()
    costs: dict[tuple[str, str], list[list[str]]] = {}
    commands.clear()
    for route, kind, response in refusals(bob, {"another's": session_id, "unowned": "unowned", "free": FREE}):
        assert response.status_code == 404, (route, kind)
        sent = [name for name, command, _ in commands.sent if command.get(name) == "sessions"]
        costs.setdefault((route.method, route.path), []).append(sent)
        commands.clear()
    assert {tuple(sent) for each in costs.values() for sent in each} == {("find",)}
    assert everything() == before


def test_a_session_belongs_to_whoever_began_it(ada: Service, bob: Service, mongo_client: MongoClient[Any]) -> None:
    asked = ada.ask("Hello").json()["session_id"]
    created = ada.http.post("/api/sessions", json={}).json()["session_id"]
    stored = mongo_client[ada.database_name].sessions
    assert [stored.find_one(each)["owner"] for each in (asked, created)] == ["ada", "ada"]  # type: ignore[index]
    listed = [session["session_id"] for session in ada.http.get("/api/sessions").json()["sessions"]]
    assert listed[:2] == [created, asked]
    assert {asked, created}.isdisjoint(each["session_id"] for each in bob.http.get("/api/sessions").json()["sessions"])


def test_an_answer_of_somebody_else_is_resumed_like_one_that_nobody_knows(ada: Service, bob: Service) -> None:
    with ada.streamed("My name is Ada.") as response:
        text = response.read().decode()
    (turn_id, *_) = set(re.findall(r"^id: ([0-9a-f]{32})-\d+$", text, re.MULTILINE))
    unknown = turn_id[:8] + "0" * 24  # as old as that one

    def resumed(caller: Service, turn: str) -> tuple[int, str]:
        found = caller.http.get("/api/chat/stream", headers={"Last-Event-ID": f"{turn}-0", "X-Request-ID": "one"})
        return found.status_code, found.text.replace(turn, "")

    assert "Ada" in resumed(ada, turn_id)[1]
    assert resumed(bob, turn_id) == resumed(bob, unknown)
    assert "Ada" not in resumed(bob, turn_id)[1]


def test_a_key_of_a_request_is_ones_own(ada: Service, bob: Service) -> None:
    answers = [
        caller.http.post("/api/chat", json={"query": "Hello"}, headers={"Idempotency-Key": "one"}).json()
        for caller in (ada, bob, ada)
    ]
    assert answers[0]["message_id"] == answers[2]["message_id"] != answers[1]["message_id"]


def test_pages_of_sessions_stay_with_ones_own(make_service: MakeService) -> None:
    service = make_service(api_keys=API_KEYS)
    with ExitStack() as stack:
        ada, bob = (stack.enter_context(acting_as(owner, service)) for owner in ("ada", "bob"))
        mine = [
            caller.http.post("/api/sessions", json={}).json()["session_id"] for _ in range(3) for caller in (bob, ada)
        ][1::2]
        listed, cursor = [], None
        while True:
            query = {"limit": 2} | ({"cursor": cursor} if cursor else {})
            page = ada.http.get("/api/sessions", params=query).json()
            listed += [session["session_id"] for session in page["sessions"]]
            if not (cursor := page["next_cursor"]):
                break
        assert listed == mine[::-1]


def test_a_title_and_metadata_cannot_give_a_session_to_somebody_else(ada: Service, bob: Service) -> None:
    session_id = ada.http.post("/api/sessions", json={"owner": "bob"}).json()["session_id"]
    ada.http.patch(f"/api/sessions/{session_id}", json={"owner": "bob", "metadata": {"owner": "bob"}})
    assert bob.http.get(f"/api/sessions/{session_id}").status_code == 404
    assert ada.http.get(f"/api/sessions/{session_id}").status_code == 200


def test_every_route_but_the_public_ones_asks_for_a_key(guarded: Service) -> None:
    for method, path, _ in all_routes():
        wrong = guarded.http.request(method, path, headers={"Authorization": "Bearer no"})
        for response in (guarded.http.request(method, path), wrong):
            if path in PUBLIC:
                assert response.status_code == 200, (method, path)
            else:
                assert response.status_code == 401, (method, path)
    assert guarded.http.get("/nowhere").status_code == 401
    assert guarded.http.get("/static/icon.svg").status_code == 200


def test_what_concerns_the_whole_service_is_for_its_operators(guarded: Service) -> None:
    for path in ("/metrics", "/debug/pool", "/debug/other"):
        refused = guarded.http.get(path, headers=bearer("ada"))
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
        assert guarded.http.get(path, headers=bearer("ops")).status_code != 403
