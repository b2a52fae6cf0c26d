"""Numbered migrations: ``migrations/NNNN_name.sql``, each applied once, in order, whoever else starts meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from typing import Any

__all__ = ["migrate"]

_LOCK = 0x5E5510_0DB
"""The advisory lock: any number that nobody else takes."""

_TABLE = """
CREATE TABLE IF NOT EXISTS chat_migrations (
    version integer PRIMARY KEY,
    name text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""


async def migrate(connection: Any) -> list[str]:
    """Apply what is missing, all of it or nothing.

    The lock is the transaction's, so that it works through a connection pooler. A database that has everything is only
    read, which needs no right to change its tables.

    Args:
        connection: An asyncpg connection outside a transaction.

    Returns:
        The names of what was applied.
    """
    if not await _missing(connection):
        return []
    async with connection.transaction(isolation="read_committed"):
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
        await connection.execute(_TABLE)
        missing = await _missing(connection)  # somebody may have been first
        for version, name, script in missing:
            await connection.execute(script)
            await connection.execute("INSERT INTO chat_migrations (version, name) VALUES ($1, $2)", version, name)
    return [name for _, name, _ in missing]


async def _missing(connection: Any) -> list[tuple[int, str, str]]:
    applied: set[int] = set()
    if await connection.fetchval("SELECT to_regclass('chat_migrations') IS NOT NULL"):
        applied = {row["version"] for row in await connection.fetch("SELECT version FROM chat_migrations")}
    return [migration for migration in _migrations() if migration[0] not in applied]


def _migrations() -> Iterator[tuple[int, str, str]]:
    """Number, name and script of each, in order."""
    folder = files("chat_service.stores").joinpath("migrations")
    for path in sorted(folder.iterdir(), key=lambda path: path.name):
        name, _, kind = path.name.partition(".")
        if kind == "sql":
            yield int(name.partition("_")[0]), name, path.read_text(encoding="utf-8")
