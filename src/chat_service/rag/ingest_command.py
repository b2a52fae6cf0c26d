"""``chat-service ingest``: takes documents into the knowledge base."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from ..config import Settings
from .errors import IngestStopped, KnowledgeBaseError
from .ingest_report import Ingested, Progress
from .knowledge_base import KnowledgeBase
from .sources import SUFFIXES

__all__ = ["add_to", "run"]

_EPILOG = f"""\
Files are told by the ends of their names: {" ".join(SUFFIXES)}. What is hidden is left out.

A path is known by its last name: the files below docs as docs/…, wherever docs lies. What vanished from a path since it
was ingested is removed; other paths are left alone. Without a path those of KNOWLEDGE_PATHS are taken, or this
project's own documentation.

Exits with 1 when a file was left out, with 2 when an argument is wrong, with 3 when the knowledge base cannot be used.
What was done until then stays, and the next run goes on from there.
"""


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to those of ``chat-service``."""
    parser = commands.add_parser(
        "ingest",
        help="take documents into the knowledge base",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("paths", type=Path, nargs="*", metavar="PATH", help="a file or a folder")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be done")
    parser.add_argument("--rebuild", action="store_true", help="fill a new collection with these, then switch to it")
    parser.add_argument("--json", action="store_true", dest="as_json", help="print one JSON document")


def run(settings: Settings, arguments: argparse.Namespace) -> int:
    """Do what the command says.

    Args:
        settings: Which store and embedder.
        arguments: As parsed.

    Returns:
        The exit code.
    """
    if missing := [str(path) for path in arguments.paths if not path.exists()]:
        _complain(f"There is no such file or folder: {', '.join(missing)}")
        return 2
    if not find_spec("qdrant_client") or not find_spec("snowballstemmer"):
        _complain("The knowledge base needs more packages. Install the extra rag.")
        return 3
    try:
        report = asyncio.run(_ingested(settings, arguments))
    except IngestStopped:
        return 130
    except KnowledgeBaseError as error:
        _complain(error)
        return 3
    shown = json.dumps(report.as_json(), indent=2, ensure_ascii=False) if arguments.as_json else _summary(report)
    sys.stdout.write(f"{shown}\n")
    for problem in report.problems if not arguments.as_json else ():
        _complain(problem)
    return 1 if report.problems else 0


def _complain(what: object) -> None:
    sys.stderr.write(f"{what}\n")


async def _ingested(settings: Settings, arguments: argparse.Namespace) -> Ingested:
    paths = arguments.paths or settings.knowledge_paths
    async with await KnowledgeBase.open(settings, create=not arguments.dry_run, check=not arguments.rebuild) as base:
        with _bar() as progress:
            return await base.ingest(paths, dry_run=arguments.dry_run, rebuild=arguments.rebuild, progress=progress)


@contextmanager
def _bar() -> Iterator[Progress]:
    """A progress bar on standard error, where that is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    console = Console(stderr=True)
    with Bar(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("")

        def told(done: int, files: int, name: str) -> None:
            bar.update(task, completed=done, total=files, description=_short(name))

        yield told


def _short(name: str, longest: int = 40) -> str:
    return name if len(name) <= longest else f"…{name[1 - longest :]}"


def _summary(report: Ingested) -> str:
    would = "would be " if report.is_dry else ""
    counts = {
        "added": len(report.added),
        "changed": len(report.changed),
        "unchanged": len(report.unchanged),
        "removed": len(report.removed),
        "left out": len(report.problems),
    }
    files = ", ".join(f"{count} {what}" for what, count in counts.items() if count) or "none"
    return (
        f"Files: {files}. Chunks: {report.chunks}, of which {report.embedded} {would}embedded. "
        f"{report.seconds:.1f} seconds."
    )
