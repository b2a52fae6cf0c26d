"""One running ``mongod`` and the supervisor that ends it with this process."""

import contextlib
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

from . import forks
from .errors import EmbeddedMongoDBError
from .folder import DataFolder

__all__ = ["SupervisedMongod"]

_SUPERVISOR = Path(__file__).with_name("supervisor.py")
_STOP_SECONDS = 15.0  # more than the supervisor waits before it kills


class SupervisedMongod:
    """A ``mongod`` that is gone when this process is, even after a ``SIGKILL``.

    The supervisor and ``mongod`` run in a session of their own, so that Ctrl-C in a terminal reaches this process
    only. Two pipes tie the three together: the supervisor sees the end of the lifeline when this process ends, and
    the end of the report here means that the supervisor and ``mongod`` are both gone.

    A ``mongod`` that ends on its own is the end of both, until :meth:`keep_running` is called.
    """

    def __init__(self, command: list[str], *, log: int, lock: int, folder: DataFolder) -> None:
        """Start ``command`` in ``folder``, its output going to the open file ``log``; both processes keep ``lock``."""
        self._folder = folder
        self._report, report = os.pipe()
        lifeline, self._lifeline = os.pipe()
        forks.register(self)
        try:
            with os.fdopen(lifeline), os.fdopen(report, "w"):  # the supervisor's ends, open here for its start only
                self._supervisor = self._supervise(command, [lifeline, report, log], lock)
        except OSError as error:
            self._close()
            raise EmbeddedMongoDBError(f"The supervisor of mongod cannot be started: {error}") from error
        except BaseException:
            self._close()
            raise

    def _supervise(self, command: list[str], streams: list[int], lock: int) -> subprocess.Popen[bytes]:
        # -I -S: neither the environment nor site-packages can change or slow down what the supervisor does.
        return subprocess.Popen(  # noqa: S603 - our own script, and the program that the user chose
            [sys.executable, "-I", "-S", str(_SUPERVISOR), str(os.getpid()), *command],
            stdin=streams[0],
            stdout=streams[1],
            stderr=streams[2],
            pass_fds=[lock],
            cwd=self._folder.path,
            start_new_session=True,
        )

    @property
    def running(self) -> bool:
        """Whether the supervisor runs, and with it mongod, but for the moment in which it is started again."""
        return self._supervisor.poll() is None

    @property
    def exit_status(self) -> int | None:
        """Mongod's exit status (128 and the signal's number if it was killed), None while it runs or will again."""
        return self._supervisor.poll()

    def keep_running(self) -> None:
        """From now on, have mongod started again when it ends on its own, unless it does so again and again."""
        with contextlib.suppress(BrokenPipeError):  # it has ended already, which ``exit_status`` tells
            os.write(self._lifeline, b"\n")

    def begin_stop(self) -> None:
        """Have mongod end cleanly, without waiting for it."""
        if self._lifeline < 0:
            return
        os.close(self._lifeline)
        self._lifeline = -1
        if not self.running:
            self._folder.signal_server(signal.SIGTERM)  # the supervisor, which would do it, was killed

    def stop(self) -> None:
        """End mongod cleanly, with force if it does not end in time; returns when it is gone."""
        if self._report < 0:
            return
        self.begin_stop()
        if not self._gone_within(_STOP_SECONDS):
            self._folder.signal_server(signal.SIGKILL)
        self._reap()

    def kill(self) -> None:
        """End mongod by ``SIGKILL``; returns when it is gone."""
        if self._report < 0:
            return
        self._folder.signal_server(signal.SIGKILL)
        self.begin_stop()  # or it would be started again
        self._reap()

    def disown(self) -> None:
        """In a forked child: the server belongs to the parent."""
        with contextlib.suppress(AttributeError):  # forked by another thread in the middle of the start
            self._supervisor.returncode = 0  # no child of this process, which must neither wait for it nor warn
        self._close()

    def _gone_within(self, seconds: float) -> bool:
        report = select.poll()  # select.select refuses descriptors above 1023
        report.register(self._report, select.POLLIN)
        return bool(report.poll(seconds * 1000))

    def _reap(self) -> None:
        self._gone_within(_STOP_SECONDS)
        try:
            self._supervisor.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._supervisor.kill()
            self._supervisor.wait()
        self._close()

    def _close(self) -> None:
        forks.unregister(self)
        for descriptor in (self._report, self._lifeline):
            if descriptor >= 0:
                os.close(descriptor)
        self._report = self._lifeline = -1
