"""``chat-service evaluate``: measures a knowledge base with questions whose answers are known."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from ..config import Settings
from .errors import KnowledgeBaseError
from .evaluated_answers import By, answering
from .evaluation import Outcome, Scores, evaluate, scores
from .limits import LIMITS, option_of, verdicts
from .passages import Mode
from .questions import OWN_QUESTIONS, Question, QuestionFileError, Split, read_questions

if TYPE_CHECKING:
    from .ingest_report import Ingested
    from .knowledge_base import KnowledgeBase

__all__ = ["add_to", "run"]

_MODES: tuple[Mode, ...] = get_args(Mode)
_EPILOG = """\
Without --questions the questions are those about this project's own documentation. Without --documents these are asked
of that documentation, and questions of your own of the knowledge base that the settings name.

Exits with 1 when a limit is not kept, with 2 when the questions or an argument are wrong, with 3 when the knowledge
base cannot be used.
"""


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to those of ``chat-service``."""
    parser = commands.add_parser(
        "evaluate",
        help="measure how well questions are answered from documents",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--questions", type=Path, metavar="FILE", help="questions of your own, as JSON Lines")
    parser.add_argument("--documents", type=Path, nargs="+", metavar="PATH", help="ask them of these files and folders")
    parser.add_argument(
        "--split", choices=get_args(Split), default=None, help="which questions; held-out, of your own all"
    )
    parser.add_argument("--mode", choices=_MODES, help="only this one; else all, limits for RETRIEVAL_MODE")
    parser.add_argument("--top-k", type=_count, default=5, metavar="N", help="passages to ask for, 5")
    parser.add_argument(
        "--answers", choices=get_args(By), default="demo", help="who answers, so that citations can be judged; demo"
    )
    parser.add_argument("--misses", action="store_true", help="list the questions that went wrong")
    parser.add_argument("--json", action="store_true", dest="as_json", help="print one JSON document")
    for name, limit in LIMITS.items():
        bound = "at least" if limit.is_least else "at most"
        parser.add_argument(option_of(name), type=_share, metavar="X", help=f"{limit.what}: {bound} this, from 0 to 1")


def run(settings: Settings, arguments: argparse.Namespace) -> int:
    """Do what the command says.

    Returns:
        The exit code.
    """
    if not find_spec("qdrant_client") or not find_spec("rich"):
        sys.stderr.write("The knowledge base needs more packages. Install the extra rag.\n")
        return 3
    try:
        questions = read_questions(arguments.questions or OWN_QUESTIONS, _split(arguments))
        measured = asyncio.run(_measured(settings, arguments, questions))
    except QuestionFileError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except KnowledgeBaseError as error:
        sys.stderr.write(f"{error}\n")
        return 3
    return _report(settings, arguments, measured)


def _split(arguments: argparse.Namespace) -> Split:
    """Own questions are judged by those that nothing was tuned on; a file of the user's has its own ways."""
    split: Split | None = arguments.split
    return split or ("all" if arguments.questions else "held-out")


async def _measured(
    settings: Settings, arguments: argparse.Namespace, questions: list[Question]
) -> dict[Mode, list[Outcome]]:
    from rich.console import Console
    from rich.progress import Progress

    modes = [arguments.mode] if arguments.mode else _MODES
    judged = _judged(settings, arguments)
    measured: dict[Mode, list[Outcome]] = {}
    async with _knowledge_base(settings, arguments) as knowledge:
        asking = answering(settings, knowledge, arguments.answers, arguments.top_k)
        with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True) as progress:
            for mode in modes:
                task = progress.add_task(mode, total=len(questions))
                measured[mode] = await evaluate(
                    knowledge,
                    questions,
                    mode,
                    top_k=arguments.top_k,
                    answering=asking if mode == judged else None,
                    progress=lambda done, task=task: progress.update(task, completed=done),  # type: ignore[misc]
                )
    return measured


@asynccontextmanager
async def _knowledge_base(settings: Settings, arguments: argparse.Namespace) -> AsyncIterator[KnowledgeBase]:
    """The one that is configured, or one of its own in a folder that is gone afterwards."""
    from .knowledge_base import KnowledgeBase

    if arguments.questions and not arguments.documents:
        async with await KnowledgeBase.open(settings) as configured:
            yield configured
        return
    with tempfile.TemporaryDirectory(prefix="chat-service-evaluate-") as folder:
        own = settings.model_copy(
            update={"data_dir": Path(folder), "qdrant_url": None, "qdrant_api_key": None, "knowledge_paths": ()}
        )
        async with await KnowledgeBase.open(own) as knowledge:
            if arguments.documents:
                _refuse_problems(await knowledge.ingest(arguments.documents))
            else:
                await knowledge.ingest_default()
            yield knowledge


def _refuse_problems(report: Ingested) -> None:
    """A part of the documents would say nothing about them."""
    if report.problems:
        raise KnowledgeBaseError("\n".join(map(str, report.problems)))


def _report(settings: Settings, arguments: argparse.Namespace, measured: dict[Mode, list[Outcome]]) -> int:
    from rich.console import Console

    from .evaluation_report import print_misses, print_table

    every: dict[Mode, Scores] = {mode: scores(mode, those, arguments.top_k) for mode, those in measured.items()}
    judged = every[_judged(settings, arguments)]
    wanted = {name: limit for name in LIMITS if (limit := getattr(arguments, name)) is not None}
    found = verdicts(judged, wanted)
    kept = all(verdict.is_kept for verdict in found)
    if arguments.as_json:
        modes = [one.as_json() for one in every.values()]
        limits = [one.as_json() for one in found]
        sys.stdout.write(json.dumps({"modes": modes, "judged": judged.mode, "limits": limits}) + "\n")
        return 0 if kept else 1
    console = Console()
    print_table([*every.values()], console)
    for mode, outcomes in measured.items() if arguments.misses else ():
        print_misses(mode, outcomes, console)
    for verdict in found:
        console.print(f"{judged.mode}: {verdict}", markup=False, highlight=False)
    return 0 if kept else 1


def _judged(settings: Settings, arguments: argparse.Namespace) -> Mode:
    """The mode that limits hold for, and in which an agent is asked."""
    mode: Mode | None = arguments.mode
    return mode or settings.retrieval_mode


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError("use a number from 0 to 1")
    return value


def _count(text: str) -> int:
    value = int(text)
    if not 1 <= value <= 50:
        raise argparse.ArgumentTypeError("use a number from 1 to 50")
    return value
