"""The first messages of a history, as a document lists them: what a fork begins with, and what a rewind leaves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from bson import ObjectId

from ..archive import listed
from ..documents import addresses
from ..errors import SessionNotFoundError
from ..history_cut import cut_data, looked_at, refuse_cut
from ..mongodb_commands import Window, load_projection, loaded_agent
from ..store import LoadedAgent
from .histories import unknown_agent

__all__ = ["Beginning", "beginning_of", "beginning_projection"]


@dataclass(frozen=True)
class Beginning:
    """The first messages of an agent.

    Attributes:
        agent: As loaded; its ``messages`` are those of them that the document itself holds, with what is large in them
            elsewhere.
        references: The buckets that hold those before, cut to what is left of them.
        position: How many messages they are.
    """

    agent: LoadedAgent
    references: list[dict[str, Any]]
    position: int

    @property
    def data(self) -> Mapping[str, Any]:
        """``agent_data`` as stored."""
        return self.agent.data or {}

    @property
    def buckets(self) -> list[ObjectId]:
        """The ids of the buckets."""
        return [reference["id"] for reference in self.references]

    @property
    def values(self) -> list[ObjectId]:
        """The ids of large values of the messages outside buckets."""
        return list(listed(self.agent.messages))

    @property
    def wanted(self) -> list[ObjectId]:
        """The ids of the buckets that must be outlined to cut there."""
        window = looked_at(self.data, self.agent.count, self.position)
        if self.position == self.agent.count:
            return []
        return [each["id"] for each in self.references if each["last"] >= window.start]

    def cut(self, outlines: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
        """``agent_data`` as it is after the cut.

        Args:
            outlines: The buckets that are wanted, without what was said.

        Raises:
            ValueError: It cannot be cut there.
        """
        archived = self.agent.at.archived
        messages = dict(enumerate(self.agent.messages, archived))
        for bucket in outlines:
            messages |= enumerate(bucket["messages"], bucket["first"])
        refuse_cut(self.position, self.agent.count, messages)
        return cut_data(self.data, self.agent.count, self.position, messages)


def beginning_projection(agent_id: str, position: int | None) -> dict[str, Any]:
    """A projection: the first messages of an agent, all of them without a position."""
    return load_projection(addresses("agents", agent_id), window=Window(start=0, stop=position))


def beginning_of(session_id: str, agent_id: str, document: Mapping[str, Any] | None, position: int | None) -> Beginning:
    """What a find with :func:`beginning_projection` returned.

    Raises:
        SessionNotFoundError: There is no such session or agent.
        ValueError: There is no such position.
    """
    agent, read = loaded_agent(document, addresses("agents", agent_id), agent_id)
    if not agent.found:
        raise SessionNotFoundError(f"session {session_id!r} does not exist", session_id=session_id)
    if agent.data is None:
        raise unknown_agent(session_id, agent_id)
    stop = agent.count if position is None else position
    refuse_cut(stop, agent.count, {})
    references = [{**each, "last": min(each["last"], stop - 1)} for each in read.references]
    return Beginning(agent, references, stop)
