"""A model that costs as little as one can, so that what is measured is not the model."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable
from typing import Any, TypeVar

from pydantic import BaseModel
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
        usage: Any = {"inputTokens": 40, "outputTokens": len(self._words), "totalTokens": 40 + len(self._words)}
        yield {"metadata": {"usage": usage, "metrics": {"latencyMs": 1}}}
