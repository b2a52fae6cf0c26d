"""How what was recorded is written: on the pool, with the turn kept alive meanwhile, through an outage if so chosen."""

from __future__ import annotations

import asyncio
import logging
import time
import weakref
from collections.abc import Callable
from functools import partial

from strands import Agent
from strands.types.agent import LocalAgent

from .background import Background, Lease
from .records import Record
from .telemetry import add
from .turn_options import TurnOptions
from .unit_of_work import UnitOfWork

__all__ = ["Flushing"]

logger = logging.getLogger(__name__)

_PATIENCE = 5.0
_MOMENT = 0.25
"""Seconds that an invocation waits for a database that cannot be reached, and for one more attempt to end the turn."""

_RESEND_SECONDS = 1.0
"""Between attempts to store what is held during an outage."""


class Flushing:
    """Writes the records of one session manager."""

    def __init__(self, unit_of_work: UnitOfWork, background: Background, options: TurnOptions) -> None:
        """Write what this unit of work has recorded; no I/O yet."""
        self._unit = unit_of_work
        self._outages = unit_of_work.store.outages
        self._options = options
        self._leases: dict[Record, Lease] = {}
        self._held: set[Record] = set()
        self.background = background

    async def run(self, agent: LocalAgent | None, record: Record, **how: bool) -> None:
        """Flush off the event loop, to the end even if the awaiting task is cancelled.

        Args:
            agent: Whose record it is; ``None`` for a graph.
            record: What to write.
            **how: For :meth:`UnitOfWork.flush`.
        """
        if record in self._held and (record.turn_open or not isinstance(agent, Agent)) and not how.get("release"):
            return  # it would only make the model wait for what the background tries anyway
        began = time.monotonic()
        flush = partial(self._unit.flush, record, turn=record.opened, **how)
        try:
            if record.outage is None:
                await self.background.run(flush)
            else:
                await self._soon(agent, record, flush, *record.outage)
            record.outage = None
        except self._outages as error:
            if self._options.on_outage == "raise":
                if record.turn_open:
                    record.outage = record.outage or (began, error)
                raise
            self._hold(agent, record, error)
        finally:
            self.settle(agent, record)

    async def _soon(
        self, agent: LocalAgent | None, record: Record, flush: Callable[[], None], since: float, error: Exception
    ) -> None:
        """Flush although the caller has waited for an outage already: after a moment it goes on in the background.

        Args:
            agent: Whose record it is.
            record: What to write.
            flush: Writes it.
            since: When the wait began.
            error: What the caller was told then; raised again when the moment is over.
        """

        def to_the_end() -> None:
            try:
                flush()
            finally:
                self.settle(agent, record)

        try:
            async with asyncio.timeout(max(_MOMENT, since + _PATIENCE - time.monotonic())) as limit:
                await self.background.run(to_the_end)
            return
        except TimeoutError:
            if not limit.expired():
                raise
        raise error

    def here(self, agent: LocalAgent | None, record: Record, **how: bool) -> None:
        """Flush in this thread, which waits."""
        try:
            self._unit.flush(record, **how)
        finally:
            self.settle(agent, record)

    def settle(self, agent: LocalAgent | None, record: Record) -> None:
        """After a flush: keep the turn alive or let it go; take what was refused out of the agent's memory."""
        self._keep_turn(record)
        dropped = {id(message) for message in record.take_dropped()}
        if agent is None or record.refusal is None:
            return
        if dropped:
            agent.messages[:] = [message for message in agent.messages if id(message) not in dropped]
        if isinstance(agent, Agent) and agent._interrupt_state.activated:
            agent._interrupt_state.deactivate()
            record.was_interrupted = True

    def _keep_turn(self, record: Record) -> None:
        lease = self._leases.get(record)
        if record.claimed and (lease is None or lease.ended):
            renew = partial(_renew, weakref.ref(record), weakref.ref(self._unit), self._options.turn_limit)
            self._leases[record] = lease = Lease(self._options.turn_timeout / 3, renew)
            self.background.keep(lease)
        if not record.claimed and lease is not None:
            self._leases.pop(record, None)
            self.background.let_go(lease)

    # An outage of the database

    def _hold(self, agent: LocalAgent | None, record: Record, error: Exception) -> None:
        """Keep what was recorded, and send it again in the background until it is stored or the time is over."""
        if record in self._held:
            return
        self._held.add(record)
        add("session_store.outages")
        logger.warning(
            "session_id=<%s>, error=<%s> | the database cannot be reached, what was recorded is held",
            record.session_id,
            type(error).__name__,
        )
        deadline = time.monotonic() + self._options.outage_timeout
        whose = None if agent is None else weakref.ref(agent)
        self.background.keep(Lease(_RESEND_SECONDS, partial(self._resend_soon, record, whose, deadline)))

    def _resend_soon(self, record: Record, whose: weakref.ref[LocalAgent] | None, deadline: float) -> bool:
        """Called by the thread that renews turns, which must not wait for the database."""
        if record not in self._held:
            return False
        if time.monotonic() > deadline:
            self._held.discard(record)
            logger.error(
                "session_id=<%s>, pending=<%d> | the database was away for too long, what is held is not sent again"
                " in the background",
                record.session_id,
                record.pending,
            )
            return False
        self.background.submit(partial(self._resend, record, whose))
        return True

    def _resend(self, record: Record, whose: weakref.ref[LocalAgent] | None) -> None:
        if record.flushing.locked():
            return  # the attempt before this one still waits
        try:
            opened = record.opened
            self._unit.flush(record, release=not record.turn_open, turn=opened)
        except self._outages:
            return
        except Exception as error:
            if not record.turn_open:
                record.unreported = error
            logger.error(
                "session_id=<%s>, error=<%s> | what was held could not be stored",
                record.session_id,
                type(error).__name__,
            )
        self._held.discard(record)
        self.settle(whose() if whose else None, record)


def _renew(record_ref: weakref.ref[Record], unit_ref: weakref.ref[UnitOfWork], turn_limit: float) -> bool:
    """Extend a turn whose agent is alive and was heard of lately."""
    record, unit = record_ref(), unit_ref()
    if record is None or unit is None or not (record.claimed and record.turn_open):
        return False
    if time.monotonic() - record.last_event > turn_limit:
        return False
    if unit.renew(record):
        return True
    record.refuse(record.taken_over())
    return False
