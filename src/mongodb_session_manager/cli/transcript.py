"""A conversation as people read it: who said what and when, with what tools did folded to a line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rich.text import Text
from strands.types.session import SessionMessage

from ..plain_json import plain_json
from ..store import AgentSummary, SessionSummary
from .output import date_text, one_line, printable

__all__ = ["agent_heading", "message_json", "message_text", "session_heading"]

_FOLDED = 100
_INDENT = "    "


def session_heading(session: SessionSummary) -> Iterator[Text]:
    """Lines about a session."""
    yield Text(f"Session {one_line(session.session_id)}", style="bold")
    expiry = f"{date_text(session.expires_at)}{' (held)' if session.is_held else ''}" if session.expires_at else ""
    facts = {
        "title": session.title,
        "owner": session.owner,
        "application": session.application_name,
        "created": date_text(session.created_at) if session.is_dated else "",
        "updated": date_text(session.updated_at),
        "expires": expiry,
        "forked from": session.forked_from,
        "metadata": plain_json(session.metadata) if session.metadata else "",
    }
    for name, value in facts.items():
        if value:
            yield Text(f"  {name}: {one_line(value)}")


def agent_heading(agent: AgentSummary) -> Iterator[Text]:
    """Lines about an agent."""
    yield Text()
    name = "" if agent.name in (None, agent.agent_id) else f" ({one_line(str(agent.name))})"
    yield Text(f"Agent {one_line(agent.agent_id)}{name}: {agent.message_count} messages", style="bold")
    if agent.state:
        yield Text(f"  state: {one_line(plain_json(agent.state), _FOLDED)}")
    if agent.totals:
        yield Text("  " + ", ".join(f"{one_line(name)} {value}" for name, value in agent.totals.items()))


def message_text(message: SessionMessage, *, unfolded: bool) -> Iterator[Text]:
    """Lines of a message.

    Args:
        message: What was said.
        unfolded: Whether tool calls are shown whole.
    """
    said = message.to_message()
    redacted = " (redacted)" if message.redact_message is not None else ""
    role = one_line(str(said["role"]))
    heading = Text(f"#{message.message_id} ")
    heading.append(role, style="cyan" if role == "user" else "green")
    yield heading.append(f"  {one_line(message.created_at[:16].replace('T', ' '))}{redacted}")
    for block in said["content"]:
        yield from _lines(block, unfolded)


def message_json(message: SessionMessage) -> dict[str, Any]:
    """A message for programs."""
    said = message.to_message()
    return {
        "message_id": message.message_id,
        "role": said["role"],
        "content": said["content"],
        "redacted": message.redact_message is not None,
        "created_at": message.created_at,
        "updated_at": message.updated_at,
    }


def _lines(block: Mapping[str, Any], unfolded: bool) -> Iterator[Text]:
    for kind, value in block.items():
        if kind == "text":
            yield from (Text(f"{_INDENT}{line}") for line in printable(str(value)).split("\n"))
        else:
            told = f"{_kind_text(kind, value)}"
            text = printable(told) if unfolded else one_line(told, _FOLDED)
            yield from (Text(f"{_INDENT}{line}", style="dim") for line in text.split("\n"))


def _kind_text(kind: str, value: Any) -> str:
    """What a block that is not text says."""
    fields: Mapping[str, Any] = value if isinstance(value, Mapping) else {}
    if kind == "toolUse":
        return f"> {fields.get('name')} {plain_json(fields.get('input'))}"
    if kind == "toolResult":
        return f"< {fields.get('status', 'success')}: {_result(fields.get('content'))}"
    if kind == "reasoningContent":
        return f"[reasoning] {_reasoning(fields)}"
    if "source" in fields:
        return f"[{kind} {fields.get('format', '')} {fields.get('name', '')}]".replace("  ", " ").replace(" ]", "]")
    return f"[{kind}]"


def _result(content: Any) -> str:
    blocks: Iterable[Any] = content if isinstance(content, list) else []
    return " ".join(str(block["text"]) if "text" in block else _part(block) for block in blocks)


def _part(block: Mapping[str, Any]) -> str:
    return plain_json(block["json"]) if "json" in block else " ".join(_kind_text(*each) for each in block.items())


def _reasoning(fields: Mapping[str, Any]) -> str:
    text = fields.get("reasoningText")
    return str(text.get("text", "")) if isinstance(text, Mapping) else ""
