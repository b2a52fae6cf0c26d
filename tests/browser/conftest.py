"""A browser, and a service for it to visit."""

from __future__ import annotations

import shutil
import socket
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, sync_playwright
from pymongo import MongoClient

from chat_service.config import Settings
from tests.chat_service.running import served

# Chromium reports every answer of 400 and above as an error of the console, expected or not.
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
    yield Settings(_env_file=None, mongodb_uri=mongo_uri, database_name=database_name, demo_delay=0.01, min_pool_size=0)
    mongo_client.drop_database(database_name)


@pytest.fixture(scope="module")
def address(settings: Settings) -> Iterator[str]:
    """A running service."""
    with served(settings) as address:
        yield address


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """A tab that may neither complain nor ask anybody else for anything."""
    context = browser.new_context(base_url=address, viewport={"width": 1280, "height": 800})
    page = context.new_page()
    complaints: list[str] = []

    def note_message(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and not message.text.startswith(EXPECTED):
            complaints.append(message.text)

    def note_request(request: Request) -> None:
        if not request.url.startswith("http://127.0.0.1:"):
            complaints.append(f"asked {request.url}")

    page.on("console", note_message)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", note_request)
    yield page
    context.close()
    assert complaints == []


@pytest.fixture
def port() -> int:
    """A port that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        number: int = listening.getsockname()[1]
        return number
