"""Commands that carry sessions in and out: ``export``, ``import``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ..errors import SessionNotFoundError
from ..moving_in import ImportReport, import_database_sessions, import_file_sessions
from ..moving_in.reading import ReadingCatalogue
from ..sessions import MongoDBSessionCatalogue
from .connecting import opened, reading
from .exported_files import import_exported
from .options import Collection, Database, Json, Uri
from .output import note, one_line, print_json, print_table

__all__ = ["export", "import_"]

_FROM = "Where sessions come from"
_PAGE = 200

Output = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write this file, when all is there.")
]
FromFiles = Annotated[
    Path | None,
    typer.Option("--from-files", metavar="FOLDER", help="Of the SDK's FileSessionManager.", rich_help_panel=_FROM),
]
FromDatabase = Annotated[
    str | None,
    typer.Option("--from-database", metavar="NAME", help="Another database, also older.", rich_help_panel=_FROM),
]
FromCollection = Annotated[
    str | None,
    typer.Option(
        "--from-collection",
        metavar="NAME",
        help="Another collection, also older; by default of the same name or database.",
        rich_help_panel=_FROM,
    ),
]
FromUri = Annotated[
    str | None,
    typer.Option(
        "--from-uri",
        envvar="FROM_MONGODB_URI",
        metavar="ADDRESS",
        help="Of another server.",
        rich_help_panel=_FROM,
    ),
]


def export(
    uri: Uri,
    database: Database,
    collection: Collection,
    session_ids: Annotated[list[str] | None, typer.Argument(metavar="SESSION...", help="Their ids.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All sessions.")] = False,
    owner: Annotated[str | None, typer.Option("--owner", metavar="NAME", help="All sessions of this owner.")] = None,
    output: Output = None,
) -> None:
    """Write sessions as JSON Lines, which import reads again.

    Example: mongodb-sessions export user-123 -o user-123.jsonl
    """
    if sum((bool(session_ids), everything, owner is not None)) != 1:
        raise typer.BadParameter("name the sessions, or take --owner or --all", param_hint="SESSION")
    with reading(uri, database, collection) as sessions, _written(output) as write:
        for session_id in session_ids or ():
            sessions.export(session_id)  # before anything is written: whether it is there
        for session_id in session_ids or _all_ids(sessions, owner):
            # Of all sessions, one may be deleted meanwhile.
            with nullcontext() if session_ids else suppress(SessionNotFoundError):
                for line in sessions.export(session_id):
                    write(f"{line}\n")


def _all_ids(sessions: ReadingCatalogue, owner: str | None) -> Iterator[str]:
    cursor, more = None, True
    while more:
        page = sessions.page(limit=_PAGE, cursor=cursor, owner=owner, order="created_at")
        yield from (each.session_id for each in page.items)
        cursor, more = page.next_cursor, page.next_cursor is not None


@contextmanager
def _written(file: Path | None) -> Iterator[Callable[[str], object]]:
    """Standard output, or a file that is there when all of it is."""
    if file is None:
        yield sys.stdout.write
        return
    with NamedTemporaryFile("w", dir=file.parent, prefix=f".{file.name}.", encoding="ascii", delete=False) as draft:
        try:
            yield draft.write
        except BaseException:
            Path(draft.name).unlink()
            raise
    Path(draft.name).replace(file)


def import_(
    uri: Uri,
    database: Database,
    collection: Collection,
    file: Annotated[str | None, typer.Argument(metavar="FILE", help="Of export; - for standard input.")] = None,
    from_files: FromFiles = None,
    from_database: FromDatabase = None,
    from_collection: FromCollection = None,
    from_uri: FromUri = None,
    session_id: Annotated[str | None, typer.Option("--session-id", metavar="ID", help="Another id for it.")] = None,
    owner: Annotated[str | None, typer.Option("--owner", metavar="NAME", help="Whose they are from now on.")] = None,
    application: Annotated[
        str | None, typer.Option("--application", metavar="NAME", help="Of which application: with --from-files.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Read everything and write nothing.")] = False,
    verify: Annotated[bool, typer.Option("--verify/--no-verify", help="Read back and compare.")] = True,
    workers: Annotated[int, typer.Option("--workers", min=1, max=64, help="Sessions at once.")] = 8,
    as_json: Json = False,
) -> None:
    """Import exported sessions, those of the SDK's files, or those of another database. Run it again to go on.

    Example: mongodb-sessions import --from-files ~/.strands/sessions --owner ada
    """
    from_elsewhere = from_database or from_collection
    if sum(map(bool, (file, from_files, from_elsewhere))) != 1:
        raise typer.BadParameter("take a FILE, --from-files, or --from-database and --from-collection")
    _refuse_unused({"--session-id": session_id}, bool(file))
    _refuse_unused({"--owner": owner}, bool(file or from_files))
    _refuse_unused({"--application": application}, bool(from_files))
    with opened(uri, database, collection) as factory, _progress() as progress:
        if file:
            with _read(file) as lines:
                report = import_exported(factory.sessions, lines, session_id, owner, dry_run=dry_run)
        elif from_files:
            report = import_file_sessions(
                factory.sessions,
                from_files,
                owner=owner,
                application_name=application,
                dry_run=dry_run,
                verify=verify,
                workers=workers,
                progress=progress,
            )
        else:
            place = (from_uri or uri, from_database or database, from_collection or collection)
            report = _from_database(
                factory.sessions, place, (uri, database, collection), dry_run, verify, workers, progress
            )
    _print_report(report, as_json)
    if report.skipped:
        raise typer.Exit(1)


def _refuse_unused(options: dict[str, str | None], used: bool) -> None:
    for name, value in options.items():
        if value is not None and not used:
            raise typer.BadParameter(f"{name} has no meaning here", param_hint=name)


def _from_database(
    sessions: MongoDBSessionCatalogue,
    source: tuple[str, str, str],
    target: tuple[str, str, str],
    dry_run: bool,
    verify: bool,
    workers: int,
    progress: Callable[[int, int], None],
) -> ImportReport:
    if source == target:
        raise typer.BadParameter("that is where the sessions are already", param_hint="--from-database")
    with opened(*source) as other:
        return import_database_sessions(
            sessions,
            other.sessions.client,
            source[1],
            source[2],
            dry_run=dry_run,
            verify=verify,
            workers=workers,
            progress=progress,
        )


@contextmanager
def _read(file: str) -> Iterator[Iterable[bytes]]:
    if file == "-":
        yield sys.stdin.buffer
        return
    with Path(file).open("rb") as opened_file:
        yield opened_file


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error, if somebody looks."""
    console = Console(stderr=True)
    columns = (TextColumn("importing"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("importing", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _print_report(report: ImportReport, as_json: bool) -> None:
    if as_json:
        names = ("found", "imported", "present", "messages", "verified", "left_out", "dry_run")
        skipped = [{"session_id": each.session_id, "reason": each.reason} for each in report.skipped]
        print_json({**{name: getattr(report, name) for name in names}, "skipped": skipped})
        return
    would = "would import" if report.dry_run else "imported"
    counts = f"{report.present} were there already, {len(report.skipped)} skipped, {report.verified} compared and equal"
    typer.echo(f"{would} {report.imported} of {report.found} sessions with {report.messages} messages; {counts}")
    if report.skipped:
        print_table(("skipped", "reason"), [(each.session_id, each.reason) for each in report.skipped])
    for session_id, fields in report.left_out.items():
        note(f"left out of {one_line(session_id)}: {', '.join(each or repr(each) for each in fields)}")
