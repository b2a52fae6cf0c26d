"""The data folder: its lock, its port, its log, and a server left running in it."""

import contextlib
import fcntl
import json
import os
import secrets
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import forks
from .errors import EmbeddedMongoDBError

__all__ = ["DataFolder"]

_LOG_LINES = 6
_LOG_LINE_CHARACTERS = 400
_LOG_TAIL_BYTES = 64 * 1024


class DataFolder:
    """One folder of an embedded server.

    All in it is readable by its user only; a folder that was there before keeps its own mode::

        db/              what mongod stores
        mongod.log       what it printed since its last start (mongod.log.1: before that)
        mongod.port      the port it was last started on
        owner.lock       locked by the process that owns the server, whose id it holds
        server.lock      locked by mongod and its supervisor, which may outlive their owner by a moment
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).expanduser().resolve()
        self.db = self.path / "db"
        self._log = self.path / "mongod.log"
        self._port = self.path / "mongod.port"
        self._lock = self.path / "owner.lock"
        self._server_lock = self.path / "server.lock"
        self._descriptor = -1

    def create(self) -> None:
        """Make the folder if it is not there."""
        with self._usable():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.mkdir(mode=0o700, exist_ok=True)
            self.db.mkdir(mode=0o700, exist_ok=True)

    @contextlib.contextmanager
    def _usable(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise EmbeddedMongoDBError(f"The data folder {self.path} cannot be used: {error}") from error

    # ------------------------------------------------------------------ lock

    @property
    def locked(self) -> bool:
        """Whether this object holds the lock."""
        return self._descriptor >= 0

    def lock(self) -> bool:
        """Take the lock; False if another owner has it (in this process or another)."""
        with self._usable():
            descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                return False
        self._descriptor = descriptor
        forks.register(self)
        with contextlib.suppress(OSError):  # what is written is for messages only
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        return True

    def unlock(self) -> None:
        """Let go of the lock, if held."""
        if not self.locked:
            return
        forks.unregister(self)
        os.close(self._descriptor)
        self._descriptor = -1

    def disown(self) -> None:
        """In a forked child: the lock belongs to the parent, which keeps it."""
        self.unlock()

    def holder(self) -> int | None:
        """The process id of the lock's holder, as far as it has told."""
        return _number_in(self._lock)

    # ------------------------------------------------------------------ port

    def port(self) -> int | None:
        """The port that the server was last started on."""
        return _number_in(self._port)

    def remember_port(self, port: int) -> None:
        """Keep the port for the next start, and for processes that share the server."""
        unfinished = self._port.with_name(f"mongod.port.{secrets.token_hex(4)}")
        with self._usable():
            unfinished.touch(mode=0o600)
            unfinished.write_text(str(port))
            unfinished.replace(self._port)

    # ------------------------------------------------------------------- log

    def open_log(self) -> int:
        """Begin a new log, keeping the one before it; returns a descriptor to write to."""
        with self._usable():
            if self._log.exists():
                self._log.replace(self._log.with_name("mongod.log.1"))
            return os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def log_tail(self) -> str:
        """The last lines of the log, its errors if it tells any, for people to read."""
        try:
            with self._log.open("rb") as log:
                log.seek(max(0, self._log.stat().st_size - _LOG_TAIL_BYTES))
                lines = log.read().decode(errors="replace").splitlines()
        except OSError:
            return ""
        entries = [_readable(line) for line in lines if line.strip()]
        telling = [text for severe, text in entries if severe] or [text for _, text in entries]
        return "\n".join(f"  {' '.join(text.split())[:_LOG_LINE_CHARACTERS]}" for text in telling[-_LOG_LINES:])

    # ---------------------------------------------------------------- server

    def server_pid(self) -> int | None:
        """The process id of the mongod that runs on this folder, whoever owns it; None while there is none."""
        pid = _number_in(self.db / "mongod.lock")  # what mongod writes at its start, and clears at a clean end only
        return pid if pid is not None and self._is_our_mongod(pid) else None

    def server_lock(self) -> int:
        """A descriptor for mongod and its supervisor to inherit: locked for as long as one of them runs."""
        with self._usable():
            descriptor = os.open(self._server_lock, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            text = f"{self.path} is in use by a mongod that outlived its owner, process {self.server_pid()}: stop it."
            raise EmbeddedMongoDBError(text) from error
        return descriptor

    def end_stale_server(self, deadline: float) -> None:
        """Wait for the end of a mongod whose owner is gone, and see to it; call it with the lock held.

        Its supervisor ends it anyway, unless that one was killed too.
        """
        for number in (signal.SIGTERM, signal.SIGKILL):
            self.signal_server(number)
            patience_ends = (time.monotonic() + deadline) / 2
            while self._serves_still() and time.monotonic() < patience_ends:
                time.sleep(0.02)

    def _serves_still(self) -> bool:
        if self.server_pid() is not None:
            return True
        try:
            os.close(self.server_lock())
        except EmbeddedMongoDBError:
            return True
        return False

    def signal_server(self, number: signal.Signals) -> None:
        """Signal the mongod that runs on this folder, if there is one; call it with the lock held."""
        pid = self.server_pid()
        if pid is None:
            return
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return
        except PermissionError as error:
            text = f"{self.path} is in use by a mongod of another user, process {pid}: stop that one first."
            raise EmbeddedMongoDBError(text) from error

    def _is_our_mongod(self, pid: int) -> bool:
        """Whether that process runs on this folder: its number may have gone to a stranger."""
        if Path("/proc/self/cmdline").exists():
            try:
                arguments = Path(f"/proc/{pid}/cmdline").read_bytes()
            except OSError:
                return False
            return b"\0--dbpath\0" + os.fsencode(self.db) + b"\0" in arguments
        command = ["ps", "-ww", "-o", "args=", "-p", str(pid)]
        listed = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)  # noqa: S603
        return b" --dbpath " + os.fsencode(self.db) + b" " in listed.stdout


def _number_in(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return None


def _readable(line: str) -> tuple[bool, str]:
    """A line of the log as (whether it tells an error, its text)."""
    try:
        entry = json.loads(line)
        return entry["s"] in ("E", "F"), f"{entry['msg']} {_detail(entry.get('attr', {}))}"
    except (ValueError, TypeError, KeyError, AttributeError):
        return False, line


def _detail(attributes: dict[str, Any]) -> str:
    inner = attributes.get("message")  # the storage engine's own entry
    if isinstance(inner, dict):
        return f"{inner.get('msg')} {inner.get('error_str', '')}"
    return json.dumps(attributes) if attributes else ""
