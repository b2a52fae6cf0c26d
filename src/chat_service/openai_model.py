"""The model of an OpenAI-compatible server. Loaded only where it is used: the package behind it is large."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from ssl import SSLContext
from typing import Any

import openai
from strands.models.openai import OpenAIModel
from strands.types.streaming import StreamEvent

from .config import Settings
from .exceptions import ModelUnavailable
from .model_options import ModelOptions
from .model_stream import IncompleteAnswer, whole

__all__ = ["ServedModel", "model"]


def model(settings: Settings, trusted: SSLContext, options: ModelOptions) -> ServedModel:
    """A model for one answer. No I/O."""
    # OpenAI's own newer models refuse the older name, and other servers may not know the newer one.
    limit = "max_tokens" if settings.base_url else "max_completion_tokens"
    client: dict[str, Any] = {
        "api_key": settings.api_key,
        "timeout": settings.model_timeout,
        "max_retries": 0,  # the agent asks again, and for less long
    }
    if settings.base_url:
        client["base_url"] = settings.base_url
    params: dict[str, Any] = {"temperature": options.temperature}
    if longest := options.max_tokens or settings.model_max_tokens:
        params[limit] = longest
    return ServedModel(trusted, client_args=client, model_id=str(options.model or settings.model_id), params=params)


class ServedModel(OpenAIModel):
    """The SDK's model, told apart where that is not: cut answers from whole ones, and failed requests from refused."""

    def __init__(self, trusted: SSLContext, **kwargs: Any) -> None:
        """Prepare.

        Args:
            trusted: The certificates to trust. Shared, because reading them takes 20 ms on the event loop.
            **kwargs: As of the SDK's model.
        """
        super().__init__(**kwargs)
        self._trusted = trusted

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
            IncompleteAnswer: The same in the middle of an answer; or the answer was cut off.
        """
        self.client_args["http_client"] = openai.DefaultAsyncHttpxClient(verify=self._trusted)  # closed after the call
        async with aclosing(whole(super().stream(*args, **kwargs), _unavailable)) as chunks:
            async for chunk in chunks:
                yield chunk


def _unavailable(error: Exception) -> ModelUnavailable | None:
    if isinstance(error, openai.APIConnectionError | openai.InternalServerError):
        return ModelUnavailable(silent=isinstance(error, openai.APITimeoutError))
    return None
