"""Does a process grow with the turns that it has served?"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from benchmarks.ground import Ground
from benchmarks.table import Promise, Table

_WAYS = {
    "bare": "one agent, which stays, without a session",
    "one": "one agent, which stays",
    "each": "a new manager and agent each turn, in one session",
    "sessions": "a new manager and agent each turn, each in a session of its own",
}

_FLAT = 1.05
"""How much larger a process may be at the end than after a fifth of its turns to be called flat."""

_GROWS_ANYWAY = {"one": "bare"}
"""The SDK's agent notes every turn that it has had; what that takes is not counted against its session."""


def memory(ground: Ground) -> Iterator[Table | Promise]:
    if not Path("/proc/self/statm").exists():
        yield Table("Resident memory", ("",), [("not measured: this system does not tell it in /proc/self/statm",)])
        return
    turns = ground.size(5_000, 25)
    found = _run(ground, turns)
    marks = (0, turns // 5, turns)
    yield Table(
        "Resident memory of a process, in MB, by the turns that it has served",
        ("", *(f"{mark:,}" if mark else "at the start" for mark in marks)),
        [(title, *(f"{found[way][mark] / 1_000_000:.1f}" for mark in marks)) for way, title in _WAYS.items()],
        "At the start: after one turn, so that everything is imported. Prompts of 1 KB; the SDK's default window. An"
        " agent of the SDK notes every turn that it has had, with a session or without.",
    )
    for way in ("one", "each", "sessions"):
        anyway = _grown(found[_GROWS_ANYWAY[way]], turns) if way in _GROWS_ANYWAY else 0
        ratio = 1 + (_grown(found[way], turns) - anyway) / found[way][turns // 5]
        less = ", less what it grows without a session" if anyway else ""
        what = f"resident memory after {turns:,} turns, × that after {turns // 5:,}: {_WAYS[way]}{less}"
        yield Promise(what, f"≤ {_FLAT}", f"{ratio:.3f}", ratio <= _FLAT)


def _grown(sizes: dict[int, int], turns: int) -> int:
    return sizes[turns] - sizes[turns // 5]


def _run(ground: Ground, turns: int) -> dict[str, dict[int, int]]:
    """Bytes by turns by way: each in a process of its own, all at once, because no time is taken."""
    command = [sys.executable, "-m", "benchmarks.long_life", ground.uri, ground.near.database_name, str(turns)]
    with ExitStack() as running:
        processes = {
            way: running.enter_context(subprocess.Popen([*command, way], stdout=subprocess.PIPE, text=True))
            for way in _WAYS
        }
        told = {way: process.communicate()[0] for way, process in processes.items()}
    if failed := [way for way, process in processes.items() if process.returncode]:
        raise RuntimeError(f"the processes whose memory was measured failed: {', '.join(failed)}")
    return {way: {int(mark): size for mark, size in json.loads(text).items()} for way, text in told.items()}
