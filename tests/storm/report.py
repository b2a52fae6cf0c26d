"""What a storm prints."""

from __future__ import annotations

import os
import platform
from collections import Counter
from collections.abc import Sequence

import pymongo

from tests.storm.application import shape
from tests.storm.faults import KILL_APPLICATION, KILL_PRIMARY
from tests.storm.outages import LIMIT, Told
from tests.storm.storm import Round, Storm

__all__ = ["machine", "outages", "progress", "summary"]

_KINDS = {
    "lost": "acknowledged messages lost",
    "doubled": "messages doubled",
    "torn": "torn turns",
    "out of order": "turns out of order",
    "ids wrong": "sessions with a wrong or repeated id",
    "stuck": "sessions stuck longer than a lease",
    "stood still": "faults during which nothing could be stored",
    "not recovered": "applications that did not recover",
    "application ended": "applications that ended by themselves",
    "loop blocked": "event loops blocked by the database",
    "wrong": "wrong answers and unexpected errors",
}
"""Each must be 0."""


def machine(mongod: str) -> str:
    """Where it ran."""
    return f"Python {platform.python_version()}, PyMongo {pymongo.version}, MongoDB {mongod}, {os.cpu_count()} cores"


def progress(number: int, happened: Round) -> str:
    """One line a fault."""
    times = {
        "elected": happened.elected,
        "majority": happened.writable,
        "stored": happened.stored,
        "all well": happened.recovered,
    }
    told = "  ".join(f"{name} {seconds:.2f}" for name, seconds in times.items() if seconds is not None)
    return f"{number:4}  {happened.fault:<40} {told}"


def summary(title: str, storm: Storm) -> str:
    """All of one storm."""
    return "\n".join([title, *_counts(storm), *_verdict(storm), *_times(storm.rounds), *_problems(storm)])


def _counts(storm: Storm) -> list[str]:
    faults = Counter(each.fault for each in storm.rounds)
    turns = list(storm.ledger.turns.values())
    outcomes = Counter(each.outcome for each in turns)
    messages = sum(len(shape(each.text, each.calls_tool)) for each in storm.ledger.acknowledged())
    errors = Counter(each.error for each in turns if each.outcome == "failed")
    return [
        _row("kills of the primary", faults[KILL_PRIMARY]),
        _row("kills of an application", faults[KILL_APPLICATION]),
        *(_row(name, times) for name, times in faults.items() if name not in (KILL_PRIMARY, KILL_APPLICATION)),
        _row("sessions", len(storm.ledger.session_ids())),
        _row("turns begun", len(turns)),
        _row("turns acknowledged", outcomes["acknowledged"], f"{messages} messages"),
        _row("turns refused", outcomes["busy"] + outcomes["conflict"], "busy or conflict"),
        _row("turns that found a new session taken back", outcomes["taken back"]),
        _row("turns that failed", outcomes["failed"], ", ".join(f"{times} {name}" for name, times in errors.items())),
        _row("turns killed with their application", outcomes[None]),
    ]


def _verdict(storm: Storm) -> list[str]:
    return [
        *(_row(words, storm.found.count(kind)) for kind, words in _KINDS.items()),
        f"  longest gap of an event loop: {storm.ledger.largest_gap:.2f} s",
        f"  longest wait for a turn that nobody ended: {storm.longest_wait:.1f} s",
    ]


def _times(rounds: Sequence[Round]) -> list[str]:
    kills = [each for each in rounds if each.fault == KILL_PRIMARY]
    if not kills:
        return []
    columns = {
        "the next one is elected, or has started": [each.elected for each in kills],
        "a majority holds its first write": [each.writable for each in kills],
        "the next turn is stored": [each.stored for each in kills],
    }
    heads = "".join(f"{head:>8}" for head in ("least", "median", "90 %", "99 %", "most"))
    return [
        f"  seconds from the end of the primary{heads:>47}",
        *(f"    {name:<40}{_spread([each for each in values if each])}" for name, values in columns.items()),
    ]


def _spread(values: Sequence[float]) -> str:
    ordered = sorted(values)
    if not ordered:
        return ""
    parts = (0, 0.5, 0.9, 0.99, 1)
    return "".join(f"{ordered[min(len(ordered) - 1, int(part * len(ordered)))]:8.2f}" for part in parts)


def _problems(storm: Storm) -> list[str]:
    return [f"  {kind}: {what}" for kind, whats in storm.found.problems.items() for what in whats[:20]]


def outages(told: dict[tuple[str, str], Told]) -> str:
    """What was said when the database could not be used."""
    lines = [f"a clear error within {LIMIT:g} s, and nothing stuck afterwards"]
    for (name, asked), each in sorted(told.items()):
        seconds = "" if each.seconds is None else f"{each.seconds:.2f} s"
        wrong = ", ".join(filter(None, [each.wrong, each.stuck]))
        lines.append(f"  {name:<40} {asked:<16} {seconds:<8} {'WRONG: ' + wrong if wrong else each.error[:90]}")
    return "\n".join(lines)


def _row(words: str, count: int, more: str = "") -> str:
    return f"  {words:<42} {count:>8}  {more}".rstrip()
