"""Runs one ``mongod`` and ends it when its owner is gone, however the owner died.

A script, started as a process of its own with the standard library alone (it is never imported):

    supervisor.py OWNER_PID MONGOD ARGUMENT...

Standard input is a pipe whose other end the owner alone holds: its end is the owner's end. Standard output
is a pipe on which the owner reads mongod's process id, and then the end of both processes.
"""

import contextlib
import ctypes
import os
import select
import signal
import sys

_LIFELINE, _REPORT, _LOG = 0, 1, 2
_PATIENCE_SECONDS = 10.0
_PR_SET_PDEATHSIG = 1


def main(owner: int, command: list[str]) -> int:
    """Run ``command`` until it ends or its owner does; return its exit status as a shell would."""
    os.umask(0o077)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # an owner that ignores it passes that on, and nobody could wait
    ended, held_by_mongod = os.pipe()
    supervisor = os.getpid()
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    mongod = os.fork()
    if mongod == 0:
        _become(command, held_by_mongod, supervisor, libc)
    os.close(held_by_mongod)
    _ignore_signals()
    with contextlib.suppress(BrokenPipeError):
        os.write(_REPORT, f"{mongod}\n".encode())
    if not _ends_before_owner(ended, owner):
        _terminate(mongod, ended)
    status = os.waitstatus_to_exitcode(os.waitpid(mongod, 0)[1])
    return status if status >= 0 else 128 - status


def _become(command: list[str], held: int, supervisor: int, libc: ctypes.CDLL | None) -> None:
    """Turn this forked child into mongod. It keeps ``held`` and the report open, so that their end is its end."""
    os.set_inheritable(held, True)
    os.set_inheritable(os.dup(_REPORT), True)
    os.dup2(os.open(os.devnull, os.O_RDONLY), _LIFELINE)
    os.dup2(_LOG, _REPORT)
    if libc is not None:
        # Should the supervisor be killed: the kernel ends mongod. Safe here: the supervisor has one thread only.
        libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM))
    try:
        if os.getppid() == supervisor:
            os.execv(command[0], command)  # noqa: S606 - no shell is wanted
    except OSError as error:
        os.write(_LOG, f"{command[0]}: {error.strerror}\n".encode(errors="surrogateescape"))
    os._exit(127)


def _ignore_signals() -> None:
    # What ends the supervisor is the end of its owner or of mongod, not a signal to a whole group of processes.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)


def _ends_before_owner(ended: int, owner: int) -> bool:
    while True:
        readable, _, _ = select.select([_LIFELINE, ended], [], [], 1.0)
        if ended in readable:
            return True
        # The parent is compared too, because a copy of the pipe may have leaked into some child of the owner.
        if readable or os.getppid() != owner:
            return False


def _terminate(mongod: int, ended: int) -> None:
    os.kill(mongod, signal.SIGTERM)
    if not select.select([ended], [], [], _PATIENCE_SECONDS)[0]:
        os.kill(mongod, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
