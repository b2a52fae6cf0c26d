"""Conflict: two writers of one session. Who is second is refused or merged; nothing acknowledged is lost or mixed."""

from __future__ import annotations

import threading
from functools import partial

from strands import Agent, tool

from ..acting import (
    asked,
    expect,
    expect_restored,
    expect_same,
    expect_texts,
    expect_whole_turns,
    in_threads,
    new_session,
    start,
    texts,
)
from ..scripted_model import ScriptedModel, ToolCall
from ..subject import NotOffered, Subject, offered

__all__ = [
    "check_a_deleted_session_stays_deleted",
    "check_a_refused_writer_may_ask_again",
    "check_a_refused_writer_pays_no_model",
    "check_a_stale_writer_loses_nothing",
    "check_an_idle_agent_does_not_bring_its_state_back",
    "check_looking_changes_nothing",
    "check_ten_writers_of_a_new_session",
    "check_ten_writers_of_a_session",
    "check_two_agents_at_once",
    "check_two_tabs",
]

_WRITERS = 10
_A_WHILE = 2.0
"""Seconds in which a second writer is either refused or waits for the first."""


@tool
def look_up(word: str) -> str:
    """Look a word up."""
    return f"found {word}"


def check_a_stale_writer_loses_nothing(subject: Subject) -> None:
    """A writer whose history is out of date does not overwrite the newer one."""
    session_id = new_session()
    start(subject, session_id, "answer first")("ask first")
    stale = start(subject, session_id, "answer stale")
    start(subject, session_id, "answer quick")("ask quick")
    _expect_nothing_lost(subject, session_id, {"stale": asked(stale, "ask stale")}, acknowledged=["first", "quick"])


def check_a_refused_writer_may_ask_again(subject: Subject) -> None:
    """A writer that was refused asks again with the same agent, and then goes on with the newer history."""
    session_id, stale, _ = _refused(subject)
    stale("ask stale")
    expect_whole_turns(start(subject, session_id).messages, ["first", "quick", "stale"])
    expect_restored(subject, session_id, stale)


def check_a_refused_writer_pays_no_model(subject: Subject) -> None:
    """Whoever is refused is refused before its model is called."""
    _, _, model = _refused(subject)
    expect(model.calls == 0, "the model was called for a turn that was refused then")


def _refused(subject: Subject) -> tuple[str, Agent, ScriptedModel]:
    """A session, an agent whose turn in it was refused because another one was quicker, and its model."""
    session_id = new_session()
    start(subject, session_id, "answer first")("ask first")
    model = ScriptedModel("answer stale")
    stale = start(subject, session_id, model=model)
    start(subject, session_id, "answer quick")("ask quick")
    if asked(stale, "ask stale") is None:
        raise NotOffered("it refuses nobody")
    return session_id, stale, model


def check_two_tabs(subject: Subject) -> None:
    """A question from a second tab, while the first is being answered, neither gets lost nor between."""
    session_id = new_session()
    start(subject, session_id, "answer first")("ask first")
    answering, answered = threading.Event(), threading.Event()

    def hold() -> None:
        answering.set()
        answered.wait(30)

    slow = start(subject, session_id, model=ScriptedModel("answer slow", half_said=hold))
    other = start(subject, session_id, "answer other")
    ends: dict[str, Exception | None] = {}

    def second_tab() -> None:
        expect(answering.wait(30), "the first tab's model was not called")
        waiting = threading.Timer(_A_WHILE, answered.set)
        waiting.start()
        ends["other"] = asked(other, "ask other")
        waiting.cancel()
        answered.set()

    def first_tab() -> None:
        ends["slow"] = asked(slow, "ask slow")

    _raise_first(in_threads(first_tab, second_tab))
    expect(None in ends.values(), "both tabs were refused")
    _expect_nothing_lost(subject, session_id, ends, acknowledged=["first"])


def check_ten_writers_of_a_session(subject: Subject) -> None:
    """Ten writers at once in a session that is there: whole turns only."""
    session_id = new_session()
    start(subject, session_id, "answer first")("ask first")
    _ten_writers(subject, session_id, acknowledged=["first"])


def check_ten_writers_of_a_new_session(subject: Subject) -> None:
    """Ten writers at once in a session that is not there yet: whole turns only."""
    _ten_writers(subject, new_session(), acknowledged=[])


def _ten_writers(subject: Subject, session_id: str, acknowledged: list[str]) -> None:
    ends: dict[str, Exception | None] = {}
    gate = threading.Barrier(_WRITERS)

    def write(name: str) -> None:
        try:
            agent = start(subject, session_id, ToolCall("look_up", {"word": name}), f"answer {name}", tools=[look_up])
        except Exception as error:
            ends[name] = error
            gate.wait(30)
            return
        gate.wait(30)
        ends[name] = asked(agent, f"ask {name}")

    _raise_first(in_threads(*(partial(write, f"writer {number}") for number in range(_WRITERS))))
    expect(None in ends.values(), "all of them were refused")
    _expect_nothing_lost(subject, session_id, ends, acknowledged=acknowledged)


def _raise_first(errors: list[BaseException | None]) -> None:
    for error in errors:
        if error is not None:
            raise error


def _expect_nothing_lost(
    subject: Subject, session_id: str, ends: dict[str, Exception | None], acknowledged: list[str]
) -> None:
    done = [name for name, error in ends.items() if error is None]
    refused = [name for name, error in ends.items() if error is not None]
    expect_whole_turns(start(subject, session_id).messages, [*acknowledged, *done], refused)


def check_two_agents_at_once(subject: Subject) -> None:
    """Two agents of one session, each with its own session manager, write at once and do not disturb each other."""
    session_id = new_session()
    for name in ("ada", "bob"):
        start(subject, session_id, agent_id=name)("hello")
    agents = [start(subject, session_id, f"I am {name}", agent_id=name) for name in ("ada", "bob")]

    def talk(agent: Agent) -> None:
        for turn in range(5):
            agent(f"question {turn}")

    _raise_first(in_threads(*(partial(talk, agent) for agent in agents)))
    for agent in agents:
        expect(len(agent.messages) == 12, "a turn is missing in an agent's memory")
        expect_restored(subject, session_id, agent)


def check_looking_changes_nothing(subject: Subject) -> None:
    """Restoring an agent changes nothing in the store."""
    stored = offered(subject.stored, "its store cannot be looked into")
    session_id = new_session()
    start(subject, session_id)("hello")
    before = stored(session_id)
    start(subject, session_id)
    expect(stored(session_id) == before, "the store holds something else after an agent was restored")


def check_an_idle_agent_does_not_bring_its_state_back(subject: Subject) -> None:
    """An agent that sets nothing does not undo the state that another one has saved meanwhile."""
    session_id = new_session()
    start(subject, session_id, state={"mood": "old"})("hello")
    idle = start(subject, session_id)
    busy = start(subject, session_id)
    busy.state.set("mood", "new")
    busy("a new mood")
    asked(idle, "still here")
    expect_same(start(subject, session_id).state.get(), {"mood": "new"}, "the state")


def check_a_deleted_session_stays_deleted(subject: Subject) -> None:
    """A session that is deleted while an agent has it open does not come back with that agent's next turn."""
    delete = offered(subject.delete_session, "it deletes no session")
    session_id = new_session()
    agent = start(subject, session_id)
    agent("a secret")
    delete(session_id)
    refusal = asked(agent, "and now?")
    try:
        restored = start(subject, session_id)
    except Exception as error:
        raise AssertionError("a part of the session is left, and it cannot be opened any more") from error
    expect("a secret" not in texts(restored.messages), "what was deleted is back")
    expect_texts(restored, *([] if refusal else ["and now?", "ok"]))
