"""A turn's commands in MongoDB's language: filters, updates, projections, and reading what comes back. No I/O.

Traps of a real server that the shapes here avoid: an equality to null in the filter of an upsert is copied into the new
document (so ``$exists: false``); ``$expr`` is refused in an upsert (so only a manager that found no document upserts,
and then needs no look at the turn); a one-branch ``$or`` counts as an equality.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from . import documents
from .store import Claim, Commit, LoadedAgent

__all__ = [
    "EXPIRES_AT",
    "GONE",
    "TOO_LARGE",
    "Read",
    "Spill",
    "Tail",
    "Window",
    "alive",
    "buckets_of",
    "claim_filter",
    "claim_update",
    "commit_filter",
    "commit_update",
    "free_turn",
    "lineage_push",
    "load_projection",
    "loaded_agent",
    "measured",
    "message_count",
    "message_update",
    "new_session",
    "standing_projection",
    "unending",
    "whole_tail",
]

TOO_LARGE = {10334, 17419, 17420}
"""BSONObjectTooLarge, and what an update answers whose result would exceed 16 MB."""

_LARGEST_INT = 2**31 - 1
"""The server's limit for the arguments of ``$slice``."""

_REFERENCE_BYTES = 60
"""About what the reference of a bucket takes."""

EXPIRES_AT: dict[str, Any] = {
    "$switch": {
        "branches": [
            {
                "case": {"$and": [{"$isNumber": "$lifetime"}, {"$eq": [{"$type": "$updated_at"}, "date"]}]},
                "then": {"$add": ["$updated_at", {"$multiply": ["$lifetime", 1000]}]},
            },
            {"case": {"$eq": [{"$type": "$expires_at"}, "date"]}, "then": "$expires_at"},
        ],
        "default": None,
    }
}
"""An expression: when the session expires, ``lifetime`` seconds after its last change or at a fixed date; or null."""

GONE: dict[str, Any] = {
    "$or": [
        {"$gt": ["$deleting", None]},
        {"$gt": ["$importing", None]},
        {
            "$let": {
                "vars": {"expires_at": EXPIRES_AT},
                "in": {
                    "$and": [
                        {"$ne": ["$hold", True]},
                        {"$gt": ["$$expires_at", None]},
                        {"$lte": ["$$expires_at", "$$NOW"]},
                    ]
                },
            }
        },
    ]
}
"""An expression: the session reads as absent, though a document is still there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tail:
    """Where an agent is kept in its session's document, and what is there: the value of ``LoadedAgent.at``.

    Attributes:
        address: A dotted path.
        size: Length of the stored array of messages, ``None`` where there is no array.
        archived: How many older messages lie in buckets.
        bytes: About what the array takes.
        document_bytes: About what the whole document takes.
    """

    address: str
    size: int | None = None
    archived: int = 0
    bytes: int = 0
    document_bytes: int = 0

    @property
    def count(self) -> int:
        """Length of the history."""
        return self.archived + (self.size or 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spill:
    """What a commit does to the archive: the references to list, and how many messages stay in the document."""

    references: Sequence[Mapping[str, Any]]
    kept: int


class Window(NamedTuple):
    """Some messages of a history: those from ``start`` to before ``stop``, or the last ``limit`` before ``stop``."""

    start: int | None = None
    stop: int | None = None
    limit: int | None = None


def load_projection(addresses: list[str], *, graph: bool = False, window: Window | None = None) -> dict[str, Any]:
    """What the load of one agent reads: computed on the server, so that a long history stays there.

    Args:
        addresses: Where the agent may be.
        graph: Whether it is a graph's state and has no messages.
        window: Which messages, instead of those that the conversation manager kept.
    """
    return {
        "_id": 0,
        "created_at": 1,
        "owner": 1,
        "document_bytes": {"$bsonSize": "$$ROOT"},
        "gone": GONE,
        **{
            f"at{index}": _graph_expression(address) if graph else _agent_expression(address, window)
            for index, address in enumerate(addresses)
        },
    }


def _agent_expression(address: str, window: Window | None) -> dict[str, Any]:
    agent = f"${address}"
    found = {
        "data": f"{agent}.agent_data",
        "created_at": f"{agent}.created_at",
        "updated_at": f"{agent}.updated_at",
        "revision": f"{agent}.revision",
        "turn": {"$gt": [f"{agent}.turn", None]},
        "first": "$$first",
        "stop": "$$stop",
        "references": {
            "$filter": {
                "input": "$$archive",
                "as": "bucket",
                "cond": {"$and": [{"$gte": ["$$bucket.last", "$$first"]}, {"$lt": ["$$bucket.first", "$$stop"]}]},
            }
        },
        "messages": _slice("$$tail", {"$subtract": ["$$first", "$$archived"]}, {"$subtract": ["$$stop", "$$archived"]}),
    }
    end: Any = "$$count"
    if window is not None and window.stop is not None:
        end = {"$min": ["$$count", min(window.stop, _LARGEST_INT)]}
    return _let(
        {"tail": _array(f"{agent}.messages"), "archive": _array(f"{agent}.archive")},
        _let(
            {"archived": _archived("$$archive")},
            _let(
                {"count": {"$add": ["$$archived", {"$size": "$$tail"}]}},
                _let({"stop": end}, _let({"first": _first(agent, window)}, {**found, **_measures(agent)})),
            ),
        ),
    )


def _first(agent: str, window: Window | None) -> Any:
    if window is None:
        removed = f"{agent}.agent_data.conversation_manager_state.removed_message_count"
        kept = {"$cond": [{"$isNumber": removed}, {"$toInt": removed}, 0]}
        # The last message always comes along: the SDK numbers the next one and redacts by it.
        return {"$max": [0, {"$min": [kept, {"$subtract": ["$$count", 1]}]}]}
    if window.start is not None:
        return {"$literal": min(window.start, _LARGEST_INT)}
    return {"$max": [0, {"$subtract": ["$$stop", min(window.limit or 0, _LARGEST_INT)]}]}


def _measures(agent: str) -> dict[str, Any]:
    """The facts of a :class:`Tail`, inside the variables of :func:`_agent_expression`."""
    # Sizes of what lies in the document as it is cost nothing; to measure an array it would be built anew.
    originals = f"{agent}.originals"
    kept = {"$cond": [{"$isArray": originals}, {"$bsonSize": {"all": originals}}, 0]}
    references = {"$multiply": [_REFERENCE_BYTES, {"$size": "$$archive"}]}
    beside = {"$add": [_size(f"{agent}.agent_data"), references, kept]}
    return {
        "is_array": {"$isArray": f"{agent}.messages"},
        "size": {"$size": "$$tail"},
        "archived": "$$archived",
        "bytes": {"$subtract": [_size(agent), beside]},
    }


def _size(field: str) -> dict[str, Any]:
    return {"$cond": [{"$eq": [{"$type": field}, "object"]}, {"$bsonSize": field}, 0]}


def _let(variables: dict[str, Any], expression: Any) -> dict[str, Any]:
    return {"$let": {"vars": variables, "in": expression}}


def _array(field: str) -> dict[str, Any]:
    return {"$cond": [{"$isArray": field}, field, []]}


def _archived(archive: Any) -> dict[str, Any]:
    """How many messages an array of references covers."""
    last = {"$let": {"vars": {"bucket": {"$arrayElemAt": [archive, -1]}}, "in": "$$bucket.last"}}
    return {"$ifNull": [{"$add": [last, 1]}, 0]}


def message_count(agent: str) -> dict[str, Any]:
    """An expression: the length of a history, also of one that an older tool wrote.

    Args:
        agent: A field path or variable, with its ``$``.
    """
    return {"$add": [_archived(_array(f"{agent}.archive")), {"$size": _array(f"{agent}.messages")}]}


def _slice(array: str, start: Any, stop: Any) -> dict[str, Any]:
    begin = {"$max": [0, start]}
    length = {"$subtract": [stop, begin]}
    # Inside $cond: bare, find would take it for its own projection operator of the same name.
    return {"$cond": [{"$gt": [length, 0]}, {"$slice": [array, begin, {"$max": [1, length]}]}, []]}


def _graph_expression(address: str) -> dict[str, Any]:
    graph = f"${address}"
    return {
        "data": {"state": f"{graph}.state"},
        "created_at": f"{graph}.created_at",
        "updated_at": f"{graph}.updated_at",
        "revision": f"{graph}.revision",
        "turn": {"$gt": [f"{graph}.turn", None]},
    }


def loaded_agent(document: Mapping[str, Any] | None, addresses: list[str], agent_id: str) -> tuple[LoadedAgent, Read]:
    """What a load found, and what of it lies elsewhere.

    Args:
        document: What the find with :func:`load_projection` returned.
        addresses: Those of the projection; an agent keeps the one where it is found.
        agent_id: Whose they are. What is found at an older address may be another agent's with that very key.
    """
    if document is None or document.get("gone"):
        return LoadedAgent(at=Tail(address=addresses[0]), remains=document is not None), Read()
    found = [document.get(f"at{index}") or {} for index in range(len(addresses))]
    index = next((i for i, agent in enumerate(found) if _has_data(agent) and (i == 0 or _is_of(agent, agent_id))), 0)
    agent = found[index]
    created_at = document.get("created_at")
    tail = measured(agent, addresses[index], document)
    loaded = LoadedAgent(
        at=tail,
        found=True,
        created_at=documents.aware(created_at) if isinstance(created_at, datetime) else None,
        session_owner=document.get("owner"),
        data=agent["data"] if _has_data(agent) else None,
        dates={name: agent[name] for name in ("created_at", "updated_at") if name in agent},
        revision=agent.get("revision"),
        turn=bool(agent.get("turn")),
        count=tail.count,
        first=agent.get("first", 0),
        messages=agent.get("messages", []),
    )
    return loaded, Read(agent.get("stop", 0), agent.get("references", []))


class Read(NamedTuple):
    """Up to where a load reads messages, and the buckets that hold those before the document's own."""

    stop: int = 0
    references: Sequence[Mapping[str, Any]] = ()


def measured(agent: Mapping[str, Any], address: str, document: Mapping[str, Any]) -> Tail:
    """The facts of an agent that a projection measured."""
    return Tail(
        address=address,
        size=agent.get("size", 0) if agent.get("is_array") else None,
        archived=agent.get("archived", 0),
        bytes=agent.get("bytes", 0),
        document_bytes=document.get("document_bytes", 0),
    )


def _is_of(agent: Mapping[str, Any], agent_id: str) -> bool:
    return bool(agent["data"].get("agent_id") == agent_id)


def _has_data(agent: Any) -> bool:
    data = agent.get("data") if isinstance(agent, dict) else None
    return isinstance(data, dict) and bool(data)


def commit_filter(session_id: str, commit: Commit, turn_timeout: float) -> dict[str, Any]:
    """What must hold for a commit to be applied: the compare of the compare-and-set."""
    address = commit.at.address
    if commit.create:
        absent = {"$exists": False}
        apart = dict.fromkeys(("deleting", "importing"), absent)
        return {"_id": session_id, **apart, f"{address}.revision": absent, f"{address}.messages": absent}
    revision = {"$exists": False} if commit.expected is None else commit.expected
    condition: dict[str, Any] = {"_id": session_id, f"{address}.revision": revision, "deleting": {"$exists": False}}
    if commit.expected is None and commit.created_at is not None:
        # Without a revision to compare, an agent of another session under the same id would pass for this one.
        condition["created_at"] = commit.created_at
    if commit.part == "agents":
        no_array = {"$not": {"$type": "array"}}
        condition[f"{address}.messages"] = no_array if commit.at.size is None else {"$size": commit.at.size}
        if commit.new:
            condition[f"{address}.agent_data"] = {"$in": [None, {}]}
    if commit.contested:
        # Only then: a look at the turn costs the server as much as all the rest of the filter.
        condition["$or"] = free_turn(address, commit.owner, turn_timeout)
    return condition


def free_turn(address: str, owner: str, turn_timeout: float) -> list[dict[str, Any]]:
    """One of these holds where an owner may take the turn. Not for an upsert."""
    return [
        {f"{address}.turn": {"$exists": False}},
        {f"{address}.turn.owner": owner},
        {"$expr": {"$lte": [f"${address}.turn.stamp", _expired_before(turn_timeout)]}},
    ]


def _expired_before(turn_timeout: float) -> dict[str, Any]:
    return {"$subtract": ["$$NOW", int(turn_timeout * 1000)]}


def alive() -> dict[str, Any]:
    """A condition: the session does not read as absent. Not for an upsert."""
    return {"$expr": {"$not": [GONE]}}


def unending() -> dict[str, Any]:
    """A condition for an upsert: nothing says that the session reads as absent, now or ever."""
    return {name: {"$exists": False} for name in ("deleting", "importing", "expires_at", "lifetime")}


def claim_filter(session_id: str, claim: Claim, turn_timeout: float) -> dict[str, Any]:
    """What must hold for a claim: the session is the one that is meant, and the turn is free."""
    meant = {} if claim.created_at is None else {"created_at": claim.created_at}
    turn = free_turn(claim.at.address, claim.owner, turn_timeout)
    return {"_id": session_id, **alive(), **meant, "$or": turn}


def claim_update(claim: Claim) -> dict[str, Any]:
    """What a claim does to the document."""
    address = claim.at.address
    return {
        "$set": {f"{address}.revision": claim.revision, f"{address}.turn.owner": claim.owner},
        "$currentDate": {"updated_at": True, f"{address}.turn.stamp": True},
    }


def commit_update(session_id: str, commit: Commit, spill: Spill | None = None) -> dict[str, Any]:
    """What a commit does to the document: the set of the compare-and-set."""
    address = commit.at.address
    prefix = f"{address}.agent_data" if commit.part == "agents" else address
    sets: dict[str, Any] = {f"{prefix}.{name}": value for name, value in commit.data.items()}
    changed = documents.prompt_change(commit.data, "turn") if commit.part == "agents" else None
    if commit.new and commit.part == "agents" and commit.data:
        # As a whole: a stub that an older tool left may hold null here, into which no field can be set.
        sets = {prefix: {**commit.data, **({"prompt_lineage": [changed]} if changed else {})}}
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
        _with_messages(update, commit, spill)
    if changed and not commit.new:
        update.setdefault("$push", {}).update(lineage_push(address, changed))
    if commit.originals:
        kept = [{"position": position, **fields} for position, fields in commit.originals.items()]
        update.setdefault("$push", {})[f"{address}.originals"] = {"$each": kept}
    return update


def lineage_push(address: str, changed: Mapping[str, Any]) -> dict[str, Any]:
    """What ``$push`` does to an agent whose set-up changes, with an entry of its lineage."""
    return {f"{address}.agent_data.prompt_lineage": {"$each": [changed], "$slice": -documents.MOST_PROMPT_CHANGES}}


def _with_messages(update: dict[str, Any], commit: Commit, spill: Spill | None) -> None:
    address = commit.at.address
    sets = update["$set"]
    sets[f"{address}.message_count"] = commit.count
    for position, fields in commit.changes.items():
        changed = message_update(f"{address}.messages.{position - commit.at.archived}", fields)
        sets |= changed["$set"]
        update.setdefault("$unset", {}).update(changed.get("$unset", {}))
    if not update.get("$unset", True):
        del update["$unset"]
    if commit.totals:
        update["$inc"] = {f"{address}.totals.{name}": value for name, value in commit.totals.items()}
    if commit.changes:
        return
    messages = list(commit.messages)
    references = list(spill.references) if spill else []
    if commit.at.size is None:
        sets[f"{address}.messages"] = messages[-spill.kept :] if spill else messages
        if references:
            sets[f"{address}.archive"] = references
        return
    push: dict[str, Any] = {}
    if messages or spill:
        # What goes into a bucket at once is not sent a second time.
        cut = {"$each": messages[-spill.kept :], "$slice": -spill.kept} if spill else {"$each": messages}
        push[f"{address}.messages"] = cut
    if references:
        push[f"{address}.archive"] = {"$each": references}
    if push:
        update["$push"] = push


def message_update(place: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Replace fields of a stored message; a new content leaves nothing of the one before.

    Args:
        place: The dotted path of the message.
        fields: As :func:`mongodb_session_manager.documents.message_changes` gives them, with ``external`` where some
            of it lies elsewhere.
    """
    update: dict[str, Any] = {"$set": {f"{place}.{name}": value for name, value in fields.items()}}
    if "message" in fields:
        old = [name for name in ("redact_message", "external") if name not in fields]
        update["$unset"] = {f"{place}.{name}": True for name in old}
    return update


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


def whole_tail(address: str) -> dict[str, Any]:
    """A projection: all messages that the document itself holds, for a spill."""
    return {"_id": 0, "revision": f"${address}.revision", "messages": _array(f"${address}.messages")}


def buckets_of(address: str, positions: Sequence[int]) -> dict[str, Any]:
    """A projection: the references of the buckets that hold some positions."""
    condition = {"$and": [{"$lte": ["$$bucket.first", max(positions)]}, {"$gte": ["$$bucket.last", min(positions)]}]}
    found = {"$filter": {"input": _array(f"${address}.archive"), "as": "bucket", "cond": condition}}
    return {"_id": 0, "references": found}


def standing_projection(address: str) -> dict[str, Any]:
    """What decides after a commit that was refused or is in doubt."""
    agent, turn = f"${address}", f"${address}.turn"
    return {
        "_id": 0,
        "gone": GONE,
        "revision": f"{agent}.revision",
        "owner": f"{turn}.owner",
        "age_ms": {"$subtract": ["$$NOW", f"{turn}.stamp"]},
        "created_at": 1,
        "document_bytes": {"$bsonSize": "$$ROOT"},
        "tail": _let(
            {"tail": _array(f"{agent}.messages"), "archive": _array(f"{agent}.archive")},
            _let({"archived": _archived("$$archive")}, _measures(agent)),
        ),
    }
