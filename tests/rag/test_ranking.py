from __future__ import annotations

import numpy as np
import pytest
from qdrant_client import QdrantClient, models

from chat_service.rag.calibration import Calibration
from chat_service.rag.candidates import Candidate, Candidates, Question
from chat_service.rag.chunking import DocumentChunk, chunked, embedded_text
from chat_service.rag.collection import EmbeddedChunk
from chat_service.rag.embedders import OfflineEmbedder
from chat_service.rag.markdown import markdown_sections
from chat_service.rag.memory_index import MemoryIndex
from chat_service.rag.passages import Mode
from chat_service.rag.ranking import ranked, signals_of
from chat_service.rag.records import packed, unpacked
from chat_service.rag.terms import UNKNOWN, document_weights, question_terms, terms_of

CALIBRATION = Calibration(similarity=10.0, evidence=5.0, unknown=-1.0, constant=-6.0, usual=0.4)


def chunk(name: str, asked: str = "") -> DocumentChunk:
    return DocumentChunk(name, "a.md", "docs", "", name, "a.md", name, 0, f"section of {name}", asked)


def candidate(name: str, cosine: float, weight: float, asked: str = "") -> Candidate:
    return Candidate(chunk(name, asked), cosine, weight)


def test_identifiers_are_found_whole_and_by_their_parts_and_words_by_their_stem() -> None:
    assert len(set(terms_of("MAX_POOL_SIZE"))) == 4
    assert set(terms_of("pool size")) < set(terms_of("MAX_POOL_SIZE"))
    assert list(terms_of("connections")) == list(terms_of("connection")) == list(terms_of("Connected"))
    assert "session" in terms_of("SessionBusyError")
    assert list(terms_of("What is the?")) == []
    assert list(terms_of("東京都")) == ["東京", "京都"]


def test_a_word_of_the_heading_weighs_more_and_one_said_often_less_and_less() -> None:
    weights = document_weights("bees", "bees honey honey honey")
    bee, honey = (question_terms(word) for word in ("bees", "honey"))
    assert weights[min(bee)] > weights[min(honey)] > document_weights("", "bees honey")[min(honey)]
    assert document_weights("", "honey " * 1000)[min(honey)] < 2.2


def test_packed_weights_come_back() -> None:
    weights = document_weights("A heading", "Some text of a chunk.")
    assert unpacked(packed(weights)) == pytest.approx(weights)
    assert unpacked(packed({})) == {}


def test_the_order_is_that_of_the_scores_in_each_mode() -> None:
    near, heavy, both = candidate("near", 0.8, 0.0), candidate("heavy", 0.1, 1.8), candidate("both", 0.6, 1.2)
    found = Candidates((near, both), (heavy, both), (), {1: 1.0})
    order = {
        mode: [each.candidate.chunk.chunk_id for each in ranked(found, mode)] for mode in ("dense", "sparse", "hybrid")
    }
    assert order == {"dense": ["near", "both"], "sparse": ["heavy", "both"], "hybrid": ["both", "heavy", "near"]}
    assert all(0 <= each.similarity <= 1 for each in ranked(found, "hybrid"))


@pytest.mark.parametrize("mode", ["dense", "sparse", "hybrid"])
def test_a_question_that_a_section_answers_lifts_its_chunks_and_is_not_shown_itself(mode: Mode) -> None:
    asked, lifted, other = (
        candidate("a", 0.9, 2.0, "how long"),
        candidate("a", 0.3, 0.6),
        candidate("b", 0.4, 0.8),
    )
    alone = ranked(Candidates((other, lifted), (other, lifted), (), {1: 1.0}), mode)
    together = ranked(Candidates((asked, other), (asked, other), (lifted,), {1: 1.0}), mode)
    assert [each.candidate.chunk.chunk_id for each in alone] == ["b", "a"]
    assert [each.candidate.chunk for each in together] == [lifted.chunk, other.chunk]
    assert together[0].similarity > alone[1].similarity


def test_a_question_never_lowers_a_chunk() -> None:
    best, asked = candidate("a", 0.9, 2.0), candidate("a", 0.1, 0.1, "something else")
    scores = [
        ranked(Candidates((best,), (), beside, {1: 1.0}), "hybrid")[0].similarity for beside in ((), (asked, best))
    ]
    assert scores[0] == scores[1]


def test_support_grows_with_each_signal_and_is_none_without_passages() -> None:
    def support(cosine: float, weight: float, rarity: float = 0.9) -> float:
        found = Candidates((candidate("a", cosine, weight),), (), (), {1: rarity})
        return signals_of(ranked(found, "hybrid"), found, "hybrid", CALIBRATION)["support"]

    assert support(0.1, 0.0) < support(0.5, 0.0) < support(0.5, 1.0) < support(0.9, 2.0)
    assert support(0.5, 1.0, UNKNOWN) < support(0.5, 1.0, 0.99)
    assert signals_of([], Candidates((), (), (), {}), "hybrid", CALIBRATION)["support"] == 0


def test_the_index_in_memory_scores_as_qdrant_does() -> None:
    model = OfflineEmbedder()
    text = "\n\n".join(
        f"# Topic {n}\n\nThe {'bee hive honey bread dough salt'.split()[n % 6]} of topic {n}." for n in range(600)
    )
    chunks = list(chunked(markdown_sections(text), "a.md", "docs"))
    rows = model.of_documents([embedded_text(each) for each in chunks])
    embedded = [
        EmbeddedChunk(each, row, document_weights(each.section_heading, each.text))
        for each, row in zip(chunks, rows, strict=True)
    ]
    index = MemoryIndex()
    index.fill(embedded)
    client = QdrantClient(":memory:")
    client.create_collection(
        "c",
        {"dense": models.VectorParams(size=256, distance=models.Distance.COSINE)},
        {"words": models.SparseVectorParams(modifier=models.Modifier.IDF)},
    )
    client.upsert(
        "c",
        [
            models.PointStruct(
                id=number,
                vector={
                    "dense": each.dense.tolist(),
                    "words": models.SparseVector(indices=list(each.words), values=list(each.words.values())),
                },
            )
            for number, each in enumerate(embedded)
        ],
    )
    asked = "How much honey does topic 42 hold?"
    terms, vector = question_terms(asked), model.of_question(asked)
    found = index.search(Question(vector, terms), 20)
    near = client.query_points("c", vector.tolist(), using="dense", limit=20).points
    words = models.SparseVector(indices=list(terms), values=[1.0] * len(terms))
    heavy = client.query_points("c", words, using="words", limit=20).points
    assert [each.cosine for each in found.by_vector] == pytest.approx([point.score for point in near], abs=1e-5)
    scale = heavy[0].score / found.by_words[0].weight
    assert [each.weight * scale for each in found.by_words] == pytest.approx([point.score for point in heavy], rel=1e-4)
    assert found.by_words[0].chunk.section_heading == embedded[int(heavy[0].id)].chunk.section_heading
    client.close()


def test_a_search_of_nothing_finds_nothing() -> None:
    index = MemoryIndex()
    assert index.search(Question(np.ones(256, np.float32), frozenset({1})), 10).by_vector == ()
    index.fill([])
    assert index.search(Question(None, frozenset()), 10).by_words == ()


async def test_the_root_logger_and_the_network_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    import logging
    import socket

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was asked")

    before = logging.getLogger().handlers[:]
    monkeypatch.setattr(socket.socket, "connect", refuse)
    model = OfflineEmbedder()
    assert model.of_documents(["", "a text"]).shape == (2, model.dimension())
    assert np.isfinite(model.of_question("")).all()
    assert logging.getLogger().handlers == before
