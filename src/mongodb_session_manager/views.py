"""A stored session as an application looks at it: read-only, without an agent."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from strands.types.session import SessionMessage

from .store import AgentSummary, SessionCatalogue, SessionSummary

__all__ = ["AgentView", "SessionView", "session_view"]


class AgentView:
    """One agent of a session.

    Attributes:
        agent_id: Its id.
        name: Its display name.
        state: What the application keeps in ``agent.state``.
        message_count: Length of its history.
    """

    def __init__(self, session_id: str, summary: AgentSummary, catalogue: SessionCatalogue) -> None:
        """View one agent; its messages are read when asked for."""
        self._session_id = session_id
        self._catalogue = catalogue
        self.agent_id = summary.agent_id
        self.name = summary.name
        self.state = summary.state
        self.message_count = summary.message_count

    @cached_property
    def messages(self) -> list[SessionMessage]:
        """The whole history, oldest first. Read from the database when first asked for."""
        return self._catalogue.messages(self._session_id, self.agent_id)


@dataclass(frozen=True)
class SessionView:
    """One session. Dates are aware; ``agents`` by their id."""

    session_id: str
    created_at: datetime
    updated_at: datetime
    metadata: dict[str, Any]
    agents: dict[str, AgentView]


def session_view(summary: SessionSummary, catalogue: SessionCatalogue) -> SessionView:
    """The view of a session that the catalogue knows."""
    return SessionView(
        session_id=summary.session_id,
        created_at=summary.created_at,
        updated_at=summary.updated_at,
        metadata=summary.metadata,
        agents={
            agent_id: AgentView(summary.session_id, agent, catalogue) for agent_id, agent in summary.agents.items()
        },
    )
