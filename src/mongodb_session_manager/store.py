"""The seam between a session's logic and the database that holds it.

Two Protocols, both synchronous: :class:`SessionStore` is all that a turn needs, :class:`SessionCatalogue` is everything
beside it. An implementation never sees an ``Agent``; what it is given and gives back are the stored values of
:mod:`mongodb_session_manager.documents`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Protocol, TypeAlias

from strands.types.session import SessionMessage

__all__ = [
    "AgentSummary",
    "Claim",
    "Commit",
    "Committed",
    "LoadedAgent",
    "Part",
    "SessionCatalogue",
    "SessionPage",
    "SessionStore",
    "SessionSummary",
]

Part: TypeAlias = Literal["agents", "multi_agents"]


@dataclass(slots=True, kw_only=True)
class LoadedAgent:
    """One agent of one session, as the store read it.

    Attributes:
        at: Where and how the store keeps it; only the store can read this.
        found: Whether the session exists at all, with this agent or without.
        remains: The session reads as absent, but an expired or half-deleted document still lies under its id.
        created_at: When the session was created; tells it from a later one under the same id.
        session_owner: Whose the session is, ``None`` when nobody is named.
        data: ``agent_data`` (of a graph: ``{"state": …}``) as stored, ``None`` when there is no such agent.
        dates: ``created_at`` and ``updated_at`` of the agent.
        revision: The token that the last flush left, ``None`` before the first.
        turn: Whether somebody's turn is stored. As every claim and release leaves a new revision, no turn at this
            revision means none as long as it stands.
        count: Length of the history.
        first: Position in the history of the first of ``messages``.
        messages: The newest messages as stored, at least all that the conversation manager kept.
    """

    at: Any
    found: bool = False
    remains: bool = False
    created_at: datetime | None = None
    session_owner: str | None = None
    data: dict[str, Any] | None = None
    dates: dict[str, Any] = field(default_factory=dict)
    revision: str | None = None
    turn: bool = False
    count: int = 0
    first: int = 0
    messages: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """One atomic change to one agent. Sent again, it is applied at most once: ``revision`` tells.

    Attributes:
        part: Whether an agent or a graph changes.
        agent_id: Whose change it is, for errors.
        at: From the load, or from the commit before. The history must be as long as it says.
        expected: The revision that must be stored now, ``None`` for none.
        revision: The random token that this change leaves behind.
        owner: Who writes.
        contested: Whether there may be another owner's turn at the expected revision; it refuses the change unless it
            has expired.
        holds: Whether the turn is the owner's afterwards; otherwise it is free.
        create: Whether the session may be created.
        created_at: When the session was created, which tells it from a later one under its id; ``None`` if unknown.
        remains: Whether what an expired or half-deleted session left must be removed first.
        session: Fields of the session that creating it sets.
        new: Whether the agent is new.
        data: Changed fields of ``agent_data`` (of a graph: its ``state``).
        count: Length of the history afterwards.
        messages: Messages to append. Empty when ``changes`` is not.
        changes: Changed fields of stored messages by position in the history.
        totals: What to add to the totals.
    """

    part: Part
    agent_id: str
    at: Any
    expected: str | None
    revision: str
    owner: str
    contested: bool
    holds: bool
    create: bool
    created_at: datetime | None
    remains: bool
    session: Mapping[str, Any]
    new: bool
    data: Mapping[str, Any]
    count: int
    messages: Sequence[Mapping[str, Any]]
    changes: Mapping[int, Mapping[str, Any]]
    totals: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Taking the turn of one agent before anything of it is written.

    Attributes:
        part: Whether it is an agent's or a graph's.
        agent_id: Whose turn, for errors.
        at: From the load.
        revision: The random token that the claim leaves behind.
        owner: Who takes it.
        created_at: When the session was created, which tells it from a later one under its id; ``None`` if unknown.
        session: If the session may be created, the fields that it then starts with.
    """

    part: Part
    agent_id: str
    at: Any
    revision: str
    owner: str
    created_at: datetime | None
    session: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Committed:
    """A commit was applied.

    Attributes:
        at: Where and how the agent is kept now.
        created_at: When the session was created, if this commit created it.
    """

    at: Any
    created_at: datetime | None = None


class SessionStore(Protocol):
    """What a turn needs of a database. Thread-safe; every call may block."""

    @property
    def max_concurrency(self) -> int:
        """How many calls it can serve at once."""

    @property
    def outages(self) -> tuple[type[Exception], ...]:
        """Errors that mean: the database cannot be reached now. Trying again may help."""

    def load(self, session_id: str, agent_id: str, part: Part = "agents") -> LoadedAgent:
        """Read one agent and the newest of its messages."""

    def commit(self, session_id: str, commit: Commit, turn_timeout: float) -> Committed:
        """Apply a change durably, or raise and change nothing.

        Args:
            session_id: The session.
            commit: What to change and what must hold.
            turn_timeout: Seconds after which another owner's turn has expired.

        Raises:
            SessionBusyError: Another owner's turn is running.
            SessionConflictError: The agent is not as expected.
            SessionNotFoundError: The session is gone and may not be created.
            SessionTooLargeError: The database cannot hold it.
        """

    def claim(self, session_id: str, claim: Claim, turn_timeout: float) -> LoadedAgent:
        """Take the turn of one agent and read it, in one step.

        Args:
            session_id: The session.
            claim: Who takes it.
            turn_timeout: Seconds after which another owner's turn has expired.

        Returns:
            The agent as it was before. Its revision is that of the claim from now on.

        Raises:
            SessionBusyError: Another owner's turn is running.
            SessionNotFoundError: The session is gone and may not be created.
        """

    def messages(self, session_id: str, agent_id: str, offset: int = 0, limit: int | None = None) -> LoadedAgent:
        """Read one agent with other messages than a load: those from a position on, oldest first."""

    def renew(self, session_id: str, at: Any, owner: str) -> bool:
        """Extend the owner's turn. ``False`` when the turn is not his any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSummary:
    """What a catalogue says of one agent: ``totals`` as stored, ``config`` with name, model and prompt."""

    agent_id: str
    name: str | None
    message_count: int
    state: dict[str, Any]
    totals: dict[str, int]
    config: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSummary:
    """What a catalogue says of one session, without its messages. Dates are aware.

    Attributes:
        is_dated: Whether ``created_at`` is the stored date; of a session of the older layout it may stand in for none.
    """

    session_id: str
    created_at: datetime
    updated_at: datetime
    is_dated: bool = False
    title: str | None = None
    owner: str | None = None
    application_name: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    agents: dict[str, AgentSummary] = field(default_factory=dict)

    @property
    def message_count(self) -> int:
        """Messages of all agents together."""
        return sum(agent.message_count for agent in self.agents.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionPage:
    """Some sessions, the most recently updated first. ``next_cursor`` is ``None`` on the last page."""

    items: list[SessionSummary]
    next_cursor: str | None


class SessionCatalogue(Protocol):
    """Sessions seen from beside their turns.

    Thread-safe; every call may block. An unknown session raises ``SessionNotFoundError`` unless said otherwise.
    """

    def create(
        self,
        session_id: str,
        *,
        metadata: Mapping[str, Any] | None = None,
        title: str | None = None,
        owner: str | None = None,
        application_name: str | None = None,
    ) -> SessionSummary:
        """Create an empty session; an existing one raises ``SessionError``."""

    def get(self, session_id: str) -> SessionSummary | None:
        """One session, ``None`` when it is unknown."""

    def page(
        self,
        *,
        limit: int = 50,
        cursor: str | None = None,
        owner: str | None = None,
        application_name: str | None = None,
    ) -> SessionPage:
        """Sessions by time of their last change, newest first."""

    def messages(
        self, session_id: str, agent_id: str = "default", *, limit: int | None = None, offset: int = 0
    ) -> list[SessionMessage]:
        """Messages of one agent, oldest first."""

    def messages_before(
        self, session_id: str, agent_id: str = "default", *, position: int | None = None, limit: int = 50
    ) -> list[SessionMessage]:
        """The last messages before a position, ``None`` for the end of the history; oldest first.

        So a front end pages backwards: the next page is the one before the first id of this page.
        """

    def patch(
        self, session_id: str, *, title: str | None = None, metadata: Mapping[str, Any] | None = None
    ) -> SessionSummary:
        """Change the title, merge metadata."""

    def delete(self, session_id: str) -> bool:
        """Remove a session and all that belongs to it. ``False`` when there was none."""

    def clear_turns(self) -> int:
        """Free every turn of every session, for the only process that can hold one. Returns how many sessions had."""

    def metadata(self, session_id: str) -> dict[str, Any]:
        """The metadata, ``{}`` also for an unknown session."""

    def update_metadata(
        self,
        session_id: str,
        metadata: Mapping[str, Any],
        *,
        create: Mapping[str, Any] | None = None,
        created_at: datetime | None = None,
    ) -> datetime | None:
        """Merge; dotted keys address nested fields.

        Args:
            session_id: The session.
            metadata: What to set.
            create: If the session may be created, the fields that it then starts with.
            created_at: If given, the session must be the one that was created then, not a later one under its id.

        Returns:
            When the session was created, ``None`` where an older tool left no date.
        """

    def delete_metadata(
        self,
        session_id: str,
        keys: Sequence[str],
        *,
        create: Mapping[str, Any] | None = None,
        created_at: datetime | None = None,
    ) -> datetime | None:
        """Remove keys; dotted ones address nested fields. Otherwise as :meth:`update_metadata`."""

    def feedbacks(self, session_id: str) -> list[dict[str, Any]]:
        """All feedback, oldest first, each with ``created_at``. ``[]`` also for an unknown session."""

    def add_feedback(
        self,
        session_id: str,
        feedback: Mapping[str, Any],
        *,
        create: Mapping[str, Any] | None = None,
        created_at: datetime | None = None,
    ) -> datetime | None:
        """Append feedback; above 1 MB in a session ``SessionTooLargeError``. Otherwise as :meth:`update_metadata`."""

    def agent_summary(self, session_id: str, agent_id: str) -> AgentSummary | None:
        """One agent without its messages, ``None`` when it or its session is unknown."""

    def update_agent_config(self, session_id: str, agent_id: str, config: Mapping[str, Any]) -> None:
        """Set ``model``, ``system_prompt`` or ``prompt_metadata``; an unknown agent raises ``SessionNotFoundError``."""
