"""Sessions beside their turns: create, list, read, delete."""

from __future__ import annotations

import uuid
from typing import Annotated

from fastapi import APIRouter, Query

from mongodb_session_manager import SessionSummary

from ..agent import AGENT_ID
from ..dependencies import Factory, NamedSession
from ..exceptions import InvalidRequest, UnknownSession
from ..models import MessageList, MessageView, NewSession, SessionDetail, SessionList, SessionView
from ..stores.session_factory import SessionFactory

__all__ = ["router"]

router = APIRouter(prefix="/api/sessions", tags=["sessions"])

_NEWEST = 100  # messages shown with a session


@router.post("", status_code=201)
async def create_session(new: NewSession, factory: Factory) -> SessionView:
    """Create an empty session."""
    session_id = f"session_{uuid.uuid4().hex[:16]}"
    return SessionView.of(await factory.sessions.aio.create(session_id, metadata=new.metadata, title=new.title))


@router.get("")
async def list_sessions(
    factory: Factory, limit: Annotated[int, Query(ge=1, le=100)] = 50, cursor: str | None = None
) -> SessionList:
    """Sessions, the most recently used first. ``next_cursor`` of one page asks for the next."""
    try:
        page = await factory.sessions.aio.page(limit=limit, cursor=cursor)
    except ValueError as error:
        raise InvalidRequest("cursor: take it as it is from next_cursor of the page before") from error
    return SessionList(sessions=[SessionView.of(item) for item in page.items], next_cursor=page.next_cursor)


@router.get("/{session_id}")
async def get_session(session_id: NamedSession, factory: Factory) -> SessionDetail:
    """A session with its newest messages, a hundred at most."""
    summary = await _known(session_id, factory)
    offset = max(0, _total(summary) - _NEWEST)
    messages = await _messages(session_id, factory, offset, _NEWEST)
    return SessionDetail(**SessionView.of(summary).model_dump(), messages=messages, offset=offset)


@router.get("/{session_id}/messages")
async def list_messages(
    session_id: NamedSession,
    factory: Factory,
    limit: Annotated[int, Query(ge=1, le=200)] = 100,
    offset: Annotated[int | None, Query(ge=0, description="Messages to skip; absent: all but the newest.")] = None,
) -> MessageList:
    """Messages of a session, the oldest first."""
    total = _total(await _known(session_id, factory))
    start = max(0, total - limit) if offset is None else offset
    messages = await _messages(session_id, factory, start, limit)
    return MessageList(session_id=session_id, messages=messages, offset=start, total=total)


@router.delete("/{session_id}", status_code=204)
async def delete_session(session_id: NamedSession, factory: Factory) -> None:
    """Delete a session with everything that belongs to it."""
    if not await factory.sessions.aio.delete(session_id):
        raise UnknownSession


async def _known(session_id: str, factory: SessionFactory) -> SessionSummary:
    summary: SessionSummary | None = await factory.sessions.aio.get(session_id)
    if summary is None:
        raise UnknownSession
    return summary


def _total(summary: SessionSummary) -> int:
    agent = summary.agents.get(AGENT_ID)
    return agent.message_count if agent else 0


async def _messages(session_id: str, factory: SessionFactory, offset: int, limit: int) -> list[MessageView]:
    stored = await factory.sessions.aio.messages(session_id, AGENT_ID, limit=limit, offset=offset)
    return [MessageView.of(message, session_id) for message in stored]
