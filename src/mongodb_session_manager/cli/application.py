"""The commands together, and how each of them ends."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Sequence

import typer
from typer import rich_utils

from .._connection_string import redact_text
from . import ending, keeping, looking, running, transfers
from .failures import Refused, Unreachable
from .output import note

__all__ = ["app", "run"]

app = typer.Typer(
    name="mongodb-sessions",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Sessions of Strands agents in MongoDB. Where they are: MONGODB_URI, DATABASE_NAME, COLLECTION_NAME.",
    epilog="Exit codes: 0 done, 1 not found or refused, 2 wrong usage, 3 database unreachable, 130 Ctrl-C.",
)
_COMMANDS: dict[str, Callable[..., None]] = {
    "list": looking.list_sessions,
    "search": looking.search,
    "show": looking.show,
    "stats": looking.stats,
    "export": transfers.export,
    "import": transfers.import_,
    "fork": ending.fork,
    "delete": ending.delete,
    "purge": ending.purge,
    "doctor": keeping.doctor,
    "serve": running.serve,
    "mongod": running.mongod,
}
for _name, _command in _COMMANDS.items():
    app.command(_name)(_command)
app.add_typer(keeping.indexes, name="indexes")

_CTRL_C = 130
_CREDENTIALS = re.compile(r"[^\s'\"]*:[^\s'\"]*@")
"""Also in an address that is none, or was taken for a file's name."""


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command, by default that of this process.

    Returns:
        The exit code, as ``main`` describes it.
    """
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    try:
        code = app(arguments, prog_name="mongodb-sessions", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except (Refused, Unreachable) as failure:
        note(f"mongodb-sessions: {_shown(failure.message)}")
        return failure.exit_code
    except typer.TyperException as error:
        error.message = _shown(error.message)
        rich_utils.rich_format_error(error)  # type: ignore[arg-type]  # it asks for a class that Typer does not export
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return _CTRL_C
    except (BrokenPipeError, SystemExit) as ended:
        # Typer ends so for a broken pipe inside a command, and after it has completed a word for a shell.
        if not isinstance(ended.__context__ or ended, BrokenPipeError):
            raise
        # Whoever reads has seen enough; what is left must not be flushed into nothing when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _shown(message: str) -> str:
    return _CREDENTIALS.sub("***@", redact_text(message))
