"""How fast are documents taken in, and found? All on Qdrant's embedded mode with the offline model, in one process.

Run it with ``make retrieval``; ``docs/retrieval.md`` says what each number means. The documents are made of this
project's own words, so that terms are as frequent as in real ones.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import random
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from statistics import quantiles
from typing import get_args

from benchmarks.table import Promise, Table, summary, with_block
from chat_service.config import Settings
from chat_service.rag.knowledge_base import KnowledgeBase
from chat_service.rag.passages import Mode

MODULES = 10
SECTIONS = 20
"""Of a file, each of which is a chunk."""
WORDS = 110
"""Of a section."""
BEAT = 0.005
"""Seconds between two looks at the clock by the event loop."""
INGEST_LIMIT, UNFILTERED_LIMIT, FILTERED_LIMIT = 60.0, 30.0, 120.0

ROOT = Path(__file__).resolve().parents[1]


def write_documents(folder: Path, chunks: int) -> None:
    """Files of sections, of words drawn from the documentation."""
    pages = [ROOT / "README.md", ROOT / "ARCHITECTURE.md", *sorted((ROOT / "docs").glob("*.md"))]
    words = " ".join(page.read_text(encoding="utf-8") for page in pages).split()
    words = [word for word in words if word.isalpha()]
    drawn = random.Random(7)
    for number in range(0, chunks, SECTIONS):
        module = folder / f"module-{number // SECTIONS % MODULES}"
        module.mkdir(parents=True, exist_ok=True)
        sections = (
            f"## {' '.join(drawn.choices(words, k=4))}\n\n{' '.join(drawn.choices(words, k=WORDS))}."
            for _ in range(min(SECTIONS, chunks - number))
        )
        (module / f"file-{number // SECTIONS:05}.md").write_text("\n\n".join(["# A file", *sections]), encoding="utf-8")


class Memory:
    """The resident memory of this process while something runs, in megabytes."""

    def __init__(self) -> None:
        self.before = self.peak = resident()
        self._ended = threading.Event()
        self._watching = threading.Thread(target=self._watch)

    def __enter__(self) -> Memory:
        self._watching.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._watching.join()

    def _watch(self) -> None:
        while not self._ended.wait(0.05):
            self.peak = max(self.peak, resident())


def resident() -> float:
    """Megabytes of memory that this process holds now."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1_000_000


@asynccontextmanager
async def heartbeat() -> AsyncIterator[list[float]]:
    """By how many milliseconds each look at the clock came too late."""
    late: list[float] = []

    async def beat() -> None:
        while True:
            due = time.perf_counter() + BEAT
            await asyncio.sleep(BEAT)
            late.append((time.perf_counter() - due) * 1000)

    beating = asyncio.create_task(beat())
    try:
        yield late
    finally:
        beating.cancel()


async def taken_in(base: KnowledgeBase, folder: Path, chunks: int) -> AsyncIterator[Table | Promise]:
    """Ingest, and ingest again when nothing has changed."""
    rows = []
    for what in ("new", "unchanged"):
        with Memory() as memory:
            async with heartbeat() as late:
                began = time.perf_counter()
                report = await base.ingest([folder])
                seconds = time.perf_counter() - began
        if report.chunks != chunks or report.problems:
            raise RuntimeError(f"{report.chunks} chunks instead of {chunks}, {len(report.problems)} problems")
        p99 = quantiles(late, n=100, method="inclusive")[98]
        rows.append(
            (
                what,
                str(report.embedded),
                f"{seconds:.1f}",
                f"{memory.before:.0f}",
                f"{memory.peak:.0f}",
                f"{p99:.0f}",
                f"{max(late):.0f}",
            )
        )
        if what == "new":
            yield Promise(
                f"ingest of {chunks:,} chunks", f"< {INGEST_LIMIT:.0f} s", f"{seconds:.1f} s", seconds < INGEST_LIMIT
            )
    yield Table(
        f"Ingest of {chunks:,} chunks in {chunks // SECTIONS:,} files",
        ("files", "embedded", "seconds", "MB before", "MB at most", "loop late p99 ms", "worst ms"),
        rows,
        "The embedded store and its index are in memory, so that is what grows. `loop late` is by how much an event "
        f"loop that looks at the clock every {BEAT * 1000:.0f} ms comes too late meanwhile.",
    )


async def asked(base: KnowledgeBase, questions: Sequence[str], chunks: int) -> AsyncIterator[Table | Promise]:
    """The same questions in each mode, with and without a filter."""
    rows = []
    worst = {"unfiltered": 0.0, "filtered": 0.0}
    for mode in get_args(Mode):
        for filtered, module in (("unfiltered", None), ("filtered", "module-3")):
            times = []
            for question in questions:
                began = time.perf_counter()
                await base.retrieve(question, mode=mode, threshold=0.0, module=module)
                times.append((time.perf_counter() - began) * 1000)
            cuts = quantiles(times, n=100, method="inclusive")
            rows.append((f"{mode}, {filtered}", f"{cuts[49]:.1f}", f"{cuts[98]:.1f}", f"{max(times):.1f}"))
            worst[filtered] = max(worst[filtered], cuts[98])
    yield Table(
        f"A question, from the call to its passages, at {chunks:,} chunks", ("", "p50 ms", "p99 ms", "worst ms"), rows
    )
    for filtered, limit in (("unfiltered", UNFILTERED_LIMIT), ("filtered", FILTERED_LIMIT)):
        found = f"{worst[filtered]:.1f} ms"
        yield Promise(
            f"p99 of a question, {filtered}, in any mode", f"< {limit:.0f} ms", found, worst[filtered] < limit
        )


async def measured(chunks: int, rounds: int) -> AsyncIterator[Table | Promise]:
    """Everything, in a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        documents = Path(folder, "documents")
        write_documents(documents, chunks)
        settings = Settings(_env_file=None, data_dir=Path(folder, "data"), qdrant_url=None)
        async with await KnowledgeBase.open(settings) as base:
            async for found in taken_in(base, documents, chunks):
                yield found
            await base.retrieve("what comes first is prepared once")
            async for found in asked(base, [*questions(rounds)], chunks):
                yield found
        began = time.perf_counter()
        async with await KnowledgeBase.open(settings):
            seconds = time.perf_counter() - began
        yield Table(f"Opening it again, at {chunks:,} chunks", ("", "seconds"), [("all", f"{seconds:.1f}")])


def questions(count: int) -> Iterator[str]:
    """So many of the words of the documentation, each time others."""
    words = [word for word in (ROOT / "docs" / "sessions.md").read_text(encoding="utf-8").split() if word.isalpha()]
    drawn = random.Random(8)
    return (f"How do I {' '.join(drawn.choices(words, k=8))}?" for _ in range(count))


async def report(chunks: int, rounds: int) -> list[Table]:
    """Measure, and tell what was found as it is found."""
    found = []
    async for each in measured(chunks, rounds):
        found.append(each)
        print(f"{each}\n" if isinstance(each, Table) else f"({each.what}: {each.found})\n", flush=True)
    kept = summary([each for each in found if isinstance(each, Promise)])
    print(f"{kept}\n", flush=True)
    return [kept, *(each for each in found if isinstance(each, Table))]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and tell."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.retrieval", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="make everything small, to see that it works")
    parser.add_argument("--write", metavar="PAGE", help="put what was found into a Markdown page, between its marks")
    options = parser.parse_args(arguments)
    if options.write and options.quick:
        parser.error("--write takes the whole run, without --quick")
    where = machine()
    print(f"{where}\n", flush=True)
    tables = asyncio.run(report(400, 20) if options.quick else report(10_000, 300))
    if options.write:
        page = Path(options.write)
        block = "\n\n".join([f"{where}, {os.getloadavg()[0]:.1f} at the end.", *map(str, tables)])
        page.write_text(with_block(page.read_text(encoding="utf-8"), block), encoding="utf-8")


def machine() -> str:
    """What it all runs on."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("qdrant-client", "wordllama", "numpy"))
    return (
        f"Python {platform.python_version()}, {packages}, {platform.system()} {platform.machine()}, {os.cpu_count()} "
        f"cores, load {os.getloadavg()[0]:.1f} at the start"
    )


if __name__ == "__main__":
    main()
