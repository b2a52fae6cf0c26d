"""Themes, keys, phones, screen readers, and keys to sign in with."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Locator, Page, expect

from chat_service.config import Settings
from tests.chat_service.callers import API_KEYS, KEYS
from tests.chat_service.running import eventually, served

from .conftest import OpenContext
from .reader import answers, ask, ask_and_wait, filled, finished, log, open_details, questions

PICTURES = Path(__file__).parents[2] / ".screenshots"
CITED = "What is one session and everything that belongs to it?"
SIZES = {"phone": {"width": 390, "height": 844}, "desk": {"width": 1440, "height": 900}}


def background(page: Page) -> str:
    found: str = page.evaluate("getComputedStyle(document.body).backgroundColor")
    return found


def test_the_theme_follows_the_system_until_the_reader_chooses_one(page: Page) -> None:
    page.emulate_media(color_scheme="dark")
    page.goto("/")
    dark = background(page)
    page.emulate_media(color_scheme="light")
    light = background(page)
    assert dark != light
    page.get_by_role("button", name="Theme: system").click()
    page.get_by_role("button", name="Theme: light").click()
    expect(page.get_by_role("button", name="Theme: dark")).to_be_visible()
    eventually(lambda: background(page) == dark, 20)
    page.reload()
    assert background(page) == dark
    page.get_by_role("button", name="Theme: dark").click()
    eventually(lambda: background(page) == light, 20)


def test_everything_is_reached_by_keys(page: Page, address: str) -> None:
    session_id = filled(address, "Keys are for people.")
    page.goto(f"/#/c/{session_id}")
    expect(answers(page)).to_have_count(1)
    page.keyboard.press("Control+/")
    overlay = page.get_by_role("dialog", name="Keyboard shortcuts")
    expect(overlay).to_contain_text("Search conversations")
    page.keyboard.press("Escape")
    expect(overlay).to_be_hidden()
    page.keyboard.press("Control+k")
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.keyboard.type("Keys are for")
    expect(page.get_by_role("status").filter(has_text="1 conversation")).to_be_visible()
    page.keyboard.press("ArrowDown")
    expect(page.get_by_role("link", name=re.compile("Keys are for people"))).to_be_focused()
    page.keyboard.press("Control+j")
    expect(page.get_by_label("Your question")).to_be_focused()
    page.keyboard.press("Control+i")
    expect(page.get_by_role("tab", name="Session")).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="Sources")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_role("complementary", name="Session details")).to_be_hidden()
    ask(page, "Count to 900.")
    expect(answers(page).last).to_contain_text("2, 3")
    page.keyboard.press("Escape")
    finished(page)
    expect(log(page)).to_contain_text("Stopped.")
    page.keyboard.press("Control+Shift+O")
    expect(page.get_by_role("heading", name="What would you like to know?")).to_be_visible()


def test_a_screen_reader_hears_sentences_and_no_single_words(page: Page) -> None:
    page.goto("/")
    expect(log(page)).to_have_attribute("aria-live", "off")
    spoken = page.locator("[aria-live=polite] p")
    ask_and_wait(page, CITED)
    said = [text for text in spoken.all_inner_texts() if text]
    assert said
    assert all(text.endswith((".", ":", "!", "?", "”", "…")) for text in said), said
    whole = "".join(answers(page).last.locator(".block").all_inner_texts())
    assert sum(map(len, said)) <= len(whole)


def test_a_screen_reader_hears_nothing_of_an_answer_that_was_left(page: Page) -> None:
    page.goto("/")
    ask(page, "Count to 900.")  # one sentence that has not ended
    expect(answers(page)).to_contain_text(["5, 6"])
    page.keyboard.press("Control+Shift+O")
    ask_and_wait(page, "My name is Ada.")
    spoken = page.locator("[aria-live=polite] p")
    expect(spoken).to_have_text(["I will remember for this session:", "your name is Ada."])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone_nothing_is_cut_off_and_the_list_is_a_drawer(open_context: OpenContext, scheme: str) -> None:
    page = open_context(viewport=SIZES["phone"], color_scheme=scheme, has_touch=True).new_page()
    page.goto("/")
    ask_and_wait(page, "calculate " + "1111111111+" * 9 + "1")
    answers(page).get_by_text("calculate", exact=True).click()
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert page.evaluate("document.querySelector('#scroller').scrollWidth") == 390
    drawer = page.get_by_role("complementary", name="Conversations")
    expect(drawer).to_be_hidden()
    page.get_by_role("button", name="Conversations").click()
    expect(drawer).to_be_visible()
    page.keyboard.press("Escape")
    expect(drawer).to_be_hidden()
    expect(page.get_by_role("button", name="Conversations")).to_be_focused()


def test_on_a_phone_every_target_has_44_pixels(open_context: OpenContext) -> None:
    page = open_context(viewport=SIZES["phone"], has_touch=True).new_page()
    page.goto("/")
    ask_and_wait(page, CITED)
    answers(page).get_by_role("button", name="Bad answer").tap()
    expect(page.get_by_role("form", name="Why?")).to_be_visible()
    small = targets(page)
    page.get_by_role("button", name="Conversations").tap()
    expect(page.get_by_role("button", name="Close the list")).to_be_visible()
    small += targets(page)
    page.get_by_role("button", name="Close the list").tap()
    panel = open_details(page).bounding_box()
    assert panel is not None
    assert (panel["x"], panel["width"]) == (0, 390)
    expect(page.get_by_text("Show the stored document")).to_be_visible()
    small += targets(page)
    assert small == []


def targets(page: Page) -> list[str]:
    """What can be touched and is smaller, but for numbers and links in the middle of a text."""
    found: list[str] = page.evaluate(
        """() => [...document.querySelectorAll('button, summary, input, label, #groups a, [role=tab]')]
            .filter((each) => each.checkVisibility({ visibilityProperty: true }))
            .filter((each) => !each.matches('label input') && !each.closest('p, li li'))
            .filter((each) => !each.matches('.cite, .link'))
            .map((each) => [each, each.getBoundingClientRect()])
            .filter(([, box]) => box.width < 43.5 || box.height < 43.5)
            .map(([each, box]) => `${each.id || each.ariaLabel || each.textContent} ${box.width} x ${box.height}`)"""
    )
    return found


def test_who_wants_less_motion_gets_none(open_context: OpenContext) -> None:
    page = open_context(reduced_motion="reduce").new_page()
    page.goto("/")
    ask(page, "Count to 100.")
    expect(answers(page)).to_have_count(1)
    moving = "document.getAnimations().length"
    assert page.evaluate(moving) == 0
    finished(page)


def test_a_service_with_keys_asks_for_one_and_forgets_it_when_the_reader_signs_out(
    page: Page, settings: Settings
) -> None:
    guarded = settings.model_copy(update={"api_keys": API_KEYS, "retrieval": "off"})
    with served(Settings(_env_file=None, **{**guarded.model_dump(), "api_keys": API_KEYS})) as address:
        page.goto(f"{address}/")
        dialog = page.get_by_role("dialog", name="Sign in")
        expect(dialog.get_by_label("API key")).to_be_focused()
        dialog.get_by_label("API key").fill("wrong")
        dialog.get_by_role("button", name="Sign in").click()
        expect(dialog.get_by_role("alert")).to_contain_text("This key is not known.")
        dialog.get_by_label("API key").fill(KEYS["ada"][0])
        dialog.get_by_role("button", name="Sign in").click()
        expect(dialog).to_be_hidden()
        ask_and_wait(page, "My name is Ada.")
        page.reload()
        expect(answers(page)).to_contain_text(["your name is Ada"])
        other = page.context.new_page()
        other.goto(f"{address}/")
        expect(other.get_by_role("dialog", name="Sign in")).to_be_visible()  # the key was for the first tab
        other.get_by_label("API key").fill(KEYS["ada"][0])
        other.get_by_label("Keep me signed in on this device").check()
        other.get_by_role("button", name="Sign in").click()
        expect(answers(other)).to_contain_text(["your name is Ada"])
        third = page.context.new_page()
        third.goto(f"{address}/")
        expect(answers(third)).to_contain_text(["your name is Ada"])
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_role("dialog", name="Sign in")).to_be_visible()
        for tab in (page, other, third):
            tab.goto("about:blank")


def show_empty(page: Page, address: str) -> None:
    page.goto("/")
    expect(page.get_by_role("list", name="Suggestions").get_by_role("button").first).to_be_visible()


def show_answer(page: Page, address: str) -> None:
    page.goto(f"/#/c/{filled(address, 'My name is Ada.', CITED, 'calculate 2*21')}")
    expect(answers(page)).to_have_count(3)
    answers(page).last.get_by_text("calculate").first.click()
    answers(page).last.get_by_role("button", name="Good answer").click()
    expect(page.get_by_role("form", name="Why?")).to_be_visible()


def show_details(page: Page, address: str) -> None:
    page.goto(f"/#/c/{filled(address, 'My name is Ada.', CITED)}")
    expect(answers(page)).to_have_count(2)
    panel = open_details(page)
    panel.get_by_text("As a table").click()
    panel.get_by_text("Show the stored document").click()
    expect(panel.get_by_text("agents", exact=True)).to_be_visible()


def show_sources(page: Page, address: str) -> None:
    page.goto(f"/#/c/{filled(address, CITED)}")
    page.get_by_role("button", name="Source 1: Sessions › What one is").first.click()
    expect(page.get_by_role("tabpanel", name="Sources")).to_be_visible()


def show_help(page: Page, address: str) -> None:
    page.goto("/")
    page.keyboard.press("Control+/")
    expect(page.get_by_role("dialog", name="Keyboard shortcuts")).to_be_visible()


def show_menu(page: Page, address: str) -> None:
    title = "Something to act upon"
    page.goto(f"/#/c/{filled(address, title)}")
    if page.get_by_role("button", name="Conversations").is_visible():
        page.get_by_role("button", name="Conversations").click()
    item: Locator = page.get_by_role("listitem").filter(has_text=title)
    item.first.hover()
    item.get_by_role("button").first.click()
    expect(page.get_by_role("menuitem", name="Delete")).to_be_visible()


def show_trouble(page: Page, address: str) -> None:
    page.goto(f"/#/c/{filled(address, CITED)}")
    expect(answers(page)).to_have_count(1)
    questions(page).hover()
    questions(page).get_by_role("button", name="Edit and send again").click()
    page.context.set_offline(True)
    expect(page.get_by_role("alert").filter(has_text="Check your network")).to_be_visible()


VIEWS = (show_empty, show_answer, show_details, show_sources, show_help, show_menu, show_trouble)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("show", VIEWS, ids=lambda show: show.__name__.removeprefix("show_"))
def test_axe_finds_nothing_in_any_theme_or_size_and_a_picture_is_taken(
    open_context: OpenContext, address: str, show: Callable[[Page, str], None], size: str, scheme: str
) -> None:
    context = open_context(
        viewport=SIZES[size], color_scheme=scheme, has_touch=size == "phone", reduced_motion="reduce"
    )
    page = context.new_page()
    show(page, address)
    PICTURES.mkdir(exist_ok=True)
    page.screenshot(path=PICTURES / f"{show.__name__.removeprefix('show_')}-{SIZES[size]['width']}-{scheme}.png")
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    context.set_offline(False)
