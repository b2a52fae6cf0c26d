"""The application's MongoDB connection: one pool for all of it, its statistics, and what a server must be able to do.

`MongoDBConnectionPool` is for applications; `acquire_client`, `connection_stats` and the two checks are what factory
and manager are built on.
"""

import os
import re
import threading
from collections.abc import Iterable
from typing import Any, ClassVar

from pymongo import MongoClient
from pymongo.errors import ConfigurationError, InvalidOperation, WaitQueueTimeoutError

from ._connection_string import redact_text, redacted, without_secrets
from ._shared_clients import (
    DEFAULT_CLIENT_OPTIONS,
    ClientLease,
    SharedClient,
    acquire_client,
)

__all__ = [
    "DEFAULT_CLIENT_OPTIONS",
    "ClientLease",
    "MongoDBConnectionPool",
    "UnsupportedServerError",
    "acquire_client",
    "check_server",
    "check_write_concern",
    "connection_stats",
    "redact_text",
    "redacted",
    "unsupported_reason",
]

_CONNECT_SECONDS = 5.0
_STATS_SECONDS = 1.0

_MINIMUM_WIRE_VERSION = 13
_RELEASES = {6: "3.6", 7: "4.0", 8: "4.2", 9: "4.4"}
_DOCUMENTDB_HOST = re.compile(r"\.docdb(-elastic)?\.amazonaws\.com(\.cn)?$", re.IGNORECASE)


class UnsupportedServerError(RuntimeError):
    """The server lacks what sessions are built on: MongoDB 5.0 or newer is needed, and not Amazon DocumentDB."""


def connection_stats(lease: ClientLease) -> dict[str, Any]:
    """Describe a client and its connections, within about a second whatever the server does.

    Returns:
        `status` (`connected`, `error` with an `error` text, or `not_initialized` once the lease is released),
        `connection_string` without credentials, `server_version` when connected, `pool_config` with `maxPoolSize`
        and `minPoolSize`, and the true counts `active_connections` and `total_connections`.
    """
    try:
        shared = lease.shared
    except InvalidOperation:
        return {"status": "not_initialized"}
    status = _server_status(shared)
    pool = shared.client.options.pool_options
    active, total = shared.counters.counts()
    return {
        **status,
        "connection_string": redacted(shared.connection_string),
        "pool_config": {"maxPoolSize": pool.max_pool_size, "minPoolSize": pool.min_pool_size},
        "active_connections": active,
        "total_connections": total,
    }


def _server_status(shared: SharedClient) -> dict[str, Any]:
    try:
        shared.server_version = shared.ask("buildInfo", _STATS_SECONDS)["version"]
    except Exception as error:
        # All connections being in use is a busy application, not a lost server: the monitors know better.
        busy = isinstance(error, WaitQueueTimeoutError) and shared.client.topology_description.has_writable_server()
        if not busy:
            text = without_secrets(str(error), shared.connection_string, shared.options)
            return {"status": "error", "error": f"{type(error).__name__}: {text}"}
    return {"status": "connected", "server_version": shared.server_version}


def unsupported_reason(hosts: Iterable[str], wire_version: int | None) -> str | None:
    """Say why a server cannot hold sessions, or return `None` if it can.

    Args:
        hosts: Every name by which the server or its cluster is known.
        wire_version: The newest wire protocol that it speaks; `None` where a load balancer hides it.
    """
    documentdb = next((host for host in hosts if _DOCUMENTDB_HOST.search(host)), None)
    if documentdb:
        return f"{documentdb} is Amazon DocumentDB, which lacks features that sessions need: use MongoDB 5.0 or newer"
    if wire_version is None or wire_version >= _MINIMUM_WIRE_VERSION:
        return None
    release = _RELEASES.get(wire_version, f"with wire version {wire_version}")
    return f"The server is MongoDB {release}, but sessions need MongoDB 5.0 or newer"


def check_server(client: MongoClient[Any]) -> None:
    """Refuse a server that cannot hold sessions; sends nothing, and knows only servers already contacted.

    Raises:
        UnsupportedServerError: A server is older than MongoDB 5.0, or is Amazon DocumentDB.
    """
    for server in client.topology_description.server_descriptions().values():
        if not server.is_server_type_known:
            continue
        names = {server.address[0], *(host for host, _ in server.all_hosts), *(server.me or ())[:1]}
        hidden = server.server_type_name == "LoadBalancer"
        reason = unsupported_reason(names, None if hidden else server.max_wire_version)
        if reason:
            raise UnsupportedServerError(reason)


def check_write_concern(client: MongoClient[Any]) -> None:
    """Refuse a client whose writes are not acknowledged.

    Raises:
        ValueError: The client was made with `w=0`.
    """
    if not client.write_concern.acknowledged:
        raise ValueError(
            "The MongoDB client has the unacknowledged write concern w=0, with which nothing stored is certain: "
            'remove w=0 from its options or connection string, or use w="majority"'
        )


def _connect(lease: ClientLease) -> None:
    shared = lease.shared
    try:
        _ping(shared)
        check_server(shared.client)
    except BaseException as error:
        error.add_note(f"while connecting to {redacted(shared.connection_string)}")
        lease.release()
        raise


def _ping(shared: SharedClient) -> None:
    # The driver's deadline replaces its selection timeout, so a shorter one has to be kept here; but not one too
    # short for a whole handshake.
    seconds = min(_CONNECT_SECONDS, max(1.0, shared.client.options.server_selection_timeout))
    try:
        shared.ask("ping", seconds)
    except ConfigurationError:
        # The driver itself refuses the oldest servers, without naming their version.
        check_server(shared.client)
        raise


_changing = threading.Lock()


def _after_fork() -> None:
    # Another thread of the parent may have held it.
    global _changing
    _changing = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class MongoDBConnectionPool:
    """One client for a whole application. Every call of the class gives the same object; thread-safe."""

    _instances: ClassVar["dict[type, MongoDBConnectionPool]"] = {}
    _lease: ClassVar[ClientLease | None] = None

    def __new__(cls) -> "MongoDBConnectionPool":
        """Return the one instance."""
        return cls._instances.setdefault(cls, super().__new__(cls))

    @classmethod
    def initialize(cls, connection_string: str, **kwargs: Any) -> MongoClient[Any]:
        """Connect, within about five seconds.

        The same arguments again return the same client. Others replace it: once the new server has answered, the
        earlier client is closed; if it does not answer, the earlier one stays.

        Args:
            connection_string: A `mongodb://` or `mongodb+srv://` address.
            **kwargs: Options of `pymongo.MongoClient`.

        Raises:
            PyMongoError: The server did not answer; a note names the address.
            UnsupportedServerError: It is older than MongoDB 5.0, or is Amazon DocumentDB.
        """
        with _changing:
            lease = acquire_client(connection_string, **kwargs)
            earlier = cls._lease
            if earlier and earlier.shared is lease.shared:
                lease.release()
                return earlier.client
            _connect(lease)
            cls._lease = lease
            if earlier:
                earlier.release()
            return lease.client

    @classmethod
    def get_client(cls) -> MongoClient[Any] | None:
        """Return the client, or `None` before `initialize` and after `close`."""
        lease = cls._lease
        try:
            return lease.client if lease else None
        except InvalidOperation:
            return None

    @classmethod
    def get_pool_stats(cls) -> dict[str, Any]:
        """Describe the client like `connection_stats`; `{"status": "not_initialized"}` when there is none."""
        lease = cls._lease
        return connection_stats(lease) if lease else {"status": "not_initialized"}

    @classmethod
    def close(cls) -> None:
        """Close the client, unless others share it. Further calls do nothing."""
        with _changing:
            lease, cls._lease = cls._lease, None
            if lease:
                lease.release()
