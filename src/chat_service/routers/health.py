"""Whether the service lives, and whether it can work."""

from __future__ import annotations

from mongodb_session_manager.fastapi import health_router, pool_stats

__all__ = ["pool_stats", "router"]

router = health_router("/health", "/api/health", "/health/factory", "/readyz")
