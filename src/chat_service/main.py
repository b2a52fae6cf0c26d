"""The application: ``uvicorn --factory chat_service.main:create_app``."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from datetime import UTC, datetime
from types import FrameType

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from . import exceptions
from .agent import AgentMaker
from .config import Settings, load_settings
from .database import make_documents, make_factory, make_turn_records, with_database
from .log import LogContext, QueryFreeAccessLog, configure
from .metrics import ServiceMetrics
from .middleware import Errors, RequestContext
from .openapi import Described
from .page import assets
from .providers import prepare_loop
from .purging import purge_forever
from .rag.serving import served_knowledge
from .rendering.cache import Rendered
from .routers import chat, health, histories, insight, metrics, older, pages, sessions
from .security.authentication import Authentication
from .security.hosts import Hosts
from .security.rate_limits import RateLimits, open_storage
from .suggestions import Suggester
from .telemetry import flush, instrument
from .turns import Turns

__all__ = ["create_app"]

_PURGE_SECONDS = 300.0
"""Between looks for sessions that have expired."""


def create_app(settings: Settings | None = None) -> FastAPI:
    """Make the application. Servers are started and connected to when it starts, not here.

    Args:
        settings: Taken from the environment when absent.

    Raises:
        ConfigurationError: A setting is wrong, or needs a package that is not installed.
    """
    app = Described(
        title="Chat service",
        summary="Durable sessions for AI agents.",
        lifespan=_lifespan,
        docs_url=None,  # this page and the next load their scripts from elsewhere
        redoc_url=None,
    )
    app.state.settings = settings or load_settings()
    app.state.agents = AgentMaker(app.state.settings)
    app.state.metrics = ServiceMetrics()
    app.state.rendered = Rendered()
    app.state.suggester = Suggester()
    app.state.knowledge = None
    _guard(app, app.state.settings)
    exceptions.install(app)
    for routes in (chat, older, sessions, histories, insight, health, metrics, pages):
        app.include_router(routes.router)
    app.mount("/static", assets())
    logging.getLogger("uvicorn.access").addFilter(QueryFreeAccessLog())
    instrument(app, app.state.settings.otel_exporter_otlp_endpoint)
    return app


def _guard(app: FastAPI, settings: Settings) -> None:
    """Put around the routes what every request passes, from the innermost to the outermost."""
    app.add_middleware(LogContext)
    app.add_middleware(
        Authentication,
        keys=settings.keys,
        operators=frozenset(settings.operators),
        debug=settings.has_debug_routes,
        failures=settings.failed_key_limit,
    )
    app.add_middleware(Hosts, listening=settings.host, names=settings.hosts)
    app.add_middleware(Errors, max_body_bytes=settings.max_body_bytes)
    app.add_middleware(CORSMiddleware, **settings.cors)
    app.add_middleware(RequestContext, hsts_seconds=settings.hsts_seconds)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    configure(app.state.settings.log_level, app.state.settings.log_format)
    app.state.started = datetime.now(UTC)
    prepare_loop(app.state.settings)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(asyncio.to_thread, flush, app.state.settings.otel_exporter_otlp_endpoint)
        database = ExitStack()
        stack.push_async_callback(asyncio.to_thread, database.close)
        settings = await asyncio.to_thread(database.enter_context, with_database(app.state.settings))
        factory = await stack.enter_async_context(make_factory(settings))
        limits = RateLimits(settings.rate, open_storage(settings.rate_limit_storage.get_secret_value()))
        stack.push_async_callback(asyncio.to_thread, limits.close)
        records = make_turn_records(settings, factory)
        if app.state.knowledge is None:
            app.state.knowledge = await stack.enter_async_context(served_knowledge(settings))
            stack.callback(setattr, app.state, "knowledge", None)
        turns = Turns(settings, factory, app.state.agents, limits, records, app.state.metrics, app.state.knowledge)
        stack.push_async_callback(turns.stop)
        stack.enter_context(_told_of_the_end(turns))
        app.state.session_factory, app.state.turns = factory, turns
        app.state.documents = make_documents(factory)
        purging = asyncio.create_task(purge_forever(factory, _PURGE_SECONDS))
        stack.callback(purging.cancel)
        with _garbage_collected_less_often():
            yield


@contextmanager
def _garbage_collected_less_often() -> Iterator[None]:
    """With hundreds of agents at work a full collection stops the loop for a fifth of a second.

    There is little to collect: a turn takes its agent apart when it has ended.
    """
    before = gc.get_threshold()
    gc.freeze()  # what is there by now stays
    gc.set_threshold(5_000, 20, 10)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


@contextmanager
def _told_of_the_end(turns: Turns) -> Iterator[None]:
    """End the turns as soon as the process is told to end.

    A server waits for open responses before it ends the application, and a stream is open until its turn ends: so the
    turns must hear of the signal first. The server's own handler is called as well.
    """
    loop = asyncio.get_running_loop()
    served = threading.current_thread() is threading.main_thread()  # signals reach no other thread
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)} if served else {}

    def handle(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(turns.stop)
        before = handlers[signal.Signals(number)]
        if callable(before):
            before(number, frame)

    callables = {number: before for number, before in handlers.items() if callable(before)}
    for number in callables:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number, before in callables.items():
            signal.signal(number, before)
