"""Documents searched by the model itself, with the tool ``search_documents``."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import MakeService
from .replicas import Replicas
from .retrievers import SESSIONS, TURNS, MemoryRetriever
from .running import Service
from .test_answers import ASKED, scripted


def search(query: str, **filters: Any) -> dict[str, Any]:
    return {"name": "search_documents", "input": {"query": query, **filters}}


@pytest.fixture(scope="module")
def seeking(make_service: MakeService) -> Service:
    """A service whose demo model searches by itself."""
    return make_service(MemoryRetriever(), retrieval="tool")


def test_the_search_is_told_between_the_start_and_the_end_of_the_tool(seeking: Service) -> None:
    events = seeking.events(ASKED)
    names = [event["event"] for event in events if event["event"] != "response_chunk"]
    assert names == ["tool_start", "retrieval_start", "retrieval_complete", "tool_complete", "response_complete"]
    ending = events[-1]
    assert f"“{TURNS.text}” [2]" in ending["response_text"]
    assert ending["metadata"]["citations"] == [1, 2]
    assert {"embed", "search", "retrieval", "model"} == {*ending["metadata"]["timings"]}
    assert [event["name"] for event in events if event["event"] == "tool_start"] == ["search_documents"]


def test_what_it_found_is_kept_with_the_answer_on_either_store(replicas: Replicas) -> None:
    one, other = (replicas.start(1, retriever=MemoryRetriever(), retrieval="tool")[0] for _ in range(2))
    events = one.events(ASKED)
    messages = other.session(events[0]["session_id"])["messages"]
    assert [message["kind"] for message in messages] == ["text", "tool_use", "tool_result", "text"]
    chunks = next(event["chunks"] for event in events if event["event"] == "retrieval_complete")
    assert [message["passages"] for message in messages] == [[], [], [], chunks]


def test_what_is_no_question_about_documents_is_not_looked_up(seeking: Service) -> None:
    for said in ("Hello", "My name is Ada.", "calculate 2*21"):
        assert not [event for event in seeking.events(said) if event["event"].startswith("retrieval")]
    assert seeking.ask("Hello").json()["chunks"] == []


def test_it_says_so_when_the_search_found_nothing(seeking: Service) -> None:
    answer = seeking.ask("Which wine goes with dinner?").json()
    assert "not in these documents" in answer["response_text"]
    assert answer["chunks"] == []


def test_several_searches_number_their_passages_on_and_none_twice(
    make_service: MakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(monkeypatch, search("document"), search("session writers", module="docs"), "[1] and [2] but not [3].")
    library = MemoryRetriever()
    events = make_service(library, retrieval="tool").events(ASKED)
    found = [event["chunks"] for event in events if event["event"] == "retrieval_complete"]
    assert [[(chunk["number"], chunk["chunk_id"]) for chunk in chunks] for chunks in found] == [
        [(1, SESSIONS.chunk_id)],
        [(1, SESSIONS.chunk_id), (2, TURNS.chunk_id)],
    ]
    assert events[-1]["response_text"] == "[1] and [2] but not."
    assert library.calls[-1]["module"] == "docs"
    assert library.calls[-1]["top_k"] == 5


def test_a_search_that_fails_ends_the_turn_before_the_model_is_asked_again(
    make_service: MakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = scripted(monkeypatch, search("session"), "From memory.")
    library = MemoryRetriever()
    library.error = ConnectionError("secret")
    service = make_service(library, retrieval="tool")
    events = service.events(ASKED)
    assert (events[-1]["event"], events[-1]["code"]) == ("error", "knowledge_base_unavailable")
    assert len(model.calls) == 1
    assert "secret" not in str(events)
    library.error = None
    again = service.ask("calculate 1+1", session_id=events[0]["session_id"])
    assert again.status_code == 200


def test_wrong_input_of_the_model_is_answered_to_the_model(
    make_service: MakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(monkeypatch, {"name": "search_documents", "input": {}}, "I see.")
    events = make_service(MemoryRetriever(), retrieval="tool").events(ASKED)
    assert [event["status"] for event in events if event["event"] == "tool_complete"] == ["error"]
    assert events[-1]["response_text"] == "I see."
