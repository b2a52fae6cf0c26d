"""The web page, used as a person uses it."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Locator, Page, expect

from chat_service.config import Settings
from tests.chat_service.running import events_of, eventually, running, served


def log(page: Page) -> Locator:
    return page.get_by_role("log")


def ask(page: Page, query: str) -> None:
    field = page.get_by_label("Your question")
    field.fill(query)
    field.press("Enter")


def finished(page: Page) -> None:
    expect(log(page)).to_have_attribute("aria-busy", "false", timeout=15_000)


def ask_and_wait(page: Page, query: str) -> None:
    ask(page, query)  # the page is busy as soon as the key is up
    finished(page)


def current_session(page: Page) -> str:
    return page.url.partition("#/")[2]


def test_an_answer_is_streamed_and_the_conversation_is_there_after_a_reload(page: Page) -> None:
    page.goto("/")
    expect(page.get_by_role("heading", name="Ask, stop, come back")).to_be_visible()
    expect(page.get_by_label("Your question")).to_be_focused()
    ask_and_wait(page, "My name is Ada.")
    expect(log(page)).to_contain_text("I will remember for this session: your name is Ada.")
    expect(page).to_have_url(re.compile(r"#/session_[0-9a-f]{16}$"))
    page.reload()
    expect(log(page).get_by_role("article")).to_have_text(
        ["My name is Ada.", "I will remember for this session: your name is Ada."]
    )
    ask_and_wait(page, "What is my name?")
    expect(log(page)).to_contain_text("Your name is Ada.")


def test_a_conversation_is_listed_under_its_first_question(page: Page) -> None:
    page.goto("/")
    ask_and_wait(page, "My favourite tea is green tea.")
    listed = page.get_by_role("navigation").get_by_role("link", name="My favourite tea is green tea.")
    expect(listed).to_have_attribute("aria-current", "page")
    expect(page).to_have_title("My favourite tea is green tea.")
    page.get_by_role("button", name="New conversation").click()
    expect(page.get_by_role("heading", name="Ask, stop, come back")).to_be_visible()
    expect(log(page)).to_have_text("")
    listed.click()
    expect(log(page)).to_contain_text("your favourite tea is green tea")
    page.go_back()
    expect(page.get_by_role("heading", name="Ask, stop, come back")).to_be_visible()


def test_an_answer_that_is_cancelled_elsewhere_says_so(page: Page, address: str) -> None:
    page.goto("/")
    ask(page, "What is a session?")
    expect(page).to_have_url(re.compile(r"#/session_"))
    expect(log(page).get_by_role("article").last).not_to_be_empty()
    cancelled = httpx.post(f"{address}/api/sessions/{current_session(page)}/cancel", timeout=10)
    assert cancelled.json()["cancelled"]
    finished(page)
    expect(log(page)).to_contain_text("This answer was stopped. What was said so far is stored.")
    expect(log(page)).not_to_contain_text("The service was stopped")


def test_a_reload_in_the_middle_of_an_answer_reads_on(page: Page, address: str) -> None:
    page.goto("/")
    ask(page, "What is a session?")
    expect(log(page)).to_contain_text("I am the demo model")
    page.reload()
    path = f"{address}/api/sessions/{current_session(page)}"
    stored = eventually(lambda: len(found := httpx.get(path).json()["messages"]) == 2 and found)
    for _ in range(2):
        expect(log(page).get_by_role("article")).to_have_text([message["text"] for message in stored])
        page.reload()


def test_leaving_in_the_middle_of_an_answer_and_coming_back_shows_all_of_it(page: Page) -> None:
    page.goto("/")
    ask(page, "calculate 6*7")
    expect(page).to_have_url(re.compile("session_"))
    page.get_by_role("button", name="New conversation").click()
    page.go_back()
    expect(log(page)).to_contain_text("The tool answered: 42.")
    expect(log(page).locator("details")).to_have_count(1)


def test_a_tool_call_is_folded_and_can_be_opened(page: Page) -> None:
    page.goto("/")
    ask_and_wait(page, "calculate 2*21")
    for _ in range(2):
        fold = log(page).locator("details")
        expect(fold.get_by_text("2*21")).to_be_hidden()
        fold.locator("summary").click()
        expect(fold.get_by_text('"expression": "2*21"')).to_be_visible()
        expect(fold.get_by_text("42", exact=True)).to_be_visible()
        expect(fold).to_contain_text("done")
        expect(log(page)).to_contain_text("The tool answered: 42.")
        page.reload()  # and the same from the store


def test_a_conversation_is_deleted_only_after_asking(page: Page) -> None:
    page.goto("/")
    ask_and_wait(page, "My dog is Rex.")
    item = page.get_by_role("listitem").filter(has_text="My dog is Rex.")
    remove = page.get_by_role("button", name="Delete “My dog is Rex.”")
    item.hover()
    remove.click()
    dialog = page.get_by_role("dialog", name="Delete this conversation?")
    expect(dialog).to_contain_text("“My dog is Rex.” and all its messages")
    dialog.get_by_role("button", name="Keep").click()
    expect(item).to_be_visible()
    remove.click()
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(item).to_be_visible()
    remove.click()
    dialog.get_by_role("button", name="Delete").click()
    expect(item).to_have_count(0)
    expect(page.get_by_role("heading", name="Ask, stop, come back")).to_be_visible()


def test_enter_sends_and_shift_enter_begins_a_line_that_is_kept(page: Page) -> None:
    page.goto("/")
    field = page.get_by_label("Your question")
    field.press_sequentially("one")
    field.press("Shift+Enter")
    field.press_sequentially("two")
    expect(field).to_have_value("one\ntwo")
    field.press("Enter")
    expect(field).to_have_value("")
    question = log(page).get_by_role("article", name="You").locator("p")
    assert question.inner_text() == "one\ntwo"
    finished(page)


def test_what_is_said_is_never_taken_for_html(page: Page) -> None:
    page.goto("/")
    said = "My name is <img src=x onerror=alert(1)><b>Ada</b>."
    ask_and_wait(page, said)
    for _ in range(2):
        expect(log(page)).to_contain_text("your name is <img src=x onerror=alert(1)><b>Ada</b>")
        expect(log(page).locator("img, b")).to_have_count(0)
        page.reload()


def test_a_busy_session_is_told_in_words_and_the_question_can_be_sent_again(page: Page, address: str) -> None:
    page.goto("/")
    ask_and_wait(page, "My name is Ada.")
    body = {"query": "What is a session?", "session_id": current_session(page)}
    with httpx.stream("POST", f"{address}/api/chat/stream", json=body) as other:
        ask(page, "What is my name?")
        expect(page.get_by_role("alert")).to_contain_text("Another answer is being written in this session.")
        for _ in events_of(other):
            pass
    page.get_by_role("button", name="Try again").click()
    finished(page)
    expect(log(page)).to_contain_text("Your name is Ada.")
    expect(page.get_by_role("alert")).to_have_count(0)


def test_a_link_to_a_session_that_is_gone_says_so(page: Page) -> None:
    page.goto("/#/session_0000000000000000")
    expect(page.get_by_role("alert")).to_contain_text("This session does not exist, or was deleted.")
    page.get_by_role("alert").get_by_role("button", name="New conversation").click()
    expect(page.get_by_role("heading", name="Ask, stop, come back")).to_be_visible()


def test_earlier_messages_are_shown_on_demand(page: Page, settings: Settings) -> None:
    with served(settings.model_copy(update={"demo_delay": 0})) as quick, httpx.Client(base_url=quick) as client:
        session_id = client.post("/api/chat", json={"query": "My first is one."}).json()["session_id"]
        for number in range(51):
            client.post("/api/chat", json={"query": f"My number is {number}.", "session_id": session_id})
    page.goto(f"/#/{session_id}")
    expect(log(page).get_by_role("article")).to_have_count(100)
    expect(log(page)).not_to_contain_text("My first is one.")
    page.get_by_role("button", name="Show earlier messages").click()
    expect(log(page).get_by_role("article")).to_have_count(104)
    expect(log(page).get_by_role("article").first).to_have_text("My first is one.")
    expect(page.get_by_role("button", name="Show earlier messages")).to_be_hidden()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone_nothing_is_cut_off_and_the_list_is_a_drawer(page: Page, scheme: str) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    page.goto("/")
    ask_and_wait(page, "calculate " + "1111111111+" * 9 + "1")
    page.locator("summary").click()
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert page.evaluate("document.querySelector('#scroller').scrollWidth") == 390
    drawer = page.get_by_role("complementary")
    expect(drawer).to_be_hidden()
    page.get_by_role("button", name="Conversations").click()
    expect(drawer).to_be_visible()
    page.keyboard.press("Escape")
    expect(drawer).to_be_hidden()


def test_a_lost_connection_is_told_and_after_a_restart_the_conversation_goes_on(
    page: Page, tmp_path: Path, port: int
) -> None:
    environment = {"DEMO_DELAY": "0.04"}
    with running(tmp_path, port, **environment) as process:
        page.goto(f"http://127.0.0.1:{port}/")
        ask_and_wait(page, "My name is Ada.")
        ask(page, "What is a session?")
        expect(log(page)).to_contain_text("The documentation says")
        process.end(signal.SIGKILL, 5)
        expect(page.get_by_role("alert")).to_contain_text("The connection was lost before the answer was complete.")
    with running(tmp_path, port, **environment):
        page.get_by_role("button", name="Reload the conversation").click()
        expect(page.get_by_role("alert")).to_contain_text("This answer was interrupted.")
        ask_and_wait(page, "What is my name?")
        expect(log(page)).to_contain_text("Your name is Ada.")
