"""Commands for whoever keeps the database: ``doctor``, ``indexes``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated, Any

import typer

from ..doctor import examine
from ..mongodb_collection import prepare, prepare_archive
from ..mongodb_session_store import MongoDBSessionStore
from ..storage import purge_namespaces
from .connecting import opened
from .failures import Refused
from .options import Collection, Database, Json, Uri
from .output import print_json, print_table, printable

__all__ = ["doctor", "ensure_indexes", "indexes", "list_indexes"]

indexes = typer.Typer(no_args_is_help=True, help="List the indexes, or make those that are missing.")


def doctor(
    uri: Uri,
    database: Database,
    collection: Collection,
    session: Annotated[str | None, typer.Option("--session", metavar="ID", help="Examine only this one.")] = None,
    repair: Annotated[bool, typer.Option("--repair", help="Mend what can be mended.")] = False,
    grace: Annotated[float, typer.Option("--grace", min=0, help="Seconds: leave younger garbage alone.")] = 3600.0,
    turn_timeout: Annotated[float, typer.Option("--turn-timeout", min=0.001, help="As of the managers.")] = 30.0,
    as_json: Json = False,
) -> None:
    """Find what a crash left, and mend it. Exits with 1 when something is left.

    With --repair what interrupted writes left in the storage of these sessions is removed, too.

    Example: mongodb-sessions doctor --repair
    """
    with opened(uri, database, collection) as factory:
        store = MongoDBSessionStore(factory.sessions.client, database, collection)
        report = examine(store, session, repair=repair, grace=grace, turn_timeout=turn_timeout)
        if session is not None and not (report.sessions or report.documents):
            raise Refused(f"session {session!r} does not exist")
        parts = 0
        if repair and session is None:
            parts = purge_namespaces(store.client, database, f"{collection}_storage")
    if as_json:
        print_json(
            {**asdict(report), "storage_parts": parts, "repaired": report.repaired, "is_healthy": report.is_healthy}
        )
    else:
        typer.echo(printable(str(report)))
        if parts:
            typer.echo(f"{parts} parts of interrupted writes removed from {collection}_storage")
    if not report.is_healthy:
        raise typer.Exit(1)


@indexes.command("list")
def list_indexes(uri: Uri, database: Database, collection: Collection, as_json: Json = False) -> None:
    """List the indexes of the sessions and of their archive.

    Example: mongodb-sessions indexes list
    """
    with opened(uri, database, collection) as factory:
        _print_indexes(MongoDBSessionStore(factory.sessions.client, database, collection), as_json)


@indexes.command("ensure")
def ensure_indexes(
    uri: Uri,
    database: Database,
    collection: Collection,
    metadata_field: Annotated[
        list[str] | None, typer.Option("--metadata-field", metavar="NAME", help="An index for this one too.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Make the indexes that are missing; what is there stays.

    Example: mongodb-sessions indexes ensure --metadata-field customer.tier
    """
    with opened(uri, database, collection) as factory:
        store = MongoDBSessionStore(factory.sessions.client, database, collection)
        prepare(store.collection, metadata_field or [])
        prepare_archive(store.archive.collection)
        _print_indexes(store, as_json)


def _print_indexes(store: MongoDBSessionStore, as_json: bool) -> None:
    if as_json:
        for index in _indexes(store):
            print_json(index)
        return
    rows = [(each["collection"], each["name"], ", ".join(each["fields"]), each["partial"]) for each in _indexes(store)]
    print_table(("collection", "index", "fields", "partial"), [(*row[:3], "yes" if row[3] else "") for row in rows])


def _indexes(store: MongoDBSessionStore) -> Iterator[dict[str, Any]]:
    for collection in (store.collection, store.archive.collection):
        for name, index in sorted(collection.index_information().items()):
            yield {
                "collection": collection.name,
                "name": name,
                "fields": [field for field, _ in index["key"]],
                "partial": "partialFilterExpression" in index,
            }
