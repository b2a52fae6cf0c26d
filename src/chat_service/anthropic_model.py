"""Anthropic's models. Loaded only where they are used: the package behind them is an extra."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from ssl import SSLContext
from typing import Any

import anthropic
import httpx
from strands.models.anthropic import AnthropicModel
from strands.types.streaming import StreamEvent

from .config import Settings
from .exceptions import ModelUnavailable
from .model_options import ModelOptions
from .model_stream import whole

__all__ = ["ClaudeModel", "model"]

_MAX_TOKENS = 4096  # the protocol has no default
_OVERLOADED = ("overloaded_error", "rate_limit_error", "api_error", "timeout_error")


def model(settings: Settings, trusted: SSLContext, options: ModelOptions) -> ClaudeModel:
    """A model for one answer. No I/O."""
    assert settings.anthropic_api_key, "the settings have been checked"
    client: dict[str, Any] = {
        "api_key": settings.anthropic_api_key.get_secret_value(),
        "timeout": settings.model_timeout,
        "max_retries": 0,  # the agent asks again, and for less long
    }
    if settings.anthropic_base_url:
        client["base_url"] = settings.anthropic_base_url
    return ClaudeModel(
        trusted,
        client,
        model_id=str(options.model or settings.model_id),
        max_tokens=options.max_tokens or settings.model_max_tokens or _MAX_TOKENS,
        params={"temperature": options.temperature},
    )


class ClaudeModel(AnthropicModel):
    """The SDK's model with the errors of this service, and connections that are closed after each call."""

    def __init__(self, trusted: SSLContext, client_args: dict[str, Any], **config: Any) -> None:
        """Prepare.

        Args:
            trusted: The certificates to trust. Shared, because reading them takes 20 ms on the event loop.
            client_args: Of the client of the package anthropic.
            **config: As of the SDK's model.
        """
        self._trusted = trusted
        self._client_args = client_args
        super().__init__(client_args=self._with_connection(), **config)

    async def stream(self, *args: Any, **kwargs: Any) -> AsyncGenerator[StreamEvent, None]:
        """Ask the model.

        Raises:
            ModelUnavailable: The server cannot be reached, is overloaded or refuses for now, and nothing has been said.
            IncompleteAnswer: The same in the middle of an answer; or the answer was cut off.
        """
        async with anthropic.AsyncAnthropic(**self._with_connection()) as self.client:
            async with aclosing(whole(super().stream(*args, **kwargs), _unavailable)) as chunks:
                async for chunk in chunks:
                    yield chunk

    def _with_connection(self) -> dict[str, Any]:
        return {**self._client_args, "http_client": anthropic.DefaultAsyncHttpxClient(verify=self._trusted)}


def _unavailable(error: Exception) -> ModelUnavailable | None:
    match error:
        case anthropic.APIConnectionError():
            return ModelUnavailable(silent=isinstance(error, anthropic.APITimeoutError))
        case httpx.TransportError():  # while the answer is read, the package leaves these as they are
            return ModelUnavailable(silent=isinstance(error, httpx.TimeoutException))
        # In mid-stream an error has the status of the stream, 200, and says in its type what it is.
        case anthropic.APIStatusError(status_code=status, type=kind) if status >= 500 or kind in _OVERLOADED:
            return ModelUnavailable()
    return None
