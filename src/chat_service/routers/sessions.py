"""Sessions beside their turns: create, list, read, change, delete."""

from __future__ import annotations

import uuid
from typing import Annotated, Any

from fastapi import APIRouter, Query

from mongodb_session_manager import SessionSummary

from ..dependencies import AppCaller, AppRendered, AppTurns, Factory, OwnedSession
from ..exceptions import InvalidRequest, UnknownSession
from ..history import message_views, total
from ..models import MessageList, MetadataKey, NewSession, Render, SessionDetail, SessionList, SessionView, plain
from ..notes import FeedbackList, FeedbackView, MetadataPatch, NewFeedback, SessionMetadata, SessionPatch
from ..openapi import DATABASE, OF_SESSION, REFUSED_VALUE, TOO_LARGE, errors
from ..stores.session_factory import SessionFactory

__all__ = ["router"]

router = APIRouter(prefix="/api/sessions", tags=["sessions"])

_NEWEST = 100  # messages shown with a session
_WRONG_KEYS = (
    "metadata: a key is empty between its dots, begins with $, holds a NUL, or lies inside the value of another one"
)


@router.post("", status_code=201, responses=errors(DATABASE, TOO_LARGE))
async def create_session(new: NewSession, caller: AppCaller, factory: Factory) -> SessionView:
    """Create an empty session."""
    session_id = f"session_{uuid.uuid4().hex[:16]}"
    fields = {"title": new.title, "owner": caller.owner, "application_name": new.application_name}
    return SessionView.of(await factory.sessions.aio.create(session_id, metadata=new.metadata, **fields))


@router.get("", responses=errors(DATABASE, REFUSED_VALUE))
async def list_sessions(
    caller: AppCaller,
    factory: Factory,
    limit: Annotated[int, Query(ge=1, le=100)] = 50,
    cursor: str | None = None,
    application_name: Annotated[str | None, Query(max_length=200, description="Only sessions of this one.")] = None,
    q: Annotated[
        str | None, Query(max_length=200, description="Only those with this in their title, in any case.")
    ] = None,
) -> SessionList:
    """The caller's sessions, the most recently used first. ``next_cursor`` of one page asks for the next."""
    title = (q or "").strip() or None
    which = {"owner": caller.owner, "application_name": application_name, "title": title}
    try:
        page = await factory.sessions.aio.page(limit=limit, cursor=cursor, **which)
    except ValueError as error:
        raise InvalidRequest("cursor: take it as it is from next_cursor of the page before") from error
    return SessionList(sessions=[SessionView.of(item) for item in page.items], next_cursor=page.next_cursor)


@router.get("/{session_id}", responses=errors(OF_SESSION))
async def get_session(
    session: OwnedSession, factory: Factory, rendered: AppRendered, render: Annotated[Render, Query()] = None
) -> SessionDetail:
    """A session with its newest messages, a hundred at most."""
    offset = max(0, total(session) - _NEWEST)
    messages = await message_views(session.session_id, factory, offset, _NEWEST, rendered if render else None)
    return SessionDetail(**SessionView.of(session).model_dump(), messages=messages, offset=offset)


@router.patch("/{session_id}", responses=errors(OF_SESSION, TOO_LARGE, REFUSED_VALUE))
async def patch_session(session: OwnedSession, patch: SessionPatch, factory: Factory) -> SessionView:
    """Give a session another title, merge into its metadata. What is not named stays."""
    return SessionView.of(await _patched(session.session_id, factory, title=patch.title, metadata=patch.metadata))


@router.delete("/{session_id}", status_code=204, responses=errors(OF_SESSION))
async def delete_session(session: OwnedSession, factory: Factory, turns: AppTurns) -> None:
    """Delete a session with everything that belongs to it."""
    if not await factory.sessions.aio.delete(session.session_id):
        raise UnknownSession
    await turns.forget(session.session_id)


@router.get("/{session_id}/messages", responses=errors(OF_SESSION))
async def list_messages(
    session: OwnedSession,
    factory: Factory,
    rendered: AppRendered,
    limit: Annotated[int, Query(ge=1, le=200)] = 100,
    offset: Annotated[int | None, Query(ge=0, description="Messages to skip; absent: all but the newest.")] = None,
    render: Annotated[Render, Query()] = None,
) -> MessageList:
    """Messages of a session, the oldest first."""
    count = total(session)
    start = max(0, count - limit) if offset is None else offset
    messages = await message_views(session.session_id, factory, start, limit, rendered if render else None)
    return MessageList(session_id=session.session_id, messages=messages, offset=start, total=count)


@router.get("/{session_id}/metadata", responses=errors(OF_SESSION))
async def get_metadata(session: OwnedSession) -> SessionMetadata:
    """The metadata of a session."""
    return _metadata(session)


@router.patch("/{session_id}/metadata", responses=errors(OF_SESSION, TOO_LARGE, REFUSED_VALUE))
async def patch_metadata(session: OwnedSession, patch: MetadataPatch, factory: Factory) -> SessionMetadata:
    """Merge into the metadata; dotted keys address nested fields."""
    return _metadata(await _patched(session.session_id, factory, metadata=patch.metadata))


@router.delete("/{session_id}/metadata", responses=errors(OF_SESSION, REFUSED_VALUE))
async def delete_metadata(
    session: OwnedSession,
    factory: Factory,
    key: Annotated[
        list[MetadataKey], Query(min_length=1, max_length=100, description="Dotted keys address nested fields.")
    ],
) -> SessionMetadata:
    """Remove keys from the metadata."""
    try:
        await factory.sessions.aio.delete_metadata(session.session_id, key)
    except ValueError as error:
        raise InvalidRequest(_WRONG_KEYS) from error
    return _metadata(await _patched(session.session_id, factory))


@router.get("/{session_id}/feedback", responses=errors(OF_SESSION))
async def list_feedback(session: OwnedSession, factory: Factory) -> FeedbackList:
    """All feedback of a session, the oldest first."""
    stored = await factory.sessions.aio.feedbacks(session.session_id)
    return FeedbackList(session_id=session.session_id, feedback=[FeedbackView.of(each) for each in stored])


@router.post("/{session_id}/feedback", status_code=201, responses=errors(OF_SESSION, TOO_LARGE))
async def add_feedback(session: OwnedSession, new: NewFeedback, factory: Factory) -> FeedbackView:
    """Say what one thinks of an answer (``message_id``), or of the whole conversation."""
    await factory.sessions.aio.add_feedback(session.session_id, new.model_dump(exclude_none=True))
    stored = [FeedbackView.of(each) for each in await factory.sessions.aio.feedbacks(session.session_id)]
    meant = new.model_dump()
    return next((each for each in reversed(stored) if each.model_dump(exclude={"created_at"}) == meant), stored[-1])


async def _patched(session_id: str, factory: SessionFactory, **changes: Any) -> SessionSummary:
    try:
        summary: SessionSummary = await factory.sessions.aio.patch(session_id, **changes)
    except ValueError as error:
        raise InvalidRequest(_WRONG_KEYS) from error
    return summary


def _metadata(session: SessionSummary) -> SessionMetadata:
    return SessionMetadata(session_id=session.session_id, metadata=plain(session.metadata))
