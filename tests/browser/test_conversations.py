"""The list of conversations, and which of them is open."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from playwright.sync_api import Locator, Page, expect
from pymongo import MongoClient

from chat_service.config import Settings
from tests.commands import Commands

from .conftest import OpenContext
from .reader import answers, ask, ask_and_wait, current_session, filled, finished, log, questions


def listed(page: Page) -> Locator:
    return page.get_by_role("navigation", name="Conversations").get_by_role("link")


def act(page: Page, title: str, action: str) -> None:
    page.get_by_role("listitem").filter(has_text=title).hover()
    page.get_by_role("button", name=f"Actions for “{title}”").click()
    page.get_by_role("menuitem", name=action).click()


def test_the_empty_page_suggests_questions_that_can_be_asked_at_once(page: Page, address: str) -> None:
    page.goto("/")
    expect(page.get_by_role("heading", name="What would you like to know?")).to_be_visible()
    expect(page.get_by_label("Your question")).to_be_focused()
    first = httpx.get(f"{address}/api/suggestions", timeout=20).json()["suggestions"][0]
    page.get_by_role("list", name="Suggestions").get_by_role("button", name=first).click()
    expect(questions(page)).to_contain_text(first)
    finished(page)
    expect(page.get_by_role("heading", name="What would you like to know?")).to_be_hidden()


def test_a_conversation_is_listed_under_its_first_question_and_opened_from_there(page: Page) -> None:
    page.goto("/")
    ask_and_wait(page, "My favourite tea is green tea.")
    link = listed(page).filter(has_text="My favourite tea is green tea.")
    expect(link).to_have_attribute("aria-current", "page")
    expect(page).to_have_title("My favourite tea is green tea.")
    page.get_by_role("button", name="New conversation").click()
    expect(page.get_by_role("heading", name="What would you like to know?")).to_be_visible()
    expect(log(page)).to_have_text("")
    expect(page).to_have_title("New conversation")
    link.click()
    expect(log(page)).to_contain_text("your favourite tea is green tea")
    page.go_back()
    expect(page.get_by_role("heading", name="What would you like to know?")).to_be_visible()


def test_the_list_is_grouped_by_day(
    page: Page, address: str, settings: Settings, mongo_client: MongoClient[Any], commands: Commands
) -> None:
    sessions = mongo_client[settings.database_name][settings.collection_name]
    for days, title in ((1, "Asked a day ago"), (40, "Asked long ago")):
        session_id = filled(address, title)
        with commands.unwatched():  # Playwright's own loop runs in this thread
            sessions.update_one({"_id": session_id}, {"$set": {"updated_at": datetime.now(UTC) - timedelta(days=days)}})
    filled(address, "Asked just now")
    page.goto("/")
    expect(page.get_by_role("list", name="Today")).to_contain_text("Asked just now")
    expect(page.get_by_role("list", name="Yesterday")).to_contain_text("Asked a day ago")
    expect(page.get_by_role("list", name=re.compile(r"^\w+ \d+(, \d{4})?$"))).to_contain_text("Asked long ago")


def test_a_search_finds_titles_and_says_how_many(page: Page, address: str) -> None:
    filled(address, "Where do zebras live?")
    filled(address, "What do lions eat?")
    page.goto("/")
    expect(listed(page).filter(has_text="lions")).to_be_visible()
    page.get_by_role("searchbox", name="Search conversations").fill("ZEBRA")
    expect(listed(page)).to_have_text([re.compile("Where do zebras live")])
    expect(page.get_by_role("status").filter(has_text="1 conversation")).to_be_visible()
    page.get_by_role("searchbox").fill("nobody ever asked this")
    expect(page.get_by_role("status").filter(has_text="Nothing found.")).to_be_visible()
    page.get_by_role("searchbox").fill("")
    expect(listed(page).filter(has_text="lions")).to_be_visible()


def test_a_conversation_is_renamed(page: Page, address: str) -> None:
    session_id = filled(address, "A title to be changed")
    page.goto(f"/#/c/{session_id}")
    act(page, "A title to be changed", "Rename")
    dialog = page.get_by_role("dialog", name="Rename the conversation")
    expect(dialog.get_by_label("Title")).to_have_value("A title to be changed")
    dialog.get_by_label("Title").fill("A better title")
    dialog.get_by_role("button", name="Rename").click()
    expect(page.get_by_role("heading", name="A better title")).to_be_visible()
    expect(listed(page).filter(has_text="A better title")).to_have_attribute("aria-current", "page")
    page.get_by_role("button", name="Rename this conversation").click()
    dialog.get_by_label("Title").fill("Never mind")
    dialog.get_by_role("button", name="Cancel").click()
    expect(page).to_have_title("A better title")
    page.reload()
    expect(page).to_have_title("A better title")


def test_a_conversation_is_deleted_only_after_asking(page: Page) -> None:
    page.goto("/")
    ask_and_wait(page, "My dog is Rex.")
    dialog = page.get_by_role("dialog", name="Delete this conversation?")
    act(page, "My dog is Rex.", "Delete")
    expect(dialog).to_contain_text("“My dog is Rex.” and all its messages")
    dialog.get_by_role("button", name="Keep").click()
    act(page, "My dog is Rex.", "Delete")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(listed(page).filter(has_text="My dog is Rex.")).to_be_visible()
    act(page, "My dog is Rex.", "Delete")
    dialog.get_by_role("button", name="Delete").click()
    expect(listed(page).filter(has_text="My dog is Rex.")).to_have_count(0)
    expect(page.get_by_role("heading", name="What would you like to know?")).to_be_visible()


@pytest.mark.parametrize("form", ["/#/c/{}", "/#/{}", "/?session={}"])
def test_an_address_names_a_conversation(page: Page, address: str, form: str) -> None:
    session_id = filled(address, "My name is Ada.")
    page.goto(form.format(session_id))
    expect(log(page)).to_contain_text("your name is Ada")


def test_the_open_conversation_is_there_after_a_reload_and_in_a_new_tab(page: Page) -> None:
    page.goto("/")
    ask_and_wait(page, "My name is Grace.")
    page.reload()
    expect(answers(page)).to_contain_text(["your name is Grace"])
    other = page.context.new_page()
    other.goto("/")
    expect(answers(other)).to_contain_text(["your name is Grace"])
    assert current_session(other) == current_session(page)
    other.get_by_role("button", name="New conversation").click()
    expect(other.get_by_role("heading", name="What would you like to know?")).to_be_visible()
    other.goto("about:blank")
    other.goto("/")
    expect(other.get_by_role("heading", name="What would you like to know?")).to_be_visible()


@pytest.mark.parametrize("name", ["session_0000000000000000", "..", "%00", "x" * 500])
def test_a_link_to_a_session_that_is_gone_or_cannot_be_says_so(page: Page, name: str) -> None:
    page.goto(f"/#/c/{name}")
    expect(log(page).get_by_role("alert")).to_contain_text("This conversation does not exist, or was deleted.")
    page.get_by_role("alert").get_by_role("button", name="New conversation").click()
    expect(page.get_by_role("heading", name="What would you like to know?")).to_be_visible()


def test_a_fork_takes_over_what_was_said_until_then_and_leaves_the_other_as_it_is(page: Page, address: str) -> None:
    session_id = filled(address, "My name is Ada.", "My cat is Tom.")
    page.goto(f"/#/c/{session_id}")
    expect(answers(page)).to_have_count(2)
    answers(page).first.hover()
    answers(page).first.get_by_role("button", name="Fork from here").click()
    expect(page).not_to_have_url(re.compile(session_id))
    expect(questions(page)).to_have_count(1)
    ask_and_wait(page, "My cat is Felix.")
    expect(answers(page).last).to_contain_text("your cat is Felix")
    page.goto(f"/#/c/{session_id}")
    expect(answers(page).last).to_contain_text("your cat is Tom")


def test_two_tabs_on_one_conversation_see_the_same_answer_live(page: Page, address: str) -> None:
    session_id = filled(address, "My name is Ada.")
    other = page.context.new_page()
    for tab in (page, other):
        tab.goto(f"/#/c/{session_id}")
        expect(answers(tab)).to_have_count(1)
    ask(page, "Count to 400.")
    expect(other.get_by_role("button", name="Stop")).to_be_visible()
    expect(questions(other).last).to_contain_text("Count to 400.")
    for tab in (page, other):
        finished(tab)
        expect(answers(tab).last).to_contain_text("399, 400")
        expect(answers(tab)).to_have_count(2)
    other.get_by_role("button", name="New conversation").click()  # the first tab stays where it is
    expect(answers(page)).to_have_count(2)


def test_whoever_asks_while_an_answer_is_written_elsewhere_sees_that_and_keeps_the_question(
    page: Page, open_context: OpenContext, address: str
) -> None:
    session_id = filled(address, "My name is Ada.")
    page.goto(f"/#/c/{session_id}")
    expect(answers(page)).to_have_count(1)
    other = open_context().new_page()  # of somebody else: the tabs cannot hear each other
    other.goto(f"/#/c/{session_id}")
    expect(answers(other)).to_have_count(1)
    ask(other, "Count to 500.")
    expect(answers(other).last).to_contain_text("2")
    ask(page, "What is my name?")
    expect(page.get_by_role("alert").filter(has_text="Another answer is being written")).to_be_visible()
    expect(page.get_by_label("Your question")).to_have_value("What is my name?")
    expect(questions(page).last).to_contain_text("Count to 500.")
    finished(page)
    page.get_by_role("button", name="Send", exact=True).click()
    expect(answers(page).last).to_contain_text("Your name is Ada.")


def test_a_conversation_that_is_opened_in_the_middle_of_an_answer_shows_all_of_it(
    page: Page, open_context: OpenContext, address: str
) -> None:
    page.goto("/")
    ask(page, "Count to 150.")
    session_id = current_session(page)
    other = open_context().new_page()
    other.goto(f"/#/c/{session_id}")
    expect(questions(other)).to_contain_text(["Count to 150."])
    finished(other)
    expect(answers(other)).to_contain_text(["1, 2, 3"])
    expect(answers(other)).to_contain_text(["149, 150"])
    page.reload()
    finished(page)
    expect(answers(page)).to_contain_text(["149, 150"])
