"""What a session is made of and what it costs, for who looks into it; and how to begin."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from fastapi import APIRouter, Request, Response

from ..activity import Activity, RunningTurn, Suggestions
from ..dependencies import AppTurns, Documents, Factory, OwnedSession
from ..exceptions import UnknownSession
from ..history import message_views, total
from ..models import plain
from ..openapi import OF_SESSION, errors

__all__ = ["router"]

router = APIRouter(prefix="/api", tags=["insight"])

_NEWEST = 200  # messages in which turns are looked for


@router.get("/sessions/{session_id}/turn", responses=errors(OF_SESSION))
async def running_turn(session: OwnedSession, turns: AppTurns) -> RunningTurn:
    """Whether an answer is being written in a session, by whichever replica, and which."""
    turn_id = await turns.running(session.session_id)
    return RunningTurn(running=turn_id is not None, turn_id=turn_id)


@router.get("/sessions/{session_id}/activity", responses=errors(OF_SESSION))
async def activity(session: OwnedSession, factory: Factory, turns: AppTurns) -> Activity:
    """What the session has cost: its agents, its newest turns, the last turn's share of the database."""
    newest = await message_views(session.session_id, factory, max(0, total(session) - _NEWEST), _NEWEST)
    return Activity.of(session, newest, turns.use_of_last(session.session_id))


@router.get("/sessions/{session_id}/document", response_model=dict[str, Any], responses=errors(OF_SESSION))
async def document(session: OwnedSession, documents: Documents) -> Response:
    """The session as it is stored, without what lies in its archive. Its form is the store's own."""
    found = await asyncio.to_thread(documents.read, session.session_id)
    if found is None:
        raise UnknownSession
    return Response(await asyncio.to_thread(_as_json, found), media_type="application/json")


@router.get("/suggestions")
async def suggested(request: Request) -> Suggestions:
    """Questions to begin with, of which the documents hold the answers."""
    state = request.app.state
    return Suggestions(suggestions=await state.suggester.suggestions(state.knowledge))


def _as_json(found: dict[str, Any]) -> str:
    return json.dumps(plain(found))
