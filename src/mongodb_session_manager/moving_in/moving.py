"""Sessions from a source into a catalogue: imported, compared, counted."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Literal, Protocol, TypeAlias

from bson.errors import BSONError
from pymongo.errors import DocumentTooLarge, WriteError

from ..errors import SessionError
from ..store import SessionCatalogue
from .fingerprint import Fingerprint

__all__ = ["ImportReport", "Progress", "Skipped", "Source", "Unreadable", "move"]

Progress: TypeAlias = Callable[[int, int], None]
"""Told how many sessions are done, and how many there are."""

Outcome: TypeAlias = Literal["imported", "present", "skipped"]


class Unreadable(ValueError):
    """A session of the source cannot be read whole, or cannot be kept."""


class Source(Protocol):
    """Where sessions come from. Thread-safe."""

    def session_ids(self) -> list[str]:
        """Those that are there, in an order that stays."""

    def lines(self, session_id: str) -> Iterator[str]:
        """A session as the lines of an export, read while they are iterated.

        Raises:
            Unreadable: Something of it is broken.
        """

    def left_out(self, session_id: str) -> list[str]:
        """What is stored of a session and is not in its lines, by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """A session that was not imported.

    Attributes:
        session_id: Its id, or the name of what should be a session.
        reason: Why, and of which file, without message content.
    """

    session_id: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportReport:
    """What an import did, or would do.

    Attributes:
        found: How many sessions the source holds.
        imported: How many were imported by this call.
        present: How many were there already.
        messages: How many messages those that were imported have.
        verified: How many were read back, or compared with what was there, and are equal.
        skipped: Those that were not imported, with the reason.
        left_out: Names of stored fields that no session here has, by the session that had them.
        dry_run: Whether nothing was written.
    """

    found: int
    imported: int
    present: int
    messages: int
    verified: int
    skipped: tuple[Skipped, ...]
    left_out: dict[str, list[str]]
    dry_run: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Moved:
    """What became of one session."""

    session_id: str
    outcome: Outcome
    messages: int = 0
    verified: bool = False
    reason: str = ""
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Move:
    """One import.

    Attributes:
        source: Where sessions come from.
        target: Where they go.
        dry_run: Whether nothing is written.
        verify: Whether what is there is compared.
    """

    source: Source
    target: SessionCatalogue
    dry_run: bool
    verify: bool

    def session(self, session_id: str) -> _Moved:
        """Move one session, or say why not. An outage passes through."""
        try:
            return self._moved(session_id)
        except (SessionError, ValueError, BSONError, WriteError, DocumentTooLarge, RecursionError) as error:
            reason = str(error) if isinstance(error, (SessionError, ValueError)) else type(error).__name__
            return _Moved(session_id=session_id, outcome="skipped", reason=reason)

    def _moved(self, session_id: str) -> _Moved:
        there = self.target.get(session_id) is not None
        if there and not self.verify:
            return _Moved(session_id=session_id, outcome="present")
        source = Fingerprint()
        lines = source.of(self.source.lines(session_id))
        if there or self.dry_run:
            for _ in lines:
                pass
        else:
            self.target.import_lines(lines)
        if self.verify and (there or not self.dry_run):
            self._compare(session_id, source, there)
        return _Moved(
            session_id=session_id,
            outcome="present" if there else "imported",
            messages=source.messages,
            verified=self.verify and not (self.dry_run and not there),
            left_out=tuple(self.source.left_out(session_id)),
        )

    def _compare(self, session_id: str, source: Fingerprint, there: bool) -> None:
        stored = Fingerprint()
        for _ in stored.of(self.target.export(session_id)):
            pass
        if different := source.differences(stored):
            told = "exists already, and differs" if there else "was imported, and what was read back differs"
            raise Unreadable(f"{told} in {', '.join(different)}")


def move(
    source: Source,
    target: SessionCatalogue,
    *,
    dry_run: bool = False,
    verify: bool = True,
    workers: int = 8,
    progress: Progress | None = None,
) -> ImportReport:
    """Import all sessions of a source.

    Args:
        source: Where they come from.
        target: Where they go.
        dry_run: Read and compare, and write nothing.
        verify: Read every session back and compare it; also those that are there already.
        workers: How many sessions are moved at once.
        progress: Told in the calling thread whenever a session is done.

    Raises:
        ValueError: ``workers`` is below 1.
    """
    if workers < 1:
        raise ValueError(f"workers must be at least 1, not {workers}")
    session_ids = source.session_ids()
    one = _Move(source=source, target=target, dry_run=dry_run, verify=verify)
    moved = []
    for done in _in_order(one.session, session_ids, workers):
        moved.append(done)
        if progress is not None:
            progress(len(moved), len(session_ids))
    return _report(moved, dry_run)


def _in_order(work: Callable[[str], _Moved], session_ids: Iterable[str], workers: int) -> Iterator[_Moved]:
    """The results in order, with some under way and few waiting, so that an interruption ends soon."""
    left = iter(session_ids)
    with ThreadPoolExecutor(workers, thread_name_prefix="moving-in") as pool:
        under_way: deque[Future[_Moved]] = deque(pool.submit(work, each) for each in islice(left, 2 * workers))
        try:
            while under_way:
                yield under_way.popleft().result()
                under_way.extend(pool.submit(work, each) for each in islice(left, 1))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _report(moved: list[_Moved], dry_run: bool) -> ImportReport:
    imported = [each for each in moved if each.outcome == "imported"]
    return ImportReport(
        found=len(moved),
        imported=len(imported),
        present=sum(each.outcome == "present" for each in moved),
        messages=sum(each.messages for each in imported),
        verified=sum(each.verified for each in moved),
        skipped=tuple(Skipped(session_id=e.session_id, reason=e.reason) for e in moved if e.outcome == "skipped"),
        left_out={each.session_id: [*each.left_out] for each in moved if each.left_out},
        dry_run=dry_run,
    )
