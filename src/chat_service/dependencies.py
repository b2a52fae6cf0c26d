"""What routes ask for, by type: ``turns: AppTurns``.

All are coroutine functions: FastAPI calls any other in a thread, at every request.
"""

from __future__ import annotations

from typing import Annotated
from urllib.parse import unquote

from fastapi import Depends, Path, Request
from pydantic import BeforeValidator

from mongodb_session_manager import SessionSummary

from .config import Settings
from .exceptions import UnknownSession
from .models import SessionId
from .narrator import TurnNarrator
from .rendering.cache import Rendered
from .security.caller import Caller
from .stores.documents import StoredDocuments
from .stores.session_factory import SessionFactory
from .turns import Turns

__all__ = [
    "AppCaller",
    "AppRendered",
    "AppSettings",
    "AppTurns",
    "Documents",
    "Factory",
    "NamedSession",
    "Narrator",
    "OwnedSession",
    "RequestId",
    "owned_session",
]


async def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


async def _factory(request: Request) -> SessionFactory:
    factory: SessionFactory = request.app.state.session_factory
    return factory


async def _turns(request: Request) -> Turns:
    turns: Turns = request.app.state.turns
    return turns


async def _documents(request: Request) -> StoredDocuments:
    documents: StoredDocuments = request.app.state.documents
    return documents


async def _rendered(request: Request) -> Rendered:
    rendered: Rendered = request.app.state.rendered
    return rendered


async def _request_id(request: Request) -> str:
    request_id: str = request.state.request_id
    return request_id


async def _caller(request: Request) -> Caller:
    caller: Caller = request.state.caller
    return caller


AppSettings = Annotated[Settings, Depends(_settings)]
AppRendered = Annotated[Rendered, Depends(_rendered)]
Factory = Annotated[SessionFactory, Depends(_factory)]
AppTurns = Annotated[Turns, Depends(_turns)]
Documents = Annotated[StoredDocuments, Depends(_documents)]
NamedSession = Annotated[
    SessionId, BeforeValidator(unquote), Path(description="Percent-encoded, a slash in it too: as %2F.")
]


async def _narrator(settings: AppSettings, rendered: AppRendered) -> TurnNarrator:
    return TurnNarrator(settings.heartbeat_seconds, rendered)


Narrator = Annotated[TurnNarrator, Depends(_narrator)]
RequestId = Annotated[str, Depends(_request_id)]
AppCaller = Annotated[Caller, Depends(_caller)]


async def owned_session(session_id: NamedSession, caller: AppCaller, factory: Factory) -> SessionSummary:
    """The session that a route is about. Every route with the id of one asks for it so, or through ``Turns``.

    Raises:
        UnknownSession: There is none, or it is not the caller's: nobody can tell which.
    """
    summary: SessionSummary | None = await factory.sessions.aio.get(session_id)
    if summary is None or not caller.may_use(summary.owner):
        raise UnknownSession
    return summary


OwnedSession = Annotated[SessionSummary, Depends(owned_session)]
