"""What an ingest says: how far it is, and in the end what it did."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from .sources import Problem

__all__ = ["Ingested", "Progress"]


class Progress(Protocol):
    """Is told how far an ingest is, in the thread that it runs in."""

    def __call__(self, done: int, files: int, name: str) -> None:
        """A file is about to be looked at.

        Args:
            done: How many were.
            files: How many there are.
            name: The next one; empty at the end.
        """


@dataclass(slots=True)
class Ingested:
    """What an ingest did, or would do.

    Attributes:
        added: Files that were not known.
        changed: Files whose content is another.
        unchanged: Files of which nothing was done.
        removed: Files that are not there any more.
        chunks: How many the files have that were looked at.
        embedded: How many of them were sent through the embedder.
        reused: How many of changed files were known already.
        problems: Files that were left out. What was known of them stays.
        seconds: How long it took.
        is_dry: Nothing was written.
    """

    added: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    chunks: int = 0
    embedded: int = 0
    reused: int = 0
    problems: list[Problem] = field(default_factory=list)
    seconds: float = 0.0
    is_dry: bool = False

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return asdict(self)
