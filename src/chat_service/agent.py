"""The agent as functions: ask, go on in a session, read an answer while it is written.

They run the same turns as the service does, in the same sessions, with the same settings, and need no server. What they
need (a database, the documents, a model) is opened with the first call, in a thread of its own, so that they can be
awaited on any event loop; :func:`close_agent` ends it, else the end of the process.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from mongodb_session_manager.fastapi import pool_stats

from .agent_host import AgentHost
from .agent_maker import AGENT_ID, AgentMaker, prompt
from .config import Settings, load_settings
from .events import Ending, Event, failed
from .exceptions import explain, report
from .models import ChatRequest
from .rag.chunks import Chunk

__all__ = [
    "AGENT_ID",
    "AgentMaker",
    "AgentResponse",
    "RetrievedChunkMetadata",
    "check_health",
    "close_agent",
    "continue_agent_session_async",
    "open_agent",
    "prompt",
    "run_agent_query_async",
    "run_agent_query_streaming",
]

_lock = threading.Lock()
_host: AgentHost | None = None


@dataclass(frozen=True, slots=True)
class RetrievedChunkMetadata:
    """A passage that was found for an answer, which cites it as ``[number]``."""

    number: int
    chunk_id: str
    source_file: str
    module_name: str
    section_heading: str
    similarity_score: float
    link: str | None
    excerpt: str


@dataclass(frozen=True, slots=True)
class AgentResponse:
    """An answer.

    Attributes:
        response_text: What was said; of an answer that was stopped, as much as there is.
        conversation_id: The session that it belongs to.
        response_time_ms: From the question to the end of the answer.
        retrieved_chunks: What was found for it.
        error_message: What went wrong, for people; ``None`` when nothing did.
    """

    response_text: str
    conversation_id: str
    response_time_ms: float
    retrieved_chunks: list[RetrievedChunkMetadata] = field(default_factory=list)
    error_message: str | None = None


async def run_agent_query_async(
    query_text: str,
    selected_text: str | None = None,
    session_id: str | None = None,
    temperature: float = 0.5,
    top_k: int = 5,
    *,
    owner: str | None = None,
) -> AgentResponse:
    """Ask a question and wait for the whole answer.

    Args:
        query_text: 1 to 1,000 characters.
        selected_text: What the answer is about before all else, up to 2,000 characters.
        session_id: Of the conversation that goes on; without one a session begins.
        temperature: 0 to 1.
        top_k: How many passages to look for, 1 to 10.
        owner: Whose session it is; without one it is anybody's.

    Returns:
        The answer, or what went wrong, as its ``error_message``.

    Raises:
        ValueError: An argument is wrong; the message names it.
        ConfigurationError: At the first call: a setting cannot work.
    """
    request = _request(query_text, selected_text, session_id, temperature, top_k)
    return await _answer(request, owner, must_exist=False)


async def continue_agent_session_async(
    session_id: str,
    query_text: str,
    selected_text: str | None = None,
    temperature: float = 0.5,
    top_k: int = 5,
    *,
    owner: str | None = None,
) -> AgentResponse:
    """Ask a question in a session that is there. Everything else is as with :func:`run_agent_query_async`.

    Args:
        session_id: Where there is no such session, none begins: that is an ``error_message``.
        query_text: 1 to 1,000 characters.
        selected_text: What the answer is about before all else, up to 2,000 characters.
        temperature: 0 to 1.
        top_k: How many passages to look for, 1 to 10.
        owner: Whose session it is.
    """
    request = _request(query_text, selected_text, session_id, temperature, top_k)
    return await _answer(request, owner, must_exist=True)


async def run_agent_query_streaming(
    query_text: str,
    selected_text: str | None = None,
    session_id: str | None = None,
    temperature: float = 0.5,
    top_k: int = 5,
    *,
    owner: str | None = None,
) -> AsyncIterator[Event]:
    """Ask a question and read what happens: the events of ``POST /api/chat/stream`` as dictionaries.

    The last one is exactly one of ``response_complete``, ``stopped`` and ``error``; what is wrong with a question from
    the beginning is an ``error`` too. Who reads no further does not end the answer: it is finished and stored.

    Args:
        query_text: 1 to 1,000 characters.
        selected_text: What the answer is about before all else, up to 2,000 characters.
        session_id: Of the conversation that goes on; without one a session begins, which the first event names.
        temperature: 0 to 1.
        top_k: How many passages to look for, 1 to 10.
        owner: Whose session it is; without one it is anybody's.

    Raises:
        ValueError: An argument is wrong; the message names it.
        ConfigurationError: At the first call: a setting cannot work.
    """
    request = _request(query_text, selected_text, session_id, temperature, top_k)
    host = await _opened()
    try:
        turn = await host.begin(request, owner, must_exist=False)
    except Exception as error:
        yield failed(_told(error))
        return
    async for event in host.events(turn):
        yield event


async def check_health() -> dict[str, Any]:
    """Whether questions can be answered, within about a second.

    Returns:
        ``status`` (``healthy`` or ``unhealthy``), the connections to the database as ``connection_pool``, whether there
        is a ``knowledge_base``, and a ``timestamp``.
    """
    host = await _opened()
    stats = await host.call(pool_stats(host.app.state.session_factory))
    return {
        "status": "healthy" if stats["status"] in ("connected", "external_client") else "unhealthy",
        "connection_pool": stats,
        "knowledge_base": host.app.state.knowledge is not None,
        "timestamp": datetime.now(UTC),
    }


def open_agent(settings: Settings | None = None) -> AgentHost:
    """Open now what the first call would open, or with settings of one's own. Blocks; further calls change nothing.

    Args:
        settings: Taken from the environment when absent.

    Raises:
        ConfigurationError: A setting cannot work.
        RuntimeError: It is open already, with other settings.
    """
    from .main import create_app  # the routes of the service ask this module for names

    global _host
    with _lock:
        if _host is None or not _host.is_running:
            wanted = settings or load_settings()
            # Whoever calls a function is this program itself: nobody is to be kept from asking too often.
            host = AgentHost(create_app(wanted.model_copy(update={"rate_limit": "off"})))
            host.start()
            _host = host
        elif settings and settings.model_copy(update={"rate_limit": "off"}) != _host.settings:
            raise RuntimeError("the agent is open with other settings; call close_agent() before open_agent(settings)")
        return _host


def close_agent() -> None:
    """End running answers, and close what was opened. Blocks. The next call of a function opens it again."""
    global _host
    with _lock:
        host, _host = _host, None
    if host:
        host.close()


# Functions registered with `atexit` come too late: no thread pool takes work any more by then.
threading._register_atexit(close_agent)  # type: ignore[attr-defined]


async def _opened() -> AgentHost:
    host = _host
    return host if host and host.is_running else await asyncio.to_thread(open_agent)


def _request(
    query_text: str, selected_text: str | None, session_id: str | None, temperature: float, top_k: int
) -> ChatRequest:
    try:
        return ChatRequest(
            query=query_text,
            selected_text=selected_text,
            session_id=session_id,
            temperature=temperature,
            top_k=top_k,
        )
    except ValidationError as error:  # whose text quotes what was asked
        found = error.errors(include_input=False, include_url=False, include_context=False)
        named = [(str(each["loc"][0]).replace("query", "query_text"), each["msg"]) for each in found]
        raise ValueError("; ".join(f"{name}: {problem}" for name, problem in named)) from None


async def _answer(request: ChatRequest, owner: str | None, *, must_exist: bool) -> AgentResponse:
    host = await _opened()
    try:
        turn = await host.begin(request, owner, must_exist=must_exist)
    except Exception as error:
        return AgentResponse("", request.session_id or "", 0.0, error_message=_told(error)["error"])
    return _response(await host.ended(turn), turn.record.session_id)


def _response(ending: Ending, session_id: str) -> AgentResponse:
    if ending["event"] == "error":
        return AgentResponse("", session_id, 0.0, error_message=ending["message"])
    chunks: list[Chunk] = ending["metadata"].get("chunks") or []
    return AgentResponse(
        response_text=ending["response_text"],
        conversation_id=session_id,
        response_time_ms=ending["metadata"].get("response_time_ms", 0.0),
        retrieved_chunks=[RetrievedChunkMetadata(**chunk) for chunk in chunks],
        error_message="This answer was stopped." if ending["event"] == "stopped" else None,
    )


def _told(error: Exception) -> dict[str, Any]:
    """An error as clients of the service are told of it; the rest of it is in the log."""
    problem = explain(error)
    report(problem, error, "function")
    return problem.body("function")
