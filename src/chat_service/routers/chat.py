"""Asking questions."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Header, Query, Response
from fastapi.responses import StreamingResponse

from ..dependencies import AppSettings, AppTurns, RequestId
from ..events import frames
from ..models import ChatRequest, ChatResponse
from ..turns import Turn

__all__ = ["router"]

router = APIRouter(prefix="/api", tags=["chat"])

_STREAM: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/event-stream": {}}, "description": "Server-sent events; the last one ends the turn."}
}
_RESUMED: dict[int | str, dict[str, Any]] = {**_STREAM, 204: {"description": "That answer is not being written."}}


@router.post("/chat", response_model=ChatResponse)
async def chat(request: ChatRequest, turns: AppTurns, settings: AppSettings, request_id: RequestId) -> object:
    """Ask a question and wait for the whole answer; ``"stream": true`` answers as ``/api/chat/stream`` does."""
    turn = await turns.begin(request, request_id)
    if request.stream:
        return _stream(turn, settings.heartbeat_seconds)
    return await turn.response()


@router.post("/chat/stream", response_class=StreamingResponse, responses=_STREAM)
async def chat_stream(request: ChatRequest, turns: AppTurns, settings: AppSettings, request_id: RequestId) -> Response:
    """Ask a question and read the answer as it is written.

    Events: ``response_chunk`` (``text``), ``tool_start``, ``tool_complete``, and last exactly one of
    ``response_complete``, ``stopped`` and ``error``. The header ``session-id`` names the session, percent-encoded, and
    so does ``session_id`` in the first event, as it is.
    """
    return _stream(await turns.begin(request, request_id), settings.heartbeat_seconds)


@router.get("/chat/stream", response_class=StreamingResponse, responses=_RESUMED)
async def chat_event_source(
    request: Annotated[ChatRequest, Query()],
    turns: AppTurns,
    settings: AppSettings,
    request_id: RequestId,
    last_event_id: Annotated[int | None, Header(ge=0)] = None,
) -> Response:
    """The same for ``EventSource``, which can only GET.

    An ``EventSource`` that lost its connection comes back by itself with ``Last-Event-ID``. That never asks the
    question again: the answer goes on from there while it is being written, and otherwise 204 tells the browser to
    stop.
    """
    if last_event_id is None:
        return _stream(await turns.begin(request, request_id), settings.heartbeat_seconds)
    if turn := turns.find(request.session_id, request.query):
        return _stream(turn, settings.heartbeat_seconds, last_event_id)
    return Response(status_code=204)


def _stream(turn: Turn, heartbeat: float, position: int = 0) -> StreamingResponse:
    return StreamingResponse(
        frames(turn.log, heartbeat, position),
        media_type="text/event-stream",
        # Neither a cache nor a proxy may hold back what is meant to be read at once.
        headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no", "session-id": quote(turn.session_id, safe="")},
    )
