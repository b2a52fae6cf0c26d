"""What must be true of the sessions, whatever happened to the servers and the applications."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from strands import Agent

from mongodb_session_manager import MongoDBSessionManagerFactory
from tests.faults.turns import line
from tests.models import ScriptedModel
from tests.storm.application import MISSING, shape
from tests.storm.ledger import Turn

__all__ = ["Findings", "check_history", "check_ids", "check_resumed", "check_taken_back", "check_waits", "read_session"]


@dataclass
class Findings:
    """What is wrong, by kind; nothing, when all is well.

    Attributes:
        problems: Of each kind, in words.
    """

    problems: dict[str, list[str]] = field(default_factory=dict)

    def add(self, kind: str, what: str) -> None:
        """Each once: a session is looked at many times."""
        known = self.problems.setdefault(kind, [])
        if what not in known:
            known.append(what)

    def count(self, kind: str) -> int:
        return len(self.problems.get(kind, ()))


def check_history(
    session_id: str, history: Sequence[str], turns: Mapping[str, Turn], acknowledged: Sequence[Turn], found: Findings
) -> None:
    """A history is made of turns, one after the other, and of nothing else.

    An acknowledged one is there once and whole. Any other may be missing, or be there as far as it came; a tool use at
    which it ended is answered.

    Args:
        session_id: Whose it is.
        history: Its messages, in words.
        turns: All that were begun by now, by text.
        acknowledged: Of this session, those that were before the history was read.
        found: Takes what is wrong.
    """
    stored: dict[str, int] = {}
    order: list[Turn] = []
    position = 0
    while position < len(history):
        turn = turns.get(history[position].removeprefix("prompt "))
        if turn is None or not history[position].startswith("prompt ") or turn.session_id != session_id:
            found.add("torn", f"{session_id}: message {position} belongs to no turn here: {history[position][:60]!r}")
            position += 1
            continue
        expected = shape(turn.text, turn.calls_tool)
        length = _common(expected, history[position:])
        for number in range(min(length, stored.get(turn.text, 0))):
            found.add("doubled", f"{session_id}: message {number} of {turn.text[:40]!r}")
        stored[turn.text] = max(length, stored.get(turn.text, 0))
        order.append(turn)
        position += length
        if length == 2 < len(expected) and position < len(history):
            if history[position] != MISSING:
                found.add("torn", f"{session_id}: the tool use of {turn.text[:40]!r} has no result")
            else:
                position += 1
    for turn in acknowledged:
        for number in range(stored.get(turn.text, 0), len(shape(turn.text, turn.calls_tool))):
            found.add("lost", f"{session_id}: message {number} of {turn.text[:40]!r}")
    _check_order(session_id, order, found)


def _common(expected: Sequence[str], told: Sequence[str]) -> int:
    length = 0
    while length < min(len(expected), len(told)) and expected[length] == told[length]:
        length += 1
    return length


def _check_order(session_id: str, order: Sequence[Turn], found: Findings) -> None:
    """Who ended before another began stands before it."""
    latest: Turn | None = None
    for turn in order:
        if latest is not None and turn.ended is not None and turn.ended < latest.begun:
            found.add("out of order", f"{session_id}: {turn.text[:40]!r} stands behind {latest.text[:40]!r}")
        if latest is None or turn.begun > latest.begun:
            latest = turn


def check_ids(session_id: str, document: Any, found: Findings) -> None:
    """The stored messages are numbered without a gap, up to the last."""
    # Whoever claims a turn before anything is said makes an agent without messages.
    agent = document.get("agents", {}).get("default", {})
    ids = [message["message_id"] for message in agent.get("messages", [])]
    count = agent.get("message_count", 0)
    if ids != list(range(count - len(ids), count)):
        repeated = [number for number, times in Counter(ids).items() if times > 1]
        found.add("ids wrong", f"{session_id}: {len(ids)} of {count}, twice {repeated[:5]}")


def check_taken_back(turns: Sequence[Turn], found: Findings) -> None:
    """A session is not found only while no turn there was acknowledged, so that nobody was promised anything.

    Args:
        turns: All of one session.
        found: Takes what is wrong.
    """
    for refused in (turn for turn in turns if turn.outcome == "taken back"):
        if any(turn.outcome == "acknowledged" and (turn.ended or math.inf) < refused.begun for turn in turns):
            found.add("lost", f"{refused.session_id}: not found by {refused.text[:40]!r} after acknowledged turns")


def check_waits(
    turns: Sequence[Turn],
    killed: Mapping[str, float],
    faults: Sequence[tuple[float, float]],
    lease: float,
    found: Findings,
) -> float:
    """A session is refused as busy only while somebody's turn runs there, or until a dead one's lease is over.

    Args:
        turns: All of one session.
        killed: When applications were.
        faults: From when to when each lasted. What was sent in that time may arrive when it ends.
        lease: Seconds, with what a loaded machine adds.
        found: Takes what is wrong.

    Returns:
        The longest that a turn which nobody ended kept others waiting.
    """
    longest = 0.0
    holders = [(turn, _end(turn, killed, faults)) for turn in turns if turn.outcome != "busy"]
    for refused in (turn for turn in turns if turn.outcome == "busy"):
        assert refused.ended is not None
        waits = [(max(0.0, refused.begun - end), turn) for turn, end in holders if turn.begun < refused.ended]
        waits = [(wait, turn) for wait, turn in waits if wait == 0 or turn.outcome != "acknowledged"]
        wait, turn = min(waits, key=lambda each: each[0], default=(math.inf, None))
        if wait > lease:
            found.add("stuck", f"{refused.session_id}: busy {wait:.1f} s after the last turn there, {turn}"[:200])
        else:
            longest = max(longest, wait)
    return longest


def _end(turn: Turn, killed: Mapping[str, float], faults: Sequence[tuple[float, float]]) -> float:
    end = turn.ended if turn.ended is not None else killed.get(turn.application, math.inf)
    if turn.outcome == "acknowledged":
        return end
    return max([end, *(healed for struck, healed in faults if struck <= end and turn.begun <= healed)])


def read_session(factory: MongoDBSessionManagerFactory, session_id: str, found: Findings) -> list[str]:
    """A session's history in words, as the catalogue tells it."""
    messages = factory.sessions.messages(session_id)
    if [message.message_id for message in messages] != list(range(len(messages))):
        found.add("ids wrong", f"{session_id}: the catalogue numbers {len(messages)} messages otherwise")
    return [line(message.message) for message in messages]


def check_resumed(
    factory: MongoDBSessionManagerFactory, session_id: str, history: Sequence[str], found: Findings
) -> None:
    """An agent made with the session remembers its end."""
    manager = factory.create_session_manager(session_id)
    agent = Agent(model=ScriptedModel(), session_manager=manager, callback_handler=None)
    remembered = [line(message) for message in agent.messages]
    if not remembered or remembered != history[-len(remembered) :]:
        ends = [[each[:60] for each in told[-4:]] for told in (remembered, history)]
        found.add("torn", f"{session_id}: an agent is given another end of the history: {ends[0]}, not {ends[1]}")
