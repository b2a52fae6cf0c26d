"""One session in memory: what was loaded of its agents, and what is to be written.

To the SDK this is a repository; it answers reads from what was loaded and records writes. ``flush`` turns what was
recorded for one agent into one atomic change.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from datetime import datetime
from typing import TYPE_CHECKING, Any

from strands.session.session_repository import SessionRepository
from strands.types.session import Session, SessionAgent, SessionMessage, SessionType

from . import documents
from .codec import decode, encode
from .errors import SessionBusyError, SessionError, SessionNotFoundError
from .records import Record
from .store import Commit, LoadedAgent, Part, SessionStore

if TYPE_CHECKING:
    from strands.multiagent.base import MultiAgentBase

__all__ = ["UnitOfWork"]


class UnitOfWork(SessionRepository):
    """The SDK's repository over one loaded session and its recorded changes.

    A write by the manager itself is only recorded (inside :meth:`recording`); one by anybody else is handed to
    ``write_through`` at once.

    Attributes:
        session_id: The only session that this serves.
        found: Whether the session was ever seen in the database by this object; from then on it is not created again.
        created_at: When it was created, which tells it from a later one under its id; ``None`` while that is unknown.
        owner: Whose the session is: as stored, or what a new one starts with.
        write_through: What to do after a write from outside, while somebody is there to do it; otherwise it is flushed.
    """

    def __init__(
        self,
        session_id: str,
        store: SessionStore,
        *,
        turn_timeout: float = 30.0,
        session_fields: Mapping[str, Any] | None = None,
        drops_binary: bool = False,
        keeps_originals: bool = False,
    ) -> None:
        """Serve one session; no I/O.

        Args:
            session_id: Any text that UTF-8 can express.
            store: Where the session lies.
            turn_timeout: Seconds after which a turn that is not renewed has expired.
            session_fields: What a new session starts with, such as ``application_name``.
            drops_binary: Whether a note takes the place of large binary content.
            keeps_originals: Whether what redacted messages said is kept for an audit.
        """
        self.drops_binary = drops_binary
        self.keeps_originals = keeps_originals
        self.session_id = documents.valid_session_id(session_id)
        self.store = store
        self.turn_timeout = turn_timeout
        self.session_fields = dict(session_fields or {})
        self.found = False
        self.write_through: weakref.WeakMethod[Callable[[Record], None]] | None = None
        self.created_at: datetime | None = None
        self.owner: str | None = self.session_fields.get("owner")
        self._records: dict[tuple[Part, str], Record] = {}
        self._lock = threading.Lock()
        self._here = threading.local()

    # Loading and flushing: the only I/O

    def record(self, agent_id: str, part: Part = "agents") -> Record:
        """What is known of one agent, loaded if it was not yet."""
        with self._lock:
            known = self._records.get((part, agent_id))
        return known or self.load(agent_id, part)

    def known(self, agent_id: str, part: Part = "agents") -> Record | None:
        """What is known of one agent, ``None`` when nothing was loaded. No I/O."""
        return self._records.get((part, agent_id))

    def load(self, agent_id: str, part: Part = "agents") -> Record:
        """Read one agent, again if it was read before; what was recorded of it is forgotten.

        Raises:
            SessionNotFoundError: The session was seen before and is gone, or is another one under the same id.
        """
        known = self.known(agent_id, part)
        # A flush whose caller was cancelled may still be running; what it leaves behind is to be read.
        with known.flushing if known else nullcontext():
            loaded = self.store.load(self.session_id, agent_id, part)
            self._same_session(loaded, agent_id)
            with self._lock:
                record = self._records.get((part, agent_id))
                if record is None:
                    record = Record(
                        self.session_id,
                        part,
                        agent_id,
                        loaded,
                        drops_binary=self.drops_binary,
                        keeps_originals=self.keeps_originals,
                    )
                    self._records[part, agent_id] = record
                    return record
            record.reset(loaded)
            return record

    def _same_session(self, loaded: LoadedAgent, agent_id: str) -> None:
        if self.found and (not loaded.found or self.created_at not in (None, loaded.created_at)):
            raise SessionNotFoundError(
                f"session {self.session_id!r} was deleted; make a new session manager to start again under its id",
                session_id=self.session_id,
                agent_id=agent_id,
            )
        if loaded.found:
            self.found = True
            self.created_at = self.created_at or loaded.created_at
            self.owner = loaded.session_owner

    def seen(self, created_at: datetime | None = None) -> None:
        """The session exists: something of it was written or read beside a turn."""
        self.found = True
        self.created_at = self.created_at or created_at

    def flush(
        self,
        record: Record,
        *,
        claim: bool = False,
        release: bool = False,
        changes_only: bool = False,
        turn: int | None = None,
    ) -> None:
        """Write what was recorded of one agent, in as few changes as the database allows, usually one.

        Args:
            record: From :meth:`record`.
            claim: Make the turn ours even if nothing is recorded.
            release: Give the turn back.
            changes_only: Write only changes of messages that are stored already.
            turn: Which turn to give back, as the record's ``opened`` counts; a later one is kept.

        Raises:
            SessionError: The change was refused. Nothing of this agent is written until it is loaded again.
        """
        with record.flushing:
            if record.refusal is not None:
                self._flush_refused(record, release)
                return
            if record.unfinished is not None:
                self._send(record, record.unfinished)
            # An agent that was loaded before its session was there belongs to the one that was created then.
            record.loaded.created_at = record.loaded.created_at or self.created_at
            again = claim and record.has_lapsed(self.turn_timeout)
            while commit := record.next_commit(
                claim=claim,
                again=again,
                release=release,
                create=not self.found,
                session=self.session_fields,
                changes_only=changes_only,
                turn=turn,
            ):
                self._send(record, commit)
                again = False

    def claim(self, record: Record) -> bool:
        """Take the turn of one agent before anything of it is written, and learn whether its history moved on.

        Returns:
            Whether it did: what was recorded is forgotten then, and the agent is to be restored.

        Raises:
            SessionBusyError: Another turn is running.
            SessionNotFoundError: The session was deleted.
        """
        with record.flushing:
            if record.unfinished is not None:
                self._send(record, record.unfinished)
            record.loaded.created_at = record.loaded.created_at or self.created_at
            claim = record.next_claim(None if self.found else self.session_fields)
            sent_at = time.monotonic()
            before = self.store.claim(self.session_id, claim, self.turn_timeout)
            self._same_session(before, record.agent_id)
            return record.taken(claim, before, sent_at)

    @property
    def pending(self) -> int:
        """How many changes of any agent are recorded and not known to be stored."""
        return sum(record.pending for record in list(self._records.values()))

    def flush_pending(self) -> None:
        """Write what is recorded of any agent. An agent that was only made and never used is not worth a session."""
        for record in list(self._records.values()):
            record.report()
            if record.is_pending and record.refusal is None:
                self.flush(record)

    def _flush_refused(self, record: Record, release: bool) -> None:
        if not release:
            raise record.refusal.again() if record.refusal else AssertionError
        if commit := record.release_only():
            self.store.commit(self.session_id, commit, self.turn_timeout)
            record.claimed = False

    def _send(self, record: Record, commit: Commit) -> None:
        sent_at = time.monotonic()
        try:
            committed = self.store.commit(self.session_id, commit, self.turn_timeout)
        except SessionError as error:
            if record.claimed and isinstance(error, SessionBusyError):
                # To wait is no remedy for who had the turn and lost it: the history moves on.
                lost = record.taken_over()
                record.refuse(lost)
                raise lost from error
            record.refuse(error)
            raise
        record.applied(commit, committed, sent_at)
        self.seen(committed.created_at)

    def renew(self, record: Record) -> bool:
        """Extend the turn of one agent, unless it ended meanwhile. ``False`` when another writer has it."""
        if not record.flushing.acquire(blocking=False):
            return True
        try:
            sent_at = time.monotonic()
            if not record.claimed:
                return True
            if not self.store.renew(self.session_id, record.loaded.at, record.owner):
                return False
            record.stamped = sent_at
            return True
        finally:
            record.flushing.release()

    # The SDK's repository

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Only record what this thread writes."""
        outer = self._recording
        self._here.recording = True
        try:
            yield
        finally:
            self._here.recording = outer

    @property
    def _recording(self) -> bool:
        return getattr(self._here, "recording", False)

    def _written(self, record: Record) -> None:
        if not self._recording:
            write_through = self.write_through and self.write_through()
            (write_through or self.flush)(record)

    def _mine(self, session_id: str) -> None:
        if session_id != self.session_id:
            raise SessionNotFoundError(
                f"session {session_id!r} is not served here, only {self.session_id!r} is", session_id=session_id
            )

    def _existing(self, session_id: str, agent_id: str) -> Record:
        self._mine(session_id)
        record = self.record(agent_id)
        if not record.data:
            raise SessionError(
                f"agent {agent_id!r} in session {session_id!r} does not exist",
                session_id=session_id,
                agent_id=agent_id,
            )
        return record

    def create_session(self, session: Session, **kwargs: Any) -> Session:
        """Accept the session; its first write creates it."""
        self._mine(session.session_id)
        return session

    def read_session(self, session_id: str, **kwargs: Any) -> Session | None:
        """A placeholder without I/O: the SDK's constructor asks, and only a load knows."""
        self._mine(session_id)
        return Session(session_id=session_id, session_type=SessionType.AGENT)

    def create_agent(self, session_id: str, session_agent: SessionAgent, **kwargs: Any) -> None:
        """Record a new agent."""
        self._mine(session_id)
        record = self.record(session_agent.agent_id)
        record.set_data(documents.agent_data(session_agent))
        self._written(record)

    def read_agent(self, session_id: str, agent_id: str, **kwargs: Any) -> SessionAgent | None:
        """The agent as loaded and recorded, ``None`` if there is none."""
        self._mine(session_id)
        record = self.record(agent_id)
        if not record.data:
            return None
        agent = documents.session_agent(agent_id, record.data, record.loaded.dates)
        agent.conversation_manager_state = agent.conversation_manager_state or record.default_conversation_state
        return agent

    def update_agent(self, session_id: str, session_agent: SessionAgent, **kwargs: Any) -> None:
        """Record the agent's state as far as it changed."""
        record = self._existing(session_id, session_agent.agent_id)
        record.set_data(documents.agent_data(session_agent))
        self._written(record)

    def create_message(self, session_id: str, agent_id: str, session_message: SessionMessage, **kwargs: Any) -> None:
        """Record a message at the end of the history.

        Raises:
            ValueError: A caller from outside gave another id than the next one.
        """
        record = self._existing(session_id, agent_id)
        if not self._recording and session_message.message_id != record.next_position:
            raise ValueError(
                f"message_id {session_message.message_id} is not the next one of agent {agent_id!r}, which is"
                f" {record.next_position}; use update_message for a message that exists"
            )
        record.add_message(session_message)
        self._written(record)

    def read_message(self, session_id: str, agent_id: str, message_id: int, **kwargs: Any) -> SessionMessage | None:
        """One message by its position, ``None`` if there is none."""
        if message_id < 0:
            return None
        return next(iter(self.list_messages(session_id, agent_id, limit=1, offset=message_id)), None)

    def update_message(self, session_id: str, agent_id: str, session_message: SessionMessage, **kwargs: Any) -> None:
        """Record that a message was replaced or redacted."""
        record = self._existing(session_id, agent_id)
        record.change_message(session_message)
        self._written(record)

    def list_messages(
        self, session_id: str, agent_id: str, limit: int | None = None, offset: int = 0, **kwargs: Any
    ) -> list[SessionMessage]:
        """Messages from a position on, oldest first.

        Raises:
            ValueError: ``limit`` or ``offset`` is negative.
        """
        if offset < 0 or (limit is not None and limit < 0):
            raise ValueError(f"limit and offset must not be negative: limit={limit}, offset={offset}")
        record = self._existing(session_id, agent_id)
        end = record.next_position if limit is None else offset + limit
        if offset >= end:
            return []
        again = None
        if offset < record.loaded.first:
            again = self.store.messages(self.session_id, agent_id, offset, limit)
        return [message for message in record.window(again) if offset <= message.message_id < end]

    def create_multi_agent(self, session_id: str, multi_agent: MultiAgentBase, **kwargs: Any) -> None:
        """Record a new graph's state."""
        self.update_multi_agent(session_id, multi_agent)

    def read_multi_agent(self, session_id: str, multi_agent_id: str, **kwargs: Any) -> dict[str, Any] | None:
        """The graph's state as loaded and recorded, ``None`` if there is none."""
        self._mine(session_id)
        state = self.record(multi_agent_id, "multi_agents").data.get("state")
        return None if state is None else dict(decode(state))

    def update_multi_agent(self, session_id: str, multi_agent: MultiAgentBase, **kwargs: Any) -> None:
        """Record the graph's state as far as it changed."""
        self._mine(session_id)
        record = self.record(multi_agent.id, "multi_agents")
        record.set_data({"state": encode(multi_agent.serialize_state())})
        self._written(record)
