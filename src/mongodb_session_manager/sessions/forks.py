"""Forks: sessions that begin with the history of another one and share its buckets.

::

    { …, forked_from: [ { session_id, created_at, agent_id, owner?, count }, … ] }

The last one is the session that it was forked from, before it those from which that one was. ``count`` is how many
messages of the fork came with it, those of the one before among them.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from pymongo.errors import DuplicateKeyError

from ..codec import encode
from ..documents import agent_key, valid_session_id
from ..errors import SessionConflictError, SessionError
from ..mongodb_collection import in_time, noted
from ..mongodb_commands import new_session
from ..store import SessionSummary
from .beginning import Beginning, beginning_of, beginning_projection
from .loan import Loan
from .session_documents import SessionDocuments
from .summaries import session_summary

__all__ = ["Forks"]

_ATTEMPTS = 4
_TAKEN_OVER = ("title", "owner", "application_name", "metadata", "lifetime", "expires_at")


class Forks(SessionDocuments):
    """Begins sessions with the history of others."""

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
        """See :class:`~mongodb_session_manager.SessionCatalogue`.

        Two commands; with an archive one more, one for each thousand buckets, and one where messages hold large values.
        """
        self._prepare()
        given = {"owner": owner, "title": title}
        valid_session_id(new_id)
        with noted(session_id):
            for _ in range(_ATTEMPTS):
                parent, beginning = self._read_parent(session_id, new_id, agent_id, at)
                document = self._forked(parent, beginning, new_id, agent_id, given)
                if document is not None:
                    return _summary(document)
        raise SessionConflictError(
            f"session {session_id!r} changed whenever it was to be forked; try again", session_id=session_id
        )

    def _read_parent(
        self, session_id: str, new_id: str, agent_id: str, at: int | None
    ) -> tuple[dict[str, Any], Beginning]:
        """The session and its first messages. In the same find, whether the new id is free."""
        taken_over = dict.fromkeys([*_TAKEN_OVER, "forked_from"], 1)
        projection = {**beginning_projection(agent_id, at), **taken_over, "_id": 1}
        with in_time(self.collection):
            found = {
                each["_id"]: each for each in self.collection.find({"_id": {"$in": [session_id, new_id]}}, projection)
            }
            parent, other = found.get(session_id), found.get(new_id)
            beginning = beginning_of(session_id, agent_id, parent, at)
            if other is not None and not other["gone"]:
                raise _exists(new_id)
            if other is not None:
                self._archive.finish_deletion(new_id)
        return parent or {}, beginning

    def _forked(
        self, parent: Mapping[str, Any], beginning: Beginning, new_id: str, agent_id: str, given: Mapping[str, Any]
    ) -> dict[str, Any] | None:
        """The fork, ``None`` when what it would list was removed meanwhile."""
        loan = Loan(self._archive, new_id, beginning.buckets, beginning.values, beginning.wanted)
        try:
            with in_time(self.collection):
                if not loan.take():
                    loan.give_back()
                    return None
                document = _fork(parent, beginning, loan, new_id, agent_id, given)
                self.collection.insert_one(document)
        except (ValueError, DuplicateKeyError) as error:
            loan.give_back()
            if isinstance(error, DuplicateKeyError):
                raise _exists(new_id) from error
            raise
        return document


def _fork(
    parent: Mapping[str, Any],
    beginning: Beginning,
    loan: Loan,
    new_id: str,
    agent_id: str,
    given: Mapping[str, Any],
) -> dict[str, Any]:
    fields = {name: parent[name] for name in _TAKEN_OVER if parent.get(name) is not None}
    fields |= {name: value for name, value in given.items() if value is not None}
    document = {"_id": new_id, **new_session(new_id, fields)}
    now = document["updated_at"] = document["created_at"]
    document["forked_from"] = _origins(parent, beginning, agent_id)
    document["agents"] = {agent_key(agent_id): _agent(beginning, loan, agent_id, now)}
    return document


def _agent(beginning: Beginning, loan: Loan, agent_id: str, now: datetime) -> dict[str, Any]:
    archived = beginning.agent.at.archived
    agent: dict[str, Any] = {
        "agent_data": {**beginning.cut(loan.outlines.values()), "agent_id": encode(agent_id)},
        "created_at": now,
        "updated_at": now,
        "revision": secrets.token_urlsafe(12),
        "message_count": beginning.position,
        "totals": {},
        "messages": [
            {**stored, "message_id": position} for position, stored in enumerate(beginning.agent.messages, archived)
        ],
    }
    if beginning.references:
        agent["archive"] = beginning.references
    return agent


def _origins(parent: Mapping[str, Any], beginning: Beginning, agent_id: str) -> list[dict[str, Any]]:
    name = encode(agent_id)
    earlier = [
        {**each, "count": min(each["count"], beginning.position)}
        for each in parent.get("forked_from") or ()
        if each["agent_id"] == name
    ]
    owner = {"owner": parent["owner"]} if parent.get("owner") is not None else {}
    origin = {"session_id": parent["_id"], "created_at": parent.get("created_at"), "agent_id": name, **owner}
    return [*earlier, {**origin, "count": beginning.position}]


def _summary(document: Mapping[str, Any]) -> SessionSummary:
    agents = [{"k": key, "v": agent} for key, agent in document["agents"].items()]
    expires_at = document.get("expires_at")
    if (lifetime := document.get("lifetime")) is not None:
        expires_at = document["updated_at"] + timedelta(seconds=lifetime)
    return session_summary({**document, "agents": agents, "expires_at": expires_at})


def _exists(session_id: str) -> SessionError:
    return SessionError(f"session {session_id!r} exists already", session_id=session_id)
