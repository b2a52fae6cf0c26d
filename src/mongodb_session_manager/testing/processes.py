"""The line to another process that a check starts, listens to, and kills."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .acting import expect
from .subject import Subject, offered

__all__ = ["MARK", "Child", "started"]

MARK = "contract: "
"""What the lines begin with that the other process says."""

_PATIENCE = 60.0


class Child:
    """A process that plays a scene."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        """Listen to it."""
        self._process = process
        self._noise: list[str] = []

    def says(self) -> str | None:
        """The next thing that it says, ``None`` when it has ended."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(MARK):
                return line.removeprefix(MARK).strip()
            self._noise = [*self._noise, line.strip()][-3:]
        return None

    def expect(self, said: str) -> None:
        """Fail unless it says this next."""
        found = self.says()
        expect(found == said, f"the other process ended too early: {' '.join(self._noise)}")

    def kill(self) -> list[str]:
        """Kill it, without a chance to do anything more.

        Returns:
            What it had still said.
        """
        self._process.kill()
        left = [*iter(self.says, None)]
        self._process.wait()
        return [line for line in left if line is not None]


@contextmanager
def started(subject: Subject, scene: str, session_id: str) -> Iterator[Child]:
    """Another process that makes the same subject and plays a scene; killed at the end, and after a minute."""
    arguments = offered(subject.child, "nothing says how another process makes it")
    # The child finds the modules that this process finds.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path)}
    with subprocess.Popen(
        [sys.executable, "-m", "mongodb_session_manager.testing.child"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
    ) as process:
        patience = threading.Timer(_PATIENCE, process.kill)
        patience.start()
        try:
            assert process.stdin is not None
            # Not on its command line, which others can read.
            with process.stdin:
                json.dump([scene, session_id, *arguments], process.stdin)
            yield Child(process)
        finally:
            patience.cancel()
            process.kill()
