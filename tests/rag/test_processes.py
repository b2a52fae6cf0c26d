"""Several processes on one folder, and processes that are killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from chat_service.config import Settings
from chat_service.rag.errors import KnowledgeBaseLocked
from chat_service.rag.knowledge_base import KnowledgeBase

ROOT = Path(__file__).parents[2]
PATIENCE = 120.0


def environment(folder: Path, **variables: str) -> dict[str, str]:
    inherited = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
    return {**inherited, "PYTHONPATH": str(ROOT / "src"), "DATA_DIR": str(folder / "data"), **variables}


def ingest(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "chat_service", "ingest", *arguments],
        cwd=folder,
        env=environment(folder, **variables),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


@contextmanager
def ingesting(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """An ingest in a process of its own, which is gone afterwards."""
    command = [sys.executable, "-m", "chat_service", "ingest", *arguments]
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, cwd=folder, env=environment(folder), stdout=quiet, stderr=quiet)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def points(folder: Path, slot: str) -> int:
    """How large what an ingest has written by now is, without touching it."""
    file = folder / "data" / "qdrant" / "collection" / f"knowledge-{slot}" / "storage.sqlite"
    return file.stat().st_size if file.exists() else 0


def write_many(folder: Path, files: int) -> Path:
    documents = folder / "many"
    documents.mkdir(exist_ok=True)
    for number in range(files):
        sections = (f"## Part {part} of {number}\n\nThe text of part {part} of file {number}." for part in range(20))
        (documents / f"{number:03}.md").write_text(f"# File {number}\n\n" + "\n\n".join(sections))
    return documents


async def whole_files(settings: Settings) -> dict[str, int]:
    """How many chunks of each file are found."""
    counts: dict[str, int] = {}
    async with await KnowledgeBase.open(settings) as base:
        found = await base.retrieve("text part file", mode="dense", top_k=100_000, threshold=0)
        assert found.passages
        for name in sorted(path.name for path in (settings.data_dir.parent / "many").iterdir()):
            found = await base.retrieve("text part", source=f"many/{name}", top_k=100, threshold=0)
            if found.passages:
                counts[name] = len(found.passages)
    return counts


@pytest.mark.parametrize("grown", [300_000, 900_000])
async def test_a_killed_ingest_leaves_whole_files_and_the_next_one_goes_on(
    tmp_path: Path, settings: Settings, grown: int
) -> None:
    documents = write_many(tmp_path, 60)
    async with await KnowledgeBase.open(settings) as base:
        await base.ingest([documents / "000.md"])
    for file in documents.iterdir():
        file.write_text(file.read_text() + "\n\nAnd more.")
    with ingesting(tmp_path, str(documents)) as process:
        kill_when(lambda: points(tmp_path, "a") > grown, process)
    counts = await whole_files(settings)
    assert set(counts.values()) <= {20}
    async with await KnowledgeBase.open(settings) as base:
        report = await base.ingest([documents])
    assert report.embedded < 60 * 20
    assert len(report.unchanged) + len(report.added) + len(report.changed) == 60
    assert await whole_files(settings) == {f"{number:03}.md": 20 for number in range(60)}


async def test_a_rebuild_that_is_killed_leaves_the_old_collection_answering(
    tmp_path: Path, settings: Settings, documents: Path
) -> None:
    many = write_many(tmp_path, 60)
    async with await KnowledgeBase.open(settings) as base:
        await base.ingest([documents])
    with ingesting(tmp_path, "--rebuild", str(many)) as process:
        kill_when(lambda: points(tmp_path, "b") > 300_000, process)
    async with await KnowledgeBase.open(settings) as base:
        found = await base.retrieve("How long do I knead the dough?")
        assert found.passages[0].source_file == "guide/bread/dough.md"
        report = await base.ingest([many], rebuild=True)  # goes on where the other one was killed
        assert report.unchanged
        found = await base.retrieve("How long do I knead the dough?", threshold=0)
        assert {passage.source_file.split("/")[0] for passage in found.passages} == {"many"}


def kill_when(condition: object, process: subprocess.Popen[bytes]) -> None:
    """End a process in the middle, without a word."""
    assert callable(condition)
    end = time.monotonic() + PATIENCE
    while not condition():
        assert process.poll() is None, "it had ended before it could be killed"
        assert time.monotonic() < end
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


async def test_a_second_process_is_told_who_has_the_folder_and_what_to_set(
    tmp_path: Path, settings: Settings, documents: Path
) -> None:
    async with await KnowledgeBase.open(settings) as base:
        await base.ingest([documents])
        for options in ((), ("--dry-run",), ("--rebuild",)):
            refused = ingest(tmp_path, str(documents), *options)
            assert (refused.returncode, refused.stdout) == (3, "")
            for told in (str(os.getpid()), "QDRANT_URL", str(settings.data_dir / "qdrant")):
                assert told in refused.stderr
            assert "Traceback" not in refused.stderr
        with pytest.raises(KnowledgeBaseLocked, match="QDRANT_URL"):
            await KnowledgeBase.open(settings)
        assert (await base.retrieve("How long do I knead the dough?")).is_supported
    assert ingest(tmp_path, str(documents)).returncode == 0


def test_the_command_tells_people_and_programs_what_it_did(tmp_path: Path, documents: Path) -> None:
    first = ingest(tmp_path, str(documents))
    assert (first.returncode, first.stderr) == (0, "")
    assert first.stdout.startswith("Files: 3 added. Chunks: 5, of which 5 embedded.")
    (documents / "bad.pdf").write_bytes(b"%PDF-1.4 no more")
    second = ingest(tmp_path, str(documents), "--json")
    report = json.loads(second.stdout)
    assert second.returncode == 1
    assert (len(report["unchanged"]), report["embedded"], report["is_dry"]) == (3, 0, False)
    assert [problem["source_file"] for problem in report["problems"]] == ["guide/bad.pdf"]
    assert all(report["problems"][0][name] for name in ("file", "reason", "remedy"))


def test_the_command_refuses_a_path_that_is_not_there_before_it_does_anything(tmp_path: Path, documents: Path) -> None:
    refused = ingest(tmp_path, str(documents), "nowhere")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "nowhere" in refused.stderr
    assert not (tmp_path / "data").exists()


def test_the_command_names_the_setting_when_the_embedder_changed(tmp_path: Path, documents: Path) -> None:
    assert ingest(tmp_path, str(documents)).returncode == 0
    cohere = {"EMBEDDINGS": "cohere", "COHERE_API_KEY": "secret", "COHERE_URL": "http://127.0.0.1:9"}
    refused = ingest(tmp_path, str(documents), **cohere)
    assert refused.returncode == 3
    assert "--rebuild" in refused.stderr
    unreachable = ingest(tmp_path, str(documents), "--rebuild", **cohere)
    assert unreachable.returncode == 3
    assert "COHERE_URL" in unreachable.stderr
    assert "secret" not in refused.stderr + unreachable.stderr
    assert ingest(tmp_path, str(documents)).stdout.startswith("Files: 3 unchanged.")


def test_the_command_runs_without_a_word_from_the_packages_that_it_uses(tmp_path: Path, documents: Path) -> None:
    ran = ingest(tmp_path, str(documents), LOG_LEVEL="DEBUG", PYTHONWARNINGS="default")
    assert ran.returncode == 0
    assert not [line for line in ran.stderr.splitlines() if "Warning" in line and "site-packages" not in line]
