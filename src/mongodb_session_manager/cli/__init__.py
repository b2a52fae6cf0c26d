"""The command line ``mongodb-sessions``, for people and for programs. Needs the extra ``cli``."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> int:
    """Run the command that the arguments of this process name.

    Returns:
        The exit code: 0, 1 when something was not found or refused, 2 when an argument is wrong, 3 when the database
        cannot be reached or refuses us, 130 after Ctrl-C.
    """
    try:
        from .application import run
    except ModuleNotFoundError as error:
        if error.name not in ("rich", "typer"):
            raise
        sys.stderr.write(
            f"mongodb-sessions needs the package {error.name}: pip install 'mongodb-session-manager[cli]'\n"
        )
        return 2
    except KeyboardInterrupt:
        return 130
    return run()
