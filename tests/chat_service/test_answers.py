"""Answers that rest on documents, as clients of the service meet them."""

from __future__ import annotations

import gc
import threading
from dataclasses import replace
from typing import Any

import pytest
from pymongo import MongoClient
from strands import Agent

from chat_service.rag.grounding import Grounding
from chat_service.rag.passages import Passage, Retrieved
from tests.commands import Commands
from tests.models import Line, ScriptedModel

from .conftest import MakeService
from .replicas import Replicas, rest
from .retrievers import SESSIONS, TURNS, MemoryRetriever
from .running import Service, events_of, eventually

FIELDS = {
    "number",
    "chunk_id",
    "source_file",
    "module_name",
    "section_heading",
    "similarity_score",
    "link",
    "excerpt",
}
ASKED = "Can two writers interleave in a session?"


@pytest.fixture(scope="module")
def library() -> MemoryRetriever:
    return MemoryRetriever()


@pytest.fixture(scope="module")
def grounded(make_service: MakeService, library: MemoryRetriever) -> Service:
    """A service whose answers rest on two passages."""
    return make_service(library)


def scripted(monkeypatch: pytest.MonkeyPatch, *script: Line) -> ScriptedModel:
    """Let a scripted model answer in the services that are made from now on."""
    model = Recording(*script)
    monkeypatch.setattr("chat_service.agent_maker.make_provider", lambda settings: lambda options: model)
    return model


class Recording(ScriptedModel):
    """Keeps the system prompts as well."""

    def __init__(self, *script: Line) -> None:
        super().__init__(*script)
        self.prompts: list[str] = []

    def stream(self, messages: Any, tool_specs: Any = None, system_prompt: Any = None, **kwargs: Any) -> Any:
        self.prompts.append(system_prompt)
        return super().stream(messages, **kwargs)


def test_a_stream_tells_of_the_search_before_the_answer(grounded: Service) -> None:
    events = grounded.events(ASKED)
    names = list(dict.fromkeys(event["event"] for event in events))
    assert names == ["retrieval_start", "retrieval_complete", "response_chunk", "response_complete"]
    start, complete, ending = events[0], events[1], events[-1]
    assert (start["query"], start["session_id"]) == (ASKED, ending["metadata"]["session_id"])
    assert [chunk["number"] for chunk in complete["chunks"]] == [1, 2]
    assert {*complete["chunks"][0]} == FIELDS
    assert complete["timings"] == {"embed": 1.5, "search": 2.5, "total": 4.0}
    assert {*ending["metadata"]["timings"]} == {"embed", "search", "retrieval", "model"}
    assert ending["metadata"]["chunks"] == complete["chunks"]


def test_the_demo_model_quotes_and_cites_what_was_found(grounded: Service) -> None:
    ending = grounded.events(ASKED)[-1]
    assert f"“{SESSIONS.text}” [1]" in ending["response_text"]
    assert f"“{TURNS.text}” [2]" in ending["response_text"]
    assert ending["metadata"]["citations"] == [1, 2]


def test_a_whole_answer_comes_with_its_chunks(grounded: Service) -> None:
    body = grounded.ask(ASKED).json()
    assert [chunk["chunk_id"] for chunk in body["chunks"]] == ["c-sessions", "c-turns"]
    assert body["chunks"][0]["link"] == "/docs/sessions.md#what-one-is"
    assert grounded.ask("Which wine goes with dinner?").json()["chunks"] == []


def test_where_nothing_is_searched_nothing_is_told_of_it(make_service: MakeService, library: MemoryRetriever) -> None:
    service = make_service(library, retrieval="off")
    events = service.events(ASKED)
    assert {event["event"] for event in events} == {"response_chunk", "response_complete"}
    assert not {"chunks", "citations", "timings"} & {*events[-1]["metadata"]}
    assert service.ask(ASKED).json()["chunks"] is None


def test_what_the_documents_do_not_hold_is_said_to_be_missing(grounded: Service) -> None:
    events = grounded.events("Which wine goes with dinner?")
    assert events[1]["chunks"] == []
    assert "not in these documents" in events[-1]["response_text"]
    assert events[-1]["metadata"]["citations"] == []
    assert grounded.session(events[0]["session_id"])["messages"][-1]["passages"] == []


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("My name is Ada.", "I will remember for this session: your name is Ada."),
        ("calculate 2*21", "The tool answered: 42."),
        ("What is my name?", "You have not told me your name yet."),
        ("Count to 3", "1, 2, 3."),
    ],
)
def test_what_is_no_question_about_documents_is_answered_as_ever(grounded: Service, said: str, answer: str) -> None:
    assert grounded.ask(said).json()["response_text"] == answer


@pytest.mark.parametrize("said", ["Hello", "What time is it?", "2*3", "My name is Ada", "Thanks!"])
def test_for_what_is_no_question_about_documents_nothing_is_searched(
    grounded: Service, library: MemoryRetriever, said: str
) -> None:
    before = len(library.calls)
    events = grounded.events(said)
    assert not {"retrieval_start", "retrieval_complete"} & {event["event"] for event in events}
    assert events[-1]["metadata"]["chunks"] == []
    assert len(library.calls) == before
    assert all(not message["passages"] for message in grounded.session(events[0]["session_id"])["messages"])
    assert grounded.events(said, selected_text="Writers take turns.")[0]["event"] == "retrieval_start"


def test_a_model_that_is_greeted_is_told_nothing_of_documents(
    make_service: MakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = scripted(monkeypatch, "Hello.")
    make_service(MemoryRetriever()).ask("Hi there!")
    assert "documents" not in str(model.prompts[0])  # type: ignore[attr-defined]


def test_an_answer_shows_its_passages_after_a_reload_on_either_store(replicas: Replicas) -> None:
    one, other = (replicas.start(1, retriever=MemoryRetriever())[0] for _ in range(2))
    events = one.events(ASKED)
    chunks = events[1]["chunks"]
    question, answer = other.session(events[0]["session_id"])["messages"]
    assert (question["text"], question["passages"]) == (ASKED, [])
    assert (answer["passages"], answer["text"]) == (chunks, events[-1]["response_text"])
    assert rest(other.http, f"{events[0]['turn']}-0") == events


def test_the_history_holds_the_question_alone(grounded: Service, mongo_client: MongoClient[Any]) -> None:
    session_id = grounded.ask(ASKED).json()["session_id"]
    document = mongo_client[grounded.database_name].sessions.find_one(session_id)
    assert document
    stored = [entry["message"] for entry in document["agents"]["default"]["messages"]]
    assert stored[0]["content"] == [{"text": ASKED}]
    assert stored[1]["metadata"]["custom"]["passages"][0]["excerpt"] == SESSIONS.text
    assert "metadata" not in stored[0]


def test_it_costs_no_further_command(grounded: Service, commands: Commands) -> None:
    session_id = grounded.ask("Hello").json()["session_id"]
    eventually(lambda: len([name for name in commands.names if name == "update"]) >= 3)
    grounded.ask("Hello", session_id=session_id)
    commands.clear()
    grounded.ask(ASKED, session_id=session_id)
    turn = [name for name, command, _ in commands.sent if not str(command.get(name)).endswith("_turns")]
    assert turn == ["find", "update", "update"]


def test_what_an_answer_needed_is_freed_without_the_collector_of_garbage(grounded: Service) -> None:
    grounded.ask(ASKED)
    gc.collect()
    gc.disable()
    try:
        for _ in range(3):
            assert grounded.ask(ASKED).status_code == 200
        eventually(lambda: not [each for each in gc.get_objects() if type(each) in (Agent, Grounding)])
    finally:
        gc.enable()


def test_a_prompt_of_the_older_dialect_is_searched_for_by_its_beginning(
    grounded: Service, library: MemoryRetriever
) -> None:
    prompt = f"{ASKED} {'x' * 5000}"
    answer = grounded.http.post("/chat", json={"prompt": prompt}, headers={"session-id": "long"})
    assert answer.status_code == 200
    assert library.calls[-1]["query"] == prompt[:1000]


def test_long_passages_are_stored_in_short(make_service: MakeService, mongo_client: MongoClient[Any]) -> None:
    long = "writers " * 10_000
    passages = [
        Passage(f"{number} {long}", long, long, long, long, f"/{long}", similarity_score=0.9) for number in range(10)
    ]
    service = make_service(MemoryRetriever(passages))
    events = service.events(ASKED, top_k=10)
    assert len(events[1]["chunks"]) == 10
    assert events[1]["chunks"][0]["link"] is None
    assert len(str(events[1])) < 25_000
    message = service.session(events[0]["session_id"])["messages"][-1]
    assert message["passages"] == events[1]["chunks"]


def test_so_many_passages_are_looked_for_as_the_request_says(grounded: Service, library: MemoryRetriever) -> None:
    body = grounded.ask(ASKED, top_k=1).json()
    assert library.calls[-1] == {"query": ASKED, "top_k": 1, "mode": None, "module": None, "source": None}
    assert len(body["chunks"]) == 1


def test_selected_text_helps_to_find_passages_and_goes_first(grounded: Service, library: MemoryRetriever) -> None:
    events = grounded.events("What does this mean?", selected_text="Writers take turns. They wait.")
    assert events[0]["query"] == "What does this mean?"
    assert library.calls[-1]["query"] == "What does this mean?\nWriters take turns. They wait."
    text = events[-1]["response_text"]
    assert 0 < text.index("You selected: “Writers take turns. They wait.”") < text.index(TURNS.text)
    alone = grounded.ask("What does this mean?", selected_text="Wine.").json()["response_text"]
    assert "You selected: “Wine.”" in alone
    assert "not in these documents" in alone


def test_selected_text_that_leads_nowhere_does_not_keep_the_question_from_finding(make_service: MakeService) -> None:
    class Strict(MemoryRetriever):
        async def retrieve(self, query: str, **options: Any) -> Retrieved:
            found = await super().retrieve(query, **options)
            return replace(found, passages=(), is_supported=False) if "Zyzzyva" in query else found

    library = Strict()
    complete = make_service(library).events(ASKED, selected_text="Zyzzyva.")[1]
    assert [call["query"] for call in library.calls] == [f"{ASKED}\nZyzzyva.", ASKED]
    assert [chunk["chunk_id"] for chunk in complete["chunks"]] == ["c-sessions", "c-turns"]
    assert complete["timings"] == {"embed": 3.0, "search": 5.0, "total": 8.0}


def test_an_answer_cites_nothing_that_was_not_found(make_service: MakeService, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch, "So it is [1], and so [3]. Both [2, 7]. In code `x[9]` stays [ 4].")
    events = make_service(MemoryRetriever()).events(ASKED)
    ending = events[-1]
    assert ending["response_text"] == "So it is [1], and so. Both [2]. In code `x[9]` stays [ 4]."
    assert "".join(event["text"] for event in events if event["event"] == "response_chunk") == ending["response_text"]
    assert ending["metadata"]["citations"] == [1, 2]


def test_where_nothing_was_found_nothing_can_be_cited(
    make_service: MakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = scripted(monkeypatch, "It goes well with fish [1].")
    ending = make_service(MemoryRetriever()).events("Which wine?")[-1]
    assert ending["response_text"] == "It goes well with fish."
    assert "do not hold the answer" in model.prompts[0]  # type: ignore[attr-defined]


def test_passages_go_to_the_model_with_each_call_of_their_turn_and_with_no_later_one(
    make_service: MakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = scripted(monkeypatch, {"name": "calculate", "input": {"expression": "1+1"}}, "Done [1].", "Later.")
    service = make_service(MemoryRetriever())
    session_id = service.ask(ASKED).json()["session_id"]
    service.ask("Which wine?", session_id=session_id)
    said = [[block.get("text", "") for message in call for block in message["content"]] for call in model.calls]
    assert [any(SESSIONS.text in text for text in texts) for texts in said] == [True, True, False]
    assert [message["kind"] for message in service.session(session_id)["messages"]] == [
        "text",
        "tool_use",
        "tool_result",
        "text",
        "text",
        "text",
    ]


def test_documents_that_cannot_be_searched_fail_the_turn_before_a_model_is_asked(
    make_service: MakeService, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    model = scripted(monkeypatch, "From memory.")
    library = MemoryRetriever()
    library.error = ConnectionError("http://secret-host:6333 refused")
    service = make_service(library)
    *_, start, ending = service.events(ASKED)
    assert (start["event"], ending["event"]) == ("retrieval_start", "error")
    assert (ending["code"], ending["status_code"]) == ("knowledge_base_unavailable", 503)
    assert model.calls == []
    assert "QDRANT_URL" in caplog.text
    assert "secret-host" not in caplog.text + str(ending)
    answer = service.ask(ASKED, session_id=start["session_id"])
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "10")
    library.error = None
    assert service.ask(ASKED, session_id=start["session_id"]).status_code == 200
    assert [message["role"] for message in service.session(start["session_id"])["messages"]] == [
        *["user"] * 3,
        "assistant",
    ]


def test_a_search_can_be_cancelled(make_service: MakeService, library: MemoryRetriever) -> None:
    slow = MemoryRetriever()
    slow.hold = threading.Event()
    service = make_service(slow)
    try:
        with service.streamed(ASKED) as response:
            session_id = response.headers["session-id"]
            answer = service.http.post(f"/api/sessions/{session_id}/cancel").json()
            events = [line for line in response.iter_lines() if line.startswith("data")]
    finally:
        slow.hold.set()
    assert answer["cancelled"]
    assert '"stopped"' in events[-1]
    assert len(events) == 2
    assert [message["text"] for message in service.session(session_id)["messages"]] == [
        ASKED,
        "(stopped before an answer)",
    ]


def test_searches_are_counted_and_timed(make_service: MakeService) -> None:
    library = MemoryRetriever()
    service = make_service(library)
    service.ask(ASKED)
    service.ask("Which wine?")
    library.error = ConnectionError()
    service.ask(ASKED)
    figures = service.http.get("/metrics", headers={"Accept": "text/plain"}).text
    for outcome in ("found", "unsupported", "failed"):
        assert f'chat_retrievals_total{{outcome="{outcome}"}} 1.0' in figures
    for stage in ("embed", "search", "total"):
        assert f'chat_retrieval_seconds_count{{stage="{stage}"}} 2.0' in figures


def test_an_answer_that_was_stopped_keeps_its_passages_too(make_service: MakeService) -> None:
    service = make_service(MemoryRetriever(), demo_delay=0.05)
    with service.streamed(ASKED) as response:
        session_id = response.headers["session-id"]
        events = events_of(response)
        seen = [next(events) for _ in range(4)]
        service.http.post(f"/api/sessions/{session_id}/cancel")
        *_, ending = events
    assert (ending["event"], ending["metadata"]["chunks"]) == ("stopped", seen[1]["chunks"])
    assert service.session(session_id)["messages"][-1]["passages"] == seen[1]["chunks"]
