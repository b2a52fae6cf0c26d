"""One session: its deletion, its turns, its counts, and the tool uses in its agents' histories."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from strands.tools._tool_helpers import generate_missing_tool_result_content
from strands.types.content import Message
from strands.types.session import SessionMessage

from ..archive import listed
from ..codec import decode
from ..documents import session_message
from ..errors import SessionError
from ..mongodb_commands import Window, message_count
from ..records import Record
from ..store import LoadedAgent
from .examination import Examination, Listing
from .skeleton import SESSION, agent_expression, archived_count, doubtful, is_key, nested_agents

__all__ = ["Histories"]

_MOST_SHOWN = 5


class _Place(NamedTuple):
    """One agent or graph, and where it is in its session's document."""

    session_id: str
    agent_id: str
    address: str

    @property
    def whose(self) -> tuple[str, str]:
        """For a finding."""
        return self.session_id, self.agent_id


class Histories:
    """Examines sessions one by one."""

    def __init__(self, examination: Examination) -> None:
        """Note what is found in an examination."""
        self._examination = examination
        self._repair = examination.repair
        self._store = examination.store
        self._sessions = examination.store.collection

    def examine(self, session_id: str) -> Listing:
        """Examine a session by its id; there may be none."""
        document = self._sessions.find_one({"_id": session_id}, SESSION)
        return Listing() if document is None else self.examine_session(document)

    def examine_session(self, document: Mapping[str, Any]) -> Listing:
        """Examine a session.

        Args:
            document: As :data:`SESSION` projects it.

        Returns:
            What it lists of the archive.
        """
        self._examination.sessions += 1
        if document["deleting"]:
            if self._repair:
                self._store.archive.finish_deletion(document["_id"])
            detail = "its deletion was interrupted"
            self._examination.found((document["_id"], None), "deletion", detail, repaired=self._repair)
            if self._repair:
                return Listing()
        listing = Listing(gone=document["gone"], dense="schema_version" in document)
        for place, agent in self._agents(document):
            listing.ids |= dict.fromkeys(
                listed([agent["archive"], agent["messages"], agent["originals"]]), place.agent_id
            )
            if not listing.gone:
                self._examine_agent(place, agent, document["now"], listing.dense)
        for graph in document["multi_agents"]:
            if is_key(graph["k"]) and not listing.gone:
                place = _Place(document["_id"], graph["k"], f"multi_agents.{graph['k']}")
                self._is_running(place, graph.get("turn"), document["now"])
        return listing

    def _agents(self, document: Mapping[str, Any]) -> Iterator[tuple[_Place, Mapping[str, Any]]]:
        for each in document["agents"]:
            if not is_key(each["k"]):
                continue
            address = f"agents.{each['k']}"
            yield _place(document["_id"], address, each["v"]), each["v"]
            for nested in nested_agents(address, ((below["k"], below["v"]) for below in each["nested"])):
                found = self._sessions.find_one({"_id": document["_id"]}, {"v": agent_expression(f"${nested}")})
                if found is not None:
                    yield _place(document["_id"], nested, found["v"]), found["v"]

    def _examine_agent(self, place: _Place, agent: Mapping[str, Any], now: datetime, dense: bool) -> None:
        running = self._is_running(place, agent.get("turn"), now)
        if agent.get("revision") is None:
            return
        archived = archived_count(agent["archive"])
        if archived is None:
            self._examination.found(place.whose, "references", "its buckets do not follow one another")
            return
        count = archived + len(agent["messages"])
        self._check_count(place, agent, count)
        if dense and [message.get("message_id") for message in agent["messages"]] != [*range(archived, count)]:
            self._examination.found(place.whose, "message_ids", "messages have ids that are not their positions")
        self._check_tools(place, agent, archived, running)

    def _is_running(self, place: _Place, turn: Any, now: datetime) -> bool:
        """Whether a turn is running. One that has expired is freed."""
        stamp = turn.get("stamp") if isinstance(turn, dict) else None
        if not isinstance(stamp, datetime):
            return False
        age = (now - stamp).total_seconds()
        if age < self._examination.turn_timeout:
            return True
        if self._repair:
            same = {f"{place.address}.turn.{name}": turn.get(name) for name in ("owner", "stamp")}
            free = {"$unset": {f"{place.address}.turn": True}}
            if not self._sessions.update_one({"_id": place.session_id, **same}, free).matched_count:
                return True
        detail = f"its turn was not renewed for {age:.0f} seconds"
        self._examination.found(place.whose, "turn", detail, repaired=self._repair)
        return False

    def _check_count(self, place: _Place, agent: Mapping[str, Any], count: int) -> None:
        said = agent.get("message_count")
        if said in (None, count):
            return
        repaired = False
        if self._repair:
            same = {"_id": place.session_id, f"{place.address}.revision": agent["revision"]}
            counted = {f"{place.address}.message_count": message_count(f"${place.address}")}
            repaired = bool(self._sessions.update_one(same, [{"$set": counted}]).matched_count)
        detail = f"message_count is {said!r}, and there are {count} messages"
        self._examination.found(place.whose, "message_count", detail, repaired=repaired)

    def _check_tools(self, place: _Place, agent: Mapping[str, Any], archived: int, running: bool) -> None:
        last = archived + len(agent["messages"]) - 1
        broken: list[str] = []
        for position in doubtful(agent["messages"], archived):
            if position < last or position < 0:
                broken += [str(position)] if self._is_broken(place, position) else []
            elif not running:
                self._check_last(place, agent["revision"], last)
        if broken:
            after = ", ".join(broken[:_MOST_SHOWN]) + (", …" if len(broken) > _MOST_SHOWN else "")
            detail = f"the tool results after {len(broken)} messages do not fit their tool uses: {after}"
            self._examination.found(place.whose, "tool_pair", detail)

    def _is_broken(self, place: _Place, position: int) -> bool:
        # What lies inside a history keeps its position, whatever is added meanwhile.
        loaded = self._load(place, Window(start=max(position, 0), stop=position + 2))
        if loaded is None or len(loaded.messages) != min(position, 0) + 2:
            return False
        uses = _ids(loaded.messages[0], "toolUse") if position >= 0 else []
        return set(uses) != set(_ids(loaded.messages[-1], "toolResult"))

    def _check_last(self, place: _Place, revision: str, last: int) -> None:
        loaded = self._load(place, Window(start=last))
        if loaded is None or loaded.data is None or (loaded.revision, loaded.count) != (revision, last + 1):
            return
        unanswered = _ids(loaded.messages[0], "toolUse")
        if unanswered and not _is_interrupted(loaded.data):
            repaired = self._repair and self._answer(place, loaded, unanswered)
            detail = f"message {last}, the last one, uses tools and has no result"
            self._examination.found(place.whose, "tool_use", detail, repaired=repaired)

    def _answer(self, place: _Place, loaded: LoadedAgent, tool_use_ids: list[str]) -> bool:
        """Whether the results that the SDK gives in such a case were stored; another writer may be faster."""
        results = generate_missing_tool_result_content(tool_use_ids)
        message: Message = {"role": "user", "content": results, "tracking_id": str(uuid.uuid4())}
        record = Record(place.session_id, "agents", place.agent_id, loaded)
        record.add_message(SessionMessage.from_message(message, loaded.count))
        commit = record.next_commit(claim=False, release=False, create=False, session={}, changes_only=False)
        if commit is None:
            return False
        try:
            self._store.commit(place.session_id, commit, self._examination.turn_timeout)
        except SessionError:
            return False
        return True

    def _load(self, place: _Place, window: Window) -> LoadedAgent | None:
        """Some messages, complete. ``None`` when a part of them is missing, which is found elsewhere."""
        try:
            return self._store.archive.load(place.session_id, place.agent_id, [place.address], window)
        except SessionError:
            return None


def _place(session_id: str, address: str, agent: Mapping[str, Any]) -> _Place:
    agent_id = decode(agent.get("agent_id"))
    return _Place(session_id, agent_id if isinstance(agent_id, str) else address.partition(".")[2], address)


def _ids(stored: Mapping[str, Any], kind: str) -> list[str]:
    message: Any = session_message(stored, 0).to_message()
    return [block[kind]["toolUseId"] for block in message["content"] if kind in block]


def _is_interrupted(data: Mapping[str, Any]) -> bool:
    internal = decode(data.get("_internal_state") or {})
    return bool((internal.get("interrupt_state") or {}).get("activated"))
