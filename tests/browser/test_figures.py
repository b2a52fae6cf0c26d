"""The benchmark of the page works, at tiny sizes, and the page is as small as is promised."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_the_benchmark_runs_and_finds_the_size_that_is_promised() -> None:
    if shutil.which("chromium") is None:
        pytest.skip("chromium is not installed (apt-get install chromium)")
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks.page", "--quick"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    for title in ("A first visit", "A conversation of 150 stored messages", "An answer of 100 words"):
        assert f"**{title}" in run.stdout
    assert re.search(r"^\| transferred +\| ≤ 150 KB \| +[\d.]+ KB \| +yes \|$", run.stdout, re.MULTILINE), run.stdout
