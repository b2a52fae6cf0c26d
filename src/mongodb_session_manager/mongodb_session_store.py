"""MongoDB for a turn: one find to load, one update to commit."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import pymongo
from pymongo import MongoClient
from pymongo.errors import (
    AutoReconnect,
    DocumentTooLarge,
    DuplicateKeyError,
    ExecutionTimeout,
    PyMongoError,
    WriteConcernError,
    WriteError,
)
from pymongo.read_concern import ReadConcern
from pymongo.results import UpdateResult

from .documents import addresses, aware, valid_session_id
from .errors import (
    SessionBusyError,
    SessionConflictError,
    SessionError,
    SessionNotFoundError,
    SessionTooLargeError,
)
from .mongodb_collection import max_concurrency, noted, open_collection, prepare
from .mongodb_commands import (
    GONE,
    TOO_LARGE,
    commit_filter,
    commit_update,
    load_projection,
    loaded_agent,
    standing_projection,
)
from .store import Commit, LoadedAgent, Part

__all__ = ["MongoDBSessionStore"]

_IN_DOUBT = (AutoReconnect, WriteConcernError, ExecutionTimeout)
"""Failures after which the write may have been applied or not."""

_ATTEMPTS = 4
_PAUSE = 0.1
"""Seconds more before each look, so that a majority can catch up with a primary."""


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

    @property
    def max_concurrency(self) -> int:
        """The size of the client's connection pool."""
        return max_concurrency(self.client)

    def load(self, session_id: str, agent_id: str, part: Part = "agents") -> LoadedAgent:
        """See :class:`~mongodb_session_manager.SessionStore`. One find."""
        places = addresses(part, agent_id)
        projection = load_projection(places, graph=part == "multi_agents")
        with noted(session_id):
            prepare(self.collection, self.metadata_fields)
            return loaded_agent(self.collection.find_one({"_id": session_id}, projection), places, agent_id)

    def messages(self, session_id: str, agent_id: str, offset: int = 0, limit: int | None = None) -> LoadedAgent:
        """See :class:`~mongodb_session_manager.SessionStore`. One find."""
        places = addresses("agents", agent_id)
        projection = load_projection(places, window=(offset, limit))
        with noted(session_id):
            return loaded_agent(self.collection.find_one({"_id": session_id}, projection), places, agent_id)

    def commit(self, session_id: str, commit: Commit, turn_timeout: float) -> datetime | None:
        """See :class:`~mongodb_session_manager.SessionStore`. One update; a read more when it is refused."""
        if commit.remains:
            self._remove_remains(session_id)
        condition = commit_filter(valid_session_id(session_id), commit, turn_timeout)
        update = commit_update(session_id, commit)
        doubt: PyMongoError | None = None
        for attempt in range(_ATTEMPTS):
            try:
                result = self._update(session_id, commit, condition, update)
                if result.upserted_id is not None:
                    created_at: datetime = update["$setOnInsert"]["created_at"]
                    return created_at
                if result.matched_count:
                    return None
            except DuplicateKeyError:
                pass  # Somebody was first; who, the next read tells.
            except _IN_DOUBT as error:
                doubt = error
                time.sleep(attempt * _PAUSE)
            if self._is_applied(session_id, commit, turn_timeout, doubt):
                return None
        raise doubt or _conflict(session_id, commit)

    def _update(
        self, session_id: str, commit: Commit, condition: dict[str, Any], update: dict[str, Any]
    ) -> UpdateResult:
        try:
            with noted(session_id):
                return self.collection.update_one(condition, update, upsert=commit.create)
        except (DocumentTooLarge, WriteError) as error:
            if isinstance(error, WriteError) and error.code not in TOO_LARGE:
                raise
            raise _too_large(session_id, commit) from error

    def _is_applied(self, session_id: str, commit: Commit, turn_timeout: float, doubt: PyMongoError | None) -> bool:
        """Whether the commit is in the database already. ``False``: send it again; otherwise it is refused."""
        # After a doubt only what a majority holds counts; the primary's own copy may still be rolled back.
        concern = ReadConcern("majority" if doubt else "local")
        try:
            standing = self.collection.with_options(read_concern=concern).find_one(
                {"_id": session_id}, standing_projection(commit.address)
            )
        except PyMongoError as error:
            raise doubt or error from None
        if standing is None or standing.get("gone") or _is_later(standing, commit):
            if commit.create:
                return False
            raise SessionNotFoundError(
                f"session {session_id!r} was deleted; start a new one", session_id=session_id, agent_id=commit.agent_id
            )
        if standing.get("revision") == commit.revision:
            return True
        wait = turn_timeout - (standing.get("age_ms") or 0) / 1000
        if standing.get("owner") not in (None, commit.owner) and wait > 0:
            raise _busy(session_id, commit, wait)
        if standing.get("revision") != commit.expected:
            # Who found nothing has no history that could have moved on: somebody else was first.
            raise _busy(session_id, commit, 0.0) if commit.create else _conflict(session_id, commit)
        return False

    def renew(self, session_id: str, address: str, owner: str) -> bool:
        """See :class:`~mongodb_session_manager.SessionStore`. One findAndModify, given up after five seconds."""
        with noted(session_id), pymongo.timeout(5):
            turn = self.collection.find_one_and_update(
                {"_id": session_id, f"{address}.turn.owner": owner},
                {"$currentDate": {f"{address}.turn.stamp": True}},
                projection={"_id": 1},
            )
        return turn is not None

    def _remove_remains(self, session_id: str) -> None:
        with noted(session_id):
            self.collection.delete_one({"_id": session_id, "$expr": GONE})


def _is_later(standing: dict[str, Any], commit: Commit) -> bool:
    """Whether this is another session than the one that the commit means, under the same id."""
    created_at = standing.get("created_at")
    created_at = aware(created_at) if isinstance(created_at, datetime) else None
    return commit.created_at is not None and created_at != commit.created_at


def _busy(session_id: str, commit: Commit, wait: float) -> SessionError:
    return SessionBusyError(
        f"another turn of agent {commit.agent_id!r} in session {session_id!r} is running; try again when it has ended",
        session_id=session_id,
        agent_id=commit.agent_id,
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
