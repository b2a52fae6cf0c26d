"""Options that several commands have, and the values that they take."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

__all__ = [
    "Agent",
    "Application",
    "Collection",
    "Database",
    "Json",
    "Owner",
    "Session",
    "Uri",
    "Yes",
    "metadata_of",
    "moment",
]

_WHERE = "Where the sessions are"

Uri = Annotated[
    str,
    typer.Option(
        "--uri",
        envvar="MONGODB_URI",
        metavar="ADDRESS",
        help="mongodb://… or mongodb+srv://…; others can read a command line, so better set it in the environment.",
        rich_help_panel=_WHERE,
    ),
]
Database = Annotated[
    str, typer.Option("--database", envvar="DATABASE_NAME", metavar="NAME", help="Database.", rich_help_panel=_WHERE)
]
Collection = Annotated[
    str,
    typer.Option("--collection", envvar="COLLECTION_NAME", metavar="NAME", help="Collection.", rich_help_panel=_WHERE),
]
Json = Annotated[bool, typer.Option("--json", help="JSON for programs.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
Session = Annotated[str, typer.Argument(metavar="SESSION", help="Its id.", show_default=False)]
Owner = Annotated[str | None, typer.Option("--owner", metavar="NAME", help="Of this owner.")]
Application = Annotated[str | None, typer.Option("--application", metavar="NAME", help="Of this application.")]
Agent = Annotated[str, typer.Option("--agent", metavar="ID", help="Of this agent.")]

_SPAN = re.compile(r"(\d{1,6})([mhdw])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def moment(text: str) -> datetime:
    """A date as ISO 8601, in UTC without a zone; or how long ago, as in ``90m``, ``12h``, ``7d``, ``4w``."""
    if span := _SPAN.fullmatch(text):
        return datetime.now(UTC) - timedelta(**{_UNITS[span[2]]: int(span[1])})
    try:
        date = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is no date; use 2025-01-31, 2025-01-31T12:00+01:00, or how long ago as in 90m, 12h, 7d, 4w"
        ) from None
    return date if date.tzinfo else date.replace(tzinfo=UTC)


def metadata_of(entries: Sequence[str]) -> dict[str, Any]:
    """What metadata must be equal to: each entry is ``key=value``, the value JSON or else text."""
    metadata = {}
    for entry in entries:
        key, equals, value = entry.partition("=")
        if not equals or not key:
            raise typer.BadParameter(f"{entry!r} is not key=value", param_hint="--metadata")
        try:
            metadata[key] = json.loads(value)
        except ValueError:
            metadata[key] = value
    return metadata
