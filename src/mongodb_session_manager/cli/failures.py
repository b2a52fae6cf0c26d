"""What ends a command early, with its exit code."""

from __future__ import annotations

from typer import TyperException

__all__ = ["Refused", "Unreachable"]


class Refused(TyperException):
    """Not found, or not to be done."""

    exit_code = 1


class Unreachable(TyperException):
    """The database cannot be reached, or refuses us."""

    exit_code = 3
