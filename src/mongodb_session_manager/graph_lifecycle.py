"""Which event of a graph or swarm does what, and when its state is written.

==========================================  =================================================================
event                                       what happens
==========================================  =================================================================
MultiAgentInitialized                       load, and give the graph the state to go on from
BeforeMultiAgentInvocation, first           reload a graph whose last write was refused
BeforeMultiAgentInvocation, last            claim the turn, unless an answer to an interrupt is awaited
BeforeNodeCall                              claim the turn if nothing has claimed it yet
AfterNodeCall                               flush, unless no node is left to run
AfterMultiAgentInvocation, first            flush, release the turn
AfterMultiAgentInvocation, last             raise what went wrong
==========================================  =================================================================

A graph inside another one keeps a state and a turn of its own. Its last flush waits until the outer graph has written
that the node is finished: whatever is stored between the two makes the outer graph go on inside the inner one, where
nothing is left, or behind it.
"""

from __future__ import annotations

import asyncio
import copy
import math
import secrets
import weakref
from collections.abc import Iterable
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from strands.hooks import (
    AfterMultiAgentInvocationEvent,
    AfterNodeCallEvent,
    BeforeMultiAgentInvocationEvent,
    BeforeNodeCallEvent,
    HookRegistry,
    MultiAgentInitializedEvent,
)
from strands.multiagent.base import MultiAgentBase
from strands.multiagent.graph import Graph, GraphNode
from strands.multiagent.swarm import Swarm

from .codec import decode, encode
from .errors import SessionBusyError, SessionConflictError, SessionError
from .flushing import Flushing
from .graph_states import is_interrupted, is_resumable, nothing_is_left, to_go_on_from, with_answer, with_nodes_left
from .records import Record
from .turn_options import TurnOptions
from .unit_of_work import UnitOfWork
from .waiting import claim_when_free

__all__ = ["GraphLifecycle"]

_RUN = "_run"
"""Beside the SDK's fields of a stored state: which run it belongs to, and inside which run of an outer graph."""


@dataclass(eq=False)
class _Kept:
    """A graph as this session keeps it.

    Attributes:
        record: What was loaded of it, and recorded since.
        beginning: Its state before anything has run, as the SDK serializes it.
        holder: The object whose memory is what was loaded last.
        run: Its invocation, while one is running.
        token: Tells the run that its state belongs to from any other.
        within: The token of the outer graph's run in which it ran.
        answering: Whether an invocation begins that answers an interrupt.
    """

    record: Record
    beginning: dict[str, Any] = field(default_factory=dict)
    holder: weakref.ref[MultiAgentBase] | None = None
    run: _Run | None = None
    token: str | None = None
    within: str | None = None
    answering: bool = False

    def is_held_by(self, source: MultiAgentBase) -> bool:
        return self.record.restored and self.holder is not None and self.holder() is source


@dataclass(eq=False)
class _Run:
    """An invocation of a graph.

    Attributes:
        kept: Whose it is.
        step: The node of an outer graph whose executor is this graph, if there is one.
        running: The ids of the nodes that run.
        batch: Nodes that ended since none was running.
        finished: By node, the graphs that ran as it, and wait until it is recorded that it ended.
        recorded: Those of which it is, and which wait for the flush.
    """

    kept: _Kept
    step: _Step | None
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)
    claiming: asyncio.Lock = field(default_factory=asyncio.Lock)
    running: set[str] = field(default_factory=set)
    batch: list[GraphNode] = field(default_factory=list)
    finished: dict[str, list[_Kept]] = field(default_factory=dict)
    recorded: list[_Kept] = field(default_factory=list)

    def completed(self, state: dict[str, Any], graph: Graph, node_id: str | None) -> dict[str, Any]:
        """The graph's state after a node has ended, or at the end, with all that is needed to go on from it."""
        if node_id is None:
            return with_nodes_left(state, graph, {node.node_id for node in graph.state.interrupted_nodes}, None)
        self.batch.append(graph.nodes[node_id])
        batch = None if self.running else self.batch
        state = with_nodes_left(state, graph, self.running, batch)
        if batch:
            self.batch = []
        return with_answer(state, node_id, self.running) if is_interrupted(graph) else state


@dataclass(eq=False)
class _Step:
    """A node that runs."""

    run: _Run
    node_id: str
    executor: object


_step: ContextVar[_Step | None] = ContextVar("step", default=None)
"""The node that the running code is inside of."""


class GraphLifecycle:
    """Keeps the state of graphs and swarms in one session."""

    def __init__(self, unit_of_work: UnitOfWork, flushing: Flushing, options: TurnOptions) -> None:
        """Serve one session; no I/O.

        Args:
            unit_of_work: The session.
            flushing: Writes what is recorded.
            options: How turns are kept.
        """
        self._unit = unit_of_work
        self._flushing = flushing
        self._background = flushing.background
        self._options = options
        self._graphs: dict[str, _Kept] = {}

    def register_hooks(self, registry: HookRegistry) -> None:
        """Subscribe to the events of the table above."""
        first, last = -math.inf, math.inf
        registry.add_callback(MultiAgentInitializedEvent, self._on_initialized)
        registry.add_callback(BeforeMultiAgentInvocationEvent, self._on_asked, order=first)
        # The SDK announces no end of an invocation that a later callback would keep from beginning.
        registry.add_callback(BeforeMultiAgentInvocationEvent, self._on_begins, order=last)
        registry.add_callback(BeforeNodeCallEvent, self._on_node_begins, order=first)
        registry.add_callback(AfterNodeCallEvent, self._on_node_ended, order=first)
        registry.add_callback(AfterMultiAgentInvocationEvent, self._on_ends, order=first)
        registry.add_callback(AfterMultiAgentInvocationEvent, self._on_ended, order=last)

    # What the application calls

    def initialize(self, source: MultiAgentBase) -> None:
        """Give a new graph the state that is stored of it; loads that unless it was loaded just before."""
        self._begin_with(source)
        self._give(source)

    def reload(self, source: MultiAgentBase) -> None:
        """Bring a graph up to date with what is stored. What was recorded and not written is forgotten."""
        self._unit.load(source.id, "multi_agents")
        self._restore(source)

    def record(self, source: MultiAgentBase) -> Record:
        """Record the state of a graph as it is now."""
        kept = self._kept(source)
        self._raise_refusal(kept.record)
        self._record(source, kept)
        return kept.record

    # The SDK's events

    async def _on_initialized(self, event: MultiAgentInitializedEvent) -> None:
        known = self._unit.known(event.source.id, "multi_agents")
        if known is None or known.restored:
            await self._background.run(partial(self._unit.load, event.source.id, "multi_agents"))
        self.initialize(event.source)

    async def _on_asked(self, event: BeforeMultiAgentInvocationEvent) -> None:
        source, kept = event.source, self._kept(event.source)
        kept.record.report()
        if kept.run is not None and not kept.run.loop.is_closed():
            raise SessionBusyError(
                f"graph {source.id!r} in session {self._unit.session_id!r} is running already in this session manager;"
                " two graphs that run at once, or one inside the other, need ids of their own",
                session_id=self._unit.session_id,
                agent_id=source.id,
            )
        if kept.record.refusal is None and kept.is_held_by(source):
            return
        await self._background.run(partial(self._unit.load, source.id, "multi_agents"))
        had_asked = is_interrupted(source)
        self._restore(source)
        if had_asked and not is_interrupted(source):
            raise self._conflict(source, "got the answer to its interrupt elsewhere")

    async def _on_begins(self, event: BeforeMultiAgentInvocationEvent) -> None:
        source, kept = event.source, self._kept(event.source)
        kept.answering = is_interrupted(source)
        if kept.answering:
            # An answer that does not fit is refused by the SDK only after this, and it announces no end then.
            return
        kept.record.open_turn()
        try:
            await self._claim_first(source, kept.record)
        except BaseException:
            kept.record.turn_open = False
            raise
        self._open(source, kept)

    def _open(self, source: MultiAgentBase, kept: _Kept) -> None:
        """The invocation has begun: from here on the SDK announces its end."""
        kept.answering = False
        kept.record.open_turn()
        run = _Run(kept, self._step_around(source))
        kept.token = (kept.token if is_resumable(source) else None) or secrets.token_urlsafe(9)
        kept.within = run.step.run.kept.token if run.step else None
        kept.run = run
        self._flushing.settle(None, kept.record)  # a turn that was claimed already is renewed from here on

    async def _claim_first(self, source: MultiAgentBase, record: Record) -> None:
        if self._options.on_busy == "wait":
            if await self._wait_for_turn(record):
                await self._catch_up(source, record)
            return
        if self._options.durability == "turn":
            return
        try:
            await self._flushing.run(None, record, claim=True)
        except SessionError:
            raise
        except BaseException:
            # It may be claimed all the same, and nobody would end the turn.
            with suppress(Exception):
                await self._flushing.run(None, record, release=True)
            raise

    async def _catch_up(self, source: MultiAgentBase, record: Record) -> None:
        try:
            self._restore(source)
            if is_interrupted(source):
                raise self._conflict(source, "now waits for the answer to an interrupt, which this task does not give")
        except BaseException:
            await self._background.run(partial(self._unit.flush, record, release=True))
            raise

    async def _wait_for_turn(self, record: Record) -> bool:
        return await claim_when_free(self._unit, self._background, record, self._options.busy_timeout)

    async def _on_node_begins(self, event: BeforeNodeCallEvent) -> None:
        source, kept = event.source, self._kept(event.source)
        if kept.answering:
            self._open(source, kept)
        run = kept.run
        if run is None:
            return
        run.running.add(event.node_id)
        self._raise_refusal(kept.record)
        async with run.claiming:
            await self._claim_again(source, kept.record)
        node = getattr(source, "nodes", {}).get(event.node_id)
        step = _Step(run, event.node_id, getattr(node, "executor", None))
        _step.set(step)
        self._begin_inner_graph(step)

    async def _claim_again(self, source: MultiAgentBase, record: Record) -> None:
        if record.claimed and not record.has_lapsed(self._options.turn_timeout):
            return
        if self._options.on_busy == "wait" and not record.claimed:
            if await self._wait_for_turn(record):
                await self._background.run(partial(self._unit.flush, record, release=True))
                record.refuse(self._conflict(source, "got the answer to its interrupt elsewhere"))
            self._flushing.settle(None, record)
            self._raise_refusal(record)
        elif self._options.durability == "message":
            await self._flushing.run(None, record, claim=True)

    def _begin_inner_graph(self, step: _Step) -> None:
        """Let a graph that is a node start anew, unless it was in the middle of this very run of the outer graph."""
        inner = step.executor
        if not isinstance(inner, MultiAgentBase):
            return
        kept = self._graphs.get(inner.id)
        if kept is None or not kept.is_held_by(inner) or kept.within == step.run.kept.token:
            return
        if is_resumable(inner):
            inner.deserialize_state(copy.deepcopy(kept.beginning))

    async def _on_node_ended(self, event: AfterNodeCallEvent) -> None:
        source, kept = event.source, self._kept(event.source)
        run = kept.run
        if run is None:
            return
        run.running.discard(event.node_id)
        self._raise_refusal(kept.record)
        run.recorded += run.finished.pop(event.node_id, [])
        goes_on = self._record(source, kept, event.node_id)
        if not goes_on or self._options.durability == "turn":
            return
        ended, run.recorded = run.recorded, []
        try:
            await self._flushing.run(None, kept.record)
        except BaseException:
            run.recorded += ended
            raise
        await self._end(ended)

    async def _on_ends(self, event: AfterMultiAgentInvocationEvent) -> None:
        kept = self._kept(event.source)
        if kept.answering:
            self._open(event.source, kept)
        record, run = kept.record, kept.run
        if run is None:
            return
        # What fails here is raised by the last callback, so that the application's own hooks run all the same.
        try:
            if record.refusal is None:
                self._record(event.source, kept)
        except Exception as error:
            record.failure = error
        kept.run = None
        inner = [*run.recorded, *(each for finished in run.finished.values() for each in finished)]
        if run.step is not None and run.step.run.kept.run is run.step.run and not (record.refusal or record.failure):
            run.step.run.finished.setdefault(run.step.node_id, []).extend([kept, *inner])
            return
        try:
            await self._flushing.run(None, record, release=True)
            if record.refusal is None:
                await self._end(inner)
        except Exception as error:
            record.failure = record.failure or error
        finally:
            for each in (kept, *inner):
                each.record.turn_open = False  # what could not be ended expires

    async def _on_ended(self, event: AfterMultiAgentInvocationEvent) -> None:
        kept = self._kept(event.source)
        failure, kept.record.failure = kept.record.failure, None
        self._raise_refusal(kept.record)
        if failure is not None:
            raise failure

    async def _end(self, graphs: Iterable[_Kept]) -> None:
        """Write the ends of inner graphs, now that the outer one has written that they are finished."""
        for kept in graphs:
            if kept.run is None:
                try:
                    await self._flushing.run(None, kept.record, release=True)
                finally:
                    kept.record.turn_open = False

    # How it is done

    def _kept(self, source: MultiAgentBase) -> _Kept:
        """What is known of a graph that was heard of, and of those around it."""
        kept = self._graphs.get(source.id) or self._begin_with(source)
        around = kept.run
        kept.record.touch()
        while around is not None and around.step is not None:
            around.step.run.kept.record.touch()
            around = around.step.run.kept.run
        return kept

    def _begin_with(self, source: MultiAgentBase) -> _Kept:
        kept = self._graphs.get(source.id)
        if kept is None:
            kept = self._graphs[source.id] = _Kept(self._unit.record(source.id, "multi_agents"))
        if not kept.beginning:
            kept.beginning = source.serialize_state()
        return kept

    def _restore(self, source: MultiAgentBase) -> None:
        """Give a graph that was used what is stored, and nothing of what it did since."""
        kept = self._graphs[source.id]
        if not isinstance(source, Swarm) or kept.record.data.get("state") is None:
            # A swarm that goes on sets every node back by itself.
            source.deserialize_state(copy.deepcopy(kept.beginning))
        self._give(source)

    def _give(self, source: MultiAgentBase) -> None:
        kept = self._graphs[source.id]
        stored = kept.record.data.get("state")
        kept.token = kept.within = None
        if stored is None:
            kept.record.set_data({"state": encode(kept.beginning)})
        else:
            state = dict(decode(stored))
            run = state.pop(_RUN, None) or {}
            kept.token, kept.within = run.get("id"), run.get("within")
            source.deserialize_state(to_go_on_from(state))
        kept.record.restored = True
        kept.holder = weakref.ref(source)

    def _record(self, source: MultiAgentBase, kept: _Kept, node_id: str | None = None) -> bool:
        """Record the state, after a node or at the end; whether there is a node left to run."""
        state = source.serialize_state()
        if kept.run is not None and isinstance(source, Graph):
            state = kept.run.completed(state, source, node_id)
        state[_RUN] = {"id": kept.token, "within": kept.within}
        try:
            kept.record.set_data({"state": encode(state)})
        except SessionError as error:
            kept.record.refuse(error)
            raise
        return not nothing_is_left(state)

    def _step_around(self, source: MultiAgentBase) -> _Step | None:
        step = _step.get()
        if step is None or step.executor is not source or step.run.kept.run is not step.run:
            return None
        return step if self._graphs.get(step.run.kept.record.agent_id) is step.run.kept else None

    def _raise_refusal(self, record: Record) -> None:
        if record.refusal is not None:
            raise record.refusal.again()

    def _conflict(self, source: MultiAgentBase, problem: str) -> SessionConflictError:
        return SessionConflictError(
            f"graph {source.id!r} in session {self._unit.session_id!r} {problem}",
            session_id=self._unit.session_id,
            agent_id=source.id,
        )
