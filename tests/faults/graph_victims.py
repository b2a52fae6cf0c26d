"""Graphs of every kind and a bidirectional agent, in processes that end themselves in the middle of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from typing import Any, TypeAlias

from strands import ToolContext, tool
from strands.multiagent.base import MultiAgentBase

from mongodb_session_manager import MongoDBSessionManagerFactory, SessionManager
from tests.bidi_model import begun, bidi_agent, ended, listening, said, uses
from tests.faults import victims
from tests.faults.victims import Tell
from tests.faults.workers import Place
from tests.graphs import FIVE, Nodes, graph, line_of, node, swarm

__all__ = ["KINDS", "NESTED", "WIDE", "Made", "add", "answers", "graph_executor"]

Made: TypeAlias = Callable[[SessionManager, list[str]], MultiAgentBase]
"""Makes a graph whose nodes note in the list that they run."""

WIDE = {"one": set[str](), "two": {"one"}, "three": {"one"}, "four": {"one"}, "five": {"two", "three", "four"}}
NESTED = ("first", "before", "leaf one", "leaf two", "after", "last")


def _wide(manager: SessionManager, ran: list[str]) -> MultiAgentBase:
    edges = [(before, name) for name, sources in WIDE.items() for before in sorted(sources)]
    return graph(manager, {name: node(name, ran) for name in WIDE}, edges)


def _nested(manager: SessionManager, ran: list[str]) -> MultiAgentBase:
    leaf = line_of(manager, ran, NESTED[2:4], graph_id="leaf")
    nodes: Nodes = {"before": node("before", ran), "leaf": leaf, "after": node("after", ran)}
    middle = graph(manager, nodes, [("before", "leaf"), ("leaf", "after")], graph_id="middle")
    outer: Nodes = {"first": node("first", ran), "middle": middle, "last": node("last", ran)}
    return graph(manager, outer, [("first", "middle"), ("middle", "last")])


def _swarm_inside(manager: SessionManager, ran: list[str]) -> MultiAgentBase:
    nodes: Nodes = {"one": node("one", ran), "swarm": swarm(manager, ran, FIVE[1:4]), "five": node("five", ran)}
    return graph(manager, nodes, [("one", "swarm"), ("swarm", "five")])


def _asking(manager: SessionManager, ran: list[str]) -> MultiAgentBase:
    @tool(context=True)
    def pay(amount: int, tool_context: ToolContext) -> str:
        """Pay after approval.

        Args:
            amount: How much.
        """
        tool_context.interrupt("approval", reason=f"pay {amount}?")
        return "paid"

    def payer(messages: Any) -> Any:
        return "done" if "toolResult" in messages[-1]["content"][0] else {"name": "pay", "input": {"amount": 9}}

    inner: Nodes = {"three": node("three", ran), "four": node("four", ran, payer, tools=[pay])}
    asks = graph(manager, inner, [("three", "four")], graph_id="inner")
    outer: Nodes = {"one": node("one", ran), "asks": asks, "five": node("five", ran)}
    return graph(manager, outer, [("one", "asks"), ("asks", "five")])


KINDS: dict[str, Made] = {
    "line": line_of,
    "wide": _wide,
    "nested": _nested,
    "swarm": swarm,
    "swarm inside": _swarm_inside,
    "asking": _asking,
}


def answers(asking: MultiAgentBase) -> list[Any]:
    """Yes to whatever a graph asks."""
    interrupts = asking._interrupt_state.interrupts  # type: ignore[attr-defined]
    return [{"interruptResponse": {"interruptId": each, "response": "yes"}} for each in interrupts]


class _Told(list[str]):
    """Nodes that ran, each told to the world when it begins."""

    def __init__(self, tell: Tell) -> None:
        super().__init__()
        self._tell = tell

    def append(self, name: str) -> None:
        self._tell(f"ran {name}")
        super().append(name)


async def _taken(made: Made, answered: bool, factory: MongoDBSessionManagerFactory, tell: Tell) -> None:
    running = made(await factory.open_session("s"), _Told(tell))
    await running.invoke_async(answers(running) if answered else "go")


@tool
def add(a: int, b: int) -> int:
    """Add two numbers.

    Args:
        a: The first.
        b: The second.
    """
    return a + b


async def _connected(factory: MongoDBSessionManagerFactory, tell: Tell) -> None:
    """A question, a tool, what the model says to the result, and something spoken into it."""
    answer = [*begun("user", "and then?", "u"), *said("it is three"), *ended("user", "u")]
    script = [uses({"name": "add", "input": {"a": 1, "b": 2}}), answer]
    agent, _ = bidi_agent(await factory.open_session("s"), *script, tools=[add])
    async with listening(agent) as listener:
        await agent.send("1 + 2?")
        tell("said 1")
        await listener.until("bidi_text_block")
        tell("said 7")
        await listener.until("bidi_transcript_block")


def graph_executor(line: Connection, place: Place) -> None:
    """As :func:`tests.faults.victims.executor`, for graphs; ``answered`` answers what the kind ``asking`` asked."""
    victims.KINDS |= {kind: partial(_taken, made, False) for kind, made in KINDS.items()}
    victims.KINDS["connected"] = _connected
    victims.KINDS["answered"] = partial(_taken, _asking, True)
    victims.executor(line, place)
