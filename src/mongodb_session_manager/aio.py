"""The awaitable form of an object's methods, by one mechanism instead of twins; and the way back, for a thread."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from .background import Background

__all__ = ["Awaitables", "WaitingThread"]

T = TypeVar("T")

_LOOK_SECONDS = 1.0
"""How often a waiting thread looks whether the loop that it waits for is still there."""


class Awaitables:
    """``aio.method(...)`` is ``method(...)`` run on the pool, so that the event loop stays free.

    A method with a coroutine function in its attribute ``awaitable`` is awaited through that one instead, which is
    given the object, a way to do something off the loop, and the arguments.

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

    def __getattr__(self, name: str) -> Callable[..., Coroutine[Any, Any, Any]]:
        """The awaitable form of one method."""
        if name not in self._methods:
            raise AttributeError(f"{type(self._target).__name__}.{name} has no awaitable form")
        method = getattr(self._target, name)
        own_form = getattr(method, "awaitable", None)

        @functools.wraps(method)
        async def awaitable(*args: Any, **kwargs: Any) -> Any:
            if own_form is not None:
                return await own_form(self._target, self._off_loop, *args, **kwargs)
            return await self._off_loop(functools.partial(method, *args, **kwargs))

        return awaitable

    async def _off_loop(self, call: Callable[[], T]) -> T:
        waiting = _waiting.get()
        return await (waiting if waiting is not None and waiting.is_open else self._background).run(call)

    def __dir__(self) -> list[str]:
        """The methods that there are."""
        return sorted(self._methods)


class WaitingThread:
    """The calling thread while it waits for a coroutine. What that coroutine wants done off its loop is done here.

    So neither needs another thread: a pool whose threads all wait for coroutines would have none left for these.
    """

    def __init__(self) -> None:
        """Prepare; :meth:`wait_for` waits."""
        self._calls = SimpleQueue[Callable[[], None] | None]()
        self._lock = threading.Lock()
        self.is_open = True

    def wait_for(self, coroutine: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop | None) -> T:
        """Run a coroutine and return what it returns, with the caller's context variables.

        Args:
            coroutine: What to wait for.
            loop: Where it runs, in another thread; without one it gets a loop and a thread of its own.
        """
        outcome = contextvars.copy_context().run(self._begin, coroutine, loop)
        outcome.add_done_callback(lambda _: self._calls.put(None))
        try:
            self._do_calls(loop)
        finally:
            self._close()
        return outcome.result()

    def _begin(self, coroutine: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop | None) -> Future[T]:
        _waiting.set(self)
        try:
            if loop is None:
                return _in_a_thread(functools.partial(asyncio.run, coroutine))
            return asyncio.run_coroutine_threadsafe(coroutine, loop)
        except RuntimeError:
            coroutine.close()
            raise

    def _do_calls(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """Do what is asked for until the coroutine has ended."""
        while True:
            try:
                call = self._calls.get(timeout=_LOOK_SECONDS)
            except Empty:
                if loop is not None and loop.is_closed():
                    raise RuntimeError("the event loop was closed while a hook was running on it") from None
                continue
            if call is None:
                return
            call()

    def _close(self) -> None:
        with self._lock:
            self.is_open = False
        while not self._calls.empty():
            if call := self._calls.get():
                call()

    async def run(self, call: Callable[[], T]) -> T:
        """Do something blocking in the waiting thread, with the context variables of who awaits it.

        The call runs to its end even when the awaiting task is cancelled.
        """
        context = contextvars.copy_context()
        # While it is busy with this call the thread can serve nobody.
        context.run(_waiting.set, None)
        call = functools.partial(context.run, call)
        with self._lock:
            if self.is_open:
                outcome = Future[T]()
                self._calls.put(functools.partial(_settle, outcome, call))
            else:
                outcome = _in_a_thread(call)
        work = asyncio.wrap_future(outcome)
        work.add_done_callback(lambda done: done.cancelled() or done.exception())
        return await asyncio.shield(work)


_waiting: contextvars.ContextVar[WaitingThread | None] = contextvars.ContextVar("waiting", default=None)
"""The thread that waits for the running coroutine."""


def _in_a_thread(call: Callable[[], T]) -> Future[T]:
    outcome = Future[T]()
    work = functools.partial(contextvars.copy_context().run, call)
    threading.Thread(target=_settle, args=(outcome, work), name="session-hook", daemon=True).start()
    return outcome


def _settle(outcome: Future[T], call: Callable[[], T]) -> None:
    try:
        outcome.set_result(call())
    except BaseException as error:
        outcome.set_exception(error)
