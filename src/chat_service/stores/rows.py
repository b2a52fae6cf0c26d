"""Rows of the tables as what the library asks for, and back. No I/O."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias, cast

from strands.types.content import Message

from mongodb_session_manager import (
    AgentSummary,
    Commit,
    LoadedAgent,
    SessionSummary,
    decode,
    prompt_lineage,
    session_message,
)

from ..models import plain, public_message_id
from .faithful_json import Fields

__all__ = [
    "Part",
    "Place",
    "agent_summary",
    "as_id",
    "as_key",
    "changed_columns",
    "loaded_agent",
    "message_columns",
    "session_summary",
]

Part: TypeAlias = Literal["agents", "multi_agents"]

_UNFIT = re.compile("[\\\\\0\ud800-\udfff]")
_ESCAPE = re.compile(r"\\u([0-9a-f]{4})")
_SELECTED = re.compile(r"<selected_text>\n(.*)\n</selected_text>", re.DOTALL)
_DATES = ("created_at", "updated_at")
_CONFIG = ("name", "model", "system_prompt", "prompt_metadata")


@dataclass(frozen=True, slots=True)
class Place:
    """Where an agent is kept, and how long its history is: the value of ``LoadedAgent.at``."""

    part: Part
    agent_id: str
    count: int = 0


def as_key(text: str) -> str:
    """Any text as PostgreSQL can hold it: NUL, lone surrogates and the backslash are escaped."""
    return _UNFIT.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def as_id(key: str) -> str:
    """The text that :func:`as_key` was given."""
    return _ESCAPE.sub(lambda found: chr(int(found[1], 16)), key)


def loaded_agent(row: Mapping[str, Any] | None, part: Part, agent_id: str) -> LoadedAgent:
    """An agent as a load found it.

    Args:
        row: Of the statement that loads; ``None`` when there is no such session.
        part: Whether it is an agent or a graph.
        agent_id: Whose row.
    """
    if row is None:
        return LoadedAgent(at=Place(part, agent_id))
    count = row["message_count"] or 0
    return LoadedAgent(
        at=Place(part, agent_id, count),
        found=True,
        created_at=row["session_created_at"],
        session_owner=row["session_owner"] and as_id(row["session_owner"]),
        data=row["data"],
        dates={name: row[name] for name in _DATES if row[name] is not None},
        revision=row["revision"],
        turn=row["turn_owner"] is not None,
        count=count,
        first=row["first"] or 0,
        messages=list(_messages(row)),
    )


def _messages(row: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    columns = ("positions", "messages", "timestamps", "changes", "details")
    for position, message, created_at, updated_at, details in zip(*(row[name] or () for name in columns), strict=True):
        yield {
            "message": message,
            "message_id": position,
            "created_at": created_at,
            "updated_at": updated_at,
            **details,
        }


def message_columns(commit: Commit, session_id: str) -> list[list[Any]]:
    """The new messages of a commit: one list for each column of the statement that inserts."""
    first = commit.count - len(commit.messages)
    rows = [_message_row(stored, first + index, session_id) for index, stored in enumerate(commit.messages)]
    return [list(column) for column in zip(*rows, strict=True)]


def _message_row(stored: Mapping[str, Any], position: int, session_id: str) -> tuple[Any, ...]:
    message = _message(stored, position)
    dates = [value if isinstance(value := stored.get(name), datetime) else datetime.now(UTC) for name in _DATES]
    return (
        position,
        _public_id(message, f"{session_id}/{position}"),
        as_key(str(message["role"])),
        *_said(message),
        *dates,
        _response_time(stored),
        stored["message"],
        _details(stored),
    )


def changed_columns(fields: Mapping[str, Any]) -> tuple[Any, ...]:
    """Changed fields of a stored message: the arguments of the statement that updates, ``None`` for what stays."""
    details = _details(fields)
    updated_at = fields.get("updated_at")
    date = updated_at if isinstance(updated_at, datetime) else None
    if "message" not in fields:
        return (None, None, None, None, date, _response_time(fields), details)
    message = _message(fields, 0)
    return (fields["message"], as_key(str(message["role"])), *_said(message), date, _response_time(fields), details)


def _message(stored: Mapping[str, Any], position: int) -> Message:
    return session_message({"message": stored["message"]}, position).message


def _public_id(message: Message, position: str) -> str:
    """The id under which clients of the service know it."""
    tracking_id = message.get("tracking_id")
    tracked: dict[str, Any] = {"tracking_id": as_key(str(tracking_id))} if tracking_id else {}
    return public_message_id(cast(Message, tracked), position)


def _said(message: Message) -> tuple[str, str | None]:
    """What a message says in words, for people: the text, and the text that was marked on a page."""
    texts = [plain(block["text"]).replace("\0", "\ufffd") for block in message["content"] if _is_text(block)]
    marked = _SELECTED.fullmatch(texts[0]) if texts else None
    return "\n\n".join(texts[1:] if marked else texts), marked and marked[1]


def _is_text(block: Any) -> bool:
    return isinstance(block, dict) and isinstance(block.get("text"), str)


def _response_time(stored: Mapping[str, Any]) -> float | None:
    measured = stored.get("event_loop_metrics")
    return float(measured["accumulated_metrics"]["latencyMs"]) if measured else None


def _details(stored: Mapping[str, Any]) -> Fields:
    """What has no column of its own; a date that is none among it."""
    columns = {"message", "message_id", *(name for name in _DATES if isinstance(stored.get(name), datetime))}
    return Fields({name: value for name, value in stored.items() if name not in columns})


def session_summary(row: Mapping[str, Any]) -> SessionSummary:
    """A session as the catalogue tells of it."""
    agents = [agent_summary(agent) for agent in row["agents"] or ()]
    texts: dict[str, Any] = {name: row[name] and as_id(row[name]) for name in ("title", "owner", "application_name")}
    return SessionSummary(
        session_id=as_id(row["session_id"]),
        created_at=row["created_at"],
        updated_at=row["last_accessed"],
        is_dated=True,
        metadata=dict(decode(row["metadata"])),
        agents={agent.agent_id: agent for agent in agents},
        **texts,
    )


def agent_summary(agent: Mapping[str, Any]) -> AgentSummary:
    """An agent as the catalogue tells of it: ``{agent_id, count, totals, data}``."""
    data = agent["data"]
    config = {name: decode(data[name]) for name in _CONFIG if name in data}
    agent_id = as_id(agent["agent_id"])
    return AgentSummary(
        agent_id=agent_id,
        name=cast("str | None", config.get("name")) or agent_id,
        message_count=agent["count"],
        state=dict(decode(data.get("state") or {})),
        totals=dict(agent["totals"]),
        config=config,
        prompt_lineage=prompt_lineage(data),
    )
