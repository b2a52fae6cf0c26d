"""The doctor for people: ``MONGODB_URI=… DATABASE_NAME=… COLLECTION_NAME=… make doctor``, and ``REPAIR=1``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from pymongo.errors import PyMongoError

from .._connection_string import without_secrets
from ..connection import Connection
from ..errors import SessionError
from ..mongodb_session_store import MongoDBSessionStore
from . import DoctorReport, examine

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Examine a collection and print the report.

    Args:
        arguments: Of the command line. The address of the database comes from ``MONGODB_URI`` alone, because others can
            read a command line, and is printed nowhere.

    Returns:
        0 when nothing was found or all was mended, 1 when something is left, 2 when it could not be examined.
    """
    parser = argparse.ArgumentParser(prog="mongodb_session_manager.doctor", description="Find what a crash left.")
    parser.add_argument("--session", metavar="ID", help="examine only this one")
    parser.add_argument("--repair", action="store_true", help="mend what can be mended")
    parser.add_argument("--grace", type=float, default=3600.0, metavar="SECONDS", help="leave younger garbage alone")
    parser.add_argument("--turn-timeout", type=float, default=30.0, metavar="SECONDS", help="as of the managers")
    options = parser.parse_args(arguments)
    names = ("MONGODB_URI", "DATABASE_NAME", "COLLECTION_NAME")
    uri, database, collection = (os.environ.get(name, "") for name in names)
    if not (uri and database and collection):
        parser.error(f"set {', '.join(name for name in names if not os.environ.get(name))} in the environment")
    try:
        report = _examined(uri, database, collection, options)
    except (PyMongoError, SessionError, TypeError, ValueError) as error:
        notes = getattr(error, "__notes__", ())
        sys.stderr.write(without_secrets("; ".join([str(error), *notes]), uri, {}) + "\n")
        return 2
    sys.stdout.write(f"{report}\n")
    return 0 if report.is_healthy else 1


def _examined(uri: str, database: str, collection: str, options: argparse.Namespace) -> DoctorReport:
    connection = Connection(uri, None, {})
    try:
        return examine(
            MongoDBSessionStore(connection.client, database, collection),
            options.session,
            repair=options.repair,
            grace=options.grace,
            turn_timeout=options.turn_timeout,
        )
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(main())
