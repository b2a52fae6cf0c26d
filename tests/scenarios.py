"""The table of scenarios: what an agent can live through, each played on any session manager of the SDK's kind.

A scenario starts an agent, talks to it, lets processes end and start again; the stage notes after every step what the
agent remembers. Played on two session managers, the notes must be equal. The table is long, and one file all the same:
its sections are to be read beside one another.
"""

from __future__ import annotations

import asyncio
import copy
import threading
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel
from strands import Agent, ModelRetryStrategy, tool
from strands.agent.conversation_manager import (
    ConversationManager,
    NullConversationManager,
    SlidingWindowConversationManager,
    SummarizingConversationManager,
)
from strands.agent.conversation_manager.compression.pin_message import pin_message
from strands.hooks import (
    AfterInvocationEvent,
    AfterModelCallEvent,
    AfterToolCallEvent,
    AfterToolsEvent,
    BeforeInvocationEvent,
    BeforeModelCallEvent,
    BeforeToolCallEvent,
    BeforeToolsEvent,
    MessageAddedEvent,
)
from strands.middleware import InvokeModelStage
from strands.middleware._agent_stream import AgentStreamStage
from strands.types.content import Messages
from strands.types.exceptions import ContextWindowOverflowException, ModelThrottledException
from strands.types.streaming import StreamEvent

from tests.models import Line, ScriptedModel

if TYPE_CHECKING:
    from tests.test_scenarios import Stage

Play = Callable[["Stage"], Awaitable[None]]
SCENARIOS: dict[str, Play] = {}


def scenario(play: Play) -> Play:
    """Add a scenario to the table."""
    SCENARIOS[play.__name__] = play
    return play


# Models, tools and words that several scenarios share


class StoppedShort(ScriptedModel):
    """Its first answer ends at the token limit."""

    async def stream(self, messages: Messages, *args: Any, **kwargs: Any) -> AsyncIterable[StreamEvent]:
        first = not self.calls
        async for event in super().stream(messages, *args, **kwargs):
            yield {"messageStop": {"stopReason": "max_tokens"}} if first and "messageStop" in event else event


class BreaksOff(ScriptedModel):
    """Its first answer ends in an error after two words."""

    async def stream(self, messages: Messages, *args: Any, **kwargs: Any) -> AsyncIterable[StreamEvent]:
        first, words = not self.calls, 0
        async for event in super().stream(messages, *args, **kwargs):
            words += "contentBlockDelta" in event
            if first and words > 2:
                raise ConnectionError("the line went dead")
            yield event


class TakesBack(ScriptedModel):
    """A guardrail replaces its first answer when it is complete."""

    async def stream(self, messages: Messages, *args: Any, **kwargs: Any) -> AsyncIterable[StreamEvent]:
        first = not self.calls
        async for event in super().stream(messages, *args, **kwargs):
            yield event
            if first and "messageStop" in event:
                yield {"redactContent": {"redactAssistantContentMessage": "[taken back]"}}


class RemoteConversation(ScriptedModel):
    """Keeps the conversation on its own side and says so."""

    def __init__(self, *script: Line) -> None:
        super().__init__(*script)
        self.is_stateful = True

    async def stream(self, messages: Messages, *args: Any, **kwargs: Any) -> AsyncIterable[StreamEvent]:
        state = kwargs["model_state"]
        state["response_id"] = f"after {state.get('response_id')}"
        state.setdefault("seen", []).append(len(messages))
        async for event in super().stream(messages, *args, **kwargs):
            yield event


class Person(BaseModel):
    """Somebody."""

    name: str = "Ada"
    age: int = 36


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@tool
def fail(why: str) -> str:
    """Fail."""
    raise ValueError(f"the tool is ill: {why}")


@tool(context=True)
def remember(key: str, value: str, tool_context: Any) -> str:
    """Keep something in the agent's state."""
    tool_context.agent.state.set(key, value)
    return f"{key} is {value}"


@tool(context=True)
def approve(what: str, tool_context: Any) -> str:
    """Ask somebody."""
    answer = tool_context.interrupt("approval", reason={"what": what, "$options": ["yes", "no"], "a.b": None})
    return f"{what}: {answer}"


@tool
def picture() -> dict[str, Any]:
    """Draw."""
    return {
        "status": "success",
        "content": [
            {"image": {"format": "png", "source": {"bytes": b"\x89PNG\x00\xff"}}},
            {"json": {"$set": {"a.b": [1, None, 2.5]}, "": 2**70, "nul\x00": "\x00"}},
            {"document": {"format": "pdf", "name": "d", "source": {"bytes": b""}}},
        ],
    }


@tool
async def after_a_while(text: str) -> str:
    """Answer later than others."""
    await asyncio.sleep(0.02)
    return text


@tool
def report() -> str:
    """Say far more than fits."""
    return "line of a long report " * 200


ADD: Any = {"name": "add", "input": {"a": 1, "b": 2}}
APPROVE: Any = {"name": "approve", "input": {"what": "launch"}}


def overflow(messages: Messages) -> Exception:
    """A line of the model's: what it is sent is too much for it."""
    return ContextWindowOverflowException("too much")


def user(text: str, **more: Any) -> Any:
    """A message of the user's."""
    return {"role": "user", "content": [{"text": text}], **more}


def assistant(text: str, **more: Any) -> Any:
    """A message of the assistant's."""
    return {"role": "assistant", "content": [{"text": text}], **more}


def answers(outcome: Any, *responses: Any) -> Any:
    """The answers to the interrupts of a result, in order."""
    return [
        {"interruptResponse": {"interruptId": interrupt.id, "response": response}}
        for interrupt, response in zip(outcome.interrupts, responses, strict=False)
    ]


def sliding(window_size: int, **options: Any) -> Callable[[], ConversationManager]:
    """A sliding window of so many messages."""
    return lambda: SlidingWindowConversationManager(window_size, **options)


def summarizing(**options: Any) -> Callable[[], ConversationManager]:
    """Summaries from the second message on."""
    defaults: dict[str, Any] = {"summary_ratio": 0.5, "preserve_recent_messages": 2}
    return lambda: SummarizingConversationManager(**{**defaults, **options})


async def talk(stage: Stage, agent: Agent, turns: int) -> None:
    """Several plain turns."""
    for turn in range(turns):
        await stage.ask(agent, f"question {turn}")


# Conversation managers


@scenario
async def everything_is_kept(stage: Stage) -> None:
    for answer in ("a", "b", "c"):
        await talk(stage, await stage.start(answer, keeps=NullConversationManager), 2)


@scenario
async def a_window_slides(stage: Stage) -> None:
    for _ in range(3):
        await talk(stage, await stage.start("answer", keeps=sliding(4)), 3)


@scenario
async def a_window_of_an_odd_size_slides(stage: Stage) -> None:
    for _ in range(3):
        await talk(stage, await stage.start("answer", keeps=sliding(3)), 2)


@scenario
async def a_window_slides_over_tool_calls(stage: Stage) -> None:
    for _ in range(3):
        agent = await stage.start(ADD, "three", ADD, ADD, "four", keeps=sliding(4), tools=[add])
        await talk(stage, agent, 2)


@scenario
async def a_window_slides_within_a_turn(stage: Stage) -> None:
    for _ in range(2):
        agent = await stage.start(ADD, ADD, ADD, "six", "ok", keeps=sliding(4, per_turn=True), tools=[add])
        await talk(stage, agent, 2)


@scenario
async def a_window_slides_before_every_second_model_call(stage: Stage) -> None:
    for _ in range(3):
        agent = await stage.start(ADD, ADD, "four", "ok", keeps=sliding(3, per_turn=2), tools=[add])
        await talk(stage, agent, 2)


@scenario
async def a_window_truncates_long_results_before_it_slides(stage: Stage) -> None:
    script = ({"name": "report", "input": {}}, overflow, "read", overflow, overflow, "read again", "ok")
    agent = await stage.start(*script, keeps=sliding(20), tools=[report])
    await talk(stage, agent, 3)
    await talk(stage, await stage.start("a", overflow, "b", keeps=sliding(20), tools=[report]), 2)


@scenario
async def a_window_slides_instead_of_truncating(stage: Stage) -> None:
    script = ({"name": "report", "input": {}}, overflow, "read", overflow, "ok")
    for _ in range(2):
        agent = await stage.start(*script, keeps=sliding(8, should_truncate_results=False), tools=[report])
        await talk(stage, agent, 3)


@scenario
async def a_context_that_cannot_be_reduced(stage: Stage) -> None:
    agent = await stage.start("a", overflow, "c", keeps=NullConversationManager)
    await talk(stage, agent, 3)


@scenario
async def the_oldest_messages_are_summarized_again_and_again(stage: Stage) -> None:
    script = ("a", "b", overflow, "first summary", "c", overflow, "second summary", "d")
    for _ in range(2):
        await talk(stage, await stage.start(*script, keeps=summarizing()), 4)


@scenario
async def a_summary_of_a_summary_in_one_turn(stage: Stage) -> None:
    script = ("a", "b", "c", overflow, "summary", overflow, "shorter summary", "d", "e")
    for _ in range(2):
        await talk(stage, await stage.start(*script, keeps=summarizing()), 4)


@scenario
async def tool_calls_are_summarized(stage: Stage) -> None:
    script = (ADD, "three", [ADD, ADD], overflow, "summary", "six", ADD, overflow, "summary 2", "seven")
    for _ in range(2):
        await talk(stage, await stage.start(*script, keeps=summarizing(), tools=[add]), 3)


@scenario
async def another_agent_summarizes(stage: Stage) -> None:
    def keeps() -> ConversationManager:
        writer = Agent(model=ScriptedModel("written summary"), callback_handler=None)
        return SummarizingConversationManager(0.5, 2, summarization_agent=writer)

    for _ in range(2):
        await talk(stage, await stage.start("a", "b", overflow, "c", keeps=keeps), 3)


@scenario
async def a_summary_fails(stage: Stage) -> None:
    agent = await stage.start("a", "b", overflow, RuntimeError("no summary today"), "d", keeps=summarizing())
    await talk(stage, agent, 4)


@scenario
async def there_is_too_little_to_summarize(stage: Stage) -> None:
    await talk(stage, await stage.start(overflow, "b", keeps=summarizing(preserve_recent_messages=10)), 2)


@scenario
async def the_context_is_compressed_ahead_of_time(stage: Stage) -> None:
    class Small(ScriptedModel):
        def get_config(self) -> dict[str, Any]:
            return {"model_id": "small-1", "context_window_limit": 20}

    for keeps in (sliding(2, proactive_compression=True), summarizing(proactive_compression=True)):
        agent_id = keeps().__class__.__name__
        for _ in range(2):
            await talk(stage, await stage.start("answer", agent_id=agent_id, keeps=keeps, model=Small), 4)


@scenario
async def another_conversation_manager_takes_over(stage: Stage) -> None:
    await talk(stage, await stage.start("answer", keeps=sliding(2)), 2)
    await stage.attempt(stage.start("answer", keeps=summarizing()))
    stage.cast["default"] = {"keeps": sliding(4)}


@scenario
async def the_first_messages_are_pinned_in_a_window(stage: Stage) -> None:
    for _ in range(3):
        await talk(stage, await stage.start("answer", keeps=sliding(4, pin_first=2)), 3)


@scenario
async def the_first_messages_are_pinned_beside_summaries(stage: Stage) -> None:
    script = ("a", "b", overflow, "summary", "c", overflow, "summary 2", "d")
    for _ in range(2):
        await talk(stage, await stage.start(*script, keeps=summarizing(pin_first=1)), 4)


@scenario
async def a_pinned_message_stays_in_a_window(stage: Stage) -> None:
    pinned = user("never forget this", metadata={"custom": {"pinned": True, "why": "it matters"}})
    for _ in range(2):
        agent = await stage.start("answer", keeps=sliding(4))
        await stage.ask(agent, "before")
        await stage.ask(agent, [copy.deepcopy(pinned)])
        await talk(stage, agent, 3)


@scenario
async def a_pinned_tool_call_stays_in_a_window(stage: Stage) -> None:
    agent = await stage.start(ADD, "three", "ok", keeps=sliding(4), tools=[add])
    await stage.ask(agent, "add")
    pin_message(agent.messages, 1)
    await talk(stage, agent, 3)
    await talk(stage, await stage.start("ok", keeps=sliding(4), tools=[add]), 2)


@scenario
async def a_pinned_message_stays_beside_summaries(stage: Stage) -> None:
    agent = await stage.start("a", "b", overflow, "summary", "c", overflow, "summary 2", "d", keeps=summarizing())
    pinned = user("never forget this", metadata={"custom": {"pinned": True}})
    await stage.ask(agent, [pinned])
    await talk(stage, agent, 4)
    await talk(stage, await stage.start("e", overflow, "summary 3", "f", keeps=summarizing()), 3)


@scenario
async def only_pinned_messages_could_be_summarized(stage: Stage) -> None:
    agent = await stage.start("a", overflow, "c", keeps=summarizing(pin_first=5))
    await talk(stage, agent, 3)


# Tools


@scenario
async def one_tool(stage: Stage) -> None:
    for _ in range(2):
        await talk(stage, await stage.start(ADD, "three", ADD, ADD, "six", tools=[add]), 2)


@scenario
async def parallel_tools(stage: Stage) -> None:
    both = [{"name": "after_a_while", "input": {"text": "late"}}, ADD, {"name": "fail", "input": {"why": "tired"}}]
    for _ in range(2):
        await talk(stage, await stage.start(both, "done", tools=[add, after_a_while, fail]), 2)


@scenario
async def a_tool_that_fails(stage: Stage) -> None:
    script = ({"name": "fail", "input": {"why": "tired"}}, "sorry")
    await talk(stage, await stage.start(*script, tools=[fail]), 2)


@scenario
async def a_tool_that_is_not_there_and_one_called_wrongly(stage: Stage) -> None:
    script = ({"name": "subtract", "input": {"a": 1}}, {"name": "add", "input": {"a": "one"}}, "sorry")
    await talk(stage, await stage.start(*script, tools=[add]), 2)


@scenario
async def a_hook_tries_a_tool_again(stage: Stage) -> None:
    tries: list[str] = []

    @tool
    def moody() -> str:
        """Fail at first."""
        tries.append("try")
        if len(tries) % 2:
            raise ValueError("not yet")
        return f"succeeded, {len(tries)}"

    def again(event: AfterToolCallEvent) -> None:
        event.retry = event.result["status"] == "error"

    agent = await stage.start({"name": "moody", "input": {}}, "done", tools=[moody], hooks=[again])
    await stage.ask(agent, "go")


@scenario
async def hooks_change_tool_calls_and_results(stage: Stage) -> None:
    def change(event: BeforeToolCallEvent) -> None:
        event.tool_use["input"]["a"] = 40

    def comment(event: AfterToolCallEvent) -> None:
        event.result["content"].append({"text": "checked"})

    await talk(stage, await stage.start(ADD, "42", tools=[add], hooks=[change, comment]), 2)


@scenario
async def a_hook_forbids_tools(stage: Stage) -> None:
    def forbid_one(event: BeforeToolCallEvent) -> None:
        if event.tool_use["input"].get("a") == 1:
            event.cancel_tool = "not with one"

    def forbid_all(event: BeforeToolsEvent) -> None:
        if len(event.message["content"]) > 2:
            event.cancel = "too many at once"

    script = ([ADD, {"name": "add", "input": {"a": 3, "b": 4}}], "a", [ADD, ADD, ADD], "b")
    await talk(stage, await stage.start(*script, tools=[add], hooks=[forbid_one, forbid_all]), 2)


@scenario
async def a_hook_ends_the_turn_after_the_tools(stage: Stage) -> None:
    def enough(event: AfterToolsEvent) -> None:
        event.end_turn = "that is all"

    await talk(stage, await stage.start(ADD, "never said", tools=[add], hooks=[enough]), 2)


@scenario
async def a_tool_returns_bytes_and_awkward_keys(stage: Stage) -> None:
    await talk(stage, await stage.start({"name": "picture", "input": {}}, "seen", tools=[picture]), 2)


@scenario
async def a_tool_calls_another_by_hand(stage: Stage) -> None:
    @tool(context=True)
    def outer(tool_context: Any) -> str:
        """Use another tool."""
        return str(tool_context.agent.tool.add(a=1, b=1, record_direct_tool_call=False)["content"])

    await talk(stage, await stage.start({"name": "outer", "input": {}}, "done", tools=[outer, add]), 2)


# Interrupts


def asks(event: BeforeToolCallEvent) -> None:
    """Ask before every addition; anything but yes forbids it."""
    if event.tool_use["name"] == "add" and event.interrupt("sure", reason={"$which": "add"}) != "yes":
        event.cancel_tool = "they said no"


@scenario
async def a_hook_interrupts_and_is_answered_at_once(stage: Stage) -> None:
    agent = await stage.start(ADD, "three", ADD, "no sum", "ok", tools=[add], hooks=[asks])
    await stage.ask(agent, answers(await stage.ask(agent, "add"), "yes"))
    await stage.ask(agent, answers(await stage.ask(agent, "add"), {"no": ["never"]}))
    await stage.ask(agent, "fine")


@scenario
async def a_hook_interrupts_and_is_answered_by_another_process(stage: Stage) -> None:
    outcome = await stage.ask(await stage.start("hello", ADD, tools=[add], hooks=[asks]), "hello")
    for response in ("yes", "no"):
        outcome = await stage.ask(await stage.start(ADD, tools=[add], hooks=[asks]), "add")
        await stage.ask(await stage.start("done", tools=[add], hooks=[asks]), answers(outcome, response))


@scenario
async def a_tool_interrupts(stage: Stage) -> None:
    agent = await stage.start(APPROVE, "launched", tools=[approve])
    await stage.ask(agent, answers(await stage.ask(agent, "go"), "yes"))
    outcome = await stage.ask(await stage.start(APPROVE, tools=[approve]), "go again")
    await stage.ask(await stage.start("not launched", tools=[approve]), answers(outcome, {"$no": b"\x00".hex()}))


@scenario
async def one_of_two_parallel_tools_interrupts(stage: Stage) -> None:
    outcome = await stage.ask(await stage.start([ADD, APPROVE], tools=[add, approve]), "both")
    await stage.ask(await stage.start("done", tools=[add, approve]), answers(outcome, "yes"))


@scenario
async def two_parallel_tools_interrupt_and_are_answered_one_by_one(stage: Stage) -> None:
    options: dict[str, Any] = {"tools": [add, approve], "hooks": [asks]}
    outcome = await stage.ask(await stage.start([ADD, APPROVE], **options), "both")
    outcome = await stage.ask(await stage.start("done", **options), answers(outcome, "yes"))
    await stage.ask(await stage.start("done", **options), answers(outcome, "yes"))


@scenario
async def a_hook_asks_twice(stage: Stage) -> None:
    def ask_twice(event: BeforeToolCallEvent) -> None:
        if event.interrupt("first") == "yes":
            event.interrupt("second", reason="really")

    outcome = await stage.ask(await stage.start(ADD, tools=[add], hooks=[ask_twice]), "add")
    for _ in range(2):
        outcome = await stage.ask(await stage.start("done", tools=[add], hooks=[ask_twice]), answers(outcome, "yes"))


@scenario
async def an_interrupt_is_answered_wrongly_first(stage: Stage) -> None:
    agent = await stage.start(ADD, "done", tools=[add], hooks=[asks])
    outcome = await stage.ask(agent, "add")
    await stage.ask(agent, "what interrupt?")
    await stage.ask(agent, [{"interruptResponse": {"interruptId": "unknown", "response": "yes"}}])
    await stage.do(agent, lambda: agent.tool.add(a=1, b=1))
    again = await stage.start("done", tools=[add], hooks=[asks])
    await stage.ask(again, None)
    await stage.ask(again, answers(outcome, "yes"))
    await stage.ask(again, answers(outcome, "yes"))


@scenario
async def an_interrupt_before_all_tools(stage: Stage) -> None:
    def ask_once(event: BeforeToolsEvent) -> None:
        if event.interrupt("batch", reason=len(event.message["content"])) != "yes":
            event.cancel = "no"

    outcome = await stage.ask(await stage.start([ADD, ADD], tools=[add], hooks=[ask_once]), "add")
    await stage.ask(await stage.start("done", tools=[add], hooks=[ask_once]), answers(outcome, "yes"))


@scenario
async def middleware_interrupts_before_the_model(stage: Stage) -> None:
    def gate(agent: Agent) -> None:
        async def gated(context: Any, next_fn: Any) -> AsyncGenerator[Any, None]:
            answer = context.interrupt("gate", reason="costly").response
            context.invocation_state["answer"] = answer
            async for event in next_fn(context):
                yield event

        agent.add_middleware(AgentStreamStage, gated)

    agent = await stage.start(ADD, "three", setup=gate, tools=[add])
    outcome = await stage.ask(agent, "please")
    outcome = await stage.ask(agent, answers(outcome, "yes"))
    outcome = await stage.ask(await stage.start("done", setup=gate, tools=[add]), "once more")
    await stage.ask(await stage.start("done", setup=gate, tools=[add]), answers(outcome, "yes"))


@scenario
async def an_answered_tool_interrupt_runs_into_a_failing_model(stage: Stage) -> None:
    outcome = await stage.ask(await stage.start(ADD, tools=[add], hooks=[asks]), "add")
    await stage.ask(await stage.start(ValueError("ill"), tools=[add], hooks=[asks]), answers(outcome, "yes"))
    await stage.ask(await stage.start("well again", tools=[add], hooks=[asks]), None)


@scenario
async def the_state_changes_while_an_interrupt_is_open(stage: Stage) -> None:
    both = [{"name": "remember", "input": {"key": "k", "value": "v"}}, ADD]
    agent = await stage.start(both, tools=[remember, add], hooks=[asks])
    outcome = await stage.ask(agent, "both")
    agent.state.set("asked", True)
    manager: Any = agent._session_manager
    await stage.do(agent, lambda: manager.sync_agent(agent))
    await stage.ask(await stage.start("done", tools=[remember, add], hooks=[asks]), answers(outcome, "yes"))


# Redaction


def guarded(agent: Agent) -> None:
    """The next answer redacts what the user said."""
    agent.model.redact = "[removed]"  # type: ignore[attr-defined]


@scenario
async def a_guardrail_redacts_the_question(stage: Stage) -> None:
    await talk(stage, await stage.start("hello"), 1)
    agent = await stage.start("I may not answer", "ok")
    for _ in range(2):
        guarded(agent)
        await stage.ask(agent, "my card is 1234")
        await stage.ask(agent, "harmless")


@scenario
async def a_guardrail_redacts_the_first_question_of_a_session(stage: Stage) -> None:
    agent = await stage.start("I may not answer")
    guarded(agent)
    await stage.ask(agent, [{"text": "my card is 1234"}, {"image": {"format": "png", "source": {"bytes": b"1234"}}}])


@scenario
async def a_guardrail_redacts_tool_results(stage: Stage) -> None:
    def guard_second_call(event: BeforeModelCallEvent) -> None:
        if "toolResult" in event.agent.messages[-1]["content"][0]:
            guarded(event.agent)

    agent = await stage.start([ADD, ADD], "I may not say", "ok", tools=[add], hooks=[guard_second_call])
    await talk(stage, agent, 2)


@scenario
async def a_guardrail_takes_an_answer_back(stage: Stage) -> None:
    await talk(stage, await stage.start("my card is 1234", "ok", model=TakesBack), 2)


@scenario
async def a_guardrail_redacts_and_then_the_model_fails(stage: Stage) -> None:
    class RedactsAndFails(ScriptedModel):
        async def stream(self, messages: Messages, *args: Any, **kwargs: Any) -> AsyncIterable[StreamEvent]:
            guard = not self.calls
            async for event in super().stream(messages, *args, **kwargs):
                yield event
                if guard and "messageStart" in event:
                    yield {"redactContent": {"redactUserContentMessage": "[removed]"}}
                    raise ConnectionError("the line went dead")

    agent = await stage.start("never said", "better", model=RedactsAndFails)
    await stage.ask(agent, "my card is 1234")
    await stage.ask(agent, "again")


@scenario
async def the_latest_message_is_redacted_by_hand(stage: Stage) -> None:
    agent = await stage.start("my card is 1234", "ok")
    manager: Any = agent._session_manager
    await stage.do(agent, lambda: manager.redact_latest_message(user("[nothing there]"), agent))
    await stage.ask(agent, "who are you?")
    redacted = assistant("[removed]", tracking_id=agent.messages[-1]["tracking_id"])
    await stage.do(agent, lambda: manager.redact_latest_message(redacted, agent))
    await stage.ask(agent, "go on")
    again = await stage.start("ok")
    manager_again: Any = again._session_manager
    await stage.do(again, lambda: manager_again.redact_latest_message(assistant("[removed too]"), again))
    await stage.do(again, lambda: manager_again.redact_latest_message(assistant("[and again]"), again))
    await stage.ask(again, "go on")


@scenario
async def a_redacted_question_leaves_the_window(stage: Stage) -> None:
    agent = await stage.start("answer", keeps=sliding(2))
    for _ in range(3):
        guarded(agent)
        await stage.ask(agent, "my card is 1234")
    again = await stage.start("answer", keeps=sliding(2))
    guarded(again)
    await stage.ask(again, "my card is 5678")


@scenario
async def the_same_question_object_is_asked_again_after_a_failure(stage: Stage) -> None:
    question = [user("my card is 1234")]
    agent = await stage.start("hello", ValueError("ill"), "answer", "ok")
    await stage.ask(agent, "hello")
    await stage.ask(agent, question)
    guarded(agent)
    await stage.ask(agent, question)
    await stage.ask(agent, "and?")


@scenario
async def one_question_object_is_asked_in_every_turn(stage: Stage) -> None:
    question = [user("and now?")]
    for agent_id, keeps in {"all": NullConversationManager, "four": sliding(4), "two": sliding(2)}.items():
        for _ in range(2):
            agent = await stage.start("answer", keeps=keeps, agent_id=agent_id)
            await stage.ask(agent, question)
            await stage.ask(agent, question)


# Structured output


@scenario
async def structured_output_is_forced(stage: Stage) -> None:
    for _ in range(2):
        agent = await stage.start("let me see", {"name": "Person", "input": {"name": "Grace", "age": 85}}, "ok")
        await stage.ask(agent, "who?", structured_output_model=Person)
        await stage.ask(agent, "thanks")


@scenario
async def structured_output_comes_at_once(stage: Stage) -> None:
    for _ in range(2):
        agent = await stage.start({"name": "Person", "input": {"name": "Grace", "age": 85}}, "ok")
        await stage.ask(agent, "who?", structured_output_model=Person)
        await stage.ask(agent, "thanks")


@scenario
async def structured_output_comes_after_a_tool_and_a_mistake(stage: Stage) -> None:
    script = (ADD, {"name": "Person", "input": {"age": "old"}}, {"name": "Person", "input": {"age": 3}}, "ok")
    agent = await stage.start(*script, tools=[add], structured_output_model=Person)
    await stage.ask(agent, "who?")


@scenario
async def structured_output_never_comes(stage: Stage) -> None:
    agent = await stage.start("no", "no", "ok")
    await stage.ask(agent, "who?", structured_output_model=Person, structured_output_prompt="say it in JSON")
    await stage.ask(agent, "never mind")


@scenario
async def structured_output_comes_as_text(stage: Stage) -> None:
    agent = await stage.start("let me see", '{"name": "Grace", "age": 85}', "ok")
    await stage.ask(agent, "who?", structured_output_model=Person)
    await stage.ask(agent, "thanks")


@scenario
async def structured_output_of_the_older_kind(stage: Stage) -> None:
    agent = await stage.start("hello")
    await stage.do(agent, lambda: agent.structured_output(Person))
    await stage.do(agent, lambda: agent.structured_output(Person, "who?"))
    agent.state.set("asked", 1)
    await stage.attempt(agent.structured_output_async(Person, "who?"))
    await stage.note(agent)
    await stage.ask(agent, "hello")
    await stage.do(agent, lambda: agent.structured_output(Person))


# Direct tool calls


@scenario
async def a_tool_is_called_by_hand(stage: Stage) -> None:
    agent = await stage.start("ok", tools=[add, fail, remember], keeps=sliding(6))
    await stage.do(agent, lambda: agent.tool.add(a=1, b=2))
    await stage.ask(agent, "what was that?")
    await stage.do(agent, lambda: agent.tool.add(a=1, b=2, user_message_override="by hand"))
    await stage.do(agent, lambda: agent.tool.fail(why="tired"))
    await stage.do(agent, lambda: agent.tool.remember(key="k", value="v"))
    again = await stage.start("ok", tools=[add], keeps=sliding(6))
    await stage.do(again, lambda: again.tool.add(a=3, b=4))
    await stage.do(again, lambda: again.tool.add(a=5, b=6))


@scenario
async def a_tool_called_by_hand_is_not_recorded(stage: Stage) -> None:
    agent = await stage.start("ok", tools=[add, remember])
    await stage.do(agent, lambda: agent.tool.add(a=1, b=2, record_direct_tool_call=False))
    await stage.ask(agent, "hello")
    await stage.do(agent, lambda: agent.tool.remember(key="k", value="v", record_direct_tool_call=False))
    await stage.ask(agent, "hello")
    never = await stage.start("ok", tools=[add], record_direct_tool_call=False)
    await stage.do(never, lambda: never.tool.add(a=1, b=2))
    await stage.ask(never, "hello")


@scenario
async def a_tool_called_by_hand_may_not_interrupt(stage: Stage) -> None:
    agent = await stage.start("ok", tools=[approve])
    await stage.do(agent, lambda: agent.tool.approve(what="launch"))
    await stage.do(agent, lambda: agent.tool.unknown(what="launch"))
    await stage.ask(agent, "hello")


# Cancelling


@scenario
async def a_turn_is_cancelled_before_it_begins(stage: Stage) -> None:
    agent = await stage.start("never said", "ok")
    agent.cancel(message="stopped early")
    await stage.ask(agent, "hello")
    await stage.ask(agent, "hello again")


@scenario
async def a_turn_is_cancelled_while_the_model_speaks(stage: Stage) -> None:
    for message in (None, "so far I came"):
        speaking: list[Agent] = []

        def listen(speaking: list[Agent] = speaking, message: str | None = message, **event: Any) -> None:
            if "data" in event and speaking:
                speaking.pop().cancel(message=message)

        agent = await stage.start("an answer of several words", "ok", callback_handler=listen)
        speaking.append(agent)
        await talk(stage, agent, 2)


@scenario
async def a_turn_is_cancelled_before_its_tools(stage: Stage) -> None:
    for message in (None, "as far as I got"):

        def stop(event: BeforeToolsEvent, message: str | None = message) -> None:
            event.agent.cancel(message=message)

        agent = await stage.start([ADD, ADD], "ok", tools=[add], hooks=[stop])
        await talk(stage, agent, 2)


@scenario
async def a_turn_is_cancelled_after_its_tools(stage: Stage) -> None:
    @tool(context=True)
    def last(tool_context: Any, message: str = "") -> str:
        """Be the last one."""
        tool_context.agent.cancel(after_current_tools=True, message=message or None)
        return "the last"

    script = ([{"name": "last", "input": {}}, ADD], {"name": "last", "input": {"message": "bye"}}, "ok")
    await talk(stage, await stage.start(*script, tools=[last, add]), 3)


@scenario
async def a_signal_from_outside_cancels(stage: Stage) -> None:
    signal = threading.Event()
    signal.set()
    agent = await stage.start("never said", "ok")
    await stage.ask(agent, "hello", cancel_signal=signal)
    signal.clear()
    await stage.ask(agent, "hello", cancel_signal=signal)


@scenario
async def an_answered_interrupt_is_cancelled(stage: Stage) -> None:
    agent = await stage.start(ADD, "done", tools=[add], hooks=[asks])
    outcome = await stage.ask(agent, "add")
    agent.cancel()
    await stage.ask(agent, answers(outcome, "yes"))
    await stage.ask(await stage.start("ok", tools=[add], hooks=[asks]), answers(outcome, "yes"))


@scenario
async def hooks_cancel_turns_and_model_calls(stage: Stage) -> None:
    def deny_turn(event: BeforeInvocationEvent) -> None:
        event.cancel = "question 0" in str(event.messages) and "not today"

    def deny_call(event: BeforeModelCallEvent) -> None:
        event.cancel = "question 1" in str(event.agent.messages[-1]) and "quota"

    for _ in range(2):
        await talk(stage, await stage.start("ok", hooks=[deny_turn, deny_call]), 3)


# Models that fail


@scenario
async def the_first_call_of_a_session_fails(stage: Stage) -> None:
    agent = await stage.start(ValueError("ill"), "well again")
    await talk(stage, agent, 2)


@scenario
async def a_call_fails_after_a_tool_and_is_made_again(stage: Stage) -> None:
    agent = await stage.start(ADD, ValueError("ill"), "three", "ok", tools=[add])
    await stage.ask(agent, "add")
    await stage.ask(agent, None)
    await stage.ask(agent, "thanks")
    await stage.ask(await stage.start(ADD, ValueError("ill"), tools=[add]), "add")
    await stage.ask(await stage.start("six", tools=[add]), None)


@scenario
async def a_call_breaks_off(stage: Stage) -> None:
    agent = await stage.start("an answer of several words", "ok", model=BreaksOff)
    await talk(stage, agent, 2)


@scenario
async def throttled_calls_are_made_again(stage: Stage) -> None:
    throttled = ModelThrottledException("slowly")
    patient = ModelRetryStrategy(max_attempts=3, initial_delay=0, max_delay=0)
    script = (throttled, throttled, "at last", throttled, throttled, throttled, "never mind")
    await talk(stage, await stage.start(*script, retry_strategy=patient), 3)


@scenario
async def a_hook_has_an_answer_given_again(stage: Stage) -> None:
    def better(event: AfterModelCallEvent) -> None:
        event.retry = event.stop_response is not None and "bad" in str(event.stop_response.message)

    await talk(stage, await stage.start("bad", "good", "bad", "bad", "good again", hooks=[better]), 2)


@scenario
async def an_answer_reaches_the_token_limit(stage: Stage) -> None:
    await talk(stage, await stage.start("as far as it went", "ok", model=StoppedShort), 2)


@scenario
async def a_tool_call_reaches_the_token_limit(stage: Stage) -> None:
    await talk(stage, await stage.start(ADD, "ok", model=StoppedShort, tools=[add]), 2)


@scenario
async def a_turn_reaches_its_own_limit(stage: Stage) -> None:
    agent = await stage.start(ADD, ADD, "six", "ok", tools=[add])
    await stage.ask(agent, "add and add", limits={"turns": 1})
    await stage.ask(agent, None, limits={"total_tokens": 1})
    await stage.ask(agent, "thanks")


# State


@scenario
async def the_state_is_set_before_the_first_call(stage: Stage) -> None:
    agent = await stage.start("ok", "ok")
    agent.state.set("early", {"a.b": [1, 2.0, None], "$c": {"": True}, "big": 2**80})
    await stage.ask(agent, "hello")
    agent.state.delete("early")
    await stage.ask(agent, "hello")


@scenario
async def the_state_is_given_to_the_constructor(stage: Stage) -> None:
    await talk(stage, await stage.start("ok", state={"given": 1}), 1)
    agent = await stage.start("ok", state={"given": 2, "more": 3})
    await talk(stage, agent, 1)


@scenario
async def tools_set_the_state(stage: Stage) -> None:
    keep: list[Any] = [
        {"name": "remember", "input": {"key": key, "value": value}} for key, value in ("a1", ("b.c", "2"), "a3")
    ]
    script = (keep[:2], keep[2], "done")
    for _ in range(2):
        await talk(stage, await stage.start(*script, tools=[remember]), 2)


@scenario
async def hooks_set_the_state(stage: Stage) -> None:
    def count(event: Any) -> None:
        name = type(event).__name__
        event.agent.state.set(name, (event.agent.state.get(name) or 0) + 1)

    def listen(agent: Agent) -> None:
        for event in (BeforeInvocationEvent, MessageAddedEvent, BeforeModelCallEvent, AfterModelCallEvent):
            agent.add_hook(count, event)

    for _ in range(2):
        await talk(stage, await stage.start(ADD, "three", "ok", tools=[add], setup=listen), 2)


@scenario
async def the_state_is_synced_by_hand(stage: Stage) -> None:
    agent = await stage.start("ok")
    manager: Any = agent._session_manager
    await stage.ask(agent, "hello")
    agent.state.set("by", "hand")
    await stage.do(agent, lambda: manager.sync_agent(agent))
    again = await stage.start("ok")
    again.state.set("by", "nobody, and lost")
    await stage.start("ok")


# Histories


@scenario
async def messages_are_given_to_the_constructor(stage: Stage) -> None:
    earlier = [user("before"), assistant("so", tracking_id="given", metadata={"custom": {"from": "elsewhere"}})]
    await talk(stage, await stage.start("ok", messages=earlier), 2)
    await talk(stage, await stage.start("ok", messages=[user("ignored")]), 1)


@scenario
async def messages_are_given_to_the_constructor_and_the_window_slides(stage: Stage) -> None:
    earlier = [user("1"), assistant("2"), user("3"), assistant("4"), user("5"), assistant("6")]
    for _ in range(2):
        await talk(stage, await stage.start("ok", messages=earlier, keeps=sliding(4)), 2)


@scenario
async def a_process_is_killed_during_a_tool(stage: Stage) -> None:
    await stage.ask(await stage.start(ADD, "three", tools=[add]), "add")
    await stage.kill(2)
    await stage.ask(await stage.start("fine", tools=[add]), "again")
    await stage.ask(await stage.start([ADD, ADD], "six", tools=[add]), "add twice")
    await stage.kill(7)
    await stage.start("fine", tools=[add])


@scenario
async def a_process_is_killed_during_a_tool_and_the_next_goes_on_without_a_question(stage: Stage) -> None:
    await stage.ask(await stage.start(ADD, "three", tools=[add]), "add")
    await stage.kill(2)
    await stage.ask(await stage.start("three after all", tools=[add]), None)


@scenario
async def a_process_is_killed_before_the_answer(stage: Stage) -> None:
    await stage.ask(await stage.start("hello", "never heard"), "hello")
    await stage.kill(1)
    await stage.ask(await stage.start("hello again"), None)
    await stage.kill(1)
    await stage.ask(await stage.start("hello again"), "are you there?")


@scenario
async def tool_calls_and_results_do_not_match(stage: Stage) -> None:
    def call(*ids: str) -> Any:
        block = {"name": "add", "input": {}}
        return {"role": "assistant", "content": [{"toolUse": {"toolUseId": i, **block}} for i in ids]}

    def result(*ids: str) -> Any:
        block = {"status": "success", "content": [{"text": "3"}]}
        return {"role": "user", "content": [{"toolResult": {"toolUseId": i, **block}} for i in ids]}

    broken = [
        *(user("one"), call("a", "b"), result("a"), assistant("half")),
        *(user("two"), call("c"), user("no result"), assistant("none")),
        *(result("orphan"), assistant("whose?"), user("three"), call("d"), result("stale"), assistant("stale")),
    ]
    for _ in range(2):
        agent = await stage.start("ok", tools=[add], messages=broken)
        await stage.ask(agent, "and?")


@scenario
async def nothing_is_asked(stage: Stage) -> None:
    await stage.ask(await stage.start("hello?"), None)
    agent = await stage.start("hello??", "hello???", "yes")
    await stage.ask(agent, [])
    await stage.ask(agent, None)
    await stage.ask(agent, "yes")


@scenario
async def questions_of_every_kind(stage: Stage) -> None:
    image = {"image": {"format": "png", "source": {"bytes": b"\x89PNG\x00\xff"}}}
    reasoning = {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "s=="}}}
    sealed = {"reasoningContent": {"redactedContent": b"\x00\x01"}}
    agent = await stage.start("ok")
    await stage.ask(agent, [{"text": "look"}, image, {"cachePoint": {"type": "default"}}])
    await stage.ask(agent, [user("one"), {"role": "assistant", "content": [reasoning, sealed]}, user("two")])
    await stage.ask(agent, "")
    await stage.ask(agent, "a NUL \x00, an é, a \U0001f600, and $a.b")
    await stage.ask(agent, 42)
    await stage.ask(agent, [{"unknown": 1}])


@scenario
async def the_same_words_are_said_twice(stage: Stage) -> None:
    for _ in range(2):
        agent = await stage.start("yes", "yes", ValueError("ill"), "yes")
        for _ in range(4):
            await stage.ask(agent, "yes")


@scenario
async def messages_are_appended_by_hand(stage: Stage) -> None:
    agent = await stage.start("ok")
    manager: Any = agent._session_manager
    await stage.ask(agent, "hello")
    for message in (user("noted", tracking_id="n-1"), assistant("noted too", tracking_id="n-2")):
        agent.messages.append(message)
        await stage.do(agent, lambda m=message: manager.append_message(m, agent))  # type: ignore[misc]
    await stage.ask(agent, "and?")


@scenario
async def messages_enter_and_leave_memory_by_hand(stage: Stage) -> None:
    agent = await stage.start("ok", keeps=sliding(6))
    await talk(stage, agent, 2)
    agent.messages.append(user("slipped in"))
    agent.messages.append(assistant("not stored"))
    await talk(stage, agent, 2)
    agent.messages.clear()
    await talk(stage, agent, 1)
    await talk(stage, await stage.start("ok", keeps=sliding(6)), 1)


@scenario
async def a_turn_goes_on_by_itself(stage: Stage) -> None:
    def resume(event: AfterInvocationEvent) -> None:
        if event.result is not None and "more" in str(event.result):
            event.resume = "go on"

    for _ in range(2):
        await talk(stage, await stage.start("more", "more", "done", "ok", hooks=[resume]), 2)


@scenario
async def hooks_change_and_remove_the_question(stage: Stage) -> None:
    def change(event: BeforeInvocationEvent) -> None:
        if event.messages and "question 0" in str(event.messages):
            event.messages = [user("changed"), assistant("inserted"), user("changed too")]
        elif event.messages and "question 1" in str(event.messages):
            event.messages = []

    for _ in range(2):
        await talk(stage, await stage.start("ok", hooks=[change]), 3)


@scenario
async def hooks_raise(stage: Stage) -> None:
    def refuse(event: BeforeInvocationEvent) -> None:
        if "question 0" in str(event.messages):
            raise PermissionError("no")

    def complain(event: AfterInvocationEvent) -> None:
        if "question 1" in str(event.agent.messages):
            raise RuntimeError("too late")

    await talk(stage, await stage.start("ok", hooks=[refuse, complain]), 3)


@scenario
async def a_hook_raises_at_a_message(stage: Stage) -> None:
    def refuse(event: MessageAddedEvent) -> None:
        if "bad" in str(event.message["content"]):
            raise PermissionError("no")

    agent = await stage.start("bad answer", "good answer", hooks=[refuse])
    for prompt in ("good", "bad", "good"):
        await stage.ask(agent, prompt)


@scenario
async def middleware_answers_instead_of_the_model(stage: Stage) -> None:
    answers_given: list[Any] = []

    def cached(agent: Agent) -> None:
        async def cache(context: Any, next_fn: Any) -> AsyncGenerator[Any, None]:
            async for event in next_fn(context) if not answers_given else _repeated(answers_given):
                if "stop" in event:
                    answers_given[:] = [event]
                yield event

        agent.add_middleware(InvokeModelStage, cache)

    await talk(stage, await stage.start("the only answer", setup=cached), 2)


async def _repeated(events: list[Any]) -> AsyncGenerator[Any, None]:
    for event in events:
        stop_reason, message, usage, metrics = event["stop"]
        again = {"role": "assistant", "content": message["content"]}
        yield type(event)(stop_reason=stop_reason, message=again, usage=usage, metrics=metrics)


@scenario
async def a_turn_stops_at_checkpoints(stage: Stage) -> None:
    outcome = await stage.ask(await stage.start(ADD, "never said", tools=[add], checkpointing=True), "add")
    while outcome is not None and outcome.checkpoint is not None:
        agent = await stage.start("three", tools=[add], checkpointing=True)
        outcome = await stage.ask(agent, {"checkpointResume": {"checkpoint": outcome.checkpoint.to_dict()}})


@scenario
async def several_agents_share_a_session(stage: Stage) -> None:
    for _ in range(2):
        first = await stage.start("first", agent_id="first", tools=[add])
        manager: Any = first._session_manager
        second = await stage.join(manager, ADD, "second", agent_id="second", tools=[add], keeps=sliding(2))
        await stage.attempt(stage.join(manager, "third", agent_id="first", tools=[add]))
        for agent in (first, second, first, second):
            await stage.ask(agent, "your turn")
        first.state.set("mine", True)
        await stage.ask(second, "again")
        await stage.ask(first, "again")


@scenario
async def the_model_keeps_the_conversation(stage: Stage) -> None:
    for _ in range(3):
        agent = await stage.start(ADD, "three", "ok", model=RemoteConversation, tools=[add])
        await talk(stage, agent, 2)
