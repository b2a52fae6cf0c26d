"""What people, models and tools say is shown, and never run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from chat_service.config import Settings
from tests.chat_service.model_servers import ModelServer, Ollama, running_model
from tests.chat_service.running import served

from .reader import answers, ask_and_wait, filled, finished, log, open_details

HOSTILE = [
    "<script>document.title='run'</script>",
    "<img src=x onerror=\"document.title='run'\">",
    "<svg onload=\"document.title='run'\"><a href=\"javascript:document.title='run'\">x</a></svg>",
    "[click](javascript:document.title='run')",
    "[click](data:text/html,<script>document.title='run'</script>)",
    "![x](http://127.0.0.1:9/picture.png)",
    "<iframe srcdoc=\"<script>parent.document.title='run'</script>\"></iframe>",
    "<style>body{display:none}</style><form action=http://127.0.0.1:9><input name=q autofocus onfocus=alert(1)></form>",
    "```\"><img src=x onerror=document.title='run'>\n<script>document.title='run'</script>\n```",
    "| a |\n|---|\n| <img src=x onerror=\"document.title='run'\"> |",
    '<div style="position:fixed;inset:0" id=question class="note" onclick="document.title=\'run\'">[1]</div>',
]


@pytest.fixture(scope="module")
def model() -> Iterator[ModelServer]:
    with running_model(Ollama()) as model:
        yield model


@pytest.fixture(scope="module")
def address(settings: Settings, model: ModelServer) -> Iterator[str]:
    changes = {
        "model_provider": "ollama",
        "model_id": "m",
        "ollama_host": model.address,
        "retrieval": "off",
        "database_name": f"{settings.database_name}_hostile",
    }
    with served(settings.model_copy(update=changes)) as address:
        yield address


def nothing_ran(page: Page) -> None:
    expect(log(page)).to_be_visible()
    assert page.title() != "run"
    assert (
        log(page).locator("script, img, iframe, style, form, object, embed, [style], [onerror], [onload]").count() == 0
    )
    for link in log(page).get_by_role("link").all():
        assert (link.get_attribute("href") or "").startswith(("http://", "https://", "mailto:"))
    assert page.locator("#question").count() == 1


@pytest.mark.parametrize("said", HOSTILE)
def test_a_hostile_answer_runs_nothing_and_loads_nothing(page: Page, model: ModelServer, said: str) -> None:
    model.say(Ollama().words(*(said[at : at + 3] for at in range(0, len(said), 3)), "\n\nThe end."))
    page.goto("/#/")
    ask_and_wait(page, "Show me.")
    for _ in range(2):
        expect(answers(page)).to_contain_text(["The end."])
        nothing_ran(page)
        page.reload()


@pytest.mark.parametrize("said", [HOSTILE[0], HOSTILE[1]])
def test_what_a_person_says_is_never_taken_for_html(page: Page, model: ModelServer, said: str) -> None:
    model.say(Ollama().words("Fine."))
    page.goto("/#/")
    ask_and_wait(page, said)
    for _ in range(2):
        expect(log(page)).to_contain_text(said)
        expect(page.get_by_role("navigation")).to_contain_text(said[:20])
        nothing_ran(page)
        page.reload()


def test_hostile_metadata_titles_and_tools_are_text(page: Page, model: ModelServer, address: str) -> None:
    model.say(
        Ollama().call("calculate", {"expression": HOSTILE[1]}),
        Ollama().words("Done."),
    )
    session_id = filled(address, "Calculate.")
    httpx.patch(
        f"{address}/api/sessions/{session_id}",
        json={"title": HOSTILE[0], "metadata": {"<b>key</b>": HOSTILE[1]}},
        timeout=20,
    ).raise_for_status()
    page.goto(f"/#/c/{session_id}")
    finished(page)
    expect(answers(page)).to_contain_text(["Done."])
    panel = open_details(page)
    expect(panel.get_by_text("<b>key</b>")).to_be_visible()
    panel.get_by_text("Show the stored document").click()
    expect(panel.get_by_text("agents", exact=True)).to_be_visible()
    assert page.locator("b, img[src='x']").count() == 0
    assert page.title() == HOSTILE[0]
    nothing_ran(page)


def test_the_policy_of_the_page_allows_no_inline_script_and_no_inline_style(browser: Browser, address: str) -> None:
    policy = httpx.get(f"{address}/chat.html", timeout=20).headers["content-security-policy"]
    assert "unsafe-inline" not in policy
    assert "unsafe-eval" not in policy
    assert "default-src 'none'" in policy
    with closing(browser.new_context(base_url=address)) as context:
        page = context.new_page()
        page.goto("/")
        expect(page.get_by_label("Your question")).to_be_focused()
        refused = page.evaluate(
            "() => { try { document.createElement('div').innerHTML = '<b>x</b>'; return false } catch { return true } }"
        )
    assert refused  # only the one place that the service's own HTML goes through may make HTML


def test_a_table_and_code_are_shown_as_such_and_the_code_is_copied(page: Page, model: ModelServer) -> None:
    said = "| a | b |\n|---|--:|\n| 1 | 2 |\n\n```python\nprint('x')\n```\n"
    model.say(Ollama().words(*(said[at : at + 4] for at in range(0, len(said), 4))))
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto("/#/")
    ask_and_wait(page, "Show me.")
    for _ in range(2):
        expect(answers(page).get_by_role("table").get_by_role("cell")).to_have_text(["1", "2"])
        answers(page).get_by_role("button", name="Copy code").click()
        expect(page.get_by_role("status").filter(has_text="Copied.")).to_be_visible()
        assert page.evaluate("navigator.clipboard.readText()") == "print('x')"
        page.reload()
