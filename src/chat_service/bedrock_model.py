"""The models of Amazon Bedrock. Loaded only where they are used: the package behind them is large."""

from __future__ import annotations

import copy
import threading
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import aclosing
from functools import partial
from typing import Any

import boto3
from botocore import exceptions as aws
from botocore.config import Config
from strands.models.bedrock import BedrockModel
from strands.types.streaming import StreamEvent
from urllib3.exceptions import HTTPError
from urllib3.exceptions import TimeoutError as Silence

from .config import ConfigurationError, Settings
from .exceptions import ModelUnavailable
from .model_options import ModelOptions
from .model_stream import whole

__all__ = ["BedrockModels", "Threads"]

_CONNECTIONS = 200  # kept for the next answer; more are opened when they are needed

_OVERLOADED = (
    "ThrottlingException",
    "ServiceUnavailableException",
    "InternalServerException",
    "ModelNotReadyException",
    "ModelTimeoutException",
    "ModelStreamErrorException",
)


class BedrockModels:
    """Makes models that share one client, which is safe to share and slow to make."""

    def __init__(self, settings: Settings) -> None:
        """Make the client. Credentials are looked for where boto3 always does.

        Args:
            settings: With ``aws_region``, unless the environment or the profile names one.

        Raises:
            ConfigurationError: No region is named.
        """
        region = settings.aws_region or boto3.Session().region_name
        if not region:
            raise ConfigurationError("AWS_REGION: missing. MODEL_PROVIDER=bedrock needs a region, such as eu-west-1.")
        config = Config(
            connect_timeout=min(settings.model_timeout, 10),
            read_timeout=settings.model_timeout,
            retries={"total_max_attempts": 1},  # the agent asks again, and for less long
            max_pool_connections=_CONNECTIONS,
        )
        self._model = _Model(
            region_name=region,
            boto_client_config=config,
            model_id=str(settings.model_id),
            max_tokens=settings.model_max_tokens,
        )

    def __call__(self, options: ModelOptions) -> BedrockModel:
        """A model for one answer. No I/O."""
        model = copy.copy(self._model)
        model.config = {**self._model.config, "temperature": options.temperature}
        if options.model:
            model.config["model_id"] = options.model
        if options.max_tokens:
            model.config["max_tokens"] = options.max_tokens
        return model


class _Model(BedrockModel):
    """The SDK's model with the errors of this service."""

    async def stream(self, *args: Any, **kwargs: Any) -> AsyncGenerator[StreamEvent, None]:
        async with aclosing(whole(super().stream(*args, **kwargs), _unavailable)) as chunks:
            async for chunk in chunks:
                yield chunk


class Threads(ThreadPoolExecutor):
    """A thread for each call, none of which holds up the end of the process.

    The SDK reads each answer in a thread of the event loop's own pool. The usual one has six threads on two processors
    and waits at the end for a server that says nothing. How many there are here is bounded by the turns.
    """

    def submit(self, call: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run a call in a thread of its own."""
        future: Future[Any] = Future()
        threading.Thread(target=_run, args=(future, partial(call, *args, **kwargs)), daemon=True).start()
        return future


def _run(future: Future[Any], call: Callable[[], Any]) -> None:
    if future.set_running_or_notify_cancel():
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)


def _unavailable(error: Exception) -> ModelUnavailable | None:
    match error:
        case aws.ClientError(response={"Error": {"Code": str(code)}}):
            # In mid-stream the same names begin with a small letter.
            return ModelUnavailable() if code[:1].upper() + code[1:] in _OVERLOADED else None
        case aws.ConnectionError() | aws.HTTPClientError():
            return ModelUnavailable(silent=isinstance(error, aws.ReadTimeoutError | aws.ConnectTimeoutError))
        case HTTPError():  # while the answer is read, botocore leaves these as they are
            return ModelUnavailable(silent=isinstance(error, Silence))
    return None
