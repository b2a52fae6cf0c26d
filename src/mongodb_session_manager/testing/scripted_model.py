"""A model that says what was written down for it, so that a check needs no network and comes to the same each time."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from strands.models.model import Model, T
from strands.types.content import Messages
from strands.types.streaming import StreamEvent

__all__ = ["Line", "Redacted", "ScriptedModel", "ToolCall"]


@dataclass(frozen=True)
class ToolCall:
    """The model calls a tool.

    Attributes:
        name: The tool's.
        input: What the tool is given.
    """

    name: str
    input: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Redacted:
    """The model answers, and a guardrail of its own takes something back.

    Attributes:
        answer: What the model says.
        user: Replaces what the user said, unless ``None``.
        assistant: Replaces what the model said, unless ``None``.
    """

    answer: str
    user: str | None = None
    assistant: str | None = None


Line: TypeAlias = "str | ToolCall | list[ToolCall] | Redacted | Exception | Callable[[Messages], Line]"
"""What the model does at one call: says a text, calls tools, raises, or what a function of the messages returns. Such a
function runs in a thread and may block."""


class ScriptedModel(Model):
    """Answers with the lines of a script, one a call; the last line repeats.

    Attributes:
        calls: How often it was called.
        model_states: What it was given of its own state at each call, when ``stateful``.
        half_said: Called in a thread when the first word of a text was sent; may block.
    """

    def __init__(self, *script: Line, stateful: bool = False, half_said: Callable[[], object] = lambda: None) -> None:
        """Prepare the script.

        Args:
            *script: Its lines, ``"ok"`` if there are none.
            stateful: The model says that it keeps the conversation itself.
            half_said: See the attribute.
        """
        self._script = script or ("ok",)
        self._stateful = stateful
        self.half_said = half_said
        self.calls = 0
        self.model_states: list[dict[str, Any]] = []

    @property
    def stateful(self) -> bool:
        """Whether the model says that it keeps the conversation itself."""
        return self._stateful

    def update_config(self, **model_config: Any) -> None:
        """Nothing can be configured."""

    def get_config(self) -> dict[str, Any]:
        """The model's name, and how many tokens it takes."""
        return {"model_id": "scripted", "context_window_limit": 200_000}

    def structured_output(
        self, output_model: type[T], prompt: Messages, system_prompt: str | None = None, **kwargs: Any
    ) -> AsyncGenerator[dict[str, T | Any], None]:
        """Refuse: no check asks for it."""
        raise NotImplementedError("the scripted model gives no structured output")

    async def stream(self, messages: Messages, *args: Any, **kwargs: Any) -> AsyncIterable[StreamEvent]:
        """Say the next line."""
        line = self._script[min(self.calls, len(self._script) - 1)]
        self.calls += 1
        if self._stateful:
            self._remember(kwargs["model_state"])
        while callable(line):
            line = await asyncio.to_thread(line, messages)
        if isinstance(line, Exception):
            raise line
        yield {"messageStart": {"role": "assistant"}}
        calls = [line] if isinstance(line, ToolCall) else line if isinstance(line, list) else []
        for call in calls:
            for event in _tool_use(call):
                yield event
        if isinstance(line, str | Redacted):
            async for event in self._text(line):
                yield event
        yield {"messageStop": {"stopReason": "tool_use" if calls else "end_turn"}}
        if isinstance(line, Redacted) and line.assistant is not None:
            yield {"redactContent": {"redactAssistantContentMessage": line.assistant}}
        yield {
            "metadata": {
                "usage": {"inputTokens": 10, "outputTokens": 5, "totalTokens": 15},
                "metrics": {"latencyMs": 7},
            }
        }

    async def _text(self, line: str | Redacted) -> AsyncGenerator[StreamEvent, None]:
        text = line.answer if isinstance(line, Redacted) else line
        if isinstance(line, Redacted) and line.user is not None:
            yield {"redactContent": {"redactUserContentMessage": line.user}}
        first, space, rest = text.partition(" ")
        yield {"contentBlockStart": {"start": {}}}
        yield {"contentBlockDelta": {"delta": {"text": first}}}
        await asyncio.to_thread(self.half_said)
        if space:
            yield {"contentBlockDelta": {"delta": {"text": space + rest}}}
        yield {"contentBlockStop": {}}

    def _remember(self, state: dict[str, Any]) -> None:
        self.model_states.append(dict(state))
        state["calls"] = state.get("calls", 0) + 1


def _tool_use(call: ToolCall) -> Iterator[StreamEvent]:
    yield {"contentBlockStart": {"start": {"toolUse": {"name": call.name, "toolUseId": f"call-{uuid.uuid4().hex}"}}}}
    yield {"contentBlockDelta": {"delta": {"toolUse": {"input": json.dumps(dict(call.input))}}}}
    yield {"contentBlockStop": {}}
