"""The services that are put under load: each a process, with what the system knows of it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mongodb_session_manager.embedded import EmbeddedMongoDB

ROOT = Path(__file__).parents[2]
ESTABLISHED = "01"


class Server:
    """A service in a process of its own.

    Attributes:
        name: What tables call it.
        port: Where it listens.
        keeps: Whether it has sessions.
    """

    def __init__(self, name: str, program: str, folder: Path, database: str | None, **settings: str) -> None:
        inherited = {key: os.environ[key] for key in ("PATH", "HOME", "MONGOD_BINARY", "TMPDIR") if key in os.environ}
        environment = {
            "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}",
            "PORT": "0",
            "DEMO_DELAY": "0",
            "RETRIEVAL": "off",
            **settings,
        }
        self.name, self.keeps = name, database is not None
        self._database_port = urlsplit(database).port if database else None
        folder.mkdir()
        with (folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", program],
                cwd=folder,
                env=inherited | environment,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not (listening := re.search(r"http://127\.0\.0\.1:(\d+)", line)):
            self.end()
            raise RuntimeError(f"{name} does not start: {(folder / 'log').read_text()}")
        self.port = int(listening[1])

    def memory(self) -> float:
        """Megabytes that are resident."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(re.findall(r"VmRSS:\s+(\d+) kB", status)[0]) / 1024

    def processor(self) -> float:
        """Seconds of processor time that it has taken."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def connections(self) -> int:
        """Open connections to its database, as the kernel knows them."""
        wanted = f":{self._database_port or 0:04X}"
        mine = set()
        for descriptor in Path(f"/proc/{self._process.pid}/fd").iterdir():
            try:
                mine.add(str(descriptor.readlink()))
            except OSError:  # closed meanwhile
                continue
        rows = [line.split() for line in Path(f"/proc/{self._process.pid}/net/tcp").read_text().splitlines()[1:]]
        return sum(row[2].endswith(wanted) and row[3] == ESTABLISHED and f"socket:[{row[9]}]" in mine for row in rows)

    def end(self) -> None:
        """End it, by force if it does not."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stdout
        self._process.stdout.close()


def clients(server: Server, seconds: float, **plan: Any) -> dict[str, Any]:
    """Let clients do something in a process of their own; gives what they found."""
    plan |= {"port": server.port, "keeps": server.keeps}
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks.load.client"],
        cwd=ROOT,
        input=json.dumps(plan),
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    if run.returncode:
        raise RuntimeError(f"{server.name}: the clients failed: {run.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(run.stdout)
    return found


@contextmanager
def started(*, postgresql: bool, **settings: str) -> Iterator[list[Server]]:
    """The service on each store, and without sessions; all of it is gone afterwards.

    Args:
        postgresql: Whether PostgreSQL is to be one of the stores.
        settings: Of all of them.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="load-")))
        mongodb = stack.enter_context(EmbeddedMongoDB(folder / "mongodb")).uri
        chosen: list[tuple[str, str, str | None, dict[str, str]]]
        chosen = [("without sessions", "benchmarks.load.bare", None, {})]
        chosen.append(("MongoDB", "chat_service", mongodb, {"MONGODB_URI": mongodb}))
        if postgresql:
            from tests.contract.postgresql import running_database

            url = stack.enter_context(running_database())
            chosen.append(("PostgreSQL", "chat_service", url, {"SESSION_STORE": "postgres", "DATABASE_URL": url}))
        servers = []
        for name, program, database, own in chosen:
            server = Server(name, program, folder / name.replace(" ", "-"), database, **own, **settings)
            stack.callback(server.end)
            servers.append(server)
        yield servers
