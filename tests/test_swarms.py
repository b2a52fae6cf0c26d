"""Swarms with a session manager: what is stored after each agent, where they go on, and who may run them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from pymongo.collection import Collection
from strands import ToolContext, tool
from strands.hooks import AfterNodeCallEvent, BeforeNodeCallEvent
from strands.multiagent.base import Status
from strands.multiagent.swarm import Swarm

from mongodb_session_manager import MongoDBSessionManagerFactory, SessionBusyError, SessionConflictError
from tests.commands import Commands
from tests.graphs import FIVE, node, swarm, transfer
from tests.test_graphs import Hook, state_of, yes

Stored = Callable[[str], Any]


def once(ran: list[str]) -> list[str]:
    """The agents in the order in which they began; one that hands over is asked twice."""
    return list(dict.fromkeys(ran))


def test_a_swarm_costs_a_read_a_claim_and_a_write_for_each_agent(
    factory: MongoDBSessionManagerFactory, commands: Commands, stored: Stored
) -> None:
    ran: list[str] = []
    result = swarm(factory.create_session_manager("s"), ran)("go")
    assert (result.status, once(ran)) == (Status.COMPLETED, [*FIVE])
    assert commands.names == ["find", "update", *["update"] * 5]
    kept = stored("s")["multi_agents"]["swarm"]
    assert ("turn" in kept, kept["state"]["status"], kept["state"]["node_history"]) == (False, "completed", [*FIVE])


def test_after_each_agent_it_is_stored_who_is_next_and_what_they_share(
    factory: MongoDBSessionManagerFactory, stored: Stored
) -> None:
    seen: list[Any] = []

    def look(event: BeforeNodeCallEvent) -> None:
        state = state_of(stored("s"), "swarm")
        seen.append((state["node_history"], state["next_nodes_to_execute"], state["context"]["handoff_message"]))

    swarm(factory.create_session_manager("s"), [], FIVE[:3], hooks=[Hook(BeforeNodeCallEvent, look)])("go")
    assert seen == [([], [], None), (["one"], ["two"], "over to two"), (["one", "two"], ["three"], "over to three")]


def test_a_swarm_that_ended_begins_anew(factory: MongoDBSessionManagerFactory) -> None:
    swarm(factory.create_session_manager("s"), [], FIVE[:2])("go")
    ran: list[str] = []
    swarm(factory.create_session_manager("s"), ran, FIVE[:2])("again")
    assert once(ran) == ["one", "two"]


def test_a_swarm_that_failed_begins_anew_as_the_sdk_has_it(factory: MongoDBSessionManagerFactory) -> None:
    failed = swarm(factory.create_session_manager("s"), [], FIVE[:2], last=RuntimeError("ill"))("go")
    assert failed.status is Status.FAILED
    ran: list[str] = []
    swarm(factory.create_session_manager("s"), ran, FIVE[:2])("go")
    assert once(ran) == ["one", "two"]


async def test_a_swarm_whose_task_is_cancelled_goes_on_with_the_agent_that_did_not_end(
    factory: MongoDBSessionManagerFactory, stored: Stored
) -> None:
    entered = asyncio.Event()

    async def hang(event: BeforeNodeCallEvent) -> None:
        if event.node_id == "three":
            entered.set()
            await asyncio.sleep(60)

    first = swarm(await factory.open_session("s"), [], hooks=[Hook(BeforeNodeCallEvent, hang)])
    running = asyncio.create_task(first.invoke_async("go"))
    await entered.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert "turn" not in stored("s")["multi_agents"]["swarm"]
    ran: list[str] = []
    await swarm(await factory.open_session("s"), ran).invoke_async("go")
    assert once(ran) == ["three", "four", "five"]


async def test_a_swarm_that_runs_elsewhere_refuses_a_second_one_before_an_agent_is_asked(
    factory: MongoDBSessionManagerFactory,
) -> None:
    entered, gate = asyncio.Event(), asyncio.Event()

    async def hold(event: BeforeNodeCallEvent) -> None:
        entered.set()
        await gate.wait()

    first = swarm(await factory.open_session("s"), [], FIVE[:2], hooks=[Hook(BeforeNodeCallEvent, hold)])
    running = asyncio.create_task(first.invoke_async("go"))
    await entered.wait()
    ran: list[str] = []
    with pytest.raises(SessionBusyError):
        await swarm(await factory.open_session("s"), ran, FIVE[:2]).invoke_async("go")
    assert ran == []
    gate.set()
    assert (await running).status is Status.COMPLETED


def test_a_refusal_in_its_middle_is_raised_although_the_sdk_swallows_it_and_the_swarm_goes_on_from_what_is_stored(
    factory: MongoDBSessionManagerFactory, collection: Collection[Any], commands: Commands
) -> None:
    def lose(event: AfterNodeCallEvent) -> None:
        if once(ran) == ["one", "two"]:
            with commands.unwatched():
                collection.update_one({"_id": "s"}, {"$set": {"multi_agents.swarm.revision": "another writer's"}})

    ran: list[str] = []
    refused = swarm(factory.create_session_manager("s"), ran, hooks=[Hook(AfterNodeCallEvent, lose)])
    with pytest.raises(SessionConflictError):
        refused("go")
    assert once(ran) == ["one", "two", "three"]
    ran.clear()
    assert refused("go").status is Status.COMPLETED
    assert once(ran) == ["three", "four", "five"]


def test_an_interrupt_in_an_agent_of_a_swarm_is_answered_in_another_process(
    factory: MongoDBSessionManagerFactory,
) -> None:
    @tool(context=True)
    def pay(amount: int, tool_context: ToolContext) -> str:
        """Pay after approval.

        Args:
            amount: How much.
        """
        return f"paid after {tool_context.interrupt('approval', reason=f'pay {amount}?')}"

    def payer(messages: Any) -> Any:
        if "toolResult" not in messages[-1]["content"][0]:
            return {"name": "pay", "input": {"amount": 9}}
        return messages[-1]["content"][0]["toolResult"]["content"][0]["text"]

    def asking(ran: list[str]) -> Swarm:
        agents = [node("one", ran, transfer("two")), node("two", ran, payer, tools=[pay])]
        return Swarm(agents, session_manager=factory.create_session_manager("s"))

    asked = asking([])("go")
    assert asked.status is Status.INTERRUPTED
    again: list[str] = []
    result = asking(again)(yes(asked))
    assert (result.status, again) == (Status.COMPLETED, ["two"])
    assert str(result.results["two"].result).strip() == "paid after yes"


def test_an_agent_of_a_swarm_with_a_manager_of_its_own_is_refused_by_the_sdk(
    factory: MongoDBSessionManagerFactory,
) -> None:
    with pytest.raises(ValueError, match="not supported for Swarm agents"):
        Swarm([node("a", [], session_manager=factory.create_session_manager("s"))])
