from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from chat_service.config import ConfigurationError, Settings, load_settings
from chat_service.rag.cohere_models import CohereEmbedder
from chat_service.rag.errors import EmbedderError
from chat_service.rag.knowledge_base import KnowledgeBase

from .cohere_server import KEY, CohereServer, cohere_server
from .conftest import MakeSettings
from .http_server import Answered


@pytest.fixture
def cohere() -> Iterator[CohereServer]:
    with cohere_server() as server:
        yield server


@pytest.fixture
def with_cohere(cohere: CohereServer, make_settings: MakeSettings) -> Settings:
    return make_settings(embeddings="cohere", cohere_api_key=KEY, cohere_url=cohere.address)


async def test_documents_and_questions_are_embedded_as_what_they_are(
    cohere: CohereServer, with_cohere: Settings, documents: Path
) -> None:
    async with await KnowledgeBase.open(with_cohere) as base:
        report = await base.ingest([documents])
        found = await base.retrieve("How long do I knead the dough?")
    assert report.embedded == 5
    assert found.passages[0].source_file == "guide/bread/dough.md"
    kinds = [body["input_type"] for body in cohere.bodies("/v2/embed")]
    assert kinds == ["search_query", *["search_document"] * 3, "search_query"]  # the first one tells the dimension


async def test_no_request_has_more_texts_than_are_taken(
    cohere: CohereServer, with_cohere: Settings, tmp_path: Path
) -> None:
    text = "\n\n".join(f"## Part {number}\n\nThis is part {number}." for number in range(200))
    (tmp_path / "long.md").write_text(text)
    async with await KnowledgeBase.open(with_cohere) as base:
        report = await base.ingest([tmp_path / "long.md"])
    assert report.embedded == 200
    sizes = [len(body["texts"]) for body in cohere.bodies("/v2/embed") if body["input_type"] == "search_document"]  # type: ignore[arg-type]
    assert sizes == [96, 96, 8]


async def test_a_rate_limit_is_waited_out_as_long_as_it_says(cohere: CohereServer, with_cohere: Settings) -> None:
    cohere.refusals = [
        Answered(429, {"message": "slow down"}, {"Retry-After": "1"}),
        Answered(503, {"message": "overloaded"}, {"Retry-After": "0"}),
    ]
    with closing(CohereEmbedder(with_cohere)) as embedder:
        assert embedder.of_documents(["a text"]).shape == (1, 256)
    times = [at for at, _ in cohere.asked]
    assert len(times) == 3
    assert times[1] - times[0] >= 1


@pytest.mark.parametrize(
    ("refusal", "remedy"),
    [
        (Answered(429, {"message": "trial key"}, {"Retry-After": "0"}), "COHERE_API_KEY: .*later"),
        (Answered(500, {"message": "secret text"}, {"Retry-After": "0"}), "COHERE_URL: .*500"),
        (Answered(404, {"message": "model"}), "COHERE_MODEL: .*404"),
        (Answered(200, {"id": "1", "embeddings": {"float": []}}), "COHERE_MODEL: .*one embedding"),
    ],
)
def test_what_goes_wrong_names_the_setting_and_quotes_nothing(
    cohere: CohereServer, with_cohere: Settings, refusal: Answered, remedy: str
) -> None:
    cohere.refusals = [refusal] * 10
    with closing(CohereEmbedder(with_cohere)) as embedder, pytest.raises(EmbedderError, match=remedy) as raised:
        embedder.of_question("a question")
    assert not any(quoted in str(raised.value) for quoted in ("secret", KEY, "a question"))


def test_a_wrong_key_is_told_apart(cohere: CohereServer, make_settings: MakeSettings) -> None:
    settings = make_settings(embeddings="cohere", cohere_api_key="wrong", cohere_url=cohere.address)
    with closing(CohereEmbedder(settings)) as embedder, pytest.raises(EmbedderError, match=r"^COHERE_API_KEY: .*valid"):
        embedder.of_question("a question")


def test_a_server_that_is_away_is_told_apart(make_settings: MakeSettings) -> None:
    settings = make_settings(embeddings="cohere", cohere_api_key="k", cohere_url="http://127.0.0.1:9")
    with closing(CohereEmbedder(settings)) as embedder, pytest.raises(EmbedderError, match=r"^COHERE_URL: .*reached"):
        embedder.of_question("a question")


def test_without_a_key_the_settings_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COHERE_API_KEY", raising=False)
    monkeypatch.setenv("EMBEDDINGS", "Cohere")
    with pytest.raises(ConfigurationError, match=r"^COHERE_API_KEY: missing"):
        load_settings()


def test_without_its_package_the_extra_is_named(with_cohere: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cohere", None)
    with pytest.raises(EmbedderError, match="extra cohere"):
        CohereEmbedder(with_cohere)


async def test_an_embedder_that_fails_in_the_middle_leaves_whole_files(
    cohere: CohereServer, with_cohere: Settings, documents: Path
) -> None:
    async with await KnowledgeBase.open(with_cohere) as base:
        await base.ingest([documents / "index.md"])
        cohere.refusals = [Answered(401, {"message": "expired"})] * 9
        with pytest.raises(EmbedderError):
            await base.ingest([documents])
        cohere.refusals = []
        report = await base.ingest([documents])
    assert len(report.unchanged) + len(report.added) == 3


async def test_re_ranking_puts_what_was_found_into_another_order(
    cohere: CohereServer, make_settings: MakeSettings, documents: Path
) -> None:
    settings = make_settings(cohere_api_key=KEY, cohere_url=cohere.address, cohere_rerank_model="rerank-v3.5")
    async with await KnowledgeBase.open(settings) as base:
        await base.ingest([documents])
        found = await base.retrieve("at room temperature", threshold=0)
        none = await base.retrieve("zebras, zebras", threshold=0.4)
    assert found.passages[0].section_heading == "Dough › Rising"
    assert "rerank" in found.timings
    assert found.signals["support"] == pytest.approx(found.passages[0].similarity_score, abs=1e-3)
    assert not none.is_supported
    body, _ = cohere.bodies("/v2/rerank")
    assert (body["query"], len(body["documents"])) == ("at room temperature", 5)  # type: ignore[arg-type]
