"""Sessions as rows and as JSON."""

from __future__ import annotations

from typing import Any

from ..store import AgentSummary, SessionSummary
from .output import date_text

__all__ = ["COLUMNS", "agent_json", "session_json", "session_row"]

COLUMNS = ("session", "title", "owner", "application", "messages", "created", "updated")


def session_row(session: SessionSummary) -> tuple[Any, ...]:
    """A session in a list."""
    return (
        session.session_id,
        session.title,
        session.owner,
        session.application_name,
        session.message_count,
        date_text(session.created_at) if session.is_dated else "",
        date_text(session.updated_at),
    )


def session_json(session: SessionSummary) -> dict[str, Any]:
    """A session for programs, without what was said."""
    names = "session_id title owner application_name created_at updated_at expires_at lifetime is_held forked_from"
    return {
        **{name: getattr(session, name) for name in names.split()},
        "message_count": session.message_count,
        "metadata": session.metadata,
        "agents": [agent_json(agent) for agent in session.agents.values()],
    }


def agent_json(agent: AgentSummary) -> dict[str, Any]:
    """An agent for programs, without what was said."""
    names = ("agent_id", "name", "message_count", "state", "totals", "config")
    return {name: getattr(agent, name) for name in names}
