"""Restore: what an agent was, another process gets back."""

from __future__ import annotations

import re
from typing import Any

from strands import Agent, ToolContext, tool
from strands.agent.conversation_manager import SlidingWindowConversationManager, SummarizingConversationManager
from strands.hooks import AfterInvocationEvent
from strands.multiagent.graph import Graph, GraphBuilder
from strands.types.content import Messages
from strands.types.exceptions import ContextWindowOverflowException

from ..acting import asked, expect, expect_restored, expect_same, expect_texts, new_session, said, start, with_ids
from ..scripted_model import Line, ScriptedModel, ToolCall
from ..subject import Subject, offered

__all__ = [
    "check_a_conversation_goes_on_in_another_process",
    "check_a_graph_goes_on",
    "check_a_session_that_nobody_used_is_empty",
    "check_a_sliding_window",
    "check_a_summary",
    "check_a_tool_called_by_hand",
    "check_after_a_failure_the_conversation_goes_on",
    "check_agent_ids",
    "check_an_interrupt_is_answered_in_another_process",
    "check_messages_given_to_the_constructor",
    "check_odd_agent_ids",
    "check_session_ids",
    "check_session_ids_with_a_slash",
    "check_state",
    "check_state_that_a_hook_sets_at_the_end",
    "check_the_state_of_a_model",
    "check_the_system_prompt",
    "check_tool_calls",
    "check_two_agents_in_one_session",
    "check_what_a_context_manager_took_out",
    "check_what_left_the_window_is_kept",
]


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@tool(context=True)
def remember(key: str, value: str, tool_context: ToolContext) -> str:
    """Keep something in the agent's state."""
    tool_context.agent.state.set(key, value)
    return "kept"


@tool(context=True)
def approve(what: str, tool_context: ToolContext) -> str:
    """Ask somebody."""
    return f"{what}: {tool_context.interrupt('approval', reason={'what': what})}"


@tool
def report() -> str:
    """Report at length."""
    return "\n".join(f"line {number} of a long report" for number in range(3000))


def check_a_conversation_goes_on_in_another_process(subject: Subject) -> None:
    """A conversation goes on in another process."""
    session_id = new_session()
    for turn in range(3):
        agent = start(subject, session_id, f"answer {turn}")
        agent(f"question {turn}")
    restored = expect_restored(subject, session_id, agent)
    expect_texts(restored, *(f"{kind} {turn}" for turn in range(3) for kind in ("question", "answer")))


def check_a_session_that_nobody_used_is_empty(subject: Subject) -> None:
    """A session that nobody used is empty, also when others are not."""
    start(subject, new_session())("hello")
    expect_texts(start(subject, new_session()))


def check_messages_given_to_the_constructor(subject: Subject) -> None:
    """Messages that an agent is made with are part of its session."""
    session_id = new_session()
    agent = start(subject, session_id, "yes", messages=with_ids([said("user", "before"), said("assistant", "so")]))
    agent("now")
    expect_texts(expect_restored(subject, session_id, agent), "before", "so", "now", "yes")


def check_state(subject: Subject) -> None:
    """The agent's state comes back: set, changed by a tool, deleted."""
    session_id = new_session()
    agent = start(subject, session_id, ToolCall("remember", {"key": "b", "value": "new"}), "done", tools=[remember])
    for key, value in {"a": 1, "b": "old", "nested": {"list": [1, {"x": None}]}, "gone": True}.items():
        agent.state.set(key, value)
    agent("first")
    agent.state.delete("gone")
    agent("second")
    restored = expect_restored(subject, session_id, agent)
    expect_same(restored.state.get(), {"a": 1, "b": "new", "nested": {"list": [1, {"x": None}]}}, "the state")


def check_state_that_a_hook_sets_at_the_end(subject: Subject) -> None:
    """State that an application's hook sets after the invocation comes back."""

    def count(event: AfterInvocationEvent) -> None:
        event.agent.state.set("turns", (event.agent.state.get("turns") or 0) + 1)

    session_id = new_session()
    for _ in range(2):
        start(subject, session_id, hooks=[count])("hello")
    expect(start(subject, session_id).state.get("turns") == 2, "what the hook of the last turn set is lost")


def check_a_sliding_window(subject: Subject) -> None:
    """A sliding window comes back as it was, and slides on."""
    session_id = new_session()
    for turn in range(4):
        agent = start(subject, session_id, conversation_manager=SlidingWindowConversationManager(window_size=4))
        agent(f"question {turn} one")
        agent(f"question {turn} two")
        expect_restored(
            subject, session_id, agent, conversation_manager=SlidingWindowConversationManager(window_size=4)
        )
    expect_texts(agent, "question 3 one", "ok", "question 3 two", "ok")


def check_a_summary(subject: Subject) -> None:
    """A summary of the oldest messages comes back in their place."""

    def overflow(messages: Messages) -> Exception:
        return ContextWindowOverflowException("too much")

    def summarizing() -> SummarizingConversationManager:
        return SummarizingConversationManager(summary_ratio=0.5, preserve_recent_messages=2)

    session_id = new_session()
    agent = start(subject, session_id, "a", "b", overflow, "the summary", "c", conversation_manager=summarizing())
    for turn in range(3):
        agent(f"question {turn}")
    expect("the summary" in str(agent.messages[0]), "the agent has no summary")
    restored = expect_restored(subject, session_id, agent, conversation_manager=summarizing())
    restored("one more")
    expect_restored(subject, session_id, restored, conversation_manager=summarizing())


def check_what_left_the_window_is_kept(subject: Subject) -> None:
    """What has left the agent's window is still in the store."""
    stored = offered(subject.stored, "its store cannot be looked into")
    session_id = new_session()
    agent = start(subject, session_id, conversation_manager=SlidingWindowConversationManager(window_size=2))
    for text in ("forgotten-by-the-window", "two", "three"):
        agent(text)
    expect_texts(agent, "three", "ok")
    expect(b"forgotten-by-the-window" in stored(session_id), "what left the window is gone from the store")


def check_what_a_context_manager_took_out(subject: Subject) -> None:
    """What the SDK's context manager took out of the agent's context stays out, and can be retrieved."""
    session_id = new_session()
    options: dict[str, Any] = {"context_manager": "auto", "conversation_manager": None, "tools": [report]}
    agent = start(subject, session_id, ToolCall("report"), "done", **options)
    agent("report")
    (reference,) = re.findall(r"\[ref: (\S+?)\]", str(agent.messages[2]))
    expect_restored(subject, session_id, agent, **options)
    retrieve = ToolCall("retrieve_context", {"reference": reference, "pattern": "line 1500 "})
    restored = start(subject, session_id, retrieve, "done", **options)
    restored("look it up")
    expect("line 1500 of a long report" in str(restored.messages[-2]), "what was taken out cannot be retrieved")


def check_tool_calls(subject: Subject) -> None:
    """Tool calls and their results come back."""
    session_id = new_session()
    script = (ToolCall("add", {"a": 1, "b": 2}), [ToolCall("add", {"a": 3, "b": 4}), ToolCall("add", {})], "done")
    agent = start(subject, session_id, *script, tools=[add])
    agent("add")
    expect_texts(
        expect_restored(subject, session_id, agent), "add", "toolUse", "toolResult", "toolUse", "toolResult", "done"
    )


def check_a_tool_called_by_hand(subject: Subject) -> None:
    """A tool that the application calls by hand is part of the session once the next turn has ended."""
    session_id = new_session()
    agent = start(subject, session_id, tools=[add])
    agent.tool.add(a=1, b=2)
    agent("go on")
    expect(len(agent.messages) == 6, "the call is not in the agent's messages")
    expect_restored(subject, session_id, agent)


def check_an_interrupt_is_answered_in_another_process(subject: Subject) -> None:
    """A tool that waits for an answer gets it in another process, and runs on there."""
    session_id = new_session()
    script = (ToolCall("approve", {"what": "launch"}), "done")
    result = start(subject, session_id, *script, tools=[approve])("go")
    expect(result.stop_reason == "interrupt", "the agent does not wait")
    (interrupt,) = result.interrupts or ()
    answer: Any = [{"interruptResponse": {"interruptId": interrupt.id, "response": "yes"}}]
    agent = start(subject, session_id, "done", tools=[approve])
    expect(agent(answer).stop_reason == "end_turn", "the agent did not go on")
    expect("launch: yes" in str(agent.messages[-2]), "the answer did not reach the tool")
    expect_texts(expect_restored(subject, session_id, agent), "go", "toolUse", "toolResult", "done")


def check_two_agents_in_one_session(subject: Subject) -> None:
    """Two agents on one session manager have a history and a state each."""
    session_id = new_session()
    manager = subject.make_session_manager(session_id)
    agents = [start(subject, session_id, name, manager=manager, agent_id=name) for name in ("ada", "bob")]
    for agent in agents:
        agent.state.set("mine", agent.agent_id)
        agent(f"hello {agent.agent_id}")
    for agent in agents:
        expect_texts(expect_restored(subject, session_id, agent), f"hello {agent.agent_id}", agent.agent_id)


def check_agent_ids(subject: Subject) -> None:
    """Agent ids with dots, dollars, percents, spaces, letters of any script, 200 characters."""
    _agents_are_told_apart(subject, ["a.b", "a%2Eb", "a", "$a", "a$", "a b", "0", "_id", "ünï", "中文", "x" * 200])


def check_odd_agent_ids(subject: Subject) -> None:
    """Agent ids with control characters, and those that are nothing but dots or a space."""
    _agents_are_told_apart(subject, ["a\0b", "a\nb", "\x7f", ".", "..", " "])


def _agents_are_told_apart(subject: Subject, agent_ids: list[str]) -> None:
    session_id = new_session()
    agents = [start(subject, session_id, f"I am {name}", agent_id=name) for name in agent_ids]
    for agent in agents:
        agent("who?")
    for agent in agents:
        expect_texts(expect_restored(subject, session_id, agent), "who?", f"I am {agent.agent_id}")


def check_session_ids(subject: Subject) -> None:
    """Session ids with dots, dollars, spaces, letters of any script, both cases, 200 characters."""
    own = new_session()
    ids = [f"{own}{end}" for end in (".b", "$b", " b", "-ü", "-中文", "-a", "-A", "%2Eb", "x" * 150)]
    agents = {session_id: start(subject, session_id, f"this is {session_id}") for session_id in ids}
    for agent in agents.values():
        agent("where?")
    for session_id, agent in agents.items():
        expect_texts(expect_restored(subject, session_id, agent), "where?", f"this is {session_id}")


def check_session_ids_with_a_slash(subject: Subject) -> None:
    """Session ids with a slash work, as in ``tenant/user``."""
    session_id = f"{new_session()}/user"
    agent = start(subject, session_id)
    agent("hello")
    expect_restored(subject, session_id, agent)


def check_the_state_of_a_model(subject: Subject) -> None:
    """The state of a model that keeps the conversation itself comes back."""
    session_id = new_session()
    start(subject, session_id, model=ScriptedModel(stateful=True), conversation_manager=None)("one")
    model = ScriptedModel(stateful=True)
    start(subject, session_id, model=model, conversation_manager=None)("two")
    expect_same(model.model_states, [{"calls": 1}], "the model's state")


def check_the_system_prompt(subject: Subject) -> None:
    """An agent that is made without a system prompt gets that of the session."""
    session_id = new_session()
    start(subject, session_id, system_prompt="be brief")("hello")
    expect(start(subject, session_id).system_prompt == "be brief", "the agent has no system prompt")


def check_after_a_failure_the_conversation_goes_on(subject: Subject) -> None:
    """After a turn in which the model failed, the conversation goes on with what was before."""
    session_id = new_session()
    agent = start(subject, session_id, "a", ValueError("the model is ill"))
    agent("one")
    expect(asked(agent, "two") is not None, "the model's error did not reach the caller")
    restored = start(subject, session_id, "c")
    restored("three")
    expect_texts(expect_restored(subject, session_id, restored), "one", "a", "two", "three", "c")


def check_a_graph_goes_on(subject: Subject) -> None:
    """A graph that failed at its second node goes on there in another process."""
    session_id = new_session()

    def graph(second: Line) -> tuple[Graph, list[ScriptedModel]]:
        models = [ScriptedModel("first"), ScriptedModel(second)]
        builder = GraphBuilder()
        for name, model in zip(("first", "second"), models, strict=True):
            builder.add_node(Agent(model=model, callback_handler=None), name)
        builder.add_edge("first", "second")
        builder.set_entry_point("first")
        builder.set_graph_id("graph")
        builder.set_execution_timeout(60)
        builder.set_session_manager(subject.make_session_manager(session_id))
        return builder.build(), models

    failing, models = graph(ValueError("the second node is ill"))
    expect(asked(failing, "go") is not None, "the graph did not fail")
    expect([model.calls for model in models] == [1, 1], "the first node did not run")
    again, models = graph("done")
    again("go")
    expect([model.calls for model in models] == [0, 1], "the first node ran again, or the second did not")
