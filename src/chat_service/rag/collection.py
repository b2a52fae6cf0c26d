"""One collection in Qdrant, in the shapes of :mod:`~chat_service.rag.records`. Blocks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from qdrant_client import QdrantClient, models

from .chunking import DocumentChunk
from .embedders import Vectors
from .one_commit import one_commit
from .records import (
    ABOUT,
    About,
    FileRecord,
    chunk_of,
    chunk_payload,
    packed,
    point_of_chunk,
    point_of_file,
    unpacked,
)
from .terms import Weights

__all__ = ["Collection", "EmbeddedChunk"]

_PAGE = 256
_INDEXED = {
    "kind": "keyword",
    "source_file": "keyword",
    "module_name": "keyword",
    "section": "keyword",
    "live": "bool",
}


@dataclass(frozen=True, slots=True)
class EmbeddedChunk:
    """A chunk with what it is found by."""

    chunk: DocumentChunk
    dense: Vectors
    words: Weights


class Collection:
    """What is known of the documents at one time. One of two, see :class:`~chat_service.rag.store.Store`."""

    def __init__(self, client: QdrantClient, name: str, *, is_remote: bool) -> None:
        self.client = client
        self.name = name
        self.is_remote = is_remote

    def about(self) -> About | None:
        """What it remembers of itself; nothing, when it was not made to its end."""
        found = self.client.retrieve(self.name, [ABOUT])
        return About.of(found[0].payload or {}) if found else None

    def is_like(self, about: About) -> bool:
        """Whether it was made by the same embedder, with the same dimension and layout."""
        own = self.about()
        return own is not None and (own.embedder, own.dimension, own.layout) == (
            about.embedder,
            about.dimension,
            about.layout,
        )

    def prepare(self, about: About) -> None:
        """Write down what it is, and make the indexes that a server needs."""
        if self.is_remote:
            for name, kind in _INDEXED.items():
                self.client.create_payload_index(self.name, name, models.PayloadSchemaType(kind), wait=True)
        self.remember(about)

    def remember(self, about: About) -> None:
        """Write down what it is."""
        self.client.upsert(self.name, [models.PointStruct(id=ABOUT, vector={}, payload=about.payload())], wait=True)

    def files(self) -> dict[str, FileRecord]:
        """The files whose chunks count, by name."""
        records = (FileRecord.of(point.payload or {}) for point in self._scrolled(_is("kind", "file")))
        return {record.source_file: record for record in records}

    def stage(self, version: str, chunks: Sequence[EmbeddedChunk]) -> None:
        """Write chunks of a version that does not count yet."""
        points = [
            models.PointStruct(
                id=point_of_chunk(each.chunk.source_file, version, each.chunk.ordinal),
                vector=self._vectors(each),
                payload=chunk_payload(each.chunk, version) | ({} if self.is_remote else {"words": packed(each.words)}),
            )
            for each in chunks
        ]
        if points:
            with one_commit(self.client, self.name):
                self.client.upsert(self.name, points, wait=True)

    def _vectors(self, each: EmbeddedChunk) -> dict[str, Any]:
        vectors: dict[str, Any] = {"dense": each.dense.tolist()}
        if self.is_remote:
            vectors["words"] = models.SparseVector(indices=list(each.words), values=list(each.words.values()))
        return vectors

    def publish(self, record: FileRecord, before: FileRecord | None) -> None:
        """Let a version of a file count, and no earlier one: in one request, which is carried out whole."""
        new = record.points
        old = sorted(set(before.points if before else ()) - set(new))
        point = models.PointStruct(id=point_of_file(record.source_file), vector={}, payload=record.payload())
        operations: list[Any] = [models.UpsertOperation(upsert=models.PointsList(points=[point]))]
        if new and self.is_remote:  # the embedded store goes by the record alone
            live = models.SetPayload(payload={"live": True}, points=list(new))
            operations.append(models.SetPayloadOperation(set_payload=live))
        if old:
            operations.append(models.DeleteOperation(delete=models.PointIdsList(points=list(old))))
        with one_commit(self.client, self.name):
            self.client.batch_update_points(self.name, operations, wait=True)

    def remove(self, record: FileRecord) -> None:
        """Forget a file: first that it counts, then its chunks."""
        with one_commit(self.client, self.name):
            for points in ([point_of_file(record.source_file)], record.points):
                if points:
                    self.client.delete(self.name, models.PointIdsList(points=list(points)), wait=True)

    def vectors_of(self, record: FileRecord) -> dict[str, Vectors]:
        """The vectors of a file's chunks, by the hash of what was embedded."""
        known: dict[str, Vectors] = {}
        points = record.points
        for start in range(0, len(points), _PAGE):
            page = self.client.retrieve(
                self.name, points[start : start + _PAGE], with_payload=["content_hash"], with_vectors=["dense"]
            )
            for point in page:
                known[(point.payload or {})["content_hash"]] = _dense(point)
        return known

    def sweep(self, files: dict[str, FileRecord]) -> None:
        """Remove the chunks of versions that do not count: what a killed ingest left."""
        idle = []
        for point in self._scrolled(_is("kind", "chunk"), ["source_file", "version"], []):
            payload = point.payload or {}
            record = files.get(payload["source_file"])
            if record is None or record.version != payload["version"]:
                idle.append(point.id)
        with one_commit(self.client, self.name):
            for start in range(0, len(idle), _PAGE):
                self.client.delete(self.name, models.PointIdsList(points=idle[start : start + _PAGE]), wait=True)

    def chunks(self) -> Iterator[tuple[FileRecord, EmbeddedChunk]]:
        """All chunks that count, each with the record of its file."""
        files = self.files()
        for point in self._scrolled(_is("kind", "chunk"), True, True):
            payload = point.payload or {}
            record = files.get(payload["source_file"])
            if record and record.version == payload["version"]:
                yield record, EmbeddedChunk(chunk_of(payload), _dense(point), _words(point))

    def count_terms(self) -> None:
        """Write down how many chunks hold each term: a server does not tell."""
        about = self.about()
        assert about
        counts: Counter[str] = Counter()
        documents = 0
        for point in self._scrolled(_is("live", True), [], ["words"]):
            counts.update(map(str, _words(point)))
            documents += 1
        self.remember(replace(about, documents=documents, terms=dict(counts)))

    def _scrolled(
        self, chosen: models.FieldCondition, payload: list[str] | bool = True, vectors: list[str] | bool = False
    ) -> Iterator[models.Record]:
        """Page by page: larger ones where the store goes through everything for each."""
        offset = None
        while True:
            page, offset = self.client.scroll(
                self.name,
                models.Filter(must=[chosen]),
                limit=_PAGE if self.is_remote else 8 * _PAGE,
                offset=offset,
                with_payload=payload or False,
                with_vectors=vectors or False,
            )
            yield from page
            if offset is None:
                return


def _is(name: str, value: str | bool) -> models.FieldCondition:
    return models.FieldCondition(key=name, match=models.MatchValue(value=value))


def _dense(point: models.Record | models.ScoredPoint) -> Vectors:
    assert isinstance(point.vector, dict)
    return np.asarray(point.vector["dense"], dtype=np.float32)


def _words(point: models.Record) -> Weights:
    if packing := (point.payload or {}).get("words"):
        return unpacked(packing)
    assert isinstance(point.vector, dict)
    words = point.vector["words"]
    assert isinstance(words, models.SparseVector)
    return dict(zip(words.indices, words.values, strict=True))
