"""What the contract suite asks questions of: a way to make session managers, and what can be seen of their store."""

from __future__ import annotations

import importlib
import unittest
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self, TypeVar

from strands import Agent
from strands.session import SessionManager

__all__ = ["NotOffered", "Subject", "offered", "subject_of"]

T = TypeVar("T")


class NotOffered(unittest.SkipTest):
    """A check needs something of its subject that the subject does not have. pytest and unittest count it as a skip."""


def _nothing() -> None:
    return None


@dataclass(frozen=True)
class Subject:
    """A session manager under test, as the checks see it. The first two fields are enough for most of them.

    Attributes:
        name: What it is called in the report.
        make_session_manager: Makes a new session manager for a session id, as another process would. Called often, also
            for one session several times, and from several threads.
        child: How another process makes this subject: the name of a function, ``"module:function"``, and the texts to
            call it with, which may hold credentials. Needed by the checks that kill a process.
        delete_session: Deletes a session, whoever has it open.
        stored: Everything that the store holds of a session, as bytes in any order; it may hold more than that.
        bytes_written: A count that grows by what is written to the store or sent to it.
        checkpoint: Notes the present state of an agent and returns a name for it.
        go_back: Brings such a state back into an agent of the same session.
        cleanup: Removes everything that the checks left; ``with subject:`` calls it at the end.
    """

    name: str
    make_session_manager: Callable[[str], SessionManager]
    child: Sequence[str] = field(default=(), repr=False)
    delete_session: Callable[[str], object] | None = None
    stored: Callable[[str], bytes] | None = None
    bytes_written: Callable[[], int] | None = None
    checkpoint: Callable[[SessionManager, Agent], str] | None = None
    go_back: Callable[[SessionManager, Agent, str], None] | None = None
    cleanup: Callable[[], None] = _nothing

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Clean up."""
        self.cleanup()


def offered(what: T | None, reason: str) -> T:
    """An optional part of a subject.

    Raises:
        NotOffered: The subject does not have it.
    """
    if not what:
        raise NotOffered(reason)
    return what


def subject_of(child: Sequence[str]) -> Subject:
    """The subject that a function makes.

    Args:
        child: ``"module:function"``, and the texts to call it with.

    Raises:
        ValueError: There is no such function.
        TypeError: It makes something else.
    """
    module, _, function = child[0].partition(":")
    make = getattr(importlib.import_module(module), function, None) if function else None
    if not callable(make):
        raise ValueError(f"{child[0]!r} is no function; name one as 'module:function'")
    subject = make(*child[1:])
    if not isinstance(subject, Subject):
        raise TypeError(f"{child[0]!r} makes a {type(subject).__name__}, not a Subject")
    return subject
