"""A real PostgreSQL and a real PgBouncer, on this machine, for as long as the tests run."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest

PASSWORD = "a:p@ss/word"
NO_SERVER = "PostgreSQL is not installed (on Debian: apt-get install postgresql); or set TEST_DATABASE_URL"
NO_POOLER = "PgBouncer is not installed (on Debian: apt-get install pgbouncer)"


def programs() -> Path | None:
    """The folder of ``postgres`` and ``initdb``, the newest that there is."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if found:
        return found[-1].parent
    path = shutil.which("initdb")
    return Path(path).resolve().parent if path else None


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


def _unprivileged() -> dict[str, Any]:
    """Who runs a server: PostgreSQL and PgBouncer refuse to run as root."""
    if os.geteuid() != 0:
        return {}
    known = {entry.pw_name for entry in pwd.getpwall()}
    user = pwd.getpwnam("postgres" if "postgres" in known else "nobody")
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


@contextmanager
def folder_of_ones_own() -> Iterator[Path]:
    """A folder that a server can use, whoever runs it."""
    folder = Path(tempfile.mkdtemp(prefix="postgresql-"))
    who = _unprivileged()
    if who:
        os.chown(folder, who["user"], who["group"])
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class PostgreSQL:
    """A server on a loopback port, that can be stopped and started again.

    Attributes:
        url: Of its database ``postgres``.
    """

    def __init__(self, folder: Path) -> None:
        bin_folder = programs()
        assert bin_folder
        self._bin, self._folder = bin_folder, folder
        self.port = free_port()
        self.url = f"postgresql://postgres:a%3Ap%40ss%2Fword@127.0.0.1:{self.port}/postgres"
        secret = folder / "secret"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        self._run(
            "initdb", "-D", "data", "-A", "scram-sha-256", "-U", "postgres", "--pwfile", "secret", "-E", "UTF8",
            "--locale=C", "-N",
        )  # fmt: skip

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [self._bin / program, *arguments],
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=True,
            timeout=60,
            **_unprivileged(),
        )

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c fsync=off"
        self._run("pg_ctl", "-D", "data", "-w", "-l", "log", "-o", options, "start")

    def stop(self, mode: str = "immediate") -> None:
        self._run("pg_ctl", "-D", "data", "-w", "-m", mode, "stop")

    def restart(self, mode: str = "immediate") -> None:
        self.stop(mode)
        self.start()


@contextmanager
def running_server() -> Iterator[PostgreSQL]:
    """A server of one's own; the test is skipped where PostgreSQL is not installed."""
    if programs() is None:
        pytest.skip(NO_SERVER)
    with folder_of_ones_own() as folder:
        server = PostgreSQL(folder)
        server.start()
        try:
            yield server
        finally:
            server.stop()


@contextmanager
def running_pooler(server_url: str) -> Iterator[str]:
    """PgBouncer before a server, handing out another session for every transaction; gives the URL through it."""
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if program is None:
        pytest.skip(NO_POOLER)
    server = urlsplit(server_url)
    port = free_port()
    with folder_of_ones_own() as folder:
        (folder / "users").write_text(f'"postgres" "{PASSWORD}"\n')
        (folder / "pgbouncer.ini").write_text(
            f"[databases]\n* = host={server.hostname} port={server.port}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n"
            f"listen_port = {port}\nunix_socket_dir =\nauth_type = scram-sha-256\nauth_file = {folder}/users\n"
            "pool_mode = transaction\nserver_round_robin = 1\ndefault_pool_size = 5\nmin_pool_size = 3\n"
            f"max_client_conn = 200\nlogfile = {folder}/log\n"
        )
        process = subprocess.Popen(
            [program, "-q", "pgbouncer.ini"],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            **_unprivileged(),
        )
        try:
            _wait_for(port)
            credentials = server.netloc.rpartition("@")[0]
            yield urlunsplit(("postgresql", f"{credentials}@127.0.0.1:{port}", server.path, "pgbouncer=true", ""))
        finally:
            process.terminate()
            process.wait(10)


def _wait_for(port: int) -> None:
    end = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            assert time.monotonic() < end, "it does not listen"
            time.sleep(0.02)


@contextmanager
def running_database() -> Iterator[str]:
    """A database of one's own on a server of one's own, or on the one that TEST_DATABASE_URL names."""
    url = os.environ.get("TEST_DATABASE_URL")
    if url:
        with new_database(url) as made:
            yield made
        return
    with running_server() as server, new_database(server.url) as made:
        yield made


@contextmanager
def new_database(url: str) -> Iterator[str]:
    """A new database on a server, dropped at the end."""
    name = f"tests_{uuid.uuid4().hex[:12]}"
    sql(url, f"CREATE DATABASE {name}")
    try:
        yield on_database(url, name)
    finally:
        sql(url, f"DROP DATABASE {name} WITH (FORCE)")


def on_database(url: str, name: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


def sql(url: str, statement: str, *arguments: Any) -> Sequence[Any]:
    """What a statement returns, asked by the test itself, beside the store. ``jsonb`` comes as text."""
    asyncpg = pytest.importorskip("asyncpg")

    async def ask() -> Sequence[Any]:
        connection = await asyncpg.connect(url.partition("?")[0], statement_cache_size=0)
        try:
            rows: Sequence[Any] = await connection.fetch(statement, *arguments)
            return rows
        finally:
            await connection.close()

    with ThreadPoolExecutor(1) as thread:  # the caller may run a loop
        return thread.submit(asyncio.run, ask()).result()
