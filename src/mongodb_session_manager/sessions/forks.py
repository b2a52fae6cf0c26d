"""Forks: sessions that begin with the history of another one and share its buckets.

::

    { …, forked_from: [ { session_id, created_at, agent_id, owner?, count }, … ] }

The last one is the session that it was forked from, before it those from which that one was. ``count`` is how many
messages of the fork came with it, those of the one before among them.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from pymongo.errors import DuplicateKeyError

from ..codec import encode
from ..documents import agent_key, valid_session_id
from ..errors import SessionConflictError, SessionError, SessionNotFoundError
from ..mongodb_collection import in_time, noted
from ..mongodb_commands import new_session
from ..store import SessionSummary
from .beginning import Beginning, beginning_of, beginning_projection
from .loan import OUTLINE, Loan, lent_stages
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

        Three commands, and one for each thousand buckets, or where only messages outside buckets hold large values.
        """
        self._prepare()
        given = {"owner": owner, "title": title}
        valid_session_id(new_id)
        with noted(session_id):
            for _ in range(_ATTEMPTS):
                parent, beginning = self._read_parent(session_id, new_id, agent_id, at)
                loan = Loan(self._archive, new_id, beginning.buckets, beginning.values, parent["lent"])
                document = self._forked(parent, beginning, loan, agent_id, given)
                if document is not None and self._is_as_read(document, beginning, loan, agent_id):
                    return _summary(document)
        raise SessionConflictError(
            f"session {session_id!r} changed whenever it was to be forked; try again", session_id=session_id
        )

    def _read_parent(
        self, session_id: str, new_id: str, agent_id: str, at: int | None
    ) -> tuple[dict[str, Any], Beginning]:
        """The session and its first messages. In the same command, whether the new id is free."""
        with in_time(self.collection):
            found = self._beginnings([session_id, new_id], agent_id, at)
            parent, other = found.get(session_id), found.get(new_id)
            beginning = beginning_of(session_id, agent_id, parent, at)
            if other is not None and not other["gone"]:
                raise _exists(new_id)
            if other is not None:
                self._archive.finish_deletion(new_id)
        return parent or {}, beginning

    def _beginnings(self, session_ids: list[str], agent_id: str, at: int | None) -> dict[str, dict[str, Any]]:
        """Sessions with the first messages of an agent, and what a fork has to know of their buckets. One command."""
        taken_over = dict.fromkeys([*_TAKEN_OVER, "forked_from"], 1)
        projection = {**beginning_projection(agent_id, at), **taken_over, "_id": 1}
        places = sum(name.startswith("at") for name in projection)
        stages = [{"$match": {"_id": {"$in": session_ids}}}, {"$project": projection}]
        found = self.collection.aggregate([*stages, *lent_stages(self._archive, places, at)])
        return {each["_id"]: each for each in found}

    def _is_as_read(self, document: Mapping[str, Any], beginning: Beginning, loan: Loan, agent_id: str) -> bool:
        """Whether nothing that the fork took over was changed before it was there to be found by whoever changes it.

        If something was, the fork is taken away again.
        """
        session_id = document["forked_from"][-1]["session_id"]
        with in_time(self.collection):
            now = self._beginnings([session_id], agent_id, beginning.position).get(session_id)
            try:
                again = beginning_of(session_id, agent_id, now, beginning.position)
            except (SessionNotFoundError, ValueError):
                return True  # deleted or cut since, which is nothing to the fork
            if again.agent.created_at != beginning.agent.created_at:
                return True
            if _same_messages(again, beginning):
                listed = Loan(loan.archive, loan.session_id, loan.buckets, loan.values, (now or {})["lent"])
                if surplus := loan.all_values - listed.all_values:
                    loan.give_up(surplus)
                return True
            revision = next(iter(document["agents"].values()))["revision"]
            ours = {"$expr": {"$in": [revision, _REVISIONS]}}
            if self._archive.delete(document["_id"], ours):
                return False
        raise SessionConflictError(
            f"session {session_id!r} was changed while it was forked; look at its fork {document['_id']!r}",
            session_id=session_id,
        )

    def _forked(
        self, parent: Mapping[str, Any], beginning: Beginning, loan: Loan, agent_id: str, given: Mapping[str, Any]
    ) -> dict[str, Any] | None:
        """The fork, ``None`` when what it would list was changed meanwhile."""
        new_id = loan.session_id
        try:
            with in_time(self.collection):
                if not loan.take():
                    loan.give_back()
                    return None
                outlines = self._outlines(parent, beginning)
                document = _fork(parent, beginning, outlines, new_id, agent_id, given)
                self.collection.insert_one(document)
        except (ValueError, DuplicateKeyError) as error:
            loan.give_back()
            if isinstance(error, DuplicateKeyError):
                raise _exists(new_id) from error
            raise
        return document

    def _outlines(self, parent: Mapping[str, Any], beginning: Beginning) -> list[Mapping[str, Any]]:
        """The buckets that decide about the cut, without what was said."""
        found: list[Mapping[str, Any]] = parent["outlines"]
        if {*beginning.wanted} - {bucket["_id"] for bucket in found}:
            found = [*self._archive.collection.find({"_id": {"$in": beginning.wanted}}, OUTLINE)]
        return found


_REVISIONS: dict[str, Any] = {
    "$map": {"input": {"$objectToArray": "$agents"}, "as": "agent", "in": "$$agent.v.revision"}
}


def _same_messages(one: Beginning, other: Beginning) -> bool:
    """Whether the messages outside the archive are the same; where they begin tells whether some went into it."""
    pairs = zip(one.agent.messages, other.agent.messages, strict=False)
    as_many = len(one.agent.messages) == len(other.agent.messages) and one.agent.at.archived == other.agent.at.archived
    return as_many and all(mine.get("message") == yours.get("message") for mine, yours in pairs)


def _fork(
    parent: Mapping[str, Any],
    beginning: Beginning,
    outlines: Iterable[Mapping[str, Any]],
    new_id: str,
    agent_id: str,
    given: Mapping[str, Any],
) -> dict[str, Any]:
    fields = {name: parent[name] for name in _TAKEN_OVER if parent.get(name) is not None}
    fields |= {name: value for name, value in given.items() if value is not None}
    document = {"_id": new_id, **new_session(new_id, fields)}
    now = document["updated_at"] = document["created_at"]
    document["forked_from"] = _origins(parent, beginning, agent_id)
    document["agents"] = {agent_key(agent_id): _agent(beginning, outlines, agent_id, now)}
    return document


def _agent(beginning: Beginning, outlines: Iterable[Mapping[str, Any]], agent_id: str, now: datetime) -> dict[str, Any]:
    archived = beginning.agent.at.archived
    agent: dict[str, Any] = {
        "agent_data": {**beginning.cut(outlines), "agent_id": encode(agent_id)},
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
