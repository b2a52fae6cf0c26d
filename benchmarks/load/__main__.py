"""How much does one process of the chat service bear, and what do sessions cost it? All in one run, on loopback.

Run it with ``make load``; ``docs/load.md`` says what each number means. The demo model answers without a delay, so that
nothing is measured but the service: with a model that takes a second, sessions are a few thousandths of a turn.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from benchmarks.load.servers import Server, clients, started
from benchmarks.table import Promise, Table, summary, with_block
from tests.contract.postgresql import programs

POOL = {"MongoDB": 100, "PostgreSQL": 10}
WATCHERS = 2
"""Connections beside the pool with which MongoDB's driver watches the server."""


@dataclass(frozen=True)
class Sizes:
    """How much is done.

    Attributes:
        requests: Of each server in each round, by the number of concurrent clients.
        rounds: In each of them every server has its turn, so that what else the machine does meets all of them.
        endurance: Requests for which memory is watched.
        streams: At once.
        delay: Seconds between two words of them.
    """

    requests: dict[int, int]
    rounds: int
    endurance: int
    streams: int
    delay: float


FULL = Sizes({1: 150, 50: 500, 200: 800}, 3, 20_000, 500, 0.2)
QUICK = Sizes({1: 10, 5: 20}, 1, 200, 20, 0.02)
TURNS = 10
"""Questions of a conversation."""


def ask(server: Server, count: int, requests: int, *, varied: bool = True) -> dict[str, Any]:
    """Let so many clients ask so often, and see that each got an answer."""
    found = clients(server, 600, do="ask", clients=count, requests=requests, turns=TURNS, varied=varied)
    if found["statuses"] != {"200": requests}:
        raise RuntimeError(f"{server.name}: not every request was answered: {found['statuses']}")
    return found


class Seen:
    """What one server did for so many clients, in all rounds."""

    def __init__(self) -> None:
        self.parts: list[dict[str, Any]] = []
        self._processor = 0.0

    def add(self, server: Server, count: int, requests: int) -> None:
        before = server.processor()
        self.parts.append(ask(server, count, requests))
        self._processor += server.processor() - before

    @property
    def rate(self) -> float:
        answers: float = sum(part["statuses"]["200"] for part in self.parts)
        seconds: float = sum(part["seconds"] for part in self.parts)
        return answers / seconds

    def cells(self) -> tuple[str, ...]:
        times = sorted(chain.from_iterable(part["latencies"] for part in self.parts))
        theirs = sum(part["processor"] for part in self.parts) / sum(part["seconds"] for part in self.parts)
        return *_quantiles(times), f"{self._processor / len(times) * 1000:.1f}", f"{theirs:.0%}"


def throughput(servers: Sequence[Server], sizes: Sizes) -> Iterator[Table | Promise]:
    """Requests a second of each server, and what part of those without sessions they are."""
    rows = []
    ratios: dict[str, list[float]] = {server.name: [] for server in servers if server.keeps}
    for server in servers:
        ask(server, 20, 60)  # what the first requests cost is another question
    for count, requests in sizes.requests.items():
        seen = {server.name: Seen() for server in servers}
        for _ in range(sizes.rounds):
            for server in servers:
                seen[server.name].add(server, count, requests)
        for name, each in seen.items():
            ratio = each.rate / seen[servers[0].name].rate
            if name in ratios:
                ratios[name].append(ratio)
            share = f"{ratio:.2f}" if name in ratios else ""
            rows.append((f"{count}, {name}", f"{each.rate:.0f}", share, *each.cells()))
    yield Table(
        "Questions a second, answered by one process",
        ("clients", "a second", "ratio", "p50 ms", "p99 ms", "processor ms", "clients' processor"),
        rows,
        "The ratio is to the same application without sessions. `processor` is what the process took for a question, "
        "`clients' processor` the part of a core that the clients took: far from one, so they are not the limit.",
    )
    for name, found in ratios.items():
        at = ", ".join(f"{ratio:.2f}" for ratio in found)
        yield Promise(f"{name}: throughput to that without sessions", "≥ 0.7", at, min(found) >= 0.7)


def slow_model(servers: Sequence[Server], sizes: Sizes) -> Iterator[Table | Promise]:
    """The same with a model that takes its time, as models do, and clients for whom one process is enough."""
    count = sizes.streams // 10
    rows = []
    floor = 0.0
    for server in servers:
        found = ask(server, count, 5 * count, varied=False)
        rate = 5 * count / found["seconds"]
        floor = floor or rate
        share = f"{rate / floor:.2f}" if server.keeps else ""
        rows.append((server.name, f"{rate:.1f}", share, *_quantiles(sorted(found["latencies"]))))
        if server.keeps:
            what = f"{server.name}: the same with a model that takes its time"
            yield Promise(what, "≥ 0.7", share, rate >= 0.7 * floor)
    title = f"The same with a model that says a word every {sizes.delay:g} seconds, {count} clients"
    yield Table(title, ("", "a second", "ratio", "p50 ms", "p99 ms"), rows)


def endurance(server: Server, sizes: Sizes) -> Iterator[Table | Promise]:
    """Memory and connections while many requests are served."""
    part = sizes.endurance // 10
    memory, connections = [], 0
    for _ in range(10):
        ask(server, max(sizes.requests), part)
        memory.append(server.memory())
        connections = max(connections, server.connections())
    yield Table(
        f"{server.name}: resident memory over {sizes.endurance:,} requests",
        ("after", *(f"{part * number:,}" for number in range(1, 11))),
        [("MB", *(f"{value:.0f}" for value in memory))],
    )
    growth = median(memory[7:]) - median(memory[2:5])
    found = f"{growth:+.1f} MB between the third tenth and the last"
    what = f"{server.name}: memory over {sizes.endurance:,} requests"
    yield Promise(what, "flat: ≤ 5 %", found, growth <= 0.05 * memory[4])
    limit = POOL[server.name] + (WATCHERS if server.name == "MongoDB" else 0)
    yield Promise(f"{server.name}: connections", f"≤ {limit}", str(connections), connections <= limit)


def streams(server: Server, sizes: Sizes) -> Iterator[Table | Promise]:
    """A heartbeat from outside, alone and beside many slow streams."""
    alone = clients(server, 60, do="listen", clients=0, apart=0, idle=1.0 if sizes is QUICK else 5.0)
    began, memory = server.processor(), server.memory()
    found = clients(server, 300, do="listen", clients=sizes.streams, apart=0.01, idle=0)
    took = (server.processor() - began) / found["seconds"]
    rows = [
        ("alone", "0", *_quantiles(sorted(alone["latencies"])), f"{max(alone['latencies']):.1f}", "", f"{memory:.0f}"),
        (
            f"{sizes.streams} streams",
            f"{found['events'] / found['seconds']:.0f}",
            *_quantiles(sorted(found["latencies"])),
            f"{max(found['latencies']):.1f}",
            f"{took:.0%}",
            f"{server.memory():.0f}",
        ),
    ]
    yield Table(
        f"{server.name}: `GET /livez` every 50 ms, beside {sizes.streams} slow streams",
        ("", "events a second", "p50 ms", "p99 ms", "worst ms", "processor", "MB"),
        rows,
        f"A stream takes about {found['seconds'] - sizes.streams * 0.01:.0f} seconds.",
    )
    whole = found["statuses"].get("response_complete", 0)
    yield Promise("streams that ended with `response_complete`", f"{sizes.streams}", f"{whole}", whole == sizes.streams)
    together = found["together"]
    yield Promise("streams open at once", f"{sizes.streams}", f"{together}", together == sizes.streams)
    late = _quantiles(sorted(found["latencies"]))[1]
    yield Promise("p99 of the heartbeat beside them", "≤ 100 ms", f"{late} ms", float(late) <= 100)


def sections(sizes: Sizes, *, postgresql: bool) -> Iterator[Table | Promise]:
    """Everything, one after the other."""
    with started(postgresql=postgresql, DEMO_DELAY="0", MAX_CONCURRENT_TURNS="600") as servers:
        yield from throughput(servers, sizes)
        for server in servers[1:]:
            yield from endurance(server, sizes)
    with started(postgresql=postgresql, DEMO_DELAY=str(sizes.delay), MAX_CONCURRENT_TURNS="600") as servers:
        yield from slow_model(servers, sizes)
        yield from streams(servers[1], sizes)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and tell."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.load", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="make everything small, to see that it works")
    parser.add_argument("--write", metavar="PAGE", help="put what was found into a Markdown page, between its marks")
    options = parser.parse_args(arguments)
    if options.write and options.quick:
        parser.error("--write takes the whole run, without --quick")
    page = Path(options.write) if options.write else None
    where, began = machine(), time.monotonic()
    print(f"{where}\n", flush=True)
    found: list[Table | Promise] = []
    for each in sections(QUICK if options.quick else FULL, postgresql=programs() is not None):
        found.append(each)
        print(f"{each}\n" if isinstance(each, Table) else f"({each.what}: {each.found})\n", flush=True)
    kept = summary([each for each in found if isinstance(each, Promise)])
    print(f"{kept}\n", flush=True)
    ran = f"{where}, {os.getloadavg()[0]:.1f} at the end; {time.monotonic() - began:.0f} seconds."
    if page is not None:
        tables = [each for each in found if isinstance(each, Table)]
        block = "\n\n".join([ran, str(kept), *map(str, tables)])
        page.write_text(with_block(page.read_text(encoding="utf-8"), block), encoding="utf-8")


def machine() -> str:
    """What it all runs on."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("strands-agents", "pymongo", "fastapi", "uvicorn"))
    return (
        f"Python {platform.python_version()}, {packages}, {platform.system()} {platform.machine()}, {os.cpu_count()} "
        f"cores for clients, service and database together, load {os.getloadavg()[0]:.1f} at the start"
    )


def _quantiles(times: Sequence[float]) -> tuple[str, str]:
    cuts = quantiles(times, n=100, method="inclusive")
    return f"{cuts[49]:.1f}", f"{cuts[98]:.1f}"


if __name__ == "__main__":
    main()
