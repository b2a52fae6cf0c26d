"""Histories: taken over into another session, cut, and taken away as a file."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter
from fastapi.responses import StreamingResponse
from pydantic import Field

from mongodb_session_manager import SessionSummary

from ..agent_maker import AGENT_ID
from ..dependencies import AppSettings, Factory, OwnedSession
from ..exceptions import InvalidRequest, UnknownMessage, UnknownSession
from ..history import position_of
from ..models import Body, SessionView
from ..openapi import BUSY, OF_SESSION, REFUSED_VALUE, TOO_LARGE, Responses, errors
from ..stores.session_factory import SessionFactory

__all__ = ["router"]

router = APIRouter(prefix="/api/sessions", tags=["sessions"])

_OF_MESSAGE = (UnknownMessage(),)
_TORN = "message_id: the history cannot be cut between a tool call and its result; take the message before or after"
_LINES: Responses = {
    200: {
        "content": {"application/x-ndjson": {"itemSchema": {"type": "object"}}},
        "description": "One object a line: the session, its agents with their messages, feedback, the end.",
        "headers": {
            "Content-Disposition": {
                "description": "A name for the file.",
                "schema": {"type": "string"},
                "required": True,
            }
        },
    },
}

MessageId = Annotated[str, Field(pattern=r"^msg_[0-9a-f]{16}$")]


class Fork(Body):
    """Where a fork ends."""

    message_id: MessageId | None = Field(None, description="The last message that it takes over; absent: all of them.")


class Rewind(Body):
    """How far a history is taken back."""

    message_id: MessageId = Field(description="The first message that is forgotten.")


@router.post("/{session_id}/fork", status_code=201, responses=errors(OF_SESSION, _OF_MESSAGE, TOO_LARGE, REFUSED_VALUE))
async def fork(session: OwnedSession, factory: Factory, wanted: Fork) -> SessionView:
    """Begin another session with the messages of this one, up to and with one of them."""
    at = None if wanted.message_id is None else await position_of(wanted.message_id, session, factory) + 1
    new_id = f"session_{uuid.uuid4().hex[:16]}"
    if AGENT_ID not in session.agents:  # nothing was said yet
        return SessionView.of(await _beginning(session, new_id, factory))
    try:
        return SessionView.of(await factory.sessions.aio.fork(session.session_id, new_id, at=at))
    except ValueError as error:
        raise InvalidRequest(_TORN) from error


@router.post("/{session_id}/rewind", responses=errors(OF_SESSION, _OF_MESSAGE, BUSY, REFUSED_VALUE))
async def rewind(session: OwnedSession, factory: Factory, settings: AppSettings, wanted: Rewind) -> SessionView:
    """Forget a message and all that came after it; not while an answer is being written."""
    position = await position_of(wanted.message_id, session, factory)
    try:
        await factory.sessions.aio.rewind(session.session_id, position, turn_timeout=settings.turn_timeout)
    except ValueError as error:
        raise InvalidRequest(_TORN) from error
    left = await factory.sessions.aio.get(session.session_id)
    if left is None:
        raise UnknownSession
    return SessionView.of(left)


@router.get("/{session_id}/export", response_class=StreamingResponse, responses={**_LINES, **errors(OF_SESSION, BUSY)})
async def export(session: OwnedSession, factory: Factory) -> StreamingResponse:
    """The session as JSON Lines, from which it can be imported. A file that breaks off is not whole."""
    lines = aiter(await factory.sessions.aio.export(session.session_id))
    first = await anext(lines)  # what can be refused is refused before the first byte
    name = quote(f"{session.session_id}.jsonl", safe="")
    headers = {"Content-Disposition": f"attachment; filename*=UTF-8''{name}"}
    return StreamingResponse(_ended(first, lines), media_type="application/x-ndjson", headers=headers)


async def _beginning(session: SessionSummary, new_id: str, factory: SessionFactory) -> SessionSummary:
    taken_over = {name: getattr(session, name) for name in ("title", "owner", "application_name", "metadata")}
    summary: SessionSummary = await factory.sessions.aio.create(new_id, **taken_over)
    return summary


async def _ended(first: str, lines: AsyncIterator[str]) -> AsyncIterator[str]:
    yield f"{first}\n"
    async for line in lines:
        yield f"{line}\n"
