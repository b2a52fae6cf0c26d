"""A turn of another replica, or one that has ended: told from what is written down of it."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar, cast

from .events import BEYOND, Ending, Event, EventLog, Failed, Log, failed
from .exceptions import RecordsUnavailable, ServiceError, ShuttingDown, TurnExpired, TurnInterrupted, explain
from .models import ChatResponse
from .turn import answer_of
from .turn_records import StoredTurn, TurnRecord, TurnRecords, age_of

__all__ = ["StoredTurns", "TurnElsewhere"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

_PAUSE = 0.5  # seconds between two looks at a turn that runs
_LONGEST_PAUSE = 2.0
_DEAD = 5.0  # seconds of silence after which a replica may be gone
_WATCHED = 2.0  # seconds for which one watches before one says so: the server may have been away, not the replica
_FIRST_WRITE = 3.0  # seconds within which an accepted turn is written down
_LONGEST_BEGIN = 120.0  # seconds within which a question is accepted or refused: it waits for 60 at most
_PATIENCE = 30.0  # seconds for which a database that cannot be reached is asked again
_LONGEST_CALL = 7.0  # the records give up after five
_READERS = 4


class StoredTurns:
    """Reads what replicas have written down, off the event loop."""

    def __init__(self, records: TurnRecords, retention: float) -> None:
        """Prepare; no I/O.

        Args:
            records: Where turns are written down.
            retention: For so many seconds.
        """
        self.records = records
        self.retention = retention
        self._threads = ThreadPoolExecutor(_READERS, thread_name_prefix="stored-turns")
        self._closed = asyncio.Event()

    async def call(self, call: Callable[[], T]) -> T:
        """Ask the records something.

        Raises:
            RecordsUnavailable: It took too long, the wait for a thread included.
            ShuttingDown: This process ends.
        """
        if self._closed.is_set():
            raise ShuttingDown
        try:
            async with asyncio.timeout(_LONGEST_CALL):
                return await asyncio.get_running_loop().run_in_executor(self._threads, call)
        except TimeoutError as error:
            raise RecordsUnavailable from error

    async def claim(self, record: TurnRecord) -> StoredTurn | None:
        """Take the key of a turn. ``None`` when it is taken now, else the turn that has it."""
        return await self.call(lambda: self.records.claim(record))

    async def wait_for_begin(self, holder: StoredTurn, *, is_ours: bool) -> None:
        """Give a turn that was not accepted yet the time for that, or free its key if nobody begins it any more.

        Args:
            holder: It may have been refused while the database was away, so that its key could not be given back.
            is_ours: It was this replica's, which does not know it any more.
        """
        if is_ours or holder.quiet >= _DEAD or age_of(holder.record.turn_id) >= _LONGEST_BEGIN:
            await self.call(lambda: self.records.release(holder.record))
        else:
            await self.pause(_PAUSE / 2)

    async def read(self, turn_id: str) -> StoredTurn | None:
        """A turn without its events. One that may have begun just now is waited for."""
        end = time.monotonic() + (_FIRST_WRITE if age_of(turn_id) < 10 * _FIRST_WRITE else 0)
        while True:
            found = await self.call(lambda: self.records.read(turn_id, BEYOND))
            if found or time.monotonic() >= end:
                return found
            await self.pause(_PAUSE)

    async def unfinished(self, session_id: str) -> StoredTurn | None:
        """The turn that runs in a session. One that may have begun just now is waited for."""
        end = time.monotonic() + _FIRST_WRITE / 2
        while True:
            found = await self.call(lambda: self.records.unfinished(session_id))
            if found or time.monotonic() >= end:
                return found
            await self.pause(_PAUSE)

    def unknown(self, turn_id: str, session_id: str, request_id: str) -> Log:
        """The log of a turn that nobody has written down: it ended too long ago, or its replica was lost at once."""
        log = EventLog(turn_id, session_id, begins_after=BEYOND - 1)
        expired = age_of(turn_id) > self.retention
        log.end(_failure(TurnExpired() if expired else TurnInterrupted(), request_id))
        return log

    async def pause(self, seconds: float) -> None:
        """Wait.

        Raises:
            ShuttingDown: This process ends.
        """
        try:
            async with asyncio.timeout(seconds):
                await self._closed.wait()
        except TimeoutError:
            return
        raise ShuttingDown

    def close(self) -> None:
        """Tell all readers that this process ends."""
        self._closed.set()
        self._threads.shutdown(wait=False, cancel_futures=True)


class TurnElsewhere:
    """A turn that this process does not run. It is its own log.

    Attributes:
        record: Which turn.
    """

    def __init__(self, turns: StoredTurns, found: StoredTurn, request_id: str) -> None:
        """Tell a turn that was found.

        Args:
            turns: Where to read on.
            found: What was read of it. Its events are read again.
            request_id: Named in the last event, if this reader is the first to find that the turn was interrupted.
        """
        self.record: TurnRecord = found.record
        self._turns = turns
        self._ending = found.ending
        self._request_id = request_id
        self._quiet_since: float | None = None
        self._pause = _PAUSE / 2
        self._next_look = 0.0
        self._lost_at = time.monotonic() + _PATIENCE

    @property
    def log(self) -> Log:
        """What has happened so far."""
        return self

    @property
    def turn_id(self) -> str:
        """Names the turn in the ids of its events."""
        return self.record.turn_id

    @property
    def session_id(self) -> str:
        """The session that it belongs to."""
        return self.record.session_id

    def is_over(self, position: int) -> bool:
        """Whether nothing comes after this position any more."""
        return self._ending is not None and position >= self._ending[0]

    async def after(self, position: int) -> list[tuple[int, Event]]:
        """Wait for events; none when the turn has ended at or before this position."""
        while not self.is_over(position):
            try:
                found = await self._look(position)
            except ServiceError as error:  # with the same position, so that the client can come back
                self._ending = (position, "")
                return [(position, _failure(error, self._request_id))]
            if events := _events(found, position):
                return events
        return []

    async def until(self, position: int) -> list[tuple[int, Event]] | None:
        """The events up to this position, once they are written down; ``None`` if not all of them are soon."""
        events: list[tuple[int, Event]] = []
        end = time.monotonic() + _FIRST_WRITE
        while position and time.monotonic() < end:
            try:
                events = _events(await self._look(0), 0)
            except ServiceError:  # whoever reads on is told
                return None
            if self._ending or len(events) >= position:
                break
        seen = [(number, event) for number, event in events if number <= position]
        return seen if len(seen) == position else None

    async def ended(self) -> Ending:
        """Wait for the last event."""
        while True:
            try:
                found = await self._look(BEYOND)
            except ServiceError as error:
                return _failure(error, self._request_id)
            if found.ending:
                return cast(Ending, json.loads(found.ending[1]))

    async def response(self) -> ChatResponse:
        """Wait for the whole answer.

        Raises:
            RepeatedFailure: The turn failed.
            ShuttingDown: It was stopped because the service ended.
            TurnCancelled: It was cancelled.
        """
        return answer_of(await self.ended())

    async def cancel(self) -> None:
        """Ask its replica to stop it."""
        await self._turns.call(lambda: self._turns.records.cancel(self.record))

    async def _look(self, position: int) -> StoredTurn:
        """Read the turn with its events after this position, some time after the last time.

        Raises:
            TurnExpired: It is kept no longer, or its session is gone.
            RecordsUnavailable: The database cannot be reached for a while.
            ShuttingDown: This process ends.
        """
        await self._turns.pause(self._next_look - time.monotonic())
        try:
            found = await self._turns.call(lambda: self._turns.records.read(self.turn_id, position))
            if found and not found.events and not found.ending and self._is_gone(found):
                await self._interrupt()
        except Exception as error:
            kind = type(error).__name__
            logger.debug("session_id=<%s>, error=<%s> | a stored turn cannot be read", self.session_id, kind)
            if time.monotonic() > self._lost_at:
                raise RecordsUnavailable from error
            found = StoredTurn(record=self.record, begun=True)
        else:
            self._lost_at = time.monotonic() + _PATIENCE
        if found is None:
            raise TurnExpired
        self._ending = found.ending
        self._pause = _PAUSE if found.events else min(self._pause * 1.5, _LONGEST_PAUSE)
        self._next_look = time.monotonic() + self._pause
        return found

    def _is_gone(self, found: StoredTurn) -> bool:
        now = time.monotonic()
        if found.quiet < _DEAD:
            self._quiet_since = None
            return False
        self._quiet_since = self._quiet_since or now
        return now - self._quiet_since >= _WATCHED

    async def _interrupt(self) -> None:
        """Write down that the turn was interrupted. What is written then is read by all, whoever is first."""
        text = json.dumps(_failure(TurnInterrupted(), self._request_id))
        logger.warning(
            "session_id=<%s>, replica=<%s> | a turn was interrupted: its replica is gone",
            self.session_id,
            self.record.replica,
        )
        await self._turns.call(lambda: self._turns.records.interrupt(self.turn_id, (BEYOND, text)))


def _events(found: StoredTurn, position: int) -> list[tuple[int, Event]]:
    events: list[tuple[int, Event]] = []
    for number, text in [*found.events, *([found.ending] if found.ending else [])]:
        if number > position:
            position = number
            events.append((number, json.loads(text)))
    return events


def _failure(error: ServiceError, request_id: str) -> Failed:
    return failed(explain(error).body(request_id))
