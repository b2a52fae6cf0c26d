"""A process killed at every step of every kind of turn: nothing acknowledged is lost, and nothing is torn."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, Literal

import pytest
from pymongo import MongoClient
from strands import Agent

from mongodb_session_manager import MongoDBSessionManagerFactory
from tests.faults.ground import (
    SECRET,
    Before,
    Ground,
    Grounds,
    Kept,
    contents,
    half_deleted,
    long_session,
    look,
    nothing,
)
from tests.faults.turns import assert_accepted, line, lines, turn
from tests.faults.victims import GUARDED, Ended, Order, asker, executor, guarded, yes
from tests.faults.workers import Place, Worker, started

Steps = Literal["commands", "loop"]

THOROUGH = os.environ.get("FAULTS") == "thorough"

MOST = 10_000 if THOROUGH else 5
"""Rounds of the event loop at which one kind of turn is killed; of its commands, at every one."""


@pytest.fixture
def ground(place: Place, mongo_client: MongoClient[Any]) -> Iterator[Ground]:
    ground = Ground(mongo_client, place.database, place.collection)
    yield ground
    ground.drop()


@pytest.fixture(scope="module")
def grounds() -> Grounds:
    return Grounds()


@pytest.fixture
def victims(place: Place) -> Iterator[Worker]:
    with started(executor, place) as worker:
        yield worker


def kills(victims: Worker, ground: Ground, kept: Kept, kind: str, steps: Steps) -> Iterator[tuple[str, Ended]]:
    """A turn that is not killed, then the same turn killed at every step of it, each from the same ground."""

    def taken(number: int | None) -> Ended:
        ground.restore(kept)
        victims.send(Order(kind, steps, number))
        ended: Ended = victims.answer()
        ground.wait_for_the_dead()
        return ended

    whole = taken(None)
    assert not whole.killed
    yield "never", whole
    numbers = range(1, len(whole.steps) + 1)
    if steps == "loop":
        numbers = numbers[:: -(-len(numbers) // MOST)]
    killed = 0
    for number in numbers:
        ended = taken(number)
        killed += ended.killed
        yield f"{number} {whole.steps[number - 1]}", ended
        ground.let_the_lease_pass()
    print(f"{kind}: killed at {killed} of {len(whole.steps)} steps of its {steps}")


def asked(factory: MongoDBSessionManagerFactory, ground: Ground) -> Kept:
    """A long session that waits for the answer to an interrupt."""
    long_session(factory, ground)
    assert asker(factory.create_session_manager("s"))("pay").stop_reason == "interrupt"
    return ground.keep()


def older(factory: MongoDBSessionManagerFactory, ground: Ground) -> Kept:
    """A session of the older layout that is worth three buckets."""
    messages = [
        {
            "message": {"role": ("user", "assistant")[number % 2], "content": [{"text": f"{number} " + "x" * 20_000}]},
            "message_id": number,
            "created_at": "2025-01-01T00:00:00+00:00",
        }
        for number in range(130)
    ]
    data = {"agent_id": "default", "state": {"last": "before"}, "conversation_manager_state": {}}
    ground.sessions.insert_one(
        {"_id": "s", "session_id": "s", "agents": {"default": {"agent_data": data, "messages": messages}}}
    )
    return ground.keep()


TURNS: list[tuple[str, Before, Steps]] = [
    ("plain", nothing, "commands"),
    ("plain", long_session, "commands"),
    ("plain", long_session, "loop"),
    ("plain", half_deleted, "commands"),
    ("waiting", long_session, "commands"),
    ("written once", long_session, "commands"),
    ("written once", long_session, "loop"),
    ("tools", long_session, "commands"),
    ("tools", long_session, "loop"),
    ("interrupted", long_session, "commands"),
    ("interrupted", long_session, "loop"),
    ("answered", asked, "commands"),
    ("answered", asked, "loop"),
    ("guarded", long_session, "commands"),
    ("guarded", long_session, "loop"),
    ("spilling", long_session, "commands"),
    ("spilling", long_session, "loop"),
    ("spilling", older, "commands"),
    ("large", nothing, "commands"),
    ("large", nothing, "loop"),
]


@pytest.mark.parametrize(
    ("kind", "before", "steps"),
    [pytest.param(*each, id=f"{each[0]} - {each[1].__name__} - {each[2]}") for each in TURNS],
)
def test_after_a_kill_anywhere_the_next_process_goes_on(
    factory: MongoDBSessionManagerFactory,
    ground: Ground,
    grounds: Grounds,
    victims: Worker,
    subtests: pytest.Subtests,
    kind: str,
    before: Before,
    steps: Steps,
) -> None:
    kept = grounds.laid(before, factory, ground)
    earlier = said(factory)
    whole: list[Any] = []
    for step, ended in kills(victims, ground, kept, kind, steps):
        whole = whole or said(factory)[len(earlier) :]
        with subtests.test(step):
            left = said(factory)
            assert left[: len(earlier)] == earlier
            assert_beginning(left[len(earlier) :], whole)
            assert len(left) - len(earlier) >= (len(whole) if "returned" in ended.told else ended.durable)
            assert_beside_messages(factory, bool(earlier), ended)
            ground.let_the_lease_pass()
            if kind == "guarded":
                assert_can_be_hidden(factory, ground, len(earlier))
            elif kind in ("interrupted", "answered"):
                pays(asker(factory.create_session_manager("s")))
            takes_a_turn(factory)
            after = said(factory)
            assert_accepted(after)
            assert after[: len(left)] == left or kind == "guarded"
            ground.assert_sound()
            assert "turn" not in ground.alive()["agents"]["default"]
            assert before is not half_deleted or ground.garbage() == []


def said(factory: MongoDBSessionManagerFactory) -> list[dict[str, Any]]:
    """All that is stored of the session, as an application reads it."""
    return contents(factory.sessions.messages("s")) if factory.sessions.get("s") else []


def assert_beginning(left: list[Any], whole: list[Any]) -> None:
    """What a killed turn left is the beginning of the whole; its guardrail may not have spoken yet."""
    if left and left[0]["content"] == look(GUARDED):
        assert whole[0]["content"] == REMOVED
        assert len(left) == 1
        return
    assert left == whole[: len(left)]


REMOVED = [{"text": "[removed]"}]


def assert_beside_messages(factory: MongoDBSessionManagerFactory, was_there: bool, ended: Ended) -> None:
    """The agent's state is as before the turn or as after it; metadata and feedback are there."""
    found = factory.sessions.get("s")
    if found is None:
        assert not was_there
        assert ended.durable == 0
        return
    states = [agent.state["last"] for agent in found.agents.values()]
    assert states in ([["before"], ["killed"]] if was_there else [[], ["killed"]])
    assert states == ["killed"] or (ended.killed and ended.durable == 0)
    if found.metadata:
        assert found.metadata == {"colour": "red"}
        assert [each["rating"] for each in factory.sessions.feedbacks("s")] == ["up"]


def assert_can_be_hidden(factory: MongoDBSessionManagerFactory, ground: Ground, position: int) -> None:
    """The prompt that was there when the guardrail's turn was killed, and the same prompt once more."""
    if len(said(factory)) > position:
        redact(factory, position)
        assert ground.shows(GUARDED) == []
    guarded(factory.create_session_manager("s"))(look(GUARDED))
    assert ground.shows(GUARDED) == []
    assert ground.shows(SECRET) != []


def takes_a_turn(factory: MongoDBSessionManagerFactory) -> None:
    following = turn(factory.create_session_manager("s"), "next")
    following()
    for shown in following.model.calls:
        assert_accepted(shown)
    assert [line(each) for each in said(factory)[-4:]] == lines("next")


def pays(agent: Agent) -> None:
    """Ask for a payment, unless the agent waits for the answer already, and answer."""
    if not agent._interrupt_state.activated:
        assert agent("pay").stop_reason == "interrupt"
    assert str(agent(yes(agent))).strip() == "it is done"


def redact(factory: MongoDBSessionManagerFactory, position: int) -> None:
    """Redact a message as an application does from outside."""
    repository = factory.create_session_manager("s").session_repository
    message = repository.read_message("s", "default", position)
    assert message is not None
    message.redact_message = {"role": message.message["role"], "content": [{"text": "[removed]"}]}
    repository.update_message("s", "default", message)


@pytest.mark.parametrize("steps", ["commands", "loop"])
def test_a_redaction_that_was_killed_anywhere_can_be_repeated_and_then_the_original_is_nowhere(
    factory: MongoDBSessionManagerFactory,
    ground: Ground,
    grounds: Grounds,
    victims: Worker,
    subtests: pytest.Subtests,
    steps: Steps,
) -> None:
    kept = grounds.laid(long_session, factory, ground)
    original, *others = said(factory)
    removed = {**original, "content": REMOVED}
    for step, ended in kills(victims, ground, kept, "redacting", steps):
        with subtests.test(step):
            assert said(factory) in ([original, *others], [removed, *others])
            ground.assert_sound()
            assert ended.killed or ground.shows(SECRET) == []
            ground.let_the_lease_pass()
            redact(factory, 0)
            assert said(factory) == [removed, *others]
            assert ground.shows(SECRET) == []
            ground.assert_sound()
            takes_a_turn(factory)


def test_a_redaction_reaches_what_a_killed_spill_had_copied(
    factory: MongoDBSessionManagerFactory, ground: Ground, grounds: Grounds, victims: Worker, subtests: pytest.Subtests
) -> None:
    kept = grounds.laid(long_session, factory, ground)
    [archived] = ground.alive()["agents"]["default"]["archive"]
    position, text = next(
        (at, message["content"][0]["text"])
        for at, message in enumerate(said(factory))
        if at > archived["last"] and message["role"] == "user"
    )
    for step, _ in kills(victims, ground, kept, "spilling", "commands"):
        with subtests.test(step):
            ground.let_the_lease_pass()
            redact(factory, position)
            assert ground.shows(text[:20].encode()) == []
            ground.assert_sound()


@pytest.mark.parametrize("steps", ["commands", "loop"])
def test_a_deletion_that_was_killed_anywhere_reads_as_absent_or_whole_and_the_next_write_finishes_it(
    factory: MongoDBSessionManagerFactory,
    ground: Ground,
    grounds: Grounds,
    victims: Worker,
    subtests: pytest.Subtests,
    steps: Steps,
) -> None:
    kept = grounds.laid(long_session, factory, ground)
    earlier = said(factory)
    for step, ended in kills(victims, ground, kept, "deleting", steps):
        with subtests.test(step):
            left = said(factory)
            assert left in ([], earlier)
            assert ended.killed or not left
        half = ground.keep()
        for following in ("deletes again", "creates again", "takes a turn", "writes beside a turn"):
            with subtests.test(f"{step}, then {following}"):
                ground.restore(half)
                if left or following == "deletes again":
                    assert factory.sessions.delete("s") is bool(half.sessions)
                elif following == "creates again":
                    factory.sessions.create("s")
                elif following == "takes a turn":
                    takes_a_turn(factory)
                else:
                    factory.create_session_manager("s").update_metadata({"colour": "blue"})
                assert ground.garbage() == []
                assert ground.shows(SECRET) == []
                ground.assert_sound()
