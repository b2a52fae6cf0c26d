"""A browser, and services for it to visit."""

from __future__ import annotations

import shutil
import socket
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, expect, sync_playwright
from pymongo import MongoClient

from chat_service.config import Settings
from tests.browser.network import Network
from tests.chat_service.retrievers import MemoryRetriever
from tests.chat_service.running import served

# Chromium reports every answer of 400 and above, and every lost connection, as an error of the console.
EXPECTED = "Failed to load resource"

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

PATIENCE = 20_000
"""Milliseconds that the page gets for what it does at once on a machine with nothing else to do."""

OpenContext = Callable[..., BrowserContext]

expect.set_options(timeout=PATIENCE)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium. For a module only: while it runs, no other event loop can run in this thread."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed (apt-get install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def settings(mongo_uri: str, mongo_client: MongoClient[Any]) -> Iterator[Settings]:
    """Settings with a database of their own."""
    database_name = f"browser_{uuid.uuid4().hex[:12]}"
    yield Settings(
        _env_file=None,
        mongodb_uri=mongo_uri,
        database_name=database_name,
        demo_delay=0.02,
        min_pool_size=0,
        retrieval="step",
    )
    mongo_client.drop_database(database_name)


@pytest.fixture(scope="module")
def address(settings: Settings) -> Iterator[str]:
    """A running service that knows two passages."""
    with served(settings, MemoryRetriever()) as address:
        yield address


@pytest.fixture
def network(address: str) -> Iterator[Network]:
    """What lies between the browser and the service."""
    with Network(int(address.rpartition(":")[2])) as network:
        yield network


@pytest.fixture
def open_context(browser: Browser, address: str) -> Iterator[OpenContext]:
    """Makes browser profiles whose tabs may neither complain nor ask anybody else for anything."""
    complaints: list[str] = []

    def note_message(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and not message.text.startswith(EXPECTED):
            complaints.append(message.text)

    def note_request(request: Request) -> None:
        if not request.url.startswith(("http://127.0.0.1:", "blob:")):
            complaints.append(f"asked {request.url}")

    def watch(page: Page) -> None:
        page.on("console", note_message)
        page.on("pageerror", lambda error: complaints.append(error.stack or str(error)))
        page.on("request", note_request)

    with ExitStack() as stack:

        def make(**options: Any) -> BrowserContext:
            values = {"base_url": address, "viewport": {"width": 1280, "height": 800}, **options}
            context = browser.new_context(**values)
            context.set_default_timeout(PATIENCE)
            context.on("page", watch)
            stack.callback(context.close)
            return context

        yield make
    assert complaints == []


@pytest.fixture
def page(open_context: OpenContext) -> Page:
    """A tab."""
    return open_context().new_page()


@pytest.fixture
def port() -> int:
    """A port that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        number: int = listening.getsockname()[1]
        return number
