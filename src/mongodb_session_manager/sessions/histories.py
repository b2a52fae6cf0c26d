"""What was said in a session, read and redacted without an agent."""

from __future__ import annotations

from operator import itemgetter
from typing import Any

from strands.types.session import SessionMessage

from ..archive import Archive
from ..codec import encode
from ..documents import addresses, session_message
from ..errors import SessionNotFoundError
from ..mongodb_collection import in_time, noted
from ..mongodb_commands import Window
from ..redaction import redact_message
from ..store import LoadedAgent, OriginalMessage
from .session_documents import SessionDocuments, unknown

__all__ = ["Histories", "unknown_agent"]


class Histories(SessionDocuments):
    """The histories of agents."""

    def messages(
        self, session_id: str, agent_id: str = "default", *, limit: int | None = None, offset: int = 0
    ) -> list[SessionMessage]:
        """See :class:`~mongodb_session_manager.SessionCatalogue`. One find; one more for what lies in the archive.

        Raises:
            ValueError: ``limit`` or ``offset`` is negative.
        """
        if offset < 0 or (limit is not None and limit < 0):
            raise ValueError(f"limit and offset must not be negative: limit={limit}, offset={offset}")
        return self._messages(session_id, agent_id, _window(offset, limit))

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
            raise unknown(session_id)
        return [session_message(stored, agent.first + index) for index, stored in enumerate(agent.messages)]

    def redact(
        self,
        session_id: str,
        position: int,
        replacement: str = "[redacted]",
        *,
        agent_id: str = "default",
        turn_timeout: float = 30.0,
    ) -> list[str]:
        """See :class:`~mongodb_session_manager.SessionCatalogue`. For each session a load and a commit."""
        self._prepare()

        def forks_of(agent: LoadedAgent) -> list[str]:
            return self._forks_of(session_id, agent_id, agent, position)

        return redact_message(
            self._store,
            session_id,
            agent_id,
            position,
            replacement,
            turn_timeout,
            forks_of,
            keeps_originals=self._keeps_originals,
        )

    def originals(self, session_id: str, agent_id: str = "default") -> list[OriginalMessage]:
        """See :class:`~mongodb_session_manager.SessionCatalogue`. Two finds."""
        places = addresses("agents", agent_id)
        document = self._find(session_id, {f"at{index}": f"${place}.originals" for index, place in enumerate(places)})
        if document is None:
            raise unknown(session_id)
        entries = [each for index in range(len(places)) for each in document.get(f"at{index}") or ()]
        with noted(session_id):
            found = self._archive.originals(session_id, sorted(entries, key=itemgetter("position", "redacted_at")))
        # A redaction that was repeated, or came by way of a shared bucket as well, is listed twice; a position that
        # was redacted again after a rewind said something else.
        once: dict[int, list[dict[str, Any]]] = {}
        for each in found:
            said = once.setdefault(each["position"], [])
            if all(each["message"] != earlier["message"] for earlier in said):
                said.append(each)
        return [
            OriginalMessage(
                position=position,
                redacted_at=each["redacted_at"],
                message=session_message(each, position).message,
            )
            for position, said in once.items()
            for each in said
        ]

    def _forks_of(self, session_id: str, agent_id: str, agent: LoadedAgent, position: int) -> list[str]:
        """The sessions that took over a message, by way of other forks too."""
        origin: dict[str, Any] = {"session_id": session_id, "agent_id": encode(agent_id), "count": {"$gt": position}}
        origin["created_at"] = agent.created_at
        with noted(session_id), in_time(self.collection):
            return [each["_id"] for each in self.collection.find({"forked_from": {"$elemMatch": origin}}, {"_id": 1})]


def unknown_agent(session_id: str, agent_id: str) -> SessionNotFoundError:
    """There is no such agent."""
    return SessionNotFoundError(
        f"agent {agent_id!r} in session {session_id!r} does not exist", session_id=session_id, agent_id=agent_id
    )


def _window(offset: int, limit: int | None) -> Window:
    return Window(start=offset, stop=None if limit is None else offset + limit)
