"""What a session's document does not hold: older messages in buckets, and large values.

A second collection, named after the first with ``_archive``::

    { _id, session_ids: [ … ], agent_id, first, messages: [ … ], bytes, rewritten? }  # a bucket of older messages
    { _id, session_ids: [ … ], agent_id, digest, ids: [ … ], used_at, bytes, value }  # a large value, or its first part
    { _id, session_ids: [ … ], agent_id, used_at, bytes, value }                      # a further part of one

Every attempt to write inserts under new ids, and what no session's document lists does not exist: a crash leaves
garbage, never data, and a refused attempt takes back what it inserted. A value that the agent lists at the revision
that a commit expects is listed again instead of stored again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

import bson
from bson import ObjectId
from pymongo import ReadPreference
from pymongo.errors import BulkWriteError, WriteConcernError

from .codec import encode, size
from .documents import addresses
from .errors import SessionError
from .large_values import put_back, take_out
from .mongodb_collection import Sessions, in_time, prepare_archive
from .mongodb_commands import (
    GONE,
    Spill,
    Tail,
    Window,
    buckets_of,
    load_projection,
    loaded_agent,
    message_update,
    whole_tail,
)
from .store import Commit, LoadedAgent
from .telemetry import READ, WRITTEN, add, is_configured

__all__ = ["Archive", "Made", "listed", "listed_by", "room_for"]

_LARGEST_BUCKET = 1024 * 1024
_LARGEST_PART = 12 * 1024 * 1024

_MOST_IDS = 100_000
"""In one command."""

_LARGEST_TAIL = 128 * 1024
_LARGEST_TAIL_OF_MANY = 64 * 1024
_MANY = 4 * 1024 * 1024
"""Bytes of messages that the document holds for one agent; less when the document as a whole is large."""

_FEWEST_KEPT = 40
"""Messages that stay in the document where they fit: as many as a conversation manager keeps by default."""


class _Missing(SessionError):
    """A session lists what is not there."""


def room_for(tail: Tail) -> int:
    """How many bytes of messages a document may hold for an agent."""
    return _LARGEST_TAIL_OF_MANY if tail.document_bytes > _MANY else _LARGEST_TAIL


@dataclass
class Made:
    """What an attempt to write has inserted: all ids, and those of values by digest."""

    ids: list[ObjectId] = field(default_factory=list)
    values: dict[str, list[ObjectId]] = field(default_factory=dict)


class _Place(NamedTuple):
    """Where an archived message lies, when it was changed last, and which sessions use that bucket."""

    bucket: ObjectId
    at: int
    stamp: Any
    session_ids: list[str]


class _Cut(NamedTuple):
    """Which messages go into buckets, and which stay in the document."""

    archived: list[dict[str, Any]]
    kept: list[dict[str, Any]]


def _cut_tail(messages: list[dict[str, Any]], room: int) -> _Cut:
    """_Cut messages so that the newest of them take half of the room, or ``_FEWEST_KEPT`` of them three quarters."""
    kept = taken = 0
    for message in reversed(messages):
        taken += size(message)
        if kept and taken > (room // 2 if kept >= _FEWEST_KEPT else room * 3 // 4):
            break
        kept += 1
    return _Cut(messages[: len(messages) - kept], messages[len(messages) - kept :])


def listed(entries: Any) -> Iterator[ObjectId]:
    """The ids that references or stored messages list of the archive.

    Args:
        entries: Stored messages or references, in lists of any depth.
    """
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, list):
            yield from listed(entry)
        elif isinstance(entry, dict):
            yield from (id_ for taken in entry.get("external") or () for id_ in taken["ids"])
            if isinstance(entry.get("id"), ObjectId):
                yield entry["id"]


def listed_by(document: Mapping[str, Any]) -> Iterator[ObjectId]:
    """The ids that a session's document lists, wherever in it an older tool put an agent, whatever that is called."""
    for value in document.values():
        if isinstance(value, dict):
            yield from listed([value.get("archive"), value.get("messages"), value.get("originals")])
            yield from listed_by(value)


def _groups(messages: Sequence[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Messages in groups of at most ``_LARGEST_BUCKET`` bytes."""
    group: list[dict[str, Any]] = []
    taken = 0
    for message in messages:
        taken += size(message)
        if group and taken > _LARGEST_BUCKET:
            yield group
            group, taken = [], size(message)
        group.append(message)
    if group:
        yield group


def _value(ids: Sequence[ObjectId], found: Mapping[ObjectId, Mapping[str, Any]]) -> Any:
    if len(ids) == 1:
        return found[ids[0]]["value"]
    return bson.decode(b"".join(found[id_]["value"] for id_ in ids))["value"]


class Archive:
    """The archive of one collection of sessions."""

    def __init__(self, sessions: Sessions) -> None:
        """Address it; no I/O."""
        self._sessions = sessions
        self.collection: Sessions = sessions.database.get_collection(
            f"{sessions.name}_archive",
            codec_options=sessions.codec_options,
            read_preference=sessions.read_preference,
            write_concern=sessions.write_concern,
            read_concern=sessions.read_concern,
        )

    # Reading

    def load(
        self,
        session_id: str,
        agent_id: str,
        places: list[str],
        window: Window | None = None,
        *,
        graph: bool = False,
        found: Mapping[str, Any] | None = None,
    ) -> LoadedAgent:
        """Read one agent with some of its messages, complete: one find, and one more for what lies in the archive.

        Args:
            session_id: The session.
            agent_id: The agent or graph.
            places: Where it may be in the document.
            window: Which messages, instead of those that its conversation manager kept.
            graph: Whether it is a graph.
            found: What another command with such a projection has read already.
        """
        projection = load_projection(places, graph=graph, window=window)
        try:
            return self._read(session_id, agent_id, places, found or self._document(session_id, projection))
        except _Missing:
            # Redacted or deleted since the document was read: what it lists now is there.
            return self._read(session_id, agent_id, places, self._document(session_id, projection))

    def _document(self, session_id: str, projection: Mapping[str, Any]) -> dict[str, Any] | None:
        with in_time(self._sessions):
            document = self._sessions.find_one({"_id": session_id}, projection)
        if document and is_configured():  # only then is it worth to measure
            add("session_store.io", size(document), READ)
        return document

    def _read(
        self, session_id: str, agent_id: str, places: list[str], document: Mapping[str, Any] | None
    ) -> LoadedAgent:
        """Complete what a command with a :func:`load_projection` returned."""
        agent, read = loaded_agent(document, places, agent_id)
        if read.references:
            taken = sum(reference["bytes"] for reference in read.references)
            buckets = self._find([reference["id"] for reference in read.references], session_id, taken)
            agent.messages[:0] = [
                bucket["messages"][position - bucket["first"]]
                for reference in read.references
                for bucket in [buckets[reference["id"]]]
                for position in range(max(reference["first"], agent.first), min(reference["last"] + 1, read.stop))
            ]
        self._complete(agent.messages, session_id)
        return agent

    def _complete(self, messages: Sequence[dict[str, Any]], session_id: str) -> None:
        """Put back what lies elsewhere, in place."""
        external = [message for message in messages if "external" in message]
        if not external:
            return
        wanted = [taken for message in external for taken in message["external"]]
        ids = {id_ for taken in wanted for id_ in taken["ids"]}
        found = self._find(ids, session_id, sum(taken["bytes"] for taken in wanted))
        for message in external:
            put_back(message, [(taken["path"], _value(taken["ids"], found)) for taken in message["external"]])

    def _find(self, ids: Iterable[ObjectId], session_id: str, taken: int) -> dict[ObjectId, dict[str, Any]]:
        """Documents of the archive by their ids, ``taken`` bytes in all."""
        wanted = set(ids)
        with in_time(self.collection, taken):
            found = {each["_id"]: each for each in self.collection.find({"_id": {"$in": list(wanted)}})}
            if missing := wanted - found.keys():
                # A secondary may not have them yet.
                primary = self.collection.with_options(read_preference=ReadPreference.PRIMARY)
                found |= {each["_id"]: each for each in primary.find({"_id": {"$in": list(missing)}})}
        add("session_store.io", taken, READ)
        if missing := wanted - found.keys():
            raise _Missing(
                f"session {session_id!r} lists {len(missing)} documents of {self.collection.name!r} that are not there:"
                " it is being deleted, or the archive is damaged; factory.sessions.doctor() tells",
                session_id=session_id,
            )
        return found

    # Writing

    def take_out(self, session_id: str, commit: Commit, stored: Mapping[str, Any], made: Made) -> dict[str, Any]:
        """A stored message, or changed fields of one, with what is large in it stored in the archive."""
        rest, taken = take_out(stored)
        if taken:
            rest["external"] = [{"path": path, **self._keep(session_id, commit, value, made)} for path, value in taken]
        return rest

    def kept_originals(self, session_id: str, commit: Commit, made: Made) -> dict[int, dict[str, Any]]:
        """What redacted messages said, stored where only an audit reads it: what a commit lists of it, by position."""
        return {
            position: {
                "redacted_at": original["redacted_at"],
                "external": [{"path": [], **self._keep(session_id, commit, original["message"], made)}],
            }
            for position, original in commit.originals.items()
        }

    def originals(self, session_id: str, entries: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """What a document lists of redacted messages, each with the ``message`` that it was."""
        parts = [each["external"][0] for each in entries]
        ids = {id_ for part in parts for id_ in part["ids"]}
        found = self._find(ids, session_id, sum(part["bytes"] for part in parts)) if ids else {}
        return [{**each, "message": _value(part["ids"], found)} for each, part in zip(entries, parts, strict=True)]

    def _keep(self, session_id: str, commit: Commit, value: Any, made: Made) -> dict[str, Any]:
        whose = {"session_ids": session_id, "agent_id": encode(commit.agent_id)}
        encoded = bson.encode({"value": value})
        digest = hashlib.sha256(encoded).hexdigest()
        self._prepare()
        with in_time(self.collection, len(encoded)):
            ids = made.values.get(digest) or self._known(session_id, commit, whose, digest)
            if ids is None:
                ids = made.values[digest] = self._store(whose, digest, value, encoded)
                made.ids.extend(ids)
        return {"ids": ids, "bytes": len(encoded)}

    def _known(self, session_id: str, commit: Commit, whose: Mapping[str, Any], digest: str) -> list[ObjectId] | None:
        """The ids of a value that the agent lists at the revision that the commit expects.

        What it does not list may be removed at any time, by a redaction that holds the turn no longer.
        """
        for each in self.collection.find({**whose, "digest": digest}, {"ids": 1}):
            if self._is_listed(session_id, commit, each["ids"][0]):
                ids: list[ObjectId] = each["ids"]
                return ids
        return None

    def _is_listed(self, session_id: str, commit: Commit, id_: ObjectId) -> bool:
        if commit.expected is None:
            return False
        at = commit.at.address
        standing = {"_id": session_id, f"{at}.revision": commit.expected}
        if self._sessions.find_one({**standing, f"{at}.messages.external.ids": id_}, {"_id": 1}):
            return True
        buckets = self.collection.find({"session_ids": session_id, "messages.external.ids": id_}, {"_id": 1})
        ids = [each["_id"] for each in buckets]
        return bool(self._sessions.find_one({**standing, f"{at}.archive.id": {"$in": ids}}, {"_id": 1}))

    def _store(self, whose: Mapping[str, Any], digest: str, value: Any, encoded: bytes) -> list[ObjectId]:
        parts = [encoded[at : at + _LARGEST_PART] for at in range(0, len(encoded), _LARGEST_PART)]
        ids = [ObjectId() for _ in parts]
        kept = {**whose, "session_ids": [whose["session_ids"]], "used_at": datetime.now(UTC)}
        first = {"_id": ids[0], **kept, "digest": digest, "ids": ids, "bytes": len(encoded)}
        first["value"] = value if len(parts) == 1 else parts[0]
        rest = [
            {"_id": id_, **kept, "bytes": len(part), "value": part}
            for id_, part in zip(ids[1:], parts[1:], strict=True)
        ]
        # The first part last, because it is what another message finds.
        self._insert([*rest, first], len(encoded))
        return ids

    def _insert(self, documents: Sequence[dict[str, Any]], taken: int) -> None:
        """Insert documents of so many bytes."""
        try:
            with in_time(self.collection, taken):
                self.collection.insert_many(documents)
            add("session_store.io", taken, WRITTEN)
        except BulkWriteError as error:
            if error.details["writeErrors"]:
                raise
            # All are there, but no majority in time: to who asks again this is as any other write without one.
            raise WriteConcernError("no majority has acknowledged documents of the archive", 64) from error

    def spill(
        self, session_id: str, commit: Commit, messages: Sequence[dict[str, Any]], made: Made
    ) -> tuple[Spill, Tail] | None:
        """Move the older part of an agent's messages into buckets, for a commit that would make the document too large.

        Returns:
            What the commit has to do, and how the messages lie afterwards; ``None`` when the stored messages are not
            those that the commit expects, so that it will be refused.
        """
        standing = self._sessions.find_one({"_id": session_id}, whole_tail(commit.at.address))
        if standing is None or standing.get("revision") != commit.expected:
            return None
        stored = standing.get("messages") or []
        if len(stored) != (commit.at.size or 0):
            return None
        cut = _cut_tail([*stored, *messages], room_for(commit.at))
        archived = [self.take_out(session_id, commit, message, made) for message in cut.archived]
        references = self._insert_buckets(session_id, commit, archived)
        add("session_store.spills", len(references) and 1)
        made.ids.extend(each["id"] for each in references)
        tail = replace(
            commit.at,
            size=len(cut.kept),
            archived=commit.at.archived + len(archived),
            bytes=sum(map(size, cut.kept)),
            document_bytes=max(0, commit.at.document_bytes - commit.at.bytes) + sum(map(size, cut.kept)),
        )
        return Spill(references=references, kept=len(cut.kept)), tail

    def _insert_buckets(
        self, session_id: str, commit: Commit, messages: Sequence[dict[str, Any]]
    ) -> list[dict[str, Any]]:
        buckets = []
        first = commit.at.archived
        for group in _groups(messages):
            buckets.append(
                {
                    "_id": ObjectId(),
                    "session_ids": [session_id],
                    "agent_id": encode(commit.agent_id),
                    "first": first,
                    "messages": group,
                    "bytes": sum(map(size, group)),
                }
            )
            first += len(group)
        if buckets:
            self._prepare()
            self._insert(buckets, sum(bucket["bytes"] for bucket in buckets))
        return [
            {
                "id": bucket["_id"],
                "first": bucket["first"],
                "last": bucket["first"] + len(bucket["messages"]) - 1,
                "bytes": bucket["bytes"],
            }
            for bucket in buckets
        ]

    def stamps(self, session_id: str, address: str, positions: Sequence[int]) -> dict[int, _Place]:
        """Where archived messages lie, and when they were changed last. To be read before the turn is taken."""
        found = self._sessions.find_one({"_id": session_id}, buckets_of(address, positions))
        references = found["references"] if found else []
        stamps: dict[int, _Place] = {}
        for position in positions:
            reference = next((each for each in references if each["first"] <= position <= each["last"]), None)
            if reference is None:
                continue
            # A bucket begins where its first reference did: references are only ever cut at their end.
            index = position - reference["first"]
            bucket = self.collection.find_one({"_id": reference["id"]}, {"messages": {"$slice": [index, 1]}})
            if bucket is not None:
                stamp = bucket["messages"][0].get("updated_at")
                stamps[position] = _Place(reference["id"], index, stamp, bucket["session_ids"])
        return stamps

    def lend_originals(self, session_id: str, commit: Commit, stamps: Mapping[int, _Place]) -> None:
        """Let the other sessions whose archived messages change with this one's keep what those said, too."""
        for position, kept in commit.originals.items():
            if position not in stamps:
                continue
            lies = stamps[position]
            others = [each for each in lies.session_ids if each != session_id]
            lists_it = {"$elemMatch": {"id": lies.bucket, "last": {"$gte": position}}}
            for place in addresses("agents", commit.agent_id) if others else ():
                theirs = {"_id": {"$in": others}, f"{place}.archive": lists_it}
                found = [each["_id"] for each in self._sessions.find(theirs, {"_id": 1})]
                if found and self.share(dict.fromkeys(listed([kept]), 0), found):
                    entry = {"position": position, **kept}
                    theirs["_id"] = {"$in": found}
                    self._sessions.update_many(theirs, {"$push": {f"{place}.originals": entry}})

    def rewrite(self, changes: Mapping[int, Mapping[str, Any]], stamps: Mapping[int, _Place]) -> bool:
        """Change archived messages where they lie, for all sessions that list them, unless somebody else did."""
        for position, fields in changes.items():
            if position not in stamps:
                return False
            id_, index, stamp, _ = stamps[position]
            condition = {"_id": id_, f"messages.{index}.updated_at": stamp}
            # Whoever shares the bucket at this moment learns by the count that it is not what he has read.
            update = {**message_update(f"messages.{index}", fields), "$inc": {"rewritten": 1}}
            # Read afterwards: whoever shares the bucket later finds the new values in it.
            bucket = self.collection.find_one_and_update(condition, update, {"session_ids": 1}, return_document=True)
            if bucket is None:
                return False
            if values := list(listed([fields])):
                self.share(dict.fromkeys(values, 0), bucket["session_ids"])
        return True

    def of_agent(self, session_id: str, agent_id: str) -> list[ObjectId]:
        """All that lies there for an agent, listed or not. To be read before the turn is taken."""
        whose = {"session_ids": session_id, "agent_id": encode(agent_id)}
        return [each["_id"] for each in self.collection.find(whose, {"_id": 1})]

    def discard(self, session_id: str, ids: Sequence[ObjectId]) -> None:
        """Remove those that no session lists; what forks list is left to them."""
        if not ids:
            return
        used = self.used_by([session_id])
        unlisted = [id_ for id_ in ids if id_ not in used]
        if not unlisted:
            return
        self.collection.delete_many({"_id": {"$in": unlisted}, "session_ids": [session_id]})
        for shared in self.collection.find({"_id": {"$in": unlisted}}, {"session_ids": 1}):
            self._let_go(session_id, shared["_id"], shared["session_ids"])

    def _let_go(self, session_id: str, id_: ObjectId, session_ids: Sequence[str]) -> None:
        """Remove what a session lists no more, unless another lists it, or may be about to: a fork lists it last."""
        others = [each for each in session_ids if each != session_id]
        as_it_was = {"_id": id_, "session_ids": list(session_ids)}
        if id_ in self.used_by(others) or self._sessions.count_documents({"_id": {"$in": others}}) < len(others):
            self.collection.update_one(as_it_was, {"$pull": {"session_ids": session_id}})
            return
        self.collection.delete_one(as_it_was)

    def used_by(self, session_ids: Sequence[str]) -> set[ObjectId]:
        """All that some sessions list, by way of their buckets too."""
        used = {
            id_
            for document in self._sessions.find({"_id": {"$in": list(session_ids)}}, {"agents": 1})
            for id_ in listed_by(document)
        }
        with_values = {"_id": {"$in": [*used]}, "messages.external": {"$exists": True}}
        for bucket in self.collection.find(with_values, {"messages.external": 1}):
            used |= set(listed(bucket["messages"]))
        return used

    def share(self, ids: Mapping[ObjectId, int], session_ids: Sequence[str]) -> bool:
        """Let other sessions list documents too; the doctor takes them for used now.

        Args:
            ids: Which, and how often each was rewritten.
            session_ids: The others.

        Returns:
            Whether all of them were there, and rewritten no more often.
        """
        never: dict[str, Any] = {"_id": {"$in": [id_ for id_, times in ids.items() if not times]}}
        often = [{"_id": id_, "rewritten": times} for id_, times in ids.items() if times]
        update = {"$addToSet": {"session_ids": {"$each": list(session_ids)}}, "$set": {"used_at": datetime.now(UTC)}}
        condition = {"$or": [{**never, "rewritten": {"$exists": False}}, *often]}
        return self.collection.update_many(condition, update).matched_count == len(ids)

    def take_back(self, made: Made) -> None:
        """Remove what a refused attempt had inserted."""
        if made.ids:
            self.collection.delete_many({"_id": {"$in": made.ids}})

    # Deleting

    def delete(self, session_id: str, condition: Mapping[str, Any] | None = None) -> bool:
        """Remove a session with all that belongs to it. Interrupted anywhere, a repeat finishes it.

        Args:
            session_id: The session.
            condition: What must hold of it.

        Returns:
            Whether there was one.
        """
        # From here on it reads as absent, and every flush of it is refused.
        deleting = {"_id": session_id, "deleting": str(ObjectId())}
        mark = {"$set": {"deleting": deleting["deleting"]}}
        if not self._sessions.update_one({"_id": session_id, **(condition or {})}, mark).matched_count:
            return False
        ids = [each["_id"] for each in self.collection.find({"session_ids": session_id}, {"_id": 1})]
        if self._sessions.find_one(deleting, {"_id": 1}) is None:
            # Another writer finishes it, and what was found may be of a later session under this id.
            return True
        for at in range(0, len(ids), _MOST_IDS):
            self._leave(session_id, ids[at : at + _MOST_IDS])
        self._sessions.delete_one(deleting)
        return True

    def _leave(self, session_id: str, ids: Sequence[ObjectId]) -> None:
        """Remove what only this session uses, and this session from what others use too."""
        ours = {"_id": {"$in": list(ids)}}
        if self.collection.delete_many({**ours, "session_ids": [session_id]}).deleted_count < len(ids):
            self.collection.update_many(ours, {"$pull": {"session_ids": session_id}})
            self.collection.delete_many({**ours, "session_ids": []})

    def finish_deletion(self, session_id: str) -> None:
        """Remove what an expired or half-deleted session left under its id."""
        self.delete(session_id, {"$expr": GONE})

    def _prepare(self) -> None:
        prepare_archive(self.collection)
