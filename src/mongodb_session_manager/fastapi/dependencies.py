"""What routes ask for, by type: ``session: OpenSession``."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any
from urllib.parse import unquote

from fastapi import Depends, Header, Request
from fastapi.exceptions import RequestValidationError

from ..mongodb_session_factory import MongoDBSessionManagerFactory
from ..mongodb_session_manager import MongoDBSessionManager

__all__ = ["Factory", "OpenSession", "open_session"]

_NAME = re.compile(r"[^\x00-\x1f\x7f]{1,256}")


async def _factory(request: Request) -> MongoDBSessionManagerFactory:
    factory: MongoDBSessionManagerFactory = request.app.state.session_factory
    return factory


Factory = Annotated[MongoDBSessionManagerFactory, Depends(_factory)]
"""The application's factory, ``app.state.session_factory``."""


async def _session_id(
    session_id: Annotated[str, Header(description="Percent-encoded UTF-8, 1 to 256 characters.")],
) -> str:
    name = unquote(session_id)
    if not _NAME.fullmatch(name):
        problem = "it is 1 to 256 characters without control characters, percent-encoded"
        raise RequestValidationError([{"type": "value_error", "loc": ("header", "session-id"), "msg": problem}])
    return name


def open_session(**options: Any) -> Callable[..., AsyncIterator[MongoDBSessionManager]]:
    """A dependency: the session that the header ``session-id`` names, opened, and closed after the response.

    Args:
        **options: Of the factory's ``open_session``: ``agent_id``, ``application_name``, ``metadata_hook``, …
    """

    async def opened(
        factory: Factory, session_id: Annotated[str, Depends(_session_id)]
    ) -> AsyncIterator[MongoDBSessionManager]:
        manager = await factory.open_session(session_id, **options)
        try:
            yield manager
        except Exception:
            await manager.aio.close()
            raise
        # A task that is cancelled is none to close in: a turn may be running still, and stores what belongs to it.
        await manager.aio.close()

    return opened


OpenSession = Annotated[MongoDBSessionManager, Depends(open_session())]
"""The session that the header ``session-id`` names, opened for the agent ``"default"``."""
