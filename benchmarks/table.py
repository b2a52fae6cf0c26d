"""What a run found, as text that reads in a terminal and in Markdown alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

BEGIN, END = "<!-- bench: begin -->", "<!-- bench: end -->"


@dataclass(frozen=True)
class Table:
    """Rows under a title.

    Attributes:
        title: What was measured, and in which unit.
        columns: Their names; the first one is on the left, the others on the right.
        rows: As many cells each as there are columns.
        note: What one has to know to read it.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""

    def __str__(self) -> str:
        cells = [self.columns, *self.rows]
        widths = [max(3, *(len(row[index]) for row in cells)) for index in range(len(self.columns))]
        rule = [f"{'-' * (width - (index > 0))}{':' if index else ''}" for index, width in enumerate(widths)]
        lines = [_line(row, widths) for row in [self.columns, rule, *self.rows]]
        return "\n".join([f"**{self.title}**", "", *lines, *(["", self.note] if self.note else [])])


@dataclass(frozen=True)
class Promise:
    """What is promised, and what was found."""

    what: str
    promised: str
    found: str
    kept: bool


def summary(promises: Sequence[Promise]) -> Table:
    """All promises in one table."""
    rows = [(each.what, each.promised, each.found, "yes" if each.kept else "**no**") for each in promises]
    return Table("What is promised, and what was found", ("", "promised", "found", "kept"), rows)


def with_block(page: str, block: str) -> str:
    """A page with a new block between its two marks.

    Raises:
        ValueError: The page has no such marks.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page has no lines {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{block}\n{END}{after}"


def in_bytes(count: float) -> str:
    """A number of bytes, short."""
    if count < 1000:
        return f"{count:.0f} B"
    if count < 1_000_000:
        return f"{count / 1000:.1f} KB"
    return f"{count / 1_000_000:.1f} MB"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *rest = zip(cells, widths, strict=True)
    return f"| {' | '.join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in rest)])} |"
