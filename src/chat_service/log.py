"""The log of the service: its form, and what is kept out of it."""

from __future__ import annotations

import logging

__all__ = ["QueryFreeAccessLog", "configure"]


def configure(level: str) -> None:
    """Show the log on standard error, unless whoever runs the service has configured logging already.

    Args:
        level: ``LOG_LEVEL``.
    """
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s | %(message)s")


class QueryFreeAccessLog(logging.Filter):
    """Cuts query strings from uvicorn's access log: ``GET /api/chat/stream?query=`` carries what a person asked."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record through, changed."""
        if isinstance(record.args, tuple) and len(record.args) == 5:
            client, method, path, *rest = record.args
            record.args = (client, method, str(path).partition("?")[0], *rest)
        return True
