"""The load test works, at tiny sizes: every question is answered, its counts hold, and it notices when they do not."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any, cast

import pytest

from benchmarks.load.__main__ import QUICK, ask, main, sections, streams
from benchmarks.load.servers import Server, clients
from benchmarks.table import BEGIN, END, Promise, Table, with_block
from tests.chat_service.running import ROOT
from tests.contract.postgresql import NO_SERVER, programs

COUNTS = ("connections", "streams")
"""Promises that no other work on the machine can break."""


def test_a_quick_run_measures_every_server_and_finds_the_counts_that_are_promised() -> None:
    if programs() is None:
        pytest.skip(NO_SERVER)
    found = [*sections(QUICK, postgresql=True)]
    promises = [each for each in found if isinstance(each, Promise)]
    counts = [each for each in promises if any(word in each.what for word in COUNTS)]
    tables = [each for each in found if isinstance(each, Table)]
    assert len(counts) == 4
    assert [each for each in counts if not each.kept] == []
    assert all(len(row) == len(table.columns) for table in tables for row in table.rows)
    names = {row[0].partition(", ")[2] for row in tables[0].rows}
    assert names == {"without sessions", "MongoDB", "PostgreSQL"}
    assert len(tables[0].rows) == 3 * len(QUICK.requests)


class Refusing(BaseHTTPRequestHandler):
    """Refuses questions, and breaks streams off."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.answer(200, b"{}")

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        if self.path.endswith("stream"):
            self.wfile.write(b'HTTP/1.1 200 OK\r\n\r\ndata: {"event": "response_chunk"}\n\n')
            self.close_connection = True
        else:
            self.answer(503, b"{}")

    def answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def refusing() -> Iterator[Server]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,)).start()
        found = SimpleNamespace(name="refusing", port=server.server_port, keeps=True, processor=float, memory=float)
        yield cast(Server, found)
        server.shutdown()


def test_a_question_that_was_not_answered_ends_the_run(refusing: Server) -> None:
    with pytest.raises(RuntimeError, match=r"refusing: not every request was answered: \{'503': 4\}"):
        ask(refusing, 2, 4)


def test_streams_that_break_off_are_no_whole_ones(refusing: Server) -> None:
    promises: dict[str, Any] = {each.what: each for each in streams(refusing, QUICK) if isinstance(each, Promise)}
    whole = promises["streams that ended with `response_complete`"]
    assert (whole.found, whole.kept) == ("0", False)


def test_clients_that_cannot_connect_end_the_run() -> None:
    nowhere = cast(Server, SimpleNamespace(name="nowhere", port=1, keeps=True))
    with pytest.raises(RuntimeError, match="nowhere: the clients failed"):
        clients(nowhere, 20, do="ask", clients=1, requests=1, turns=1, varied=True)


def test_only_a_whole_run_is_written_down(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--quick", "--write", "page"])
    assert "without --quick" in capsys.readouterr().err


def test_the_page_has_the_place_for_a_run_and_one_in_it() -> None:
    page = (ROOT / "docs" / "load.md").read_text()
    assert with_block(page, page.partition(f"{BEGIN}\n")[2].partition(f"\n{END}")[0]) == page
    assert re.search(r"\| +200, MongoDB +\| +\d+ \| +0\.\d\d \|", page)
