"""The service in figures, for programs that watch over it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from ..config import Settings
from ..dependencies import AppSettings, Factory, OwnedSession
from ..metrics import ServiceMetrics
from ..models import plain
from ..openapi import OF_SESSION, Responses, errors
from ..stores.address import Address
from .health import pool_stats

__all__ = ["router"]

router = APIRouter(tags=["metrics"])

_PROMETHEUS = ("text/plain", "application/openmetrics-text")


class Figures(BaseModel):
    """The connection pool, and where sessions lie."""

    connection_pool: dict[str, Any]
    factory: dict[str, str]
    timestamp: datetime


_TEXT = {"schema": {"type": "string"}}
_FIGURES: Responses = {
    200: {
        "model": Figures,
        "content": {"text/plain": _TEXT, "application/openmetrics-text": _TEXT},
        "description": "The connection pool, or all figures for Prometheus.",
    }
}


class AgentMetrics(BaseModel):
    """One agent of a session."""

    name: str | None
    message_count: int
    state: dict[str, Any]


class SessionMetrics(BaseModel):
    """The agents of a session."""

    session_id: str
    agents: dict[str, AgentMetrics]
    total_messages: int


@router.get("/metrics", responses=_FIGURES, response_class=Response)
async def metrics(request: Request, factory: Factory, settings: AppSettings) -> Response:
    """The connection pool as JSON, or all figures for Prometheus when ``Accept`` asks for text."""
    stats = await pool_stats(factory)
    accept = request.headers.get("accept", "")
    if any(kind in accept for kind in _PROMETHEUS):
        figures: ServiceMetrics = request.app.state.metrics
        figures.observe_pool(stats)
        content, media_type = figures.written(accept)
        return Response(content, headers={"Content-Type": media_type, "Vary": "Accept"})
    now = datetime.now(UTC).isoformat()
    content_of_json = {"connection_pool": stats, "factory": _place(settings), "timestamp": now}
    return JSONResponse(content_of_json, headers={"Vary": "Accept"})


@router.get("/metrics/session/{session_id}", responses=errors(OF_SESSION))
async def session_metrics(session: OwnedSession) -> SessionMetrics:
    """The agents of a session, and how much they have said."""
    agents = {
        plain(agent_id): AgentMetrics(name=agent.name, message_count=agent.message_count, state=plain(agent.state))
        for agent_id, agent in session.agents.items()
    }
    total = sum(agent.message_count for agent in agents.values())
    return SessionMetrics(session_id=session.session_id, agents=agents, total_messages=total)


@router.get("/debug/pool")
async def debug_pool(factory: Factory) -> dict[str, Any]:
    """The connection pool; only where ``DEBUG_ROUTES`` is on."""
    return await pool_stats(factory)


def _place(settings: Settings) -> dict[str, str]:
    """Where sessions lie."""
    if settings.session_store == "postgres" and settings.database_url:
        address = Address(settings.database_url.get_secret_value())
        return {"database": address.redacted.rpartition("/")[2], "collection": "chat_sessions"}
    return {"database": settings.database_name, "collection": settings.collection_name}
