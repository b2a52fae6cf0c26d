"""Files of exported sessions, one after the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

from ..errors import SessionError
from ..moving_in import ImportReport, Skipped
from ..session_lines import read_lines
from ..store import SessionCatalogue

__all__ = ["import_exported"]

_END = b'{"kind": "end"'


def import_exported(
    sessions: SessionCatalogue,
    lines: Iterable[bytes],
    session_id: str | None = None,
    owner: str | None = None,
    *,
    dry_run: bool = False,
) -> ImportReport:
    """Import every session of a file; one that is refused is skipped.

    Args:
        sessions: Where they go.
        lines: Of the file.
        session_id: Another id, for a file that holds one session.
        owner: Whose they are from now on.
        dry_run: Read everything and write nothing.
    """
    found = imported = messages = 0
    skipped = []
    for found, exported in enumerate(_sessions_in(iter(lines)), 1):
        try:
            if dry_run:
                messages += sum(line.kind == "message" for line in read_lines(exported))
            else:
                messages += sessions.import_lines(exported, session_id=session_id, owner=owner).message_count
            imported += 1
        except (SessionError, ValueError) as error:
            name = error.session_id if isinstance(error, SessionError) else f"session {found} of the file"
            skipped.append(Skipped(session_id=name, reason=str(error)))
    return ImportReport(
        found=found,
        imported=imported,
        present=0,
        messages=messages,
        verified=0,
        skipped=tuple(skipped),
        left_out={},
        dry_run=dry_run,
    )


def _sessions_in(lines: Iterator[bytes]) -> Iterator[Iterator[bytes]]:
    while (first := next(lines, None)) is not None:
        session = _until_end(chain([first], lines))
        yield session
        for _ in session:  # what of a refused one was not read
            pass


def _until_end(lines: Iterator[bytes]) -> Iterator[bytes]:
    for line in lines:
        yield line
        if line.startswith(_END):
            return
