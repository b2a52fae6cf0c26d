"""Writes down the turns of this process, for the other ones: one task, in the background of all turns.

While a turn runs it wakes about once a second, writes what is new of all turns in one command, and says in another one
that this process is alive, which brings what somebody wants cancelled. The end of a turn wakes it at once. While no
turn runs it sends nothing. When the database cannot be reached the turns go on; what is missing is written later.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from .events import Event
from .turn import Turn
from .turn_records import Batch, TurnChange, TurnRecords

__all__ = ["TurnWriter"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

_INTERVAL = 1.0
_APART = 0.05  # seconds between two writes, so that many ends share one
_LARGEST_LOG = 1_000_000  # bytes of a turn
_LONGEST_LOG = 10_000  # events of a turn
_PATIENCE = 600.0  # seconds for which a turn that has ended is offered to a database that cannot be reached
_MOST_WAITING = 1_000  # such turns


class _Progress:
    """How much of a turn is written down."""

    def __init__(self, turn: Turn) -> None:
        self.turn = turn
        self.ended_at: float | None = None
        self._position = 0
        self._bytes = 0
        self._is_full = False
        self._is_begun = False

    @property
    def runs(self) -> bool:
        """Whether it may still bring something."""
        return self.turn.log.ending is None

    def change(self) -> TurnChange | None:
        """What is new."""
        if not self.turn.is_accepted:
            return None
        ending = self.turn.log.ending
        news = self.turn.log.since(self._position)
        batch = None if self._is_full or not news else self._batch(news)
        if batch is None and ending is None and self._is_begun:
            return None
        return TurnChange(
            record=self.turn.record,
            batch=batch,
            ending=ending and (news[-1][0], json.dumps(ending)),
            frees_key=ending is not None and not self.turn.has_answered,
            forgets=ending is not None and ending["event"] == "error" and ending["code"] == "session_not_found",
        )

    def _batch(self, news: list[tuple[int, Event]]) -> Batch | None:
        """The new events but for the last one of the turn, as far as they fit."""
        first = news[0][0]
        texts: list[str] = []
        size = self._bytes
        for position, event in news:
            text = json.dumps(event)
            size += len(text) + 1
            if event is self.turn.log.ending:
                break
            if size > _LARGEST_LOG or position > _LONGEST_LOG:
                self._is_full = True
                break
            texts.append(text)
        return Batch(first, texts) if texts else None

    def written(self, change: TurnChange) -> None:
        """Note that this is written down."""
        self._is_begun = True
        if change.batch:
            self._position = change.batch.last
            self._bytes += len(change.batch.text) + 1


class TurnWriter:
    """Writes down what happens in the turns of this process.

    Attributes:
        replica: Names this process among those of the service.
    """

    def __init__(self, records: TurnRecords, cancel: Callable[[Turn], None]) -> None:
        """Prepare; nothing runs yet.

        Args:
            records: Where to write.
            cancel: Stops a turn that another replica wants cancelled.
        """
        self.replica = secrets.token_hex(8)
        self._records = records
        self._cancel = cancel
        self._followed: dict[str, _Progress] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="turn-records")
        self._needed = asyncio.Event()
        self._pressing = asyncio.Event()
        self._closing = False
        self._heard_of = 0.0  # when this process last said that it is alive
        self._is_failing = False
        self._task: asyncio.Task[None] | None = None

    def follow(self, turn: Turn) -> None:
        """Write down what happens in a turn, from its acceptance to its end."""
        self._followed[turn.record.turn_id] = _Progress(turn)
        self._needed.set()
        if self._task is None:
            self._task = asyncio.create_task(self._work())

    def drop(self, turn: Turn) -> None:
        """Follow a turn no more: it was refused."""
        self._followed.pop(turn.record.turn_id, None)

    def hurry(self) -> None:
        """Write soon: a turn has ended."""
        self._pressing.set()

    def find(self, turn_id: str) -> Turn | None:
        """A turn of this process that runs or is not written down to its end."""
        progress = self._followed.get(turn_id)
        return progress.turn if progress else None

    def find_running(self, session_id: str, *, is_accepted: bool = True) -> Turn | None:
        """The turn of this process that runs in a session, or one that waits for that."""
        found = (progress.turn for progress in self._followed.values() if progress.runs)
        return next((turn for turn in found if (turn.session_id, turn.is_accepted) == (session_id, is_accepted)), None)

    async def close(self, seconds: float = 1.0) -> None:
        """Write what is left, for so many seconds at most."""
        self._closing = True
        self._needed.set()
        self._pressing.set()
        if self._task:
            await asyncio.wait({self._task}, timeout=seconds)
            self._task.cancel()
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _work(self) -> None:
        is_last = False
        while not is_last:
            await self._needed.wait()
            try:
                async with asyncio.timeout(_INTERVAL):
                    await self._pressing.wait()
            except TimeoutError:
                pass
            self._pressing.clear()
            is_last = self._closing
            await self._round()
            await asyncio.sleep(0 if self._closing else _APART)

    async def _round(self) -> None:
        """Say that this process is alive, if a turn runs, then write. In this order a turn never looks abandoned."""
        try:
            now = time.monotonic()
            if now - self._heard_of >= _INTERVAL and any(progress.runs for progress in self._followed.values()):
                wanted = await self._call(lambda: self._records.beat(self.replica))
                self._heard_of = now
                self._stop(wanted)
            await self._write()
        except Exception as error:
            self._tell(error)
        else:
            self._tell(None)
        self._let_go()

    async def _write(self) -> None:
        changes = {key: change for key, progress in self._followed.items() if (change := progress.change())}
        if not changes:
            return
        await self._call(lambda: self._records.write(list(changes.values())))
        for turn_id, change in changes.items():
            if progress := self._followed.get(turn_id):
                progress.written(change)
                if change.ending:
                    del self._followed[turn_id]

    def _stop(self, wanted: list[str]) -> None:
        for turn_id in wanted:
            if turn := self.find(turn_id):
                self._cancel(turn)

    def _let_go(self) -> None:
        """Give up what cannot be written for long, and rest when nothing is left."""
        now = time.monotonic()
        ended = [(key, progress) for key, progress in self._followed.items() if not progress.runs]
        for count, (turn_id, progress) in enumerate(reversed(ended)):
            progress.ended_at = progress.ended_at or now
            if count >= _MOST_WAITING or now - progress.ended_at > _PATIENCE or not progress.turn.is_accepted:
                del self._followed[turn_id]
        if not self._followed and not self._closing:
            self._needed.clear()

    def _tell(self, error: Exception | None) -> None:
        if (error is not None) == self._is_failing:
            return
        self._is_failing = error is not None
        if error:
            kind = type(error).__name__
            logger.warning("error=<%s> | turns cannot be written down for other replicas, they go on without", kind)
        else:
            logger.info("turns are written down again")

    async def _call(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)
