from __future__ import annotations

import asyncio
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from chat_service.config import Settings
from chat_service.rag.errors import IngestStopped, KnowledgeBaseMismatch
from chat_service.rag.knowledge_base import KnowledgeBase
from chat_service.rag.passages import Mode, Retrieved, Retriever

from .conftest import MakeSettings


def sources(found: Retrieved) -> list[str]:
    return [passage.source_file for passage in found.passages]


async def everything(base: KnowledgeBase) -> set[tuple[str, str]]:
    found = await base.retrieve("bees bread hive dough guide honey", top_k=50, threshold=0)
    return {(passage.source_file, passage.chunk_id) for passage in found.passages}


def empty_out(folder: Path) -> None:
    """As if its disk were away."""
    folder.rename(folder.with_name("away"))
    folder.mkdir()


@pytest.mark.parametrize("mode", ["dense", "sparse", "hybrid"])
async def test_a_question_finds_its_passage_in_every_mode(settings: Settings, documents: Path, mode: Mode) -> None:
    async with await KnowledgeBase.open(settings) as base:
        retriever: Retriever = base
        await base.ingest([documents])
        found = await retriever.retrieve("How long do I knead the dough?", mode=mode)
    best = found.passages[0]
    assert (best.source_file, best.module_name) == ("guide/bread/dough.md", "bread")
    assert best.section_heading == "Dough › Kneading"
    assert best.text == "Knead the dough for ten minutes, until it is smooth."
    assert 0 < best.similarity_score <= 1
    assert found.is_supported
    assert {"embed", "search", "total"} <= found.timings.keys()


async def test_a_passage_is_found_by_a_question_that_its_author_named(settings: Settings, documents: Path) -> None:
    (documents / "moon.md").write_text("# Tides\n\n<!-- asked: why does the sea rise -->\n\nThe moon.")
    async with await KnowledgeBase.open(settings) as base:
        await base.ingest([documents])
        found = await base.retrieve("Why does the sea rise?", top_k=10)
    assert found.passages[0].text == "The moon."
    assert len({passage.chunk_id for passage in found.passages}) == len(found.passages)
    assert "asked" not in " ".join(passage.text for passage in found.passages)


async def test_passages_come_best_first_and_no_more_than_asked_for(settings: Settings, documents: Path) -> None:
    async with await KnowledgeBase.open(settings) as base:
        await base.ingest([documents])
        found = await base.retrieve("Where do I put a hive of bees in winter?", top_k=2, threshold=0)
    scores = [passage.similarity_score for passage in found.passages]
    assert len(scores) == 2
    assert scores == sorted(scores, reverse=True)


async def test_what_the_documents_do_not_hold_is_said_to_be_unsupported(settings: Settings, documents: Path) -> None:
    async with await KnowledgeBase.open(settings) as base:
        await base.ingest([documents])
        found = await base.retrieve("Who won the football world cup in 2018?")
        shown = await base.retrieve("Who won the football world cup in 2018?", threshold=0)
    assert (found.is_supported, found.passages) == (False, ())
    assert found.signals["support"] < settings.retrieval_threshold
    assert shown.is_supported
    assert shown.signals == found.signals


async def test_filters_leave_only_a_module_or_a_file(settings: Settings, documents: Path) -> None:
    async with await KnowledgeBase.open(settings) as base:
        await base.ingest([documents])
        by_module = await base.retrieve("dough", module="bees", top_k=10, threshold=0)
        by_source = await base.retrieve("dough", source="guide/index.md", top_k=10, threshold=0)
        by_both = await base.retrieve("dough", module="bees", source="guide/index.md", threshold=0)
        by_unknown = await base.retrieve("dough", module="cheese", threshold=0)
    assert {passage.module_name for passage in by_module.passages} == {"bees"}
    assert sources(by_source) == ["guide/index.md"]
    assert (by_both.passages, by_unknown.passages) == ((), ())


async def test_what_has_not_changed_is_not_embedded_again(settings: Settings, documents: Path) -> None:
    async with await KnowledgeBase.open(settings) as base:
        first = await base.ingest([documents])
        before = await everything(base)
        second = await base.ingest([documents])
        assert await everything(base) == before
    assert (len(first.added), first.embedded, first.chunks) == (3, 5, 5)
    assert (len(second.unchanged), second.embedded, second.chunks) == (3, 0, 5)
    assert (second.added, second.changed, second.removed) == ([], [], [])


async def test_of_a_changed_file_only_the_new_chunks_are_embedded(settings: Settings, documents: Path) -> None:
    async with await KnowledgeBase.open(settings) as base:
        await base.ingest([documents])
        before = await everything(base)
        file = documents / "bees" / "hives.md"
        file.write_text(file.read_text().replace("twelve", "fifteen") + "\n\n## Swarms\n\nCatch a swarm in a box.")
        report = await base.ingest([documents])
        found = await base.retrieve("How much honey do bees eat in winter?")
        after = await everything(base)
    assert (report.changed, report.embedded, report.reused) == (["guide/bees/hives.md"], 2, 1)
    assert "fifteen kilograms" in found.passages[0].text
    assert not any("twelve" in passage.text for passage in found.passages)
    assert len(before - after) == 1  # of an unchanged section the chunk keeps its id
    assert len(after - before) == 2


async def test_what_has_vanished_is_removed_and_other_paths_are_left_alone(
    settings: Settings, documents: Path, tmp_path: Path
) -> None:
    other = tmp_path / "notes.txt"
    other.write_text("Cheese ripens in a cellar.")
    async with await KnowledgeBase.open(settings) as base:
        await base.ingest([documents])
        await base.ingest([other])
        (documents / "bread" / "dough.md").unlink()
        report = await base.ingest([documents])
        found = await base.retrieve("How long do I knead the dough?", threshold=0, top_k=20)
        cheese = await base.retrieve("Where does cheese ripen?")
    assert report.removed == ["guide/bread/dough.md"]
    assert "guide/bread/dough.md" not in sources(found)
    assert sources(cheese)[0] == "notes.txt"


async def test_a_folder_that_is_suddenly_empty_loses_nothing(settings: Settings, documents: Path) -> None:
    async with await KnowledgeBase.open(settings) as base:
        await base.ingest([documents])
        empty_out(documents)
        report = await base.ingest([documents])
        assert sources(await base.retrieve("How long do I knead the dough?"))
    assert [problem.reason for problem in report.problems] == ["there is no document in it"]
    assert not report.removed


async def test_a_file_that_becomes_unreadable_keeps_what_was_known_of_it(settings: Settings, documents: Path) -> None:
    async with await KnowledgeBase.open(settings) as base:
        await base.ingest([documents])
        (documents / "bread" / "dough.md").write_bytes(b"# Dough\n\nKnead \xff\xfe\x80 it.")
        report = await base.ingest([documents])
        found = await base.retrieve("How long do I knead the dough?")
    assert [problem.source_file for problem in report.problems] == ["guide/bread/dough.md"]
    assert "UTF-8" in str(report.problems[0])
    assert found.passages[0].source_file == "guide/bread/dough.md"


async def test_a_file_without_text_is_reported_and_answers_nothing_any_more(
    settings: Settings, documents: Path
) -> None:
    async with await KnowledgeBase.open(settings) as base:
        await base.ingest([documents])
        (documents / "bread" / "dough.md").write_text("\n")
        report = await base.ingest([documents])
        found = await base.retrieve("How long do I knead the dough?", threshold=0, top_k=20)
    assert [problem.reason for problem in report.problems] == ["it holds no text"]
    assert "guide/bread/dough.md" not in sources(found)


async def test_everything_is_there_after_reopening(settings: Settings, documents: Path) -> None:
    async with await KnowledgeBase.open(settings) as base:
        await base.ingest([documents])
        before = await base.retrieve("How long do I knead the dough?")
    async with await KnowledgeBase.open(settings) as base:
        after = await base.retrieve("How long do I knead the dough?")
        again = await base.ingest([documents])
    assert after.passages == before.passages
    assert after.signals == pytest.approx(before.signals)
    assert again.embedded == 0


async def test_a_dry_run_says_what_would_be_done_and_does_nothing(settings: Settings, documents: Path) -> None:
    async with await KnowledgeBase.open(settings, create=False) as base:
        report = await base.ingest([documents], dry_run=True)
    assert (len(report.added), report.chunks, report.embedded, report.is_dry) == (3, 5, 5, True)
    assert not settings.data_dir.exists()
    async with await KnowledgeBase.open(settings) as base:
        await base.ingest([documents])
        (documents / "index.md").unlink()
        (documents / "new.md").write_text("# New\n\nThe queen lays eggs.")
        before = await everything(base)
        report = await base.ingest([documents], dry_run=True)
        assert await everything(base) == before
    assert (report.added, report.removed) == (["guide/new.md"], ["guide/index.md"])


async def test_a_rebuild_holds_its_paths_and_nothing_else(settings: Settings, documents: Path, tmp_path: Path) -> None:
    other = tmp_path / "notes.txt"
    other.write_text("Cheese ripens in a cellar.")
    async with await KnowledgeBase.open(settings) as base:
        await base.ingest([documents])
        for _ in range(3):  # to and fro between the two collections
            report = await base.ingest([other], rebuild=True)
            assert (report.added, report.embedded) == (["notes.txt"], 1)
            assert {source for source, _ in await everything(base)} == {"notes.txt"}
    async with await KnowledgeBase.open(settings) as base:
        assert {source for source, _ in await everything(base)} == {"notes.txt"}
    names = json.loads((settings.data_dir / "qdrant" / "meta.json").read_text())
    assert (len(names["collections"]), len(names["aliases"])) == (1, 1)


async def test_while_a_rebuild_goes_on_the_old_collection_answers(settings: Settings, documents: Path) -> None:
    seen: list[list[str]] = []
    async with await KnowledgeBase.open(settings) as base:
        await base.ingest([documents])
        loop = asyncio.get_running_loop()

        def told(done: int, files: int, name: str) -> None:
            asked = asyncio.run_coroutine_threadsafe(base.retrieve("How long do I knead the dough?"), loop)
            seen.append(sources(asked.result(20)))

        await base.ingest([documents], rebuild=True, progress=told)
    assert len(seen) == 4
    assert all(found[0] == "guide/bread/dough.md" for found in seen)


async def test_another_embedder_is_refused_with_the_command_that_rebuilds(
    settings: Settings, documents: Path, make_settings: MakeSettings
) -> None:
    async with await KnowledgeBase.open(settings) as base:
        await base.ingest([documents])
    other = make_settings(embeddings="cohere", cohere_api_key="key", cohere_url="http://127.0.0.1:1")
    with pytest.raises(KnowledgeBaseMismatch) as refused:
        await KnowledgeBase.open(other)
    for told in ("wordllama", "cohere/", "chat-service ingest --rebuild"):
        assert told in str(refused.value)
    async with await KnowledgeBase.open(settings) as base:  # nothing was spoilt, and nothing is locked
        assert (await base.retrieve("How long do I knead the dough?")).is_supported


async def test_closing_stops_an_ingest_and_the_next_one_goes_on_from_there(settings: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(40):
        (folder / f"{number:02}.md").write_text(f"# Number {number}\n\nThis is the text of file {number}.")
    base = await KnowledgeBase.open(settings)
    await base.ingest([folder / "00.md"])
    ingest: asyncio.Task[object] | None = None
    reached = asyncio.Event()
    loop = asyncio.get_running_loop()

    def told(done: int, files: int, name: str) -> None:
        if done == 5:
            loop.call_soon_threadsafe(reached.set)
            asyncio.run_coroutine_threadsafe(asyncio.sleep(0.2), loop).result(20)  # close() is called meanwhile

    ingest = asyncio.create_task(base.ingest([folder], progress=told))
    await asyncio.wait_for(reached.wait(), 20)
    await base.close()
    with pytest.raises(IngestStopped):
        await ingest
    async with await KnowledgeBase.open(settings) as base:
        report = await base.ingest([folder])
    assert len(report.unchanged) == 5
    assert len(report.added) == 35


async def test_own_documents_take_the_place_of_the_projects(settings: Settings, documents: Path) -> None:
    async with await KnowledgeBase.open(settings) as base:
        default = await base.ingest_default()
        assert default
        assert {"README.md", "docs/service.md"} <= set(default.added)
        found = await base.retrieve("What does SessionBusyError mean?", threshold=0)
        assert {passage.module_name for passage in found.passages} <= {"project", "docs"}
        report = await base.ingest([documents])
        assert set(report.removed) == set(default.added)
        assert await base.ingest_default() is None
        assert {source.split("/")[0] for source, _ in await everything(base)} == {"guide"}


async def test_the_paths_that_are_set_are_taken_by_default(make_settings: MakeSettings, documents: Path) -> None:
    async with await KnowledgeBase.open(make_settings(knowledge_paths=str(documents))) as base:
        report = await base.ingest_default()
    assert report
    assert len(report.added) == 3


async def test_a_link_leads_to_the_section_where_the_documents_are_published(
    make_settings: MakeSettings, documents: Path
) -> None:
    async with await KnowledgeBase.open(make_settings(knowledge_url="https://docs.example.com/v1/")) as base:
        await base.ingest([documents])
        found = await base.retrieve("Where do I put a hive?")
    assert found.passages[0].link == "https://docs.example.com/v1/guide/bees/hives.md#where-to-put-a-hive"
    async with await KnowledgeBase.open(make_settings()) as base:
        found = await base.retrieve("Where do I put a hive?")
    assert found.passages[0].link is None


async def test_the_embedded_store_is_not_written_chunk_by_chunk(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commits: list[str] = []
    connect = sqlite3.connect

    def traced(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*arguments, **options)
        connection.set_trace_callback(lambda command: commits.append(command) if command == "COMMIT" else None)
        return connection

    monkeypatch.setattr(sqlite3, "connect", traced)
    file = tmp_path / "long.md"
    file.write_text("\n\n".join(f"## Part {part}\n\nWhat part {part} says." for part in range(200)))
    async with await KnowledgeBase.open(settings) as base:
        assert (await base.ingest([file])).embedded == 200
        assert 0 < len(commits) < 10
    async with await KnowledgeBase.open(settings) as base:
        assert (await base.ingest([file])).unchanged == ["long.md"]
        assert len((await base.retrieve("What does part 7 say?", top_k=300, threshold=0)).passages) > 50


async def test_ten_thousand_chunks_are_counted_right(settings: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "large"
    folder.mkdir()
    for number in range(100):
        sections = (f"## Section {part} of {number}\n\nWhat part {part} of file {number} says." for part in range(100))
        (folder / f"{number}.md").write_text("\n\n".join(sections))
    async with await KnowledgeBase.open(settings) as base:
        report = await base.ingest([folder])
        assert (report.chunks, report.embedded) == (10_000, 10_000)
        found = await base.retrieve(
            "What does part 42 of file 17 say?", mode="sparse", source="large/17.md", threshold=0
        )
        assert found.passages[0].section_heading == "Section 42 of 17"
        again = await base.ingest([folder])
    assert (again.chunks, again.embedded, len(again.unchanged)) == (10_000, 0, 100)
