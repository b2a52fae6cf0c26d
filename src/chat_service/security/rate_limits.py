"""How often somebody may do something."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec

from limits import RateLimitItem, parse_many
from limits.storage import MemoryStorage, MongoDBStorage, Storage, storage_from_string
from limits.strategies import MovingWindowRateLimiter

from .refusals import RateLimited

__all__ = ["Failures", "RateLimits", "check_storage", "open_storage"]

logger = logging.getLogger(__name__)

_PATIENCE = 1.0  # seconds that a storage may take
_MILLISECONDS = 1000
_REST = 5.0  # seconds without asking one that failed
_REDIS = ("redis", "rediss", "redis+unix", "redis+cluster", "redis+sentinel")
_MONGODB = ("mongodb", "mongodb+srv")


class _OnMongoDB(MongoDBStorage):
    """Connects when it is asked, and not when it is forgotten without having been."""

    STORAGE_SCHEME = []  # noqa: RUF012 - declared so there; the empty list keeps it out of the registry

    def __del__(self) -> None:
        """Nothing: :meth:`RateLimits.close` closes what there is."""


def check_storage(url: str) -> None:
    """Find out whether there can be such a storage; no I/O.

    Raises:
        ValueError: It is unknown, or needs a package that is not installed.
    """
    scheme = url.partition("://")[0]
    if scheme not in ("memory", *_REDIS, *_MONGODB):
        raise ValueError("this is none of the storages")
    if scheme in _REDIS and not find_spec("redis"):
        raise ValueError("this needs the package redis, which is not installed")


def open_storage(url: str) -> Storage:
    """Where counts are kept. No I/O.

    Args:
        url: That :func:`check_storage` finds right.
    """
    scheme = url.partition("://")[0]
    if scheme in _MONGODB:
        return _OnMongoDB(url, serverSelectionTimeoutMS=_MILLISECONDS, timeoutMS=_MILLISECONDS)
    options = {"socket_timeout": _PATIENCE, "socket_connect_timeout": _PATIENCE} if scheme in _REDIS else {}
    storage = storage_from_string(url, **options)
    assert isinstance(storage, Storage)
    return storage


class RateLimits:
    """Counts what callers do, in a storage that may be shared by several processes.

    A storage that cannot be reached limits nobody: it must not end the service. The log has one warning when it
    begins and one line when it is over.
    """

    def __init__(self, rate: str | None, storage: Storage) -> None:
        """Remember what is allowed; no I/O.

        Args:
            rate: As in ``60/minute``, several with ``;`` between them; ``None`` for no limit.
            storage: Where to count.
        """
        self._items = parse_many(rate) if rate else []
        self._storage = storage
        self._limiter = MovingWindowRateLimiter(storage)
        self._pool = ThreadPoolExecutor(4, "rate-limits")
        self._asked = False
        self._failed = False
        self._resting_until = 0.0

    async def count(self, who: str) -> None:
        """Count one more.

        Raises:
            RateLimited: That was one too many.
        """
        if not self._items or time.monotonic() < self._resting_until:
            return
        try:
            async with asyncio.timeout(2 * _PATIENCE):
                wait = await asyncio.get_running_loop().run_in_executor(self._pool, self._count, who)
        except Exception as error:
            self._rest(error)
            return
        if self._failed:
            self._failed = False
            logger.info("the storage of the rate limits works again")
        if wait is not None:
            raise RateLimited(wait)

    def close(self) -> None:
        """Give up the threads and the connections."""
        self._pool.shutdown(cancel_futures=True)
        if self._asked:  # before that a storage has no connections
            close: Callable[[], None] | None = getattr(getattr(self._storage, "storage", None), "close", None)
            if close:
                close()

    def _count(self, who: str) -> int | None:
        self._asked = True
        return _hit(self._limiter, self._items, "asked", who)

    def _rest(self, error: Exception) -> None:
        self._resting_until = time.monotonic() + _REST
        if not self._failed:
            logger.warning(
                "error=<%s> | the storage of the rate limits cannot be used, nobody is limited", type(error).__name__
            )
        self._failed = True


class Failures:
    """Counts failures by address, in the memory of this process: asking is free and cannot fail."""

    def __init__(self, rate: str) -> None:
        self._items = parse_many(rate)
        self._limiter = MovingWindowRateLimiter(MemoryStorage())

    def check(self, address: str) -> None:
        """Whether an address may try.

        Raises:
            RateLimited: It has failed too often.
        """
        for item in self._items:
            if not self._limiter.test(item, "failed", address):
                raise RateLimited(_wait(self._limiter, item, "failed", address))

    def count(self, address: str) -> None:
        """Count a failure."""
        _hit(self._limiter, self._items, "failed", address)


def _hit(limiter: MovingWindowRateLimiter, items: Sequence[RateLimitItem], *what: str) -> int | None:
    """``None``, or the seconds to wait."""
    for item in items:
        if not limiter.hit(item, *what):
            return _wait(limiter, item, *what)
    return None


def _wait(limiter: MovingWindowRateLimiter, item: RateLimitItem, *what: str) -> int:
    return max(1, math.ceil(limiter.get_window_stats(item, *what).reset_time - time.time()))
