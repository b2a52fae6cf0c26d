"""Removing what has expired, every few minutes as long as the service runs."""

from __future__ import annotations

import asyncio
import logging

from .stores.session_factory import SessionFactory

__all__ = ["purge_forever"]

logger = logging.getLogger(__name__)


async def purge_forever(factory: SessionFactory, interval: float) -> None:
    """Remove expired and half-deleted sessions again and again, until it is cancelled.

    Several replicas may do so at once. A failure is logged, and the next time tried again.

    Args:
        factory: Of the sessions.
        interval: Seconds between.
    """
    while True:
        await asyncio.sleep(interval)
        try:
            removed = await factory.sessions.aio.purge()
        except Exception as error:
            logger.warning("error=<%s> | expired sessions could not be purged", type(error).__name__)
            continue
        if removed:
            logger.info("sessions=<%d> | expired and purged", removed)
