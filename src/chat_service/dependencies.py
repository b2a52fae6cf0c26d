"""What routes ask for, by type: ``turns: AppTurns``."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import unquote

from fastapi import Depends, Path, Request
from pydantic import BeforeValidator

from .config import Settings
from .models import SessionId
from .stores.session_factory import SessionFactory
from .turns import Turns

__all__ = ["AppSettings", "AppTurns", "Factory", "NamedSession", "RequestId"]


def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


def _factory(request: Request) -> SessionFactory:
    factory: SessionFactory = request.app.state.factory
    return factory


def _turns(request: Request) -> Turns:
    turns: Turns = request.app.state.turns
    return turns


def _request_id(request: Request) -> str:
    request_id: str = request.state.request_id
    return request_id


AppSettings = Annotated[Settings, Depends(_settings)]
Factory = Annotated[SessionFactory, Depends(_factory)]
AppTurns = Annotated[Turns, Depends(_turns)]
NamedSession = Annotated[
    SessionId, BeforeValidator(unquote), Path(description="Percent-encoded, a slash in it too: as %2F.")
]
RequestId = Annotated[str, Depends(_request_id)]
