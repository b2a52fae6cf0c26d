"""The threads behind an event loop: a pool that does the I/O, and one thread that renews turns.

One of each per client, shared by all managers on it. Both are made on first use, again in a forked child.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

__all__ = ["Background", "Lease"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

_LINGER = 60.0
"""Seconds that the renewing thread stays without a turn to renew."""

_shared: dict[int, Background] = {}
_sharing = threading.Lock()


def _after_fork() -> None:
    global _sharing
    _sharing = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class Lease:
    """A turn to keep alive. It holds nothing strongly that would keep an abandoned agent in memory.

    Attributes:
        interval: Seconds between renewals.
        renew: Extends the turn; ``False`` when there is nothing to renew any more.
        due: When the next renewal is due, on the monotonic clock.
        ended: Whether it is not renewed any more.
    """

    def __init__(self, interval: float, renew: Callable[[], bool]) -> None:
        """Describe the lease; :meth:`Background.keep` starts it."""
        self.interval = interval
        self.renew = renew
        self.due = time.monotonic() + interval
        self.ended = False


class Background:
    """A thread pool for flushes and a thread for renewals."""

    def __init__(self, max_workers: int) -> None:
        """Make nothing yet.

        Args:
            max_workers: Flushes at once, as many as the store can serve.
        """
        self._max_workers = max_workers
        self._lock = threading.Lock()
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._pool: ThreadPoolExecutor | None = None
        self._leases: set[Lease] = set()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._awake_at = 0.0
        self._waiting = 0

    def _here(self) -> None:
        """Start afresh in a forked child: the parent's threads do not exist in it."""
        if self._pid != os.getpid():
            self._lock = threading.Lock()
            self._reset()

    @classmethod
    def of(cls, shared_by: object, max_workers: int) -> Background:
        """The one that belongs to an object, usually a client; it goes with that object."""
        # By identity: to the driver all clients of one server are equal.
        key = id(shared_by)
        with _sharing:
            background = _shared.get(key)
            if background is None:
                background = _shared[key] = cls(max_workers)
                weakref.finalize(shared_by, _shared.pop, key, None).atexit = False
            return background

    async def run(self, call: Callable[[], T]) -> T:
        """Do something blocking in the pool, with the caller's context variables.

        The call runs to its end even when the awaiting task is cancelled.
        """
        work = asyncio.wrap_future(self._workers().submit(contextvars.copy_context().run, call))
        # If the task is cancelled nobody else looks at the outcome, and asyncio would complain about that.
        work.add_done_callback(lambda done: done.cancelled() or done.exception())
        return await asyncio.shield(work)

    def submit(self, call: Callable[[], object]) -> None:
        """Do something blocking in the pool that answers to nobody."""
        self._workers().submit(call)

    def _workers(self) -> ThreadPoolExecutor:
        self._here()
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._max_workers, thread_name_prefix="session-flush")
            return self._pool

    def keep(self, lease: Lease) -> None:
        """Renew this turn until it is let go."""
        self._here()
        with self._changed:
            self._leases.add(lease)
            if self._thread is None:
                self._thread = threading.Thread(target=self._renew_leases, name="session-renewal", daemon=True)
                self._thread.start()
            elif lease.due < self._awake_at:
                self._changed.notify_all()

    def let_go(self, lease: Lease) -> None:
        """Renew this turn no more."""
        self._here()
        with self._changed:
            lease.ended = True
            self._leases.discard(lease)
            if self._waiting:
                self._changed.notify_all()

    def wait_for_turns(self, timeout: float) -> bool:
        """Wait until no turn is kept. ``False`` when some still are after so many seconds."""
        self._here()
        with self._changed:
            self._waiting += 1
            try:
                return self._changed.wait_for(lambda: not self._leases, timeout)
            finally:
                self._waiting -= 1

    def _renew_leases(self) -> None:
        """The thread: asleep until a renewal is due; gone when there was none to do for a while.

        Most turns end before their first renewal, so neither their begin nor their end wakes it.
        """
        idle_since = time.monotonic()
        while True:
            with self._changed:
                now = time.monotonic()
                first = min(self._leases, key=lambda lease: lease.due, default=None)
                if first is None and now - idle_since >= _LINGER:
                    self._thread = None
                    return
                self._awake_at = first.due if first else idle_since + _LINGER
                if first is None or first.due > now:
                    self._changed.wait(self._awake_at - now)
                    continue
                first.due = now + first.interval
            idle_since = now
            if not _renewed(first):
                self.let_go(first)


def _renewed(lease: Lease) -> bool:
    try:
        return lease.renew()
    except Exception as error:
        # Nothing is lost by it: the turn has time left, and every write compares before it sets.
        logger.debug("error=<%s> | a turn was not renewed, trying again", type(error).__name__)
        return True
