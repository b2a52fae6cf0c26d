"""What the catalogue says of a session, and the projections that read it. No I/O."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from ..codec import decode
from ..documents import aware, prompt_lineage
from ..mongodb_commands import EXPIRES_AT, GONE, message_count
from ..store import AgentSummary, SessionSummary

__all__ = ["AGENTS", "MESSAGES", "SUMMARY", "agent_summary", "agent_summary_expression", "is_agent", "session_summary"]

_CONFIG = ("name", "model", "system_prompt", "prompt_metadata")

_AGENT_FIELDS: dict[str, Any] = {
    "$cond": [
        {"$eq": [{"$type": "$$a.v"}, "object"]},
        {
            "$mergeObjects": [
                {
                    "$unsetField": {
                        "field": "messages",
                        "input": {
                            "$unsetField": {
                                "field": "originals",
                                "input": {"$unsetField": {"field": "archive", "input": "$$a.v"}},
                            }
                        },
                    }
                },
                {"size": message_count("$$a.v")},
            ]
        },
        None,
    ]
}

AGENTS: dict[str, Any] = {
    "$map": {
        "input": {"$objectToArray": {"$cond": [{"$eq": [{"$type": "$agents"}, "object"]}, "$agents", {}]}},
        "as": "a",
        "in": {"k": "$$a.k", "v": _AGENT_FIELDS},
    }
}
"""An expression: the agents of a session without their messages, as an array."""

MESSAGES: dict[str, Any] = {"$sum": {"$map": {"input": AGENTS, "as": "each", "in": "$$each.v.size"}}}
"""An expression: how many messages a session's agents have together."""

SUMMARY: dict[str, Any] = {
    **dict.fromkeys(("title", "owner", "application_name", "created_at", "updated_at", "metadata"), 1),
    **dict.fromkeys(("lifetime", "hold", "forked_from.session_id"), 1),
    "expires_at": EXPIRES_AT,
    "gone": GONE,
    "agents": AGENTS,
}
"""A projection: a session without its messages."""


def agent_summary_expression(place: str) -> dict[str, Any]:
    """An expression: one agent without its messages, at a dotted path."""
    return {"agent_data": f"${place}.agent_data", "totals": f"${place}.totals", "size": message_count(f"${place}")}


def session_summary(document: Mapping[str, Any]) -> SessionSummary:
    """A session as :data:`SUMMARY` projects it."""
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
        expires_at=document.get("expires_at"),
        lifetime=document.get("lifetime"),
        is_held=document.get("hold") is True,
        forked_from=forks[-1]["session_id"] if (forks := document.get("forked_from")) else None,
    )


def _agents(path: list[str], value: Any) -> Iterator[AgentSummary]:
    """The agents at and below a key: an older tool nested ``team.alpha`` as ``{team: {alpha: …}}``."""
    if not isinstance(value, dict):
        return
    if is_agent(value):
        stored_id = decode(value["agent_data"].get("agent_id"))
        yield agent_summary(stored_id if isinstance(stored_id, str) else ".".join(path), value)
    for key, below in value.items():
        if key not in _OF_AN_AGENT:
            yield from _agents([*path, key], below)


_OF_AN_AGENT = {
    *("agent_data", "archive", "created_at", "messages", "message_count", "originals", "revision", "totals", "turn")
}


def is_agent(value: Any, agent_id: str | None = None) -> bool:
    """Whether this is an agent, or this very one."""
    if not isinstance(value, dict) or not isinstance(value.get("agent_data"), dict) or not value["agent_data"]:
        return False
    return agent_id is None or bool(value["agent_data"].get("agent_id") == agent_id)


def agent_summary(agent_id: str, agent: Mapping[str, Any]) -> AgentSummary:
    """An agent as :func:`agent_summary_expression` or :data:`AGENTS` gives it."""
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
        prompt_lineage=prompt_lineage(data),
    )


def _count(agent: Mapping[str, Any]) -> int:
    """The length of the history of an agent that was read whole, because an older tool nested it in another."""
    archive = agent.get("archive") or ()
    return (archive[-1]["last"] + 1 if archive else 0) + len(agent.get("messages") or ())


def _date(value: Any, default: datetime | None = None) -> datetime:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            value = None
    if isinstance(value, datetime):
        return aware(value)
    return datetime.fromtimestamp(0, UTC) if default is None else default
