"""The commands and the connections of a client, told to OpenTelemetry by the driver's own events."""

from __future__ import annotations

import threading
import time
from typing import Any, TypeAlias

from pymongo import monitoring

from .telemetry import Attributes, add, count_command, is_configured, is_measured, record, shift

__all__ = ["client_listeners", "server_attributes"]

_Address: TypeAlias = tuple[str, int | None]

_OF_THE_CONNECTION = {"hello", "ismaster", "isMaster", "saslStart", "saslContinue", "endSessions", "authenticate"}
_LARGEST_POOL = 100


def client_listeners() -> list[Any]:
    """Listeners for a client: its commands and connections become figures of OpenTelemetry.

    A client that a factory makes has them. Give them to one that you make yourself:
    ``MongoClient(…, event_listeners=client_listeners())``.

    Returns:
        None at all while OpenTelemetry is not configured: a client that is made then is not listened to. Of the pool
        nothing without a provider of metrics: one that begins in the middle would count connections below 0.
    """
    commands: list[Any] = [_Commands()] if is_configured() else []
    return [*commands, _Pools()] if is_measured() else commands


def server_attributes(address: _Address | None) -> dict[str, str | int]:
    """Which server, as the conventions say it.

    Args:
        address: Host and port; a socket has no port.
    """
    if address is None:
        return {}
    host, port = address
    return {"server.address": host} if port is None else {"server.address": host, "server.port": port}


class _Commands(monitoring.CommandListener):
    """Each command is one measurement of ``db.client.operation.duration``."""

    def __init__(self) -> None:
        self._collections: dict[int, str] = {}

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        name = event.command_name
        if name in _OF_THE_CONNECTION:
            return
        collection = event.command.get("collection" if name == "getMore" else name)
        self._collections[event.request_id] = collection if isinstance(collection, str) else ""
        count_command()

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        self._ended(event, {})

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        code = str(event.failure.get("code", ""))
        status = {"db.response.status_code": code} if code else {}
        self._ended(event, {**status, "error.type": code or str(event.failure.get("errtype", "_OTHER"))})

    def _ended(
        self, event: monitoring.CommandSucceededEvent | monitoring.CommandFailedEvent, outcome: Attributes
    ) -> None:
        collection = self._collections.pop(event.request_id, None)
        if collection is None:
            return
        attributes: dict[str, str | int] = {
            "db.system.name": "mongodb",
            "db.namespace": event.database_name,
            "db.operation.name": event.command_name,
            **({"db.collection.name": collection} if collection else {}),
            **server_attributes(event.connection_id),
            **outcome,
        }
        record("db.client.operation.duration", event.duration_micros / 1e6, attributes)


class _Pools(monitoring.ConnectionPoolListener):
    """The connections to each server of a client are a pool."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._borrowed: dict[tuple[_Address, int], float] = {}
        self._limits: dict[_Address, tuple[int, int]] = {}

    def pool_created(self, event: monitoring.PoolCreatedEvent) -> None:
        limits = (int(event.options.get("maxPoolSize") or _LARGEST_POOL), int(event.options.get("minPoolSize") or 0))
        self._limits[event.address] = limits
        self._limit(event.address, *limits)

    def pool_closed(self, event: monitoring.PoolClosedEvent) -> None:
        most, fewest = self._limits.pop(event.address, (0, 0))
        self._limit(event.address, -most, -fewest)

    def _limit(self, address: _Address, most: int, fewest: int) -> None:
        shift("db.client.connection.max", most, _pool(address))
        shift("db.client.connection.idle.min", fewest, _pool(address))

    def connection_created(self, event: monitoring.ConnectionCreatedEvent) -> None:
        _count(event.address, "idle", 1)

    def connection_ready(self, event: monitoring.ConnectionReadyEvent) -> None:
        record("db.client.connection.create_time", event.duration or 0.0, _pool(event.address))

    def connection_closed(self, event: monitoring.ConnectionClosedEvent) -> None:
        _count(event.address, "idle", -1)

    def connection_check_out_started(self, event: monitoring.ConnectionCheckOutStartedEvent) -> None:
        shift("db.client.connection.pending_requests", 1, _pool(event.address))

    def connection_check_out_failed(self, event: monitoring.ConnectionCheckOutFailedEvent) -> None:
        shift("db.client.connection.pending_requests", -1, _pool(event.address))
        if event.reason == monitoring.ConnectionCheckOutFailedReason.TIMEOUT:
            add("db.client.connection.timeouts", 1, _pool(event.address))

    def connection_checked_out(self, event: monitoring.ConnectionCheckedOutEvent) -> None:
        with self._lock:
            self._borrowed[event.address, event.connection_id] = time.perf_counter()
        shift("db.client.connection.pending_requests", -1, _pool(event.address))
        record("db.client.connection.wait_time", event.duration or 0.0, _pool(event.address))
        _count(event.address, "idle", -1)
        _count(event.address, "used", 1)

    def connection_checked_in(self, event: monitoring.ConnectionCheckedInEvent) -> None:
        with self._lock:
            since = self._borrowed.pop((event.address, event.connection_id), None)
        if since is not None:
            record("db.client.connection.use_time", time.perf_counter() - since, _pool(event.address))
        _count(event.address, "used", -1)
        _count(event.address, "idle", 1)

    def _ignored(self, event: object) -> None:
        """Changes no figure, but the driver expects every method to be there."""

    pool_ready = pool_cleared = _ignored


def _pool(address: _Address) -> dict[str, str | int]:
    host, port = address
    name = host if port is None else f"{host}:{port}"
    return {"db.system.name": "mongodb", "db.client.connection.pool.name": name, **server_attributes(address)}


def _count(address: _Address, state: str, amount: int) -> None:
    shift("db.client.connection.count", amount, {**_pool(address), "db.client.connection.state": state})
