"""Questions to begin with fit the documents that are there."""

from __future__ import annotations

import re
from pathlib import Path

import chat_service
from chat_service.exceptions import KnowledgeBaseUnavailable
from chat_service.rag.passages import Retriever
from chat_service.suggestions import Suggester

from .conftest import MakeService
from .retrievers import SESSIONS, TURNS, MemoryRetriever
from .running import Service

OWN = Path(chat_service.__file__).with_name("suggestions.txt").read_text().splitlines()


class Knowing(MemoryRetriever):
    """Finds something for every question."""

    async def retrieve(self, query: str, **how: object) -> object:  # type: ignore[override]
        return await super().retrieve("session", top_k=1)


def suggested(service: Service) -> list[str]:
    found: list[str] = service.http.get("/api/suggestions").raise_for_status().json()["suggestions"]
    return found


def test_each_of_our_own_is_a_short_question() -> None:
    assert len(OWN) >= 5
    assert [question for question in OWN if not re.fullmatch(r"[A-Z].{10,70}\?", question)] == []


def test_without_documents_nothing_is_suggested_that_needs_them(service: Service) -> None:
    assert "What time is it?" in suggested(service)
    assert not set(suggested(service)) & set(OWN)


def test_what_the_documents_answer_is_suggested(make_service: MakeService) -> None:
    assert suggested(make_service(Knowing())) == OWN


def test_of_other_documents_headings_are_suggested(make_service: MakeService) -> None:
    class OfOthers(MemoryRetriever):
        async def retrieve(self, query: str, **how: object) -> object:  # type: ignore[override]
            return await super().retrieve("session writers" if "overview" in query else "nothing")

    documents = OfOthers([SESSIONS, TURNS])
    service = make_service(documents)
    assert suggested(service) == [
        "What do the documents say about “What one is”?",
        "What do the documents say about “Turns”?",
    ]
    asked = len(documents.calls)
    suggested(service)
    assert len(documents.calls) == asked, "what was found a moment ago is looked for again"


async def test_documents_that_cannot_be_searched_are_no_error() -> None:
    documents = MemoryRetriever()
    documents.error = KnowledgeBaseUnavailable()
    found: Retriever = documents
    assert await Suggester().suggestions(found) == OWN
