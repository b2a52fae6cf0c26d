"""Metadata, title and feedback: single updates beside the turns, and how an agent is set up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from pymongo.errors import OperationFailure

from ..codec import TAG, decode, encode, size
from ..documents import addresses, prompt_change
from ..errors import SessionNotFoundError, SessionTooLargeError
from ..mongodb_commands import lineage_push
from ..store import AgentSummary, SessionSummary
from .session_documents import SessionDocuments, unknown
from .summaries import SUMMARY, agent_summary, agent_summary_expression, is_agent, session_summary

__all__ = ["Notes", "metadata_fields"]

_LARGEST_FEEDBACK = 1024 * 1024
_PATH_COLLISION = {28, 40}
"""PathNotViable and ConflictingUpdateOperators."""


class Notes(SessionDocuments):
    """What is noted of a session and of its agents."""

    def get(self, session_id: str) -> SessionSummary | None:
        """See :class:`~mongodb_session_manager.SessionCatalogue`. One find."""
        document = self._find(session_id, SUMMARY)
        return None if document is None else session_summary(document)

    def _known(self, session_id: str) -> SessionSummary:
        summary = self.get(session_id)
        if summary is None:
            raise unknown(session_id)
        return summary

    def patch(
        self, session_id: str, *, title: str | None = None, metadata: Mapping[str, Any] | None = None
    ) -> SessionSummary:
        """See :class:`~mongodb_session_manager.SessionCatalogue`."""
        sets = metadata_fields(metadata or {})
        if title is not None:
            sets["title"] = title
        if sets:
            self._change(session_id, {"$set": sets})
        return self._known(session_id)

    def rename(self, session_id: str, title: str | None) -> SessionSummary:
        """See :class:`~mongodb_session_manager.SessionCatalogue`. One update, one find."""
        self._change(session_id, {"$unset": {"title": True}} if title is None else {"$set": {"title": title}})
        return self._known(session_id)

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
        sets = metadata_fields(metadata)
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
        unset = dict.fromkeys(metadata_fields(dict.fromkeys(keys)), True)
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
            raise unknown(session_id)
        raise SessionTooLargeError(
            f"the feedback in session {session_id!r} would exceed 1 MB; nothing was stored", session_id=session_id
        )

    def agent_summary(self, session_id: str, agent_id: str) -> AgentSummary | None:
        """See :class:`~mongodb_session_manager.SessionCatalogue`. One find."""
        places = addresses("agents", agent_id)
        document = self._find(
            session_id, {"_id": 0} | {f"at{i}": agent_summary_expression(place) for i, place in enumerate(places)}
        )
        if document is None:
            return None
        primary, *older = (document.get(f"at{index}") for index in range(len(places)))
        found = [primary, *(value for value in older if is_agent(value, agent_id))]
        agent = next((value for value in found if is_agent(value)), None)
        return None if agent is None else agent_summary(agent_id, agent)

    def update_agent_config(
        self, session_id: str, agent_id: str, config: Mapping[str, Any], *, changed_by: str | None = None
    ) -> None:
        """See :class:`~mongodb_session_manager.SessionCatalogue`. One update."""
        encoded = {name: encode(value) for name, value in config.items()}
        changed = prompt_change(encoded, "config", changed_by)
        for index, place in enumerate(addresses("agents", agent_id)):
            update = {"$set": {f"{place}.agent_data.{name}": value for name, value in encoded.items()}}
            if changed:
                update["$push"] = lineage_push(place, changed)
            # At an older address may be another agent, whose key that is.
            is_its = {f"{place}.agent_data.agent_id": agent_id} if index else {}
            if self._update(session_id, update, {f"{place}.agent_data": {"$type": "object"}, **is_its}):
                return
        raise SessionNotFoundError(
            f"agent {agent_id!r} in session {session_id!r} does not exist", session_id=session_id, agent_id=agent_id
        )

    def _read(self, session_id: str, field: str) -> dict[str, Any]:
        return self._find(session_id, {"_id": 0, field: 1}) or {}

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
                raise unknown(session_id)
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


def metadata_fields(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a document that metadata by dotted keys is, with encoded values.

    Raises:
        TypeError: It is no mapping.
        ValueError: MongoDB cannot address a key.
    """
    for key in map(_text, _mapping("metadata", metadata)):
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
