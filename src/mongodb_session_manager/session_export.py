"""An export: the lines of a session, read from its store while they are iterated."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import Any

from .background import Background
from .codec import encode, size
from .errors import SessionConflictError, SessionError
from .session_lines import FORMAT, LineWriter
from .store import LoadedAgent, SessionStore, SessionSummary

__all__ = ["SessionExport", "exported_lines"]

_AT_ONCE = 4 * 1024 * 1024
_MOST = 200


class SessionExport:
    """The lines of a session, without line ends. Iterate them plainly, or asynchronously on an event loop.

    Example:
        >>> for line in factory.sessions.export("user-123"):  # doctest: +SKIP
        ...     print(line)
    """

    def __init__(self, lines: Callable[[], Iterator[str]], background: Background) -> None:
        """Read nothing yet.

        Args:
            lines: Begins to read them.
            background: Where they are read for an event loop.
        """
        self._lines = lines
        self._background = background

    def __iter__(self) -> Iterator[str]:
        """The lines, read in the calling thread."""
        return self._lines()

    async def __aiter__(self) -> AsyncIterator[str]:
        """The lines, read off the event loop."""
        lines = self._lines()
        while (line := await self._background.run(lambda: next(lines, None))) is not None:
            yield line


def exported_lines(
    store: SessionStore,
    summary: SessionSummary,
    *,
    graphs: Mapping[str, Mapping[str, Any]],
    feedbacks: Sequence[Mapping[str, Any]],
) -> Iterator[str]:
    """The lines of a session.

    Args:
        store: Where its agents are.
        summary: The session.
        graphs: The stored values of its graphs by id.
        feedbacks: As the catalogue gives them.

    Raises:
        SessionConflictError: A history was cut, or the session replaced, while it was read.
    """
    writer = LineWriter()
    named = ("session_id", "title", "owner", "application_name", "created_at", "updated_at", "lifetime")
    header = {"format": FORMAT, **{name: getattr(summary, name) for name in named}}
    header["expires_at"] = None if summary.lifetime is not None else summary.expires_at
    yield writer.line("session", {**header, "metadata": encode(summary.metadata)})
    for agent_id, agent in summary.agents.items():
        loaded = store.messages(summary.session_id, agent_id, 0, 0)  # a load would bring the messages that it kept
        _check(summary, agent_id, loaded, agent.message_count)
        fields = {"agent_id": encode(agent_id), "count": agent.message_count, "data": loaded.data}
        yield writer.line("agent", {**fields, "totals": agent.totals, **_dates(loaded)})
        for stored in _messages(store, summary, agent_id, agent.message_count):
            yield writer.line("message", {"stored": stored})
    for graph_id, graph in graphs.items():
        yield writer.line("graph", {"agent_id": encode(graph_id), **graph})
    for feedback in feedbacks:
        yield writer.line("feedback", {"feedback": encode(feedback)})
    yield writer.line("end", {})


def _messages(store: SessionStore, summary: SessionSummary, agent_id: str, count: int) -> Iterator[Mapping[str, Any]]:
    """All messages of an agent, a few megabytes at once where they are about as large as those before."""
    position, limit = 0, 1
    while position < count:
        wanted = min(limit, count - position)
        loaded = store.messages(summary.session_id, agent_id, position, wanted)
        _check(summary, agent_id, loaded, count)
        if len(loaded.messages) != wanted:
            raise _conflict(summary.session_id, agent_id)
        for stored in loaded.messages:
            # Whole as they are: where a store keeps parts of them is its own matter.
            yield {name: value for name, value in stored.items() if name != "external"}
        position += wanted
        largest = max(map(size, loaded.messages))
        limit = max(1, min(_MOST, 2 * limit, _AT_ONCE // largest))


def _check(summary: SessionSummary, agent_id: str, loaded: LoadedAgent, count: int) -> None:
    same = not summary.is_dated or loaded.created_at == summary.created_at
    if not loaded.found or not same or loaded.data is None or loaded.count < count:
        raise _conflict(summary.session_id, agent_id)


def _conflict(session_id: str, agent_id: str) -> SessionError:
    return SessionConflictError(
        f"agent {agent_id!r} in session {session_id!r} was cut or deleted while it was exported; export it again",
        session_id=session_id,
        agent_id=agent_id,
    )


def _dates(loaded: LoadedAgent) -> dict[str, Any]:
    return {name: loaded.dates.get(name) for name in ("created_at", "updated_at")}
