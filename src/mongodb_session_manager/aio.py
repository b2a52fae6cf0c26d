"""The awaitable form of an object's methods, by one mechanism instead of twins."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import Any

from .background import Background

__all__ = ["Awaitables"]


class Awaitables:
    """``aio.method(...)`` is ``method(...)`` run on the pool, so that the event loop stays free.

    Example:
        >>> metadata = await manager.aio.get_metadata()  # doctest: +SKIP
    """

    def __init__(self, target: object, background: Background, methods: frozenset[str]) -> None:
        """Offer some methods of an object.

        Args:
            target: Whose methods they are.
            background: Where they run.
            methods: Those that do I/O.
        """
        self._target = target
        self._background = background
        self._methods = methods

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        """The awaitable form of one method."""
        if name not in self._methods:
            raise AttributeError(f"{type(self._target).__name__}.{name} has no awaitable form")
        method = getattr(self._target, name)

        @functools.wraps(method)
        async def awaitable(*args: Any, **kwargs: Any) -> Any:
            return await self._background.run(functools.partial(method, *args, **kwargs))

        return awaitable

    def __dir__(self) -> list[str]:
        """The methods that there are."""
        return sorted(self._methods)
