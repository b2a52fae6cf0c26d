"""The model of an OpenAI-compatible server. Loaded only where it is used: the package behind it is large."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import openai
from strands.models.openai import OpenAIModel
from strands.types.exceptions import ModelThrottledException
from strands.types.streaming import StreamEvent

from .exceptions import ModelUnavailable

__all__ = ["IncompleteAnswer", "ServedModel"]


class IncompleteAnswer(Exception):
    """The server's stream ended before the model had finished. What it said is not taken for an answer."""


class ServedModel(OpenAIModel):
    """The SDK's model, told apart where that is not: cut answers from whole ones, and failed requests from refused."""

    def format_chunk(self, event: dict[str, Any], **kwargs: Any) -> StreamEvent:
        """Refuse the end of a stream for which the server gave no reason.

        Raises:
            IncompleteAnswer: There was no ``finish_reason``.
        """
        # The SDK puts "end_turn" where it saw none; the protocol knows no such reason.
        if event["chunk_type"] == "message_stop" and event["data"] == "end_turn":
            raise IncompleteAnswer("the stream of the model ended without a finish_reason")
        return super().format_chunk(event, **kwargs)

    async def stream(self, *args: Any, **kwargs: Any) -> AsyncGenerator[StreamEvent, None]:
        """Ask the model.

        Raises:
            ModelUnavailable: The server cannot be reached, is overloaded or refuses for now, and nothing has been said.
            IncompleteAnswer: The same in the middle of an answer.
        """
        said = False
        try:
            async with aclosing(super().stream(*args, **kwargs)) as chunks:
                async for chunk in chunks:
                    said = said or "contentBlockDelta" in chunk
                    yield chunk
        except (ModelThrottledException, openai.APIConnectionError, openai.InternalServerError) as error:
            if said:
                raise IncompleteAnswer("the model failed in the middle of its answer") from error
            raise ModelUnavailable(silent=isinstance(error, openai.APITimeoutError)) from error
