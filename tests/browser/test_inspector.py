"""The panel that shows what a session is made of, and what readers think of answers."""

from __future__ import annotations

import json
import re
from pathlib import Path

import httpx
from playwright.sync_api import Page, expect

from tests.chat_service.running import eventually

from .reader import answers, ask_and_wait, filled, open_details, session_of


def test_metadata_is_shown_changed_added_and_deleted(page: Page, address: str) -> None:
    session_id = filled(address, "My name is Ada.")
    path = f"{address}/api/sessions/{session_id}/metadata"
    httpx.patch(path, json={"metadata": {"topic": "names", "count": 3}}, timeout=20)
    page.goto(f"/#/c/{session_id}")
    panel = open_details(page)
    topic = panel.get_by_label("Value of topic")
    expect(topic).to_have_value("names")
    topic.fill("people")
    topic.press("Enter")
    panel.get_by_label("New key").fill("open")
    panel.get_by_label("New value").fill("true")
    panel.get_by_role("button", name="Add").click()
    expect(panel.get_by_label("Value of open")).to_have_value("true")
    panel.get_by_role("button", name="Delete count").click()
    expect(panel.get_by_label("Value of count")).to_have_count(0)
    assert httpx.get(path, timeout=20).json()["metadata"] == {"topic": "people", "open": True}


def test_metadata_that_changes_elsewhere_is_seen_without_a_reload(page: Page, address: str) -> None:
    session_id = filled(address, "My name is Ada.")
    page.goto(f"/#/c/{session_id}")
    panel = open_details(page)
    expect(panel.get_by_text("None yet.").first).to_be_visible()
    path = f"{address}/api/sessions/{session_id}/metadata"
    httpx.patch(path, json={"metadata": {"mood": "calm"}}, timeout=20)
    expect(panel.get_by_label("Value of mood")).to_have_value("calm")


def test_metadata_keeps_its_kind_when_it_is_changed(page: Page, address: str) -> None:
    session_id = filled(address, "My name is Ada.")
    path = f"{address}/api/sessions/{session_id}/metadata"
    httpx.patch(path, json={"metadata": {"code": "42", "note": "one\ntwo", "topic": "names"}}, timeout=20)
    page.goto(f"/#/c/{session_id}")
    panel = open_details(page)
    for key, shown, wanted in (("code", '"42"', '"43"'), ("note", '"one\\ntwo"', '"one\\nthree"')):
        field = panel.get_by_label(f"Value of {key}")
        expect(field).to_have_value(shown)
        field.fill(wanted)
        field.press("Enter")
        expect(panel.get_by_label("Value of topic")).to_have_value("names")
    stored = {"code": "43", "note": "one\nthree", "topic": "names"}
    eventually(lambda: httpx.get(path, timeout=20).json()["metadata"] == stored, 20)


def test_metadata_that_the_service_refuses_is_told_in_words(page: Page, address: str) -> None:
    page.goto(f"/#/c/{filled(address, 'My name is Ada.')}")
    panel = open_details(page)
    panel.get_by_label("New key").fill("$where")
    panel.get_by_role("button", name="Add").click()
    expect(panel.get_by_role("alert")).to_contain_text("metadata")


def test_figures_times_agents_and_the_stored_document(page: Page, address: str) -> None:
    page.goto(f"/#/c/{filled(address, 'My name is Ada.')}")
    expect(answers(page)).to_have_count(1)
    panel = open_details(page)
    ask_and_wait(page, "What is my name?")
    expect(panel.get_by_text(re.compile(r"^[\d,]+ \([\d,]+ in, [\d,]+ out\)$"))).to_be_visible()
    expect(panel.get_by_text(re.compile(r"^\d+ commands?, [\d.]+ m?s$"))).to_be_visible()
    chart = panel.get_by_role("img", name=re.compile("^Times of 2 answers; the newest: first word after"))
    expect(chart).to_be_visible()
    expect(chart.locator("rect")).to_have_count(4)
    panel.get_by_text("As a table").click()
    expect(panel.get_by_role("row")).to_have_count(3)
    expect(panel.get_by_text(re.compile(r"^4 messages"))).to_be_visible()
    panel.get_by_text("Show the stored document").click()
    tree = panel.get_by_role("group").filter(has_text="Show the stored document")
    tree.get_by_text("agents").click()
    expect(tree.get_by_text(re.compile("agent")).first).to_be_visible()
    line = "[...document.querySelectorAll('.tree .key')].map((key) => [key, key.nextElementSibling])"
    offset = "([key, value]) => value.getBoundingClientRect().top - key.getBoundingClientRect().top"
    assert page.evaluate(f"{line}.every((pair) => Math.abs(({offset})(pair)) < 5)"), "a field and its value are apart"
    assert page.locator("[style]").count() == 0


def test_the_details_are_open_again_after_a_reload_and_close_with_escape(page: Page, address: str) -> None:
    page.set_viewport_size({"width": 1440, "height": 900})
    page.goto(f"/#/c/{filled(address, 'My name is Ada.')}")
    panel = open_details(page)
    page.reload()
    expect(panel).to_be_visible()
    page.keyboard.press("Escape")
    expect(panel).to_be_hidden()


def test_a_session_is_exported_as_a_file_of_json_lines(page: Page, address: str, tmp_path: Path) -> None:
    session_id = filled(address, "My name is Ada.")
    page.goto(f"/#/c/{session_id}")
    panel = open_details(page)
    with page.expect_download() as download:
        panel.get_by_role("button", name="Export as JSON Lines").click()
    assert download.value.suggested_filename == f"{session_id}.jsonl"
    download.value.save_as(tmp_path / "export.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "export.jsonl").read_text().splitlines()]
    assert len(lines) >= 3
    assert "My name is Ada." in json.dumps(lines)


def feedback(address: str, session_id: str) -> list[dict[str, str]]:
    found: list[dict[str, str]] = httpx.get(f"{address}/api/sessions/{session_id}/feedback", timeout=20).json()[
        "feedback"
    ]
    return found


def test_feedback_is_given_explained_changed_and_taken_back(page: Page, address: str) -> None:
    session_id = filled(address, "My name is Ada.")
    page.goto(f"/#/c/{session_id}")
    good, bad = (answers(page).get_by_role("button", name=f"{kind} answer") for kind in ("Good", "Bad"))
    good.click()
    expect(good).to_have_attribute("aria-pressed", "true")
    form = page.get_by_role("form", name="Why?")
    form.get_by_label("Clear").check()
    form.get_by_label("Comment").fill("Short and right.")
    form.get_by_role("button", name="Send feedback").click()
    expect(page.get_by_role("status").filter(has_text="Thank you.")).to_be_visible()
    page.reload()
    expect(good).to_have_attribute("aria-pressed", "true")
    bad.click()
    expect(bad).to_have_attribute("aria-pressed", "true")
    expect(good).to_have_attribute("aria-pressed", "false")
    form.get_by_role("button", name="Skip").click()
    bad.click()
    expect(bad).to_have_attribute("aria-pressed", "false")
    given = feedback(address, session_id)
    assert [each["rating"] for each in given] == ["up", "up", "down", "neutral"]
    assert (given[1]["reason"], given[1]["comment"]) == ("Clear", "Short and right.")
    messages = session_of(page, address)["messages"]
    assert isinstance(messages, list)
    assert {each["message_id"] for each in given} == {messages[-1]["message_id"]}
