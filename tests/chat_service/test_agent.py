"""The agent's functions: the same turns in the same sessions, without a server."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import chat_service.agent
from chat_service.agent import (
    AgentResponse,
    RetrievedChunkMetadata,
    check_health,
    close_agent,
    continue_agent_session_async,
    open_agent,
    run_agent_query_async,
    run_agent_query_streaming,
)
from chat_service.config import Settings
from chat_service.main import create_app

from .replicas import Replicas, database_of
from .retrievers import SESSIONS, MemoryRetriever
from .running import ROOT
from .test_answers import ASKED


@pytest.fixture(scope="module", params=["mongodb", "postgres"])
def database(request: pytest.FixtureRequest, mongo_uri: str) -> Iterator[dict[str, str]]:
    with database_of(request.param, mongo_uri) as values:
        yield values


@pytest.fixture(scope="module")
def settings(database: dict[str, str]) -> Settings:
    return Settings(_env_file=None, demo_delay=0, **database)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def library(settings: Settings) -> Iterator[MemoryRetriever]:
    """The agent is open, on either store, and searches these documents."""
    found = MemoryRetriever()

    def app(wanted: Settings) -> Any:
        made = create_app(wanted)
        made.state.knowledge = found
        return made

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("chat_service.main.create_app", app)
        open_agent(settings)
        yield found
        close_agent()


@pytest.fixture(autouse=True)
def _open(library: MemoryRetriever) -> None:
    library.error = library.hold = None


async def test_a_question_gets_an_answer_with_its_chunks() -> None:
    response = await run_agent_query_async(query_text=ASKED, selected_text=None, temperature=0.2, top_k=3)
    assert isinstance(response, AgentResponse)
    assert f"“{SESSIONS.text}” [1]" in response.response_text
    assert response.conversation_id.startswith("session_")
    assert response.response_time_ms > 0
    assert response.error_message is None
    assert [type(chunk) for chunk in response.retrieved_chunks] == [RetrievedChunkMetadata] * 2
    assert response.retrieved_chunks[0].source_file == "docs/sessions.md"


async def test_a_session_goes_on() -> None:
    first = await run_agent_query_async("My name is Ada.")
    second = await continue_agent_session_async(first.conversation_id, "What is my name?")
    third = await run_agent_query_async("What is my name?", session_id=first.conversation_id)
    assert second.response_text == third.response_text == "Your name is Ada."
    assert second.conversation_id == first.conversation_id


def test_it_goes_on_from_another_event_loop() -> None:
    session_id = asyncio.run(run_agent_query_async("My name is Ada.")).conversation_id
    answer = asyncio.run(run_agent_query_async("What is my name?", session_id=session_id))
    assert answer.response_text == "Your name is Ada."


async def test_an_unknown_session_cannot_be_continued() -> None:
    response = await continue_agent_session_async("session_0123456789abcdef", "Hello")
    assert response.error_message == "This session does not exist, or was deleted."
    assert response.response_text == ""


async def test_somebody_elses_session_is_unknown() -> None:
    session_id = (await run_agent_query_async("Hello", owner="ada")).conversation_id
    assert (await continue_agent_session_async(session_id, "Hello", owner="ada")).error_message is None
    assert "does not exist" in str((await continue_agent_session_async(session_id, "Hello", owner="bob")).error_message)
    assert "does not exist" in str((await run_agent_query_async("Hello", None, session_id, owner="bob")).error_message)


async def test_what_goes_wrong_is_told_in_words(library: MemoryRetriever) -> None:
    library.error = ConnectionError("http://secret")
    response = await run_agent_query_async(ASKED)
    assert response.error_message == "The documents cannot be searched at the moment. Try again in a moment."
    assert response.conversation_id


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"query_text": " "}, "query_text"),
        ({"query_text": "secret" * 1000}, "query_text"),
        ({"query_text": "x", "top_k": 11}, "top_k"),
        ({"query_text": "x", "temperature": 2.0}, "temperature"),
        ({"query_text": "x", "selected_text": "x" * 2001}, "selected_text"),
        ({"query_text": "x", "session_id": "a\nb"}, "session_id"),
    ],
)
async def test_a_wrong_argument_is_named(arguments: dict[str, Any], name: str) -> None:
    with pytest.raises(ValueError, match=rf"^{name}: ") as raised:
        await run_agent_query_async(**arguments)
    assert "secret" not in str(raised.value)


async def test_a_stream_gives_the_events_of_the_service() -> None:
    events: list[Any] = [event async for event in run_agent_query_streaming(query_text=ASKED)]
    names = list(dict.fromkeys(event["event"] for event in events))
    assert names == ["retrieval_start", "retrieval_complete", "response_chunk", "response_complete"]
    said = "".join(event["text"] for event in events if event["event"] == "response_chunk")
    assert said == events[-1]["response_text"]
    assert events[0]["session_id"] == events[-1]["metadata"]["session_id"]


async def test_a_stream_of_a_session_that_is_busy_says_so(library: MemoryRetriever) -> None:
    session_id = (await run_agent_query_async("Hello")).conversation_id
    library.hold = threading.Event()
    running = run_agent_query_streaming(ASKED, session_id=session_id)
    assert (await anext(aiter(running)))["event"] == "retrieval_start"
    events: list[Any] = [event async for event in run_agent_query_streaming("Hello", session_id=session_id)]
    library.hold.set()
    assert [event["code"] for event in events] == ["session_busy"]
    assert [event["event"] async for event in running][-1] == "response_complete"


async def test_many_are_answered_at_once_and_the_callers_loop_stays_free() -> None:
    longest, began, done = 0.0, time.monotonic(), False

    async def watch() -> None:
        nonlocal longest, began
        while not done:
            await asyncio.sleep(0.005)
            longest, began = max(longest, time.monotonic() - began), time.monotonic()

    watching = asyncio.create_task(watch())
    responses = await asyncio.gather(*(run_agent_query_async(f"Count to {number}") for number in range(1, 20)))
    done = True
    await watching
    assert [response.response_text.split()[-1] for response in responses] == [f"{n}." for n in range(1, 20)]
    assert longest < 1


async def test_it_says_whether_it_can_work() -> None:
    health = await check_health()
    assert (health["status"], health["knowledge_base"]) == ("healthy", True)
    assert health["connection_pool"]["status"] == "connected"


async def test_what_it_stores_the_service_shows(database: dict[str, str]) -> None:
    response = await run_agent_query_async(ASKED)

    def shown() -> Any:
        with ExitStack() as stack:
            [service] = Replicas(database, stack).start(1)
            return service.session(response.conversation_id)

    messages = (await asyncio.to_thread(shown))["messages"]
    assert messages[-1]["text"] == response.response_text
    assert [chunk["number"] for chunk in messages[-1]["passages"]] == [1, 2]


def test_it_is_open_with_one_set_of_settings(settings: Settings) -> None:
    assert open_agent() is open_agent(settings)
    with pytest.raises(RuntimeError, match="close_agent"):
        open_agent(settings.model_copy(update={"demo_delay": 1.0}))


def test_it_opens_again_after_it_was_closed(settings: Settings) -> None:
    close_agent()
    close_agent()
    assert chat_service.agent._host is None
    open_agent(settings)
    assert asyncio.run(run_agent_query_async("Hello")).error_message is None


PROGRAM = """
import asyncio
from chat_service.agent import run_agent_query_async

print(asyncio.run(run_agent_query_async("My name is Ada.")).response_text)
"""


def test_a_program_that_closes_nothing_ends_by_itself(tmp_path: Path, database: dict[str, str]) -> None:
    values = {name.upper(): value for name, value in database.items()}
    environment = {**os.environ, **values, "PYTHONPATH": str(ROOT / "src"), "RETRIEVAL": "off", "DEMO_DELAY": "0"}
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (0, "I will remember for this session: your name is Ada.\n"), (
        ended.stderr
    )
    assert "Traceback" not in ended.stderr
