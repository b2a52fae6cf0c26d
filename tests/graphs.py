"""Graphs and swarms of agents whose models say what a test wrote down."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, TypeAlias

from strands import Agent
from strands.multiagent.base import MultiAgentBase
from strands.multiagent.graph import Graph, GraphBuilder
from strands.multiagent.swarm import Swarm

from mongodb_session_manager import SessionManager
from tests.models import Line, ScriptedModel

__all__ = ["FIVE", "Nodes", "graph", "line_of", "node", "swarm", "transfer"]

Nodes: TypeAlias = Mapping[str, Agent | MultiAgentBase]

FIVE = ("one", "two", "three", "four", "five")


def node(name: str, ran: list[str], line: Line = "", **options: Any) -> Agent:
    """An agent that notes its name whenever its model is asked, and says it unless it is given something to say."""

    def answer(messages: Any) -> Any:
        ran.append(name)
        return line(messages) if callable(line) else line or name

    return Agent(model=ScriptedModel(answer), name=name, callback_handler=None, **options)


def graph(
    manager: SessionManager | None,
    nodes: Nodes,
    edges: Sequence[tuple[Any, ...]],
    *,
    graph_id: str = "graph",
    hooks: Sequence[Any] = (),
    revisits: bool = False,
) -> Graph:
    """A graph; an edge is ``(from, to)`` or ``(from, to, condition)``."""
    builder = GraphBuilder()
    for name, executor in nodes.items():
        builder.add_node(executor, name)
    for edge in edges:
        builder.add_edge(*edge)
    targets = {edge[1] for edge in edges}
    for name in nodes:
        if name not in targets or (revisits and name == next(iter(nodes))):
            builder.set_entry_point(name)
    builder.set_graph_id(graph_id).set_execution_timeout(60).reset_on_revisit(revisits)
    if hooks:
        builder.set_hook_providers([*hooks])
    if manager is not None:
        builder.set_session_manager(manager)
    return builder.build()


def line_of(
    manager: SessionManager | None,
    ran: list[str],
    names: Sequence[str] = FIVE,
    lines: Mapping[str, Line] | None = None,
    **options: Any,
) -> Graph:
    """A graph of agents one after the other."""
    nodes: Nodes = {name: node(name, ran, (lines or {}).get(name, "")) for name in names}
    return graph(manager, nodes, list(pairwise(names)), **options)


def transfer(to: str) -> Callable[[Any], Any]:
    """What an agent of a swarm does to hand over to another: it calls the tool, then says that it did."""
    call = {"name": "handoff_to_agent", "input": {"agent_name": to, "message": f"over to {to}"}}
    return lambda messages: f"gave to {to}" if "toolResult" in messages[-1]["content"][0] else call


def swarm(manager: SessionManager | None, ran: list[str], names: Sequence[str] = FIVE, **options: Any) -> Swarm:
    """A swarm whose agents hand over one to the next."""
    agents = [node(name, ran, transfer(to)) for name, to in pairwise(names)]
    last = node(names[-1], ran, options.pop("last", ""))
    return Swarm([*agents, last], session_manager=manager, id=options.pop("swarm_id", "swarm"), **options)
