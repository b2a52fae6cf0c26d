"""An application of one's own on FastAPI: over real HTTP, on a real MongoDB."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import httpx
import pytest
import uvicorn
from fastapi import Depends, FastAPI, Request, Response
from pymongo import MongoClient
from pymongo.collection import Collection
from pymongo.errors import AutoReconnect, DuplicateKeyError, ServerSelectionTimeoutError, WaitQueueTimeoutError
from strands import Agent, tool
from strands.types.exceptions import EventLoopException

from mongodb_session_manager import (
    MongoDBSessionManager,
    MongoDBSessionManagerFactory,
    SessionBusyError,
    SessionConflictError,
    SessionError,
    SessionNotFoundError,
    SessionTooLargeError,
)
from mongodb_session_manager.embedded import EmbeddedMongoDB
from mongodb_session_manager.fastapi import (
    Factory,
    OpenSession,
    Problem,
    explain,
    health_router,
    install_error_handlers,
    metrics_router,
    open_session,
    session_lifespan,
    stream_agent,
    stream_text,
)
from mongodb_session_manager.fastapi import streams as streams_module
from tests.commands import Commands
from tests.models import ScriptedModel

ROOT = Path(__file__).parent.parent
FIELDS = {"error", "code", "status_code", "details", "request_id"}
Stored = Callable[[str], Any]
Planner = Annotated[MongoDBSessionManager, Depends(open_session(agent_id="planner", application_name="trips"))]


@contextmanager
def served(app: FastAPI) -> Iterator[httpx.Client]:
    """The application on a server in a thread."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, timeout_graceful_shutdown=5))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        eventually(lambda: server.started or not thread.is_alive())
        port = server.servers[0].sockets[0].getsockname()[1]
        # A connection for each request: the server closes one after an error that no handler took, when the next
        # request may be on its way in it already.
        limits = httpx.Limits(max_keepalive_connections=0)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20, limits=limits) as http:
            yield http
    finally:
        server.should_exit = True
        thread.join()


def eventually(condition: Callable[[], Any]) -> Any:
    end = time.monotonic() + 10
    while time.monotonic() < end:
        if result := condition():
            return result
        time.sleep(0.02)
    raise AssertionError("it did not happen in time")


@tool
def double(number: int) -> int:
    """Twice a number.

    Args:
        number: Any.
    """
    return 2 * number


def agent_of(model: ScriptedModel, session: MongoDBSessionManager) -> Agent:
    return Agent(model=model, session_manager=session, tools=[double], callback_handler=None)


def app_on(factory: MongoDBSessionManagerFactory, model: ScriptedModel, heartbeat: float = 15.0) -> FastAPI:
    """What people write, in short."""
    app = FastAPI(lifespan=session_lifespan(factory=factory))
    install_error_handlers(app)

    @app.post("/chat")
    async def chat(prompt: str, session: OpenSession) -> dict[str, str]:
        return {"response": str(await agent_of(model, session).invoke_async(prompt))}

    @app.post("/events")
    async def events(prompt: str, session: OpenSession) -> Response:
        return await stream_agent(agent_of(model, session), prompt, heartbeat=heartbeat, request_id="r-1")

    @app.post("/text")
    async def text(prompt: str, session: OpenSession) -> Response:
        return await stream_text(agent_of(model, session), prompt)

    @app.post("/deleted")
    async def deleted(session: OpenSession, factory: Factory) -> str:
        agent = agent_of(model, session)
        await agent.invoke_async("Hello")
        await factory.sessions.aio.delete(session.session_id)
        return str(await agent.invoke_async("Are you there?"))

    @app.post("/too-large")
    async def too_large(session: OpenSession) -> None:
        await session.aio.add_feedback({"comment": "x" * 1_100_000})

    return app


@pytest.fixture
def model() -> ScriptedModel:
    return ScriptedModel("Hello Ada")


@pytest.fixture
def http(factory: MongoDBSessionManagerFactory, model: ScriptedModel) -> Iterator[httpx.Client]:
    with served(app_on(factory, model, heartbeat=0.05)) as http:
        yield http


def ask(http: httpx.Client, path: str, session_id: str = "s") -> httpx.Response:
    return http.post(path, params={"prompt": "Hi"}, headers={"session-id": session_id})


def events_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line.removeprefix("data: ")) for line in text.splitlines() if line.startswith("data: ")]


def roles(document: Any) -> list[str]:
    return [each["message"]["role"] for each in document["agents"]["default"]["messages"]] if document else []


@pytest.fixture
def closings(monkeypatch: pytest.MonkeyPatch, stored: Stored) -> list[list[str]]:
    """What the database held of a session each time that its manager was closed."""
    seen: list[list[str]] = []
    close = MongoDBSessionManager.close

    def noted(manager: MongoDBSessionManager) -> None:
        close(manager)
        seen.append(roles(stored(manager.session_id)))

    monkeypatch.setattr(MongoDBSessionManager, "close", noted)
    return seen


# The factory


def test_a_lifespan_makes_a_factory_and_closes_it(mongo_uri: str) -> None:
    app = FastAPI(lifespan=session_lifespan(mongo_uri, "tests", "sessions", maxPoolSize=3, minPoolSize=0))
    with served(app):
        factory = app.state.session_factory
        assert (factory.database_name, factory.collection_name) == ("tests", "sessions")
        assert factory.get_connection_stats()["pool_config"]["maxPoolSize"] == 3
    assert factory.get_connection_stats() == {"status": "not_initialized"}


def test_a_factory_that_was_given_stays_open(mongo_uri: str) -> None:
    with MongoDBSessionManagerFactory(mongo_uri, "tests", minPoolSize=0) as factory:
        with served(FastAPI(lifespan=session_lifespan(factory=factory))):
            pass
        assert factory.get_connection_stats()["status"] == "connected"
        with pytest.raises(TypeError, match="maxPoolSize"):
            session_lifespan(factory=factory, maxPoolSize=3)


def test_it_goes_into_a_lifespan_of_ones_own(mongo_uri: str) -> None:
    seen = []

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with session_lifespan(mongo_uri, "tests", minPoolSize=0)(app):
            seen.append(app.state.session_factory)
            yield
            seen.append(await app.state.session_factory.aio.get_connection_stats())

    with served(FastAPI(lifespan=lifespan)):
        pass
    factory, at_the_end = seen
    assert at_the_end["status"] == "connected"
    assert factory.get_connection_stats() == {"status": "not_initialized"}


# The session of a request


@pytest.mark.parametrize("path", ["/chat", "/events", "/text"])
def test_a_conversation_goes_on_with_the_next_request(
    http: httpx.Client, model: ScriptedModel, stored: Stored, path: str
) -> None:
    for _ in range(2):
        assert "Hello Ada" in ask(http, path).raise_for_status().text
    assert roles(stored("s")) == ["user", "assistant"] * 2
    assert len(model.calls[1]) == 3


@pytest.mark.parametrize("session_id", ["plain", "a/b c", "ünï-日本", "100%"])
def test_the_name_of_a_session_is_percent_decoded(http: httpx.Client, stored: Stored, session_id: str) -> None:
    ask(http, "/chat", quote(session_id, safe="")).raise_for_status()
    assert roles(stored(session_id)) == ["user", "assistant"]


@pytest.mark.parametrize("header", ["", "a%0Ab", "%00", "x" * 257])
def test_a_name_that_cannot_be_one_is_refused_as_the_application_refuses_anything(
    http: httpx.Client, header: str
) -> None:
    response = ask(http, "/chat", header)
    assert response.status_code == 422
    assert response.json()["detail"][0]["loc"] == ["header", "session-id"]
    assert http.post("/chat", params={"prompt": "Hi"}).json()["detail"][0]["loc"] == ["header", "session-id"]


@pytest.mark.parametrize("path", ["/chat", "/events", "/text"])
def test_a_session_is_closed_when_its_turn_is_stored(http: httpx.Client, closings: list[list[str]], path: str) -> None:
    ask(http, path).raise_for_status()
    eventually(lambda: closings)
    assert closings == [["user", "assistant"]]


def test_a_session_is_closed_after_an_error_too(
    http: httpx.Client, model: ScriptedModel, closings: list[list[str]]
) -> None:
    model.script = [RuntimeError("secret")]
    response = ask(http, "/chat")
    assert (response.status_code, "secret" in response.text) == (500, False)
    eventually(lambda: closings)
    assert closings == [["user"]]


def test_an_opened_session_may_have_options_of_its_own(
    factory: MongoDBSessionManagerFactory, model: ScriptedModel, stored: Stored, commands: Commands
) -> None:
    app = FastAPI(lifespan=session_lifespan(factory=factory))

    @app.post("/chat")
    async def chat(session: Planner) -> None:
        await Agent(model=model, agent_id="planner", session_manager=session, callback_handler=None).invoke_async("Hi")

    with served(app) as http:
        commands.clear()
        http.post("/chat", headers={"session-id": "s"}).raise_for_status()
    assert stored("s")["application_name"] == "trips"
    assert commands.names == ["find", "update", "update"]


# Errors


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (SessionNotFoundError("secret", session_id="s"), 404, "session_not_found"),
        (SessionBusyError("secret", session_id="s", retry_after=2.3), 409, "session_busy"),
        (SessionConflictError("secret", session_id="s"), 409, "session_conflict"),
        (SessionTooLargeError("secret", session_id="s"), 413, "session_too_large"),
        (ServerSelectionTimeoutError("secret"), 503, "service_unavailable"),
        (AutoReconnect("secret"), 503, "service_unavailable"),
        (WaitQueueTimeoutError("secret"), 503, "service_unavailable"),
    ],
)
def test_each_error_has_a_status_and_a_code_also_inside_another(error: Exception, status: int, code: str) -> None:
    wrapped = EventLoopException(error)
    wrapped.__cause__ = error
    for each in (error, wrapped):
        problem = explain(each)
        assert problem
        assert (problem.status_code, problem.code) == (status, code)
        assert set(problem.body("r")) == FIELDS
        assert "secret" not in str(problem.body("r"))
        assert ("Retry-After" in problem.headers) == (status in (409, 503))


def test_what_nobody_knows_is_not_explained_and_an_application_may_know_more() -> None:
    known = Problem(418, "teapot", "A teapot.")
    error = RuntimeError()
    error.__cause__ = SessionConflictError("", session_id="s")
    assert [explain(each) for each in (ValueError(), SessionError("", session_id="s"), DuplicateKeyError(""))] == [
        None
    ] * 3
    assert explain(error, also=lambda each: known if isinstance(each, RuntimeError) else None) == known
    assert explain(error.__cause__, also=lambda each: known) == known
    assert explain(error, also=lambda each: None) == explain(error)


@pytest.mark.parametrize("path", ["/chat", "/events", "/text"])
def test_a_busy_session_is_told_before_the_first_byte(http: httpx.Client, model: ScriptedModel, path: str) -> None:
    model.hold = threading.Event()
    with http.stream("POST", "/events", params={"prompt": "Hi"}, headers={"session-id": "s"}) as first:
        response = http.post(path, params={"prompt": "Hi"}, headers={"session-id": "s", "X-Request-ID": "mine"})
        model.hold.set()
        assert events_of(first.read().decode())[-1]["event"] == "response_complete"
    assert (response.status_code, response.headers["retry-after"].isdecimal()) == (409, True)
    assert response.headers["x-request-id"] == "mine"
    body = response.json()
    assert set(body) == FIELDS
    assert (body["code"], body["status_code"], body["request_id"]) == ("session_busy", 409, "mine")
    assert len(model.calls) == 1


@pytest.mark.parametrize(
    ("path", "status", "code"), [("/deleted", 404, "session_not_found"), ("/too-large", 413, "session_too_large")]
)
def test_an_error_of_a_session_has_its_status(http: httpx.Client, path: str, status: int, code: str) -> None:
    response = ask(http, path)
    assert (response.status_code, response.json()["code"]) == (status, code)


@pytest.mark.parametrize("path", ["/chat", "/events", "/text"])
def test_without_a_database_a_request_is_unavailable_and_names_no_server(model: ScriptedModel, path: str) -> None:
    with MongoDBSessionManagerFactory("mongodb://127.0.0.1:1/", serverSelectionTimeoutMS=200) as factory:
        with served(app_on(factory, model)) as http:
            response = ask(http, path)
    assert (response.status_code, response.json()["code"]) == (503, "service_unavailable")
    assert "127.0.0.1" not in response.text
    assert model.calls == []


def test_what_the_sdk_wraps_is_found_and_errors_of_a_model_stay_the_applications(
    factory: MongoDBSessionManagerFactory, model: ScriptedModel
) -> None:
    app = app_on(factory, model)

    @app.exception_handler(Exception)
    async def mine(request: object, error: Exception) -> Response:
        return Response(type(error).__name__, status_code=500)

    @app.get("/wrapped")
    async def wrapped() -> None:
        error = AutoReconnect("secret")
        raise EventLoopException(error) from error

    with served(app) as http:
        assert http.get("/wrapped").json()["code"] == "service_unavailable"
        model.script = [RuntimeError("secret")]
        assert ask(http, "/chat").text == "RuntimeError"
        model.calls.clear()
        model.script = [{"name": "double", "input": {"number": 21}}, RuntimeError("secret")]
        assert ask(http, "/chat").text == "EventLoopException"


def test_another_error_of_the_database_tells_nothing(factory: MongoDBSessionManagerFactory) -> None:
    app = app_on(factory, ScriptedModel())

    @app.get("/duplicate")
    async def duplicate() -> None:
        raise DuplicateKeyError("secret")

    with served(app) as http:
        response = http.get("/duplicate")
    assert (response.status_code, response.json()["code"]) == (500, "internal_server_error")
    assert "secret" not in response.text


# Streams


def test_a_stream_tells_what_happens_and_ends_when_the_answer_is_stored(
    http: httpx.Client, model: ScriptedModel, stored: Stored
) -> None:
    model.script = [{"name": "double", "input": {"number": 21}, "id": "t-1"}, "It is 42."]
    response = ask(http, "/events")
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["cache-control"] == "no-cache"
    events = events_of(response.text)
    assert [event["event"] for event in events] == [
        "tool_start",
        "tool_complete",
        *["response_chunk"] * 3,
        "response_complete",
    ]
    assert events[0] == {"event": "tool_start", "tool_use_id": "t-1", "name": "double"}
    assert events[1] == {"event": "tool_complete", "tool_use_id": "t-1", "status": "success"}
    assert "".join(event.get("text", "") for event in events) == events[-1]["response_text"] == "It is 42."
    usage = {"input_tokens": 20, "output_tokens": 10, "total_tokens": 30}
    assert events[-1]["metadata"] == {"stop_reason": "end_turn", "usage": usage}
    assert roles(stored("s")) == ["user", "assistant", "user", "assistant"]


def test_a_stream_that_fails_midway_ends_in_exactly_one_error(http: httpx.Client, model: ScriptedModel) -> None:
    model.script = [{"name": "double", "input": {"number": 21}}, RuntimeError("secret")]
    response = ask(http, "/events")
    events = events_of(response.text)
    assert [event["event"] for event in events] == ["tool_start", "tool_complete", "error"]
    assert set(events[-1]) == {"event", "message", *FIELDS}
    assert (events[-1]["code"], events[-1]["request_id"]) == ("agent_error", "r-1")
    assert "secret" not in response.text


def test_a_session_that_vanishes_midway_ends_the_stream_in_its_error(
    http: httpx.Client, model: ScriptedModel, collection: Collection[Any], commands: Commands
) -> None:
    def vanish(messages: object) -> str:
        with commands.unwatched():
            collection.delete_one({"_id": "s"})
        return "Hello"

    model.script = [vanish]
    events = events_of(ask(http, "/events").text)
    assert [event["event"] for event in events] == ["response_chunk", "error"]
    assert events[-1]["code"] == "session_not_found"


def test_a_text_that_is_incomplete_does_not_look_complete(http: httpx.Client, model: ScriptedModel) -> None:
    assert ask(http, "/text").headers["content-type"].startswith("text/plain")
    model.script = [RuntimeError("secret")]
    with pytest.raises(httpx.RemoteProtocolError):
        ask(http, "/text")


def test_in_silence_a_stream_gives_signs_of_life(http: httpx.Client, model: ScriptedModel) -> None:
    model.hold = threading.Event()
    with http.stream("POST", "/events", params={"prompt": "Hi"}, headers={"session-id": "s"}) as response:
        lines = response.iter_lines()
        assert [next(lines) for _ in range(3)] == [": alive", "", ": alive"]
        model.hold.set()
        assert events_of("\n".join(lines))[-1]["response_text"] == "Hello Ada"


@pytest.mark.parametrize("path", ["/events", "/text"])
def test_a_client_that_goes_away_does_not_end_the_turn(
    http: httpx.Client, model: ScriptedModel, stored: Stored, closings: list[list[str]], path: str
) -> None:
    model.hold = threading.Event()
    with http.stream("POST", path, params={"prompt": "Hi"}, headers={"session-id": "s"}) as response:
        response.raise_for_status()
    time.sleep(0.2)  # the server hears of it
    assert (roles(stored("s")), closings) == (["user"], [])
    model.hold.set()
    eventually(lambda: closings)
    assert closings == [["user", "assistant"]]
    assert "turn" not in stored("s")["agents"]["default"]


def test_nor_does_it_behind_a_middleware_that_cancels_the_request(
    factory: MongoDBSessionManagerFactory, model: ScriptedModel, stored: Stored
) -> None:
    app = app_on(factory, model)

    @app.middleware("http")
    async def passed_on(request: Request, call_next: Callable[[Request], Any]) -> Any:
        return await call_next(request)

    model.hold = threading.Event()
    with served(app) as http:
        with http.stream("POST", "/events", params={"prompt": "Hi"}, headers={"session-id": "s"}) as response:
            response.raise_for_status()
        time.sleep(0.2)
        model.hold.set()
        eventually(lambda: roles(stored("s")) == ["user", "assistant"])
        assert ask(http, "/chat").status_code == 200


async def test_the_end_of_the_application_waits_for_turns_whose_client_has_gone(
    factory: MongoDBSessionManagerFactory, model: ScriptedModel, stored: Stored
) -> None:
    model.hold = threading.Event()
    async with session_lifespan(factory=factory)(FastAPI()):
        await stream_agent(agent_of(model, await factory.open_session("s")), "Hi")
        asyncio.get_running_loop().call_later(0.2, model.hold.set)
    assert roles(stored("s")) == ["user", "assistant"]


async def test_a_turn_that_never_ends_is_told_the_end_of_the_application(
    factory: MongoDBSessionManagerFactory, model: ScriptedModel, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams_module, "_FINISH_SECONDS", 0.1)
    model.hold = threading.Event()
    async with session_lifespan(factory=factory)(FastAPI()):
        response = await stream_agent(agent_of(model, await factory.open_session("s")), "Hi")
    model.hold.set()
    async with asyncio.timeout(5):
        frames = [str(frame, "utf-8") async for frame in response.body_iterator if isinstance(frame, bytes)]
    assert [event["code"] for event in events_of("".join(frames))] == ["service_unavailable"]
    assert "turn" not in stored("s")["agents"]["default"]


# Health and metrics


def watched(factory: MongoDBSessionManagerFactory) -> FastAPI:
    app = FastAPI(lifespan=session_lifespan(factory=factory))
    app.include_router(health_router())
    app.include_router(metrics_router())
    return app


@pytest.fixture(params=["owned", "borrowed"])
def reach(request: pytest.FixtureRequest) -> Callable[[str], Any]:
    """Factories on an address, with a client of their own or a borrowed one."""

    @contextmanager
    def owned(uri: str) -> Iterator[MongoDBSessionManagerFactory]:
        with MongoDBSessionManagerFactory(uri, "health", minPoolSize=0) as factory:
            yield factory

    @contextmanager
    def borrowed(uri: str) -> Iterator[MongoDBSessionManagerFactory]:
        with MongoClient[Any](uri) as client:
            yield MongoDBSessionManagerFactory(client=client, database_name="health")

    return owned if request.param == "owned" else borrowed


def check_unhealthy(http: httpx.Client) -> None:
    for path in ("/health", "/readyz"):
        began = time.monotonic()
        response = http.get(path)
        assert time.monotonic() - began < 2.5  # the promise is about one; the driver's own patience is 30
        assert (response.status_code, response.json()["status"]) == (503, "unhealthy")
        assert "127.0.0.1" not in response.text
    assert http.get("/livez").json() == {"status": "alive"}
    assert http.get("/metrics").json()["connection_pool"] == http.get("/debug/pool").json()


def test_an_application_with_its_database_is_healthy(reach: Callable[[str], Any], mongo_uri: str) -> None:
    with reach(mongo_uri) as factory, served(watched(factory)) as http:
        for path in ("/health", "/readyz"):
            response = http.get(path)
            assert (response.status_code, response.json()["status"]) == (200, "healthy")
            assert set(response.json()) == {"status", "connection_pool", "timestamp"}
            assert http.head(path).status_code == http.head("/livez").status_code == 200
        metrics = http.get("/metrics").json()
    assert metrics["factory"] == {"database": "health", "collection": "collection_name"}
    assert metrics["connection_pool"]["status"] in ("connected", "external_client")
    assert "127.0.0.1" not in str(metrics)


def test_a_server_that_accepts_and_says_nothing_is_no_database(reach: Callable[[str], Any]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        uri = f"mongodb://127.0.0.1:{silent.getsockname()[1]}/"
        with reach(uri) as factory, served(watched(factory)) as http:
            check_unhealthy(http)


def test_a_server_that_stands_still_is_noticed_and_found_again(reach: Callable[[str], Any], tmp_path: Path) -> None:
    with EmbeddedMongoDB(tmp_path, keep_running=False) as server:
        with reach(server.uri) as factory, served(watched(factory)) as http:
            assert http.get("/health").status_code == 200
            assert server.pid
            os.kill(server.pid, signal.SIGSTOP)
            try:
                check_unhealthy(http)
            finally:
                os.kill(server.pid, signal.SIGCONT)
            eventually(lambda: http.get("/health").status_code == 200)


def test_readiness_may_have_other_addresses() -> None:
    app = FastAPI()
    app.include_router(health_router("/up"))
    assert set(app.openapi()["paths"]) == {"/up", "/livez"}


# Importing


def python(code: str) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_library_itself_does_without_fastapi() -> None:
    ended = python(
        "import sys, mongodb_session_manager\n"
        "assert not {'fastapi', 'starlette', 'mongodb_session_manager.fastapi'} & {*sys.modules}"
    )
    assert (ended.returncode, ended.stderr) == (0, "")


def test_without_fastapi_the_error_names_what_to_install() -> None:
    ended = python("import sys\nsys.modules['fastapi'] = None\nimport mongodb_session_manager.fastapi")
    assert "ImportError" in ended.stderr
    assert "mongodb-session-manager[fastapi]" in ended.stderr.splitlines()[-1]
