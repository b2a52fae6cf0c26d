"""The state of a graph or swarm as the SDK serializes it, made good where going on from it would go wrong. No I/O."""

from __future__ import annotations

from typing import Any

from strands.multiagent.base import MultiAgentBase, Status
from strands.multiagent.graph import Graph, GraphNode

__all__ = ["is_interrupted", "is_resumable", "nothing_is_left", "to_go_on_from", "with_answer", "with_nodes_left"]


def is_interrupted(source: MultiAgentBase) -> bool:
    """Whether a graph waits for the answer to an interrupt."""
    return bool(getattr(getattr(source, "_interrupt_state", None), "activated", False))


def is_resumable(source: MultiAgentBase) -> bool:
    """Whether a graph's next invocation goes on with an earlier one."""
    return is_interrupted(source) or bool(getattr(source, "_resume_from_session", False))


def nothing_is_left(state: dict[str, Any]) -> bool:
    """Whether a graph that runs has no node to run any more. The SDK would begin anew from such a state."""
    return state.get("status") == Status.EXECUTING.value and not state.get("next_nodes_to_execute", True)


def to_go_on_from(state: dict[str, Any]) -> dict[str, Any]:
    """A stored state as it is restored.

    What runs again has not failed: the SDK would call the whole graph failed after it has succeeded.
    """
    if "failed_nodes" not in state:
        return state
    left = state.get("next_nodes_to_execute") or []
    return {**state, "failed_nodes": [each for each in state["failed_nodes"] if each not in left]}


def with_nodes_left(
    state: dict[str, Any], graph: Graph, running: set[str], batch: list[GraphNode] | None
) -> dict[str, Any]:
    """A state with every node that is to run, also those of a cycle, which the SDK leaves out as they have run before.

    Args:
        state: From the SDK.
        graph: Whose state it is.
        running: The ids of nodes that run or were interrupted.
        batch: All nodes that just ended together; ``None`` while some of them run.
    """
    left = list(state["next_nodes_to_execute"])
    left += sorted(running.difference(left))
    if not left and batch:
        left = [node.node_id for node in graph._find_newly_ready_nodes(batch)]
    return {**state, "next_nodes_to_execute": left}


def with_answer(state: dict[str, Any], node_id: str, running: set[str]) -> dict[str, Any]:
    """A state in which a node that was interrupted has ended, and only the others that were still are.

    The SDK notes it when all have ended, and then only in memory: from a state serialized before it goes on nowhere.
    """
    asked = state["_internal_state"]["interrupt_state"]
    if running:
        ended = [*asked["context"].get("completed_nodes", []), node_id]
        asked = {**asked, "context": {**asked["context"], "completed_nodes": ended}}
    else:
        asked = {"interrupts": {}, "context": {}, "activated": False}
    internal = {**state["_internal_state"], "interrupt_state": asked}
    return {**state, "interrupted_nodes": sorted(running), "_internal_state": internal}
