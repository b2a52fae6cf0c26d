"""Other processes: what they do, and how a test talks to them.

They are forked from a server that has imported everything already and holds no thread and no connection, so that one
costs milliseconds. Each makes a client of its own.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from pymongo import MongoClient, monitoring
from strands import Agent, ToolContext, tool

from mongodb_session_manager import MongoDBSessionManagerFactory
from mongodb_session_manager.errors import SessionBusyError, SessionConflictError
from tests.faults.turns import Turn, tried, turn
from tests.models import ScriptedModel

__all__ = ["Place", "Worker", "answerer", "continuer", "payer", "sleeper", "started", "turn_taker", "victim"]

_forkserver = multiprocessing.get_context("forkserver")
_forkserver.set_forkserver_preload([__name__])


@dataclass(frozen=True)
class Place:
    """Where a test's sessions lie, as another process needs to know it."""

    uri: str
    database: str
    collection: str

    @contextmanager
    def factory(self, **options: Any) -> Iterator[MongoDBSessionManagerFactory]:
        with MongoDBSessionManagerFactory(self.uri, self.database, self.collection, **options) as factory:
            yield factory


@dataclass
class Worker:
    """A process, and the line to it."""

    process: ForkServerProcess
    line: Connection

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid

    def send(self, order: Any) -> None:
        self.line.send(order)

    def answer(self) -> Any:
        assert self.line.poll(30), "the process does not answer"
        return self.line.recv()

    def killed(self) -> list[Any]:
        """All that it said until it was gone; it must have been killed."""
        said = []
        with contextlib.suppress(EOFError):
            while self.line.poll(30):
                said.append(self.line.recv())
        self.process.join(30)
        assert self.process.exitcode == -signal.SIGKILL
        return said


@contextmanager
def started(work: Callable[..., None], *arguments: Any) -> Iterator[Worker]:
    """Run ``work(line, *arguments)`` in a process of its own; it ends with the block."""
    ours, theirs = _forkserver.Pipe()
    process = _forkserver.Process(target=work, args=(theirs, *arguments), daemon=True)
    process.start()
    theirs.close()
    try:
        yield Worker(process, ours)
    finally:
        ours.close()
        process.join(10)
        if process.is_alive():
            process.kill()
            process.join()
        process.close()


def turn_taker(line: Connection, place: Place, session_id: str) -> None:
    """For every text that comes, try one turn and tell whether it was refused."""
    with place.factory() as factory, contextlib.suppress(EOFError):
        line.send("ready")
        while True:
            line.send(tried(turn(factory.create_session_manager(session_id), line.recv())).refused)


def answerer(line: Connection, place: Place, session_id: str, ledger: Path) -> None:
    """Restore an agent that waits for an interrupt; answer it when told to."""
    with place.factory() as factory:
        agent, model = payer(factory, session_id, ledger)
        line.send("ready")
        answers = line.recv()
        line.send(_refused(lambda: agent(answers), model))


def payer(factory: MongoDBSessionManagerFactory, session_id: str, ledger: Path) -> tuple[Agent, ScriptedModel]:
    """An agent whose tools ask before they pay; what they paid is in the ledger."""

    @tool(context=True)
    def pay(amount: int, tool_context: ToolContext) -> str:
        """Pay after approval.

        Args:
            amount: How much.
        """
        tool_context.interrupt("approval", reason=f"pay {amount}?")
        with ledger.open("a") as file:
            file.write(f"{amount}\n")
        return "paid"

    model = ScriptedModel(
        lambda messages: "paid" if len(messages) > 1 else [{"name": "pay", "input": {"amount": n}} for n in (1, 2)]
    )
    manager = factory.create_session_manager(session_id)
    return Agent(model=model, session_manager=manager, tools=[pay], callback_handler=None), model


def continuer(line: Connection, place: Place, session_id: str, ledger: Path) -> None:
    """Restore an agent whose history ends in a tool use; run that without a prompt when told to."""
    with place.factory() as factory:
        made = turn(factory.create_session_manager(session_id), "", lambda: _note(ledger))
        made.model.script = ["done"]
        line.send("ready")
        line.recv()
        line.send(_refused(lambda: made.agent(None), made.model))


def _note(ledger: Path) -> None:
    with ledger.open("a") as file:
        file.write(f"{os.getpid()}\n")


def _refused(work: Callable[[], object], model: ScriptedModel) -> bool:
    try:
        work()
    except (SessionBusyError, SessionConflictError):
        assert model.calls == []
        return True
    return False


def victim(line: Connection, place: Place, session_id: str, text: str, last: int | None, options: Any) -> None:
    """Take a turn and be killed at its n-th boundary, or right after it when there is no number.

    A boundary is before or after a command. What has happened by then is told: ``model`` called, ``tool`` run,
    ``returned``; without a number also how many boundaries there were.
    """
    executioner = _Executioner(last)
    client = MongoClient[Any](place.uri, event_listeners=[executioner])
    factory = MongoDBSessionManagerFactory(
        client=client, database_name=place.database, collection_name=place.collection
    )
    made = _telling(line, turn(factory.create_session_manager(session_id, **options), text, lambda: line.send("tool")))
    made()
    line.send("returned")
    line.send(executioner.boundaries)
    _die()


def _telling(line: Connection, made: Turn) -> Turn:
    script = made.model.script

    def told(number: int) -> Callable[[Any], Any]:
        def answer(messages: Any) -> Any:
            line.send("model")
            return script[number]

        return answer

    made.model.script = [told(number) for number in range(len(script))]
    return made


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class _Executioner(monitoring.CommandListener):
    """Ends its own process at the n-th boundary, counted from 1; names every boundary until then."""

    def __init__(self, last: int | None) -> None:
        self._last = last
        self.boundaries: list[str] = []

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        self._reach(f"before {event.command_name}")

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        self._reach(f"after {event.command_name}")

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        self._reach(f"after a failed {event.command_name}")

    def _reach(self, boundary: str) -> None:
        self.boundaries.append(boundary)
        if len(self.boundaries) == self._last:
            _die()


def sleeper(line: Connection, place: Place, session_id: str, text: str, options: Any) -> None:
    """Take a turn whose tool waits for a word; tell the error that it ended with."""
    with place.factory() as factory:
        manager = factory.create_session_manager(session_id, **options)
        made = turn(manager, text, lambda: (line.send("in the tool"), line.recv()))
        try:
            made()
        except Exception as error:
            line.send((type(error).__name__, len(made.model.calls)))
            return
        line.send(("nothing", len(made.model.calls)))
