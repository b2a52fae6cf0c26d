"""The web page."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse
from pydantic import BaseModel
from starlette.staticfiles import StaticFiles

from ..dependencies import Factory
from ..openapi import Responses
from .health import pool_stats

__all__ = ["Assets", "router"]

router = APIRouter(tags=["page"])

_WEB = Path(__file__).parents[1] / "web"
_HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


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


class Assets(StaticFiles):
    """Scripts and styles, asked for again at every visit: an old script must not meet a new page."""

    def __init__(self) -> None:
        super().__init__(directory=_WEB)

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        """The file, or that it has not changed."""
        response = super().file_response(*args, **kwargs)
        response.headers.update(_HEADERS)
        return response


@router.head("/", include_in_schema=False)
@router.get("/", response_class=Response, responses=_STATE)
async def root(request: Request, factory: Factory) -> Response:
    """The page when a browser asks, else the state of the service."""
    if "text/html" in request.headers.get("accept", ""):
        return await chat_page()
    stats = await pool_stats(factory)
    started = request.app.state.started.isoformat()
    content = {"status": "running", "startup_time": started, "pool_stats": stats}
    return JSONResponse(content, headers={"Vary": "Accept"})


@router.head("/chat.html", include_in_schema=False)
@router.get("/chat.html", response_class=HTMLResponse)
async def chat_page() -> Response:
    """The page."""
    return FileResponse(_WEB / "chat.html", headers={**_HEADERS, "Vary": "Accept"})
