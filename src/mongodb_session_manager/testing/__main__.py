"""The command: the contract suite on this library's session manager and on the SDK's, or on one that is named."""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from .contract import CAPABILITIES, CONTRACT, Check
from .report import Report, comparison, run
from .subject import Subject, subject_of
from .subjects import files, mongodb, snapshots

__all__ = ["main", "with_table"]

BEGIN, END = "<!-- contract: begin -->", "<!-- contract: end -->"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the suite.

    Returns:
        1 when a session manager that was named fails something, else 0: the comparison is there to be read.
    """
    options = _options(arguments)
    checks = [check for check in CONTRACT if options.only in (None, check.capability)]
    with _quiet(), tempfile.TemporaryDirectory() as folder:
        if options.subject:
            return 1 if _report(subject_of(options.subject), checks).failed else 0
        reports = [*_reports(Path(folder), options.uri, checks)]
    if options.write is not None:
        page = Path(options.write)
        page.write_text(with_table(page.read_text(encoding="utf-8"), reports), encoding="utf-8")
    return 0


def with_table(page: str, reports: Sequence[Report]) -> str:
    """A page with a new comparison between its two marks.

    Raises:
        ValueError: The page has no such marks.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page has no lines {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{comparison(reports)}\n{END}{after}"


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m mongodb_session_manager.testing", description=__doc__)
    parser.add_argument("--uri", help="a MongoDB replica set, instead of the embedded server")
    parser.add_argument("--only", choices=CAPABILITIES, help="the checks of one capability")
    parser.add_argument("--write", metavar="PAGE", help="put the comparison into a Markdown page, between its marks")
    parser.add_argument(
        "subject", nargs="*", help="MODULE:FUNCTION that makes a Subject, and the texts to call it with"
    )
    options = parser.parse_args(arguments)
    if options.write and (options.only or options.subject):
        parser.error("--write takes the whole comparison, without --only and without a subject")
    return options


@contextmanager
def _quiet() -> Iterator[None]:
    """What the session managers log of the failures that the checks provoke is of no use here."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


def _reports(folder: Path, uri: str | None, checks: Sequence[Check]) -> Iterator[Report]:
    with _server(folder / "mongodb", uri) as address:
        yield _report(mongodb(address, turn_timeout=3.0), checks)
    yield _report(files(str(folder / "files")), checks)
    yield _report(snapshots(str(folder / "snapshots")), checks)
    yield _report(snapshots(str(folder / "each_message"), "message"), checks)


@contextmanager
def _server(folder: Path, uri: str | None) -> Iterator[str]:
    if uri is not None:
        yield uri
        return
    from ..embedded import EmbeddedMongoDB  # not on every platform

    with EmbeddedMongoDB(folder) as server:
        yield server.uri


def _report(subject: Subject, checks: Sequence[Check]) -> Report:
    with subject:
        report = run(subject, checks)
    sys.stdout.write(f"{report}\n\n")
    sys.stdout.flush()
    return report


if __name__ == "__main__":
    sys.exit(main())
