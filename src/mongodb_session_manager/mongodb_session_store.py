"""MongoDB for a turn: one find to load, one update to commit."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeVar

import pymongo
from pymongo import MongoClient
from pymongo.errors import (
    AutoReconnect,
    ConnectionFailure,
    DocumentTooLarge,
    DuplicateKeyError,
    ExecutionTimeout,
    OperationFailure,
    PyMongoError,
    WriteConcernError,
)
from pymongo.read_concern import ReadConcern

from .archive import Archive, Made, room_for
from .codec import size
from .documents import addresses, aware, valid_session_id
from .errors import (
    SessionBusyError,
    SessionConflictError,
    SessionError,
    SessionNotFoundError,
    SessionTooLargeError,
)
from .large_values import LARGEST_MESSAGE
from .mongodb_collection import (
    database_attributes,
    in_time,
    is_electing,
    knows_server,
    max_concurrency,
    noted,
    open_collection,
    patience,
    prepare,
)
from .mongodb_commands import (
    TOO_LARGE,
    Tail,
    Window,
    claim_filter,
    claim_update,
    commit_filter,
    commit_update,
    load_projection,
    measured,
    new_session,
    standing_projection,
)
from .store import Claim, Commit, Committed, LoadedAgent, Part
from .telemetry import WRITTEN, add, traced

__all__ = ["MongoDBSessionStore"]

_Result = TypeVar("_Result")

_IN_DOUBT = (AutoReconnect, WriteConcernError, ExecutionTimeout)
"""Failures after which the write may have been applied or not."""

_ATTEMPTS = 4
_PAUSE = 0.1
"""Seconds more before each look, so that a majority can catch up with a primary."""

_MOMENT = 0.5
"""Seconds without which another attempt is not worth while."""

_ELECTIONS = 3
"""How many times as long a call may take while the members of a replica set elect a primary."""

_NOT_A_REPLICA_SET = 123


@traced(lambda store: database_attributes(store.collection), "load", "messages", "commit", "claim")
class MongoDBSessionStore:
    """A :class:`~mongodb_session_manager.SessionStore` on one collection, one document a session.

    Whatever the client says, a turn reads from the primary and writes with majority, journalled.
    """

    def __init__(
        self,
        client: MongoClient[Any],
        database_name: str = "database_name",
        collection_name: str = "collection_name",
        metadata_fields: Sequence[str] | None = None,
    ) -> None:
        """Address the collection; no I/O.

        Args:
            client: Borrowed; never closed here.
            database_name: Its database.
            collection_name: Its collection.
            metadata_fields: Names below ``metadata`` that get an index each.

        Raises:
            ValueError: The client's write concern is unacknowledged.
        """
        self.client = client
        self.metadata_fields = tuple(metadata_fields or ())
        self.collection = open_collection(client, database_name, collection_name)
        self.archive = Archive(self.collection)

    @property
    def max_concurrency(self) -> int:
        """The size of the client's connection pool."""
        return max_concurrency(self.client)

    @property
    def outages(self) -> tuple[type[Exception], ...]:
        """What the driver raises while the server cannot be reached or cannot write."""
        return (ConnectionFailure, *_IN_DOUBT)

    def load(self, session_id: str, agent_id: str, part: Part = "agents") -> LoadedAgent:
        """See :class:`~mongodb_session_manager.SessionStore`. One find; more for what lies in the archive."""
        with noted(session_id):
            prepare(self.collection, self.metadata_fields)
            places = addresses(part, agent_id)
            return self._outliving_elections(
                lambda: self.archive.load(session_id, agent_id, places, graph=part == "multi_agents")
            )

    def messages(self, session_id: str, agent_id: str, offset: int = 0, limit: int | None = None) -> LoadedAgent:
        """See :class:`~mongodb_session_manager.SessionStore`. One find; more for what lies in the archive."""
        window = Window(start=offset, stop=None if limit is None else offset + limit)
        with noted(session_id):
            return self.archive.load(session_id, agent_id, addresses("agents", agent_id), window)

    def commit(self, session_id: str, commit: Commit, turn_timeout: float) -> Committed:
        """See :class:`~mongodb_session_manager.SessionStore`.

        One update; a read more when it is refused. Three commands when older messages move into the archive, two more
        for each large value.
        """
        valid_session_id(session_id)
        with noted(session_id):
            # Sent again as a whole: the revision tells what of it was applied.
            return self._outliving_elections(lambda: self._commit(session_id, commit, turn_timeout))

    def _outliving_elections(self, call: Callable[[], _Result]) -> _Result:
        """Call, and again while there is no primary only because one is being elected."""
        until = time.monotonic() + _ELECTIONS * patience(self.client)
        while True:
            try:
                return call()
            except self.outages:
                if not is_electing(self.client) or time.monotonic() > until:
                    raise
            time.sleep(_PAUSE)

    def _commit(self, session_id: str, commit: Commit, turn_timeout: float) -> Committed:
        if commit.remains:
            with in_time(self.collection):
                self.archive.finish_deletion(session_id)
        made = Made()
        try:
            if any("message" in fields for fields in commit.changes.values()):
                return self._change(session_id, commit, turn_timeout, made)
            return self._append(session_id, commit, turn_timeout, made)
        except SessionError as error:
            # After a doubt it may have been applied, and changed since by another writer.
            if error.__cause__ is None:
                self.archive.take_back(made)
            raise
        except (DocumentTooLarge, OperationFailure) as error:
            if isinstance(error, DocumentTooLarge) or error.code in TOO_LARGE:
                self.archive.take_back(made)
                raise _too_large(session_id, commit) from error
            raise

    def _append(self, session_id: str, commit: Commit, turn_timeout: float, made: Made) -> Committed:
        created_at = None
        tail: Tail = commit.at
        if commit.create and sum(map(size, commit.messages)) > LARGEST_MESSAGE:
            with in_time(self.collection):
                commit, created_at = self._created(session_id, commit)
        messages = [self.archive.take_out(session_id, commit, message, made) for message in commit.messages]
        originals = self.archive.kept_originals(session_id, commit, made)
        commit = replace(commit, messages=messages, originals=originals)
        added = sum(map(size, messages))
        spill = None
        after = replace(
            tail,
            size=(tail.size or 0) + len(messages) if commit.part == "agents" else tail.size,
            bytes=tail.bytes + added,
            document_bytes=tail.document_bytes + added,
        )
        if messages and after.bytes > room_for(tail):
            with in_time(self.collection, added + 2 * tail.bytes):  # which is read, and written elsewhere
                spilled = self.archive.spill(session_id, commit, messages, made)
            if spilled:
                spill, after = spilled
        condition = commit_filter(session_id, commit, turn_timeout)
        update = commit_update(session_id, commit, spill)
        found = self._apply(session_id, commit, condition, update, turn_timeout)
        if isinstance(found, Tail):
            return Committed(at=found)
        return Committed(at=after, created_at=update["$setOnInsert"]["created_at"] if found else created_at)

    def _created(self, session_id: str, commit: Commit) -> tuple[Commit, datetime | None]:
        """Create the session first: what is inserted before it is there, a deletion of another one would remove."""
        update = {"$setOnInsert": new_session(session_id, commit.session), "$currentDate": {"updated_at": True}}
        with suppress(DuplicateKeyError):
            found = self.collection.find_one_and_update(
                commit_filter(session_id, commit, 0), update, {"created_at": 1}, upsert=True, return_document=True
            )
            if isinstance(created_at := (found or {}).get("created_at"), datetime):
                created_at = aware(created_at)
                return replace(commit, create=False, created_at=created_at), created_at
        return commit, None

    def _change(self, session_id: str, commit: Commit, turn_timeout: float, made: Made) -> Committed:
        """Replace messages. The turn is held until the archive has followed, so that nobody changes it meanwhile."""
        tail: Tail = commit.at
        positions = [position for position in commit.changes if position < tail.archived]
        with in_time(self.collection):
            stamps = self.archive.stamps(session_id, tail.address, positions) if positions else {}
            there = self.archive.of_agent(session_id, commit.agent_id)
        changes = {
            position: self.archive.take_out(session_id, commit, fields, made)
            for position, fields in commit.changes.items()
        }
        stored = {position: fields for position, fields in changes.items() if position >= tail.archived}
        archived = {position: fields for position, fields in changes.items() if position < tail.archived}
        # Sent again after a doubt, the first step may find the last one done.
        revision = commit.revision if commit.holds else f"{commit.revision}-held"
        originals = self.archive.kept_originals(session_id, commit, made)
        held = replace(commit, changes=stored, originals=originals, holds=True, revision=revision)
        condition = commit_filter(session_id, held, turn_timeout)
        self._apply(session_id, held, condition, commit_update(session_id, held), turn_timeout, commit.revision)
        made.ids.clear()  # what is listed now stays, whatever comes
        with in_time(self.collection):
            self.archive.lend_originals(session_id, held, stamps)
            followed = not archived or self.archive.rewrite(archived, stamps)
            if followed:
                self.archive.discard(session_id, there)
        if not commit.holds:
            release = replace(
                held, expected=held.revision, revision=commit.revision, holds=False, changes={}, originals={}
            )
            self._append(session_id, release, turn_timeout, made)
        if not followed:
            self._applied(session_id, commit, set(), turn_timeout, None)
            raise _conflict(session_id, commit)
        grown = sum(map(size, stored.values()))
        return Committed(at=replace(tail, bytes=tail.bytes + grown, document_bytes=tail.document_bytes + grown))

    def _apply(
        self,
        session_id: str,
        commit: Commit,
        condition: dict[str, Any],
        update: dict[str, Any],
        turn_timeout: float,
        done: str | None = None,
    ) -> Tail | bool:
        """Send a compare-and-set until it is applied or refused.

        Args:
            session_id: The session.
            commit: What it is about.
            condition: The compare.
            update: The set.
            turn_timeout: Seconds after which another owner's turn has expired.
            done: Another revision that tells that it was applied.

        Returns:
            Whether it created the session; after a doubt, how the agent is kept now.
        """
        doubt: PyMongoError | None = None
        taken = size(update)
        until = time.monotonic() + patience(self.client, taken)
        for attempt in range(_ATTEMPTS):
            try:
                with in_time(self.collection, seconds=_left(until)):
                    result = self.collection.update_one(condition, update, upsert=commit.create)
                if result.upserted_id is not None or result.matched_count:
                    add("session_store.io", taken, WRITTEN)
                    return result.upserted_id is not None
            except DuplicateKeyError:
                pass  # Somebody was first; who, the next read tells.
            except _IN_DOUBT as error:
                doubt = error
                time.sleep(attempt * _PAUSE)
            if doubt and until - time.monotonic() < _MOMENT:
                break  # What is in doubt is sent again before anything else of this agent.
            try:
                with in_time(self.collection, seconds=_left(until)):
                    applied = self._applied(
                        session_id, commit, {commit.revision, done or commit.revision}, turn_timeout, doubt
                    )
                if applied:
                    return applied
            except SessionError as error:
                raise error from doubt
        raise doubt or _conflict(session_id, commit)

    def _applied(
        self,
        session_id: str,
        commit: Commit,
        done: set[str],
        turn_timeout: float,
        doubt: PyMongoError | None,
    ) -> Tail | None:
        """How the agent is kept if the commit is in the database. ``None``: send it again; otherwise it is refused."""
        try:
            standing = self._standing(session_id, commit, decides=doubt is not None)
            if doubt is None and standing is not None and standing.get("revision") in done:
                # An attempt before this one did it, and did not learn whether a majority holds it.
                standing = self._standing(session_id, commit, decides=True)
        except PyMongoError as error:
            raise doubt or error from None
        if standing is None or not _is_meant(standing, commit.created_at):
            if commit.create:
                return None
            raise _gone(session_id, commit.agent_id)
        if standing.get("revision") in done:
            return measured(standing["tail"], commit.at.address, standing)
        wait = _wait(standing, commit.owner, turn_timeout)
        if wait > 0:
            raise _busy(session_id, commit.agent_id, wait)
        if standing.get("revision") != commit.expected:
            # Who found nothing has no history that could have moved on: somebody else was first.
            raise _busy(session_id, commit.agent_id, 0.0) if commit.create else _conflict(session_id, commit)
        return None

    def _standing(self, session_id: str, commit: Commit, *, decides: bool) -> dict[str, Any] | None:
        """What stands in the database. To decide a doubt, what a majority holds and nobody can take back."""

        def read(level: str) -> dict[str, Any] | None:
            sessions = self.collection.with_options(read_concern=ReadConcern(level))
            return sessions.find_one({"_id": session_id}, standing_projection(commit.at.address))

        if not decides:
            return read("local")
        try:
            # What a new primary knows of the majority may be from before its election; this makes it ask.
            return read("linearizable")
        except OperationFailure as error:
            if error.code != _NOT_A_REPLICA_SET:
                raise
            return read("majority")

    def claim(self, session_id: str, claim: Claim, turn_timeout: float) -> LoadedAgent:
        """See :class:`~mongodb_session_manager.SessionStore`. One findAndModify; three more for a new session."""
        with noted(session_id):
            return self._outliving_elections(lambda: self._claim(session_id, claim, turn_timeout))

    def _claim(self, session_id: str, claim: Claim, turn_timeout: float) -> LoadedAgent:
        tail: Tail = claim.at
        places = [tail.address]
        projection = load_projection(places, graph=claim.part == "multi_agents")
        condition = claim_filter(session_id, claim, turn_timeout)
        with self._given_back(session_id, claim):
            for _ in range(_ATTEMPTS):
                with in_time(self.collection):
                    before = self.collection.find_one_and_update(condition, claim_update(claim), projection)
                if before is not None:
                    return self.archive.load(session_id, claim.agent_id, places, found=before)
                with in_time(self.collection):
                    standing = self.collection.find_one({"_id": session_id}, standing_projection(tail.address))
                if not _is_meant(standing, claim.created_at):
                    if claim.session is None:
                        raise _gone(session_id, claim.agent_id)
                    self._create_claimed(session_id, claim)
                elif standing and (wait := _wait(standing, claim.owner, turn_timeout)) > 0:
                    raise _busy(session_id, claim.agent_id, wait)
        raise _busy(session_id, claim.agent_id, 0.0)

    @contextmanager
    def _given_back(self, session_id: str, claim: Claim) -> Iterator[None]:
        """A claim that fails after it may have been applied leaves the turn free, if the server can be reached."""
        try:
            yield
        except SessionBusyError:
            raise
        except Exception:
            address = claim.at.address
            ours = {"_id": session_id, f"{address}.turn.owner": claim.owner, f"{address}.revision": claim.revision}
            if knows_server(self.client):
                with suppress(PyMongoError), in_time(self.collection, seconds=_MOMENT):
                    self.collection.update_one(ours, {"$unset": {f"{address}.turn": True}})
            raise

    def _create_claimed(self, session_id: str, claim: Claim) -> None:
        """Create the session with the turn taken, unless another writer does so now."""
        with in_time(self.collection):
            self.archive.finish_deletion(session_id)
        update = {**claim_update(claim), "$setOnInsert": new_session(session_id, claim.session or {})}
        absent = {"_id": session_id, f"{claim.at.address}.turn": {"$exists": False}}
        with suppress(DuplicateKeyError), in_time(self.collection):
            self.collection.update_one(absent, update, upsert=True)

    def renew(self, session_id: str, at: Tail, owner: str) -> bool:
        """See :class:`~mongodb_session_manager.SessionStore`. One findAndModify, given up after five seconds."""
        with noted(session_id), pymongo.timeout(5):
            turn = self.collection.find_one_and_update(
                {"_id": session_id, f"{at.address}.turn.owner": owner},
                {"$currentDate": {f"{at.address}.turn.stamp": True}},
                projection={"_id": 1},
            )
        return turn is not None


def _left(until: float) -> float:
    """Seconds until then, and at least a moment."""
    return max(_MOMENT, until - time.monotonic())


def _is_meant(standing: Mapping[str, Any] | None, created_at: datetime | None) -> bool:
    """Whether the session is there, and not another one under the same id."""
    if standing is None or standing.get("gone"):
        return False
    found = standing.get("created_at")
    return created_at is None or (isinstance(found, datetime) and aware(found) == created_at)


def _wait(standing: Mapping[str, Any], owner: str, turn_timeout: float) -> float:
    """Seconds until the turn of another owner expires, 0 or less when there is none."""
    if standing.get("owner") in (None, owner):
        return 0.0
    return turn_timeout - (standing.get("age_ms") or 0) / 1000


def _gone(session_id: str, agent_id: str) -> SessionError:
    return SessionNotFoundError(
        f"session {session_id!r} was deleted; start a new one", session_id=session_id, agent_id=agent_id
    )


def _busy(session_id: str, agent_id: str, wait: float) -> SessionError:
    return SessionBusyError(
        f"another turn of agent {agent_id!r} in session {session_id!r} is running; try again when it has ended",
        session_id=session_id,
        agent_id=agent_id,
        retry_after=max(wait, 0.0),
    )


def _conflict(session_id: str, commit: Commit) -> SessionError:
    return SessionConflictError(
        f"agent {commit.agent_id!r} in session {session_id!r} was changed by another writer since it was loaded;"
        " reload it and try again",
        session_id=session_id,
        agent_id=commit.agent_id,
    )


def _too_large(session_id: str, commit: Commit) -> SessionError:
    return SessionTooLargeError(
        f"session {session_id!r} would outgrow the 16 MB that MongoDB allows a document; nothing was written."
        " Start a new session, or write less at once",
        session_id=session_id,
        agent_id=commit.agent_id,
    )
