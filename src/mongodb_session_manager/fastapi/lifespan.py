"""The factory of an application, for as long as the application runs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any

from fastapi import FastAPI

from ..mongodb_session_factory import MongoDBSessionManagerFactory
from .streams import finish_turns

__all__ = ["session_lifespan"]


def session_lifespan(
    connection_string: str | None = None,
    database_name: str = "database_name",
    collection_name: str = "collection_name",
    *,
    factory: MongoDBSessionManagerFactory | None = None,
    **options: Any,
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    """For ``FastAPI(lifespan=…)``: puts a factory into ``app.state.session_factory``.

    Inside a lifespan of one's own: ``async with session_lifespan(…)(app): yield``. At the end turns whose client has
    gone get five seconds to finish. A wrong argument raises when the application starts.

    Args:
        connection_string: Makes a factory, which is closed at the end.
        database_name: Of that factory.
        collection_name: Of that factory.
        factory: A borrowed factory, which wins and stays open.
        **options: Of that factory: ``client``, ``metadata_fields``, any option of ``MongoClient``.

    Raises:
        TypeError: There are options for a factory that is borrowed.
    """
    if factory is not None and options:
        raise TypeError(f"a factory was given, and options for another one: {', '.join(sorted(options))}")

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            app.state.session_factory = factory or await stack.enter_async_context(
                MongoDBSessionManagerFactory(connection_string, database_name, collection_name, **options)
            )
            stack.push_async_callback(finish_turns)
            yield

    return lifespan
