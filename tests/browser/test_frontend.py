"""The page from another port than the service, as ``make frontend`` serves it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn
from playwright.sync_api import Page, expect

from chat_service.frontend import create_frontend
from tests.chat_service.running import eventually

from .reader import answers, ask, ask_and_wait, finished, log, open_details


@pytest.fixture(scope="module")
def elsewhere(address: str) -> Iterator[str]:
    config = uvicorn.Config(create_frontend(address), port=0, log_config=None, timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        eventually(lambda: server.started or not thread.is_alive(), 20)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


def test_a_page_from_another_port_talks_to_the_service(page: Page, elsewhere: str, tmp_path: Path) -> None:
    page.goto(f"{elsewhere}/chat.html")
    ask_and_wait(page, "My name is Ada.")
    ask(page, "Count to 900.")
    expect(answers(page).last).to_contain_text("5, 6")
    page.reload()
    expect(answers(page).last).to_contain_text("5, 6")
    page.get_by_role("button", name="Stop").click()
    finished(page)
    expect(log(page)).to_contain_text("What was said so far is kept.")
    answers(page).last.get_by_role("button", name="Regenerate").click()
    expect(answers(page).last).to_contain_text("2, 3")
    page.get_by_role("button", name="Stop").click()
    finished(page)
    panel = open_details(page)
    panel.get_by_label("New key").fill("topic")
    panel.get_by_role("button", name="Add").click()
    expect(panel.get_by_label("Value of topic")).to_be_visible()
    with page.expect_download() as download:
        panel.get_by_role("button", name="Export as JSON Lines").click()
    download.value.save_as(tmp_path / "export.jsonl")
    assert "My name is Ada." in (tmp_path / "export.jsonl").read_text()
