"""The other process of a check: does something in a session, says how far it is, and waits to be killed.

Run as ``python -m mongodb_session_manager.testing.child``. Its standard input is a JSON list: the scene, the session
id, the function that makes the subject, and the texts to call it with. What it says are lines that begin with a mark.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable

from strands import tool

from .acting import start
from .processes import MARK
from .scripted_model import ScriptedModel, ToolCall
from .subject import Subject, subject_of

__all__ = ["SCENES"]

_PATIENCE = 120.0
"""Seconds until a child that nobody killed ends by itself."""


_opened: list[str] = []
"""An entry for each connection that this process has opened."""


def _note_connections(event: str, arguments: object) -> None:
    if event == "socket.connect":
        _opened.append(event)


def _say(line: str) -> None:
    """Tell the parent."""
    sys.stdout.write(f"{MARK}{line}\n")
    sys.stdout.flush()


def _wait_for_the_end() -> None:
    """Say that this is the place, and wait there to be killed."""
    _say("here")
    time.sleep(_PATIENCE)
    raise TimeoutError("nobody killed this process")


@tool
def book(what: str) -> str:
    """Book something."""
    return f"booked {what}"


@tool(name="book")
def book_slowly(what: str) -> str:
    """Book something, and take forever."""
    _wait_for_the_end()
    return f"booked {what}"


def _in_the_answer(subject: Subject, session_id: str) -> None:
    """Stop in the middle of the model's answer."""
    start(subject, session_id, model=ScriptedModel("half an answer", half_said=_wait_for_the_end))("ask killed")


def _in_the_tool(subject: Subject, session_id: str) -> None:
    """Stop while the tool runs."""
    start(subject, session_id, ToolCall("book", {"what": "it"}), tools=[book_slowly])("ask killed")


def _after_the_tool(subject: Subject, session_id: str) -> None:
    """Stop when the tool has run, and its result is on its way to the model."""
    start(subject, session_id, ToolCall("book", {"what": "it"}), _waits, tools=[book])("ask killed")


def _after_the_turn(subject: Subject, session_id: str) -> None:
    """Stop as soon as a turn is acknowledged."""
    agent = start(subject, session_id, ToolCall("book", {"what": "it"}), "answer killed", tools=[book])
    agent.state.set("last", "killed")
    agent("ask killed")
    _wait_for_the_end()


def _anywhere(subject: Subject, session_id: str) -> None:
    """One turn after the other, each said when it is acknowledged."""
    for turn in range(10_000):
        agent = start(subject, session_id, f"answer {turn}")
        agent.state.set("last", turn)
        agent(f"ask {turn}")
        _say(str(turn))


def _connections(subject: Subject, session_id: str) -> None:
    """Say whether a connection was opened until the end of a turn."""
    start(subject, session_id)("hello")
    _say("connections" if _opened else "no connection")


def _waits(messages: object) -> str:
    _wait_for_the_end()
    return "too late"


SCENES: dict[str, Callable[[Subject, str], None]] = {
    "in_the_answer": _in_the_answer,
    "in_the_tool": _in_the_tool,
    "after_the_tool": _after_the_tool,
    "after_the_turn": _after_the_turn,
    "anywhere": _anywhere,
    "connections": _connections,
}
"""What the child can be told to play."""


if __name__ == "__main__":
    sys.addaudithook(_note_connections)
    scene, session, *child = json.load(sys.stdin)
    SCENES[scene](subject_of(child), session)
