"""Whether the service lives, and whether it can work."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from fastapi import APIRouter, Response

from ..dependencies import Factory
from ..models import Health
from ..stores.session_factory import SessionFactory

__all__ = ["pool_stats", "router"]

logger = logging.getLogger(__name__)

router = APIRouter(tags=["health"])

# Addresses and errors of the server are none of a client's business.
_PUBLIC = ("status", "server_version", "pool_config", "active_connections", "total_connections")
_PATIENCE = 1.5  # seconds; the factory itself answers within about one


@router.head("/health", include_in_schema=False)
@router.head("/api/health", include_in_schema=False)
@router.head("/readyz", include_in_schema=False)
@router.get("/health", responses={503: {"model": Health}})
@router.get("/api/health", responses={503: {"model": Health}})
@router.get("/readyz", responses={503: {"model": Health}})
async def health(factory: Factory, response: Response) -> Health:
    """Whether the service can answer questions: 200, or 503 when its database cannot be reached."""
    stats = await pool_stats(factory)
    if stats["status"] == "connected":
        return Health(status="healthy", connection_pool=stats)
    response.status_code = 503
    return Health(status="unhealthy", connection_pool=stats)


@router.head("/livez", include_in_schema=False)
@router.get("/livez")
async def livez() -> dict[str, str]:
    """Whether the process runs; says nothing of what it depends on."""
    return {"status": "alive"}


async def pool_stats(factory: SessionFactory) -> dict[str, Any]:
    """The connection pool in figures that anybody may read."""
    try:
        async with asyncio.timeout(_PATIENCE):
            stats = await factory.aio.get_connection_stats()
    except Exception as error:
        logger.warning("error=<%s> | the connection pool gave no figures", type(error).__name__)
        return {"status": "error"}
    return {key: stats[key] for key in _PUBLIC if key in stats}
