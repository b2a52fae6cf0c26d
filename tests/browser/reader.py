"""What a person does on the page, in one word each."""

from __future__ import annotations

import re

import httpx
from playwright.sync_api import Locator, Page, expect

__all__ = [
    "answers",
    "ask",
    "ask_and_wait",
    "current_session",
    "filled",
    "finished",
    "log",
    "open_details",
    "questions",
    "session_of",
]


def log(page: Page) -> Locator:
    return page.get_by_role("log", name="Messages")


def questions(page: Page) -> Locator:
    return log(page).get_by_role("article", name="You")


def answers(page: Page) -> Locator:
    return log(page).get_by_role("article", name="Answer")


def ask(page: Page, query: str) -> None:
    field = page.get_by_label("Your question")
    field.fill(query)
    field.press("Enter")


def finished(page: Page) -> None:
    expect(log(page)).to_have_attribute("aria-busy", "false", timeout=40_000)


def ask_and_wait(page: Page, query: str) -> None:
    ask(page, query)  # the page is busy as soon as the key is up
    finished(page)
    expect(answers(page).last.get_by_role("button", name="Copy answer")).to_be_attached()


def current_session(page: Page) -> str:
    expect(page).to_have_url(re.compile(r"#/c/"))
    return page.url.partition("#/c/")[2]


def session_of(page: Page, address: str) -> dict[str, object]:
    found: dict[str, object] = httpx.get(f"{address}/api/sessions/{current_session(page)}", timeout=20).json()
    return found


def open_details(page: Page) -> Locator:
    page.get_by_role("button", name="Session details", exact=True).click()
    return page.get_by_role("complementary", name="Session details")


def filled(address: str, *queries: str) -> str:
    """A session in which this was asked, without the page."""
    with httpx.Client(base_url=address, timeout=30) as client:
        session_id: str | None = None
        for query in queries:
            body = {"query": query} if session_id is None else {"query": query, "session_id": session_id}
            session_id = client.post("/api/chat", json=body).raise_for_status().json()["session_id"]
    assert session_id
    return session_id
