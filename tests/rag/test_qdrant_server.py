from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from qdrant_client import models

from chat_service.config import ConfigurationError, Settings, load_settings
from chat_service.rag.errors import StoreUnavailable
from chat_service.rag.knowledge_base import KnowledgeBase
from chat_service.rag.passages import Mode

from .conftest import MakeSettings
from .qdrant_server import KEY, QdrantServer, qdrant_server

QUESTIONS = ["How long do I knead the dough?", "Where does a hive stand?", "How much honey is eaten in winter?"]


@pytest.fixture
def server() -> Iterator[QdrantServer]:
    with qdrant_server() as running:
        yield running


@pytest.fixture
def on_server(server: QdrantServer, make_settings: MakeSettings) -> Settings:
    return make_settings(qdrant_url=server.address)


@pytest.mark.parametrize("mode", ["dense", "sparse", "hybrid"])
async def test_a_server_finds_what_the_embedded_store_finds(
    on_server: Settings, settings: Settings, documents: Path, mode: Mode
) -> None:
    (documents / "moon.md").write_text("# Tides\n\n<!-- asked: why does the sea rise | ebb and flood -->\n\nThe moon.")
    async with await KnowledgeBase.open(on_server) as remote, await KnowledgeBase.open(settings) as embedded:
        await remote.ingest([documents])
        await embedded.ingest([documents])
        for question in (*QUESTIONS, "Why is the sea rising?"):
            there = await remote.retrieve(question, mode=mode, threshold=0)
            here = await embedded.retrieve(question, mode=mode, threshold=0)
            assert [each.chunk_id for each in there.passages] == [each.chunk_id for each in here.passages]
            assert there.signals == pytest.approx(here.signals, abs=1e-4)
            assert [each.similarity_score for each in there.passages] == pytest.approx(
                [each.similarity_score for each in here.passages], abs=1e-3
            )


async def test_filters_are_the_servers(on_server: Settings, documents: Path) -> None:
    async with await KnowledgeBase.open(on_server) as base:
        await base.ingest([documents])
        by_module = await base.retrieve("dough", module="bees", top_k=10, threshold=0)
        by_source = await base.retrieve("dough", source="guide/index.md", threshold=0)
    assert {passage.module_name for passage in by_module.passages} == {"bees"}
    assert [passage.source_file for passage in by_source.passages] == ["guide/index.md"]


async def test_changes_and_removals_reach_the_server(
    server: QdrantServer, on_server: Settings, documents: Path
) -> None:
    async with await KnowledgeBase.open(on_server) as base:
        await base.ingest([documents])
        file = documents / "bees" / "hives.md"
        file.write_text(file.read_text().replace("twelve", "fifteen"))
        (documents / "bread" / "dough.md").unlink()
        report = await base.ingest([documents])
        found = await base.retrieve("How much honey do bees eat in winter?", threshold=0, top_k=20)
    assert (report.changed, report.removed, report.reused) == (["guide/bees/hives.md"], ["guide/bread/dough.md"], 1)
    assert "fifteen" in found.passages[0].text
    points, _ = server.engine.scroll("knowledge", limit=100)
    kinds = [(point.payload or {})["kind"] for point in points]
    assert {kind: kinds.count(kind) for kind in kinds} == {"chunk": 3, "file": 2, "about": 1}


async def test_chunks_that_do_not_count_yet_are_not_found(
    server: QdrantServer, on_server: Settings, documents: Path
) -> None:
    async with await KnowledgeBase.open(on_server) as base:
        await base.ingest([documents])
        points, _ = server.engine.scroll("knowledge", limit=100)
        staged = [point.id for point in points if (point.payload or {}).get("module_name") == "bread"]
        server.engine.set_payload("knowledge", {"live": False}, models.PointIdsList(points=staged).points)
        found = await base.retrieve("How long do I knead the dough?", threshold=0, top_k=20)
    assert found.passages
    assert "bread" not in {passage.module_name for passage in found.passages}


async def test_another_process_sees_a_rebuild(
    on_server: Settings, documents: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "notes.txt"
    other.write_text("Cheese ripens in a cellar.")
    async with await KnowledgeBase.open(on_server) as serving, await KnowledgeBase.open(on_server) as filling:
        await filling.ingest([documents])
        assert (await serving.retrieve(QUESTIONS[0])).is_supported
        await filling.ingest([other], rebuild=True)
        found = await serving.retrieve("Where does cheese ripen?", threshold=0)
    assert [passage.source_file for passage in found.passages] == ["notes.txt"]


async def test_a_server_that_is_away_names_the_setting(make_settings: MakeSettings) -> None:
    with pytest.raises(StoreUnavailable, match=r"^QDRANT_URL: .*reached"):
        await KnowledgeBase.open(make_settings(qdrant_url="http://127.0.0.1:9"))


async def test_a_server_that_refuses_the_key_names_the_setting(
    server: QdrantServer, make_settings: MakeSettings, documents: Path
) -> None:
    server.key = KEY
    with pytest.raises(StoreUnavailable, match=r"^QDRANT_API_KEY: "):
        await KnowledgeBase.open(make_settings(qdrant_url=server.address, qdrant_api_key="wrong"))
    async with await KnowledgeBase.open(make_settings(qdrant_url=server.address, qdrant_api_key=KEY)) as base:
        assert (await base.ingest([documents])).chunks == 5


async def test_a_collection_of_somebody_elses_is_left_alone(server: QdrantServer, on_server: Settings) -> None:
    server.engine.create_collection("knowledge", {"v": models.VectorParams(size=3, distance=models.Distance.DOT)})
    with pytest.raises(StoreUnavailable, match="QDRANT_COLLECTION: knowledge"):
        await KnowledgeBase.open(on_server)
    assert server.engine.collection_exists("knowledge")


async def test_a_search_is_one_request(server: QdrantServer, on_server: Settings, documents: Path) -> None:
    async with await KnowledgeBase.open(on_server) as base:
        await base.ingest([documents])
        await base.retrieve(QUESTIONS[0])
        server.asked.clear()
        await base.retrieve(QUESTIONS[1])
    assert [path.rsplit("/", 2)[-2:] for _, path in server.asked] == [["query", "batch"]]


def test_a_key_without_a_server_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("QDRANT_URL", raising=False)
    monkeypatch.setenv("QDRANT_API_KEY", "secret")
    with pytest.raises(ConfigurationError, match=r"^QDRANT_URL: missing") as refused:
        load_settings()
    assert "secret" not in str(refused.value)
