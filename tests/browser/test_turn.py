"""Asking, and what becomes of the answer."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import httpx
from playwright.sync_api import Page, expect

from chat_service.config import Settings
from tests.chat_service.retrievers import SESSIONS, MemoryRetriever
from tests.chat_service.running import eventually, served

from .conftest import OpenContext
from .network import Network
from .reader import answers, ask, ask_and_wait, current_session, filled, finished, log, questions, session_of

CITED = "What is one session and everything that belongs to it?"


def messages_of(page: Page, address: str) -> list[dict[str, Any]]:
    messages = session_of(page, address)["messages"]
    assert isinstance(messages, list)
    return messages


def test_an_answer_is_streamed_and_the_conversation_goes_on_after_a_reload(page: Page) -> None:
    page.goto("/")
    ask_and_wait(page, "My name is Ada.")
    expect(answers(page)).to_contain_text(["I will remember for this session: your name is Ada."])
    expect(page).to_have_url(re.compile(r"#/c/session_[0-9a-f]{16}$"))
    page.reload()
    expect(questions(page)).to_contain_text(["My name is Ada."])
    expect(answers(page)).to_contain_text(["I will remember for this session: your name is Ada."])
    ask_and_wait(page, "What is my name?")
    expect(answers(page).last).to_contain_text("Your name is Ada.")


def test_what_is_streamed_looks_as_what_is_stored(page: Page) -> None:
    page.goto("/")
    ask_and_wait(page, CITED)
    streamed = answers(page).last.locator(".block").all_inner_texts()
    page.reload()
    expect(answers(page)).to_have_count(1)
    expect(answers(page).last.locator(".block").first).to_be_visible()
    stored = answers(page).last.locator(".block").all_inner_texts()
    assert "".join("".join(streamed).split()) == "".join("".join(stored).split())


def test_stop_keeps_what_was_said(page: Page, address: str) -> None:
    page.goto("/")
    ask(page, "Count to 900.")
    expect(answers(page).last).to_contain_text("5, 6")
    page.get_by_role("button", name="Stop").click()
    finished(page)
    expect(log(page).get_by_role("alert")).to_contain_text("Stopped. What was said so far is kept.")
    expect(answers(page).last).to_contain_text("1, 2, 3, 4, 5, 6")
    expect(answers(page).last).not_to_contain_text("899")
    page.reload()
    expect(answers(page).last).to_contain_text("1, 2, 3, 4, 5, 6")
    ask_and_wait(page, "My name is Ada.")  # and the conversation goes on


def test_an_answer_that_is_cancelled_elsewhere_says_so(page: Page, address: str) -> None:
    page.goto("/")
    ask(page, "Count to 900.")
    expect(answers(page).last).to_contain_text("1, 2")
    cancelled = httpx.post(f"{address}/api/sessions/{current_session(page)}/cancel", timeout=20)
    assert cancelled.json()["cancelled"]
    finished(page)
    expect(log(page).get_by_role("alert")).to_contain_text("Stopped.")


def test_regenerate_asks_the_same_question_in_the_place_of_the_first(page: Page, address: str) -> None:
    session_id = filled(address, "My name is Ada.", "What is my name?")
    page.goto(f"/#/c/{session_id}")
    expect(answers(page)).to_have_count(2)
    before = messages_of(page, address)
    answers(page).last.get_by_role("button", name="Regenerate").click()
    after = eventually(lambda: len(found := messages_of(page, address)) == 4 and found[3] != before[3] and found, 40)
    assert [message["text"] for message in after] == [message["text"] for message in before]
    finished(page)
    expect(questions(page)).to_have_count(2)
    expect(answers(page)).to_have_count(2)
    expect(answers(page).last).to_contain_text("Your name is Ada.")
    expect(answers(page).last.get_by_role("button", name="Regenerate")).to_be_visible()


def test_a_question_is_edited_and_sent_again(page: Page, address: str) -> None:
    session_id = filled(address, "My name is Ada.", "My cat is Tom.", "What is my cat called?")
    page.goto(f"/#/c/{session_id}")
    expect(answers(page)).to_have_count(3)
    questions(page).nth(1).hover()
    questions(page).nth(1).get_by_role("button", name="Edit and send again").click()
    field = page.get_by_label("Edit your question")
    expect(field).to_have_value("My cat is Tom.")
    field.press("Escape")
    expect(questions(page).nth(1)).to_contain_text("My cat is Tom.")
    questions(page).nth(1).get_by_role("button", name="Edit and send again").click()
    field.fill("My cat is Felix.")
    page.get_by_role("button", name="Send again", exact=True).click()
    expect(answers(page)).to_have_count(2)
    expect(answers(page).last).to_contain_text("your cat is Felix")
    finished(page)
    messages = messages_of(page, address)
    said = [message["text"] for message in messages if message["role"] == "user"]
    assert said == ["My name is Ada.", "My cat is Felix."]


def test_answers_and_questions_are_copied(open_context: OpenContext, address: str) -> None:
    context = open_context(permissions=["clipboard-read", "clipboard-write"])
    page = context.new_page()
    page.goto(f"/#/c/{filled(address, 'My name is Ada.')}")
    answers(page).last.get_by_role("button", name="Copy answer").click()
    expect(page.get_by_role("status").filter(has_text="Copied.")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == "I will remember for this session: your name is Ada."
    questions(page).hover()
    questions(page).get_by_role("button", name="Copy question").click()
    eventually(lambda: page.evaluate("navigator.clipboard.readText()") == "My name is Ada.", 20)


def test_a_tool_call_is_folded_and_shows_its_input_and_output_when_opened(page: Page) -> None:
    page.goto("/")
    ask_and_wait(page, "calculate 2*21")
    for _ in range(2):
        fold = answers(page).get_by_role("group").filter(has_text="calculate")
        expect(fold.get_by_text("2*21")).to_be_hidden()
        fold.get_by_text("calculate").first.click()
        expect(fold.get_by_text('"expression": "2*21"')).to_be_visible()
        expect(fold.get_by_text("42", exact=True)).to_be_visible()
        expect(fold).to_contain_text("done")
        expect(answers(page)).to_contain_text(["I will use the tool calculate."])
        expect(answers(page)).to_contain_text(["The tool answered: 42."])
        page.reload()  # and the same from the store


def test_what_an_answer_rests_on_is_cited_and_opened_beside_it(page: Page, address: str) -> None:
    page.goto("/")
    ask_and_wait(page, CITED)
    for _ in range(2):
        page.get_by_role("button", name="Source 1: Sessions › What one is").first.click()
        sources = page.get_by_role("tabpanel", name="Sources")
        chosen = sources.get_by_role("listitem").first
        expect(chosen).to_contain_text("Sessions › What one is")
        expect(chosen).to_contain_text("docs/sessions.md")
        expect(chosen).to_contain_text("fits 91 %")
        expect(chosen).to_contain_text("It is kept in one document.")
        expect(chosen).to_be_focused()
        document = chosen.get_by_role("link", name="Open the document")
        expect(document).to_have_attribute("href", f"{address}/docs/sessions.md#what-one-is")
        page.get_by_role("button", name="Close session details").click()
        cited = answers(page).get_by_role("list", name="Sources").get_by_role("button")
        expect(cited).to_have_text([re.compile("What one is$"), re.compile("Turns$")])
        page.reload()  # and the same from the store


def test_an_excerpt_flows_and_keeps_its_lists(page: Page, settings: Settings) -> None:
    text = f"A session is a conversation, {'kept ' * 12}whole\nin one document:\n- messages\n- metadata"
    with served(settings, MemoryRetriever([replace(SESSIONS, text=text)])) as address:
        page.goto(f"{address}/#/")
        ask_and_wait(page, CITED)
        answers(page).get_by_role("group").filter(has_text="Found 1 passage").click()
        answers(page).get_by_role("button", name="docs/sessions.md · Sessions › What one is").click()
        excerpt = page.get_by_role("tabpanel", name="Sources").get_by_role("blockquote")
        expect(excerpt).to_be_visible()
        assert excerpt.text_content() == text.replace("whole\n", "whole ")
        page.goto("about:blank")


def test_the_page_follows_an_answer_and_lets_go_when_the_reader_scrolls_up(page: Page) -> None:
    page.set_viewport_size({"width": 800, "height": 420})
    page.goto("/")
    ask(page, "Count to 900.")
    scrolled = "document.querySelector('#scroller').scrollTop"
    at_end = (
        "(() => { const s = document.querySelector('#scroller');"
        " return s.scrollTop > 100 && s.scrollHeight - s.scrollTop - s.clientHeight < 80 })()"
    )
    eventually(lambda: page.evaluate(at_end), 20)
    page.mouse.move(400, 200)
    page.mouse.wheel(0, -400)
    newest = page.get_by_role("button", name="Newest")
    expect(newest).to_be_visible()
    place = page.evaluate(scrolled)
    said = len(answers(page).last.inner_text())
    eventually(lambda: len(answers(page).last.inner_text()) > said + 200, 20)
    assert abs(page.evaluate(scrolled) - place) < 5
    newest.click()
    eventually(lambda: page.evaluate(at_end), 20)
    page.get_by_role("button", name="Stop").click()
    finished(page)


def test_a_question_that_could_not_be_sent_is_back_in_the_field_and_asked_once_when_sent_again(
    page: Page, network: Network, address: str
) -> None:
    session_id = filled(address, "My name is Ada.")
    page.goto(f"{network.address}/#/c/{session_id}")
    expect(answers(page)).to_have_count(1)
    network.go_down()
    ask(page, "What is my name?")
    expect(page.get_by_role("alert").filter(has_text="then send again")).to_be_visible()
    expect(page.get_by_label("Your question")).to_have_value("What is my name?")
    expect(questions(page)).to_have_count(1)
    network.come_up()
    page.get_by_role("button", name="Send", exact=True).click()
    expect(answers(page).last).to_contain_text("Your name is Ada.")
    finished(page)
    assert len(messages_of(page, address)) == 4


def test_a_draft_outlives_a_reload(page: Page) -> None:
    page.goto("/")
    page.get_by_label("Your question").fill("Half a thought")
    page.reload()
    expect(page.get_by_label("Your question")).to_have_value("Half a thought")


def test_enter_sends_and_shift_enter_begins_a_line_that_is_kept(page: Page) -> None:
    page.goto("/")
    field = page.get_by_label("Your question")
    field.press_sequentially("one")
    field.press("Shift+Enter")
    field.press_sequentially("two")
    expect(field).to_have_value("one\ntwo")
    field.press("Enter")
    expect(field).to_have_value("")
    expect(questions(page).get_by_role("paragraph")).to_have_text("one\ntwo", use_inner_text=True)
    finished(page)


def test_a_long_conversation_is_shown_by_pages_as_the_reader_scrolls(page: Page, address: str) -> None:
    count = 51
    session_id = filled(address, "My first is one.", *(f"My number is {number}." for number in range(count)))
    page.goto(f"/#/c/{session_id}")
    expect(questions(page)).to_have_count(50)
    expect(log(page)).not_to_contain_text("My first is one.")
    page.get_by_role("button", name="Show earlier messages").click()
    expect(questions(page)).to_have_count(count + 1)
    expect(questions(page).first).to_contain_text("My first is one.")
    expect(page.get_by_role("button", name="Show earlier messages")).to_be_hidden()


def test_of_a_very_long_conversation_only_a_part_is_in_the_page(page: Page, settings: Settings) -> None:
    with served(settings.model_copy(update={"demo_delay": 0, "retrieval": "off"})) as quick:
        session_id = filled(quick, "My first is one.", *(f"My number is {number}." for number in range(259)))
    page.goto(f"/#/c/{session_id}")
    expect(questions(page).last).to_contain_text("My number is 258.")
    most = 0
    while not questions(page).first.get_by_text("My first is one.").is_visible():
        page.evaluate("document.querySelector('#scroller').scrollTop = 0")
        page.wait_for_timeout(100)
        most = max(most, log(page).get_by_role("article").count())
    assert 400 <= most <= 500
    expect(log(page)).not_to_contain_text("My number is 258.")
    expect(page.get_by_role("button", name="Show later messages")).to_be_attached()
    while not questions(page).last.get_by_text("My number is 258.").is_visible():
        page.evaluate("document.querySelector('#scroller').scrollTop = 1e6")
        page.wait_for_timeout(100)
    shown = questions(page).get_by_role("paragraph").all_text_contents()
    assert shown == [f"My number is {number}." for number in range(259 - len(shown), 259)]
    page.evaluate("document.querySelector('#scroller').scrollTop = 0")
    ask_and_wait(page, "What is my number?")
    expect(answers(page).last).to_contain_text("Your number is 258.")
