"""Sessions as lines: exported, and imported again, here or elsewhere."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

from pymongo.errors import DuplicateKeyError, PyMongoError

from ..codec import TAG, decode, encode, size
from ..documents import addresses, aware, valid_session_id
from ..errors import SessionConflictError, SessionError
from ..mongodb_collection import background_of, in_time, noted
from ..mongodb_commands import Tail, new_session
from ..session_export import SessionExport, exported_lines
from ..session_lines import Line, read_lines
from ..store import Commit, SessionSummary
from .notes import Notes

__all__ = ["Transfers"]

_AT_ONCE = 1024 * 1024
_MOST = 500
_TURN_TIMEOUT = 30.0


class Transfers(Notes):
    """Exports and imports sessions."""

    def export(self, session_id: str) -> SessionExport:
        """See :class:`~mongodb_session_manager.SessionCatalogue`. A find for every few megabytes of messages."""
        self._known(session_id)
        return SessionExport(lambda: self._lines(session_id), background_of(self.client))

    def _lines(self, session_id: str) -> Iterator[str]:
        summary = self._known(session_id)
        graphs = self._read(session_id, "multi_agents").get("multi_agents") or {}
        yield from exported_lines(
            self._store,
            summary,
            graphs={_graph_id(key): _graph(stored) for key, stored in graphs.items() if isinstance(stored, dict)},
            feedbacks=self.feedbacks(session_id),
        )

    def import_lines(
        self, lines: Iterable[str | bytes], *, session_id: str | None = None, owner: str | None = None
    ) -> SessionSummary:
        """See :class:`~mongodb_session_manager.SessionCatalogue`. An update for every megabyte of messages."""
        read = read_lines(lines)
        header = next(read).fields
        name = valid_session_id(header["session_id"] if session_id is None else session_id)
        _refuse_expired(header)
        token = secrets.token_urlsafe(12)
        staged = {"_id": name, **new_session(name, {}), "importing": token}
        staged["updated_at"] = staged["created_at"]
        try:
            self._insert(staged)
        except DuplicateKeyError as error:
            raise SessionError(f"session {name!r} exists already", session_id=name) from error
        try:
            fields = self._import(staged, read)
            self._publish(staged, {**_session_fields(header, owner), **fields})
        except BaseException:
            # What cannot be removed now is purged later; it was never seen.
            with suppress(PyMongoError):
                self._archive.delete(name, {"importing": token})
            raise
        return self._known(name)

    def _import(self, staged: Mapping[str, Any], lines: Iterator[Line]) -> dict[str, Any]:
        """Write agents and messages; the fields that are left to set."""
        fields: dict[str, Any] = {}
        feedbacks: list[dict[str, Any]] = []
        agent: _ImportedAgent | None = None
        for line in lines:
            if line.kind == "message" and agent is not None:
                agent.add(line.fields["stored"])
                if agent.is_full:
                    self._write(agent)
                continue
            if agent is not None:
                self._write(agent)
                agent = None
            if line.kind == "agent":
                agent = _ImportedAgent(staged, line.fields)
                fields |= _dates(agent.at.address, line.fields)
            elif line.kind == "graph":
                fields |= _graph_fields(line.fields)
            else:
                feedbacks.append(_feedback(line))
        if agent is not None:
            self._write(agent)
        return {**fields, "feedbacks": feedbacks}

    def _write(self, agent: _ImportedAgent) -> None:
        commit = agent.next_commit()
        agent.at = self._store.commit(agent.session_id, commit, _TURN_TIMEOUT).at

    def _publish(self, staged: Mapping[str, Any], fields: dict[str, Any]) -> None:
        session_id = staged["_id"]
        ours = {"_id": session_id, "importing": staged["importing"], "deleting": {"$exists": False}}
        with noted(session_id), in_time(self.collection):
            update = {"$set": fields, "$unset": {"importing": True}}
            if self.collection.update_one(ours, update).matched_count:
                return
        raise SessionConflictError(
            f"session {session_id!r} was made by somebody else while it was imported; nothing of the import is kept",
            session_id=session_id,
        )


class _ImportedAgent:
    """An agent whose messages are being written.

    Attributes:
        session_id: Its session.
        at: Where and how it is kept.
    """

    def __init__(self, staged: Mapping[str, Any], fields: Mapping[str, Any]) -> None:
        self.session_id: str = staged["_id"]
        agent_id = str(decode(fields["agent_id"]))
        self.at = Tail(address=addresses("agents", agent_id)[0])
        self._count = 0
        self._bytes = 0
        self._messages: list[dict[str, Any]] = []
        self._commit = Commit(
            part="agents",
            agent_id=agent_id,
            at=self.at,
            expected=None,
            revision=secrets.token_urlsafe(12),
            owner=staged["importing"],
            contested=False,
            holds=False,
            create=False,
            created_at=staged["created_at"],
            remains=False,
            session={},
            new=True,
            data=fields["data"],
            count=0,
            messages=[],
            changes={},
            totals=fields["totals"],
        )

    @property
    def is_full(self) -> bool:
        """Whether it is time to write."""
        return self._bytes > _AT_ONCE or len(self._messages) >= _MOST

    def add(self, stored: Mapping[str, Any]) -> None:
        """Take the next message. Lines come from outside: none may point into the archive."""
        stored = {name: value for name, value in stored.items() if name != "external"}
        self._messages.append({**stored, "message_id": self._count})
        self._bytes += size(stored)
        self._count += 1

    def next_commit(self) -> Commit:
        """What is to be written next."""
        commit = replace(self._commit, at=self.at, messages=self._messages, count=self._count)
        self._messages, self._bytes = [], 0
        self._commit = replace(
            commit, expected=commit.revision, revision=secrets.token_urlsafe(12), new=False, data={}, totals={}
        )
        return commit


def _refuse_expired(header: Mapping[str, Any]) -> None:
    if header["expires_at"] is not None and aware(header["expires_at"]) <= datetime.now(UTC):
        raise ValueError("line 1: the session has expired since it was exported")


def _session_fields(header: Mapping[str, Any], owner: str | None) -> dict[str, Any]:
    """The fields of a session; a rolling expiry begins anew."""
    named = ("title", "owner", "application_name", "created_at", "updated_at", "lifetime", "expires_at", "metadata")
    fields = {name: header[name] for name in named if header[name] is not None}
    if owner is not None:
        fields["owner"] = owner
    if header["lifetime"] is not None:
        fields["updated_at"] = datetime.now(UTC)
    return fields


def _dates(address: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    dates = ("created_at", "updated_at")
    return {f"{address}.{name}": fields[name] for name in dates if fields[name] is not None}


def _graph_id(key: str) -> str:
    """The id of a graph, of which its key is the code."""
    return "" if key == "%" else unquote(key, errors="surrogatepass")


def _graph(stored: Mapping[str, Any]) -> dict[str, Any]:
    dates = {name: stored.get(name) for name in ("created_at", "updated_at")}
    return {"data": {"state": stored["state"]} if "state" in stored else {}, **dates}


def _graph_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    [address, *_] = addresses("multi_agents", str(decode(fields["agent_id"])))
    dates = _dates(address, fields)
    state = {f"{address}.{name}": value for name, value in fields["data"].items()}
    return {**state, **dates, f"{address}.revision": secrets.token_urlsafe(12)}


def _feedback(line: Line) -> dict[str, Any]:
    feedback = decode(line.fields["feedback"])
    if not isinstance(feedback, dict):
        raise ValueError(f"line {line.number}: it is not a feedback")
    entry: dict[str, Any] = encode(feedback)
    if TAG not in entry and isinstance(feedback.get("created_at"), datetime):
        entry["created_at"] = feedback["created_at"]
    return entry
