"""A process killed at every step of a graph, or of a lasting connection: the next one goes on.

It runs no finished node again, and it has everything that was acknowledged.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from pymongo import MongoClient
from strands.multiagent.base import Status

from mongodb_session_manager import MongoDBSessionManagerFactory, SessionBusyError
from tests.bidi_model import bidi_agent, listening, said
from tests.commands import Commands
from tests.faults.graph_victims import KINDS, NESTED, WIDE, add, answers, graph_executor
from tests.faults.ground import Ground, Kept, contents
from tests.faults.test_kill_everywhere import kills
from tests.faults.turns import assert_accepted
from tests.faults.workers import Place, Worker, started
from tests.graphs import FIVE


def one_after_the_other(names: tuple[str, ...]) -> dict[str, set[str]]:
    return {name: {*names[:at]} for at, name in enumerate(names)}


BEFORE = {
    "line": one_after_the_other(FIVE),
    "wide": WIDE | {"five": {*FIVE[:4]}},
    "nested": one_after_the_other(NESTED),
    "swarm": one_after_the_other(FIVE),
    "swarm inside": one_after_the_other(FIVE),
    "asking": one_after_the_other(("one", "three", "four", "five")),
}
"""What is finished, and so stored, when a node begins."""

INSIDE = {"middle": {*NESTED[1:5]}, "leaf": {*NESTED[2:4]}, "swarm": {*FIVE[1:4]}, "asks": {"three", "four"}}
"""The nodes of a graph that is a node."""


@pytest.fixture
def ground(place: Place, mongo_client: MongoClient[Any]) -> Iterator[Ground]:
    ground = Ground(mongo_client, place.database, place.collection)
    yield ground
    ground.drop()


@pytest.fixture
def victims(place: Place) -> Iterator[Worker]:
    with started(graph_executor, place) as worker:
        yield worker


def states(ground: Ground) -> dict[str, Any]:
    """Every graph of the session as it is stored."""
    return dict(ground.alive().get("multi_agents", {}))


def is_held(ground: Ground) -> bool:
    return any("turn" in each for each in states(ground).values())


def let_the_leases_pass(ground: Ground) -> None:
    """Make all running turns a minute older."""
    for name, each in states(ground).items():
        if "turn" in each:
            stamp = f"multi_agents.{name}.turn.stamp"
            ground.sessions.update_one({"_id": "s"}, [{"$set": {stamp: {"$subtract": [f"${stamp}", 60_000]}}}])


def finished(ground: Ground) -> set[str]:
    """Every node of which it is stored that it ended."""
    found: set[str] = set()
    for each in states(ground).values():
        found |= {*(each["state"].get("completed_nodes") or each["state"].get("node_history") or ())}
    return found.union(*(INSIDE[each] for each in found & INSIDE.keys()))


def ended(ground: Ground, graph_id: str) -> bool:
    return bool(states(ground).get(graph_id, {}).get("state", {}).get("status") == "completed")


@pytest.mark.parametrize("steps", ["commands", "loop"])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "asking"])
def test_after_a_kill_anywhere_a_graph_goes_on_and_runs_no_finished_node_again(
    factory: MongoDBSessionManagerFactory,
    ground: Ground,
    victims: Worker,
    subtests: pytest.Subtests,
    kind: str,
    steps: Any,
) -> None:
    every = {*BEFORE[kind]}
    graph_id = "swarm" if kind == "swarm" else "graph"
    for step, victim in kills(victims, ground, Kept(), kind, steps):
        with subtests.test(step):
            told = {each.removeprefix("ran ") for each in victim.told if each.startswith("ran ")}
            durable = {name for each in told for name in BEFORE[kind][each]}
            assert durable <= finished(ground)
            if ended(ground, graph_id):
                assert told == every
                continue
            assert victim.killed
            left = every & finished(ground)
            if is_held(ground):
                refused: list[str] = []
                with pytest.raises(SessionBusyError):
                    KINDS[kind](factory.create_session_manager("s"), refused)("go")
                assert refused == []
            let_the_leases_pass(ground)
            ran: list[str] = []
            result = KINDS[kind](factory.create_session_manager("s"), ran)("go")
            assert result.status is Status.COMPLETED
            assert {*ran} == every - left
            assert ended(ground, graph_id)
            ran.clear()
            KINDS[kind](factory.create_session_manager("s"), ran)("another task")
            assert {*ran} == every
            assert not is_held(ground)


def test_after_a_kill_anywhere_a_graph_asks_again_or_knows_what_it_asked(
    factory: MongoDBSessionManagerFactory, ground: Ground, victims: Worker, subtests: pytest.Subtests
) -> None:
    for step, _ in kills(victims, ground, Kept(), "asking", "commands"):
        with subtests.test(step):
            let_the_leases_pass(ground)
            left = finished(ground)
            ran: list[str] = []
            asking = KINDS["asking"](factory.create_session_manager("s"), ran)
            result = asking(answers(asking) or "go")
            while result.status is Status.INTERRUPTED:
                result = asking(answers(asking))
            assert result.status is Status.COMPLETED
            assert {"one", "three"} - {*ran} == {"one", "three"} & left
            assert ran[-2:] == ["four", "five"]
            assert "turn" not in states(ground)["graph"]


def test_after_a_kill_anywhere_an_answer_is_acted_on(
    factory: MongoDBSessionManagerFactory, ground: Ground, victims: Worker, subtests: pytest.Subtests
) -> None:
    assert KINDS["asking"](factory.create_session_manager("s"), [])("go").status is Status.INTERRUPTED
    kept = ground.keep()
    for step, victim in kills(victims, ground, kept, "answered", "commands"):
        with subtests.test(step):
            let_the_leases_pass(ground)
            if ended(ground, "graph"):
                continue
            assert victim.killed
            left = finished(ground)
            ran: list[str] = []
            asking = KINDS["asking"](factory.create_session_manager("s"), ran)
            assert asking(answers(asking) or "go").status is Status.COMPLETED
            assert {*ran} == {"one", "three", "four", "five"} - left
            assert "turn" not in states(ground)["graph"]


def assert_one_begins_the_other(left: list[dict[str, Any]], whole: list[dict[str, Any]]) -> None:
    """What is stored is the beginning of the whole; what is still being said keeps its place."""
    assert len(left) <= len(whole)
    for one, other in zip(left, whole, strict=False):
        assert one["role"] == other["role"]
        assert one["content"] in ([], other["content"])


async def test_after_a_kill_anywhere_a_bidirectional_agent_goes_on_with_whole_pairs(
    factory: MongoDBSessionManagerFactory,
    ground: Ground,
    victims: Worker,
    subtests: pytest.Subtests,
    commands: Commands,
) -> None:
    whole: list[dict[str, Any]] = []
    with commands.unwatched():
        for step, victim in kills(victims, ground, Kept(), "connected", "commands"):
            left = said_of(factory)
            whole = whole or without_ids(left)
            with subtests.test(step):
                assert len(left) >= victim.durable
                assert_one_begins_the_other(without_ids(left), whole)
                agent, model = bidi_agent(await factory.open_session("s"), said("yes"), tools=[add])
                assert_accepted([dict(message) for message in agent.messages])
                ground.let_the_lease_pass()
                async with listening(agent) as listener:
                    await agent.send("are you there?")
                    await listener.until("bidi_text_block")
                assert all(each["content"] for each in model.histories[0])
                assert [each["content"][0]["text"] for each in said_of(factory)[-2:]] == ["are you there?", "yes"]
                ground.assert_sound()


def said_of(factory: MongoDBSessionManagerFactory) -> list[dict[str, Any]]:
    return contents(factory.sessions.messages("s")) if factory.sessions.get("s") else []


def without_ids(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same from run to run, whatever number a tool use was given."""
    text = re.sub(r"use-\d+", "use", json.dumps(messages))
    return list(json.loads(text))
