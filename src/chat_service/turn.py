"""One turn: an agent answers a question in a task of its own, and a log tells what happens.

Whoever asked may go away: the turn is finished and stored. It ends early only when somebody cancels it or the service
ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias, TypeVar

from strands import Agent
from strands.agent.agent_result import AgentResult
from strands.middleware import InvokeModelStage
from strands.types.content import ContentBlock, Message

from .events import (
    Ending,
    EventLog,
    RetrievalComplete,
    RetrievalStart,
    Stopped,
    ToolComplete,
    ToolStart,
    failed,
)
from .exceptions import (
    RepeatedFailure,
    ShuttingDown,
    TurnCancelled,
    TurnFailed,
    explain,
    failure_of_turn,
    report,
)
from .interruptible import ModelCalls
from .metrics import TurnMetrics
from .models import ChatResponse, plain, public_message_id, text_of
from .rag.grounding import Grounding
from .rag.passages import Retrieved
from .stores.tally import Tally
from .timing import Timing
from .turn_records import TurnRecord

__all__ = ["Reason", "Turn", "answer_of"]

T = TypeVar("T")

Reason: TypeAlias = Literal["cancelled", "shutdown"]


class Turn:
    """One question and its answer.

    Attributes:
        record: Which turn it is, and of which session.
        log: What has happened so far.
        tally: Counts what it asks of the database.
        is_accepted: Whether the question is stored and the model is asked.
    """

    def __init__(self, record: TurnRecord, grounding: Grounding, *, request_id: str, metrics: TurnMetrics) -> None:
        """Prepare; nothing runs yet.

        Args:
            record: Which turn it is, and of which session.
            grounding: What its answer rests on.
            request_id: Named in errors and in the log of the service.
            metrics: Told what happens.
        """
        self.record = record
        self.log = EventLog(record.turn_id, record.session_id)
        self.tally = Tally()
        self.is_accepted = False
        self._agent: Agent | None = None
        self._grounding = grounding
        self._request_id = request_id
        self._metrics = metrics
        self._timing = Timing()
        self._said = ""  # by the model call that runs
        self._reason: Reason | None = None
        self._failure: Exception | None = None
        self._decided = asyncio.Event()
        self._model_calls = ModelCalls()

    @property
    def session_id(self) -> str:
        """The session that it belongs to."""
        return self.record.session_id

    @property
    def searches(self) -> bool:
        """Whether its model is to search the documents itself."""
        return self._grounding.way == "tool"

    def is_over(self, position: int) -> bool:
        """Whether nothing comes after this position any more."""
        return self.log.is_over(position)

    @property
    def has_answered(self) -> bool:
        """Whether it has given what a repeated request may be given: an answer, or as much of it as was wanted."""
        ending = self.log.ending
        if ending is None or ending["event"] == "error":
            return False
        return ending["event"] == "response_complete" or ending["reason"] == "cancelled"

    async def run(self, agent: Agent, content: list[ContentBlock]) -> None:
        """Let the agent answer. Never raises: the log's last event tells how it ended.

        Args:
            agent: Answers this question and no other.
            content: The question.
        """
        self._agent = agent
        self._metrics.started()
        self._grounding.attach(agent, self)
        self._timing.attach(agent)
        agent.add_middleware(
            InvokeModelStage.Input, lambda call: call.replace(model=self._model_calls.interruptible(call.model))
        )
        try:
            events = agent.stream_async(content, invocation_state=self._grounding.state)
            async with aclosing(events):  # type: ignore[type-var]
                async for event in events:
                    self._follow(event)
            self._agent = None
            _take_apart(agent)
        except asyncio.CancelledError:
            self.abandon()
        except Exception as error:
            self.fail(failure_of_turn(error))
        finally:
            self._grounding.detach()
            self._decided.set()
            if self.log.ending:
                self._metrics.ended(self.log.ending)

    async def accepted(self) -> None:
        """Wait until the question is stored and the model is asked.

        Raises:
            SessionError: The turn was refused. Nothing has been sent yet, so that it can have its status code.
        """
        await self._decided.wait()
        if self._failure and not self.is_accepted:
            raise self._failure

    async def response(self) -> ChatResponse:
        """Wait for the whole answer.

        Raises:
            TurnFailed: From what made it fail.
            ShuttingDown: It was stopped because the service ends.
            TurnCancelled: It was cancelled.
        """
        ending = await self.log.ended()
        if self._failure:
            raise TurnFailed from self._failure
        return answer_of(ending)

    def stop(self, reason: Reason) -> None:
        """Ask the agent to end. What it has said so far becomes its answer, and nothing is sent after it.

        Args:
            reason: Why, as the last event tells it. Only the first one counts.
        """
        if self._reason or self.log.ending:
            return
        self._reason = reason
        if self._agent is not None:  # otherwise check_wanted() keeps it from being asked
            self._agent.cancel(message=self._said or "(stopped before an answer)")
            self._model_calls.interrupt()

    def check_wanted(self) -> None:
        """Go on only if nobody has stopped it yet.

        Raises:
            ShuttingDown: The service ends.
            TurnCancelled: It was cancelled.
        """
        if self._reason:
            raise TurnCancelled if self._reason == "cancelled" else ShuttingDown

    def tell(self, event: RetrievalStart | RetrievalComplete) -> None:
        """Tell the readers of a search, unless nobody wants its answer any more."""
        if not self._reason:
            self.log.append(event)

    def retrieved(self, found: Retrieved | None) -> None:
        """Count a search; ``None`` when it failed."""
        self._metrics.retrieved(found)

    async def unless_stopped(self, call: Callable[[], Awaitable[T]]) -> T | None:
        """Wait for a call, but no longer than the answer is wanted. ``None`` when it is not."""
        return await self._model_calls.unless_interrupted(call)

    def abandon(self) -> None:
        """Tell the readers that it is over, whatever the agent still does."""
        self.log.end(self._stopped(self._said, {"session_id": self.session_id}))
        self._decided.set()

    def fail(self, error: Exception) -> None:
        """Tell the readers that it failed, or whoever waits for its acceptance that it is refused."""
        self._failure = error
        problem = explain(error)
        if self.is_accepted:  # otherwise it is raised, and logged where it is answered
            report(problem, error, self._request_id)
        self.log.end(failed(problem.body(self._request_id)))
        self._decided.set()

    def _follow(self, event: dict[str, Any]) -> None:
        if "result" in event:
            self._finish(event["result"])
        elif "message" in event:
            self._show_tools(event["message"])
        elif "data" in event and not self._reason:
            self._said += event["data"]
            self._metrics.spoke()
            self._timing.spoke()
            self.log.append({"event": "response_chunk", "text": plain(event["data"])})
        elif "start_event_loop" in event:
            self.is_accepted = True
            self._decided.set()

    def _show_tools(self, message: Message) -> None:
        self._said = ""  # it is in that message now
        for event in _tool_events(message):
            self.log.append(event)

    def _finish(self, result: AgentResult) -> None:
        text = text_of(result.message)
        metadata = {**self._metadata(result), **self._grounding.metadata(text)}
        if result.stop_reason == "cancelled":
            self.log.end(self._stopped(text, metadata))
            return
        self.log.end({"event": "response_complete", "response_text": text, "metadata": metadata})

    def _stopped(self, text: str, metadata: dict[str, Any]) -> Stopped:
        reason = self._reason or "shutdown"
        return {"event": "stopped", "reason": reason, "response_text": plain(text), "metadata": metadata}

    def _metadata(self, result: AgentResult) -> dict[str, Any]:
        usage = result.metrics.accumulated_usage
        return {
            "session_id": self.session_id,
            "message_id": public_message_id(result.message, self.session_id),
            "response_time_ms": self._timing.milliseconds(),
            "time_to_first_token_ms": self._timing.time_to_first_token_ms,
            "store": self.tally.use().model_dump(),
            "timestamp": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
            "stop_reason": result.stop_reason,
            "usage": {
                "input_tokens": usage["inputTokens"],
                "output_tokens": usage["outputTokens"],
                "total_tokens": usage["totalTokens"],
            },
        }


def _take_apart(agent: Agent) -> None:
    """Free at once what would wait for the collector of garbage: an agent refers to itself in a dozen ways."""
    vars(agent).clear()


def answer_of(ending: Ending) -> ChatResponse:
    """The whole answer, from a turn's last event.

    Raises:
        RepeatedFailure: The turn failed.
        ShuttingDown: It was stopped because the service ended.
        TurnCancelled: It was cancelled.
    """
    if ending["event"] == "error":
        raise RepeatedFailure(ending["status_code"], ending["code"], ending["message"])
    if ending["event"] == "stopped":
        raise TurnCancelled if ending["reason"] == "cancelled" else ShuttingDown
    metadata = ending["metadata"]
    return ChatResponse(
        response_text=ending["response_text"],
        session_id=metadata["session_id"],
        message_id=metadata["message_id"],
        response_time_ms=metadata["response_time_ms"],
        chunks=metadata.get("chunks"),
        timestamp=metadata["timestamp"],
    )


def _tool_events(message: Message) -> Iterator[ToolStart | ToolComplete]:
    for block in message["content"]:
        if "toolUse" in block:
            use = block["toolUse"]
            yield {
                "event": "tool_start",
                "tool_use_id": use["toolUseId"],
                "name": use["name"],
                "input": plain(use["input"]),
            }
        elif "toolResult" in block:
            result = block["toolResult"]
            yield {
                "event": "tool_complete",
                "tool_use_id": result["toolUseId"],
                "status": result["status"],
                "output": plain("\n".join(item["text"] for item in result["content"] if "text" in item)),
            }
