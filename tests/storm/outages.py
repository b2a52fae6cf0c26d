"""A database that cannot be used: what an application is told, how soon, and whether all is well afterwards."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import resource
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from mongodb_session_manager import MongoDBConnectionPool, MongoDBSessionManagerFactory
from mongodb_session_manager.embedded import find_mongod
from tests.faults.proxy import EVERYBODY
from tests.faults.turns import Turn, lines, turn
from tests.storm.application import MISSING
from tests.storm.checker import Findings, read_session
from tests.storm.servers import ReplicaSet

__all__ = ["CONNECTED", "LIMIT", "UNCONNECTED", "Told", "all_told"]

LIMIT = 5.0
_SLACK = 1.0
"""Seconds that a busy machine and the driver's own half second between two looks at a server add."""

_AFTERWARDS_SECONDS = 15.0
_DATABASE, _COLLECTION = "outages", "sessions"
_PASSWORD = "not-the-secret-7"


@dataclass(frozen=True)
class Told:
    """What somebody who asked for something was told.

    Attributes:
        seconds: Until the error; ``None`` when there was none in time.
        error: The driver's error.
        wrong: What is wrong with it.
        stuck: What did not work again afterwards.
    """

    seconds: float | None
    error: str
    wrong: str = ""
    stuck: str = ""


Outage: TypeAlias = Callable[[ReplicaSet], AbstractContextManager[None]]
"""Begins on entering, is over on leaving."""


# Outages of a server that answered before


@contextmanager
def gone(servers: ReplicaSet) -> Iterator[None]:
    servers.kill(0)
    yield
    servers.restart(0)
    servers.primary()


@contextmanager
def mute(servers: ReplicaSet) -> Iterator[None]:
    servers.proxies[0].muted = EVERYBODY
    try:
        yield
    finally:
        servers.proxies[0].muted = frozenset()


@contextmanager
def full_disk(servers: ReplicaSet) -> Iterator[None]:
    """No file of the server can grow any more: its next write to one fails, as on a disk without space."""
    pid = servers.nodes[0].pid
    assert pid is not None
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    yield
    # MongoDB gives up by itself when it cannot write its journal.
    if servers.nodes[0].pid is not None:
        servers.kill(0)
    servers.restart(0)
    servers.primary()


@contextmanager
def exhausted_pool(servers: ReplicaSet) -> Iterator[None]:
    """The application itself has the only connection in use, with a question that is answered late."""
    proxy = servers.proxies[0]
    proxy.delayed, proxy.delay = {"listDatabases"}, LIMIT + _SLACK + 1
    client = MongoDBConnectionPool.initialize(servers.plain_uri, maxPoolSize=1)
    heard = len(proxy.heard)
    holding = threading.Thread(target=client.list_database_names)
    holding.start()
    while "listDatabases" not in proxy.heard[heard:]:
        time.sleep(0.01)
    try:
        yield
    finally:
        holding.join()
        proxy.delayed, proxy.delay = None, 0.0
        MongoDBConnectionPool.close()


async def open_a_session(servers: ReplicaSet, outage: Outage) -> Told:
    """Open a session while it lasts, and again afterwards."""
    async with _factory(servers) as factory:
        await factory.open_session("opened before")
        async with _lasting(outage, servers):
            opening = asyncio.create_task(factory.open_session("opened"))
            told = await _told(opening)
        return await _afterwards(told, opening, lambda: _works(factory, "opened"))


async def take_a_turn(servers: ReplicaSet, outage: Outage) -> Told:
    """Take a turn while it lasts; afterwards another with the same agent, and one with a new one."""
    session_id = f"turn in {outage.__name__}"
    async with _factory(servers) as factory:
        made = turn(await factory.open_session(session_id), "first")
        await made.agent.invoke_async("first")
        async with _lasting(outage, servers):
            made.model.calls.clear()
            made.model.script = ["answer to during"]
            taking = asyncio.create_task(made.agent.invoke_async("during"))
            told = await _told(taking)
        return await _afterwards(told, taking, lambda: _goes_on(factory, made, session_id))


@asynccontextmanager
async def _lasting(outage: Outage, servers: ReplicaSet) -> AsyncIterator[None]:
    """An outage, made and ended off the loop."""
    context = outage(servers)
    await asyncio.to_thread(context.__enter__)
    try:
        yield
    finally:
        await asyncio.to_thread(context.__exit__, None, None, None)


Ask: TypeAlias = Callable[[ReplicaSet, Outage], Coroutine[Any, Any, Told]]

CONNECTED: dict[str, tuple[Outage, dict[str, Ask]]] = {
    "the server is gone": (gone, {"open a session": open_a_session, "take a turn": take_a_turn}),
    "the server is mute": (mute, {"open a session": open_a_session, "take a turn": take_a_turn}),
    # To open a session is to read.
    "the disk is full": (full_disk, {"take a turn": take_a_turn}),
    "the pool is exhausted": (exhausted_pool, {"open a session": open_a_session, "take a turn": take_a_turn}),
}


@asynccontextmanager
async def _factory(servers: ReplicaSet) -> AsyncIterator[MongoDBSessionManagerFactory]:
    """With the library's own options, but for the pool, which is as small as it can be."""
    uri = servers.plain_uri
    async with MongoDBSessionManagerFactory(uri, _DATABASE, _COLLECTION, maxPoolSize=1) as factory:
        yield factory


async def _told(task: asyncio.Task[Any]) -> Told:
    """Wait for the error, not much longer than it may take."""
    begun = time.monotonic()
    await asyncio.wait([task], timeout=LIMIT + _SLACK)
    seconds = time.monotonic() - begun
    if not task.done():
        return Told(None, "", f"nothing was said in {LIMIT + _SLACK:g} s")
    error = task.exception()
    if error is None:
        return Told(None, "", "it did not fail")
    cause = _driver_error(error)
    if cause is None:
        return Told(seconds, repr(error), "the error is none of the driver")
    return Told(seconds, f"{type(cause).__name__}: {cause}")


def _driver_error(error: BaseException | None) -> PyMongoError | None:
    """The driver's error, which the SDK wraps when it was raised inside its event loop."""
    while error is not None and not isinstance(error, PyMongoError):
        error = error.__cause__
    return error


async def _afterwards(told: Told, task: asyncio.Task[Any], goes_on: Callable[[], Awaitable[str]]) -> Told:
    """What was asked ends when the outage is over, if it did not before, and all works again."""
    await asyncio.wait([task], timeout=_AFTERWARDS_SECONDS)
    if not task.done():
        task.cancel()
        return replace(told, stuck="what was asked never ended")
    with suppress(Exception):
        task.result()
    return replace(told, stuck=await goes_on())


async def _works(factory: MongoDBSessionManagerFactory, session_id: str) -> str:
    """A new agent takes a turn."""
    try:
        async with asyncio.timeout(_AFTERWARDS_SECONDS):
            made = turn(await factory.open_session(session_id), "later")
            await made.agent.invoke_async("later")
    except Exception as error:
        return f"afterwards: {error!r}"
    return ""


async def _goes_on(factory: MongoDBSessionManagerFactory, made: Turn, session_id: str) -> str:
    """The agent of the failed turn takes another; the history is that of all of them."""
    made.model.calls.clear()
    made.model.script = ["answer to after"]
    try:
        async with asyncio.timeout(_AFTERWARDS_SECONDS):
            await made.agent.invoke_async("after")
    except Exception as error:
        return f"the same agent afterwards: {error!r}"
    if problem := await _works(factory, session_id):
        return problem
    found = Findings()
    history = await asyncio.to_thread(read_session, factory, session_id, found)
    shapes = [["prompt during", "answer to during"], ["prompt during"], []]
    possible = [[*lines("first"), *each, "prompt after", "answer to after", *lines("later")] for each in shapes]
    return "" if history in possible and MISSING not in history and not found.problems else f"the history is {history}"


# Servers that never let anybody in


@contextmanager
def never_answers() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0), backlog=100) as server:
        yield f"mongodb://127.0.0.1:{server.getsockname()[1]}/"


@contextmanager
def wrong_credentials() -> Iterator[str]:
    with mongod("--auth") as port:
        with MongoClient[Any]("127.0.0.1", port, directConnection=True) as client:
            # While there is no user, whoever connects from this machine may make the first one.
            client.admin.command("createUser", "somebody", pwd="the-secret-of-the-test", roles=["root"])
        yield f"mongodb://somebody:{_PASSWORD}@127.0.0.1:{port}/?authSource=admin"


@contextmanager
def tls_required() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        certificate = self_signed(Path(folder))
        with mongod("--tlsMode", "requireTLS", "--tlsCertificateKeyFile", str(certificate)) as port:
            yield f"mongodb://127.0.0.1:{port}/"


@contextmanager
def unknown_certificate() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        certificate = self_signed(Path(folder))
        with mongod("--tlsMode", "requireTLS", "--tlsCertificateKeyFile", str(certificate)) as port:
            yield f"mongodb://127.0.0.1:{port}/?tls=true"


UNCONNECTED: dict[str, Callable[[], AbstractContextManager[str]]] = {
    "a server that never answered": never_answers,
    "wrong credentials": wrong_credentials,
    "TLS required": tls_required,
    "a certificate that nobody vouches for": unknown_certificate,
}


async def connect(uri: str) -> Told:
    """Open a session; afterwards nothing is busy with it, and the error shows no password."""
    before = set(threading.enumerate())
    async with MongoDBSessionManagerFactory(uri, _DATABASE, _COLLECTION) as factory:
        opening = asyncio.create_task(factory.open_session("s"))
        told = await _told(opening)
        if _PASSWORD in told.error:
            return replace(told, wrong="the error shows the password")
        stats = await factory.aio.get_connection_stats()
    if stats["active_connections"]:
        return replace(told, stuck=f"{stats['active_connections']} connections are in use")
    return replace(told, stuck=await asyncio.to_thread(_stuck_threads, before))


def _stuck_threads(before: set[threading.Thread]) -> str:
    """The driver's threads end with its client."""
    deadline = time.monotonic() + _AFTERWARDS_SECONDS
    while True:
        left = [each.name for each in set(threading.enumerate()) - before if each.name.startswith("pymongo_")]
        if not left or time.monotonic() > deadline:
            return ", ".join(left)
        time.sleep(0.05)


def all_told(folder: Path) -> dict[tuple[str, str], Told]:
    """Every outage, all at the same time: what was said, by outage and by what was asked."""
    told: dict[tuple[str, str], Told] = {}

    def unconnected(name: str) -> None:
        with UNCONNECTED[name]() as uri:
            told[name, "open a session"] = asyncio.run(connect(uri))

    def connected(name: str) -> None:
        outage, asks = CONNECTED[name]
        with ReplicaSet(folder / outage.__name__, nodes=1) as servers:
            for asked, ask in asks.items():
                told[name, asked] = asyncio.run(ask(servers, outage))

    with ThreadPoolExecutor(len(UNCONNECTED) + len(CONNECTED)) as pool:
        for done in [
            *(pool.submit(unconnected, name) for name in UNCONNECTED),
            *(pool.submit(connected, name) for name in CONNECTED),
        ]:
            done.result()
    return told


@contextmanager
def mongod(*options: str) -> Iterator[int]:
    """A server of its own that lets in whom its options say, on a folder of its own."""
    with tempfile.TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
        free.close()
        command = [str(find_mongod()), "--dbpath", folder, "--port", str(port), "--bind_ip", "127.0.0.1"]
        server = subprocess.Popen([*command, "--nounixsocket", *options], stdout=subprocess.DEVNULL)
        try:
            _wait_until_it_listens(server, port)
            yield port
        finally:
            server.kill()
            server.wait()


def _wait_until_it_listens(server: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        assert server.poll() is None, f"mongod ended with status {server.returncode}"
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.02)
    raise AssertionError("mongod does not listen")


def self_signed(folder: Path) -> Path:
    """A certificate for this machine and its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / "server.pem"
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return path
