"""Sending messages in the background: bounded, in order per session, drained at the end."""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
import weakref
from collections import Counter, deque
from collections.abc import Callable
from typing import Any, TypeAlias

__all__ = ["Delivery", "Request"]

logger = logging.getLogger(__name__)

Request: TypeAlias = dict[str, Any]
"""One message, ready to be sent."""

_WORKERS = 4
_IDLE_SECONDS = 5.0
"""How long a worker stays without a message."""

_EXIT_SECONDS = 5.0
"""How long the end of the process waits for what is under way, all hooks together."""

_all: weakref.WeakSet[Delivery] = weakref.WeakSet()


class Delivery:
    """Up to four threads; each sends messages of one session at a time, one after the other.

    The threads are made when there is something to send and end when there is nothing.
    """

    def __init__(self, send: Callable[[Request], object], max_pending: int) -> None:
        """Start nothing yet.

        Args:
            send: Sends one message, blocking; called from several threads.
            max_pending: Messages that may wait or be under way. What comes beyond is dropped.

        Raises:
            ValueError: ``max_pending`` is not a number of messages.
        """
        if not isinstance(max_pending, int) or max_pending < 1:
            raise ValueError(f"max_pending must be a number of messages, at least 1, not {max_pending!r}")
        self._send = send
        self._max_pending = max_pending
        self.reset()
        _all.add(self)

    def reset(self) -> None:
        """Begin afresh, as a forked child does: what its parent has not sent yet is the parent's to send."""
        self._changed = threading.Condition()
        self._waiting: dict[str, deque[Request]] = {}  # sessions with a message that waits or is under way
        self._ready = deque[str]()  # those of them that no worker has taken
        self._counts = Counter[str]()
        self._pending = self._workers = self._idle = 0

    def put(self, session_id: str, make: Callable[[], Request | None]) -> None:
        """Send a message after all others of its session. Never waits for the network and never raises.

        Args:
            session_id: The session.
            make: Makes the message, or ``None`` when there is nothing to tell; called here and now.
        """
        try:
            request = make()
        except Exception as error:
            self._failed(session_id, error)
            return
        if request is None:
            return
        with self._changed:
            if self._pending < self._max_pending and self._queued(session_id, request):
                self._pending += 1
                return
            self._counts["dropped"] += 1
        logger.warning("session_id=<%s>, pending=<%d> | message dropped", session_id, self._pending)

    def _queued(self, session_id: str, request: Request) -> bool:
        """Whether a worker will come to the message."""
        if session_id in self._waiting:
            self._waiting[session_id].append(request)
            return True
        if self._idle <= len(self._ready) and self._workers < _WORKERS:
            try:
                threading.Thread(target=self._work, name="session-delivery", daemon=True).start()
                self._workers += 1
            except RuntimeError:  # the interpreter is ending and makes no threads any more
                if not self._workers:
                    return False
        self._waiting[session_id] = deque([request])
        self._ready.append(session_id)
        self._changed.notify_all()
        return True

    def _work(self) -> None:
        """A worker: sends one message of whichever session has waited longest, and again."""
        while (taken := self._taken()) is not None:
            session_id, request = taken
            try:
                self._send(request)
            except Exception as error:
                self._failed(session_id, error)
            else:
                self._count("delivered")
            with self._changed:
                self._pending -= 1
                if self._waiting[session_id]:
                    self._ready.append(session_id)
                else:
                    del self._waiting[session_id]
                self._changed.notify_all()

    def _taken(self) -> tuple[str, Request] | None:
        with self._changed:
            self._idle += 1
            there_is_one = self._changed.wait_for(lambda: self._ready, _IDLE_SECONDS)
            self._idle -= 1
            if not there_is_one:
                self._workers -= 1
                return None
            session_id = self._ready.popleft()
            return session_id, self._waiting[session_id].popleft()

    def _failed(self, session_id: str, error: Exception) -> None:
        """Count and log it, once. The error's own text may quote the message, so only its kind is told."""
        self._count("failed")
        details = getattr(error, "response", None)
        code = details.get("Error", {}).get("Code", "") if isinstance(details, dict) else ""
        logger.warning(
            "session_id=<%s>, error=<%s>, code=<%s> | message not delivered", session_id, type(error).__name__, code
        )

    def _count(self, outcome: str) -> None:
        with self._changed:
            self._counts[outcome] += 1

    def stats(self) -> dict[str, int]:
        """``pending`` messages now; ``delivered``, ``failed`` and ``dropped`` ones since the process began."""
        with self._changed:
            counted = {outcome: self._counts[outcome] for outcome in ("delivered", "failed", "dropped")}
            return {"pending": self._pending, **counted}

    def drain(self, timeout: float) -> bool:
        """Wait until everything is sent; what still waits after so many seconds is dropped.

        Returns:
            Whether nothing is under way any more.
        """
        with self._changed:
            self._changed.wait_for(lambda: not self._pending, timeout)
            dropped = {session_id: len(requests) for session_id, requests in self._waiting.items() if requests}
            for session_id in dropped:
                self._waiting[session_id].clear()
            for session_id in self._ready:
                del self._waiting[session_id]
            self._ready.clear()
            self._pending -= sum(dropped.values())
            self._counts["dropped"] += sum(dropped.values())
            drained = not self._pending
        for session_id, count in dropped.items():
            logger.warning("session_id=<%s>, messages=<%d> | not delivered in time, dropped", session_id, count)
        return drained


def _drain_all() -> None:
    """The end of the process."""
    until = time.monotonic() + _EXIT_SECONDS
    for delivery in list(_all):
        if not delivery.drain(max(0.0, until - time.monotonic())):
            logger.warning("pending=<%d> | the process ends while messages are sent", delivery.stats()["pending"])


def _after_fork() -> None:
    for delivery in list(_all):
        delivery.reset()


atexit.register(_drain_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
