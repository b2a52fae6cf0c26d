"""Graphs with a session manager: what is stored after each node, where they go on, and who may run them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from pymongo.collection import Collection
from strands import ToolContext, tool
from strands.hooks import (
    AfterMultiAgentInvocationEvent,
    AfterNodeCallEvent,
    BeforeMultiAgentInvocationEvent,
    BeforeNodeCallEvent,
    HookProvider,
    HookRegistry,
)
from strands.multiagent.base import Status
from strands.multiagent.graph import Graph, GraphBuilder

from mongodb_session_manager import (
    MongoDBSessionManagerFactory,
    SessionBusyError,
    SessionConflictError,
    SessionNotFoundError,
    SessionTooLargeError,
)
from tests.commands import Commands
from tests.graphs import FIVE, Nodes, graph, line_of, node

Stored = Callable[[str], Any]

ILL = RuntimeError("this node is ill")


class Hook(HookProvider):
    """Does something at an event of a graph."""

    def __init__(self, kind: Any, does: Callable[[Any], Any]) -> None:
        self.kind = kind
        self.does = does

    def register_hooks(self, registry: HookRegistry, **kwargs: Any) -> None:
        registry.add_callback(self.kind, self.does)


def state_of(document: Any, graph_id: str = "graph") -> Any:
    return document["multi_agents"][graph_id]["state"]


def fails(line: Graph, task: Any = "go") -> None:
    with pytest.raises(RuntimeError, match="ill"):
        line(task)


# What is stored when


def test_a_graph_costs_a_read_a_claim_and_a_write_for_each_node(
    factory: MongoDBSessionManagerFactory, commands: Commands, stored: Stored
) -> None:
    ran: list[str] = []
    line = line_of(factory.create_session_manager("s"), ran)
    assert commands.names == ["find"]
    result = line("go")
    assert (result.status, ran) == (Status.COMPLETED, [*FIVE])
    assert commands.names == ["find", "update", *["update"] * 5]
    kept = stored("s")["multi_agents"]["graph"]
    assert "turn" not in kept
    assert sorted(kept["state"]["completed_nodes"]) == sorted(FIVE)
    assert (kept["state"]["status"], kept["state"]["next_nodes_to_execute"]) == ("completed", [])


def test_a_resumed_graph_costs_a_read_a_claim_and_a_write_for_each_node_that_is_left(
    factory: MongoDBSessionManagerFactory, commands: Commands
) -> None:
    fails(line_of(factory.create_session_manager("s"), [], lines={"four": ILL}))
    commands.clear()
    line_of(factory.create_session_manager("s"), [])("go")
    assert commands.names == ["find", "update", "update", "update"]


def test_a_graph_written_once_costs_one_read_and_one_write(
    factory: MongoDBSessionManagerFactory, commands: Commands, stored: Stored
) -> None:
    line_of(factory.create_session_manager("s", durability="turn"), [])("go")
    assert commands.names == ["find", "update"]
    assert state_of(stored("s"))["status"] == "completed"


def test_a_graph_that_waits_for_its_turn_costs_no_more(
    factory: MongoDBSessionManagerFactory, commands: Commands
) -> None:
    line_of(factory.create_session_manager("s"), [])("go")
    commands.clear()
    line_of(factory.create_session_manager("s", on_busy="wait"), [])("go")
    assert commands.names == ["find", "findAndModify", *["update"] * 5]


def test_after_each_node_what_it_said_is_stored_and_the_turn_is_held(
    factory: MongoDBSessionManagerFactory, stored: Stored, commands: Commands
) -> None:
    seen: list[tuple[list[str], list[str], bool]] = []

    def look(event: BeforeNodeCallEvent) -> None:
        kept = stored("s")["multi_agents"]["graph"]
        state = kept["state"]
        seen.append((sorted(state["node_results"]), state["next_nodes_to_execute"], "turn" in kept))

    line_of(factory.create_session_manager("s"), [], FIVE[:3], hooks=[Hook(BeforeNodeCallEvent, look)])("go")
    assert seen == [([], [], True), (["one"], ["two"], True), (["one", "two"], ["three"], True)]


async def test_nodes_that_run_at_once_are_each_stored_when_they_end(
    factory: MongoDBSessionManagerFactory, stored: Stored, commands: Commands
) -> None:
    """The quick one is stored while the slow one runs, and only the slow one and what follows runs again."""
    gate = asyncio.Event()

    def wide(ran: list[str], slow: Any = "") -> Graph:
        nodes: Nodes = {name: node(name, ran) for name in ("quick", "end")} | {"slow": node("slow", ran, slow)}
        return graph(manager, nodes, [("quick", "end"), ("slow", "end")], hooks=[Hook(BeforeNodeCallEvent, hold)])

    async def hold(event: BeforeNodeCallEvent) -> None:
        if event.node_id == "slow":
            await gate.wait()

    manager = await factory.open_session("s")
    ran: list[str] = []
    running = asyncio.create_task(wide(ran, ILL).invoke_async("go"))
    while (document := stored("s")) is None or not state_of(document)["node_results"]:
        await asyncio.sleep(0.01)
    assert state_of(document)["completed_nodes"] == ["quick"]
    assert state_of(document)["next_nodes_to_execute"] == ["slow"]
    gate.set()
    with pytest.raises(RuntimeError, match="ill"):
        await running
    again: list[str] = []
    manager = await factory.open_session("s")
    await wide(again).invoke_async("go")
    assert (sorted(ran), again) == (["quick", "slow"], ["slow", "end"])


# Going on


def test_a_graph_goes_on_in_another_process_where_it_failed_and_runs_no_finished_node_again(
    factory: MongoDBSessionManagerFactory,
) -> None:
    ran: list[str] = []
    fails(line_of(factory.create_session_manager("s"), ran, lines={"three": ILL}))
    again: list[str] = []
    result = line_of(factory.create_session_manager("s"), again)("this task is not asked for")
    assert (ran, again) == (["one", "two", "three"], ["three", "four", "five"])
    assert result.status is Status.COMPLETED
    assert {name: str(each).strip() for name, each in result.results.items()} == {name: name for name in FIVE}


def test_a_resumed_node_is_told_the_first_task_and_what_the_finished_ones_said(
    factory: MongoDBSessionManagerFactory,
) -> None:
    fails(line_of(factory.create_session_manager("s"), [], lines={"two": ILL, "one": "$one.said\x00 2**70"}))
    asked: list[str] = []
    told = {"two": lambda messages: asked.append(json.dumps(messages[-1]["content"])) or "two"}
    line_of(factory.create_session_manager("s"), [], lines=told)("another task")
    assert "Original Task: go" in asked[0]
    assert "$one.said\\u0000 2**70" in asked[0]


def test_a_graph_that_ended_begins_anew_with_the_next_task(factory: MongoDBSessionManagerFactory) -> None:
    line_of(factory.create_session_manager("s"), [])("go")
    ran: list[str] = []
    line = line_of(factory.create_session_manager("s"), ran)
    line("again")
    line("and again, by the same object")
    assert ran == [*FIVE, *FIVE]


def test_a_cycle_goes_on_at_the_node_that_was_to_run_once_more(factory: MongoDBSessionManagerFactory) -> None:
    def writing(ran: list[str], *, ill: bool) -> Graph:
        def review(messages: Any) -> Any:
            return "no" if ran.count("review") < 2 else "yes"

        def write(messages: Any) -> Any:
            return ILL if ill and ran.count("write") == 2 else "draft"

        def said(answer: str) -> Callable[[Any], bool]:
            return lambda state: "review" in state.results and str(state.results["review"]).strip() == answer

        nodes: Nodes = {
            "write": node("write", ran, write),
            "review": node("review", ran, review),
            "print": node("print", ran),
        }
        edges = [("write", "review"), ("review", "write", said("no")), ("review", "print", said("yes"))]
        return graph(factory.create_session_manager("s"), nodes, edges, revisits=True)

    ran: list[str] = []
    fails(writing(ran, ill=True))
    assert ran == ["write", "review", "write"]
    again = ["review"]
    writing(again, ill=False)("go")
    assert again[1:] == ["write", "review", "print"]


# Graphs inside graphs


def nested(
    factory: MongoDBSessionManagerFactory,
    ran: list[str],
    lines: dict[str, Any] | None = None,
    session_id: str = "s",
    **options: Any,
) -> Graph:
    """First, then a graph of three whose second node is a graph of two, then last."""
    manager = factory.create_session_manager(session_id, **options)
    leaf = line_of(manager, ran, ["leaf one", "leaf two"], lines, graph_id="leaf")
    lines = lines or {}
    nodes: Nodes = {"before": node("before", ran, lines.get("before", "")), "leaf": leaf, "after": node("after", ran)}
    middle = graph(manager, nodes, [("before", "leaf"), ("leaf", "after")], graph_id="middle")
    outer: Nodes = {
        "first": node("first", ran, lines.get("first", "")),
        "middle": middle,
        "last": node("last", ran, lines.get("last", "")),
    }
    return graph(manager, outer, [("first", "middle"), ("middle", "last")], graph_id="outer")


NESTED = ["first", "before", "leaf one", "leaf two", "after", "last"]


@pytest.mark.parametrize("ill", ["before", "leaf one", "leaf two", "last"])
def test_graphs_inside_graphs_go_on_in_the_middle(
    factory: MongoDBSessionManagerFactory, stored: Stored, ill: str
) -> None:
    ran: list[str] = []
    fails(nested(factory, ran, {ill: ILL}))
    assert ran == NESTED[: NESTED.index(ill) + 1]
    again: list[str] = []
    result = nested(factory, again)("go")
    assert (result.status, again) == (Status.COMPLETED, NESTED[NESTED.index(ill) :])
    kept = stored("s")["multi_agents"]
    assert {name: ("turn" in each, each["state"]["status"]) for name, each in kept.items()} == dict.fromkeys(
        ("outer", "middle", "leaf"), (False, "completed")
    )


def test_an_inner_graph_begins_anew_when_the_outer_one_does(factory: MongoDBSessionManagerFactory) -> None:
    """What is left of the inner graph belongs to a run of the outer one that was given up."""
    ill = {"leaf two"}
    outer = nested(factory, [], {name: lambda _, name=name: ILL if name in ill else name for name in NESTED})
    fails(outer)
    ill.add("first")
    fails(outer, "another task")
    again: list[str] = []
    nested(factory, again)("another task")
    assert again == NESTED


def test_an_inner_graph_costs_what_it_costs_alone(factory: MongoDBSessionManagerFactory, commands: Commands) -> None:
    nested(factory, [])("go")
    assert commands.names.count("find") == 3
    nodes_and_claims = (3 + 1) + (3 + 1) + (2 + 1)
    assert commands.names.count("update") == nodes_and_claims


def test_two_graphs_of_one_id_inside_each_other_are_refused(factory: MongoDBSessionManagerFactory) -> None:
    manager = factory.create_session_manager("s")
    inner = line_of(manager, [], ["a"])
    outer = graph(manager, {"inner": inner}, [])
    with pytest.raises(SessionBusyError, match="ids of their own"):
        outer("go")


def test_an_agent_of_a_graph_with_a_manager_of_its_own_is_refused_by_the_sdk(
    factory: MongoDBSessionManagerFactory,
) -> None:
    agent = node("a", [], session_manager=factory.create_session_manager("s"))
    with pytest.raises(ValueError, match="not supported for Graph agents"):
        GraphBuilder().add_node(agent, "a")


# One writer


async def test_a_graph_that_runs_elsewhere_refuses_a_second_one_before_a_node_runs(
    factory: MongoDBSessionManagerFactory,
) -> None:
    entered, gate = asyncio.Event(), asyncio.Event()

    async def hold(event: BeforeNodeCallEvent) -> None:
        entered.set()
        await gate.wait()

    ran: list[str] = []
    first = line_of(await factory.open_session("s"), ran, hooks=[Hook(BeforeNodeCallEvent, hold)])
    running = asyncio.create_task(first.invoke_async("go"))
    await entered.wait()
    refused: list[str] = []
    second = line_of(await factory.open_session("s"), refused)
    with pytest.raises(SessionBusyError) as caught:
        await second.invoke_async("go")
    assert caught.value.retry_after > 0
    with pytest.raises(SessionBusyError, match="ids of their own"):
        await first.invoke_async("go")
    gate.set()
    await running
    assert (ran, refused) == ([*FIVE], [])
    await second.invoke_async("go")
    assert refused == [*FIVE]


def test_a_graph_whose_state_moved_on_is_refused_and_then_goes_on_from_what_is_stored(
    factory: MongoDBSessionManagerFactory,
) -> None:
    late: list[str] = []
    idle = line_of(factory.create_session_manager("s"), [])
    idle("go")
    stale = line_of(factory.create_session_manager("s"), late)
    fails(line_of(factory.create_session_manager("s"), [], lines={"four": ILL}))
    for refused in (stale, idle):
        with pytest.raises(SessionConflictError):
            refused("again")
    assert late == []
    stale("again")
    assert late == ["four", "five"]


def test_after_a_refusal_in_its_middle_a_graph_forgets_what_was_not_stored(
    factory: MongoDBSessionManagerFactory, collection: Collection[Any], commands: Commands
) -> None:
    def lose(event: AfterNodeCallEvent) -> None:
        if event.node_id == "two" and len(ran) == 2:
            with commands.unwatched():
                collection.update_one({"_id": "s"}, {"$set": {"multi_agents.graph.revision": "another writer's"}})

    ran: list[str] = []
    line = line_of(factory.create_session_manager("s"), ran, hooks=[Hook(AfterNodeCallEvent, lose)])
    with pytest.raises(SessionConflictError):
        line("go")
    assert ran == ["one", "two", "three"]
    line("go")
    assert ran[3:] == ["three", "four", "five"]
    assert [len(each.executor.messages) for each in line.nodes.values()] == [0, 0, 2, 2, 2]  # type: ignore[union-attr]


def test_a_graph_of_a_deleted_session_is_told_so_every_time(factory: MongoDBSessionManagerFactory) -> None:
    ran: list[str] = []
    line = line_of(factory.create_session_manager("s"), ran)
    line("go")
    factory.sessions.delete("s")
    for _ in range(2):
        with pytest.raises(SessionNotFoundError):
            line("again")
    assert ran == [*FIVE]


def test_a_session_deleted_in_the_middle_of_a_graph_ends_it(factory: MongoDBSessionManagerFactory) -> None:
    async def delete(event: BeforeNodeCallEvent) -> None:
        if event.node_id == "three":
            await factory.sessions.aio.delete("s")

    ran: list[str] = []
    line = line_of(factory.create_session_manager("s"), ran, hooks=[Hook(BeforeNodeCallEvent, delete)])
    with pytest.raises(SessionNotFoundError):
        line("go")
    assert ran == ["one", "two", "three"]


def test_a_state_above_12_mb_is_refused_and_the_turn_is_free(
    factory: MongoDBSessionManagerFactory, stored: Stored
) -> None:
    ran: list[str] = []
    line = line_of(factory.create_session_manager("s"), ran, lines={"two": "x" * 13 * 1024 * 1024})
    with pytest.raises(SessionTooLargeError):
        line("go")
    assert ran == ["one", "two"]
    kept = stored("s")["multi_agents"]["graph"]
    assert ("turn" in kept, kept["state"]["completed_nodes"]) == (False, ["one"])


@pytest.mark.parametrize("kind", [BeforeMultiAgentInvocationEvent, BeforeNodeCallEvent, AfterNodeCallEvent])
def test_a_hook_that_raises_leaves_no_turn_behind(
    factory: MongoDBSessionManagerFactory, stored: Stored, kind: Any
) -> None:
    def ill(event: Any) -> None:
        raise ILL

    fails(line_of(factory.create_session_manager("s"), [], hooks=[Hook(kind, ill)]))
    assert "turn" not in (stored("s") or {"multi_agents": {"graph": {}}})["multi_agents"]["graph"]
    ran: list[str] = []
    line_of(factory.create_session_manager("s"), ran)("go")
    assert ran[-1] == "five"


def test_a_hook_after_the_invocation_sees_it_stored_and_may_raise(
    factory: MongoDBSessionManagerFactory, stored: Stored
) -> None:
    def look(event: AfterMultiAgentInvocationEvent) -> None:
        assert state_of(stored("s"))["status"] == "completed"
        raise ILL

    fails(line_of(factory.create_session_manager("s"), [], hooks=[Hook(AfterMultiAgentInvocationEvent, look)]))
    assert "turn" not in stored("s")["multi_agents"]["graph"]


async def test_a_cancelled_graph_frees_its_turn_and_goes_on_where_it_was(
    factory: MongoDBSessionManagerFactory, stored: Stored, commands: Commands
) -> None:
    entered = asyncio.Event()

    async def hang(event: BeforeNodeCallEvent) -> None:
        if event.node_id == "three":
            entered.set()
            await asyncio.sleep(60)

    manager = await factory.open_session("s")
    running = asyncio.create_task(line_of(manager, [], hooks=[Hook(BeforeNodeCallEvent, hang)]).invoke_async("go"))
    await entered.wait()
    await asyncio.sleep(0.05)  # a cancellation that meets an event is lost in Python 3.11
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert "turn" not in stored("s")["multi_agents"]["graph"]
    again: list[str] = []
    await line_of(await factory.open_session("s"), again).invoke_async("go")
    assert again == ["three", "four", "five"]


async def test_a_stream_that_is_closed_in_its_middle_frees_the_turn(
    factory: MongoDBSessionManagerFactory, stored: Stored, commands: Commands
) -> None:
    async def hang(event: BeforeNodeCallEvent) -> None:
        if event.node_id == "three":
            await asyncio.sleep(60)

    line = line_of(await factory.open_session("s"), [], hooks=[Hook(BeforeNodeCallEvent, hang)])
    stream = line.stream_async("go")
    async for event in stream:
        if event.get("node_id") == "three":
            break
    await stream.aclose()  # type: ignore[attr-defined]
    assert "turn" not in stored("s")["multi_agents"]["graph"]
    again: list[str] = []
    await line_of(await factory.open_session("s"), again).invoke_async("go")
    assert again == ["three", "four", "five"]


# How turns are kept


async def test_a_graph_that_waits_goes_on_from_what_the_other_one_left(factory: MongoDBSessionManagerFactory) -> None:
    entered, gate = asyncio.Event(), asyncio.Event()

    async def hold(event: BeforeNodeCallEvent) -> None:
        entered.set()
        await gate.wait()

    lines: Any = {"four": ILL}
    first = line_of(await factory.open_session("s"), [], lines=lines, hooks=[Hook(BeforeNodeCallEvent, hold)])
    running = asyncio.create_task(first.invoke_async("go"))
    await entered.wait()
    ran: list[str] = []
    patient = line_of(await factory.open_session("s", on_busy="wait"), ran)
    waiting = asyncio.create_task(patient.invoke_async("go"))
    await asyncio.sleep(0.2)
    assert ran == []
    gate.set()
    with pytest.raises(RuntimeError, match="ill"):
        await running
    await waiting
    assert ran == ["four", "five"]


async def test_a_graph_that_waited_too_long_is_refused_and_can_be_asked_again(
    factory: MongoDBSessionManagerFactory,
) -> None:
    gate = asyncio.Event()

    async def hold(event: BeforeNodeCallEvent) -> None:
        await gate.wait()

    first = line_of(await factory.open_session("s"), [], hooks=[Hook(BeforeNodeCallEvent, hold)])
    running = asyncio.create_task(first.invoke_async("go"))
    ran: list[str] = []
    patient = line_of(await factory.open_session("s", on_busy="wait", busy_timeout=0.1), ran)
    await asyncio.sleep(0.1)
    with pytest.raises(SessionBusyError):
        await patient.invoke_async("go")
    gate.set()
    await running
    await patient.invoke_async("go")
    assert ran == [*FIVE]


def test_a_graph_written_once_learns_of_another_writer_at_its_end(factory: MongoDBSessionManagerFactory) -> None:
    ran: list[str] = []
    slow = line_of(factory.create_session_manager("s", durability="turn"), ran)
    fails(line_of(factory.create_session_manager("s"), [], lines={"five": ILL}))
    with pytest.raises(SessionBusyError):
        slow("go")
    slow("go")
    assert ran == [*FIVE, "five"]


def test_a_graph_is_not_claimed_by_hand_and_reloads(factory: MongoDBSessionManagerFactory) -> None:
    manager = factory.create_session_manager("s")
    ran: list[str] = []
    line = line_of(manager, ran)
    with pytest.raises(ValueError, match="holds its turn"):
        manager.claim(line)  # type: ignore[arg-type]
    fails(line_of(factory.create_session_manager("s"), [], lines={"five": ILL}))
    manager.reload(line)
    line("go")
    assert ran == ["five"]


async def test_a_graph_gets_its_stored_state_off_the_loop(factory: MongoDBSessionManagerFactory) -> None:
    fails(line_of(factory.create_session_manager("s"), [], lines={"five": ILL}))
    manager = factory.create_session_manager("s")
    ran: list[str] = []
    line = line_of(None, ran)
    await manager.aio.initialize_multi_agent(line)
    await line.invoke_async("go")
    assert ran == ["five"]


def test_syncing_a_graph_by_hand_writes_only_what_changed(
    factory: MongoDBSessionManagerFactory, commands: Commands
) -> None:
    manager = factory.create_session_manager("s")
    line = line_of(manager, [])
    line("go")
    commands.clear()
    manager.sync_multi_agent(line)
    assert commands.names == []


# Interrupts


def asking(factory: MongoDBSessionManagerFactory, ran: list[str], **options: Any) -> Graph:
    """A graph whose second node asks before it pays."""

    @tool(context=True)
    def pay(amount: int, tool_context: ToolContext) -> str:
        """Pay after approval.

        Args:
            amount: How much.
        """
        answer = tool_context.interrupt("approval", reason=f"pay {amount}?")
        ran.append(f"paid: {answer}")
        return "paid"

    def payer(messages: Any) -> Any:
        return "done" if "toolResult" in messages[-1]["content"][0] else {"name": "pay", "input": {"amount": 9}}

    manager = factory.create_session_manager("s", **options)
    nodes: Nodes = {"one": node("one", ran), "pay": node("pay", ran, payer, tools=[pay]), "end": node("end", ran)}
    return graph(manager, nodes, [("one", "pay"), ("pay", "end")])


def yes(result: Any) -> Any:
    return [{"interruptResponse": {"interruptId": each.id, "response": "yes"}} for each in result.interrupts]


@pytest.mark.parametrize("options", [{}, {"on_busy": "wait"}, {"durability": "turn"}], ids=str)
def test_an_interrupt_in_a_node_is_answered_in_another_process(
    factory: MongoDBSessionManagerFactory, stored: Stored, options: Any
) -> None:
    ran: list[str] = []
    asked = asking(factory, ran, **options)("go")
    assert (asked.status, ran) == (Status.INTERRUPTED, ["one", "pay"])
    assert "turn" not in stored("s")["multi_agents"]["graph"]
    again: list[str] = []
    result = asking(factory, again, **options)(yes(asked))
    assert (result.status, again) == (Status.COMPLETED, ["paid: yes", "pay", "end"])


async def test_an_answer_that_does_not_fit_is_refused_by_the_sdk_and_leaves_no_turn(
    factory: MongoDBSessionManagerFactory, stored: Stored
) -> None:
    asked = asking(factory, [])("go")
    again: list[str] = []
    waiting = asking(factory, again)
    with pytest.raises(TypeError, match="interruptResponse"):
        waiting("go")
    assert "turn" not in stored("s")["multi_agents"]["graph"]
    with pytest.raises(TypeError, match="interruptResponse"):
        await waiting.invoke_async("go")
    with pytest.raises(TypeError, match="interruptResponse"):
        await waiting.invoke_async("go")
    elsewhere: list[str] = []
    asking(factory, elsewhere)(yes(asked))
    assert elsewhere == ["paid: yes", "pay", "end"]
    with pytest.raises(SessionConflictError):
        waiting(yes(asked))
    assert again == []


def test_a_second_answer_while_one_is_acted_on_is_refused_before_a_tool_runs(
    factory: MongoDBSessionManagerFactory, stored: Stored
) -> None:
    asked = asking(factory, [])("go")
    ran: list[str] = []
    late: list[str] = []
    first, second = asking(factory, ran), asking(factory, late, on_busy="wait")
    first(yes(asked))
    with pytest.raises(SessionConflictError, match="got the answer"):
        second(yes(asked))
    assert (ran[0], late) == ("paid: yes", [])
    assert "turn" not in stored("s")["multi_agents"]["graph"]


def test_an_interrupt_inside_an_inner_graph_is_answered_in_another_process(
    factory: MongoDBSessionManagerFactory, stored: Stored
) -> None:
    def outer(ran: list[str]) -> Graph:
        inner = asking(factory, ran)
        nodes: Nodes = {"first": node("first", ran), "inner": inner, "last": node("last", ran)}
        edges = [("first", "inner"), ("inner", "last")]
        return graph(inner.session_manager, nodes, edges, graph_id="outer")  # type: ignore[arg-type]

    ran: list[str] = []
    asked = outer(ran)("go")
    assert (asked.status, ran) == (Status.INTERRUPTED, ["first", "one", "pay"])
    assert ["turn" in each for each in stored("s")["multi_agents"].values()] == [False, False]
    again: list[str] = []
    result = outer(again)(yes(asked))
    assert (result.status, again) == (Status.COMPLETED, ["paid: yes", "pay", "end", "last"])


async def test_of_two_nodes_that_asked_the_one_that_has_ended_does_not_run_again(
    factory: MongoDBSessionManagerFactory, stored: Stored, commands: Commands
) -> None:
    """What is stored when the first has ended is what another process finds if this one is killed then."""

    def pair(ran: list[str], slow: asyncio.Event | None = None) -> Graph:
        @tool(context=True)
        async def ask(name: str, tool_context: ToolContext) -> str:
            """Ask before going on.

            Args:
                name: Who asks.
            """
            tool_context.interrupt("approval", reason=name)
            if slow is not None and name == "slow":
                await slow.wait()
            return "asked"

        def asker(name: str) -> Callable[[Any], Any]:
            call = {"name": "ask", "input": {"name": name}}
            return lambda messages: name if "toolResult" in messages[-1]["content"][0] else call

        nodes: Nodes = {name: node(name, ran, asker(name), tools=[ask]) for name in ("quick", "slow")}
        return graph(manager, {**nodes, "end": node("end", ran)}, [("quick", "end"), ("slow", "end")])

    manager = await factory.open_session("s")
    asked = await pair([]).invoke_async("go")
    gate = asyncio.Event()
    manager = await factory.open_session("s")
    running = asyncio.create_task(pair([], gate).invoke_async(yes(asked)))
    while state_of(stored("s"))["completed_nodes"] != ["quick"]:
        await asyncio.sleep(0.01)
    assert state_of(stored("s"))["interrupted_nodes"] == ["slow"]
    manager = await factory.open_session("s", durability="turn")
    again: list[str] = []
    elsewhere = pair(again)
    gate.set()
    await running
    with pytest.raises(SessionConflictError):
        await elsewhere.invoke_async(yes(asked))
    assert again == ["slow", "end"]
