"""Models that cost as little as one can, so that what is measured is not the model."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterable
from typing import Any, TypeVar

from pydantic import BaseModel
from strands import tool
from strands.models.model import Model
from strands.types.content import Messages
from strands.types.streaming import StreamEvent

T = TypeVar("T", bound=BaseModel)

_ANSWER = (
    "You told me your name, where you live, and what you would like to know; I keep all of it, word for word, and"
    " answer with about as many words as a person would."
).split(" ")


class WordModel(Model):
    """Streams the same words whatever it is asked."""

    def __init__(self, repeats: int = 1, pause: float = 0.0) -> None:
        """Say how much and how fast.

        Args:
            repeats: How often it says its thirty words.
            pause: Seconds between two words; none at all by default.
        """
        self._words = _ANSWER * repeats
        self._pause = pause

    @property
    def takes_time(self) -> bool:
        return self._pause > 0

    def update_config(self, **model_config: Any) -> None:
        return None

    def get_config(self) -> dict[str, Any]:
        return {"model_id": "words"}

    def structured_output(
        self, output_model: type[T], prompt: Messages, system_prompt: str | None = None, **kwargs: Any
    ) -> AsyncGenerator[dict[str, T | Any], None]:
        raise NotImplementedError

    async def stream(self, *args: Any, **kwargs: Any) -> AsyncIterable[StreamEvent]:
        yield {"messageStart": {"role": "assistant"}}
        yield {"contentBlockStart": {"start": {}}}
        for word in self._words:
            if self._pause:
                await asyncio.sleep(self._pause)
            yield {"contentBlockDelta": {"delta": {"text": f"{word} "}}}
        yield {"contentBlockStop": {}}
        yield {"messageStop": {"stopReason": "end_turn"}}
        yield _usage(len(self._words))


@tool
def look_up(size: int, number: int) -> str:
    """Look something up.

    Args:
        size: How many characters there are to tell.
        number: What to look up.
    """
    return looked_up(size, number)


def looked_up(size: int, number: int) -> str:
    """What the tool says: something else for each number."""
    return (f"{number} 0123456789abcdef " * (size // 18 + 1))[:size]


class ToolModel(WordModel):
    """Calls the tool so many times, one after the other, and then says its words."""

    def __init__(self, calls: int, size: int = 16, number: int = 0) -> None:
        """Say how often.

        Args:
            calls: How often the tool is called in a turn.
            size: How many characters it answers with.
            number: What it is asked for.
        """
        super().__init__()
        self._calls = calls
        self._input = json.dumps({"size": size, "number": number})

    async def stream(self, messages: Messages, *args: Any, **kwargs: Any) -> AsyncIterable[StreamEvent]:
        called = _results_at_the_end(messages)
        if called == self._calls:
            async for event in super().stream(messages):
                yield event
            return
        use: Any = {"name": look_up.tool_name, "toolUseId": f"call-{len(messages)}-{called}"}
        yield {"messageStart": {"role": "assistant"}}
        yield {"contentBlockStart": {"start": {"toolUse": use}}}
        yield {"contentBlockDelta": {"delta": {"toolUse": {"input": self._input}}}}
        yield {"contentBlockStop": {}}
        yield {"messageStop": {"stopReason": "tool_use"}}
        yield _usage(8)


def _results_at_the_end(messages: Messages) -> int:
    """How many tool results there are since somebody asked."""
    count = 0
    for message in reversed(messages):
        if message["role"] == "assistant":
            continue
        if "toolResult" not in message["content"][0]:
            break
        count += 1
    return count


def _usage(words: int) -> StreamEvent:
    usage: Any = {"inputTokens": 40, "outputTokens": words, "totalTokens": 40 + words}
    return {"metadata": {"usage": usage, "metrics": {"latencyMs": 1}}}
