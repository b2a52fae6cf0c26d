"""Whether the application lives, whether it can work, and its connections in figures."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, Protocol

import pymongo
from fastapi import APIRouter, Request, Response

__all__ = ["Health", "health_router", "metrics_router", "pool_stats"]

logger = logging.getLogger(__name__)

# Addresses and errors of the server are none of a client's business.
_PUBLIC = ("status", "server_version", "pool_config", "active_connections", "total_connections")
_PATIENCE = 1.5  # seconds; the factory itself answers within about one
_READ_SECONDS = 1.0


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class Health:
    """Whether the application can work."""

    status: Literal["healthy", "unhealthy"]
    connection_pool: dict[str, Any]
    timestamp: datetime = field(default_factory=_now)


class _Measured(Protocol):
    """A factory of session managers, on whatever store."""

    @property
    def aio(self) -> Any:
        """``get_connection_stats`` in its awaitable form."""

    @property
    def sessions(self) -> Any:
        """Its catalogue, which is asked where the client is a borrowed one."""


def health_router(*paths: str) -> APIRouter:
    """Routes for whoever watches over the application, ``GET`` and ``HEAD``.

    ``/livez`` says that the process runs. The others answer 200 when the database answers, else 503, within about a
    second: ``{status, connection_pool, timestamp}``.

    Args:
        *paths: Of those others, ``/health`` and ``/readyz`` by default.
    """
    router = APIRouter(tags=["health"])
    for path in paths or ("/health", "/readyz"):
        router.add_api_route(path, _health, methods=["GET"], responses={503: {"model": Health}})
        router.add_api_route(path, _health, methods=["HEAD"], include_in_schema=False)
    router.add_api_route("/livez", _livez, methods=["GET"])
    router.add_api_route("/livez", _livez, methods=["HEAD"], include_in_schema=False)
    return router


def metrics_router() -> APIRouter:
    """``GET /metrics`` and ``GET /debug/pool``: the factory and its connections in figures, as JSON.

    They name the database and the collection, and belong behind whatever keeps strangers out.
    """
    router = APIRouter(tags=["metrics"])
    router.add_api_route("/metrics", _metrics, methods=["GET"])
    router.add_api_route("/debug/pool", _debug_pool, methods=["GET"])
    return router


async def pool_stats(factory: _Measured) -> dict[str, Any]:
    """The connections of a factory in figures that anybody may read, within about a second.

    Args:
        factory: On whatever store.

    Returns:
        ``status`` (``connected``, ``external_client``, ``error``, …), and of an own client ``server_version``,
        ``pool_config``, ``active_connections`` and ``total_connections``.
    """
    try:
        async with asyncio.timeout(_PATIENCE):
            stats = await factory.aio.get_connection_stats()
            if stats["status"] == "external_client":
                await _read(factory)
    except Exception as error:
        logger.warning("error=<%s> | the connection pool gave no figures", type(error).__name__)
        return {"status": "error"}
    return {key: stats[key] for key in _PUBLIC if key in stats}


async def _read(factory: _Measured) -> None:
    """Ask the database something: what a factory says of a borrowed client does not tell whether its server lives."""
    with pymongo.timeout(_READ_SECONDS):
        await factory.sessions.aio.get("")


async def _health(request: Request, response: Response) -> Health:
    """Whether the application can work: 200, or 503 when its database cannot be reached."""
    stats = await pool_stats(request.app.state.session_factory)
    if stats["status"] in ("connected", "external_client"):
        return Health("healthy", stats)
    response.status_code = 503
    return Health("unhealthy", stats)


async def _livez() -> dict[str, str]:
    """Whether the process runs; says nothing of what it depends on."""
    return {"status": "alive"}


async def _metrics(request: Request) -> dict[str, Any]:
    """The factory and its connections in figures."""
    factory = request.app.state.session_factory
    place = {"database": factory.database_name, "collection": factory.collection_name}
    return {"connection_pool": await pool_stats(factory), "factory": place, "timestamp": _now()}


async def _debug_pool(request: Request) -> dict[str, Any]:
    """The connections in figures."""
    return await pool_stats(request.app.state.session_factory)
