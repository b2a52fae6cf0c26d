"""Running hooks one around the other, plain functions and coroutine functions alike."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, TypeVar, cast

from ..aio import WaitingThread

__all__ = ["FeedbackHook", "Hook", "HookedCall", "MetadataHook", "as_hooks", "hooked"]

F = TypeVar("F", bound=Callable[..., Any])
Value: TypeAlias = tuple[Any, ...]
"""What an action is about: one value, or none."""

OffLoop: TypeAlias = Callable[[Callable[[], Any]], Awaitable[Any]]
"""Does something blocking where no event loop runs."""


class Hook(Protocol):
    """What an application passes as ``metadata_hook`` or ``feedback_hook``: a plain function or a coroutine function.

    The value, where the action has one, comes as a keyword (``metadata``, ``keys`` or ``feedback``) and goes to
    ``original_func`` as its only argument. A coroutine function awaits ``original_func``.
    """

    def __call__(self, original_func: Callable[..., Any], action: str, session_id: str, **kwargs: Any) -> Any:
        """Call ``original_func`` or do not; what is returned the caller gets."""


MetadataHook: TypeAlias = Hook
"""Actions ``update`` (with ``metadata``), ``get``, ``delete`` (with ``keys``)."""

FeedbackHook: TypeAlias = Hook
"""Action ``add`` (with ``feedback``)."""


def as_hooks(hook: Hook | Sequence[Hook] | None, name: str) -> tuple[Hook, ...]:
    """One hook, several or none, as a chain; the first is the outermost.

    Raises:
        TypeError: One of them is not callable.
    """
    hooks = () if hook is None else tuple(hook) if isinstance(hook, Sequence) else (hook,)
    for each in hooks:
        if not callable(each):
            raise TypeError(f"{name} must be a callable, not {type(each).__name__}")
    return hooks


@dataclass(frozen=True, slots=True)
class HookedCall:
    """One action inside its hooks.

    Attributes:
        hooks: The first is the outermost.
        original_func: What is done in the end.
        action: What it is called to the hooks.
        session_id: The session.
        keyword: What hooks know the value by; ``None`` for an action without one.
    """

    hooks: Sequence[Hook]
    original_func: Callable[..., Any]
    action: str
    session_id: str
    keyword: str | None

    def run(self, value: Value, at: int = 0, loop: asyncio.AbstractEventLoop | None = None) -> Any:
        """Run the hooks from one on, blocking.

        Args:
            value: What is passed on to that one.
            at: Its position.
            loop: Where coroutine functions run, in another thread; without one they get a loop of their own.

        Returns:
            What the hook at this position returns.
        """
        if at == len(self.hooks):
            return self.original_func(*value)
        if _is_coroutine_function(self.hooks[at]):
            waiting = WaitingThread()
            return waiting.wait_for(self.run_on_loop(value, waiting.run, at), loop)

        def inner(*arguments: Any) -> Any:
            return self.run(self._passed_on(value, arguments), at + 1, loop)

        result = self.hooks[at](inner, self.action, self.session_id, **self._named(value))
        if inspect.iscoroutine(result):
            result.close()
            raise TypeError(f"a hook returned a coroutine at {self.action!r}; make it a coroutine function (async def)")
        return result

    async def run_on_loop(self, value: Value, off_loop: OffLoop, at: int = 0) -> Any:
        """Run the hooks from one on: coroutine functions on the running loop, all else off it."""
        if at == len(self.hooks) or not _is_coroutine_function(self.hooks[at]):
            return await off_loop(functools.partial(self.run, value, at, asyncio.get_running_loop()))

        async def inner(*arguments: Any) -> Any:
            return await self.run_on_loop(self._passed_on(value, arguments), off_loop, at + 1)

        return await self.hooks[at](inner, self.action, self.session_id, **self._named(value))

    def _named(self, value: Value) -> dict[str, Any]:
        return {} if self.keyword is None else {self.keyword: value[0]}

    def _passed_on(self, value: Value, arguments: Value) -> Value:
        """What a hook passes on: all that it was given, when it names nothing."""
        if len(arguments) > len(value):
            expected = self.keyword or "no argument"
            raise TypeError(f"original_func takes {expected} at {self.action!r}, not {len(arguments)} arguments")
        return arguments or value


def _is_coroutine_function(hook: Hook) -> bool:
    return inspect.iscoroutinefunction(hook) or inspect.iscoroutinefunction(type(hook).__call__)


def hooked(chain: str, action: str, keyword: str | None = None) -> Callable[[F], F]:
    """Make a method run inside hooks, when it is called and when it is awaited under ``aio``.

    Args:
        chain: The attribute of the object that holds its hooks.
        action: What the method does, as hooks are told.
        keyword: What hooks know the method's argument by, if it has one.
    """

    def decorate(method: F) -> F:
        signature = inspect.signature(method)

        def call(self: Any, args: Any, kwargs: Any) -> tuple[HookedCall, Value]:
            _, *value = signature.bind(self, *args, **kwargs).args
            original_func = functools.partial(method, self)
            return HookedCall(getattr(self, chain), original_func, action, self.session_id, keyword), tuple(value)

        @functools.wraps(method)
        def blocking(self: Any, *args: Any, **kwargs: Any) -> Any:
            hooked_call, value = call(self, args, kwargs)
            return hooked_call.run(value)

        async def awaitable(self: Any, off_loop: OffLoop, *args: Any, **kwargs: Any) -> Any:
            hooked_call, value = call(self, args, kwargs)
            return await hooked_call.run_on_loop(value, off_loop)

        vars(blocking)["awaitable"] = awaitable
        return cast("F", blocking)

    return decorate
