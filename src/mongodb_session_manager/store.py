"""The seam between a session's logic and the database that holds it.

Two Protocols, both synchronous: :class:`SessionStore` is all that a turn needs, :class:`SessionCatalogue` is everything
beside it. An implementation never sees an ``Agent``; what it is given and gives back are the stored values of
:mod:`mongodb_session_manager.documents`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Literal, Protocol, TypeAlias

from strands.types.content import Message
from strands.types.session import SessionMessage

__all__ = [
    "AgentSummary",
    "Claim",
    "Commit",
    "Committed",
    "DeletionReceipt",
    "LoadedAgent",
    "Order",
    "OriginalMessage",
    "Part",
    "SessionCatalogue",
    "SessionPage",
    "SessionStatistics",
    "SessionStore",
    "SessionSummary",
]

Part: TypeAlias = Literal["agents", "multi_agents"]
Order: TypeAlias = Literal["updated_at", "created_at"]


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
        originals: What messages said that this change redacts, by position, where that is kept for an audit:
            ``message`` as it was stored, and ``redacted_at``. Only :meth:`SessionCatalogue.originals` gives it out.
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
    originals: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)


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
    """What a catalogue says of one agent: ``totals`` as stored, ``config`` with name, model and prompt.

    Attributes:
        prompt_lineage: The last changes of model, prompt and prompt metadata, oldest first.
    """

    agent_id: str
    name: str | None
    message_count: int
    state: dict[str, Any]
    totals: dict[str, int]
    config: dict[str, Any]
    prompt_lineage: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSummary:
    """What a catalogue says of one session, without its messages. Dates are aware.

    Attributes:
        is_dated: Whether ``created_at`` is the stored date; of a session of the older layout it may stand in for none.
        expires_at: When it expires, ``None`` for never. What is held does not expire then.
        lifetime: Seconds after its last change at which it expires; ``None`` unless every change moves that on.
        is_held: Whether it is exempt from expiry.
        forked_from: The session that it was forked from, which may be deleted since.
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
    expires_at: datetime | None = None
    lifetime: float | None = None
    is_held: bool = False
    forked_from: str | None = None

    @property
    def message_count(self) -> int:
        """Messages of all agents together."""
        return sum(agent.message_count for agent in self.agents.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class OriginalMessage:
    """What a message said before it was redacted.

    Attributes:
        position: Its place in the history then.
        redacted_at: When it was redacted.
        message: What it said.
    """

    position: int
    redacted_at: datetime
    message: Message


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionPage:
    """Some sessions, the newest first. ``next_cursor`` is ``None`` on the last page."""

    items: list[SessionSummary]
    next_cursor: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeletionReceipt:
    """What was deleted of an owner.

    Attributes:
        sessions: How many sessions.
        messages: How many messages of all agents were in them.
        kept_in_forks: How many of his messages are left in forks that others made of his sessions.
    """

    sessions: int
    messages: int
    kept_in_forks: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionStatistics:
    """Sums over sessions that are there now.

    Attributes:
        sessions: How many.
        messages: How many messages of all their agents. What a fork took over counts in it too.
        totals: Tokens, calls and milliseconds by name, each spent once.
        days: How many of the sessions began on which day, in UTC; those without a date are left out.
    """

    sessions: int
    messages: int
    totals: dict[str, int]
    days: dict[date, int]


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
        metadata: Mapping[str, Any] | None = None,
        title: str | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        updated_after: datetime | None = None,
        updated_before: datetime | None = None,
        order: Order = "updated_at",
    ) -> SessionPage:
        """Sessions for which all that is given holds, newest first.

        Args:
            limit: How many at most.
            cursor: The ``next_cursor`` of the page before, which had the same order.
            owner: Whose.
            application_name: Of which application.
            metadata: What fields must be equal to; dotted keys address nested fields.
            title: A part of it, in any case.
            created_after: Begun then or later. Dates without a zone are UTC.
            created_before: Begun earlier.
            updated_after: Changed last then or later.
            updated_before: Changed last earlier.
            order: Which date decides what is newest.

        Raises:
            ValueError: ``limit`` is below 1, the cursor is not one of such a page, or an argument cannot be meant.
        """

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

    def rename(self, session_id: str, title: str | None) -> SessionSummary:
        """Give a session another title; ``None`` removes it."""

    def delete(self, session_id: str) -> bool:
        """Remove a session and all that belongs to it, held or not. ``False`` when there was none.

        Forks of it stay whole.
        """

    def delete_owner(self, owner: str) -> DeletionReceipt:
        """Remove all sessions of an owner, held or not, one after the other. Interrupted, a repeat goes on.

        Returns:
            What this call has removed, and what is left in forks of others.
        """

    def expire(self, session_id: str, seconds: float | None, *, rolling: bool = True) -> datetime | None:
        """Let a session expire: from then on it reads as absent, and :meth:`purge` removes it.

        Args:
            session_id: The session.
            seconds: From now on, or from its last change on; ``None`` for never.
            rolling: Whether every change of the session, such as a turn, begins the time anew.

        Returns:
            When it expires unless it changes.

        Raises:
            ValueError: ``seconds`` is not above 0.
        """

    def hold(self, session_id: str, held: bool = True) -> None:
        """Exempt a session from expiry until it is let go. Its time runs on; it can be deleted all the same."""

    def purge(self, *, limit: int = 1000) -> int:
        """Remove what has expired, was half deleted, or was half imported an hour ago; so many at most. How many."""

    def export(self, session_id: str) -> Iterable[str]:
        """A session as JSON Lines, in pieces that are read while they are iterated, plainly or asynchronously.

        Raises:
            SessionConflictError: While iterating: its history was cut meanwhile.
        """

    def import_lines(
        self, lines: Iterable[str | bytes], *, session_id: str | None = None, owner: str | None = None
    ) -> SessionSummary:
        """Make a session of what :meth:`export` gave. It can be seen when all of it is there.

        Args:
            lines: Of the export, in order; each is read once.
            session_id: Its id, instead of the one that it had.
            owner: Whose it is, instead of who had it.

        Raises:
            SessionError: The session exists.
            ValueError: A line is damaged or missing; the message says which.
        """

    def fork(
        self,
        session_id: str,
        new_id: str,
        *,
        agent_id: str = "default",
        at: int | None = None,
        owner: str | None = None,
        title: str | None = None,
    ) -> SessionSummary:
        """Begin another session with the history of one agent up to a position. Nothing of the session changes.

        Title, owner, application, metadata and expiry are taken over, and the agent's state as it is now; feedback and
        totals are not. If something is cut off, what hangs on it goes as with :meth:`rewind`.

        Args:
            session_id: The session.
            new_id: The id of the fork.
            agent_id: Whose history.
            at: How many messages it begins with, ``None`` for all.
            owner: Whose the fork is, if not the session's.
            title: Its title, if not the session's.

        Raises:
            SessionNotFoundError: There is no such session or agent.
            SessionError: ``new_id`` exists.
            ValueError: There is no such position, or it lies between a tool use and its result.
        """

    def rewind(
        self, session_id: str, position: int, *, agent_id: str = "default", turn_timeout: float = 30.0
    ) -> AgentSummary:
        """Cut the history of an agent, so that ``position`` messages are left.

        Its state stays as it is. An interrupt that waits for an answer is dropped, and what a stateful model remembers.
        Where the conversation manager had left out everything before the position, as many messages as it had kept are
        given to the agent again, from a question on, and its summary is dropped.

        Args:
            session_id: The session.
            position: How many messages are left.
            agent_id: Whose history.
            turn_timeout: Seconds after which a turn that is not renewed has expired.

        Raises:
            SessionBusyError: A turn of that agent is running.
            SessionConflictError: The history changed meanwhile.
            SessionNotFoundError: There is no such session or agent.
            ValueError: There is no such position, or it lies between a tool use and its result.
        """

    def redact(
        self,
        session_id: str,
        position: int,
        replacement: str = "[redacted]",
        *,
        agent_id: str = "default",
        turn_timeout: float = 30.0,
    ) -> list[str]:
        """Replace what a message says, here and in all forks that took it over. A repeat finishes what was interrupted.

        Tool uses and results keep their ids and names, so that they still fit. Where the catalogue was made with
        ``redacted_originals="keep"``, :meth:`originals` still tells what it said.

        Returns:
            The sessions in which it was replaced.

        Raises:
            SessionBusyError: A turn of that agent is running here or in a fork; the others are done.
            SessionNotFoundError: There is no such session or agent.
            ValueError: There is no message at that position.
        """

    def originals(self, session_id: str, agent_id: str = "default") -> list[OriginalMessage]:
        """What redacted messages of an agent said, by position, as far as that was kept for an audit.

        Nothing else gives it out: neither histories nor exports nor the agent. It goes with the session.
        """

    def statistics(self, *, owner: str | None = None, application_name: str | None = None) -> SessionStatistics:
        """Sums over all sessions, or those of an owner or an application."""

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

    def update_agent_config(
        self, session_id: str, agent_id: str, config: Mapping[str, Any], *, changed_by: str | None = None
    ) -> None:
        """Set ``model``, ``system_prompt`` or ``prompt_metadata``.

        Raises:
            SessionNotFoundError: There is no such session or agent.
            ValueError: It is another field.
        """
