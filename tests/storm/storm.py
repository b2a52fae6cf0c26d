"""Applications under load, faults one after the other, and a look at every session after each."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pymongo import MongoClient
from pymongo.errors import PyMongoError
from pymongo.read_concern import ReadConcern

from mongodb_session_manager import MongoDBSessionManagerFactory
from mongodb_session_manager.errors import SessionBusyError
from tests.faults.turns import turn
from tests.faults.workers import Place, Worker, started
from tests.storm.application import Orders, application
from tests.storm.checker import (
    Findings,
    check_history,
    check_ids,
    check_resumed,
    check_taken_back,
    check_waits,
    read_session,
)
from tests.storm.faults import KILL_APPLICATION, KILL_PRIMARY, kill_primary, others
from tests.storm.ledger import Ledger, Pen
from tests.storm.servers import Servers

__all__ = ["Round", "Storm"]

_DATABASE, _COLLECTION = "storm", "sessions"
_LEASE = 2.0
_SLACK = 1.5
"""Seconds that a loaded machine adds to a lease."""

_RECOVERY_SECONDS = 30.0
_OUTAGE_SECONDS = 180.0
_SETTLING_SECONDS = 10.0
_POLL_SECONDS = 0.02
_OWN_SESSIONS = 3
_SESSION_SECONDS = 20.0


@dataclass
class Round:
    """One fault.

    Attributes:
        fault: What happened.
        struck: When.
        healed: When all servers and applications were there again.
        elected: Seconds until another server was elected.
        writable: Seconds until that one could store with a majority.
        stored: Seconds until the next turn was stored.
        recovered: Seconds from healing until every application had stored a turn that it began afterwards.
    """

    fault: str
    struck: float
    healed: float = 0.0
    elected: float | None = None
    writable: float | None = None
    stored: float | None = None
    recovered: float | None = None


@dataclass
class _Application:
    number: int
    worker: Worker
    name: str
    stack: ExitStack


@dataclass
class Storm:
    """The applications on some servers, and what became of their turns.

    Attributes:
        servers: Under fault.
        folder: For the ledger.
        seed: Of every choice.
        applications: How many.
        rounds: The faults so far.
        found: What is wrong; empty when all is well.
        longest_wait: Seconds that a turn which nobody ended kept others waiting, at most.
    """

    servers: Servers
    folder: Path
    seed: str
    applications: int = 3
    rounds: list[Round] = field(default_factory=list)
    found: Findings = field(default_factory=Findings)
    longest_wait: float = 0.0

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.ledger = Ledger(self.folder)
        self._running: list[_Application] = []
        self._incarnations = 0
        self._killed: dict[str, float] = {}
        self._looked = 0.0

    def __enter__(self) -> Self:
        self._client = MongoClient[Any](self.servers.uri)
        self._sessions = self._client[_DATABASE][_COLLECTION].with_options(
            read_concern=ReadConcern("linearizable" if len(self.servers.nodes) > 1 else "majority")
        )
        self._factory = MongoDBSessionManagerFactory(
            client=self._client, database_name=_DATABASE, collection_name=_COLLECTION
        )
        self.servers.settle(_SETTLING_SECONDS)
        self._running = [self._start(number) for number in range(self.applications)]
        self._await_recovery(time.monotonic())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for running in self._running:
            running.stack.close()
        self._client.close()

    # One fault

    def strike(self, fault: str) -> Round:
        """Let one fault happen; returns when it is over, the applications are well again and all was checked."""
        choices = random.Random(f"{self.seed} {len(self.rounds)}")
        happened = Round(fault, time.monotonic())
        self.rounds.append(happened)
        if fault == KILL_APPLICATION:
            self._kill_application(choices)
        elif fault == KILL_PRIMARY:
            self._kill_primary(choices, happened)
        else:
            with others(self.servers)[fault](self.servers, choices) as can_store:
                happened.struck = time.monotonic()
                if can_store:
                    self._await_stored(happened, begun=True)
        happened.healed = time.monotonic()
        self._await_recovery(happened.healed)
        happened.recovered = time.monotonic() - happened.healed
        self._note_takeover(happened)
        self.servers.settle(_SETTLING_SECONDS)
        self.check()
        return happened

    def _kill_application(self, choices: random.Random) -> None:
        index = choices.randrange(len(self._running))
        victim = self._running[index]
        time.sleep(choices.uniform(0, 0.3))
        os.kill(victim.worker.pid, signal.SIGKILL)
        victim.worker.killed()
        self._killed[victim.name] = time.monotonic()
        victim.stack.close()
        self._running[index] = self._start(victim.number)

    def _kill_primary(self, choices: random.Random, happened: Round) -> None:
        with kill_primary(self.servers, choices) as struck:
            happened.struck = struck
            takeover = None
            while takeover is None or takeover.elected < struck:
                time.sleep(_POLL_SECONDS)
                takeover = self.servers.took_over(self.servers.primary())
            # A reply that was on its way when the server died is none of the next one's.
            self._await_stored(happened, after=takeover.elected)

    def _note_takeover(self, happened: Round) -> None:
        """If another server was elected, when."""
        takeover = self.servers.took_over(self.servers.primary())
        if takeover is not None and takeover.elected > happened.struck:
            happened.elected = takeover.elected - happened.struck
            happened.writable = takeover.writable - happened.struck

    def _await_stored(self, happened: Round, *, after: float | None = None, begun: bool = False) -> None:
        """Wait for the first turn that is acknowledged, or begun and acknowledged, after a moment."""
        after = happened.struck if after is None else after
        since = len(self.ledger.acknowledged())
        while self._in_time(after):
            ends = [
                each.ended
                for each in self.ledger.acknowledged(max(0, since - 100))
                if each.ended is not None and (each.begun if begun else each.ended) > after
            ]
            if ends:
                happened.stored = min(ends) - happened.struck
                return
            time.sleep(_POLL_SECONDS)
            self.ledger.refresh()
        self.found.add("stood still", f"round {len(self.rounds)}: no turn was stored while {happened.fault}")

    def _await_recovery(self, healed: float) -> None:
        """Wait until every application has stored a turn that it began afterwards."""
        since = len(self.ledger.acknowledged())
        waiting = {running.name: running for running in self._running}
        while waiting and self._in_time(healed):
            time.sleep(_POLL_SECONDS)
            self.ledger.refresh()
            for each in self.ledger.acknowledged(since):
                if each.begun > healed:
                    waiting.pop(each.application, None)
            for name, running in waiting.items():
                if not running.worker.process.is_alive():
                    self.found.add("application ended", f"{name} by itself, in round {len(self.rounds)}")
        for name in waiting:
            self.found.add("not recovered", f"{name}, in round {len(self.rounds)}")

    def _in_time(self, begun: float) -> bool:
        """Whether what began then may still last: for as long as the servers themselves cannot store, and a while."""
        lasted = time.monotonic() - begun
        if lasted < _RECOVERY_SECONDS:
            return True
        takeover = self.servers.took_over(self.servers.primary()) if lasted < _OUTAGE_SECONDS else None
        lacks_majority = takeover is None or takeover.writable > time.monotonic() - _RECOVERY_SECONDS
        return lasted < _OUTAGE_SECONDS and lacks_majority

    # What must be true

    def check(self, *, everything: bool = False) -> None:
        """Look at the sessions that were in use since the last look, or at every one."""
        self.ledger.refresh()
        since, self._looked = self._looked, time.monotonic()
        for session_id in self.ledger.session_ids():
            if everything or self.ledger.of_session(session_id)[-1].begun > since - _LEASE:
                _patiently(partial(self._check_session, session_id, at_rest=everything))
        for kind, said in (("wrong", self.ledger.wrong), ("loop blocked", self.ledger.blocked)):
            for what in said:
                self.found.add(kind, f"by round {len(self.rounds)}, {what}")
            said.clear()

    def _check_session(self, session_id: str, *, at_rest: bool) -> None:
        turns = self.ledger.of_session(session_id)
        acknowledged = [each for each in turns if each.outcome == "acknowledged"]
        document = self._sessions.find_one({"_id": session_id})
        if document is None:
            for each in acknowledged:
                self.found.add("lost", f"{session_id}: {each.text[:40]!r}, with its whole session")
            return
        check_ids(session_id, document, self.found)
        history = read_session(self._factory, session_id, self.found)
        # What was begun meanwhile may be in the history already.
        self.ledger.refresh()
        check_history(session_id, history, self.ledger.turns, acknowledged, self.found)
        if at_rest and history:
            check_resumed(self._factory, session_id, history, self.found)
        faults = [(each.struck, each.healed or time.monotonic()) for each in self.rounds]
        check_taken_back(turns, self.found)
        wait = check_waits(turns, self._killed, faults, _LEASE + _SLACK, self.found)
        self.longest_wait = max(self.longest_wait, wait)

    def finish(self) -> None:
        """Stop the applications; look at every session; take one more turn in those that were in use last."""
        for running in self._running:
            running.worker.send("stop")
        for running in self._running:
            if running.worker.answer() != "stopped":
                self.found.add("application ended", f"{running.name} did not stop as told")
            running.stack.close()
        self._running = []
        self.ledger.refresh()
        last = max((each.begun for each in self.ledger.turns.values()), default=0.0)
        pen = Pen(self.folder, "afterwards")
        for session_id in self.ledger.session_ids():
            if self.ledger.of_session(session_id)[-1].begun > last - _SESSION_SECONDS:
                self._take_a_turn(pen, session_id)
        self.check(everything=True)

    def _take_a_turn(self, pen: Pen, session_id: str) -> None:
        deadline = time.monotonic() + _LEASE + _SLACK
        for attempt in range(1_000):
            text = f"afterwards {session_id} {attempt}"
            pen.note("begun", session_id=session_id, text=text, calls_tool=True)
            try:
                turn(self._factory.create_session_manager(session_id, turn_timeout=_LEASE), text)()
            except (SessionBusyError, PyMongoError) as error:
                outcome = "busy" if isinstance(error, SessionBusyError) else "failed"
                pen.note("ended", text=text, outcome=outcome, error=type(error).__name__)
                if time.monotonic() > deadline:
                    self.found.add("stuck", f"{session_id}: still {type(error).__name__} when all was over")
                    return
                time.sleep(0.1)
            else:
                pen.note("ended", text=text, outcome="acknowledged", error="")
                return

    # The applications

    def _start(self, number: int) -> _Application:
        self._incarnations += 1
        name = f"app{number}.{self._incarnations}"
        orders = Orders(
            name=name,
            place=Place(self.servers.uri, _DATABASE, _COLLECTION),
            # Every other application goes without the driver's own retries.
            options={"retryWrites": number % 2 == 0},
            ledger=self.folder,
            groups=[*(f"own{number}.{each}" for each in range(_OWN_SESSIONS)), "shared"],
            lease=_LEASE,
            # Ten minutes apart.
            clock=300.0 if number % 2 else -300.0,
            seed=f"{self.seed} {name}",
            session_seconds=_SESSION_SECONDS,
        )
        stack = ExitStack()
        return _Application(number, stack.enter_context(started(application, orders)), name, stack)


def _patiently(look: Callable[[], None]) -> None:
    """A late election may meet a look at the database, too."""
    deadline = time.monotonic() + _RECOVERY_SECONDS
    while True:
        try:
            look()
            return
        except PyMongoError:
            if time.monotonic() > deadline:
                raise
