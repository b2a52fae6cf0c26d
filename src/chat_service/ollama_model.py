"""The models of an Ollama server. Loaded only where they are used: the package behind them is an extra."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from ssl import SSLContext
from typing import Any

import httpx
import ollama
from strands.models.ollama import OllamaModel
from strands.types.streaming import StreamEvent

from .config import Settings
from .exceptions import ModelUnavailable
from .model_options import ModelOptions
from .model_stream import IncompleteAnswer, whole

__all__ = ["LocalModel", "model"]


def model(settings: Settings, trusted: SSLContext, options: ModelOptions) -> LocalModel:
    """A model for one answer. No I/O."""
    return LocalModel(
        trusted,
        settings.ollama_host,
        ollama_client_args={"timeout": settings.model_timeout},
        model_id=str(options.model or settings.model_id),
        temperature=options.temperature,
        max_tokens=options.max_tokens or settings.model_max_tokens,
    )


class LocalModel(OllamaModel):
    """The SDK's model, told apart where that is not: cut answers from whole ones, and failed requests from refused."""

    def __init__(self, trusted: SSLContext, host: str, **kwargs: Any) -> None:
        """Prepare.

        Args:
            trusted: The certificates to trust. Shared, because reading them takes 20 ms on the event loop.
            host: Address of the server.
            **kwargs: As of the SDK's model.
        """
        super().__init__(host, **kwargs)
        self._trusted = trusted

    def format_chunk(self, event: dict[str, Any]) -> StreamEvent:
        """Refuse the end of a stream that the server did not call done.

        Raises:
            IncompleteAnswer: The server's last line was none, or not its last word.
        """
        if event["chunk_type"] == "metadata":
            _check_done(event["data"])
        elif event["chunk_type"] == "message_stop" and event["data"] is None:
            raise IncompleteAnswer("the stream of the model ended before it was done")
        return super().format_chunk(event)

    async def stream(self, *args: Any, **kwargs: Any) -> AsyncGenerator[StreamEvent, None]:
        """Ask the model.

        Raises:
            ModelUnavailable: The server cannot be reached, is overloaded or refuses for now, and nothing has been said.
            IncompleteAnswer: The same in the middle of an answer; or the answer was cut off.
        """
        async with httpx.AsyncHTTPTransport(verify=self._trusted) as transport:
            self.client_args["transport"] = transport  # the SDK's client is never closed; this closes what it holds
            async with aclosing(whole(super().stream(*args, **kwargs), _unavailable)) as chunks:
                async for chunk in chunks:
                    yield chunk


def _check_done(last: ollama.ChatResponse) -> None:
    if not last.done:
        raise IncompleteAnswer("the stream of the model ended before it was done")
    # The server leaves out what it did not count, a prompt that it still knew for example; the SDK adds them up.
    last.prompt_eval_count = last.prompt_eval_count or 0
    last.eval_count = last.eval_count or 0
    last.total_duration = last.total_duration or 0


def _unavailable(error: Exception) -> ModelUnavailable | None:
    match error:
        case ConnectionError() | httpx.TransportError():
            return ModelUnavailable(silent=isinstance(error, httpx.TimeoutException))
        case ollama.ResponseError(status_code=status) if status == 429 or status >= 500:
            return ModelUnavailable()
    return None
