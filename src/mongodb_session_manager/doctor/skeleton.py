"""What the doctor reads of a session: its document without what was said. No I/O.

::

    { _id, now, gone, deleting, schema_version?,
      agents: [ { k, v: { agent_id?, revision?, turn?, message_count?, archive: [ … ],
                          messages: [ { message_id?, external?, uses?, results? }, … ] },
                  nested: [ { k, v }, … ] }, … ],
      multi_agents: [ { k, turn? }, … ] }

``uses`` and ``results`` are the ids of tool uses and results in a message; ``nested`` is where an older tool may have
put other agents.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from ..mongodb_commands import GONE

__all__ = [
    "ARCHIVED",
    "ORPHAN",
    "SESSION",
    "agent_expression",
    "archived_count",
    "doubtful",
    "is_key",
    "nested_agents",
]

_OF_AN_AGENT = [
    *("agent_data", "archive", "created_at", "messages", "message_count", "originals", "revision", "totals", "turn")
]


def _array(field: str) -> dict[str, Any]:
    return {"$cond": [{"$isArray": field}, field, []]}


def _entries(field: str) -> dict[str, Any]:
    return {"$objectToArray": {"$cond": [{"$eq": [{"$type": field}, "object"]}, field, {}]}}


_MESSAGE: dict[str, Any] = {
    "$let": {
        "vars": {"said": {"$ifNull": ["$$each.redact_message", "$$each.message"]}},
        "in": {
            "message_id": "$$each.message_id",
            "external": "$$each.external",
            "uses": "$$said.content.toolUse.toolUseId",
            "results": "$$said.content.toolResult.toolUseId",
        },
    }
}


def agent_expression(agent: str) -> dict[str, Any]:
    """An expression: one agent without what was said.

    Args:
        agent: A field path or variable, with its ``$``.
    """
    # An agent of the older layout holds all that was ever said, and is not examined.
    messages = {"$cond": [{"$gt": [f"{agent}.revision", None]}, _array(f"{agent}.messages"), []]}
    return {
        "agent_id": f"{agent}.agent_data.agent_id",
        "revision": f"{agent}.revision",
        "turn": f"{agent}.turn",
        "message_count": f"{agent}.message_count",
        "archive": _array(f"{agent}.archive"),
        "originals": _array(f"{agent}.originals"),
        "messages": {"$map": {"input": messages, "as": "each", "in": _MESSAGE}},
    }


_IS_NESTED: dict[str, Any] = {
    "$and": [{"$eq": [{"$type": "$$below.v"}, "object"]}, {"$not": {"$in": ["$$below.k", _OF_AN_AGENT]}}]
}
_BELOW: dict[str, Any] = {"k": "$$below.k", "v": {"$unsetField": {"field": "messages", "input": "$$below.v"}}}
_NESTED: dict[str, Any] = {
    "$map": {
        "input": {"$filter": {"input": _entries("$$agent.v"), "as": "below", "cond": _IS_NESTED}},
        "as": "below",
        "in": _BELOW,
    }
}

_AGENT: dict[str, Any] = {"k": "$$agent.k", "v": agent_expression("$$agent.v"), "nested": _NESTED}
_GRAPH: dict[str, Any] = {"k": "$$graph.k", "turn": "$$graph.v.turn"}

SESSION: dict[str, Any] = {
    "now": "$$NOW",
    "gone": GONE,
    "deleting": {"$gt": ["$deleting", None]},
    "schema_version": 1,
    "agents": {"$map": {"input": _entries("$agents"), "as": "agent", "in": _AGENT}},
    "multi_agents": {"$map": {"input": _entries("$multi_agents"), "as": "graph", "in": _GRAPH}},
}
"""A projection of a session's document."""

ORPHAN: dict[str, Any] = dict.fromkeys(("session_ids", "agent_id", "used_at", "ids", "first"), 1)
"""A projection of a document of the archive: whose it is, and what kind of document."""

_DENSE = {"$range": ["$first", {"$add": ["$first", {"$size": _array("$messages")}]}]}

ARCHIVED: dict[str, Any] = {
    **ORPHAN,
    "messages.external.ids": 1,
    "dense": {"$cond": [{"$isNumber": "$first"}, {"$eq": ["$messages.message_id", _DENSE]}, True]},
}
"""The same with what a bucket lists, and whether the ids of its messages are their positions."""


def is_key(key: str) -> bool:
    """Whether MongoDB can address a field of this name."""
    return bool(key) and "." not in key and key[0] != "$"


def nested_agents(address: str, below: Iterable[tuple[str, Any]]) -> Iterator[str]:
    """The addresses of agents that lie inside another, as an older tool put them, and are written in this layout."""
    for key, value in below:
        if isinstance(value, dict) and is_key(key) and key not in _OF_AN_AGENT:
            if value.get("agent_data") and "revision" in value:
                yield f"{address}.{key}"
            yield from nested_agents(f"{address}.{key}", value.items())


def archived_count(archive: Sequence[Mapping[str, Any]]) -> int | None:
    """How many messages references cover, ``None`` when they do not follow one another."""
    count = 0
    for reference in archive:
        if reference.get("first") != count or not count <= reference.get("last", -1):
            return None
        count = reference["last"] + 1
    return count


def doubtful(messages: Sequence[Mapping[str, Any]], archived: int) -> Iterator[int]:
    """Positions of messages whose tool uses may not fit the results in the message after them.

    -1 stands before the first message of a history. What lies elsewhere as a whole may hold anything.

    Args:
        messages: Those that the document holds.
        archived: How many are before them.
    """
    before: list[Mapping[str, Any]] = [] if archived else [{}]
    row = [*before, *messages, {}]
    for position, (message, following) in enumerate(pairwise(row), archived - len(before)):
        fits = set(map(str, message.get("uses", []))) == set(map(str, following.get("results", [])))
        if not fits or _lies_elsewhere(message) or _lies_elsewhere(following):
            yield position


def _lies_elsewhere(message: Mapping[str, Any]) -> bool:
    return any(taken["path"][1:] == ["content"] for taken in message.get("external", ()))
