"""Waiting for a turn that somebody else has."""

from __future__ import annotations

import asyncio
import random
import time
from functools import partial

from .background import Background
from .errors import SessionBusyError
from .records import Record
from .telemetry import record as measure
from .unit_of_work import UnitOfWork

__all__ = ["claim_when_free"]

_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0
"""Seconds between looks at a turn that somebody else has."""


async def claim_when_free(unit: UnitOfWork, background: Background, record: Record, seconds: float) -> bool:
    """Claim a turn as soon as nobody else has it, without blocking the event loop.

    Args:
        unit: The session.
        background: Where the claim is sent from.
        record: Whose turn it is.
        seconds: How long to wait at most.

    Returns:
        Whether the history moved on meanwhile: what was recorded is forgotten then, and the agent is to be restored.

    Raises:
        SessionBusyError: The other turn has not ended in time.
    """
    began = time.monotonic()
    longest = _SHORTEST_PAUSE
    while True:
        try:
            moved_on = await _claim(unit, background, record)
            if longest > _SHORTEST_PAUSE:
                measure("session_store.turn.wait_time", time.monotonic() - began)
            return moved_on
        except SessionBusyError as error:
            left = began + seconds - time.monotonic()
            if left <= 0:
                measure("session_store.turn.wait_time", seconds - left, {"error.type": type(error).__name__})
                raise
        longest = min(2 * longest, _LONGEST_PAUSE)
        await asyncio.sleep(min(left, random.uniform(_SHORTEST_PAUSE, longest)))  # noqa: S311


async def _claim(unit: UnitOfWork, background: Background, record: Record) -> bool:
    try:
        return await background.run(partial(unit.claim, record))
    except asyncio.CancelledError:
        # It may be claimed all the same, and nobody will end the turn.
        await background.run(partial(unit.flush, record, release=True))
        raise
