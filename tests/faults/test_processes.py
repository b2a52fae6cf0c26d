"""Promise 3 across processes: one session, one interrupt, one open tool use, and several who want them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from mongodb_session_manager import MongoDBSessionManagerFactory
from tests.faults.turns import assert_whole, history, lines, turn, turn_of
from tests.faults.workers import Place, Worker, answerer, continuer, payer, sleeper, started, turn_taker

Stored = Callable[[str], Any]


def ready(workers: ExitStack, number: int, work: Callable[..., None], *arguments: Any) -> list[Worker]:
    """So many processes that have come as far as a word lets them go on."""
    made = [workers.enter_context(started(work, *arguments)) for _ in range(number)]
    for worker in made:
        assert worker.answer() == "ready"
    return made


def test_four_processes_on_one_session_never_interleave_and_one_of_each_round_returns(
    place: Place, stored: Stored
) -> None:
    returned: list[str] = []
    with ExitStack() as stack:
        workers = ready(stack, 4, turn_taker, place, "s")
        for round_number in range(6):
            texts = [f"{round_number}-{number}" for number in range(4)]
            for worker, text in zip(workers, texts, strict=True):
                worker.send(text)
            refused = [worker.answer() for worker in workers]
            assert not all(refused)
            returned += [text for text, was in zip(texts, refused, strict=True) if not was]

    assert_whole(stored("s"), returned)


def test_four_processes_that_try_again_when_refused_all_return(place: Place, stored: Stored) -> None:
    with ExitStack() as stack:
        waiting = {f"p{number}": worker for number, worker in enumerate(ready(stack, 4, turn_taker, place, "s"))}
        deadline = time.monotonic() + 30
        while waiting:
            assert time.monotonic() < deadline
            for text, worker in waiting.items():
                worker.send(text)
            waiting = {text: worker for text, worker in waiting.items() if worker.answer()}

    assert_whole(stored("s"), [f"p{number}" for number in range(4)])


@pytest.mark.parametrize("round_number", range(4))
def test_an_interrupt_answered_by_two_processes_at_once_runs_its_tools_once(
    place: Place, factory: MongoDBSessionManagerFactory, stored: Stored, tmp_path: Path, round_number: int
) -> None:
    ledger = tmp_path / "ledger"
    asking, _ = payer(factory, "s", ledger)
    interrupts = asking("pay").interrupts or ()
    answers = [{"interruptResponse": {"interruptId": each.id, "response": "yes"}} for each in interrupts]

    with ExitStack() as stack:
        workers = ready(stack, 2, answerer, place, "s", ledger)
        for worker in workers:
            worker.send(answers)
        refused = [worker.answer() for worker in workers]

    assert len(answers) == 2
    assert sorted(refused) == [False, True]
    assert sorted(ledger.read_text().split()) == ["1", "2"]
    stored_messages = stored("s")["agents"]["default"]["messages"]
    assert [message["message"]["role"] for message in stored_messages] == ["user", "assistant", "user", "assistant"]
    assert turn_of(stored("s")) is None


def test_an_open_tool_use_continued_without_a_prompt_by_two_processes_at_once_runs_once(
    place: Place, factory: MongoDBSessionManagerFactory, stored: Stored, tmp_path: Path
) -> None:
    ledger = tmp_path / "ledger"
    manager = factory.create_session_manager("s")
    left = turn(manager, "w").agent
    use: Any = {"toolUse": {"toolUseId": "use-w", "name": "look_up", "input": {"word": "w"}}}
    manager.append_message({"role": "user", "content": [{"text": "w"}]}, left)
    manager.append_message({"role": "assistant", "content": [use]}, left)

    with ExitStack() as stack:
        workers = ready(stack, 2, continuer, place, "s", ledger)
        for worker in workers:
            worker.send("go")
        refused = [worker.answer() for worker in workers]

    assert sorted(refused) == [False, True]
    assert len(ledger.read_text().split()) == 1
    assert history(stored("s")) == ["prompt w", "use w", "result found w", "done"]
    assert turn_of(stored("s")) is None


def test_a_process_that_slept_through_its_lease_adds_nothing_to_the_turn_of_another(
    place: Place, factory: MongoDBSessionManagerFactory, stored: Stored
) -> None:
    with started(sleeper, place, "s", "slept", {"turn_timeout": 0.5}) as worker:
        assert worker.answer() == "in the tool"
        os.kill(worker.pid, signal.SIGSTOP)
        time.sleep(0.6)
        turn(factory.create_session_manager("s", turn_timeout=0.5), "other")()
        os.kill(worker.pid, signal.SIGCONT)
        worker.send("go on")
        assert worker.answer() == ("SessionConflictError", 1)

    assert history(stored("s")) == [*lines("slept")[:2], "result Tool was interrupted.", *lines("other")]
    assert turn_of(stored("s")) is None
