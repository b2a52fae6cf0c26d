"""A model that says what a test wrote down for it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel
from strands.models.model import Model
from strands.types.content import Messages
from strands.types.streaming import StreamEvent

T = TypeVar("T", bound=BaseModel)

Line = str | dict[str, Any] | list[dict[str, Any]] | Exception | Callable[[Messages], Any]
"""Text; a tool use ``{"name", "input"}`` or several; an error to raise; a function of the messages to one of these."""


class ScriptedModel(Model):
    """Answers with the lines of a script, one a call; the last line repeats.

    Attributes:
        calls: The messages of every call.
        hold: When set, a call waits for this event before its first chunk.
        redact: When set, the next answer tells the agent to replace what the user said by this text.
    """

    def __init__(self, *script: Line, usage: tuple[int, int] = (10, 5), latency_ms: int = 7) -> None:
        self.script: Sequence[Line] = script or ("ok",)
        self.calls: list[Messages] = []
        self.usage = usage
        self.latency_ms = latency_ms
        self.hold: threading.Event | None = None
        self.redact: str | None = None
        self.is_stateful = False

    @property
    def stateful(self) -> bool:
        return self.is_stateful

    def update_config(self, **model_config: Any) -> None:
        return None

    def get_config(self) -> dict[str, Any]:
        return {"model_id": "scripted-1"}

    def structured_output(
        self, output_model: type[T], prompt: Messages, system_prompt: str | None = None, **kwargs: Any
    ) -> AsyncGenerator[dict[str, T | Any], None]:
        async def output() -> AsyncGenerator[dict[str, T | Any], None]:
            yield {"output": output_model()}

        return output()

    async def stream(self, messages: Messages, *args: Any, **kwargs: Any) -> AsyncIterable[StreamEvent]:
        self.calls.append(messages)
        line: Any = self.script[min(len(self.calls), len(self.script)) - 1]
        if callable(line):
            line = line(messages)
        if self.hold is not None:
            await asyncio.to_thread(self.hold.wait, 10)
        if isinstance(line, Exception):
            raise line
        yield {"messageStart": {"role": "assistant"}}
        if self.redact is not None:
            text, self.redact = self.redact, None
            yield {"redactContent": {"redactUserContentMessage": text}}
        if isinstance(line, str):
            async for event in _text(line):
                yield event
        else:
            for index, call in enumerate([line] if isinstance(line, dict) else line):
                for event in _tool_use(call, f"call-{len(self.calls)}-{index}"):
                    yield event
        yield {"messageStop": {"stopReason": "end_turn" if isinstance(line, str) else "tool_use"}}
        sent, answered = self.usage
        yield {
            "metadata": {
                "usage": {"inputTokens": sent, "outputTokens": answered, "totalTokens": sent + answered},
                "metrics": {"latencyMs": self.latency_ms},
            }
        }


async def _text(text: str) -> AsyncGenerator[StreamEvent, None]:
    yield {"contentBlockStart": {"start": {}}}
    for word in text.split(" "):
        await asyncio.sleep(0)
        yield {"contentBlockDelta": {"delta": {"text": word if word == text.split(" ")[0] else f" {word}"}}}
    yield {"contentBlockStop": {}}


def _tool_use(call: dict[str, Any], tool_use_id: str) -> list[StreamEvent]:
    import json

    return [
        {"contentBlockStart": {"start": {"toolUse": {"name": call["name"], "toolUseId": call.get("id", tool_use_id)}}}},
        {"contentBlockDelta": {"delta": {"toolUse": {"input": json.dumps(call.get("input", {}))}}}},
        {"contentBlockStop": {}},
    ]
