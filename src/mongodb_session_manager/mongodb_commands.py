"""A turn's commands in MongoDB's language: filters, updates, projections, and reading what comes back. No I/O.

Traps of a real server that the shapes here avoid: an equality to null in the filter of an upsert is copied into the new
document (so ``$exists: false``); ``$expr`` is refused in an upsert (so only a manager that found no document upserts,
and then needs no look at the turn); a one-branch ``$or`` counts as an equality.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from . import documents
from .store import Commit, LoadedAgent

__all__ = [
    "GONE",
    "TOO_LARGE",
    "commit_filter",
    "commit_update",
    "load_projection",
    "loaded_agent",
    "new_session",
    "standing_projection",
]

TOO_LARGE = {10334, 17419, 17420}
"""BSONObjectTooLarge, and what an update answers whose result would exceed 16 MB."""

_LARGEST_INT = 2**31 - 1
"""The server's limit for the arguments of ``$slice``."""

GONE: dict[str, Any] = {
    "$or": [
        {"$gt": ["$deleting", None]},
        {"$and": [{"$eq": [{"$type": "$expires_at"}, "date"]}, {"$lte": ["$expires_at", "$$NOW"]}]},
    ]
}
"""An expression: the session reads as absent, though a document is still there."""


def load_projection(
    addresses: list[str], *, graph: bool = False, window: tuple[int, int | None] | None = None
) -> dict[str, Any]:
    """What the load of one agent reads: computed on the server, so that a long history stays there.

    Args:
        addresses: Where the agent may be.
        graph: Whether it is a graph's state and has no messages.
        window: Offset and limit of the messages, instead of what the conversation manager kept.
    """
    return {
        "_id": 0,
        "created_at": 1,
        "gone": GONE,
        **{
            f"at{index}": _graph_expression(address) if graph else _agent_expression(address, window)
            for index, address in enumerate(addresses)
        },
    }


def _agent_expression(address: str, window: tuple[int, int | None] | None) -> dict[str, Any]:
    agent = f"${address}"
    array = {"$cond": [{"$isArray": f"{agent}.messages"}, f"{agent}.messages", []]}
    size = {"$size": array}
    removed = f"{agent}.agent_data.conversation_manager_state.removed_message_count"
    kept = {"$cond": [{"$isNumber": removed}, {"$toInt": removed}, 0]}
    # The last message always comes along: the SDK numbers the next one and redacts by it.
    start: Any = {"$max": [0, {"$min": [kept, {"$subtract": [size, 1]}]}]}
    length: Any = {"$max": [1, size]}
    if window is not None:
        offset, limit = (None if bound is None else min(bound, _LARGEST_INT) for bound in window)
        start, length = {"$literal": offset}, limit or length
    return {
        "data": f"{agent}.agent_data",
        "created_at": f"{agent}.created_at",
        "updated_at": f"{agent}.updated_at",
        "revision": f"{agent}.revision",
        "turn": {"$gt": [f"{agent}.turn", None]},
        "is_array": {"$isArray": f"{agent}.messages"},
        "size": size,
        "first": start,
        # Inside $ifNull, or find would take it for its own projection operator of the same name.
        "messages": {"$ifNull": [{"$slice": [array, start, length]}, []]},
    }


def _graph_expression(address: str) -> dict[str, Any]:
    graph = f"${address}"
    return {
        "data": {"state": f"{graph}.state"},
        "created_at": f"{graph}.created_at",
        "updated_at": f"{graph}.updated_at",
        "revision": f"{graph}.revision",
        "turn": {"$gt": [f"{graph}.turn", None]},
        "is_array": {"$literal": False},
        "size": {"$literal": 0},
        "first": {"$literal": 0},
        "messages": {"$literal": []},
    }


def loaded_agent(document: Mapping[str, Any] | None, addresses: list[str], agent_id: str) -> LoadedAgent:
    """What a load found.

    Args:
        document: What the find with :func:`load_projection` returned.
        addresses: Those of the projection; an agent keeps the one where it is found.
        agent_id: Whose they are. What is found at an older address may be another agent's with that very key.
    """
    if document is None or document.get("gone"):
        return LoadedAgent(address=addresses[0], remains=document is not None)
    found = [document.get(f"at{index}") or {} for index in range(len(addresses))]
    index = next((i for i, agent in enumerate(found) if _has_data(agent) and (i == 0 or _is_of(agent, agent_id))), 0)
    agent = found[index]
    created_at = document.get("created_at")
    return LoadedAgent(
        address=addresses[index],
        found=True,
        created_at=documents.aware(created_at) if isinstance(created_at, datetime) else None,
        data=agent["data"] if _has_data(agent) else None,
        dates={name: agent[name] for name in ("created_at", "updated_at") if name in agent},
        revision=agent.get("revision"),
        turn=bool(agent.get("turn")),
        size=agent.get("size", 0) if agent.get("is_array") else None,
        count=agent.get("size", 0),
        first=agent.get("first", 0),
        messages=agent.get("messages", []),
    )


def _is_of(agent: Mapping[str, Any], agent_id: str) -> bool:
    return bool(agent["data"].get("agent_id") == agent_id)


def _has_data(agent: Any) -> bool:
    data = agent.get("data") if isinstance(agent, dict) else None
    return isinstance(data, dict) and bool(data)


def commit_filter(session_id: str, commit: Commit, turn_timeout: float) -> dict[str, Any]:
    """What must hold for a commit to be applied: the compare of the compare-and-set."""
    address = commit.address
    if commit.create:
        absent = {"$exists": False}
        return {"_id": session_id, f"{address}.revision": absent, f"{address}.messages": absent}
    revision = {"$exists": False} if commit.expected is None else commit.expected
    condition: dict[str, Any] = {"_id": session_id, f"{address}.revision": revision}
    if commit.expected is None and commit.created_at is not None:
        # Without a revision to compare, an agent of another session under the same id would pass for this one.
        condition["created_at"] = commit.created_at
    if commit.part == "agents":
        no_array = {"$not": {"$type": "array"}}
        condition[f"{address}.messages"] = no_array if commit.size is None else {"$size": commit.size}
        if commit.new:
            condition[f"{address}.agent_data"] = {"$in": [None, {}]}
    if commit.contested:
        # Only then: a look at the turn costs the server as much as all the rest of the filter.
        condition["$or"] = [
            {f"{address}.turn": {"$exists": False}},
            {f"{address}.turn.owner": commit.owner},
            {"$expr": {"$lte": [f"${address}.turn.stamp", _expired_before(turn_timeout)]}},
        ]
    return condition


def _expired_before(turn_timeout: float) -> dict[str, Any]:
    return {"$subtract": ["$$NOW", int(turn_timeout * 1000)]}


def commit_update(session_id: str, commit: Commit) -> dict[str, Any]:
    """What a commit does to the document: the set of the compare-and-set."""
    address = commit.address
    prefix = f"{address}.agent_data" if commit.part == "agents" else address
    sets: dict[str, Any] = {f"{prefix}.{name}": value for name, value in commit.data.items()}
    if commit.new and commit.part == "agents" and commit.data:
        # As a whole: a stub that an older tool left may hold null here, into which no field can be set.
        sets = {prefix: dict(commit.data)}
    sets[f"{address}.revision"] = commit.revision
    now: dict[str, Any] = {"updated_at": True, f"{address}.updated_at": True}
    update: dict[str, Any] = {"$set": sets, "$currentDate": now}
    if commit.new:
        now[f"{address}.created_at"] = True
    if commit.create:
        update["$setOnInsert"] = new_session(session_id, commit.session)
    if commit.holds:
        sets[f"{address}.turn.owner"] = commit.owner
        now[f"{address}.turn.stamp"] = True
    if not commit.holds and not commit.create:
        update["$unset"] = {f"{address}.turn": True}
    if commit.part == "agents":
        _with_messages(update, commit)
    return update


def _with_messages(update: dict[str, Any], commit: Commit) -> None:
    address = commit.address
    sets = update["$set"]
    sets[f"{address}.message_count"] = commit.count
    for index, fields in commit.changes.items():
        sets |= {f"{address}.messages.{index}.{name}": value for name, value in fields.items()}
    if commit.totals:
        update["$inc"] = {f"{address}.totals.{name}": value for name, value in commit.totals.items()}
    if commit.size is None and not commit.changes:
        sets[f"{address}.messages"] = list(commit.messages)
    elif commit.messages:
        update["$push"] = {f"{address}.messages": {"$each": list(commit.messages)}}


def new_session(session_id: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that a session starts with, for ``$setOnInsert``."""
    return {
        "session_id": session_id,
        "session_type": "AGENT",
        "schema_version": documents.SCHEMA_VERSION,
        "created_at": _now(),
        "metadata": {},
        "feedbacks": [],
        **{name: value for name, value in fields.items() if value is not None},
    }


def _now() -> datetime:
    """The client's time, cut to the milliseconds that a stored date keeps."""
    now = datetime.now(UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


def standing_projection(address: str) -> dict[str, Any]:
    """What decides after a commit that was refused or is in doubt."""
    turn = f"${address}.turn"
    return {
        "_id": 0,
        "gone": GONE,
        "revision": f"${address}.revision",
        "owner": f"{turn}.owner",
        "age_ms": {"$subtract": ["$$NOW", f"{turn}.stamp"]},
        "created_at": 1,
    }
