"""Order: every message once, in the order in which it was said."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

from strands import Agent, tool
from strands.agent.conversation_manager import SlidingWindowConversationManager
from strands.session.repository_session_manager import RepositorySessionManager

from ..acting import expect, expect_restored, expect_texts, in_threads, new_session, said, start
from ..scripted_model import ToolCall
from ..subject import NotOffered, Subject

__all__ = [
    "check_called_awaited_and_streamed",
    "check_many_turns_of_many_processes",
    "check_message_ids",
    "check_message_ids_behind_a_window",
    "check_the_same_words_twice",
    "check_tools_that_run_at_once",
]


@tool
def slowly(number: int) -> str:
    """Answer the later, the smaller the number is."""
    threading.Event().wait(0.05 / number)
    return f"result {number}"


def check_many_turns_of_many_processes(subject: Subject) -> None:
    """Thirty turns, each in another process, are in the order in which they were."""
    session_id = new_session()
    for turn in range(30):
        agent = start(subject, session_id, f"answer {turn}")
        agent(f"question {turn}")
    expect_texts(
        start(subject, session_id), *(f"{kind} {turn}" for turn in range(30) for kind in ("question", "answer"))
    )


def check_the_same_words_twice(subject: Subject) -> None:
    """The same words said twice are two messages, also when the application sends the same object."""
    session_id = new_session()
    agent = start(subject, session_id, "yes")
    for _ in range(2):
        agent("really?")
    prompt = [said("user", "really?")]
    for _ in range(2):
        agent(prompt)
    expect_texts(expect_restored(subject, session_id, agent), *(["really?", "yes"] * 4))


def check_tools_that_run_at_once(subject: Subject) -> None:
    """Tools that run at once leave one message with all results, in the order of the calls."""
    session_id = new_session()
    calls = [ToolCall("slowly", {"number": number}) for number in (1, 2, 3)]
    agent = start(subject, session_id, list(calls), "done", tools=[slowly])
    agent("go")
    restored: Any = expect_restored(subject, session_id, agent).messages[2]["content"]
    uses: Any = agent.messages[1]["content"]
    expect(
        [block["toolResult"]["toolUseId"] for block in restored] == [block["toolUse"]["toolUseId"] for block in uses],
        "the results are not those of the calls",
    )


def check_called_awaited_and_streamed(subject: Subject) -> None:
    """Turns that are called, awaited and streamed follow one another in one session."""
    session_id = new_session()

    async def stream(agent: Agent) -> None:
        async for _ in agent.stream_async("streamed"):
            pass

    start(subject, session_id)("called")
    agent = start(subject, session_id)
    _run(lambda: agent.invoke_async("awaited"))
    other = start(subject, session_id)
    _run(lambda: stream(other))
    expect_texts(start(subject, session_id), "called", "ok", "awaited", "ok", "streamed", "ok")


def _run(work: Callable[[], Coroutine[Any, Any, object]]) -> None:
    """Run something on a loop in a thread of its own, because the caller's may run one already."""
    (error,) = in_threads(lambda: asyncio.run(work()))
    if error is not None:
        raise error


def check_message_ids(subject: Subject) -> None:
    """Message ids count up from 0 without a gap, over restarts and tool calls."""
    session_id = new_session()
    for _ in range(3):
        agent = start(subject, session_id, ToolCall("slowly", {"number": 9}), "done", tools=[slowly])
        agent("one")
        agent("two")
    _expect_dense_ids(agent, session_id, 18)


def check_message_ids_behind_a_window(subject: Subject) -> None:
    """Message ids count up although the agent's window keeps nothing over a restart."""
    session_id = new_session()
    for _ in range(3):
        agent = start(subject, session_id, conversation_manager=SlidingWindowConversationManager(window_size=0))
        agent("question")
    _expect_dense_ids(agent, session_id, 6)


def _expect_dense_ids(agent: Agent, session_id: str, count: int) -> None:
    manager = agent._session_manager
    if not isinstance(manager, RepositorySessionManager):
        raise NotOffered("its messages have no ids")
    ids = [message.message_id for message in manager.session_repository.list_messages(session_id, agent.agent_id)]
    expect(ids == [*range(count)], f"the ids are {', '.join(map(str, ids))}, not 0 to {count - 1}")
