"""The messages of a session as clients know them."""

from __future__ import annotations

from mongodb_session_manager import SessionSummary

from .agent_maker import AGENT_ID
from .exceptions import UnknownMessage
from .models import MessageView, public_message_id
from .rendering.cache import Rendered
from .stores.session_factory import SessionFactory

__all__ = ["message_views", "position_of", "total"]

_AT_ONCE = 200


def total(session: SessionSummary) -> int:
    """How many messages a session has."""
    agent = session.agents.get(AGENT_ID)
    return agent.message_count if agent else 0


async def message_views(
    session_id: str, factory: SessionFactory, offset: int, limit: int, rendered: Rendered | None = None
) -> list[MessageView]:
    """Messages of a session, the oldest first.

    Args:
        session_id: The session.
        factory: Where it is stored.
        offset: Messages to skip.
        limit: How many at most.
        rendered: Makes the HTML of answers; without it they have none.
    """
    stored = await factory.sessions.aio.messages(session_id, AGENT_ID, limit=limit, offset=offset)
    views = [MessageView.of(message, session_id) for message in stored]
    if rendered:
        answers = [view for view in views if view.role == "assistant"]
        for view, html in zip(answers, await rendered.html([view.text for view in answers]), strict=True):
            view.html = html
    return views


async def position_of(message_id: str, session: SessionSummary, factory: SessionFactory) -> int:
    """The place of a message in the history of its session. The newest are looked at first.

    Raises:
        UnknownMessage: There is none with that id.
    """
    end = total(session)
    while end > 0:
        start = max(0, end - _AT_ONCE)
        stored = await factory.sessions.aio.messages(session.session_id, AGENT_ID, limit=end - start, offset=start)
        for each in stored:
            if public_message_id(each.message, f"{session.session_id}/{each.message_id}") == message_id:
                return int(each.message_id)
        end = start
    raise UnknownMessage
