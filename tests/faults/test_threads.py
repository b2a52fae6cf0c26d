"""One manager, several threads: what one records while another writes is neither lost nor doubled."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from strands import Agent, ToolContext, tool

from mongodb_session_manager import MongoDBSessionManager, MongoDBSessionManagerFactory
from tests.commands import Commands
from tests.faults.conftest import MakeFactory
from tests.faults.proxy import Proxy
from tests.faults.turns import Listener, history, lines, together, turn, turn_of
from tests.models import ScriptedModel

Stored = Callable[[str], Any]


def said(text: str, tracking_id: str) -> Any:
    return {"role": "user", "content": [{"text": text}], "tracking_id": tracking_id}


class Writing:
    """An agent that is writing a message now, for as long as the network is slow."""

    def __init__(self, proxy: Proxy, make_factory: MakeFactory) -> None:
        self.sent = threading.Event()
        listener = Listener(lambda name, number: self.sent.set() if name == "update" else None)
        self.manager = make_factory(proxy.uri, event_listeners=[listener]).create_session_manager("s")
        self.agent = Agent(model=ScriptedModel(), session_manager=self.manager, callback_handler=None)
        self._pool = ThreadPoolExecutor(1)
        proxy.delay = 0.2
        self.written: Future[None] = self._pool.submit(self._write)
        assert self.sent.wait(10)

    def _write(self) -> None:
        self.agent.state.set("colour", "red")
        self.manager.sync_agent(self.agent)
        self.manager.append_message(said("first", "1"), self.agent)

    def wait_for_the_message(self) -> None:
        """Until the message itself is on its way."""
        self.sent.clear()
        assert self.sent.wait(10)

    def ends(self) -> None:
        self.written.result(10)
        self._pool.shutdown()


@pytest.fixture
def writing(proxy: Proxy, make_factory: MakeFactory) -> Writing:
    return Writing(proxy, make_factory)


def test_a_message_recorded_during_a_write_follows_it(writing: Writing, stored: Stored) -> None:
    writing.wait_for_the_message()
    writing.manager.append_message(said("second", "2"), writing.agent)
    writing.ends()

    assert history(stored("s")) == ["prompt first", "prompt second"]


def test_a_change_of_a_message_that_is_being_written_is_not_lost(writing: Writing, stored: Stored) -> None:
    writing.wait_for_the_message()
    writing.manager.append_message(said("corrected", "1"), writing.agent)
    writing.ends()

    assert history(stored("s")) == ["prompt corrected"]
    writing.manager.append_message(said("second", "2"), writing.agent)
    assert history(stored("s")) == ["prompt corrected", "prompt second"]


def test_a_message_redacted_while_it_is_being_written_leaves_the_document(writing: Writing, stored: Stored) -> None:
    writing.wait_for_the_message()
    writing.manager.redact_latest_message(said("[redacted]", "1"), writing.agent)
    writing.ends()

    assert history(stored("s")) == ["prompt [redacted]"]
    assert "first" not in str(stored("s"))


def test_a_state_set_during_a_write_is_stored_too(writing: Writing, stored: Stored) -> None:
    writing.agent.state.set("colour", "blue")
    writing.manager.sync_agent(writing.agent)
    writing.ends()

    assert stored("s")["agents"]["default"]["agent_data"]["state"] == {"colour": "blue"}
    assert history(stored("s")) == ["prompt first"]


def test_closing_during_a_write_waits_for_it(writing: Writing, stored: Stored) -> None:
    writing.wait_for_the_message()
    writing.manager.close()

    assert history(stored("s")) == ["prompt first"]
    writing.ends()


def test_messages_appended_by_many_threads_are_stored_once_each(
    factory: MongoDBSessionManagerFactory, stored: Stored
) -> None:
    manager = factory.create_session_manager("s")
    agent = Agent(model=ScriptedModel(), session_manager=manager, callback_handler=None)

    def append(number: int, barrier: threading.Barrier) -> None:
        barrier.wait()
        for index in range(5):
            manager.append_message(said(f"{number}-{index}", f"{number}-{index}"), agent)

    together(8, append)

    told = history(stored("s"))
    assert sorted(told) == sorted(f"prompt {number}-{index}" for number in range(8) for index in range(5))
    for number in range(8):
        own = [line for line in told if line.startswith(f"prompt {number}-")]
        assert own == [f"prompt {number}-{index}" for index in range(5)]


def test_parallel_tools_share_one_claim(
    factory: MongoDBSessionManagerFactory, commands: Commands, stored: Stored
) -> None:
    ran: list[int] = []

    @tool(context=True)
    def pay(amount: int, tool_context: ToolContext) -> str:
        """Pay after approval.

        Args:
            amount: How much.
        """
        tool_context.interrupt("approval", reason=f"pay {amount}?")
        ran.append(amount)
        return "paid"

    uses = [{"name": "pay", "input": {"amount": amount}} for amount in range(8)]

    def payer(*script: Any) -> Agent:
        manager = factory.create_session_manager("s")
        return Agent(model=ScriptedModel(*script), session_manager=manager, tools=[pay], callback_handler=None)

    interrupts = payer(uses)("pay").interrupts
    assert interrupts is not None
    answers: Any = [{"interruptResponse": {"interruptId": each.id, "response": "yes"}} for each in interrupts]
    commands.clear()
    payer("done")(answers)

    assert sorted(ran) == list(range(8))
    # The load; the claim; the results of the tools; the answer.
    assert commands.names == ["find", "update", "update", "update"]
    assert turn_of(stored("s")) is None


def test_parallel_tools_that_write_through_the_manager_keep_the_turn_whole(
    factory: MongoDBSessionManagerFactory, stored: Stored
) -> None:
    manager = factory.create_session_manager("s")

    @tool
    def note(number: int) -> str:
        """Note a number.

        Args:
            number: Which.
        """
        agent.state.set(f"n{number}", number)
        manager.sync_agent(agent)
        manager.update_metadata({f"n{number}": number})
        return "noted"

    uses = [{"name": "note", "input": {"number": number}} for number in range(8)]
    agent = Agent(model=ScriptedModel(uses, "done"), session_manager=manager, tools=[note], callback_handler=None)
    agent("note")

    document = stored("s")
    everything = {f"n{number}": number for number in range(8)}
    assert document["agents"]["default"]["agent_data"]["state"] == everything
    assert document["metadata"] == everything
    assert len(document["agents"]["default"]["messages"]) == 4
    assert turn_of(document) is None


@pytest.mark.parametrize("managers", ["one manager", "a manager each"])
def test_agents_that_make_a_new_session_together_are_all_stored(
    factory: MongoDBSessionManagerFactory, stored: Stored, managers: str
) -> None:
    shared = factory.create_session_manager("s")

    def manager() -> MongoDBSessionManager:
        return shared if managers == "one manager" else factory.create_session_manager("s")

    def first(number: int, barrier: threading.Barrier) -> None:
        made = turn(manager(), f"t{number}", agent_id=f"a{number}")
        barrier.wait()
        made()

    together(8, first)

    document = stored("s")
    for number in range(8):
        assert history(document, f"a{number}") == lines(f"t{number}")
        assert turn_of(document, f"a{number}") is None
