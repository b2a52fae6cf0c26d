"""Turns: a question is accepted, an agent answers it in a task of its own, and a log tells what happens.

Whoever asked may go away: the turn is finished and stored. It ends early only when the service does.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Iterator
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any, cast

from strands import Agent
from strands.agent.agent_result import AgentResult
from strands.types.content import ContentBlock, Message

from mongodb_session_manager import SessionManager

from .agent import AGENT_ID, AgentMaker, prompt
from .config import Settings
from .events import EventLog, Failed, Stopped, ToolComplete, ToolStart
from .exceptions import ShuttingDown, TurnFailed, UnknownSession, explain, failure_of_turn, report
from .models import ChatRequest, ChatResponse, plain, public_message_id, text_of
from .stores.session_factory import SessionFactory

__all__ = ["Turn", "Turns"]

logger = logging.getLogger(__name__)

_LONGEST_TITLE = 80


class Turn:
    """One question and its answer.

    Attributes:
        session_id: The session it belongs to.
        query: The question.
        log: What has happened so far.
    """

    def __init__(self, agent: Agent, *, session_id: str, query: str, request_id: str) -> None:
        """Prepare; nothing runs yet.

        Args:
            agent: Answers this question and no other.
            session_id: The session it belongs to.
            query: The question.
            request_id: Named in errors and in the log of the service.
        """
        self.session_id = session_id
        self.query = query
        self.log = EventLog(session_id)
        self._agent = agent
        self._request_id = request_id
        self._began = time.perf_counter()
        self._said = ""  # by the model call that runs
        self._accepted = False
        self._stopping = False
        self._failure: Exception | None = None
        self._response: ChatResponse | None = None
        self._decided = asyncio.Event()

    async def run(self, content: list[ContentBlock]) -> None:
        """Let the agent answer. Never raises: the log's last event tells how it ended."""
        try:
            async with aclosing(self._agent.stream_async(content)) as events:  # type: ignore[type-var]
                async for event in events:
                    self._follow(event)
        except asyncio.CancelledError:
            self.abandon()
        except Exception as error:
            self._fail(failure_of_turn(error))
        finally:
            self._decided.set()

    async def accepted(self) -> None:
        """Wait until the question is stored and the model is asked.

        Raises:
            SessionError: The turn was refused. Nothing has been sent yet, so that it can have its status code.
        """
        await self._decided.wait()
        if self._failure and not self._accepted:
            raise self._failure

    async def response(self) -> ChatResponse:
        """Wait for the whole answer.

        Raises:
            TurnFailed: From what made it fail.
            ShuttingDown: It was stopped.
        """
        await self.log.ended()
        if self._response:
            return self._response
        if self._failure:
            raise TurnFailed from self._failure
        raise ShuttingDown

    def stop(self) -> None:
        """Ask the agent to end. What it has said so far becomes its answer, and nothing is sent after it."""
        self._stopping = True
        self._agent.cancel(message=self._said or "(stopped before an answer)")

    def abandon(self) -> None:
        """Tell the readers that it is over, whatever the agent still does."""
        self.log.end(self._stopped(self._said, {"session_id": self.session_id}))

    def _follow(self, event: dict[str, Any]) -> None:
        if "result" in event:
            self._finish(event["result"])
        elif "message" in event:
            self._show_tools(event["message"])
        elif "data" in event and not self._stopping:
            self._said += event["data"]
            self.log.append({"event": "response_chunk", "text": plain(event["data"])})
        elif "start_event_loop" in event:
            self._accepted = True
            self._decided.set()

    def _show_tools(self, message: Message) -> None:
        self._said = ""  # it is in that message now
        for event in _tool_events(message):
            self.log.append(event)

    def _finish(self, result: AgentResult) -> None:
        metadata = self._metadata(result)
        text = text_of(result.message)
        if result.stop_reason == "cancelled":
            self.log.end(self._stopped(text, metadata))
            return
        self._response = ChatResponse(
            response_text=text,
            session_id=self.session_id,
            message_id=metadata["message_id"],
            response_time_ms=metadata["response_time_ms"],
            timestamp=datetime.now(UTC),
        )
        self.log.end({"event": "response_complete", "response_text": text, "metadata": metadata})

    def _stopped(self, text: str, metadata: dict[str, Any]) -> Stopped:
        return {"event": "stopped", "reason": "shutdown", "response_text": plain(text), "metadata": metadata}

    def _fail(self, error: Exception) -> None:
        self._failure = error
        problem = explain(error)
        if self._accepted:  # otherwise it is raised, and logged where it is answered
            report(problem, error, self._request_id)
        body = problem.body(self._request_id)
        self.log.end(cast(Failed, {"event": "error", "message": problem.message, **body}))

    def _metadata(self, result: AgentResult) -> dict[str, Any]:
        usage = result.metrics.accumulated_usage
        return {
            "session_id": self.session_id,
            "message_id": public_message_id(result.message, self.session_id),
            "response_time_ms": round((time.perf_counter() - self._began) * 1000, 1),
            "stop_reason": result.stop_reason,
            "usage": {
                "input_tokens": usage["inputTokens"],
                "output_tokens": usage["outputTokens"],
                "total_tokens": usage["totalTokens"],
            },
        }


class Turns:
    """The turns that run in this process."""

    def __init__(self, settings: Settings, factory: SessionFactory, agents: AgentMaker) -> None:
        self._settings = settings
        self._factory = factory
        self._agents = agents
        self._running: dict[asyncio.Task[None], Turn] = {}
        self._stopped: asyncio.Task[None] | None = None

    async def begin(self, request: ChatRequest, request_id: str) -> Turn:
        """Open the session, start the turn, and wait until it is accepted.

        Args:
            request: The question. Without a ``session_id`` a new session begins.
            request_id: Named in errors and in the log.

        Raises:
            SessionError: The session is busy, has moved on, or cannot be opened.
            UnknownSession: There is no such session (outside development).
            ShuttingDown: The service ends.
        """
        if self._stopped:
            raise ShuttingDown
        session_id = request.session_id or f"session_{uuid.uuid4().hex[:16]}"
        manager = await self._factory.open_session(session_id, agent_id=AGENT_ID)
        await self._check_known(request, manager)
        if self._stopped:  # it may have come to that meanwhile
            raise ShuttingDown
        agent = self._agents.make(manager, request.temperature)
        first = not agent.messages
        turn = Turn(agent, session_id=session_id, query=request.query, request_id=request_id)
        task = asyncio.create_task(turn.run(prompt(request.query, request.selected_text)))
        self._running[task] = turn
        task.add_done_callback(self._running.pop)
        await turn.accepted()
        if first:
            await self._give_title(session_id, request.query)
        return turn

    def find(self, session_id: str | None, query: str) -> Turn | None:
        """The running turn that answers this question, if this process runs it."""
        turns = self._running.values()
        return next((turn for turn in turns if (turn.session_id, turn.query) == (session_id, query)), None)

    def stop(self) -> asyncio.Task[None]:
        """End all turns within ``SHUTDOWN_SECONDS`` and a second, and refuse new ones. May be called again."""
        if self._stopped is None:
            self._stopped = asyncio.create_task(self._stop())
        return self._stopped

    async def _stop(self) -> None:
        for turn in self._running.values():
            turn.stop()
        await self._until_ended(self._settings.shutdown_seconds)
        for task in self._running:
            task.cancel()
        await self._until_ended(1.0)
        for turn in self._running.values():
            turn.abandon()

    async def _until_ended(self, seconds: float) -> None:
        if self._running:
            await asyncio.wait(self._running, timeout=seconds)

    async def _check_known(self, request: ChatRequest, manager: SessionManager) -> None:
        if request.session_id is None or self._settings.environment == "development":
            return
        if not await manager.aio.check_session_exists():
            raise UnknownSession

    async def _give_title(self, session_id: str, query: str) -> None:
        # Beside the turn, which it must not disturb: a session without a title is still a session.
        try:
            summary = await self._factory.sessions.aio.get(session_id)
            if summary and not summary.title:
                await self._factory.sessions.aio.patch(session_id, title=_title(query))
        except Exception as error:
            logger.warning("session_id=<%s>, error=<%s> | no title was set", session_id, type(error).__name__)


def _title(query: str) -> str:
    line = " ".join(query.split())
    return line if len(line) <= _LONGEST_TITLE else line[:_LONGEST_TITLE].rsplit(" ", 1)[0] + " …"


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
