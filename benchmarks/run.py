"""What does a durable session cost a turn? Counts first, then times, all in one run on an embedded MongoDB.

Run it with ``make bench``; ``docs/benchmarks.md`` says what each number means. Times depend on the machine, ratios less
so, counts not at all.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benchmarks.ground import Ground, machine, open_ground
from benchmarks.sections.catalogue import catalogue
from benchmarks.sections.chats import chats
from benchmarks.sections.history import history
from benchmarks.sections.large import large
from benchmarks.sections.managers import managers
from benchmarks.sections.memory import memory
from benchmarks.sections.options import options
from benchmarks.sections.others import others
from benchmarks.sections.turn import turn
from benchmarks.table import Promise, Table, summary, with_block

SECTIONS: dict[str, Callable[[Ground], Iterator[Table | Promise]]] = {
    "managers": managers,
    "turn": turn,
    "chats": chats,
    "options": options,
    "history": history,
    "large": large,
    "catalogue": catalogue,
    "others": others,
    "memory": memory,
}


def report(ground: Ground, names: Sequence[str]) -> list[Table]:
    """Run sections and tell what they found as they find it.

    Returns:
        What they found, the promises in front.
    """
    tables: list[Table] = []
    promises: list[Promise] = []
    for name in names:
        start = time.perf_counter()
        for found in SECTIONS[name](ground):
            if isinstance(found, Promise):
                promises.append(found)
                continue
            tables.append(found)
            print(f"{found}\n", flush=True)
        print(f"({name}: {time.perf_counter() - start:.0f} s)\n", file=sys.stderr, flush=True)
    kept = summary(promises)
    print(f"{kept}\n", flush=True)
    return [kept, *tables]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and tell."""
    options = _options(arguments)
    page = Path(options.write) if options.write else None
    with open_ground(options.uri, quick=options.quick, rounds=options.rounds) as ground:
        where = machine(ground)
        print(f"{where}\n", flush=True)
        tables = report(ground, options.only or [*SECTIONS])
    if page is not None:
        ran = f"{where}, load {os.getloadavg()[0]:.1f} at the end."
        block = "\n\n".join([ran, *map(str, tables)])
        page.write_text(with_block(page.read_text(encoding="utf-8"), block), encoding="utf-8")


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.run", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only", type=_sections, metavar="SECTIONS", help=f"some of them, with commas between: {', '.join(SECTIONS)}"
    )
    parser.add_argument("--quick", action="store_true", help="make everything small, to see that it works")
    parser.add_argument("--rounds", type=int, help="how often a turn is timed; 200 by default")
    parser.add_argument("--uri", help="a MongoDB replica set, instead of an embedded server")
    parser.add_argument("--write", metavar="PAGE", help="put what was found into a Markdown page, between its marks")
    options = parser.parse_args(arguments)
    if options.write and (options.only or options.quick):
        parser.error("--write takes the whole benchmark, without --only and without --quick")
    if options.rounds is not None and options.rounds < 1:
        parser.error(f"--rounds must be at least 1, not {options.rounds}")
    return options


def _sections(text: str) -> list[str]:
    names = text.split(",")
    if unknown := [name for name in names if name not in SECTIONS]:
        raise argparse.ArgumentTypeError(f"there is no {', '.join(unknown)}; there are {', '.join(SECTIONS)}")
    return names


if __name__ == "__main__":
    main()
