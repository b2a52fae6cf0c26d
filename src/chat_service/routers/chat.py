"""Asking questions, and reading, resuming and cancelling the answers."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Query, Response
from fastapi.responses import StreamingResponse

from ..dependencies import AppCaller, AppTurns, Factory, Narrator, OwnedSession, RequestId, owned_session
from ..events import EventId
from ..models import Cancelled, ChatRequest, ChatResponse, IdempotencyKey, LastEventId, Question, Render, StreamQuery
from ..openapi import FRAME, OF_SESSION, OF_TURN, REPEATED, Responses, errors

__all__ = ["router"]

router = APIRouter(prefix="/api", tags=["chat"])

_SESSION_ID = {"session-id": {"description": "Names the session, percent-encoded.", "schema": {"type": "string"}}}
_STREAM: Responses = {
    200: {
        "content": {"text/event-stream": {"itemSchema": FRAME}},
        "description": "Server-sent events; the last one ends the turn.",
        "headers": _SESSION_ID,
    },
    **errors(OF_TURN, REPEATED),
}
_ANSWER: Responses = {
    **_STREAM,
    200: {**_STREAM[200], "description": "The whole answer, or with `stream` server-sent events."},
}
_RESUMED: Responses = {**_STREAM, 204: {"description": "Nothing comes after that event."}}

_Key = Annotated[
    IdempotencyKey | None,
    Header(
        alias="Idempotency-Key",
        description="The same request with the same key is answered once. 1 to 200 printable ASCII characters.",
    ),
]
_Render = Annotated[Render, Query()]


@router.post("/chat", response_model=ChatResponse, responses=_ANSWER)
async def chat(
    request: ChatRequest,
    turns: AppTurns,
    narrator: Narrator,
    request_id: RequestId,
    caller: AppCaller,
    idempotency_key: _Key = None,
    render: _Render = None,
) -> object:
    """Ask a question and wait for the whole answer; ``"stream": true`` answers as ``/api/chat/stream`` does."""
    turn = await turns.begin(request, request_id, caller, idempotency_key)
    if request.stream:
        return narrator.tell(turn.log, render)
    return await turn.response()


@router.post("/chat/stream", response_class=StreamingResponse, responses=_STREAM)
async def chat_stream(
    request: ChatRequest,
    turns: AppTurns,
    narrator: Narrator,
    request_id: RequestId,
    caller: AppCaller,
    idempotency_key: _Key = None,
    render: _Render = None,
) -> Response:
    """Ask a question and read the answer as it is written.

    Events: ``response_chunk`` (``text``), ``tool_start``, ``tool_complete``, with ``render=html`` ``response_block``
    (``index``, ``html``), and last exactly one of ``response_complete``, ``stopped`` and ``error``. The header
    ``session-id`` names the session, percent-encoded, and so does ``session_id`` in the first event, as it is.
    """
    turn = await turns.begin(request, request_id, caller, idempotency_key)
    return narrator.tell(turn.log, render)


@router.get("/chat/stream", response_class=StreamingResponse, responses=_RESUMED)
async def chat_event_source(
    asked: Annotated[StreamQuery, Query()],
    turns: AppTurns,
    narrator: Narrator,
    request_id: RequestId,
    caller: AppCaller,
    factory: Factory,
    last_event_id: Annotated[LastEventId, Header()] = None,
) -> Response:
    """Ask by GET, as ``EventSource`` does; or read on after the event that ``Last-Event-ID`` names.

    An ``EventSource`` that lost its connection comes back by itself with ``Last-Event-ID``. That never asks the
    question again: what came after that event is told, by whichever replica is asked, while the answer is written and
    for some time after. 204 when nothing came after it. For other clients there is ``last_event_id``; no ``query`` is
    needed with either.
    """
    seen = last_event_id or asked.last_event_id
    if seen is None:
        turn = await turns.begin(asked.question(), request_id, caller, asked.idempotency_key)
        return narrator.tell(turn.log, asked.render)
    if caller.owner and asked.session_id:
        await owned_session(asked.session_id, caller, factory)
    event_id = EventId.parse(seen)
    log = await turns.resume(event_id, asked.session_id, request_id, caller)
    return Response(status_code=204) if log is None else narrator.tell(log, asked.render, event_id.position)


@router.post("/sessions/{session_id}/messages", response_model=ChatResponse, responses=_ANSWER)
async def add_message(
    session: OwnedSession,
    question: Question,
    turns: AppTurns,
    narrator: Narrator,
    request_id: RequestId,
    caller: AppCaller,
    idempotency_key: _Key = None,
    render: _Render = None,
) -> object:
    """Ask a question in this session; answered as ``POST /api/chat`` answers it."""
    request = ChatRequest(session_id=session.session_id, **question.model_dump())
    return await chat(request, turns, narrator, request_id, caller, idempotency_key, render)


@router.post("/sessions/{session_id}/cancel", responses=errors(OF_SESSION))
async def cancel(session: OwnedSession, turns: AppTurns, request_id: RequestId) -> Cancelled:
    """Stop the answer that is being written in a session, on whichever replica. What was said until then is stored."""
    return Cancelled(session_id=session.session_id, cancelled=await turns.cancel(session.session_id, request_id))
