"""Rewinds: the end of a history cut off."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..codec import encode
from ..errors import SessionBusyError, SessionConflictError
from ..mongodb_collection import in_time, noted
from ..mongodb_commands import Tail, commit_filter, standing_projection
from ..redaction import change_of
from ..store import AgentSummary, Commit
from .beginning import Beginning, beginning_of, beginning_projection
from .histories import unknown_agent
from .loan import OUTLINE
from .notes import Notes
from .session_documents import unknown

__all__ = ["Rewinds"]


class Rewinds(Notes):
    """Cuts histories."""

    def rewind(
        self, session_id: str, position: int, *, agent_id: str = "default", turn_timeout: float = 30.0
    ) -> AgentSummary:
        """See :class:`~mongodb_session_manager.SessionCatalogue`.

        Four commands, and two to five more for what lies in the archive.
        """
        self._prepare()
        with noted(session_id), in_time(self.collection):
            document = self.collection.find_one(
                {"_id": session_id}, {**beginning_projection(agent_id, position), "forked_from": 1}
            )
            beginning = beginning_of(session_id, agent_id, document, position)
            data = self._cut(beginning)
            there = self._archive.of_agent(session_id, agent_id)
            commit = replace(change_of(agent_id, beginning.agent, {}), contested=True, data=data, count=position)
            condition = commit_filter(session_id, commit, turn_timeout)
            update = _rewound(beginning, commit, (document or {}).get("forked_from") or [])
            if not self.collection.update_one(condition, update).matched_count:
                raise self._refusal(session_id, agent_id, beginning.agent.at, turn_timeout)
            self._archive.discard(session_id, there)
        summary = self.agent_summary(session_id, agent_id)
        if summary is None:
            raise unknown_agent(session_id, agent_id)
        return summary

    def _cut(self, beginning: Beginning) -> dict[str, Any]:
        outlines = []
        if beginning.wanted:
            outlines = list(self._archive.collection.find({"_id": {"$in": beginning.wanted}}, OUTLINE))
        return beginning.cut(outlines)

    def _refusal(self, session_id: str, agent_id: str, at: Tail, turn_timeout: float) -> Exception:
        """Why nothing was changed."""
        standing = self.collection.find_one({"_id": session_id}, standing_projection(at.address))
        if standing is None or standing["gone"]:
            return unknown(session_id)
        wait = turn_timeout - (standing.get("age_ms") or 0) / 1000
        if standing.get("owner") is not None and wait > 0:
            return SessionBusyError(
                f"a turn of agent {agent_id!r} in session {session_id!r} is running; try again when it has ended",
                session_id=session_id,
                agent_id=agent_id,
                retry_after=wait,
            )
        return SessionConflictError(
            f"the history of agent {agent_id!r} in session {session_id!r} changed meanwhile; look at it and try again",
            session_id=session_id,
            agent_id=agent_id,
        )


def _rewound(beginning: Beginning, commit: Commit, forked_from: list[Mapping[str, Any]]) -> dict[str, Any]:
    """What a rewind does to the document."""
    at: Tail = commit.at
    position = beginning.position
    sets: dict[str, Any] = {
        f"{at.address}.agent_data": commit.data,
        f"{at.address}.revision": commit.revision,
        f"{at.address}.message_count": position,
    }
    name = encode(commit.agent_id)
    for index, origin in enumerate(forked_from):
        if origin["agent_id"] == name and origin["count"] > position:
            sets[f"forked_from.{index}.count"] = position
    update: dict[str, Any] = {
        "$set": sets,
        "$unset": {f"{at.address}.turn": True},
        "$currentDate": {"updated_at": True, f"{at.address}.updated_at": True},
    }
    if position < at.archived:
        sets[f"{at.address}.archive"] = beginning.references
    if at.size is not None:
        kept = {"$each": [], "$slice": max(0, position - at.archived)}
        update["$push"] = {f"{at.address}.messages": kept}
    return update
