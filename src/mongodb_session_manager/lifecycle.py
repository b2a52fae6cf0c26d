"""Which event of the SDK does what, and when what was recorded is written.

==========================================  =================================================================
event                                       what happens
==========================================  =================================================================
AgentInitialized                            load, if not already loaded
BeforeInvocation, first                     reload an agent whose last write was refused
BeforeInvocation, last                      the turn is open, in memory
BeforeModelCall, BeforeToolCall             claim the turn if nothing has claimed it yet
MessageAdded in a turn                      flush; the final answer rests until AfterInvocation
MessageAdded outside a turn                 flush as soon as no tool use waits for its result
AfterModelCall                              flush a redaction
AfterInvocation, first                      flush everything, release the turn
AfterInvocation, last                       flush what the application's own hooks changed; raise what went wrong
MessageAdded of a BidiAgent                 flush, unless it only keeps a place or a tool use waits for its result
MessageUpdated                              flush the replaced message
BidiAgentStop                               flush the rest; reload an agent whose last write was refused
==========================================  =================================================================

Callbacks are coroutine functions, because the SDK drops what anything else returns; the flush itself runs on a pool
thread, never on the event loop. Graphs and swarms: :mod:`mongodb_session_manager.graph_lifecycle`.
"""

from __future__ import annotations

import asyncio
import copy
import math
import uuid
import weakref
from collections.abc import Mapping
from contextlib import suppress
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any

from pymongo.errors import PyMongoError
from strands import Agent
from strands.bidi.hooks import BidiAgentStopEvent
from strands.hooks import (
    AfterInvocationEvent,
    AfterModelCallEvent,
    AgentInitializedEvent,
    BeforeInvocationEvent,
    BeforeModelCallEvent,
    BeforeToolCallEvent,
    HookRegistry,
    MessageAddedEvent,
    MessageUpdatedEvent,
)
from strands.multiagent.base import MultiAgentBase
from strands.session.repository_session_manager import RepositorySessionManager
from strands.tools._tool_helpers import generate_missing_tool_result_content
from strands.types.content import Message
from strands.types.session import SessionMessage

from . import documents
from .background import Background
from .bidi_messages import finished, is_unfinished
from .codec import encode
from .errors import SessionBusyError, SessionConflictError, SessionError
from .flushing import Flushing
from .graph_lifecycle import GraphLifecycle
from .held_turn import HeldTurn
from .metrics import Counters, counters
from .records import Invocation, Record
from .store import SessionStore
from .telemetry import add
from .turn_options import TurnOptions
from .unit_of_work import UnitOfWork
from .waiting import claim_when_free

if TYPE_CHECKING:
    from strands.types.agent import LocalAgent

__all__ = ["TurnLifecycle"]

_around: ContextVar[tuple[Invocation, ...]] = ContextVar("around", default=())
"""The invocations that the running code is inside of: a tool may invoke its own agent again."""


class TurnLifecycle(RepositorySessionManager):
    """The SDK's session logic over a unit of work, written turn by turn."""

    def __init__(
        self,
        session_id: str,
        *,
        store: SessionStore,
        background: Background,
        options: TurnOptions,
        session_fields: Mapping[str, Any],
    ) -> None:
        """Serve one session; no I/O.

        Args:
            session_id: Any text that UTF-8 can express.
            store: Where the session lies.
            background: The threads that flush and renew.
            options: How turns are kept.
            session_fields: What a new session starts with.
        """
        self.unit_of_work = UnitOfWork(
            session_id,
            store,
            turn_timeout=options.turn_timeout,
            session_fields=session_fields,
            drops_binary=options.binary_content == "drop",
            keeps_originals=options.redacted_originals == "keep",
        )
        super().__init__(session_id, session_repository=self.unit_of_work)
        self.unit_of_work.write_through = weakref.WeakMethod(self._write_through)  # no cycle: freed with its agent
        self._background = background
        self._options = options
        self._agents: dict[str, weakref.ref[LocalAgent]] = {}
        self._flushing = Flushing(self.unit_of_work, background, options)
        self._graphs = GraphLifecycle(self.unit_of_work, self._flushing, options)
        self._model_calls: dict[str, int] = {}

    # The SDK's events

    def register_hooks(self, registry: HookRegistry, **kwargs: Any) -> None:
        """Subscribe to the events of the table above. Called by the SDK."""
        # Outside any order that an application may choose: a hook of its own that raises must find the turn closed.
        first, last = -math.inf, math.inf
        registry.add_callback(AgentInitializedEvent, self._on_agent_initialized)
        registry.add_callback(BeforeInvocationEvent, self._on_invocation_asked, order=first)
        registry.add_callback(BeforeInvocationEvent, self._on_invocation_begins, order=last)
        registry.add_callback([BeforeModelCallEvent, BeforeToolCallEvent], self._on_effect, order=first)
        registry.add_callback(AfterModelCallEvent, self._on_model_answered)
        registry.add_callback(MessageAddedEvent, self._on_message_added)
        registry.add_callback(AfterInvocationEvent, self._on_invocation_ends, order=first)
        registry.add_callback(AfterInvocationEvent, self._on_invocation_ended, order=last)
        registry.add_callback(MessageUpdatedEvent, self._on_message_updated)
        registry.add_callback(BidiAgentStopEvent, self._on_connection_ended, order=first)
        self._graphs.register_hooks(registry)

    def _on_agent_initialized(self, event: AgentInitializedEvent[LocalAgent]) -> None:
        self.initialize(event.agent)

    async def _on_invocation_asked(self, event: BeforeInvocationEvent) -> None:
        agent, record = event.agent, self._heard(event.agent)
        record.report()
        if record.refusal is None and record.restored:
            return
        if _is_inside(record):
            # The invocation around this one raises it, and the next one reloads.
            self._raise_refusal(record)
        await self._background.run(partial(self.unit_of_work.load, agent.agent_id))
        await self._catch_up(agent)

    async def _repair_tail(self, agent: Agent) -> None:
        """Answer a tool use that has no result, as the SDK did for the history that the reload replaced."""
        last = agent.messages[-1]["content"] if agent.messages else []
        if unanswered := [block["toolUse"]["toolUseId"] for block in last if "toolUse" in block]:
            results = generate_missing_tool_result_content(unanswered)
            add("session_store.repairs", 1, {"session_store.repair.kind": "unanswered_tool_use"})
            await agent._append_messages({"role": "user", "content": results})

    async def _on_invocation_begins(self, event: BeforeInvocationEvent) -> None:
        record = self._heard(event.agent)
        if _is_inside(record):
            record.invoking.depth += 1
            return
        record.direct_call = False
        if self._options.on_busy == "wait" and record.kept_open <= 0:
            await self._wait_for_turn(event.agent, record)
        record.invoking, record.outage = Invocation(), None
        _around.set((*(each for each in _around.get() if each.depth), record.invoking))
        if record.kept_open <= 0:
            record.open_turn()
            self._flushing.settle(event.agent, record)  # a turn that was claimed already is renewed from here on

    async def _wait_for_turn(self, agent: Agent, record: Record) -> None:
        """Claim the turn before the invocation, when it is free, and bring the agent up to date."""
        timeout = self._options.busy_timeout
        if await claim_when_free(self.unit_of_work, self._background, record, timeout):
            try:
                await self._catch_up(agent)
            except BaseException:
                await self._background.run(partial(self.unit_of_work.flush, record, release=True))
                raise

    async def _catch_up(self, agent: Agent) -> None:
        """Give an agent the history that it was just loaded with, and ask whether the prompt still fits."""
        problem = "got the answer to its interrupt elsewhere" if agent._interrupt_state.activated else None
        self._restore(agent)
        if agent._interrupt_state.activated:
            problem = "now waits for the answer to an interrupt, which this prompt does not give"
        if problem:
            raise SessionConflictError(
                f"agent {agent.agent_id!r} in session {self.session_id!r} {problem}",
                session_id=self.session_id,
                agent_id=agent.agent_id,
            )
        await self._repair_tail(agent)

    async def _on_effect(self, event: BeforeModelCallEvent | BeforeToolCallEvent[LocalAgent]) -> None:
        record = self._heard(event.agent)
        if not record.turn_open:
            record.direct_call = isinstance(event, BeforeToolCallEvent) and isinstance(event.agent, Agent)
            if isinstance(event, BeforeToolCallEvent):
                self._raise_refusal(record)
            return
        self._raise_refusal(record)
        if self._options.durability == "turn":
            return
        if not record.claimed or record.has_changes or record.has_lapsed(self._options.turn_timeout):
            await self._flushing.run(event.agent, record, claim=True)

    async def _on_model_answered(self, event: AfterModelCallEvent) -> None:
        record = self._heard(event.agent)
        if record.has_changes and record.refusal is None and self._options.durability == "message":
            await self._flushing.run(event.agent, record, changes_only=True)

    async def _on_message_added(self, event: MessageAddedEvent[LocalAgent]) -> None:
        agent, record, message = event.agent, self._heard(event.agent), event.message
        if record.refusal is not None and not record.turn_open and isinstance(agent, Agent):
            # A repair of the history that the coming reload replaces.
            return
        if record.refusal is not None and not isinstance(agent, Agent):
            agent.messages[:] = [other for other in agent.messages if other is not message]
        self._raise_refusal(record)
        try:
            self._record_message(message, agent, record, again=_is_said_again(message, agent, record))
        except (TypeError, ValueError):
            # What cannot be stored is not said: memory and database stay the same.
            agent.messages[:] = [other for other in agent.messages if other is not message]
            raise
        if self._rests(message, agent, record):
            return
        self._record_state(agent, record)
        was_direct, record.direct_call = record.direct_call, False
        try:
            await self._flushing.run(agent, record)
        except SessionBusyError as error:
            if not was_direct:
                raise
            raise _ran_unrecorded(error) from error

    def _rests(self, message: Message, agent: LocalAgent, record: Record) -> bool:
        """Whether a message waits for a later one to be written with."""
        if not isinstance(agent, Agent):
            kept_back = record.turn_open and self._options.durability == "turn"
            return kept_back or record.unanswered_tool_use() or is_unfinished(message)
        calls_tool = any("toolUse" in block for block in message["content"])
        if record.turn_open:
            return self._options.durability == "turn" or (message["role"] == "assistant" and not calls_tool)
        if record.direct_call:
            return message["role"] == "user" or calls_tool
        # A repair before an invocation that waits for its turn is kept until the claim tells whether it is needed.
        return record.unanswered_tool_use() or self._options.on_busy == "wait"

    async def _on_message_updated(self, event: MessageUpdatedEvent[LocalAgent]) -> None:
        agent, record, message = event.agent, self._heard(event.agent), event.message
        self._raise_refusal(record)
        position = record.position_of(event.tracking_id)
        if position is None:
            raise SessionError(
                f"a message of agent {agent.agent_id!r} in session {self.session_id!r} was replaced that is not among"
                " its newest; reload the agent",
                session_id=self.session_id,
                agent_id=agent.agent_id,
            )
        self._record_change(message, position, record)
        record.replace(position, message)
        for each in (self._latest_agent_message[agent.agent_id], *self._held_records.get(agent.agent_id, [])):
            if each is not None and each.message_id == position:
                each.message = message
        if not self._rests(message, agent, record):
            self._record_state(agent, record)
            await self._flushing.run(agent, record)

    async def _on_connection_ended(self, event: BidiAgentStopEvent) -> None:
        agent, record = event.agent, self._heard(event.agent)
        if record.refusal is not None:
            # It was raised when it was found; the next connection begins with what is stored.
            with suppress(SessionError, PyMongoError):
                await self._background.run(partial(self.unit_of_work.load, agent.agent_id))
                self._restore(agent)
            return
        self._record_state(agent, record)
        if record.is_pending:
            await self._flushing.run(agent, record)

    async def _on_invocation_ends(self, event: AfterInvocationEvent) -> None:
        agent, record = event.agent, self._heard(event.agent)
        record.invoking.depth = max(0, record.invoking.depth - 1)
        last = not record.is_held
        # What fails here is raised by the last callback, so that the application's own hooks run all the same.
        try:
            if record.refusal is None:
                self._record_state(agent, record)
        except Exception as error:
            record.failure = error
        try:
            if last or self._options.durability == "message":
                await self._flushing.run(agent, record, release=last)
        except Exception as error:
            record.failure = record.failure or error
        finally:
            record.turn_open = not last

    async def _on_invocation_ended(self, event: AfterInvocationEvent) -> None:
        agent, record = event.agent, self._heard(event.agent)
        failure, record.failure = record.failure, None
        if record.refusal is not None:
            refusal = record.refusal.again()
            await self._bring_interrupt_back(agent, record)
            raise refusal
        if failure is not None:
            raise failure
        # Other callbacks may have removed messages, as for a model that keeps the conversation itself.
        self._prune_held_records(agent)
        if self._state_moved(agent):
            self._record_state(agent, record)
            await self._flushing.run(agent, record)

    async def _bring_interrupt_back(self, agent: Agent, record: Record) -> None:
        """Reload at once an agent that was refused while it waited for an answer: the SDK takes none otherwise."""
        if not record.was_interrupted:
            return
        record.was_interrupted = False
        with suppress(SessionError, PyMongoError):  # it stays stale then, and says so again
            await self._background.run(partial(self.unit_of_work.load, agent.agent_id))
            self._restore(agent)

    # What the application calls

    def initialize(self, agent: LocalAgent, **kwargs: Any) -> None:
        """Load the agent's history into it. The SDK calls this; a second call for the same agent changes nothing.

        Raises:
            SessionException: Another agent with this id uses this manager already.
        """
        known = self._agents.get(agent.agent_id)
        if known is not None and known() is agent:
            return
        record = self.unit_of_work.record(agent.agent_id)
        with self.unit_of_work.recording():
            self._restore_into(agent, record, **kwargs)
        record.start_counting(_counters(agent, 0))
        self._agents[agent.agent_id] = weakref.ref(agent)

    def reload(self, agent: LocalAgent | MultiAgentBase) -> None:
        """Bring an agent up to date with what is stored: messages, state, interrupts, conversation manager.

        What was recorded and not written is forgotten. A graph or swarm goes on from its stored state.

        Raises:
            SessionNotFoundError: The session was deleted.
        """
        if isinstance(agent, MultiAgentBase):
            self._graphs.reload(agent)
            return
        self.unit_of_work.load(agent.agent_id)
        self._restore(agent)

    def append_message(self, message: Message, agent: LocalAgent, **kwargs: Any) -> None:
        """Store a message at the end of the agent's history; one that is stored already is not stored twice.

        Args:
            message: Recognised by its ``tracking_id``, or, without one, as equal to the last message in role and text.
                With a known ``tracking_id`` and other content it replaces the stored message. A ``content`` that is a
                plain string is one text block.
            agent: Whose history it is. Its ``messages`` are not changed.
            **kwargs: For the SDK.
        """
        record = self._usable(agent)
        self._record_message(message, agent, record)
        self._write_through(record)

    def sync_agent(self, agent: LocalAgent, **kwargs: Any) -> None:
        """Store the agent's state if it changed."""
        record = self._usable(agent)
        self._record_state(agent, record)
        self._write_through(record)

    def redact_latest_message(self, redact_message: Message, agent: LocalAgent, **kwargs: Any) -> None:
        """Replace the newest message, in the database too."""
        record = self._usable(agent)
        with self.unit_of_work.recording():
            super().redact_latest_message(redact_message, agent, **kwargs)
        self._write_through(record)

    def claim(self, agent: LocalAgent) -> HeldTurn:
        """Hold the agent's turn by hand, for several calls: ``with manager.claim(agent): …``, or ``async with``.

        Raises:
            ValueError: The agent was not made with this session manager, or is a graph, which holds its own turn.
            SessionBusyError: On entering, if another turn is running.
        """
        if isinstance(agent, MultiAgentBase):
            raise ValueError(f"graph {agent.id!r} holds its turn from its first node to its last; claim an agent's")
        known = self._agents.get(agent.agent_id)
        if known is None or known() is not agent:
            raise ValueError(f"agent {agent.agent_id!r} was not made with this session manager")
        return HeldTurn(agent, self._flushing, partial(self._usable, agent), partial(self._record_state, agent))

    # How it is done

    def _restore(self, agent: LocalAgent) -> None:
        """Give a loaded agent back what is stored."""
        for tracker in (self._latest_agent_message, self._last_synced_internal_state, self._held_records):
            tracker.pop(agent.agent_id, None)
        with self.unit_of_work.recording():
            self._restore_into(agent, self._heard(agent))

    def _restore_into(self, agent: LocalAgent, record: Record, **kwargs: Any) -> None:
        if isinstance(agent, Agent):
            record.default_conversation_state = agent.conversation_manager.get_state()
        super().initialize(agent, **kwargs)
        if isinstance(agent, Agent) and record.loaded.data is not None:
            # What was just restored is what is stored; the superclass would take its first look at it for a change.
            self._last_synced_internal_state[agent.agent_id] = {
                "state_version": agent.state._get_version(),
                "interrupt_state_version": agent._interrupt_state._get_version(),
                "conversation_manager_state": copy.deepcopy(agent.conversation_manager.get_state()),
                "model_state": copy.deepcopy(agent._model_state),
            }
        # The conversation manager may have removed every message; the newest is still the one to redact.
        if self._latest_agent_message[agent.agent_id] is None:
            self._latest_agent_message[agent.agent_id] = next(reversed(record.window()), None)
        if not isinstance(agent, Agent):
            agent.messages = [finished(message) for message in agent.messages]
        record.restored = True

    def _heard(self, agent: LocalAgent) -> Record:
        record = self.unit_of_work.record(agent.agent_id)
        record.touch()
        return record

    def _usable(self, agent: LocalAgent) -> Record:
        record = self._heard(agent)
        self._raise_refusal(record)
        return record

    def _raise_refusal(self, record: Record) -> None:
        if record.refusal is not None:
            raise record.refusal.again()

    def _record_message(self, message: Message, agent: LocalAgent, record: Record, *, again: bool = False) -> None:
        stored = documents.as_blocks(message)
        tracking_id = message.get("tracking_id")
        if not tracking_id and _repeats_last(stored, record):
            return
        position = record.position_of(tracking_id) if tracking_id else None
        if position is not None and not again:
            self._record_change(stored, position, record)
            return
        if not tracking_id:
            message["tracking_id"] = stored["tracking_id"] = str(uuid.uuid4())
        with self.unit_of_work.recording():
            super().append_message(stored, agent)
        if "metrics" in message.get("metadata", {}):
            self._model_calls[agent.agent_id] = self._model_calls.get(agent.agent_id, 0) + 1

    def _record_change(self, message: Message, position: int, record: Record) -> None:
        if record.message_at(position) != encode(record.stored_form(message)):
            record.change_message(SessionMessage.from_message(message, position))

    def _record_state(self, agent: LocalAgent, record: Record) -> None:
        try:
            with self.unit_of_work.recording():
                super().sync_agent(agent)
            record.set_data(_configuration(agent))
        except SessionError as error:
            record.refuse(error)
            self._flushing.settle(agent, record)
            raise
        record.count_calls(_counters(agent, self._model_calls.get(agent.agent_id, 0)))

    def _state_moved(self, agent: Agent) -> bool:
        """Whether the agent's state was set since it was recorded."""
        versions = self._last_synced_internal_state[agent.agent_id]
        now = (agent.state._get_version(), agent._interrupt_state._get_version())
        return now != (versions["state_version"], versions["interrupt_state_version"])

    def _write_through(self, record: Record) -> None:
        """After a write from outside: flush, unless that would block an event loop that has a flush coming."""
        if record.turn_open and _runs_a_loop():
            return
        self._flushing.here(self._agent_of(record), record)

    def _agent_of(self, record: Record) -> LocalAgent | None:
        known = self._agents.get(record.agent_id) if record.part == "agents" else None
        return known() if known else None

    @property
    def pending(self) -> int:
        """How many changes are recorded and not known to be stored: 0 when everything is. No I/O.

        What was held during an outage and refused in the end counts until :meth:`close` or the agent's next call has
        raised it.
        """
        return self.unit_of_work.pending

    # Graphs and swarms

    def initialize_multi_agent(self, source: MultiAgentBase, **kwargs: Any) -> None:
        """Give a graph or swarm the state that is stored of it. The SDK has this done when one is made."""
        self._graphs.initialize(source)

    def sync_multi_agent(self, source: MultiAgentBase, **kwargs: Any) -> None:
        """Store the state of a graph or swarm if it changed."""
        self._write_through(self._graphs.record(source))


def _is_inside(record: Record) -> bool:
    """Whether an invocation begins inside one of the same agent, whose turn it shares.

    Told by the context and not by counting: an invocation that was abandoned with its event loop never ends.
    """
    return record.invoking.depth > 0 and record.invoking in _around.get()


def _is_said_again(message: Message, agent: LocalAgent, record: Record) -> bool:
    """Whether a message enters the history once more: an application may ask with one and the same dictionary again.

    A continuation that the SDK merged into the last message is announced under that message's id too, but takes its
    place.
    """
    tracking_id = message.get("tracking_id")
    position = record.position_of(tracking_id) if tracking_id else None
    if position is None:
        return False
    held = sum(other.get("tracking_id") == tracking_id for other in agent.messages)
    return held > 1 or position < record.next_position - 1


def _repeats_last(message: Message, record: Record) -> bool:
    last = record.message_at(record.next_position - 1)
    if last is None or last.get("role") != message["role"] or _text(last) != _text(message):
        return False
    # Text alone does not tell two pictures apart.
    return all("text" in block or encode(block) in documents.as_blocks(last)["content"] for block in message["content"])


def _text(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, str):
        return content
    return "".join(str(block.get("text", "")) for block in content or ())


def _counters(agent: LocalAgent, model_calls: int) -> Counters:
    """What the agent counts; a bidirectional one counts nothing yet."""
    return counters(agent, model_calls) if isinstance(agent, Agent) else {}


def _configuration(agent: LocalAgent) -> dict[str, Any]:
    """What the agent is, beside its state: encoded, unknown parts left out."""
    config = agent.model.get_config()
    model = config.get("model_id") if isinstance(config, Mapping) else getattr(config, "model_id", None)
    found = {"name": agent.name, "model": model, "system_prompt": agent.system_prompt}
    return {name: encode(value) for name, value in found.items() if isinstance(value, str)}


def _ran_unrecorded(error: SessionBusyError) -> SessionBusyError:
    return SessionBusyError(
        f"{error}; the tool called by hand has run, and its call is not recorded",
        session_id=error.session_id,
        agent_id=error.agent_id,
        retry_after=error.retry_after,
    )


def _runs_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
