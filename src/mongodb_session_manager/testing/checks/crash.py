"""Crash: a process is killed in its turn. What was acknowledged is there, and another process goes on."""

from __future__ import annotations

import time
from typing import Any

from strands import Agent, tool

from ..acting import asked, expect, expect_restored, expect_same, expect_whole_turns, new_session, start, texts
from ..processes import started
from ..subject import Subject

__all__ = [
    "check_a_question_is_remembered",
    "check_a_tool_that_ran_is_remembered",
    "check_killed_after_a_tool",
    "check_killed_after_the_turn",
    "check_killed_anywhere",
    "check_killed_in_a_tool",
    "check_killed_in_the_answer",
    "check_the_next_turn_need_not_wait",
]

_PATIENCE = 45.0
"""Seconds in which a session must take turns again after the process that had one was killed."""


@tool
def book(what: str) -> str:
    """Book something."""
    return f"booked {what}"


def check_killed_in_the_answer(subject: Subject) -> None:
    """Killed in the middle of the model's answer: earlier turns are there, and the conversation goes on."""
    _expect_it_goes_on(subject, "in_the_answer")


def check_killed_in_a_tool(subject: Subject) -> None:
    """Killed while a tool runs: the conversation goes on, and no tool call is left without a result."""
    _expect_it_goes_on(subject, "in_the_tool")


def check_killed_after_a_tool(subject: Subject) -> None:
    """Killed after a tool ran, before the model answered: the conversation goes on."""
    _expect_it_goes_on(subject, "after_the_tool")


def check_a_tool_that_ran_is_remembered(subject: Subject) -> None:
    """Killed after a tool ran: its result is there, so that nobody has to run it again."""
    restored = start(subject, _killed(subject, "after_the_tool"), tools=[book])
    expect("booked it" in str(restored.messages), "nothing tells that the tool ran")


def check_a_question_is_remembered(subject: Subject) -> None:
    """Killed in the middle of the model's answer: the question is there."""
    restored = start(subject, _killed(subject, "in_the_answer"))
    expect("ask killed" in texts(restored.messages), "the question is lost")


def check_killed_after_the_turn(subject: Subject) -> None:
    """Killed as soon as a turn was acknowledged: all of it is there, the state too."""
    restored = start(subject, _killed(subject, "after_the_turn"))
    expect_whole_turns(restored.messages, ["first", "killed"])
    expect_same(restored.state.get(), {"last": "killed"}, "the state")


def check_killed_anywhere(subject: Subject) -> None:
    """Killed anywhere in a series of turns, three times: all that was acknowledged is there, whole, with its state."""
    for seconds in (0.03, 0.11, 0.29):
        session_id = new_session()
        with started(subject, "anywhere", session_id) as child:
            child.expect("0")
            time.sleep(seconds)
            acknowledged = ["0", *child.kill()]
        restored = start(subject, session_id)
        expect_whole_turns(restored.messages, acknowledged)
        expect(restored.state.get("last") >= int(acknowledged[-1]), "the state is older than the messages")
        _ask_until_it_answers(subject, session_id)


def check_the_next_turn_need_not_wait(subject: Subject) -> None:
    """Killed in the middle of a turn: another process can go on at once."""
    refusal = asked(start(subject, _killed(subject, "in_the_answer"), "answer next"), "ask next")
    expect(refusal is None, f"the next turn is refused at first, with {type(refusal).__name__}")


def _killed(subject: Subject, scene: str) -> str:
    """A session with an earlier turn, in which a process was killed."""
    session_id = new_session()
    start(subject, session_id, "answer first")("ask first")
    with started(subject, scene, session_id) as child:
        child.expect("here")
        child.kill()
    return session_id


def _expect_it_goes_on(subject: Subject, scene: str) -> None:
    session_id = _killed(subject, scene)
    agent = _ask_until_it_answers(subject, session_id)
    expect_whole_turns(agent.messages, ["first", "next"])
    _expect_paired(agent)
    expect_restored(subject, session_id, agent, tools=[book])


def _ask_until_it_answers(subject: Subject, session_id: str) -> Agent:
    """Ask in a new process; whoever still holds the killed one's turn has a while to notice."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        agent = start(subject, session_id, "answer next", tools=[book])
        refusal = asked(agent, "ask next")
        if refusal is None:
            return agent
        if time.monotonic() > deadline:
            raise refusal
        time.sleep(0.5)


def _expect_paired(agent: Agent) -> None:
    """Fail unless every tool use is followed by its result."""
    blocks: list[Any] = [block for message in agent.messages for block in message["content"]]
    uses = [block["toolUse"]["toolUseId"] for block in blocks if "toolUse" in block]
    results = [block["toolResult"]["toolUseId"] for block in blocks if "toolResult" in block]
    expect(uses == results, "a tool call has no result, or a result no call")
