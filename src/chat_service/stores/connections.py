"""Connections to one PostgreSQL database: asyncpg on an event loop in a thread of its own, and waiting for it.

Thread, loop and pool are made on first use in each process, a forked child's anew. Nothing is kept in a session of the
server, so a pooler may hand out another one for every transaction. While the server cannot be reached a call is tried
again for a few seconds, so that a restart or a failover is seen as a slow call.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias, TypeVar

import asyncpg
from asyncpg import exceptions as driver

from mongodb_session_manager.telemetry import is_configured, record, shift

from ..exceptions import ServiceError
from .address import Address
from .faithful_json import dumps, loads
from .migration import migrate
from .tally import count_query

__all__ = ["OUTAGES", "Connections", "DatabaseUnavailable", "Work"]

T = TypeVar("T")
Work: TypeAlias = Callable[[Any], Awaitable[T]]
"""What to do with a connection. It may be done again after a failure, so it must be harmless to repeat."""

OUTAGES = (
    OSError,  # refused, reset, timed out
    driver.PostgresConnectionError,
    driver.OperatorInterventionError,  # the server ends, starts, or ended this connection
    driver.TransactionRollbackError,  # a deadlock or a conflict of another kind: nothing was done
    driver.TooManyConnectionsError,
    driver.ReadOnlySQLTransactionError,  # a primary that is one no longer
    driver.IdleInTransactionSessionTimeoutError,
    asyncpg.InternalClientError,  # the server's last word came when the driver expected none
)
"""Errors after which trying again may help."""

_PAUSES = (0.05, 0.1, 0.2, 0.4)
_CONNECT_SECONDS = 10.0
_CLOSE_SECONDS = 5.0
_USED = {"db.client.connection.state": "used"}
_CLOSED = "the connections to PostgreSQL are closed; make a new session factory"


class DatabaseUnavailable(ServiceError):
    """PostgreSQL cannot be reached, or did not answer in time. HTTP status 503. Its cause is the driver's error."""

    status_code = 503
    code = "service_unavailable"
    retry_after = 1

    def __init__(self) -> None:
        super().__init__("The database cannot be reached. Try again in a moment.")


class _Process:
    """Loop, thread and pool of one process."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, name="postgresql", daemon=True)
        self.opening = asyncio.Lock()
        self.pool: Any = None
        self.applied: list[str] = []
        self.thread.start()

    async def close(self) -> None:
        """Close the pool; what does not end in time is cut off."""
        async with self.opening:
            try:
                if self.pool is not None:
                    await asyncio.wait_for(self.pool.close(), _CLOSE_SECONDS)
            except TimeoutError:
                self.pool.terminate()
        calls = asyncio.all_tasks() - {asyncio.current_task()}
        for call in calls:  # whoever still waits is told
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(_CLOSE_SECONDS)
        if not self.thread.is_alive():
            self.loop.close()


class Connections:
    """A pool of connections that any thread may use.

    Attributes:
        address: The database.
        min_size: Connections that are opened at first.
        max_size: Connections at most, and so the calls that are served at once.
    """

    def __init__(
        self, url: str, *, min_size: int = 2, max_size: int = 10, timeout: float = 60.0, patience: float = 5.0
    ) -> None:
        """Remember the database; no I/O.

        Args:
            url: ``postgresql://user:password@host:port/database``.
            min_size: Connections that are opened at first.
            max_size: Connections at most.
            timeout: Seconds that a statement, and a whole call, may take.
            patience: Seconds for which a call is tried again while the server cannot be reached.

        Raises:
            ValueError: The URL is none of a PostgreSQL database.
        """
        self.address = Address(url)
        self.min_size, self.max_size = min_size, max_size
        self._timeout, self._patience = timeout, patience
        self._closed = False
        self._inherited: list[_Process | None] = []
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._process: _Process | None = None

    def _here(self) -> _Process:
        """What runs in this process, started if it was not yet."""
        if self._pid != os.getpid():
            # The parent's sockets are its own: kept, so that nothing here closes them.
            self._inherited.append(self._process)
            self._reset()
        with self._lock:
            if self._closed:
                raise RuntimeError(_CLOSED)
            if self._process is None:
                self._process = _Process()
            return self._process

    def call(
        self, work: Work[T], *, session_id: str | None = None, timeout: float | None = None, retry: bool = True
    ) -> T:
        """Do something with a connection, and wait for it.

        Args:
            work: What to do.
            session_id: Which session it is about; an error says so.
            timeout: Seconds to wait at most.
            retry: Whether to try again while the server cannot be reached.

        Raises:
            DatabaseUnavailable: The server cannot be reached, or did not answer in time.
            RuntimeError: The caller runs on the loop that would have to answer, or the connections are closed.
        """
        here = self._here()
        if threading.current_thread() is here.thread:
            raise RuntimeError(
                "a session store cannot be called on the event loop that answers it: it would wait for itself"
            )
        outcome = asyncio.run_coroutine_threadsafe(
            self._attempts(here, work, self._patience if retry else 0), here.loop
        )
        try:
            return outcome.result(self._timeout if timeout is None else timeout)
        except concurrent.futures.TimeoutError as error:
            outcome.cancel()
            unavailable = DatabaseUnavailable()
            unavailable.add_note(f"session_id={session_id!r}")
            raise unavailable from error
        except concurrent.futures.CancelledError:
            raise RuntimeError(_CLOSED) from None
        except (ServiceError, driver.PostgresError) as error:
            if session_id is not None:
                error.add_note(f"session_id={session_id!r}")
            raise

    async def _attempts(self, here: _Process, work: Work[T], patience: float) -> T:
        end = here.loop.time() + patience
        attempt = 0
        while True:
            try:
                return await self._with_connection(await self._pool(here), work)
            except OUTAGES as error:
                pause = _PAUSES[min(attempt, len(_PAUSES) - 1)]
                if here.loop.time() + pause > end:
                    raise DatabaseUnavailable from error
                await asyncio.sleep(pause)
            attempt += 1

    async def _pool(self, here: _Process) -> Any:
        async with here.opening:
            if here.pool is None:
                pool = asyncpg.create_pool(
                    self.address.url,
                    min_size=self.min_size,
                    max_size=self.max_size,
                    command_timeout=self._timeout,
                    timeout=_CONNECT_SECONDS,
                    max_queries=50_000,
                    max_inactive_connection_lifetime=300.0,
                    init=self._prepare,
                    reset=_nothing,
                    **({"statement_cache_size": 0} if self.address.is_pooled else {}),
                )
                try:
                    await pool
                    here.applied = await self._with_connection(pool, migrate)
                except BaseException:
                    pool.terminate()
                    raise
                here.pool = pool
            return here.pool

    async def _with_connection(self, pool: Any, work: Work[T]) -> T:
        asked_at = time.perf_counter()
        async with pool.acquire() as connection:
            with self._measured(asked_at), _lost_if_closed(connection):
                return await work(connection)

    @contextmanager
    def _measured(self, asked_at: float) -> Iterator[None]:
        """The figures of a connection that is used now."""
        got_at = time.perf_counter()
        record("db.client.connection.wait_time", got_at - asked_at, self.address.attributes)
        shift("db.client.connection.count", 1, {**self.address.attributes, **_USED})
        try:
            yield
        finally:
            shift("db.client.connection.count", -1, {**self.address.attributes, **_USED})
            record("db.client.connection.use_time", time.perf_counter() - got_at, self.address.attributes)

    async def _prepare(self, connection: Any) -> None:
        await _with_json(connection)
        if is_configured():
            connection.add_query_logger(self._measure)

    def _measure(self, query: Any) -> None:
        """A statement is one measurement of ``db.client.operation.duration``; its text and arguments are left out."""
        failure = {} if query.exception is None else {"error.type": type(query.exception).__qualname__}
        word = query.query.split(None, 1)[0].rstrip(";").upper()
        record(
            "db.client.operation.duration",
            query.elapsed,
            {**self.address.attributes, "db.operation.name": word, **failure},
        )

    def open(self) -> list[str]:
        """Connect, unless that was done already. Returns the names of the migrations that were applied by it."""
        self.call(_nothing)
        return list(self._here().applied)

    def figures(self) -> dict[str, int]:
        """How many connections are open in this process, and how many are in use."""
        pool = self._process.pool if self._process is not None and self._pid == os.getpid() else None
        size, idle = (0, 0) if pool is None else (pool.get_size(), pool.get_idle_size())
        return {"active_connections": size - idle, "total_connections": size}

    def close(self) -> None:
        """Close what this process has opened. May be called again."""
        if self._pid != os.getpid():
            self._inherited.append(self._process)
            self._reset()
        with self._lock:
            here, self._process, self._closed = self._process, None, True
        if here is not None:
            asyncio.run_coroutine_threadsafe(here.close(), here.loop).result(2 * _CLOSE_SECONDS)
            here.stop()


@contextmanager
def _lost_if_closed(connection: Any) -> Iterator[None]:
    """Tell what the driver says of a connection that broke while it was used from what it says of wrong use."""
    try:
        yield
    except asyncpg.InterfaceError as error:
        if _is_closed(connection):
            raise ConnectionResetError("the connection was lost") from error
        raise


def _is_closed(connection: Any) -> bool:
    try:
        return bool(connection.is_closed())
    except asyncpg.InterfaceError:  # the pool has taken it back
        return True


async def _with_json(connection: Any) -> None:
    """Read and write ``jsonb`` as stored values, and count statements. Known to this end of the connection only."""
    with _lost_if_closed(connection):
        async with connection.transaction():
            await connection.set_type_codec("jsonb", schema="pg_catalog", encoder=dumps, decoder=loads)
        connection.add_query_logger(count_query)


async def _nothing(connection: Any) -> None:
    """What the driver would undo in a session of the server: we leave nothing there."""
