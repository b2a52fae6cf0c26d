"""A message without what it said, wherever it was taken over. Pure but for the store that it is handed."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from .codec import encode
from .documents import session_message
from .errors import SessionBusyError, SessionNotFoundError
from .store import Commit, LoadedAgent, SessionStore

__all__ = ["change_of", "redact_message", "redaction"]

_NOT_OF_CONTENT = {"cachePoint", "toolResult", "toolUse"}


def redaction(stored: Mapping[str, Any], replacement: str) -> dict[str, Any]:
    """The fields of a stored message that redacting it replaces.

    Tool uses and results stay where they are, with their names and ids but without their content: without them the
    history would not fit together. All else is one text.

    Args:
        stored: The message as stored.
        replacement: What it says afterwards.
    """
    message: dict[str, Any] = dict(session_message(stored, 0).to_message())
    kept = [_bare(block, replacement) for block in message["content"] if _NOT_OF_CONTENT & block.keys()]
    said = len(kept) < len(message["content"]) or not kept
    redacted: dict[str, Any] = {name: message[name] for name in ("role", "tracking_id") if name in message}
    redacted["content"] = [*([{"text": replacement}] if said else []), *kept]
    encoded = encode(redacted)
    return {"message": encoded, "redact_message": encoded, "updated_at": datetime.now(UTC)}


def _bare(block: Mapping[str, Any], replacement: str) -> dict[str, Any]:
    if "toolUse" in block:
        used = block["toolUse"]
        return {"toolUse": {**{name: used[name] for name in ("toolUseId", "name") if name in used}, "input": {}}}
    if "toolResult" in block:
        result = block["toolResult"]
        known = {name: result[name] for name in ("toolUseId", "status") if name in result}
        return {"toolResult": {**known, "content": [{"text": replacement}]}}
    return dict(block)


def redact_message(
    store: SessionStore,
    session_id: str,
    agent_id: str,
    position: int,
    replacement: str,
    turn_timeout: float,
    forks_of: Callable[[LoadedAgent], Iterable[str]],
    *,
    keeps_originals: bool = False,
) -> list[str]:
    """Redact a message in a session, and in its forks. For each of them one load and one commit.

    Args:
        store: Where they are.
        session_id: The session.
        agent_id: Whose message.
        position: Its place in the history.
        replacement: What it says afterwards.
        turn_timeout: Seconds after which a turn has expired.
        forks_of: The sessions that took the message over, told by the agent of the session.
        keeps_originals: Whether each of the sessions keeps for an audit what it said.

    Returns:
        The sessions in which it was redacted.

    Raises:
        SessionBusyError: In one of them a turn is running; the others are done.
        SessionNotFoundError: There is no such session or agent.
        ValueError: There is no message at that position.
    """
    original = _at(store, session_id, agent_id, position)
    _replace(store, session_id, agent_id, original, replacement, turn_timeout, keeps_originals)
    redacted, busy = [session_id], None
    for fork_id in forks_of(original):
        try:
            copy = _at(store, fork_id, agent_id, position)
            # Cut there since, it has gone on in another way.
            if copy.messages[0].get("created_at") == original.messages[0].get("created_at"):
                _replace(store, fork_id, agent_id, copy, replacement, turn_timeout, keeps_originals)
                redacted.append(fork_id)
        except SessionBusyError as error:
            busy = error
        except (SessionNotFoundError, ValueError):
            continue  # deleted, or cut before it
    if busy is not None:
        raise busy
    return redacted


def _at(store: SessionStore, session_id: str, agent_id: str, position: int) -> LoadedAgent:
    """An agent with one of its messages."""
    agent = store.messages(session_id, agent_id, max(position, 0), 1)
    if not agent.found:
        raise SessionNotFoundError(f"session {session_id!r} does not exist", session_id=session_id)
    if agent.data is None:
        raise SessionNotFoundError(
            f"agent {agent_id!r} in session {session_id!r} does not exist", session_id=session_id, agent_id=agent_id
        )
    if not 0 <= position < agent.count:
        raise ValueError(f"there are {agent.count} messages: there is none at position {position}")
    return agent


def _replace(
    store: SessionStore,
    session_id: str,
    agent_id: str,
    agent: LoadedAgent,
    replacement: str,
    turn_timeout: float,
    keeps_originals: bool,
) -> None:
    stored = agent.messages[0]
    fields = redaction(stored, replacement)
    originals = {}
    # What was redacted is no original: an archived message may be so already, for all who share it.
    if keeps_originals and stored.get("redact_message") is None:
        originals[agent.first] = {"message": stored["message"], "redacted_at": fields["updated_at"]}
    store.commit(session_id, change_of(agent_id, agent, {agent.first: fields}, originals), turn_timeout)


def change_of(
    agent_id: str,
    agent: LoadedAgent,
    changes: Mapping[int, Mapping[str, Any]],
    originals: Mapping[int, Mapping[str, Any]] | None = None,
) -> Commit:
    """A commit that changes stored messages of an agent and nothing else.

    Args:
        agent_id: Whose messages.
        agent: As loaded.
        changes: Changed fields by position.
        originals: What is kept of it for an audit, as in :class:`Commit`.
    """
    return Commit(
        part="agents",
        agent_id=agent_id,
        at=agent.at,
        expected=agent.revision,
        revision=secrets.token_urlsafe(12),
        owner=secrets.token_urlsafe(12),
        contested=agent.turn,
        holds=False,
        create=False,
        created_at=agent.created_at,
        remains=False,
        session={},
        new=False,
        data={},
        count=agent.count,
        messages=[],
        changes=changes,
        totals={},
        originals=originals or {},
    )
