"""How fast is the page? Its size and first paint, a long conversation, and an answer that comes quickly; on loopback.

Run it with ``make page``; ``docs/playground.md`` says what each number means. It takes Debian's Chromium, and the
service in a process of its own on an embedded MongoDB.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import httpx
from playwright.sync_api import Browser, CDPSession, Page, sync_playwright

from benchmarks.load.__main__ import machine
from benchmarks.load.servers import Server
from benchmarks.table import Promise, Table, in_bytes, summary, with_block
from mongodb_session_manager.embedded import EmbeddedMongoDB

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
QUESTIONS = (
    "My favourite number is {}.",
    "What survives a crash? I ask for the {}th time.",
    "calculate {}*21",
    "How does a client come back to an answer that is being written, {}?",
)
SHOWN = """(count) => new Promise((resolve) => {
  const look = () => {
    const questions = document.querySelectorAll("#log .user").length;
    if (questions >= count) requestAnimationFrame(() => resolve(performance.now()));
    else requestAnimationFrame(look);
  };
  look();
})"""
SCROLL = """(first) => new Promise((resolve, reject) => {
  const scroller = document.querySelector("#scroller");
  const began = performance.now();
  let most = 0;
  let frames = 0;
  const step = () => {
    frames += 1;
    most = Math.max(most, document.querySelectorAll("#log article").length);
    if (document.querySelector("#log").textContent.includes(first)) {
      return resolve({ milliseconds: performance.now() - began, frames, most });
    }
    if (performance.now() - began > 120_000) return reject(new Error("the beginning was not reached"));
    scroller.scrollTop -= 400;
    requestAnimationFrame(step);
  };
  requestAnimationFrame(step);
})"""


@dataclass(frozen=True)
class Sizes:
    """How much is done.

    Attributes:
        visits: Of the page, each with an empty cache.
        turns: Of the long conversation, of two messages at least.
        words: Of the quick answer.
    """

    visits: int
    turns: int
    words: int


FULL = Sizes(7, 900, 1000)
QUICK = Sizes(2, 60, 100)


class Ground:
    """A browser, and the service with two models: one that answers at once, one that says 200 words a second."""

    def __init__(self, browser: Browser, instant: Server, quick: Server) -> None:
        self.browser = browser
        self.instant = f"http://127.0.0.1:{instant.port}"
        self.quick = f"http://127.0.0.1:{quick.port}"

    @contextmanager
    def visit(self) -> Iterator[tuple[Page, CDPSession]]:
        """A tab of a new profile."""
        with closing(self.browser.new_context(viewport={"width": 1280, "height": 800})) as context:
            page = context.new_page()
            page.set_default_timeout(180_000)
            yield page, context.new_cdp_session(page)


@contextmanager
def open_ground() -> Iterator[Ground]:
    """All that is needed; it is gone afterwards."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="page-")))
        uri = stack.enter_context(EmbeddedMongoDB(folder / "mongodb")).uri
        servers = []
        for name, delay in (("instant", "0"), ("quick", "0.005")):
            server = Server(name, "chat_service", folder / name, uri, MONGODB_URI=uri, DEMO_DELAY=delay)
            stack.callback(server.end)
            servers.append(server)
        playwright = stack.enter_context(sync_playwright())
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
        stack.callback(browser.close)
        yield Ground(browser, *servers)


def first_visit(ground: Ground, sizes: Sizes) -> Iterator[Table | Promise]:
    """What is transferred before the page can be used, and when something is seen."""
    paints, loads, sizes_seen, requests = [], [], [], 0
    for _ in range(sizes.visits):
        with ground.visit() as (page, devtools):
            finished: list[int] = []
            devtools.send("Network.enable")
            devtools.on("Network.loadingFinished", lambda event, to=finished: to.append(event["encodedDataLength"]))
            page.goto(ground.instant, wait_until="networkidle")
            paints.append(page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime"))
            loads.append(page.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd"))
            sizes_seen.append(sum(finished))
            requests = len(finished)
    rows = [
        ("first contentful paint", f"{median(paints):.0f} ms", f"{max(paints):.0f} ms"),
        ("loaded", f"{median(loads):.0f} ms", f"{max(loads):.0f} ms"),
        (f"transferred, {requests} requests", in_bytes(median(sizes_seen)), in_bytes(max(sizes_seen))),
    ]
    yield Table(f"A first visit, {sizes.visits} times with an empty cache", ("", "median", "worst"), rows)
    yield Promise("first paint", "≤ 300 ms", f"{median(paints):.0f} ms", median(paints) <= 300)
    transferred = max(sizes_seen)
    yield Promise("transferred", "≤ 150 KB", in_bytes(transferred), transferred <= 150_000)


def long_conversation(ground: Ground, sizes: Sizes) -> Iterator[Table | Promise]:
    """A stored conversation of many messages: opened, and scrolled to its beginning."""
    session_id, messages = _grown(ground.instant, sizes.turns)
    opened: list[float] = []
    for _ in range(sizes.visits):
        with ground.visit() as (page, _devtools):
            page.goto(f"{ground.instant}/#/c/{session_id}", wait_until="commit")
            opened.append(page.evaluate(SHOWN, 35))
    with ground.visit() as (page, _devtools):
        page.goto(f"{ground.instant}/#/c/{session_id}", wait_until="networkidle")
        with _traced(ground.browser, page) as tasks:
            scrolled = page.evaluate(SCROLL, QUESTIONS[0].format(0))
    rows = [
        ("opened: median and worst", f"{median(opened):.0f} ms", f"{max(opened):.0f} ms"),
        ("scrolled to the beginning", f"{scrolled['milliseconds'] / 1000:.1f} s", f"{scrolled['frames']} frames"),
        ("tasks above 50 ms of processor time", *tasks.above("tdur")),
        ("tasks above 50 ms by the clock", *tasks.above("dur")),
        ("articles in the page at once", str(scrolled["most"]), ""),
    ]
    yield Table(f"A conversation of {messages:,} stored messages", ("", "", ""), rows)
    yield Promise(f"{messages:,} messages opened", "≤ 1 s", f"{median(opened):.0f} ms", median(opened) <= 1000)
    count, longest = tasks.above("tdur")
    yield Promise("tasks above 50 ms while it is scrolled through", "0", f"{count}, {longest}", count == "0")


def quick_answer(ground: Ground, sizes: Sizes) -> Iterator[Table | Promise]:
    """An answer of 200 words a second: how busy the main thread is with it."""
    with ground.visit() as (page, devtools):
        page.goto(ground.quick, wait_until="networkidle")
        devtools.send("Performance.enable")
        page.get_by_label("Your question").fill(f"Count to {sizes.words}.")
        page.get_by_label("Your question").press("Enter")
        answer = page.get_by_role("article", name="Answer")
        answer.get_by_text("5, 6").wait_for()
        before, began = _busy(devtools), time.perf_counter()
        with _traced(ground.browser, page) as tasks:
            answer.get_by_text(f" {sizes.words - 1}, {sizes.words}.").wait_for()
        seconds, busy = time.perf_counter() - began, _busy(devtools)
    share = {name: (busy[name] - before[name]) / seconds for name in before}
    rate = sizes.words / seconds
    rows = [
        ("words a second", f"{rate:.0f}"),
        ("main thread busy", f"{share['TaskDuration']:.0%}"),
        ("of that, scripts", f"{share['ScriptDuration']:.0%}"),
        ("layout and style", f"{share['LayoutDuration'] + share['RecalcStyleDuration']:.0%}"),
        ("tasks above 50 ms of processor time", ", ".join(tasks.above("tdur"))),
    ]
    yield Table(f"An answer of {sizes.words:,} words", ("", ""), rows)
    yield Promise("main thread at 200 words a second", "≤ 50 %", rows[1][1], share["TaskDuration"] <= 0.5)


class Tasks:
    """What the main thread did, from the browser's own trace."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def above(self, kind: str) -> tuple[str, str]:
        """How many took more than 50 ms, and the longest: by the clock (``dur``) or of processor time (``tdur``)."""
        times = [event.get(kind, 0) / 1000 for event in self.events]
        return str(sum(each > 50 for each in times)), f"longest {max(times, default=0):.0f} ms"


@contextmanager
def _traced(browser: Browser, page: Page) -> Iterator[Tasks]:
    tasks = Tasks()
    browser.start_tracing(page=page, categories=["toplevel", "disabled-by-default-devtools.timeline"])
    yield tasks
    events = json.loads(browser.stop_tracing())["traceEvents"]
    threads = [event for event in events if event.get("name") == "thread_name"]
    main = {(each["pid"], each["tid"]) for each in threads if each["args"]["name"] == "CrRendererMain"}
    tasks.events = [each for each in events if each.get("name") == "RunTask" and (each["pid"], each["tid"]) in main]


def _busy(devtools: CDPSession) -> dict[str, float]:
    names = ("TaskDuration", "ScriptDuration", "LayoutDuration", "RecalcStyleDuration")
    found: dict[str, Any] = devtools.send("Performance.getMetrics")
    return {each["name"]: each["value"] for each in found["metrics"] if each["name"] in names}


def _grown(address: str, turns: int) -> tuple[str, int]:
    session_id: str | None = None
    with httpx.Client(base_url=address, timeout=60) as client:
        for number in range(turns):
            body = {"query": QUESTIONS[number % len(QUESTIONS)].format(number)}
            body |= {"session_id": session_id} if session_id else {}
            session_id = _answered(client, body)["session_id"]
        count: int = client.get(f"/api/sessions/{session_id}").raise_for_status().json()["message_count"]
    assert session_id
    return session_id, count


def _answered(client: httpx.Client, body: dict[str, Any]) -> dict[str, Any]:
    """The answer; while the service takes its documents in it asks to come again."""
    for _ in range(30):
        response = client.post("/api/chat", json=body)
        if response.status_code != httpx.codes.SERVICE_UNAVAILABLE:
            break
        time.sleep(1)
    answer: dict[str, Any] = response.raise_for_status().json()
    return answer


SECTIONS = (first_visit, long_conversation, quick_answer)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and tell."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.page", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="make everything small, to see that it works")
    parser.add_argument("--write", metavar="PAGE", help="put what was found into a Markdown page, between its marks")
    options = parser.parse_args(arguments)
    if options.write and options.quick:
        parser.error("--write takes the whole run, without --quick")
    where = machine()
    found: list[Table | Promise] = []
    with open_ground() as ground:
        where = f"Chromium {ground.browser.version}, {where}"
        print(f"{where}\n", flush=True)
        for section in SECTIONS:
            for each in section(ground, QUICK if options.quick else FULL):
                found.append(each)
                print(f"{each}\n" if isinstance(each, Table) else f"({each.what}: {each.found})\n", flush=True)
    kept = summary([each for each in found if isinstance(each, Promise)])
    print(f"{kept}\n", flush=True)
    if options.write:
        page = Path(options.write)
        tables = [str(each) for each in found if isinstance(each, Table)]
        block = "\n\n".join([f"{where}, {os.getloadavg()[0]:.1f} at the end.", str(kept), *tables])
        page.write_text(with_block(page.read_text(encoding="utf-8"), block), encoding="utf-8")


if __name__ == "__main__":
    main()
