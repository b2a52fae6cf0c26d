"""The knowledge base of a running service."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from chat_service.config import Settings
from chat_service.exceptions import KnowledgeBaseUnavailable
from chat_service.rag import serving
from chat_service.rag.errors import KnowledgeBaseMismatch
from chat_service.rag.knowledge_base import KnowledgeBase
from chat_service.rag.serving import ServedKnowledge, served_knowledge
from tests.chat_service.running import eventually, running
from tests.contract.postgresql import free_port

from .conftest import MakeSettings
from .qdrant_server import qdrant_server


async def retrieved(knowledge: ServedKnowledge | None, question: str, seconds: float = 60) -> Any:
    """What is found, as soon as anything can be."""
    assert knowledge
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while True:
        try:
            return await knowledge.retrieve(question)
        except KnowledgeBaseUnavailable:
            assert loop.time() < end
            await asyncio.sleep(0.05)


async def test_the_service_fills_its_knowledge_base_when_it_starts(
    make_settings: MakeSettings, documents: Path
) -> None:
    settings = make_settings(knowledge_paths=str(documents))
    async with served_knowledge(settings) as knowledge:
        found = await retrieved(knowledge, "How long do I knead the dough?")
        assert found.passages[0].source_file == "guide/bread/dough.md"
    (documents / "new.md").write_text("# Queens\n\nThe queen lays two thousand eggs a day.")
    async with served_knowledge(settings) as knowledge:
        assert knowledge
        async with asyncio.timeout(60):
            while not (found := await retrieved(knowledge, "How many eggs does the queen lay?")).is_supported:
                await asyncio.sleep(0.05)
        assert found.passages[0].source_file == "guide/new.md"


async def test_without_paths_it_is_this_projects_documentation(settings: Settings) -> None:
    async with served_knowledge(settings) as knowledge:
        found = await retrieved(knowledge, "What does SessionBusyError mean?")
    assert found.is_supported
    assert {passage.module_name for passage in found.passages} <= {"docs", "project"}


def pretend_another_version(monkeypatch: pytest.MonkeyPatch, layout: int) -> None:
    for module in ("chunking", "opened", "ingest"):
        monkeypatch.setattr(f"chat_service.rag.{module}.LAYOUT", layout)


async def test_the_documentation_that_another_version_took_in_is_built_anew(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        pretend_another_version(patch, layout=0)
        async with served_knowledge(settings) as knowledge:
            await retrieved(knowledge, "What does SessionBusyError mean?")
    async with served_knowledge(settings) as knowledge:
        assert (await retrieved(knowledge, "What does SessionBusyError mean?")).is_supported
    async with await KnowledgeBase.open(settings) as base:
        report = await base.ingest_default()
    assert report
    assert (report.embedded, report.changed) == (0, [])


async def test_what_another_version_took_in_is_never_searched(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        pretend_another_version(patch, layout=0)
        async with await KnowledgeBase.open(settings) as base:
            await base.ingest_default()
    async with await KnowledgeBase.open(settings) as base:
        assert not base.is_filled
        with pytest.raises(KnowledgeBaseMismatch):
            await base.retrieve("What does SessionBusyError mean?")


async def test_documents_of_ones_own_that_another_version_took_in_are_refused_with_the_command(
    settings: Settings, documents: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        pretend_another_version(patch, layout=0)
        async with await KnowledgeBase.open(settings) as base:
            await base.ingest([documents])
    with pytest.raises(KnowledgeBaseMismatch, match=r"another version.*chat-service ingest --rebuild"):
        await KnowledgeBase.open(settings)
    async with await KnowledgeBase.open(settings, check=False) as base:
        await base.ingest([documents], rebuild=True)
        assert (await base.retrieve("How long do I knead the dough?")).is_supported


async def test_nothing_is_opened_when_retrieval_is_off(make_settings: MakeSettings) -> None:
    settings = make_settings(retrieval="off")
    async with served_knowledge(settings) as knowledge:
        assert knowledge is None
    assert not settings.data_dir.exists()


async def test_without_the_extra_the_service_says_so_once_and_goes_on(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "qdrant_client", None)
    async with served_knowledge(settings) as knowledge:
        assert knowledge is None
    (record,) = [record for record in caplog.records if record.name == serving.__name__]
    assert record.levelno == logging.WARNING
    assert all(told in record.getMessage() for told in ("qdrant_client", "rag", "RETRIEVAL=off"))


async def test_a_worker_without_the_folder_says_so_once_and_takes_over_when_it_is_free(
    make_settings: MakeSettings, documents: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(serving, "_AGAIN_SECONDS", 0.1)
    monkeypatch.setattr(serving, "_PATIENCE_SECONDS", 0.5)
    settings = make_settings(knowledge_paths=str(documents))
    holder = await KnowledgeBase.open(settings)
    async with served_knowledge(settings) as knowledge:
        assert knowledge
        with pytest.raises(KnowledgeBaseUnavailable) as refused:
            await knowledge.retrieve("How long do I knead the dough?")
        assert str(settings.data_dir) not in str(refused.value)
        told = [record.getMessage() for record in caplog.records if "KnowledgeBaseLocked" in record.getMessage()]
        assert len(told) == 1
        assert "QDRANT_URL" in told[0]
        await holder.close()
        assert (await retrieved(knowledge, "How long do I knead the dough?")).is_supported


async def test_nobody_waits_for_a_knowledge_base_that_could_not_be_opened(
    make_settings: MakeSettings, documents: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(serving, "_PATIENCE_SECONDS", 600)
    settings = make_settings(knowledge_paths=str(documents))
    async with await KnowledgeBase.open(settings), served_knowledge(settings) as knowledge:
        assert knowledge
        async with asyncio.timeout(60):
            while "KnowledgeBaseLocked" not in caplog.text:
                await asyncio.sleep(0.05)
            with pytest.raises(KnowledgeBaseUnavailable):
                await knowledge.retrieve("How long do I knead the dough?")


async def test_a_server_that_is_away_is_tried_again(
    make_settings: MakeSettings, documents: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "_AGAIN_SECONDS", 0.1)
    monkeypatch.setattr(serving, "_PATIENCE_SECONDS", 0.3)
    with qdrant_server() as server:
        address = server.address
        server.key = "not known yet"
        async with served_knowledge(make_settings(qdrant_url=address, knowledge_paths=str(documents))) as knowledge:
            assert knowledge
            with pytest.raises(KnowledgeBaseUnavailable):
                await knowledge.retrieve("How long do I knead the dough?")
            server.key = None
            assert (await retrieved(knowledge, "How long do I knead the dough?")).is_supported


async def test_ending_while_it_is_opened_leaves_nothing_locked(settings: Settings) -> None:
    for _ in range(3):
        async with served_knowledge(settings):
            await asyncio.sleep(0.01)
    async with await KnowledgeBase.open(settings):
        pass


async def test_the_event_loop_runs_on_while_documents_are_taken_in(settings: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(50):
        (folder / f"{number}.md").write_text("\n\n".join(f"# Part {part}\n\nText {part}." for part in range(20)))
    loop_thread = threading.get_ident()
    seen: set[int] = set()
    beats = 0
    async with await KnowledgeBase.open(settings) as base:
        ingest = asyncio.create_task(
            base.ingest([folder], progress=lambda done, files, name: seen.add(threading.get_ident()))
        )
        while not ingest.done():
            await asyncio.sleep(0)
            beats += 1
    assert (await ingest).chunks == 1000
    assert beats > 100
    assert len(seen) == 1
    assert loop_thread not in seen


def ready(http: httpx.Client) -> Callable[[], bool]:
    return lambda: http.get("/readyz").status_code == 200


def test_a_service_answers_from_the_documents_that_it_took_in_at_its_start(
    tmp_path: Path, mongo_uri: str, documents: Path
) -> None:
    environment = {
        "MONGODB_URI": mongo_uri,
        "DATABASE_NAME": f"knowledge_{os.getpid()}",
        "KNOWLEDGE_PATHS": str(documents),
        "RETRIEVAL": "step",
        "DEMO_DELAY": "0",
    }
    with running(tmp_path, free_port(), **environment) as process:
        assert eventually(ready(process.http), 20)
        eventually(lambda: "documents taken in" in process.log(), 60)
        answer = process.http.post("/api/chat", json={"query": "How long do I knead the dough?"}).raise_for_status()
        assert "ten minutes" in answer.json()["response_text"]
        assert answer.json()["chunks"][0]["source_file"] == "guide/bread/dough.md"
        assert "Traceback" not in process.log()


def test_nothing_of_the_extra_is_imported_before_a_knowledge_base_is_opened() -> None:
    extra = ("bs4", "cohere", "numpy", "pypdf", "qdrant_client", "snowballstemmer", "wordllama")
    look = f"import sys, chat_service.__main__; print([name for name in {extra} if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout.strip() == "[]"
