"""An agent's answer as it is written: server-sent events or plain text.

A task of its own runs the agent, and the response reads what it tells. So a client that goes away ends the response and
not the turn, which is finished and stored all the same.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, TypeAlias

from fastapi.responses import StreamingResponse
from strands import Agent
from strands.agent.agent_result import AgentResult
from strands.types.agent import AgentInput
from strands.types.content import Message

from .problems import Problem, explain, new_request_id, report

__all__ = ["finish_turns", "stream_agent", "stream_text"]

logger = logging.getLogger(__name__)

Event: TypeAlias = dict[str, Any]

_LAST = ("response_complete", "error")
_FINISH_SECONDS = 5.0
_CANCEL_SECONDS = 1.0
_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}  # neither a cache nor a proxy may hold it back

_running: set[asyncio.Task[None]] = set()
"""The turns of this process: a task that nobody holds may vanish."""


async def stream_agent(
    agent: Agent, prompt: AgentInput = None, *, heartbeat: float = 15.0, request_id: str | None = None, **options: Any
) -> StreamingResponse:
    """Answer a prompt with server-sent events, each ``data: {"event": …}``.

    The events are ``response_chunk`` (``text``), ``tool_start`` (``tool_use_id``, ``name``), ``tool_complete``
    (``tool_use_id``, ``status``), and last exactly one of ``response_complete`` (``response_text``, ``metadata``), sent
    when the answer is stored, and ``error`` (``message``, and the fields of an error answer).

    Args:
        agent: Answers this prompt and no other.
        prompt: What the agent is asked.
        heartbeat: Seconds of silence after which a comment is sent, so that no proxy takes the stream for dead.
        request_id: Named in an error and in the log; a new one by default.
        **options: Of ``Agent.stream_async``: ``invocation_state``, …

    Raises:
        SessionError: The turn was refused. Nothing has been sent yet, so this and whatever else goes wrong before the
            model is asked can have its status code.
    """
    turn = await _accepted(agent, prompt, request_id, options)
    return _TurnResponse(turn, _frames(turn, heartbeat), media_type="text/event-stream", headers=_HEADERS)


async def stream_text(
    agent: Agent, prompt: AgentInput = None, *, request_id: str | None = None, **options: Any
) -> StreamingResponse:
    """Answer a prompt with what the model says, as ``text/plain``.

    A text cannot tell that it is incomplete: when the turn fails, the connection is cut instead of ended.

    Args:
        agent: Answers this prompt and no other.
        prompt: What the agent is asked.
        request_id: Named in the log; a new one by default.
        **options: Of ``Agent.stream_async``: ``invocation_state``, …

    Raises:
        SessionError: The turn was refused, as with :func:`stream_agent`.
    """
    turn = await _accepted(agent, prompt, request_id, options)
    return _TurnResponse(turn, _text(turn), media_type="text/plain", headers=_HEADERS)


async def finish_turns() -> None:
    """Wait for the turns of this event loop, five seconds at most; what still runs then is cancelled."""
    loop = asyncio.get_running_loop()
    mine = [task for task in _running.copy() if task.get_loop() is loop]
    if not mine:
        return
    _, late = await asyncio.wait(mine, timeout=_FINISH_SECONDS)
    for task in late:
        task.cancel()
    if late:
        logger.warning("turns=<%d> | the application ends before these turns", len(late))
        await asyncio.wait(late, timeout=_CANCEL_SECONDS)


class _Turn:
    """One invocation of an agent, in a task of its own."""

    def __init__(self, agent: Agent, prompt: AgentInput, request_id: str, options: dict[str, Any]) -> None:
        self._request_id = request_id
        self._events = asyncio.Queue[Event]()
        self._accepted = asyncio.get_running_loop().create_future()
        self._has_ended = False
        self._task = asyncio.create_task(self._run(agent, prompt, options))
        _running.add(self._task)
        self._task.add_done_callback(_running.discard)

    async def accepted(self) -> None:
        """Wait until the model is asked; raises what went wrong before."""
        await asyncio.shield(self._accepted)

    async def next(self) -> Event:
        """Wait for the next event. There is none after the last one."""
        return await self._events.get()

    async def ended(self) -> None:
        """Wait until the agent has ended, whoever still listens."""
        await asyncio.wait([self._task])

    async def _run(self, agent: Agent, prompt: AgentInput, options: dict[str, Any]) -> None:
        try:
            async with aclosing(agent.stream_async(prompt, **options)) as events:  # type: ignore[type-var]
                async for event in events:
                    self._follow(event)
            if not self._has_ended:
                raise RuntimeError("the agent's stream has no result")
        except asyncio.CancelledError as error:
            self._fail(error, Problem.later(503, "service_unavailable", "The service is being restarted."))
            raise
        except Exception as error:
            failed = Problem(500, "agent_error", "The model could not finish this answer. Please try again.")
            self._fail(error, explain(error) or failed)

    def _follow(self, event: Event) -> None:
        if "result" in event:
            self._end(_complete(event["result"]))
        elif "message" in event:
            for told in _tool_events(event["message"]):
                self._events.put_nowait(told)
        elif "data" in event:
            self._events.put_nowait({"event": "response_chunk", "text": event["data"]})
        elif "start_event_loop" in event:
            self._accept()

    def _accept(self) -> None:
        if not self._accepted.done():
            self._accepted.set_result(None)

    def _fail(self, error: BaseException, problem: Problem) -> None:
        if not self._accepted.done():  # then it has a status code, and whoever answers it logs it
            self._accepted.set_exception(error if isinstance(error, Exception) else _Ended())
            return
        report(problem, error, self._request_id)
        self._end({"event": "error", "message": problem.message, **problem.body(self._request_id)})

    def _end(self, event: Event) -> None:
        if not self._has_ended:
            self._has_ended = True
            self._accept()
            self._events.put_nowait(event)


class _Ended(Exception):
    """The application ended before the model was asked."""


class _BrokenOff(Exception):
    """An answer in plain text is incomplete; the log says why."""


class _TurnResponse(StreamingResponse):
    """Reads a turn to a client, and lasts as long as the turn: what the route depends on is closed after it."""

    def __init__(self, turn: _Turn, content: AsyncIterator[bytes], **options: Any) -> None:
        super().__init__(content, **options)
        self._turn = turn

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._turn.ended()


async def _accepted(agent: Agent, prompt: AgentInput, request_id: str | None, options: dict[str, Any]) -> _Turn:
    turn = _Turn(agent, prompt, request_id or new_request_id(), options)
    await turn.accepted()
    return turn


async def _frames(turn: _Turn, heartbeat: float) -> AsyncIterator[bytes]:
    name = None
    while name not in _LAST:
        try:
            async with asyncio.timeout(heartbeat):
                event = await turn.next()
        except TimeoutError:
            yield b": alive\n\n"
            continue
        name = event["event"]
        yield f"data: {json.dumps(event)}\n\n".encode()


async def _text(turn: _Turn) -> AsyncIterator[bytes]:
    while (event := await turn.next())["event"] != "response_complete":
        if event["event"] == "error":
            raise _BrokenOff
        if event["event"] == "response_chunk":
            yield event["text"].encode("utf-8", "replace")


def _complete(result: AgentResult) -> Event:
    usage = result.metrics.accumulated_usage
    metadata = {
        "stop_reason": result.stop_reason,
        "usage": {
            "input_tokens": usage["inputTokens"],
            "output_tokens": usage["outputTokens"],
            "total_tokens": usage["totalTokens"],
        },
    }
    text = "".join(block["text"] for block in result.message["content"] if "text" in block)
    return {"event": "response_complete", "response_text": text, "metadata": metadata}


def _tool_events(message: Message) -> list[Event]:
    # What a tool is given and gives may be none of a client's business: an application that thinks otherwise says so.
    starts = [block["toolUse"] for block in message["content"] if "toolUse" in block]
    ends = [block["toolResult"] for block in message["content"] if "toolResult" in block]
    return [
        *({"event": "tool_start", "tool_use_id": use["toolUseId"], "name": use["name"]} for use in starts),
        *({"event": "tool_complete", "tool_use_id": end["toolUseId"], "status": end["status"]} for end in ends),
    ]
