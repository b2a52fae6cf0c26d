"""MongoDB beside a turn: the catalogue of sessions, their metadata and their feedback."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, NamedTuple

from bson.codec_options import CodecOptions
from pymongo import MongoClient, ReturnDocument
from pymongo.errors import DocumentTooLarge, DuplicateKeyError, OperationFailure
from strands.types.session import SessionMessage

from .aio import Awaitables
from .archive import Archive
from .codec import TAG, decode, encode, size
from .doctor import DoctorReport, examine
from .documents import addresses, aware, session_message, valid_session_id
from .errors import SessionError, SessionNotFoundError, SessionTooLargeError
from .mongodb_collection import Sessions, background_of, in_time, noted, open_collection, prepare
from .mongodb_commands import GONE, TOO_LARGE, Window, alive, message_count, new_session
from .mongodb_session_store import MongoDBSessionStore
from .store import AgentSummary, SessionPage, SessionSummary

__all__ = ["MongoDBSessionCatalogue"]

_LARGEST_FEEDBACK = 1024 * 1024
_PATH_COLLISION = {28, 40}
"""PathNotViable and ConflictingUpdateOperators."""

_CONFIG = ("name", "model", "system_prompt", "prompt_metadata")


class MongoDBSessionCatalogue:
    """A :class:`~mongodb_session_manager.SessionCatalogue` on one collection."""

    def __init__(
        self,
        client: MongoClient[Any],
        database_name: str = "database_name",
        collection_name: str = "collection_name",
        metadata_fields: Sequence[str] | None = None,
    ) -> None:
        """Address the collection; no I/O. The client is borrowed and never closed here."""
        self.client = client
        self.metadata_fields = tuple(metadata_fields or ())
        self.collection: Sessions = open_collection(client, database_name, collection_name).with_options(
            codec_options=CodecOptions(tz_aware=True)
        )
        # Lists and histories are read as the client says, all else from the primary.
        self._lists = self.collection.with_options(read_preference=client.read_preference)
        self._archive = Archive(self.collection)

    @cached_property
    def aio(self) -> Awaitables:
        """The awaitable form of every method."""
        methods = {name for name, value in vars(type(self)).items() if callable(value) and not name.startswith("_")}
        return Awaitables(self, background_of(self.client), frozenset(methods))

    def create(
        self,
        session_id: str,
        *,
        metadata: Mapping[str, Any] | None = None,
        title: str | None = None,
        owner: str | None = None,
        application_name: str | None = None,
    ) -> SessionSummary:
        """See :class:`~mongodb_session_manager.SessionCatalogue`."""
        self._prepare()
        fields = {"title": title, "owner": owner, "application_name": application_name}
        document = new_session(valid_session_id(session_id), fields)
        document |= {"_id": session_id, "updated_at": document["created_at"], "metadata": encode(dict(metadata or {}))}
        try:
            with noted(session_id):
                self._insert(document)
        except DuplicateKeyError as error:
            raise SessionError(f"session {session_id!r} exists already", session_id=session_id) from error
        return _summary(document)

    def _insert(self, document: dict[str, Any]) -> None:
        try:
            self.collection.insert_one(document)
        except DuplicateKeyError:
            self._archive.finish_deletion(document["_id"])
            self.collection.insert_one(document)

    def get(self, session_id: str) -> SessionSummary | None:
        """See :class:`~mongodb_session_manager.SessionCatalogue`. One find."""
        self._prepare()
        with noted(session_id), in_time(self.collection):
            document = self.collection.find_one({"_id": session_id}, _SUMMARY)
        return None if document is None or document["gone"] else _summary(document)

    def page(
        self,
        *,
        limit: int = 50,
        cursor: str | None = None,
        owner: str | None = None,
        application_name: str | None = None,
    ) -> SessionPage:
        """See :class:`~mongodb_session_manager.SessionCatalogue`. One find.

        Raises:
            ValueError: ``limit`` is below 1, or the cursor is not one of ours.
        """
        if limit < 1:
            raise ValueError(f"limit must be at least 1, not {limit}")
        self._prepare()
        condition: dict[str, Any] = {
            **alive(),
            **{
                name: value
                for name, value in {"owner": owner, "application_name": application_name}.items()
                if value is not None
            },
        }
        if cursor is not None:
            condition["$or"] = _behind(*_read_cursor(cursor))
        found = list(self._lists.find(condition, _SUMMARY).sort([("updated_at", -1), ("_id", -1)]).limit(limit + 1))
        items = [_summary(document) for document in found[:limit]]
        return SessionPage(items=items, next_cursor=_cursor(found[limit - 1]) if len(found) > limit else None)

    def messages(
        self, session_id: str, agent_id: str = "default", *, limit: int | None = None, offset: int = 0
    ) -> list[SessionMessage]:
        """See :class:`~mongodb_session_manager.SessionCatalogue`. One find.

        Raises:
            ValueError: ``limit`` or ``offset`` is negative.
        """
        if offset < 0 or (limit is not None and limit < 0):
            raise ValueError(f"limit and offset must not be negative: limit={limit}, offset={offset}")
        window = Window(start=offset, stop=None if limit is None else offset + limit)
        return self._messages(session_id, agent_id, window)

    def messages_before(
        self, session_id: str, agent_id: str = "default", *, position: int | None = None, limit: int = 50
    ) -> list[SessionMessage]:
        """See :class:`~mongodb_session_manager.SessionCatalogue`. One find; one more for what lies in the archive.

        Raises:
            ValueError: ``position`` is negative or ``limit`` below 1.
        """
        if limit < 1 or (position is not None and position < 0):
            raise ValueError(f"position must not be negative and limit at least 1: position={position}, limit={limit}")
        return self._messages(session_id, agent_id, Window(stop=position, limit=limit))

    def _messages(self, session_id: str, agent_id: str, window: Window) -> list[SessionMessage]:
        with noted(session_id):
            agent = Archive(self._lists).load(session_id, agent_id, addresses("agents", agent_id), window)
        if not agent.found:
            raise _unknown(session_id)
        return [session_message(stored, agent.first + index) for index, stored in enumerate(agent.messages)]

    def patch(
        self, session_id: str, *, title: str | None = None, metadata: Mapping[str, Any] | None = None
    ) -> SessionSummary:
        """See :class:`~mongodb_session_manager.SessionCatalogue`."""
        sets = _metadata_fields(_mapping("metadata", metadata or {}))
        if title is not None:
            sets["title"] = title
        if sets:
            self._change(session_id, {"$set": sets})
        summary = self.get(session_id)
        if summary is None:
            raise _unknown(session_id)
        return summary

    def delete(self, session_id: str) -> bool:
        """See :class:`~mongodb_session_manager.SessionCatalogue`."""
        with noted(session_id):
            return self._archive.delete(session_id)

    def clear_turns(self) -> int:
        """See :class:`~mongodb_session_manager.SessionCatalogue`."""
        each = {"$map": {"input": {"$objectToArray": "$$part"}, "as": "a", "in": {"k": "$$a.k", "v": _WITHOUT_TURN}}}
        changed = 0
        for part in ("agents", "multi_agents"):
            free = {"$let": {"vars": {"part": f"${part}"}, "in": {"$arrayToObject": each}}}
            turns = {"$map": {"input": {"$objectToArray": f"${part}"}, "as": "a", "in": {"$type": "$$a.v.turn"}}}
            condition = {part: {"$type": "object"}, "$expr": {"$in": ["object", turns]}}
            changed += self.collection.update_many(condition, [{"$set": {part: free}}]).modified_count
        return changed

    def doctor(
        self,
        session_id: str | None = None,
        *,
        repair: bool = False,
        grace: float = 3600.0,
        turn_timeout: float = 30.0,
    ) -> DoctorReport:
        """Find what a crash left, in one session or in all, and mend it. See :func:`.doctor.examine`."""
        store = MongoDBSessionStore(self.client, self.collection.database.name, self.collection.name)
        return examine(store, session_id, repair=repair, grace=grace, turn_timeout=turn_timeout)

    def metadata(self, session_id: str) -> dict[str, Any]:
        """See :class:`~mongodb_session_manager.SessionCatalogue`. One find."""
        return dict(decode(self._read(session_id, "metadata").get("metadata") or {}))

    def update_metadata(
        self,
        session_id: str,
        metadata: Mapping[str, Any],
        *,
        create: Mapping[str, Any] | None = None,
        created_at: datetime | None = None,
    ) -> datetime | None:
        """See :class:`~mongodb_session_manager.SessionCatalogue`. One update.

        Raises:
            ValueError: MongoDB cannot address a key, or one key lies inside another's value.
        """
        sets = _metadata_fields(_mapping("metadata", metadata))
        return self._change(session_id, {"$set": sets}, create, created_at) if sets else None

    def delete_metadata(
        self,
        session_id: str,
        keys: Sequence[str],
        *,
        create: Mapping[str, Any] | None = None,
        created_at: datetime | None = None,
    ) -> datetime | None:
        """See :class:`~mongodb_session_manager.SessionCatalogue`. One update.

        Raises:
            ValueError: MongoDB cannot address a key.
        """
        if isinstance(keys, str):
            raise TypeError("keys must be several keys, such as a list, not a single str")
        unset = dict.fromkeys(_metadata_fields(dict.fromkeys(keys)), True)
        return self._change(session_id, {"$unset": unset}, create, created_at) if unset else None

    def feedbacks(self, session_id: str) -> list[dict[str, Any]]:
        """See :class:`~mongodb_session_manager.SessionCatalogue`. One find."""
        return list(decode(self._read(session_id, "feedbacks").get("feedbacks") or []))

    def add_feedback(
        self,
        session_id: str,
        feedback: Mapping[str, Any],
        *,
        create: Mapping[str, Any] | None = None,
        created_at: datetime | None = None,
    ) -> datetime | None:
        """See :class:`~mongodb_session_manager.SessionCatalogue`. One update."""
        now = datetime.now(UTC)
        entry = encode({**_mapping("feedback", feedback), "created_at": now})
        if TAG not in entry:
            entry["created_at"] = now
        push = {"$push": {"feedbacks": entry}}
        room = _LARGEST_FEEDBACK - size(entry)
        fits = {"$expr": {"$lte": [{"$bsonSize": {"all": {"$ifNull": ["$feedbacks", []]}}}, room]}}
        if room >= 0 and self._update(session_id, push, fits, created_at=created_at):
            return None
        if room >= 0 and create is not None:
            # An upsert cannot compare sizes; if it finds feedback, another writer has made the session meanwhile.
            none: dict[str, Any] = {"feedbacks": {"$in": [None, []]}}
            if written := self._update(session_id, push, none, create) or self._update(session_id, push, fits):
                return written.created_at
        if create is None and not self._is_there(session_id, created_at):
            raise _unknown(session_id)
        raise SessionTooLargeError(
            f"the feedback in session {session_id!r} would exceed 1 MB; nothing was stored", session_id=session_id
        )

    def agent_summary(self, session_id: str, agent_id: str) -> AgentSummary | None:
        """See :class:`~mongodb_session_manager.SessionCatalogue`. One find."""
        places = addresses("agents", agent_id)
        projection = {"_id": 0, "gone": GONE} | {f"at{i}": _agent_summary_expression(p) for i, p in enumerate(places)}
        with noted(session_id), in_time(self.collection):
            document = self.collection.find_one({"_id": session_id}, projection)
        if document is None or document["gone"]:
            return None
        primary, *older = (document.get(f"at{index}") for index in range(len(places)))
        found = [primary, *(value for value in older if _is_agent(value, agent_id))]
        agent = next((value for value in found if _is_agent(value)), None)
        return None if agent is None else _agent_summary(agent_id, agent)

    def update_agent_config(self, session_id: str, agent_id: str, config: Mapping[str, Any]) -> None:
        """See :class:`~mongodb_session_manager.SessionCatalogue`. One update."""
        for index, place in enumerate(addresses("agents", agent_id)):
            sets = {f"{place}.agent_data.{name}": encode(value) for name, value in config.items()}
            # At an older address may be another agent, whose key that is.
            is_its = {f"{place}.agent_data.agent_id": agent_id} if index else {}
            if self._update(session_id, {"$set": sets}, {f"{place}.agent_data": {"$type": "object"}, **is_its}):
                return
        raise SessionNotFoundError(
            f"agent {agent_id!r} in session {session_id!r} does not exist", session_id=session_id, agent_id=agent_id
        )

    def _prepare(self) -> None:
        prepare(self.collection, self.metadata_fields)

    def _read(self, session_id: str, field: str) -> dict[str, Any]:
        with noted(session_id), in_time(self.collection):
            document = self.collection.find_one({"_id": session_id}, {"_id": 0, field: 1, "gone": GONE})
        return {} if document is None or document["gone"] else document

    def _change(
        self,
        session_id: str,
        update: dict[str, Any],
        create: Mapping[str, Any] | None = None,
        created_at: datetime | None = None,
    ) -> datetime | None:
        try:
            written = self._update(session_id, update, create=create, created_at=created_at)
            if written is None:
                raise _unknown(session_id)
            return written.created_at
        except OperationFailure as error:
            if error.code not in _PATH_COLLISION:
                raise
            names = sorted(name.removeprefix("metadata.") for fields in update.values() for name in fields)
            raise ValueError(
                f"metadata keys {names}: one of them lies inside another's value, or inside a value that is no object"
            ) from None

    def _is_there(self, session_id: str, created_at: datetime | None) -> bool:
        found = self.get(session_id)
        return found is not None and created_at in (None, found.created_at)

    def _update(
        self,
        session_id: str,
        update: dict[str, Any],
        condition: Mapping[str, Any] | None = None,
        create: Mapping[str, Any] | None = None,
        created_at: datetime | None = None,
    ) -> _Written | None:
        """What was written; ``None`` when there was no such session and it may not be created."""
        self._prepare()
        meant = {"_id": session_id, **alive(), **(condition or {})}
        if created_at is not None:
            meant["created_at"] = created_at
        update = {**update, "$currentDate": {"updated_at": True}}
        if create is not None:
            set_already = {name.partition(".")[0] for fields in update.values() for name in fields}
            fresh = new_session(valid_session_id(session_id), create)
            update["$setOnInsert"] = {name: value for name, value in fresh.items() if name not in set_already}
        with noted(session_id), in_time(self.collection):
            for _ in range(2):
                try:
                    written = self.collection.find_one_and_update(
                        meant, update, _CREATED_AT, upsert=create is not None, return_document=ReturnDocument.AFTER
                    )
                except DuplicateKeyError:
                    # Another writer has made the session meanwhile, or what lies under its id reads as absent.
                    self._archive.finish_deletion(session_id)
                except (DocumentTooLarge, OperationFailure) as error:
                    if isinstance(error, DocumentTooLarge) or error.code in TOO_LARGE:
                        raise SessionTooLargeError(
                            f"session {session_id!r} would outgrow the 16 MB that MongoDB allows a document;"
                            " nothing was written",
                            session_id=session_id,
                        ) from None
                    if not self._replace_nulls(session_id):
                        raise
                else:
                    return None if written is None else _Written(_when(written))
        return None

    def _replace_nulls(self, session_id: str) -> bool:
        """Whether an older tool had left null where fields or entries are to be set, which the database refuses."""
        empty: dict[str, Any] = {"metadata": {}, "feedbacks": []}
        changed = [
            self.collection.update_one({"_id": session_id, name: {"$type": "null"}}, {"$set": {name: value}})
            for name, value in empty.items()
        ]
        return any(result.modified_count for result in changed)


class _Written(NamedTuple):
    """A session was changed that was created then; an older tool may have left no date."""

    created_at: datetime | None


_CREATED_AT = {"_id": 0, "created_at": 1}


def _when(document: Mapping[str, Any]) -> datetime | None:
    created_at = document.get("created_at")
    return aware(created_at) if isinstance(created_at, datetime) else None


_WITHOUT_TURN: dict[str, Any] = {
    "$cond": [
        {"$eq": [{"$type": "$$a.v"}, "object"]},
        {"$unsetField": {"field": "turn", "input": "$$a.v"}},
        "$$a.v",
    ]
}


_AGENT_FIELDS: dict[str, Any] = {
    "$cond": [
        {"$eq": [{"$type": "$$a.v"}, "object"]},
        {
            "$mergeObjects": [
                {
                    "$unsetField": {
                        "field": "messages",
                        "input": {"$unsetField": {"field": "archive", "input": "$$a.v"}},
                    }
                },
                {"size": message_count("$$a.v")},
            ]
        },
        None,
    ]
}

_SUMMARY: dict[str, Any] = {
    **dict.fromkeys(("title", "owner", "application_name", "created_at", "updated_at", "metadata"), 1),
    "gone": GONE,
    "agents": {
        "$map": {
            "input": {"$objectToArray": {"$cond": [{"$eq": [{"$type": "$agents"}, "object"]}, "$agents", {}]}},
            "as": "a",
            "in": {"k": "$$a.k", "v": _AGENT_FIELDS},
        }
    },
}
"""A session without its messages."""


def _agent_summary_expression(place: str) -> dict[str, Any]:
    return {"agent_data": f"${place}.agent_data", "totals": f"${place}.totals", "size": message_count(f"${place}")}


def _summary(document: Mapping[str, Any]) -> SessionSummary:
    created_at = _date(document.get("created_at"))
    agents = {
        agent.agent_id: agent for entry in document.get("agents") or () for agent in _agents([entry["k"]], entry["v"])
    }
    return SessionSummary(
        session_id=document["_id"],
        created_at=created_at,
        updated_at=_date(document.get("updated_at"), created_at),
        is_dated=isinstance(document.get("created_at"), datetime),
        title=document.get("title"),
        owner=document.get("owner"),
        application_name=document.get("application_name"),
        metadata=dict(decode(document.get("metadata") or {})),
        agents=agents,
    )


def _agents(path: list[str], value: Any) -> Iterator[AgentSummary]:
    """The agents at and below a key: an older tool nested ``team.alpha`` as ``{team: {alpha: …}}``."""
    if not isinstance(value, dict):
        return
    if _is_agent(value):
        stored_id = decode(value["agent_data"].get("agent_id"))
        yield _agent_summary(stored_id if isinstance(stored_id, str) else ".".join(path), value)
    for key, below in value.items():
        if key not in _OF_AN_AGENT:
            yield from _agents([*path, key], below)


_OF_AN_AGENT = {"agent_data", "archive", "created_at", "messages", "message_count", "revision", "totals", "turn"}


def _is_agent(value: Any, agent_id: str | None = None) -> bool:
    """Whether this is an agent, or this very one."""
    if not isinstance(value, dict) or not isinstance(value.get("agent_data"), dict) or not value["agent_data"]:
        return False
    return agent_id is None or bool(value["agent_data"].get("agent_id") == agent_id)


def _agent_summary(agent_id: str, agent: Mapping[str, Any]) -> AgentSummary:
    data = agent["agent_data"]
    config = {name: decode(data[name]) for name in _CONFIG if name in data}
    size = agent["size"] if "size" in agent else _count(agent)
    return AgentSummary(
        agent_id=agent_id,
        name=config.get("name") or agent_id,
        message_count=size,
        state=dict(decode(data.get("state") or {})),
        totals=dict(agent.get("totals") or {}),
        config=config,
    )


def _count(agent: Mapping[str, Any]) -> int:
    """The length of the history of an agent that was read whole, because an older tool nested it in another."""
    archive = agent.get("archive") or ()
    return (archive[-1]["last"] + 1 if archive else 0) + len(agent.get("messages") or ())


def _metadata_fields(metadata: Mapping[str, Any]) -> dict[str, Any]:
    for key in map(_text, metadata):
        if "\x00" in key or any(not part or part[0] == "$" for part in key.split(".")):
            raise ValueError(
                f"metadata key {key!r} cannot be stored: a key is text without NUL, and no part of it between dots is"
                " empty or begins with a dollar sign"
            )
    return {f"metadata.{key}": encode(value) for key, value in metadata.items()}


def _mapping(name: str, value: Mapping[str, Any]) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise TypeError(f"{name} must be a mapping, not {type(value).__name__}")
    return value


def _text(key: object) -> str:
    if not isinstance(key, str):
        raise ValueError(f"metadata key {key!r} is not text")
    return key


def _cursor(last: Mapping[str, Any]) -> str:
    updated_at = last.get("updated_at")
    if isinstance(updated_at, datetime):
        updated_at = updated_at.isoformat()
    elif updated_at is not None:
        updated_at = [str(updated_at)]
    return base64.urlsafe_b64encode(json.dumps([updated_at, last["_id"]]).encode()).decode()


def _read_cursor(cursor: str) -> tuple[datetime | str | None, str]:
    try:
        updated_at, session_id = json.loads(base64.urlsafe_b64decode(cursor.encode()))
        if isinstance(updated_at, list):
            [updated_at] = map(valid_session_id, updated_at)
        elif updated_at is not None:
            updated_at = aware(datetime.fromisoformat(updated_at)).astimezone(UTC)
        return updated_at, valid_session_id(session_id)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise ValueError("the cursor is not one that a page of sessions returned") from error


def _behind(updated_at: datetime | str | None, session_id: str) -> list[dict[str, Any]]:
    """What comes behind a session in a list: behind dates those that an older tool wrote as text, then none at all."""
    same = {"updated_at": updated_at, "_id": {"$lt": session_id}}
    if updated_at is None:
        return [same]
    text = [{"updated_at": {"$type": "string"}}] if isinstance(updated_at, datetime) else []
    return [{"updated_at": {"$lt": updated_at}}, same, *text, {"updated_at": None}]


def _date(value: Any, default: datetime | None = None) -> datetime:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            value = None
    if isinstance(value, datetime):
        return aware(value)
    return datetime.fromtimestamp(0, UTC) if default is None else default


def _unknown(session_id: str) -> SessionNotFoundError:
    return SessionNotFoundError(f"session {session_id!r} does not exist", session_id=session_id)
