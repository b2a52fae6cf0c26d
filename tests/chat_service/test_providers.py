"""The providers of models, each against a small server that speaks its protocol."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from strands import Agent

from chat_service.agent import AgentMaker
from chat_service.config import ConfigurationError, Settings
from chat_service.exceptions import ModelUnavailable, explain, failure_of_turn
from chat_service.model_options import ModelOptions
from mongodb_session_manager import MongoDBSessionManagerFactory

from .conftest import MakeService
from .model_servers import BREAK, SILENCE, Anthropic, Bedrock, Dialect, ModelServer, Ollama, running_model
from .running import events_of, eventually, running

MakeAgent = Callable[..., Awaitable[Agent]]

DIALECTS: list[Dialect] = [Anthropic(), Bedrock(), Ollama()]


@pytest.fixture(scope="module", params=DIALECTS, ids=lambda dialect: dialect.name)
def server(request: pytest.FixtureRequest) -> Iterator[ModelServer]:
    with running_model(request.param) as running, pytest.MonkeyPatch.context() as patch:
        for name, value in Bedrock.environment.items():
            patch.setenv(name, value)
        patch.setenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", running.address)
        yield running


def settings_for(server: ModelServer, **changes: Any) -> Settings:
    values = {
        "model_provider": server.dialect.name,
        "model_id": "some-model",
        **server.dialect.settings(server.address),
    }
    return Settings(_env_file=None, **{**values, **changes})


@pytest.fixture
def make_agent(server: ModelServer, factory: MongoDBSessionManagerFactory) -> MakeAgent:
    async def make(options: ModelOptions | None = None, **changes: Any) -> Agent:
        manager = await factory.open_session(uuid.uuid4().hex)
        return AgentMaker(settings_for(server, **changes)).make(manager, options or ModelOptions())

    return make


def said(agent: Agent) -> list[tuple[str, str]]:
    return [
        (message["role"], "".join(block.get("text", "") for block in message["content"])) for message in agent.messages
    ]


async def test_a_model_answers(server: ModelServer, make_agent: MakeAgent) -> None:
    server.say(server.dialect.words("Good", " evening."))
    result = await (await make_agent(ModelOptions(temperature=0.25, max_tokens=300))).invoke_async("Hello")
    assert str(result).strip() == "Good evening."
    assert result.metrics.accumulated_usage["outputTokens"] == 2
    assert server.paths == [server.dialect.path("some-model")]
    asked = server.dialect.asked(server.requests[0])
    assert asked == {**asked, "temperature": 0.25, "max_tokens": 300}
    assert asked.get("model", "some-model") == "some-model"


async def test_a_model_uses_tools(server: ModelServer, make_agent: MakeAgent) -> None:
    server.say(server.dialect.call("calculate", {"expression": "6*7"}), server.dialect.words("It is 42."))
    result = await (await make_agent()).invoke_async("What is 6*7?")
    assert str(result).strip() == "It is 42."
    assert "calculate" in str(server.requests[0]["tools" if "tools" in server.requests[0] else "toolConfig"])
    assert "42" in str(server.requests[1]["messages"][-1])


async def test_a_request_may_choose_another_model(server: ModelServer, make_agent: MakeAgent) -> None:
    server.say(server.dialect.words("Yes."))
    await (await make_agent(ModelOptions(model="another-model"))).invoke_async("Hello")
    assert server.paths == [server.dialect.path("another-model")]
    assert server.dialect.asked(server.requests[0]).get("model", "another-model") == "another-model"


async def test_the_longest_answer_is_as_the_settings_say(server: ModelServer, make_agent: MakeAgent) -> None:
    server.say(server.dialect.words("Yes."))
    await (await make_agent(model_max_tokens=77)).invoke_async("Hello")
    assert server.dialect.asked(server.requests[0])["max_tokens"] == 77


async def test_an_overloaded_model_is_asked_again(server: ModelServer, make_agent: MakeAgent) -> None:
    server.say(server.dialect.words("At last."))
    server.refusals = [server.dialect.overloaded]
    assert str(await (await make_agent()).invoke_async("Hello")).strip() == "At last."
    assert len(server.requests) == 2


@pytest.mark.parametrize("status", [429, 503])
async def test_a_model_that_stays_overloaded_is_given_up(
    server: ModelServer, make_agent: MakeAgent, status: int
) -> None:
    server.say(server.dialect.words("Never."))
    server.refusals = [status] * 9
    with pytest.raises(Exception) as caught:
        await (await make_agent()).invoke_async("Hello")
    problem = explain(failure_of_turn(caught.value))
    assert (problem.status_code, problem.code) == (503, "model_unavailable")
    assert "secret" not in problem.message
    assert len(server.requests) == 3


@pytest.mark.parametrize("ends", [[], [BREAK]], ids=["ends early", "breaks"])
async def test_an_answer_that_was_cut_off_is_an_error_and_not_stored(
    server: ModelServer, make_agent: MakeAgent, ends: list[bytes]
) -> None:
    whole = server.dialect.words("Half of", " it.", " And more.")
    server.say([*whole[: len(whole) // 2], *ends])
    agent = await make_agent()
    with pytest.raises(Exception) as caught:
        await agent.invoke_async("Hello")
    assert explain(failure_of_turn(caught.value)).code == "agent_error"
    assert said(agent) == [("user", "Hello")]
    assert len(server.requests) == 1


async def test_a_call_that_was_cut_off_does_not_run(server: ModelServer, make_agent: MakeAgent) -> None:
    server.say(server.dialect.call("calculate", {"expression": "1"})[:-1])
    if server.dialect.name == "bedrock":  # its last frame only counts; the one before ends the answer
        server.say(server.dialect.call("calculate", {"expression": "1"})[:-2])
    agent = await make_agent()
    with pytest.raises(Exception) as caught:
        await agent.invoke_async("Hello")
    assert explain(failure_of_turn(caught.value)).code == "agent_error"
    assert said(agent) == [("user", "Hello")]


async def test_a_model_that_fails_in_the_middle_does_not_begin_anew(server: ModelServer, make_agent: MakeAgent) -> None:
    whole = server.dialect.words("Half of", " it.", " And more.")
    server.say([*whole[: len(whole) // 2], *server.dialect.trouble()])
    with pytest.raises(Exception) as caught:
        await (await make_agent()).invoke_async("Hello")
    assert explain(failure_of_turn(caught.value)).code == "agent_error"
    assert len(server.requests) == 1


@pytest.mark.parametrize("speaks", [False, True], ids=["from the start", "in the middle"])
async def test_a_silent_model_is_not_asked_again(server: ModelServer, make_agent: MakeAgent, speaks: bool) -> None:
    whole = server.dialect.words("Half of", " it.", " And more.")
    server.say([*whole[: (len(whole) // 2 + 1) * speaks], SILENCE])
    with pytest.raises(Exception) as caught:
        await (await make_agent(model_timeout=0.4)).invoke_async("Hello")
    assert explain(failure_of_turn(caught.value)).code == ("agent_error" if speaks else "model_unavailable")
    assert len(server.requests) == 1


async def test_a_model_that_cannot_be_reached_is_unavailable(
    server: ModelServer, make_agent: MakeAgent, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = f"http://127.0.0.1:{port}"
    monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", nowhere)
    with pytest.raises(Exception) as caught:
        await (await make_agent(**server.dialect.settings(nowhere))).invoke_async("Hello")
    assert isinstance(caught.value, ModelUnavailable)


async def test_many_answers_are_written_at_once(server: ModelServer, make_agent: MakeAgent) -> None:
    server.say(server.dialect.words("Good", " evening."))
    agents = [await make_agent() for _ in range(5)]
    results = await asyncio.gather(*(agent.invoke_async("Hello") for agent in agents))
    assert [str(result).strip() for result in results] == ["Good evening."] * 5
    assert len(server.requests) == 5


def test_the_service_answers_with_it(server: ModelServer, make_service: MakeService) -> None:
    values = {"model_provider": server.dialect.name, "model_id": "m", **server.dialect.settings(server.address)}
    service = make_service(**values)
    server.say(server.dialect.words("Good", " evening."))
    assert service.ask("Hello").json()["response_text"] == "Good evening."
    server.refusals = [server.dialect.overloaded] * 3
    response = service.ask("Hello")
    assert (response.status_code, response.json()["code"]) == (503, "model_unavailable")
    assert "secret" not in response.text


async def test_keys_are_sent_as_the_provider_wants_them(server: ModelServer, make_agent: MakeAgent) -> None:
    server.say(server.dialect.words("Yes."))
    await (await make_agent()).invoke_async("Hello")
    sent = server.headers[0]
    expected = {
        "anthropic": ("x-api-key", "key-1"),
        "bedrock": ("authorization", "AWS4-HMAC-SHA256 Credential=id-1/"),
        "ollama": ("authorization", ""),
    }
    name, value = expected[server.dialect.name]
    assert sent.get(name, "").startswith(value)


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
def test_twenty_slow_answers_do_not_wait_for_one_another(
    dialect: Dialect, make_service: MakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in Bedrock.environment.items():
        monkeypatch.setenv(name, value)
    with running_model(dialect) as server, ThreadPoolExecutor(20) as pool:
        monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", server.address)
        settings = settings_for(server, model_timeout=15)
        service = make_service(**settings.model_dump(include=settings.model_fields_set))
        server.say([SILENCE])
        asked = [pool.submit(service.ask, "Hello") for _ in range(20)]
        eventually(lambda: len(server.requests) == 20, 10)
        server.closing.set()  # which breaks the connections
        assert {future.result().status_code for future in asked} <= {500, 503}


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
def test_a_silent_model_does_not_hold_up_the_end_of_the_process(dialect: Dialect, tmp_path: Path, port: int) -> None:
    with running_model(dialect) as server:
        server.say([SILENCE])
        variables = {name.upper(): value for name, value in dialect.settings(server.address).items()}
        aws = {**Bedrock.environment, "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": server.address}
        settings = {"MODEL_PROVIDER": dialect.name, "MODEL_ID": "m", "SHUTDOWN_SECONDS": "1"}
        with running(tmp_path, port, **variables, **aws, **settings) as service:
            with service.http.stream("POST", "/api/chat/stream", json={"query": "Hello"}) as response:
                eventually(lambda: server.requests)
                began = time.monotonic()
                service.process.send_signal(signal.SIGTERM)
                assert list(events_of(response))[-1]["event"] == "stopped"
            service.process.wait(30)
            assert time.monotonic() - began < 12


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"model_provider": "anthropic", "anthropic_api_key": "k"}, "MODEL_ID: missing"),
        ({"model_provider": "bedrock"}, "MODEL_ID: missing"),
        ({"model_provider": "ollama"}, "MODEL_ID: missing"),
        ({"model_provider": "anthropic", "model_id": "m"}, "ANTHROPIC_API_KEY: missing"),
    ],
)
def test_a_provider_says_what_it_lacks(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Settings(_env_file=None, **changes)


def test_bedrock_needs_a_region(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/none/there")
    with pytest.raises(ConfigurationError, match=r"^AWS_REGION: missing"):
        AgentMaker(Settings(_env_file=None, model_provider="bedrock", model_id="m"))


@pytest.mark.parametrize("provider", ["openai", "anthropic", "ollama"])
def test_a_provider_whose_package_is_missing_names_the_extra(provider: str) -> None:
    # In a process of its own, to which the package does not exist.
    program = f"""
import sys
sys.modules[{provider!r}] = None
import importlib.util
known = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == {provider!r} else known(name, *rest)
from chat_service.config import ConfigurationError, Settings
from chat_service.main import create_app
try:
    create_app(Settings(_env_file=None, model_provider={provider!r}, model_id="m", openai_api_key="k",
                        anthropic_api_key="k"))
except ConfigurationError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    extra = "service" if provider == "openai" else provider
    assert done.stdout.startswith(f"MODEL_PROVIDER: {provider} needs the package {provider}."), done.stderr
    assert f"mongodb-session-manager[{extra}]" in done.stdout
