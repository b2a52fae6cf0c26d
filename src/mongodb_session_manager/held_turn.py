"""An agent's turn, held by hand over several calls."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

from strands.types.agent import LocalAgent

from .flushing import Flushing
from .records import Record

__all__ = ["HeldTurn"]


class HeldTurn:
    """An agent's turn, held from entering to leaving. Entering claims it, leaving writes the rest and releases it."""

    def __init__(
        self,
        agent: LocalAgent,
        flushing: Flushing,
        usable: Callable[[], Record],
        record_state: Callable[[Record], None],
    ) -> None:
        """Prepare.

        Args:
            agent: Whose turn it is.
            flushing: Writes what is recorded.
            usable: Gives the agent's record, or raises why nothing of the agent may be written.
            record_state: Records the agent's state.
        """
        self._agent = agent
        self._flushing = flushing
        self._usable = usable
        self._record_state = record_state
        self._record: Record | None = None
        self._entering = threading.Lock()
        self._entered = False

    def _enter(self) -> None:
        with self._entering:
            self._claim()
            self._entered = True

    def _leave(self) -> None:
        """Give back what was entered although its caller is gone. If that fails, the turn expires."""
        with self._entering, suppress(Exception):
            if self._entered:
                self._exit()

    def _claim(self) -> None:
        record = self._record = self._usable()
        if not record.turn_open:
            record.open_turn()
        record.kept_open += 1
        try:
            self._flushing.here(self._agent, record, claim=True)
        except BaseException:
            self._let_go(record)
            raise

    def _exit(self) -> None:
        record = self._record
        if record is None or not self._entered:
            raise RuntimeError("this turn is not held: enter it before leaving it")
        self._entered = False
        record.touch()
        last = record.kept_open == 1 and record.invoking.depth == 0
        try:
            if record.refusal is None:
                self._record_state(record)
        finally:
            try:
                self._flushing.here(self._agent, record, release=last)
            finally:
                self._let_go(record)

    def _let_go(self, record: Record) -> None:
        record.kept_open -= 1
        record.turn_open = record.is_held

    def __enter__(self) -> Self:
        """Claim the turn."""
        self._enter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write the rest and release the turn."""
        self._exit()

    async def __aenter__(self) -> Self:
        """Claim the turn, off the event loop."""
        background = self._flushing.background
        try:
            await background.run(self._enter)
        except asyncio.CancelledError:
            # It is claimed all the same, and nobody will leave.
            await background.run(self._leave)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write the rest and release the turn, off the event loop."""
        await self._flushing.background.run(self._exit)
