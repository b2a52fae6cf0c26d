"""What is printed: tables for people, JSON for programs. Stored text cannot steer the terminal."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..plain_json import plain_json
from .failures import Refused

__all__ = ["confirm", "console", "date_text", "note", "one_line", "print_json", "print_table", "printable"]

_WIDE = 200
"""Columns where nobody looks at them."""

_STEERS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """A text without what would steer a terminal or could not be encoded."""
    return _STEERS.sub("\N{REPLACEMENT CHARACTER}", text.replace("\r\n", "\n"))


def one_line(text: str, length: int = 0) -> str:
    """The same as one line, cut to a length."""
    line = " ".join(printable(text).split())
    return f"{line[: length - 1]}…" if length and len(line) > length else line


def date_text(date: datetime | None) -> str:
    """A date in UTC, to the minute."""
    return "" if date is None else date.astimezone(UTC).strftime("%Y-%m-%d %H:%M")


def console() -> Console:
    """Standard output, coloured if it is a terminal."""
    terminal = Console(highlight=False, markup=False, emoji=False, soft_wrap=False)
    if not terminal.is_terminal:
        terminal.width = max(_WIDE, terminal.width)
    return terminal


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print rows under a heading; numbers to the right."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    cells = [[*row] for row in rows]
    for index, name in enumerate(columns):
        numbers = bool(cells) and all(isinstance(row[index], int) for row in cells)
        table.add_column(name, justify="right" if numbers else "left", overflow="fold")
    for row in cells:
        table.add_row(*(Text(one_line("" if cell is None else str(cell))) for cell in row))
    console().print(table)


def print_json(value: Mapping[str, Any]) -> None:
    """Print one JSON document on a line."""
    sys.stdout.write(f"{plain_json(value)}\n")


def note(text: str) -> None:
    """Tell a person something that is not the output."""
    sys.stderr.write(f"{printable(text)}\n")


def confirm(question: str, yes: bool) -> None:
    """Go on only if somebody says so.

    Raises:
        Refused: The answer was no, or nobody can be asked.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise Refused("there is nobody to ask; add --yes if you are sure")
    if not typer.confirm(printable(question), err=True):
        raise Refused("nothing was changed")
