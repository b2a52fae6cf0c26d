"""Runs one ``mongod`` and ends it when its owner is gone, however the owner died.

A script, started as a process of its own with the standard library alone (it is never imported):

    supervisor.py OWNER_PID MONGOD ARGUMENT...

Standard input is a pipe whose other end the owner alone holds: a byte on it asks that mongod be started again when it
ends on its own, its end is the owner's end. Standard output is a pipe on which the owner reads the end of both
processes. Standard error is mongod's log.
"""

import contextlib
import ctypes
import math
import os
import select
import signal
import sys
import time

_LIFELINE, _REPORT, _LOG = 0, 1, 2
_PATIENCE_SECONDS = 10.0
_RESTART_SECONDS = 0.2
_MOST_ENDS, _WITHIN_SECONDS = 3, 60
_PR_SET_PDEATHSIG = 1
# What ends the supervisor is the end of its owner or of mongod, not a signal to a whole group of processes.
_BLOCKED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE)


class _Owner:
    """The process that mongod runs for.

    Attributes:
        present: Whether it lives and holds the lifeline.
        wants_restarts: Whether a mongod that ends on its own is to be started again.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self.present = True
        self.wants_restarts = False

    def wait(self, seconds: float = math.inf, *, ended: int | None = None) -> None:
        """Wait for its end, for the end of the pipe ``ended``, or so long, whatever comes first."""
        deadline = time.monotonic() + seconds
        watched = [_LIFELINE] if ended is None else [_LIFELINE, ended]
        while self.present:
            left = max(0.0, deadline - time.monotonic())
            readable, _, _ = select.select(watched, [], [], min(left, 1.0))
            if _LIFELINE in readable:
                self.present = self.wants_restarts = bool(os.read(_LIFELINE, 1))
            # The parent is compared too, because a copy of the pipe may have leaked into some child of the owner.
            self.present = self.present and os.getppid() == self._pid
            if left == 0 or ended in readable:
                return


def main(owner_pid: int, command: list[str]) -> int:
    """Run ``command`` until it has ended for good or its owner has; return its exit status as a shell would."""
    os.umask(0o077)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # an owner that ignores it passes that on, and nobody could wait
    signal.pthread_sigmask(signal.SIG_BLOCK, _BLOCKED)
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    owner = _Owner(owner_pid)
    ends: list[float] = []
    while True:
        status = _run(command, owner, libc)
        ends.append(time.monotonic())
        if not _starts_again(owner, status, ends):
            return status


def _run(command: list[str], owner: _Owner, libc: ctypes.CDLL | None) -> int:
    """Run ``command`` once; return its exit status."""
    ended, held_by_mongod = os.pipe()
    supervisor = os.getpid()
    mongod = os.fork()
    if mongod == 0:
        _become(command, held_by_mongod, supervisor, libc)
    os.close(held_by_mongod)
    owner.wait(ended=ended)
    if not owner.present:
        _terminate(mongod, ended)
    os.close(ended)
    status = os.waitstatus_to_exitcode(os.waitpid(mongod, 0)[1])
    return status if status >= 0 else 128 - status


def _become(command: list[str], held: int, supervisor: int, libc: ctypes.CDLL | None) -> None:
    """Turn this forked child into mongod. It keeps ``held`` and the report open, so that their end is its end."""
    for number in _BLOCKED:
        signal.signal(number, signal.SIG_DFL)
    os.set_inheritable(held, True)
    os.set_inheritable(os.dup(_REPORT), True)
    os.dup2(os.open(os.devnull, os.O_RDONLY), _LIFELINE)
    os.dup2(_LOG, _REPORT)
    if libc is not None:
        # Should the supervisor be killed: the kernel ends mongod. Safe here: the supervisor has one thread only.
        libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _BLOCKED)  # one that was sent since the fork counts now
    try:
        if os.getppid() == supervisor:
            os.execv(command[0], command)  # noqa: S606 - no shell is wanted
    except OSError as error:
        os.write(_LOG, f"{command[0]}: {error.strerror}\n".encode(errors="surrogateescape"))
    os._exit(127)


def _terminate(mongod: int, ended: int) -> None:
    os.kill(mongod, signal.SIGTERM)
    if not select.select([ended], [], [], _PATIENCE_SECONDS)[0]:
        os.kill(mongod, signal.SIGKILL)


def _starts_again(owner: _Owner, status: int, ends: list[float]) -> bool:
    """Whether mongod, which ended with ``status``, is to be started again now: not too often, not without an owner."""
    if not (owner.present and owner.wants_restarts):
        return False
    times = f"{_MOST_ENDS} times within {_WITHIN_SECONDS} seconds"
    if len(ends) >= _MOST_ENDS and ends[-1] - ends[-_MOST_ENDS] < _WITHIN_SECONDS:
        _log(f"mongod ended {times}, now with status {status}: it is not started again; restart its owner")
        return False
    _log(f"mongod ended with status {status}: it is started again")
    owner.wait(_RESTART_SECONDS)
    return owner.present


def _log(text: str) -> None:
    with contextlib.suppress(OSError):  # a full disk, which may be what ended mongod
        os.write(_LOG, f"{time.strftime('%Y-%m-%dT%H:%M:%S%z')} supervisor: {text}\n".encode())


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
