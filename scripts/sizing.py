"""How many replicas, connections and megabytes a load needs. The arithmetic of docs/deploy.md.

Usage: python scripts/sizing.py --turns-per-second 20 --seconds-per-turn 8
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, fields
from math import ceil

TURN_MS = 6.0
"""Processor time of a turn, without what its events cost: docs/load.md."""
EVENT_MS = 0.17
"""Processor time of an event that is streamed."""
COMMANDS = 5
"""Commands of a turn: one find, two updates, and two of a tool call."""
PROCESS_MB = 170
"""Memory of a process that has been used for a while."""
TURN_MB = 0.5
"""Memory of a turn that runs, with its history and its events."""
BUSY = 0.6
"""How busy a process may be on average: above that, those who wait are heard of."""


@dataclass(frozen=True, kw_only=True)
class Load:
    """What is to be borne.

    Attributes:
        turns_per_second: Questions a second, at the peak.
        seconds_per_turn: From a question to the end of its answer.
        events_per_turn: Pieces in which an answer is streamed.
        command_ms: Milliseconds of a command to the database, its journal and majority included.
        members: Of the replica set.
        turns_per_process: MAX_CONCURRENT_TURNS.
        spare: Replicas that may be missing at the peak: one that is lost or being replaced.
    """

    turns_per_second: float
    seconds_per_turn: float
    events_per_turn: int = 200
    command_ms: float = 10.0
    members: int = 3
    turns_per_process: int = 200
    spare: int = 1


@dataclass(frozen=True, kw_only=True)
class Size:
    """What bears it.

    Attributes:
        running_turns: Turns that run at once, in all replicas.
        replicas: Processes, each with a core of its own.
        max_pool_size: MAX_POOL_SIZE of each.
        connections: The most that the members of the replica set see together: pools, and two to watch each member.
        memory_mb: Of each replica.
    """

    running_turns: int
    replicas: int
    max_pool_size: int
    connections: int
    memory_mb: int


def size(load: Load) -> Size:
    """What a load needs.

    Raises:
        ValueError: A number makes no sense.
    """
    for field in fields(load):
        if getattr(load, field.name) < (0 if field.name in ("spare", "events_per_turn") else 1e-9):
            raise ValueError(f"{field.name} must be more than that: {getattr(load, field.name)}")
    running = load.turns_per_second * load.seconds_per_turn
    cores = load.turns_per_second * (TURN_MS + load.events_per_turn * EVENT_MS) / 1000
    needed = max(ceil(cores / BUSY), ceil(running / load.turns_per_process), 1)
    share = load.turns_per_second / needed
    # What is busy on average, four times that for the moments when many come together, and never fewer than ten.
    pool = min(100, max(10, ceil(4 * share * COMMANDS * load.command_ms / 1000)))
    replicas = needed + load.spare
    return Size(
        running_turns=ceil(running),
        replicas=replicas,
        max_pool_size=pool,
        connections=replicas * (pool + 2 * load.members),
        memory_mb=ceil(PROCESS_MB + TURN_MB * running / needed),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for field in fields(Load):
        kind = int if field.type == "int" else float
        name = f"--{field.name.replace('_', '-')}"
        has_default = isinstance(field.default, int | float)
        shown = f"{field.default} by default" if has_default else "needed"
        parser.add_argument(name, type=kind, required=not has_default, default=field.default, help=shown)
    found = size(Load(**vars(parser.parse_args())))
    for field in fields(found):
        print(f"{field.name.replace('_', ' ')}: {getattr(found, field.name):,}")


if __name__ == "__main__":
    main()
