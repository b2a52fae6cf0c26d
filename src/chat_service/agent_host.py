"""The service without a server: it runs in a thread of its own, for callers on whatever event loop."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from fastapi import FastAPI

from .config import Settings
from .events import Ending, Event
from .exceptions import UnknownSession
from .models import ChatRequest
from .security.caller import Caller
from .turns import AnyTurn

__all__ = ["AgentHost"]

T = TypeVar("T")

_REQUEST = "function"  # what the log calls those who ask so


class AgentHost:
    """Runs the turns of one process, from :meth:`start` to :meth:`close`."""

    def __init__(self, app: FastAPI) -> None:
        """Prepare; nothing runs yet.

        Args:
            app: Of :func:`~chat_service.main.create_app`.
        """
        self.app = app
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="agent-host", daemon=True)
        self._pid = os.getpid()
        self._ended: asyncio.Event = asyncio.Event()
        self._life: Future[None] | None = None

    @property
    def is_running(self) -> bool:
        """Whether it can be asked. A child of the process that started it cannot."""
        return self._life is not None and not self._life.done() and self._pid == os.getpid()

    @property
    def settings(self) -> Settings:
        """What it was made with."""
        settings: Settings = self.app.state.settings
        return settings

    def start(self) -> None:
        """Start the database, if it is an embedded one, and whatever else is needed. Blocks.

        Raises:
            ConfigurationError: A setting cannot work. Other errors as they come.
        """
        begun: Future[None] = Future()
        self._thread.start()
        self._life = self._submitted(self._live(begun))
        try:
            begun.result()
        except BaseException:
            self._leave()
            raise

    def close(self) -> None:
        """End running turns, and everything else. Blocks."""
        if self._life and self._pid == os.getpid():
            self._loop.call_soon_threadsafe(self._ended.set)
            self._life.result()
            self._leave()

    async def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Let something be done there, and wait for it here."""
        return await asyncio.wrap_future(self._submitted(work))

    async def begin(self, request: ChatRequest, owner: str | None, *, must_exist: bool) -> AnyTurn:
        """Start a turn, once it is accepted.

        Args:
            request: The question.
            owner: Whose session it is to be.
            must_exist: Whether the session must be there.

        Raises:
            UnknownSession: It is not. Others as :meth:`~chat_service.turns.Turns.begin` raises them.
        """
        return await self.call(self._begin(request, owner, must_exist))

    async def events(self, turn: AnyTurn) -> AsyncIterator[Event]:
        """What happens in a turn, from its beginning."""
        position = 0
        while events := await self.call(turn.log.after(position)):
            for _, event in events:
                yield event
            position = events[-1][0]

    async def ended(self, turn: AnyTurn) -> Ending:
        """Wait for the end of a turn."""
        return await self.call(turn.log.ended())

    def _leave(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _begin(self, request: ChatRequest, owner: str | None, must_exist: bool) -> AnyTurn:
        caller = Caller(owner, counted_as=_REQUEST)
        if must_exist:
            summary = await self.app.state.session_factory.sessions.aio.get(request.session_id)
            if summary is None or not caller.may_use(summary.owner):
                raise UnknownSession
        turn: AnyTurn = await self.app.state.turns.begin(request, _REQUEST, caller)
        return turn

    async def _live(self, begun: Future[None]) -> None:
        try:
            async with self.app.router.lifespan_context(self.app):
                begun.set_result(None)
                await self._ended.wait()
        except BaseException as error:
            if not begun.done():
                begun.set_exception(error)
                return
            raise

    def _submitted(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)
