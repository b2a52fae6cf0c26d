"""Ending a model's answer while the model is silent. The SDK by itself looks for a cancellation when a word comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, TypeVar, cast

from strands.models import Model
from strands.types.streaming import StreamEvent

__all__ = ["ModelCalls"]

T = TypeVar("T")


class ModelCalls:
    """The calls of a model that an agent makes in one turn, and what it waits for before them."""

    def __init__(self) -> None:
        self._waiting: set[asyncio.Task[Any]] = set()
        self._interrupted = asyncio.Event()

    def interrupt(self) -> None:
        """End those that run, and let none begin."""
        self._interrupted.set()
        for task in self._waiting:
            task.cancel()

    def interruptible(self, model: Model) -> Model:
        """The model, whose answers end without a reason when they are interrupted: to the SDK they are cancelled."""
        return cast(Model, _Interruptible(model, self))

    async def next(self, chunks: AsyncGenerator[StreamEvent, None]) -> StreamEvent | None:
        """The next part of an answer; ``None`` when there is none, or none is wanted any more."""
        return await self.unless_interrupted(lambda: anext(chunks, None))

    async def unless_interrupted(self, call: Callable[[], Awaitable[T]]) -> T | None:
        """Wait for a call. ``None`` when nothing is wanted any more."""
        task = asyncio.current_task()
        if self._interrupted.is_set() or task is None:
            return None
        self._waiting.add(task)
        try:
            return await call()
        except asyncio.CancelledError:
            if not self._interrupted.is_set() or task.uncancel():  # somebody else has cancelled the task as well
                raise
            return None
        finally:
            self._waiting.discard(task)


class _Interruptible:
    def __init__(self, model: Model, calls: ModelCalls) -> None:
        self._model = model
        self._calls = calls

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    async def stream(self, *args: Any, **kwargs: Any) -> AsyncGenerator[StreamEvent, None]:
        stream = cast("AsyncGenerator[StreamEvent, None]", self._model.stream(*args, **kwargs))
        async with aclosing(stream) as chunks:
            while (chunk := await self._calls.next(chunks)) is not None:
                yield chunk
