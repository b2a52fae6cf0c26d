"""What a model says, passed on: whole, or an error that tells an unavailable server from a failure."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from strands.types.exceptions import ModelThrottledException
from strands.types.streaming import StreamEvent

from .exceptions import ModelUnavailable

__all__ = ["IncompleteAnswer", "whole"]


class IncompleteAnswer(Exception):
    """The model's stream ended before the model had finished. What it said is not taken for an answer."""


async def whole(
    chunks: AsyncGenerator[StreamEvent, None], unavailable: Callable[[Exception], ModelUnavailable | None]
) -> AsyncGenerator[StreamEvent, None]:
    """Pass a model's stream on.

    Args:
        chunks: What the SDK's model gives.
        unavailable: What an error of the provider means, ``None`` where it is none of an unavailable server.

    Raises:
        ModelUnavailable: The server cannot be reached, is overloaded or refuses for now, and nothing has been said.
        IncompleteAnswer: The same in the middle of an answer; or the answer ended without a reason.
    """
    said = ended = False
    try:
        async with aclosing(chunks):
            async for chunk in chunks:
                said = said or "contentBlockDelta" in chunk
                ended = ended or "messageStop" in chunk
                yield chunk
    except Exception as error:
        problem = ModelUnavailable() if isinstance(error, ModelThrottledException) else unavailable(error)
        if problem is None:
            raise
        if said:
            raise IncompleteAnswer("the model failed in the middle of its answer") from error
        raise problem from error
    if not ended:
        raise IncompleteAnswer("the stream of the model ended without a reason")
