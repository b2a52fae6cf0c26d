"""Whether an event loop is blocked, and by what."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from types import FrameType
from typing import Any

from pymongo import monitoring

__all__ = ["Heartbeat"]

_BEAT = 0.01
_LATE = 0.25
_LOOK = 0.05
_LOOKS = 3
"""So often in a row the loop must be found at the same place: a busy machine makes a loop late, not stand still."""

_DATABASE = ("/pymongo/", "/bson/", "/mongodb_session_manager/")


class Heartbeat(monitoring.CommandListener):
    """Beats on a loop, and watches from a thread where the loop stands when a beat is late.

    Also hears each command of the clients that it is given to, and from which thread it was sent.

    Attributes:
        gap: The longest time without a beat since the last :meth:`take`.
        blocked: Where the loop stood still inside a call of the library or the driver, since the last :meth:`take`.
    """

    def __init__(self) -> None:
        self.gap = 0.0
        self.blocked: list[str] = []
        self._last = time.monotonic()
        self._loop_thread = threading.get_ident()

    async def beat(self) -> None:
        """Run until cancelled."""
        self._last, self._loop_thread = time.monotonic(), threading.get_ident()
        threading.Thread(target=self._watch, daemon=True).start()
        while True:
            await asyncio.sleep(_BEAT)
            now = time.monotonic()
            self.gap, self._last = max(self.gap, now - self._last), now

    def take(self) -> dict[str, Any]:
        """What was seen since the last call."""
        seen = {"gap": self.gap, "blocked": self.blocked}
        self.gap, self.blocked = 0.0, []
        return seen

    def _watch(self) -> None:
        place: list[str] = []
        looks = 0
        while True:
            time.sleep(_LOOK)
            late = time.monotonic() - self._last > _LATE
            now = _stack(sys._current_frames().get(self._loop_thread)) if late else []
            looks = looks + 1 if now and now == place else 0
            place = now
            if looks == _LOOKS and any(part in line for line in place for part in _DATABASE):
                self.blocked.append(" < ".join(place[:8]))

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        if asyncio._get_running_loop() is not None:
            self.blocked.append(f"{event.command_name} was sent from the thread of the loop")

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        return None

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        return None


def _stack(frame: FrameType | None) -> list[str]:
    """Innermost first."""
    places = []
    while frame is not None:
        places.append(f"{frame.f_code.co_filename}:{frame.f_lineno}")
        frame = frame.f_back
    return places
