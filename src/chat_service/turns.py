"""Turns: questions are accepted, told wherever they are read, cancelled, and ended with the service."""

from __future__ import annotations

import asyncio
import logging
import uuid
from contextlib import ExitStack
from typing import TypeAlias

from mongodb_session_manager import SessionManager

from .agent_maker import AGENT_ID, AgentMaker, prompt
from .config import Settings
from .events import BEYOND, EventId, Log
from .exceptions import IdempotencyKeyReused, ShuttingDown, UnknownSession
from .log import bind
from .metrics import ServiceMetrics, TurnMetrics
from .models import ChatRequest
from .rag.grounding import Asked, Grounding
from .rag.passages import Retriever
from .security.caller import Caller
from .security.capacity import Capacity
from .security.rate_limits import RateLimits
from .stored_turn import StoredTurns, TurnElsewhere
from .stores.session_factory import SessionFactory
from .stores.tally import StoreUse, counted_by
from .turn import Turn
from .turn_records import StoredTurn, TurnRecord, TurnRecords, digest, new_turn_id
from .turn_writer import TurnWriter

__all__ = ["AnyTurn", "Turns"]

logger = logging.getLogger(__name__)

AnyTurn: TypeAlias = Turn | TurnElsewhere
"""A turn of this process, or one that is told from what is written down of it."""

_LONGEST_TITLE = 80
_MOST_USES = 1_000  # sessions of which one remembers what their last turn asked of the database
_CANCEL_SECONDS = 5.0  # how long one waits for a cancelled turn to end


class Turns:
    """The turns that run in this process, and a way to those of the others."""

    def __init__(
        self,
        settings: Settings,
        factory: SessionFactory,
        agents: AgentMaker,
        limits: RateLimits,
        records: TurnRecords,
        metrics: ServiceMetrics,
        retriever: Retriever | None = None,
    ) -> None:
        self._settings = settings
        self._retriever = retriever
        self._factory = factory
        self._agents = agents
        self._limits = limits
        self._metrics = metrics
        self._capacity = Capacity(settings.max_concurrent_turns, settings.max_queued_turns, settings.queue_seconds)
        self._stored = StoredTurns(records, settings.turn_retention_seconds)
        self._writer = TurnWriter(records, self._cancel_here)
        self._running: dict[asyncio.Task[None], Turn] = {}
        self._uses: dict[str, StoreUse] = {}
        self._stopped: asyncio.Task[None] | None = None

    async def begin(
        self, request: ChatRequest, request_id: str, caller: Caller, idempotency_key: str | None = None
    ) -> AnyTurn:
        """Open the session, start the turn, and wait until it is accepted; or find the turn that was begun before.

        Args:
            request: The question. Without a ``session_id`` a new session begins.
            request_id: Named in errors and in the log.
            caller: Who asks. A new session becomes his; another one must be.
            idempotency_key: The same request with the same key gets the same turn, unless that gave no answer.

        Raises:
            IdempotencyKeyReused: The key came with another request.
            SessionError: The session is busy, has moved on, or cannot be opened.
            UnknownSession: There is no such session (outside development), or it is not the caller's.
            RateLimited: The caller asks too often.
            Overloaded: Too many turns are running.
            ShuttingDown: The service ends.
        """
        measured = self._metrics.asked()
        try:
            turn = await self._begin(request, request_id, caller, idempotency_key, measured)
        except BaseException as error:
            measured.not_started(error)
            raise
        measured.not_started(None)
        return turn

    async def _begin(
        self,
        request: ChatRequest,
        request_id: str,
        caller: Caller,
        idempotency_key: str | None,
        measured: TurnMetrics,
    ) -> AnyTurn:
        if self._stopped:
            raise ShuttingDown
        await self._limits.count(caller.counted_as)
        record = self._record(request, caller, idempotency_key)
        bind(session_id=record.session_id)
        asked = Asked(request.query, request.selected_text, request.top_k)
        grounding = Grounding(self._retriever, self._settings.retrieval, asked)
        turn = Turn(record, grounding, request_id=request_id, metrics=measured)
        self._writer.follow(turn)
        try:
            if record.key and (earlier := await self._earlier(record, request_id)):
                self._writer.drop(turn)
                return earlier
        except Exception as error:
            self._refuse(turn, error)
            raise
        try:
            with ExitStack() as place:
                await self._capacity.enter()
                place.callback(self._capacity.leave)
                await self._start(turn, request, caller, place)
        except Exception as error:
            self._refuse(turn, error)
            await self._release(turn)
            raise
        return turn

    def _record(self, request: ChatRequest, caller: Caller, idempotency_key: str | None) -> TurnRecord:
        session_id = request.session_id or f"session_{uuid.uuid4().hex[:16]}"
        question = request.model_dump(mode="json", exclude={"stream"})  # how it is read is another matter
        return TurnRecord(
            turn_id=new_turn_id(),
            session_id=session_id,
            owner=caller.owner,
            replica=self._writer.replica,
            key=digest(caller.owner, idempotency_key) if idempotency_key else None,
            body=digest(question) if idempotency_key else None,
        )

    async def _earlier(self, record: TurnRecord, request_id: str) -> AnyTurn | None:
        """The turn that has the key, once it is accepted. ``None`` when this one has it now."""
        while found := await self._stored.claim(record):
            if found.record.body != record.body:
                raise IdempotencyKeyReused
            if turn := self._writer.find(found.record.turn_id):
                await turn.accepted()
                return turn
            if found.begun:
                return TurnElsewhere(self._stored, found, request_id)
            await self._stored.wait_for_begin(found, is_ours=found.record.replica == self._writer.replica)
        return None

    def _refuse(self, turn: Turn, error: Exception) -> None:
        turn.fail(error)
        self._writer.drop(turn)

    async def _release(self, turn: Turn) -> None:
        if turn.record.key:
            try:
                await self._stored.call(lambda: self._stored.records.release(turn.record))
            except Exception as failure:  # who asks for the key next finds that nobody begins it
                kind = type(failure).__name__
                logger.warning("session_id=<%s>, error=<%s> | a key was not released", turn.session_id, kind)

    async def _start(self, turn: Turn, request: ChatRequest, caller: Caller, place: ExitStack) -> None:
        owner = None if request.session_id else caller.owner  # of a new session; else it is as stored
        with counted_by(turn.tally):
            manager = await self._factory.open_session(
                turn.session_id, agent_id=AGENT_ID, owner=owner, turn_timeout=self._settings.turn_timeout
            )
        if not caller.may_use(manager.owner):
            raise UnknownSession
        await self._check_known(request, caller, manager)
        if self._stopped:  # it may have come to that meanwhile
            raise ShuttingDown
        turn.check_wanted()
        agent = self._agents.make(manager, request.options(), searches=turn.searches)
        first = not agent.messages
        with counted_by(turn.tally):
            task = asyncio.create_task(turn.run(agent, prompt(request.query, request.selected_text)))
        self._running[task] = turn
        taken = place.pop_all()
        task.add_done_callback(lambda _: taken.close())
        task.add_done_callback(self._ended)
        await turn.accepted()
        if first:
            await self._give_title(turn.session_id, request.query)

    def _ended(self, task: asyncio.Task[None]) -> None:
        turn = self._running.pop(task)
        self._uses.pop(turn.session_id, None)  # the newest last
        self._uses[turn.session_id] = turn.tally.use()
        if len(self._uses) > _MOST_USES:
            del self._uses[next(iter(self._uses))]
        self._writer.hurry()

    async def resume(self, seen: EventId, session_id: str | None, request_id: str, caller: Caller) -> Log | None:
        """Find the events after the one that a client has seen.

        Args:
            seen: Without a turn it is the one that runs in the session.
            session_id: The session of the turn, if the client says so.
            request_id: Named in errors and in the log.
            caller: Who reads.

        Returns:
            The log of the turn; ``None`` when nothing comes after that event any more. Of a turn that nobody knows, a
            log whose last event says so.

        Raises:
            ShuttingDown: The service ends.
        """
        if self._stopped:
            raise ShuttingDown
        turn = await self._find(seen, session_id, request_id)
        if turn and caller.may_use(turn.record.owner) and session_id in (None, turn.session_id):
            return None if turn.is_over(seen.position) else turn.log
        if seen.turn_id is None or seen.position >= BEYOND:
            return None
        return self._stored.unknown(seen.turn_id, session_id or "", request_id)

    async def _find(self, seen: EventId, session_id: str | None, request_id: str) -> AnyTurn | None:
        found: StoredTurn | None = None
        if seen.turn_id:
            if turn := self._writer.find(seen.turn_id):
                return turn
            found = await self._stored.read(seen.turn_id)
        elif session_id:
            return await self._running_in(session_id, request_id)
        return TurnElsewhere(self._stored, found, request_id) if found else None

    async def _running_in(self, session_id: str, request_id: str) -> AnyTurn | None:
        if turn := self._writer.find_running(session_id):
            return turn
        found = await self._stored.unfinished(session_id)
        if found is None or self._has_ended_here(found):
            return None
        return TurnElsewhere(self._stored, found, request_id)

    def _has_ended_here(self, found: StoredTurn) -> bool:
        """Whether it is a turn of this process that has ended, which is not written down yet."""
        turn = self._writer.find(found.record.turn_id)
        return turn is not None and turn.log.ending is not None

    async def running(self, session_id: str) -> str | None:
        """The id of the turn that runs in a session, on whichever replica.

        Raises:
            ShuttingDown: The service ends.
        """
        if turn := self._writer.find_running(session_id):
            return turn.record.turn_id
        found = await self._stored.call(lambda: self._stored.records.unfinished(session_id))
        return found.record.turn_id if found and not self._has_ended_here(found) else None

    def use_of_last(self, session_id: str) -> StoreUse | None:
        """What the last turn of a session asked of the database; ``None`` when this process has not run it."""
        return self._uses.get(session_id)

    async def cancel(self, session_id: str, request_id: str) -> bool:
        """Stop the turn that runs in a session, wherever it runs, and wait some seconds for its end.

        Args:
            session_id: One that its caller may use.
            request_id: Named in errors and in the log.

        Returns:
            Whether a turn was stopped: not if none ran, or if it came to its own end before.

        Raises:
            ShuttingDown: The service ends.
        """
        if self._stopped:
            raise ShuttingDown
        turn = await self._running_in(session_id, request_id)
        turn = turn or self._writer.find_running(session_id, is_accepted=False)
        if turn is None:
            return False
        if isinstance(turn, Turn):
            self._cancel_here(turn)
        else:
            await turn.cancel()
        try:
            async with asyncio.timeout(_CANCEL_SECONDS):
                ending = await turn.log.ended()
        except TimeoutError:
            return True
        return ending["event"] == "stopped" or (ending["event"] == "error" and ending["code"] == "turn_cancelled")

    def _cancel_here(self, turn: Turn) -> None:
        """Stop a turn; a tool that does not end in time is left behind."""
        turn.stop("cancelled")
        for task, running in self._running.items():
            if running is turn:
                asyncio.get_running_loop().call_later(self._settings.shutdown_seconds, task.cancel)

    async def forget(self, session_id: str) -> None:
        """Remove what is written down of the turns of a session that was deleted. At the latest it expires."""
        try:
            await self._stored.call(lambda: self._stored.records.forget(session_id))
        except Exception as error:
            kind = type(error).__name__
            logger.warning("session_id=<%s>, error=<%s> | records of its turns are left", session_id, kind)

    def stop(self) -> asyncio.Task[None]:
        """End all turns within ``SHUTDOWN_SECONDS`` and two, and refuse new ones. May be called again."""
        if self._stopped is None:
            self._stopped = asyncio.create_task(self._stop())
        return self._stopped

    async def _stop(self) -> None:
        for turn in self._running.values():
            turn.stop("shutdown")
        await self._until_ended(self._settings.shutdown_seconds)
        for task in self._running:
            task.cancel()
        await self._until_ended(1.0)
        for turn in self._running.values():
            turn.abandon()
        await self._writer.close()
        self._stored.close()

    async def _until_ended(self, seconds: float) -> None:
        if self._running:
            await asyncio.wait(self._running, timeout=seconds)

    async def _check_known(self, request: ChatRequest, caller: Caller, manager: SessionManager) -> None:
        if request.session_id is None or caller.owner or self._settings.environment == "development":
            return  # a session with an owner is stored
        if not await manager.aio.check_session_exists():
            raise UnknownSession

    async def _give_title(self, session_id: str, query: str) -> None:
        # Beside the turn, which it must not disturb: a session without a title is still a session.
        try:
            summary = await self._factory.sessions.aio.get(session_id)
            if summary and not summary.title:
                await self._factory.sessions.aio.patch(session_id, title=_title(query))
        except Exception as error:
            logger.warning("session_id=<%s>, error=<%s> | no title was set", session_id, type(error).__name__)


def _title(query: str) -> str:
    line = " ".join(query.split())
    return line if len(line) <= _LONGEST_TITLE else line[:_LONGEST_TITLE].rsplit(" ", 1)[0] + " …"
