"""The stored document: the SDK's objects as stored values and back. No I/O, no server, no agent.

This module knows the names of the fields::

    { _id: session_id, session_id, session_type, schema_version, application_name?, owner?, title?,
      created_at, updated_at, expires_at?, metadata: {}, feedbacks: [],
      agents: { <agent key>: { agent_data: {…}, created_at, updated_at, revision, message_count, totals: {…},
                               turn: { owner, stamp }?, originals: [ { position, redacted_at, external }, … ]?,
                               messages: [ { message, message_id, redact_message?, created_at, updated_at,
                                             event_loop_metrics? }, … ] } },
      multi_agents: { <key>: { state, created_at, updated_at, revision, turn? } } }

A message's position in the history is its id. Documents of the older layout may carry other ids, also twice; what is
handed out is the position.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, cast

from strands.types.content import Message
from strands.types.session import SessionAgent, SessionMessage, SessionType

from .codec import decode, encode

__all__ = [
    "MOST_PROMPT_CHANGES",
    "SCHEMA_VERSION",
    "addresses",
    "agent_data",
    "agent_key",
    "as_blocks",
    "aware",
    "iso",
    "message_changes",
    "message_document",
    "prompt_change",
    "prompt_lineage",
    "session_agent",
    "session_message",
    "session_type",
    "valid_session_id",
    "valid_text",
]

MOST_PROMPT_CHANGES = 50
"""In ``prompt_lineage``; the oldest go first."""

_CONFIGURED = ("model", "system_prompt", "prompt_metadata")

SCHEMA_VERSION = 1

_EMPTY_KEY = "%"
_CODED = re.compile("[.$%\x00\ud800-\udfff]")


def agent_key(agent_id: str) -> str:
    """The key under ``agents`` for any agent id, the empty one included.

    Args:
        agent_id: Any string.

    Returns:
        A key that MongoDB can address: ``.``, ``$``, ``%``, NUL and lone surrogates are percent-encoded.
    """
    return _CODED.sub(_percent_encoded, agent_id) or _EMPTY_KEY


def _percent_encoded(match: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in match[0].encode("utf-8", "surrogatepass"))


def addresses(part: str, agent_id: str) -> list[str]:
    """Where an agent may be in the document, as dotted paths, the place for a new one first.

    The older layout used the id as it is, which for ``team.alpha`` means ``{team: {alpha: …}}``.

    Args:
        part: ``"agents"`` or ``"multi_agents"``.
        agent_id: Any string.
    """
    key = agent_key(agent_id)
    segments = agent_id.split(".")
    older = (
        part == "agents"
        and key != agent_id
        and all(segment and segment[0] != "$" and "\x00" not in segment and _encodable(segment) for segment in segments)
    )
    return [f"{part}.{key}", *([f"{part}.{agent_id}"] if older else [])]


def valid_session_id(session_id: object) -> str:
    """The session id itself, if the database can hold it.

    Raises:
        ValueError: It is not a string, or holds a lone surrogate, which UTF-8 cannot express.
    """
    return valid_text("session_id", session_id)


def valid_text(name: str, value: object) -> str:
    """A text itself, if the database can hold it; otherwise a ``ValueError`` that names it."""
    if not isinstance(value, str):
        raise ValueError(f"{name} must be a string, not {type(value).__name__}")
    if not _encodable(value):
        raise ValueError(f"{name} holds a lone surrogate; pass text that UTF-8 can express")
    return value


def _encodable(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def message_document(message: SessionMessage, content: Message | None = None) -> dict[str, Any]:
    """A message as it is stored. Shares nothing with its argument.

    Args:
        message: The SDK's object.
        content: Stored instead of its message.
    """
    document: dict[str, Any] = {
        "message": encode(content or message.message),
        "message_id": message.message_id,
        "created_at": _stored_date(message.created_at),
        "updated_at": _stored_date(message.updated_at),
    }
    if message.redact_message is not None:
        document |= message_changes(message)
    return document


def message_changes(message: SessionMessage, content: Message | None = None) -> dict[str, Any]:
    """The fields of a stored message that an update replaces.

    A redacted message takes the place of the original in both fields, so that the document no longer holds it.

    Args:
        message: The SDK's object.
        content: Stored instead of its message, unless that is redacted.
    """
    if message.redact_message is None:
        return {"message": encode(content or message.message), "updated_at": datetime.now(UTC)}
    redacted = encode(message.redact_message)
    return {"message": redacted, "redact_message": redacted, "updated_at": datetime.now(UTC)}


def session_message(document: Mapping[str, Any], position: int) -> SessionMessage:
    """A stored message as the SDK's object.

    Args:
        document: As in the database, of this layout or the older one.
        position: Its place in the history, from 0.
    """
    redacted = document.get("redact_message")
    return SessionMessage(
        message=as_blocks(decode(document.get("message") or {})),
        message_id=position,
        redact_message=None if redacted is None else as_blocks(decode(redacted)),
        created_at=iso(document.get("created_at")),
        updated_at=iso(document.get("updated_at")),
    )


def as_blocks(message: Mapping[str, Any]) -> Message:
    """The message with its content as a list of blocks: a plain string is one text block."""
    content = message.get("content")
    if isinstance(content, list) and "role" in message:
        return cast(Message, message)
    blocks = [{"text": content}] if isinstance(content, str) else content or []
    return cast(Message, {"role": "user", **message, "content": blocks})


def prompt_change(config: Mapping[str, Any], source: str, changed_by: str | None = None) -> dict[str, Any] | None:
    """An entry of an agent's ``prompt_lineage``; ``None`` where nothing of its set-up changes.

    Args:
        config: Changed fields of ``agent_data`` as stored, others among them.
        source: ``"turn"``, or ``"config"`` where somebody changed it beside the turns.
        changed_by: Who that was.

    Raises:
        ValueError: Somebody would change another field beside the turns.
    """
    if source == "config" and (others := config.keys() - _CONFIGURED):
        raise ValueError(f"{sorted(others)} cannot be set by hand, only {', '.join(_CONFIGURED)}")
    changed = {name: config[name] for name in ("model", "prompt_metadata") if name in config}
    if "system_prompt" in config:
        # To tell one from another; the text itself is stored once, as it is now.
        text = str(decode(config["system_prompt"])).encode(errors="surrogatepass")
        changed["system_prompt_sha256"] = hashlib.sha256(text).hexdigest()
    if not changed or "prompt_lineage" in config:  # an import brings its own
        return None
    return {"changed_at": datetime.now(UTC), "source": source, "changed_by": encode(changed_by), **changed}


def prompt_lineage(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The entries of :func:`prompt_change` that an agent has, oldest first; what else lies there is left out.

    Args:
        data: ``agent_data`` as stored.
    """
    entries = data.get("prompt_lineage")
    return [
        {**decode(entry), "changed_at": aware(entry["changed_at"])}
        for entry in (entries if isinstance(entries, list) else ())
        if isinstance(entry, Mapping) and isinstance(entry.get("changed_at"), datetime)
    ]


def agent_data(agent: SessionAgent) -> dict[str, Any]:
    """The fields of ``agent_data`` that the SDK manages, as they are stored. Shares nothing with its argument."""
    return {
        "agent_id": encode(agent.agent_id),
        "state": encode(agent.state),
        "conversation_manager_state": encode(agent.conversation_manager_state),
        "_internal_state": encode(agent._internal_state),
    }


def session_agent(agent_id: str, data: Mapping[str, Any], record: Mapping[str, Any]) -> SessionAgent:
    """A stored agent as the SDK's object.

    Args:
        agent_id: Whose it is.
        data: ``agent_data`` as stored; an older writer may have left fields out.
        record: What surrounds it, for the dates.
    """
    return SessionAgent(
        agent_id=agent_id,
        state=decode(data.get("state") or {}),
        conversation_manager_state=decode(data.get("conversation_manager_state") or {}),
        _internal_state=decode(data.get("_internal_state") or {}),
        created_at=iso(record.get("created_at") or data.get("created_at")),
        updated_at=iso(record.get("updated_at") or data.get("updated_at")),
    )


def session_type(stored: object) -> SessionType:
    """The SDK's session type; what it does not know (an older ``"default"``) is an agent's session."""
    try:
        return SessionType(stored)
    except ValueError:
        return SessionType.AGENT


def iso(date: object) -> str:
    """A stored date, naive ones being UTC, in the SDK's ISO 8601 text. Text stays as it is, nothing is the epoch."""
    if isinstance(date, str):
        return date
    if not isinstance(date, datetime):
        return datetime.fromtimestamp(0, UTC).isoformat()
    return f"{date.isoformat()}+00:00" if date.tzinfo is None else date.isoformat()


def aware(date: datetime) -> datetime:
    """The same moment with its time zone: a naive date from the database is UTC."""
    return date.replace(tzinfo=UTC) if date.tzinfo is None else date


def _stored_date(text: str) -> datetime | str:
    try:
        return aware(datetime.fromisoformat(text))
    except (TypeError, ValueError):
        return text
