"""Networks that are cut, gone or slow, and services that end in the middle."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from chat_service.config import Settings
from tests.chat_service.running import eventually, running, served

from .network import Network
from .reader import answers, ask, ask_and_wait, current_session, filled, finished, log, questions

ALL = ", ".join(map(str, range(1, 301))) + "."


def status(page: Page) -> Locator:
    return page.get_by_role("complementary", name="Conversations").get_by_role("status")


def test_an_answer_goes_on_after_cuts_of_the_network_without_a_lost_or_doubled_word(
    page: Page, network: Network
) -> None:
    page.goto(network.address)
    ask(page, "Count to 300.")
    for number in (20, 60, 120):
        expect(answers(page)).to_contain_text([f" {number},"])
        network.cut()
    finished(page)
    expect(answers(page).locator(".block")).to_have_text([ALL])
    expect(status(page)).to_contain_text("Online")
    page.reload()
    expect(answers(page).locator(".block")).to_have_text([ALL])


def test_a_network_that_is_gone_for_a_while_is_told_and_the_answer_read_to_its_end(
    page: Page, network: Network
) -> None:
    page.goto(network.address)
    ask(page, "Count to 300.")
    expect(answers(page)).to_contain_text([" 20,"])
    network.go_down()
    expect(status(page)).to_contain_text("Reconnecting")
    trouble = page.get_by_role("alert").filter(has_text="The service does not answer.")
    expect(trouble).to_be_visible()
    expect(answers(page)).to_contain_text([" 20,"])  # what was said stays
    network.come_up()
    trouble.get_by_role("button", name="Try now").click()
    expect(status(page)).to_contain_text("Online")
    expect(trouble).to_be_hidden()
    finished(page)
    expect(answers(page).locator(".block")).to_have_text([ALL])


def test_without_a_network_the_page_says_offline_and_what_to_do(page: Page, address: str) -> None:
    page.goto(f"/#/c/{filled(address, 'My name is Ada.')}")
    expect(status(page)).to_contain_text("Online")
    page.context.set_offline(True)
    expect(status(page)).to_contain_text("Offline")
    expect(page.get_by_role("alert").filter(has_text="Check your network")).to_be_visible()
    page.context.set_offline(False)
    expect(status(page)).to_contain_text("Online")
    ask_and_wait(page, "What is my name?")
    expect(answers(page).last).to_contain_text("Your name is Ada.")


def test_a_slow_network_loses_nothing(page: Page, network: Network) -> None:
    page.goto(network.address)
    expect(page.get_by_label("Your question")).to_be_focused()
    network.delay = 0.25
    ask_and_wait(page, "Count to 200.")
    expect(answers(page).locator(".block")).to_contain_text(["1, 2, 3, 4"])
    expect(answers(page).locator(".block")).to_contain_text(["198, 199, 200."])


def test_a_service_that_is_busy_says_so_and_gives_the_question_back(page: Page, settings: Settings) -> None:
    crowded = settings.model_copy(
        update={"max_concurrent_turns": 1, "max_queued_turns": 0, "retrieval": "off", "demo_delay": 0.02}
    )
    with served(crowded) as address:
        other = page.context.new_page()
        other.goto(f"{address}/#/")
        ask(other, "Count to 600.")
        expect(answers(other)).to_contain_text(["3, 4"])
        page.goto(f"{address}/#/")
        ask(page, "What is my name?")
        expect(page.get_by_role("alert").filter(has_text="Try again in a moment.")).to_be_visible()
        expect(status(page)).to_contain_text("Server busy")
        expect(page.get_by_label("Your question")).to_have_value("What is my name?")
        other.get_by_role("button", name="Stop").click()
        finished(other)
        expect(status(page)).to_contain_text("Online")
        page.get_by_role("button", name="Send", exact=True).click()
        expect(answers(page)).to_have_count(1)
        finished(page)
        other.close()
        page.goto("about:blank")


def test_who_asks_too_often_is_told_how_long_to_wait_and_not_that_the_service_is_busy(
    page: Page, settings: Settings
) -> None:
    with served(settings.model_copy(update={"rate_limit": "1/hour", "retrieval": "off"})) as address:
        page.goto(f"{address}/#/")
        ask_and_wait(page, "My name is Ada.")
        ask(page, "What is my name?")
        expect(page.get_by_role("alert").filter(has_text=re.compile(r"Wait [\d,]+ seconds"))).to_be_visible()
        expect(page.get_by_label("Your question")).to_have_value("What is my name?")
        expect(questions(page)).to_have_count(1)
        expect(status(page)).to_contain_text("Online")
        page.goto("about:blank")


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM])
def test_after_a_restart_in_the_middle_of_an_answer_the_conversation_goes_on(
    page: Page, tmp_path: Path, port: int, ending: signal.Signals
) -> None:
    environment = {"DEMO_DELAY": "0.04", "TURN_TIMEOUT": "3", "RETRIEVAL": "off"}
    with running(tmp_path, port, **environment) as process:
        page.goto(f"http://127.0.0.1:{port}/")
        ask_and_wait(page, "My name is Ada.")
        session_id = current_session(page)
        ask(page, "Count to 900.")
        expect(answers(page).last).to_contain_text("5, 6")
        process.end(ending, 20)
        if ending is signal.SIGKILL:
            expect(status(page)).to_contain_text(re.compile("Reconnecting|Offline"))
    with running(tmp_path, port, **environment):
        finished(page)
        expect(log(page).get_by_role("alert").last).to_contain_text(
            re.compile("interrupted|What was said so far is kept")
        )
        expect(questions(page)).to_contain_text(["My name is Ada.", "Count to 900."])

        def goes_on() -> bool:
            """The turn of a lost process is free again after some seconds; until then the question comes back."""
            if page.get_by_role("button", name="Stop").is_hidden():
                ask(page, "What is my name?")
            page.wait_for_timeout(1500)
            return "Your name is Ada." in answers(page).last.inner_text()

        eventually(goes_on, 60)
        assert current_session(page) == session_id
        page.goto("about:blank")
