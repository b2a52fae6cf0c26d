"""`make audit` says what it found out, and when it could not find out anything."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
FLAW = {
    "id": "GHSA-0000-0000-0000",
    "summary": "A flaw.",
    "modified": "2026-01-01T00:00:00Z",
    "affected": [
        {
            "package": {"name": "leaky", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "1.1"}]}],
        }
    ],
}


class Osv(BaseHTTPRequestHandler):
    """Knows of a flaw in one package."""

    def do_POST(self) -> None:
        asked: dict[str, Any] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        flaws = [FLAW] if asked["package"]["name"] == "leaky" else []
        body = json.dumps({"vulns": flaws} if flaws else {}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def osv() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Osv) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}/v1/query"
        server.shutdown()


def audit(folder: Path, osv: str, *pins: str) -> subprocess.CompletedProcess[str]:
    (folder / "pins.txt").write_text("\n".join(f"{pin} --hash=sha256:{'0' * 64}" for pin in pins))
    program = [sys.executable, "scripts/audit.py", "--requirement", str(folder / "pins.txt")]
    program += ["--vulnerability-service", "osv", "--osv-url", osv, "--cache-dir", str(folder)]
    return subprocess.run(program, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def test_without_known_flaws_it_is_content(tmp_path: Path, osv: str) -> None:
    run = audit(tmp_path, osv, "sound==1.0", "whole==2.0")
    assert (run.returncode, run.stdout) == (0, "2 packages looked up, 0 known vulnerabilities.\n"), run.stderr


def test_a_known_flaw_is_named_with_its_remedy(tmp_path: Path, osv: str) -> None:
    run = audit(tmp_path, osv, "sound==1.0", "leaky==1.0")
    assert run.returncode == 1, run.stderr
    assert "leaky 1.0: GHSA-0000-0000-0000, fixed in 1.1" in run.stdout


def test_where_nobody_answers_it_says_that_nothing_was_found_out(tmp_path: Path) -> None:
    run = audit(tmp_path, "http://127.0.0.1:9/v1/query", "sound==1.0")
    assert (run.returncode, run.stdout) == (2, "")
    assert "No audit took place" in run.stderr
