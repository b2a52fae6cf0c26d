"""MongoDB clients, shared by whoever names the same server with the same options.

A client costs a pool of sockets and several threads, so the same arguments lead to the same client. Whoever needs
it takes a lease (`acquire_client`) and gives it back (`ClientLease.release`); the last one to do so closes it.
Nothing runs at import, and making a client waits for no server. After a fork, a child makes its own on first use.
"""

import os
import re
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from contextvars import copy_context
from importlib.metadata import PackageNotFoundError, version
from types import MappingProxyType, TracebackType
from typing import Any, Self

import pymongo
from pymongo import MongoClient, monitoring
from pymongo.driver_info import DriverInfo
from pymongo.errors import InvalidOperation, InvalidURI, ServerSelectionTimeoutError

from ._connection_string import redacted, secret_pieces
from .client_telemetry import client_listeners

DEFAULT_CLIENT_OPTIONS: Mapping[str, Any] = MappingProxyType(
    {
        "maxPoolSize": 100,
        "minPoolSize": 10,
        "maxIdleTimeMS": 30_000,
        "waitQueueTimeoutMS": 5_000,
        "serverSelectionTimeoutMS": 5_000,
        "connectTimeoutMS": 10_000,
        "socketTimeoutMS": 30_000,
        "retryWrites": True,
        "retryReads": True,
    }
)
"""Used where neither the caller's keywords nor the connection string say otherwise."""

_CLOSE_SECONDS = 2.0
# How much longer than the driver's own deadline we wait: its error says more than ours.
_GRACE_SECONDS = 0.2


class PoolCounters(monitoring.ConnectionPoolListener):
    """Counts a client's connections from the driver's own pool events, over all its servers."""

    def __init__(self) -> None:
        """Start at zero: a listener belongs to one client, from its making."""
        self._lock = threading.Lock()
        self._active = 0
        self._total = 0

    def counts(self) -> tuple[int, int]:
        """Return the connections in use and the connections that exist, read at one moment."""
        with self._lock:
            return self._active, self._total

    def _add(self, active: int, total: int) -> None:
        with self._lock:
            self._active += active
            self._total += total

    def connection_created(self, event: monitoring.ConnectionCreatedEvent) -> None:
        self._add(0, 1)

    def connection_closed(self, event: monitoring.ConnectionClosedEvent) -> None:
        self._add(0, -1)

    def connection_checked_out(self, event: monitoring.ConnectionCheckedOutEvent) -> None:
        self._add(1, 0)

    def connection_checked_in(self, event: monitoring.ConnectionCheckedInEvent) -> None:
        self._add(-1, 0)

    def _ignored(self, event: object) -> None:
        """The other events change neither count, but the driver expects every method to be there."""

    pool_created = pool_ready = pool_cleared = pool_closed = _ignored
    connection_ready = connection_check_out_started = connection_check_out_failed = _ignored


def _driver_info() -> DriverInfo:
    try:
        return DriverInfo("mongodb-session-manager", version("mongodb-session-manager"))
    except PackageNotFoundError:
        return DriverInfo("mongodb-session-manager", "unknown")


def _with_defaults(connection_string: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Add the defaults for what neither the keywords nor the connection string set."""
    query = connection_string.partition("?")[2]
    chosen = {name.lower(): value for name, _, value in (pair.partition("=") for pair in re.split("[&;]", query))}
    chosen |= {name.lower(): value for name, value in options.items()}
    result: dict[str, Any] = {"driver": _driver_info(), **DEFAULT_CLIENT_OPTIONS}
    if connection_string.lower().startswith("mongodb+srv:"):
        # Otherwise the constructor itself would wait for the name server.
        result["connect"] = False
    result = {name: value for name, value in result.items() if name.lower() not in chosen}
    maximum = str(chosen.get("maxpoolsize", ""))
    if "minPoolSize" in result and maximum.isdecimal():
        # The driver refuses a minimum above the maximum, and this minimum was not the caller's wish.
        result["minPoolSize"] = min(result["minPoolSize"], int(maximum))
    return {**result, **options}


def _new_client(connection_string: str, options: Mapping[str, Any], counters: PoolCounters) -> MongoClient[Any]:
    listeners = [*(options.get("event_listeners") or ()), counters, *client_listeners()]
    try:
        return MongoClient(connection_string, **{**options, "event_listeners": listeners})
    except InvalidURI as error:
        reason = str(error)
    # Raised outside the handler: the driver's error may quote a piece of the password and must not be chained.
    if any(piece.lower() in reason.lower() for piece in secret_pieces(connection_string, {})):
        reason = "Malformed connection string: percent-encode its user name and password with urllib.parse.quote_plus"
    raise InvalidURI(f"{reason} | {redacted(connection_string)}")


def _comparable(value: Any) -> Any:
    """Turn an option's value into something that equal values have in common, or else into its identity."""
    if isinstance(value, (list, tuple)):
        return tuple(map(_comparable, value))
    if isinstance(value, dict):
        return frozenset((name, _comparable(item)) for name, item in value.items())
    try:
        hash(value)
    except TypeError:
        return "object", id(value)
    return value


class SharedClient:
    """One client of this process, and how many leases keep it open."""

    def __init__(self, key: object, connection_string: str, options: Mapping[str, Any]) -> None:
        """Make the client; the options are complete, defaults included."""
        self.key = key
        self.connection_string = connection_string
        self.options = options
        self.leases: set[ClientLease] = set()
        self.server_version: str | None = None
        self.start()

    def start(self) -> None:
        """Make the client of this process; one inherited through a fork is let go, never closed."""
        counters = PoolCounters()
        self.client = _new_client(self.connection_string, self.options, counters)
        self.counters = counters
        self._asking = threading.Lock()
        self._answers: dict[str, Future[dict[str, Any]]] = {}
        # Last, since other threads take it as the sign that all of the above is there.
        self.pid = os.getpid()

    def close(self) -> None:
        """Close the client, without waiting long for a server that does not answer."""
        with pymongo.timeout(_CLOSE_SECONDS):
            self.client.close()

    def ask(self, command: str, seconds: float) -> dict[str, Any]:
        """Send a command to the primary and wait for its answer, never longer than the given time.

        It is sent from a thread of its own, because the driver's deadline covers neither name resolution nor what
        some authentication mechanisms call. Whoever asks the same meanwhile waits for the same answer, so that
        health checks of a dead name server do not pile up threads.
        """
        with self._asking:
            answer = self._answers.get(command)
            if answer is None or answer.done():
                answer = self._answers[command] = self._send(command, seconds)
        try:
            return answer.result(seconds + _GRACE_SECONDS)
        except TimeoutError:
            raise ServerSelectionTimeoutError(f"No answer to {command} within {seconds:g} s") from None

    def _send(self, command: str, seconds: float) -> Future[dict[str, Any]]:
        answer: Future[dict[str, Any]] = Future()

        def send() -> None:
            try:
                with pymongo.timeout(seconds):
                    answer.set_result(self.client.admin.command(command))
            except BaseException as error:
                answer.set_exception(error)
            if not self.leases:
                # A client that was closed while it looked up its hosts has opened itself again since.
                self.close()

        threading.Thread(target=copy_context().run, args=(send,), name="mongodb-probe", daemon=True).start()
        return answer


class ClientLease:
    """A share in a client, held until `release`. Usable as a context manager. Thread-safe."""

    def __init__(self, registry: "SharedClients", shared: SharedClient) -> None:
        self._registry = registry
        self._shared = shared

    @property
    def client(self) -> MongoClient[Any]:
        """The client of this process, made anew on first use after a fork.

        Raises:
            InvalidOperation: The lease was released.
        """
        return self.shared.client

    @property
    def shared(self) -> SharedClient:
        """What stands behind the lease: the client with its counters, made anew on first use after a fork.

        Raises:
            InvalidOperation: The lease was released.
        """
        if self not in self._shared.leases:
            raise InvalidOperation("Cannot use a MongoDB client whose lease was released: acquire a new one")
        return self._registry.live(self._shared)

    def release(self) -> None:
        """Give the client back; the last lease closes it. Further calls do nothing."""
        self._registry.release(self, self._shared)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


class SharedClients:
    """The clients of this process, by connection string and options, each counted and closed by its last lease."""

    def __init__(self) -> None:
        """Start with no client."""
        self._lock = threading.RLock()
        self._clients: dict[Any, SharedClient] = {}
        if hasattr(os, "register_at_fork"):
            # Held across the fork, so that a child never inherits it locked, nor the table half changed.
            os.register_at_fork(
                before=self._lock.acquire, after_in_parent=self._lock.release, after_in_child=self._lock.release
            )

    def acquire(self, connection_string: str, options: Mapping[str, Any]) -> ClientLease:
        """Return a lease on the client for these arguments, making it if nobody holds one."""
        if not connection_string:
            raise ValueError("A MongoDB connection string is needed, such as mongodb://localhost:27017")
        complete = _with_defaults(connection_string, options)
        key = (connection_string, _comparable({name.lower(): value for name, value in complete.items()}))
        with self._lock:
            shared = self._clients.get(key) or SharedClient(key, connection_string, complete)
            self._clients[key] = shared
            lease = ClientLease(self, shared)
            shared.leases.add(lease)
            return lease

    def live(self, shared: SharedClient) -> SharedClient:
        """Return the same with a client of this process."""
        if shared.pid == os.getpid():
            return shared
        with self._lock:
            if shared.pid != os.getpid():
                shared.start()
        return shared

    def release(self, lease: ClientLease, shared: SharedClient) -> None:
        """End a lease, and close its client if it was the last."""
        with self._lock:
            if lease not in shared.leases:
                return
            shared.leases.remove(lease)
            if shared.leases:
                return
            del self._clients[shared.key]
        if shared.pid == os.getpid():
            shared.close()


_shared_clients = SharedClients()


def acquire_client(connection_string: str, **options: Any) -> ClientLease:
    """Take a share in the client for a connection string and options.

    The same arguments share one client, others get their own. Makes no contact with the server.

    Args:
        connection_string: A `mongodb://` or `mongodb+srv://` address.
        **options: Options of `pymongo.MongoClient`, before those in the connection string, before the defaults.

    Raises:
        ConfigurationError: An option is unknown, or (`InvalidURI`) the address is malformed.
        ValueError: The address is empty, or an option's value is out of range.
    """
    return _shared_clients.acquire(connection_string, options)
