"""The web page."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import BaseModel

from ..dependencies import Factory
from ..openapi import Responses
from ..page import page
from .health import pool_stats

__all__ = ["router"]

router = APIRouter(tags=["page"])


class State(BaseModel):
    """The state of the service."""

    status: Literal["running"]
    startup_time: datetime
    pool_stats: dict[str, Any]


_STATE: Responses = {
    200: {
        "model": State,
        "content": {"text/html": {"schema": {"type": "string"}}},
        "description": "The state of the service, or the page.",
    }
}


@router.head("/", include_in_schema=False)
@router.get("/", response_class=Response, responses=_STATE)
async def root(request: Request, factory: Factory) -> Response:
    """The page when a browser asks, else the state of the service."""
    if "text/html" in request.headers.get("accept", ""):
        return await page(request)
    stats = await pool_stats(factory)
    started = request.app.state.started.isoformat()
    content = {"status": "running", "startup_time": started, "pool_stats": stats}
    return JSONResponse(content, headers={"Vary": "Accept"})


@router.head("/chat.html", include_in_schema=False)
@router.get("/chat.html", response_class=HTMLResponse)
async def chat_page(request: Request) -> Response:
    """The page."""
    return await page(request)
