"""What was loaded of one agent, what was recorded since, and the turn it is in. No I/O.

Everything recorded is encoded at once and everything handed out is a copy, because the agent goes on changing its own
dictionaries while a flush sends them.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import bson
from strands.types.content import Message
from strands.types.session import SessionMessage

from . import documents
from .codec import encode
from .errors import SessionConflictError, SessionError, SessionTooLargeError
from .large_values import without_binary
from .metrics import Counters, difference, turn_metrics
from .store import Claim, Commit, Committed, LoadedAgent, Part

__all__ = ["Invocation", "Record"]

_LARGEST_STATE = 12 * 1024 * 1024
_MOST_KEPT = 200
_MOST_KEPT_BYTES = 1024 * 1024
_NEWEST = 40
"""An agent that lives on for many turns lets all but its newest messages go when it has kept so many."""


@dataclass(eq=False, slots=True)
class Invocation:
    """An invocation of an agent. ``depth`` counts it and those inside it, and is 0 when all have ended."""

    depth: int = 1


class Record:
    """One agent of one session, or one graph.

    Two locks: ``flushing`` is held for a whole flush, input and output included; the inner one guards the fields and
    is never held while anything waits, so that an event loop may record while a flush runs.

    Attributes:
        loaded: What the store read last; ``at``, ``revision`` and ``count`` move on with every flush.
        owner: The token under which this agent holds turns.
        refusal: Why nothing of this agent is written any more until it is reloaded.
        unfinished: A commit whose outcome is not known; it is sent again before anything else.
        turn_open: Whether an invocation is running.
        claimed: Whether the stored turn is ours.
        restored: Whether the agent has been given what was loaded last; until then nothing of it may be written.
        invoking: The invocation that runs in the open turn, or ran last.
        was_interrupted: Whether a refusal ended an interrupt in the agent's memory.
        kept_open: How many hands hold the turn open beside invocations.
        opened: How many turns were opened, which tells one from the next.
        direct_call: Whether a tool called by hand may be about to be recorded.
        failure: What ended the turn, to be raised when the application's hooks have run.
        stored_form: What is stored in the place of a message.
        outage: Since when the running invocation knows that the database cannot be reached, and the error.
        unreported: Why what was held during an outage was refused in the end, for whoever uses the agent next.
        default_conversation_state: Stands in where an older writer stored none.
        last_event: When the agent was last heard of, on the monotonic clock.
        stamped: When the last claim or renewal of the turn was sent, on the monotonic clock.
    """

    def __init__(
        self,
        session_id: str,
        part: Part,
        agent_id: str,
        loaded: LoadedAgent,
        *,
        drops_binary: bool = False,
        keeps_originals: bool = False,
    ) -> None:
        """Start from what was loaded.

        Args:
            session_id: The session.
            part: Whether it is an agent or a graph.
            agent_id: Its id.
            loaded: From the store.
            drops_binary: Whether a note takes the place of large binary content.
            keeps_originals: Whether what a redacted message said is kept for an audit.
        """
        self.stored_form = without_binary if drops_binary else _as_it_is
        self._keeps_originals = keeps_originals
        self.session_id = session_id
        self.part: Part = part
        self.agent_id = agent_id
        self.owner = secrets.token_urlsafe(12)
        self.flushing = threading.Lock()
        self.turn_open = self.claimed = self.was_interrupted = False
        self.invoking = Invocation(depth=0)
        self.kept_open = self.opened = 0
        self.last_event = self.stamped = time.monotonic()
        self.default_conversation_state: dict[str, Any] = {}
        self.direct_call = False
        self.failure: Exception | None = None
        self.unreported: Exception | None = None
        self.outage: tuple[float, Exception] | None = None
        self._lock = threading.RLock()
        self._counters: Counters = {}
        self._counted: Counters = {}
        self._dropped: list[Message] = []
        self.reset(loaded)

    def reset(self, loaded: LoadedAgent) -> None:
        """Start again from what was loaded; whatever was recorded is forgotten."""
        with self._lock:
            self.loaded = loaded
            self.restored = False
            # A reload inside a turn held by hand does not end it; if it was lost, the next write tells.
            self.claimed = self.claimed and self.turn_open
            self.refusal: SessionError | None = None
            self.unfinished: Commit | None = None
            self._known: dict[str, Any] = dict(loaded.data or {})
            self._data: dict[str, Any] = {}
            self._messages: list[tuple[dict[str, Any], Message]] = []
            self._changes: dict[int, dict[str, Any]] = {}
            self._originals: dict[int, dict[str, Any]] = {}
            self._kept_bytes = 0
            self._turn_start = self.next_position
            self._turn_counted = dict(self._counters)

    # What is read

    @property
    def data(self) -> dict[str, Any]:
        """``agent_data`` as it will be stored."""
        with self._lock:
            return {**self._known, **self._data}

    @property
    def next_position(self) -> int:
        """The id of the next message."""
        return self.loaded.count + len(self._messages)

    @property
    def has_changes(self) -> bool:
        """Whether a message that is stored already was changed."""
        return bool(self._changes)

    @property
    def pending(self) -> int:
        """How many changes are recorded and not known to be stored; a loss counts until it is told."""
        with self._lock:
            sent = self.unfinished
            changes = len(self._changes) + (len(sent.changes) if sent else 0)
            told = len(self._messages) + changes + bool(self._data or (sent and sent.data))
            return told + (self.unreported is not None)

    def report(self) -> None:
        """Raise, once, why what was held during an outage was refused in the end."""
        error, self.unreported = self.unreported, None
        if error is not None:
            raise error

    @property
    def is_pending(self) -> bool:
        """Whether something is recorded that a session is worth creating or changing for."""
        with self._lock:
            changed = self._data and self.loaded.data is not None
            return bool(self._messages or self._changes or changed or self.unfinished)

    def window(self, loaded: LoadedAgent | None = None) -> list[SessionMessage]:
        """Messages as they will be stored.

        Args:
            loaded: The stored ones, when they were read again; otherwise those of the load.
        """
        with self._lock:
            source = loaded or self.loaded
            found = dict(enumerate(source.messages, source.first))
            found |= {at: found[at] | fields for at, fields in self._changes.items() if at in found}
            found |= dict(enumerate((document for document, _ in self._messages), self.loaded.count))
            return [documents.session_message(document, position) for position, document in found.items()]

    def position_of(self, tracking_id: str) -> int | None:
        """Where a message with this tracking id is, as far as the newest messages tell."""
        with self._lock:
            positions = (at for at, stored in self._tail() if stored["message"].get("tracking_id") == tracking_id)
            return max(positions, default=None)

    def message_at(self, position: int) -> dict[str, Any] | None:
        """The stored values of one of the newest messages, or ``None``."""
        with self._lock:
            document = dict(self._tail()).get(position)
            message: dict[str, Any] | None = None if document is None else document["message"]
            return message

    def _tail(self) -> Iterator[tuple[int, dict[str, Any]]]:
        yield from enumerate(self.loaded.messages, self.loaded.first)
        yield from enumerate((document for document, _ in self._messages), self.loaded.count)

    def unanswered_tool_use(self) -> bool:
        """Whether the recorded messages end in a tool use that has no result yet."""
        with self._lock:
            open_ids: set[Any] = set()
            for _, message in self._messages:
                blocks = message["content"]
                open_ids |= {block["toolUse"]["toolUseId"] for block in blocks if "toolUse" in block}
                open_ids -= {block["toolResult"]["toolUseId"] for block in blocks if "toolResult" in block}
            return bool(open_ids)

    # What is recorded

    def add_message(self, message: SessionMessage) -> None:
        """Record a message at the end of the history; its id becomes its position."""
        with self._lock:
            message.message_id = self.next_position
            document = documents.message_document(message, self.stored_form(message.message))
            self._messages.append((document, message.message))

    def change_message(self, message: SessionMessage) -> None:
        """Record that a message was replaced or redacted.

        Raises:
            SessionError: There is no message at its position.
        """
        position = message.message_id
        with self._lock:
            if not 0 <= position < self.next_position:
                raise SessionError(
                    f"message {position} of agent {self.agent_id!r} in session {self.session_id!r} does not exist",
                    session_id=self.session_id,
                    agent_id=self.agent_id,
                )
            fields = documents.message_changes(message, self.stored_form(message.message))
            if self._keeps_originals and message.redact_message is not None and not self._is_redacted(position):
                # As it was recorded: the SDK has changed its own object already.
                said = self.message_at(position) or encode(self.stored_form(message.message))
                self._originals.setdefault(position, {"message": dict(said), "redacted_at": fields["updated_at"]})
            if position < self.loaded.count:
                self._changes.setdefault(position, {}).update(fields)
                return
            self._messages[position - self.loaded.count][0].update(fields)
            if self.unfinished and position < self.loaded.count + len(self.unfinished.messages):
                # It is on its way as it was, so the change follows it.
                self._changes.setdefault(position, {}).update(fields)

    def _is_redacted(self, position: int) -> bool:
        """Whether what is left of a message is no original, as far as anybody looks back."""
        if position >= self.loaded.count:
            return self._messages[position - self.loaded.count][0].get("redact_message") is not None
        at = position - self.loaded.first
        stored = self.loaded.messages[at] if 0 <= at < len(self.loaded.messages) else {}
        return {**stored, **self._changes.get(position, {})}.get("redact_message") is not None

    def replace(self, position: int, message: Message) -> None:
        """The agent holds another object now for a message that was changed."""
        with self._lock:
            at = position - self.loaded.count
            if at >= 0:
                self._messages[at] = (self._messages[at][0], message)

    def set_data(self, fields: Mapping[str, Any]) -> None:
        """Record those stored fields of ``agent_data`` that differ from what the database has."""
        for name, value in fields.items():
            if _size(value) > _LARGEST_STATE:
                raise SessionTooLargeError(
                    f"{name} of agent {self.agent_id!r} in session {self.session_id!r} is above 12 MB;"
                    " keep large values outside the state",
                    session_id=self.session_id,
                    agent_id=self.agent_id,
                )
        with self._lock:
            for name, value in fields.items():
                if name in self._known and _same(self._known[name], value):
                    self._data.pop(name, None)
                    continue
                self._data[name] = value

    def count_calls(self, counters: Counters) -> None:
        """Note what the agent's counters say."""
        with self._lock:
            self._counters = counters

    def start_counting(self, counters: Counters) -> None:
        """Take what the agent counted before it came to this session as not of this session."""
        with self._lock:
            self._counters = dict(counters)
            self._counted = dict(counters)
            self._turn_counted = dict(counters)

    # The turn

    def open_turn(self) -> None:
        """An invocation begins. Stores nothing."""
        with self._lock:
            self.turn_open = True
            self.opened += 1
            self._turn_start = self.next_position
            self._turn_counted = dict(self._counters)

    def has_lapsed(self, turn_timeout: float) -> bool:
        """Whether the turn is ours no longer for certain: nobody extended it for as long as it lasts."""
        return self.claimed and time.monotonic() - self.stamped > turn_timeout

    def taken_over(self) -> SessionConflictError:
        """What is wrong when a turn that was ours is somebody else's."""
        return SessionConflictError(
            f"the turn of agent {self.agent_id!r} in session {self.session_id!r} was taken over by another writer;"
            " reload it and try again",
            session_id=self.session_id,
            agent_id=self.agent_id,
        )

    @property
    def is_held(self) -> bool:
        """Whether an invocation, or a hand, still needs the turn."""
        return self.kept_open > 0 or self.invoking.depth > 0

    def touch(self) -> None:
        """The agent was heard of."""
        self.last_event = time.monotonic()

    # What is sent

    def next_commit(
        self,
        *,
        claim: bool,
        release: bool,
        create: bool,
        session: Mapping[str, Any],
        changes_only: bool,
        again: bool = False,
        turn: int | None = None,
    ) -> Commit | None:
        """The next change to send, ``None`` when there is nothing to do.

        Changes of stored messages come first and alone: MongoDB refuses to set an element and to append in one update.

        Args:
            claim: Whether the turn must be ours afterwards even if nothing is recorded.
            release: Whether the turn ends.
            create: Whether the session may be created.
            session: Fields of a new session.
            changes_only: Leave everything but changes of stored messages for later.
            again: Whether the turn must be extended even if nothing is recorded.
            turn: Which turn ends, as ``opened`` counts; a later one does not.
        """
        with self._lock:
            release = release and turn in (None, self.opened)
            if self._changes:
                changes, self._changes = self._changes, {}
                self.unfinished = self._commit(
                    changes=changes,
                    create=create,
                    session=session,
                    holds=self.turn_open,
                    originals=self._kept_originals(self.loaded.count),
                )
                return self.unfinished
            if changes_only:
                return None
            missing = claim and self.turn_open and not self.claimed
            needed = missing or again or self._messages or self._data or (self.claimed and release)
            if not needed:
                return None
            changes = self._note_turn_metrics() if release else {}
            self.unfinished = self._commit(
                changes=changes,
                create=create,
                session=session,
                holds=self.turn_open and not release,
                messages=[dict(document) for document, _ in self._messages],
                data=self._data,
                totals=difference(self._counters, self._counted),
                originals=self._kept_originals(self.next_position),
            )
            self._known.update(self._data)
            self._data = {}
            return self.unfinished

    def _kept_originals(self, end: int) -> dict[int, dict[str, Any]]:
        """What is to be kept for an audit of messages before a position, once."""
        due = [position for position in self._originals if position < end]
        return {position: self._originals.pop(position) for position in due}

    def next_claim(self, session: Mapping[str, Any] | None) -> Claim:
        """Taking the turn before anything is written.

        Args:
            session: If the session may be created, the fields that it then starts with.
        """
        return Claim(
            part=self.part,
            agent_id=self.agent_id,
            at=self.loaded.at,
            revision=secrets.token_urlsafe(12),
            owner=self.owner,
            created_at=self.loaded.created_at,
            session=session,
        )

    def taken(self, claim: Claim, before: LoadedAgent, sent_at: float) -> bool:
        """The turn is ours, by a claim sent then on the monotonic clock.

        Returns:
            Whether the history moved on since it was loaded: what was recorded is forgotten then, and the agent is to
            be restored from what is there now.
        """
        with self._lock:
            known = (self.loaded.revision, self.loaded.count)
            moved = (before.data, self.loaded.data) != (None, None) and (before.revision, before.count) != known
            if moved:
                self.reset(before)
            self.loaded.found, self.loaded.remains = True, False
            self.loaded.at, self.loaded.created_at = before.at, before.created_at
            self.loaded.revision, self.loaded.turn = claim.revision, False
            self.claimed, self.stamped = True, sent_at
            return moved

    def release_only(self) -> Commit | None:
        """Give back a turn of which nothing else may be written, ``None`` when it is not ours."""
        with self._lock:
            return self._commit(holds=False) if self.claimed else None

    def _commit(
        self,
        *,
        holds: bool,
        create: bool = False,
        session: Mapping[str, Any] | None = None,
        changes: Mapping[int, Mapping[str, Any]] | None = None,
        messages: list[dict[str, Any]] | None = None,
        data: Mapping[str, Any] | None = None,
        totals: Mapping[str, int] | None = None,
        originals: Mapping[int, Mapping[str, Any]] | None = None,
    ) -> Commit:
        return Commit(
            part=self.part,
            agent_id=self.agent_id,
            at=self.loaded.at,
            expected=self.loaded.revision,
            revision=secrets.token_urlsafe(12),
            owner=self.owner,
            contested=self.loaded.turn,
            holds=holds,
            create=create,
            created_at=self.loaded.created_at,
            remains=create and self.loaded.remains,
            session=session or {},
            new=self.loaded.data is None,
            data=data or {},
            count=self.loaded.count + len(messages or ()),
            messages=messages or [],
            changes=changes or {},
            totals=totals or {},
            originals=originals or {},
        )

    def _note_turn_metrics(self) -> dict[int, dict[str, Any]]:
        """Put the turn's cost on its last message; a change of that message when it is stored already."""
        counted = difference(self._counters, self._turn_counted)
        if not counted or self._turn_start >= self.next_position:
            return {}
        fields = {"event_loop_metrics": turn_metrics(counted)}
        if not self._messages:
            return {self.loaded.count - 1: fields}
        self._messages[-1][0].update(fields)
        return {}

    def applied(self, commit: Commit, committed: Committed, sent_at: float) -> None:
        """The database holds this commit, sent then on the monotonic clock."""
        grown = sum(map(_size, commit.messages))
        with self._lock:
            self.unfinished = None
            loaded = self.loaded
            loaded.found, loaded.remains = True, False
            loaded.revision, loaded.turn = commit.revision, False
            loaded.data = self._known
            loaded.at, loaded.count = committed.at, commit.count
            del self._messages[: len(commit.messages)]
            self._keep(commit, grown)
            for name, value in commit.totals.items():
                self._counted[name] = self._counted.get(name, 0) + value
            self.claimed = commit.holds
            self.stamped = sent_at

    def _keep(self, commit: Commit, grown: int) -> None:
        """Follow the stored tail, as far back as anybody looks."""
        loaded = self.loaded
        for position, fields in commit.changes.items():
            if position >= loaded.first:
                loaded.messages[position - loaded.first].update(fields)
        loaded.messages += [dict(document) for document in commit.messages]
        self._kept_bytes += grown
        if len(loaded.messages) > _MOST_KEPT or self._kept_bytes > _MOST_KEPT_BYTES:
            self._kept_bytes = 0
            surplus = max(0, len(loaded.messages) - _NEWEST)
            del loaded.messages[:surplus]
            loaded.first += surplus

    def refuse(self, error: SessionError) -> None:
        """Nothing recorded will be stored: forget it, and remember why."""
        with self._lock:
            self.refusal = error
            self.unfinished = None
            # What the agent brought along before this turn stays with it, and is recorded again when it reloads.
            earlier = max(0, self._turn_start - self.loaded.count) if self.loaded.data is None else 0
            self._dropped += [message for _, message in self._messages[earlier:]]
            self._messages, self._changes, self._data, self._originals = [], {}, {}, {}
            # Too large says nothing about the turn, so it is still ours to give back.
            self.claimed = self.claimed and isinstance(error, SessionTooLargeError)

    def take_dropped(self) -> list[Message]:
        """The messages that a refusal discarded, once."""
        with self._lock:
            dropped, self._dropped = self._dropped, []
            return dropped


def _as_it_is(message: Message) -> Message:
    return message


def _same(one: Any, other: Any) -> bool:
    """Whether two stored values are the same to the byte: ``1``, ``1.0`` and ``True`` are not."""
    if type(one) is str and type(other) is str:
        return one == other
    return bson.encode({"": one}) == bson.encode({"": other})


def _size(value: Any) -> int:
    return len(bson.encode({"": value})) if isinstance(value, (dict, list)) else 0
