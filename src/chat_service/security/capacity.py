"""How many answers are written at once."""

from __future__ import annotations

import asyncio

from .refusals import Overloaded

__all__ = ["Capacity"]


class Capacity:
    """So many turns at once; a few more wait for a moment, in the order they came, and others are turned away."""

    def __init__(self, turns: int, queued: int, seconds: float) -> None:
        """Start with all places free.

        Args:
            turns: Turns at once.
            queued: How many may wait for a place.
            seconds: How long each waits at most.
        """
        self._free = asyncio.Semaphore(turns)
        self._queued = queued
        self._seconds = seconds
        self._waiting = 0

    async def enter(self) -> None:
        """Take a place, to be given back with :meth:`leave`.

        Raises:
            Overloaded: None is free, and none became free in time.
        """
        if self._free.locked() and self._waiting >= self._queued:
            raise Overloaded
        self._waiting += 1
        try:
            async with asyncio.timeout(self._seconds):
                await self._free.acquire()
        except TimeoutError:
            raise Overloaded from None
        finally:
            self._waiting -= 1

    def leave(self) -> None:
        """Give a place back."""
        self._free.release()
