"""Files become chunks that can be found. Only what has changed is embedded again; what has vanished is removed.

A file is read to its end before anything of it is written, and its chunks begin to count together. What was done when a
run is killed is done, and the next run goes on from there.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from .chunking import LAYOUT, DocumentChunk, chunked, embedded_text
from .collection import Collection, EmbeddedChunk
from .documents import sections_of
from .embedders import Embedder
from .errors import IngestStopped
from .ingest_report import Ingested, Progress
from .records import FileRecord
from .sections import UnreadableError
from .sources import Document, Listing, Problem
from .terms import document_weights

__all__ = ["Run"]

_BATCH = 256
"""Chunks that are embedded and written at once."""
_ABANDONED = 3600.0
"""Seconds after which nobody works any more on an ingest into a server that has not ended."""


@dataclass(frozen=True, slots=True)
class _Read:
    """A file that was read to its end."""

    record: FileRecord
    chunks: list[DocumentChunk]


class Run:
    """One ingest into one collection. Blocks."""

    def __init__(
        self,
        listing: Listing,
        collection: Collection | None,
        embedder: Embedder | None,
        *,
        published: Callable[[str, Sequence[EmbeddedChunk]], None] | None = None,
        progress: Progress | None = None,
        is_stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        """Prepare it.

        Args:
            listing: The files that there are.
            collection: Where to; ``None`` when there is none yet, for a dry run.
            embedder: ``None`` for a dry run.
            published: Told of each file whose chunks have begun to count, with them; ``None`` if nobody keeps them.
            progress: Told how far it is.
            is_stopped: Asked from time to time.
        """
        self._listing = listing
        self._collection = collection
        self._embedder = embedder
        self._published = published
        self._progress = progress
        self._is_stopped = is_stopped
        self._files: dict[str, FileRecord] = {}
        self._started = self._began = time.time()
        self.report = Ingested(problems=list(listing.problems), is_dry=embedder is None)

    def go(self, *, forget: Iterable[str] = ()) -> Ingested:
        """Do it.

        Args:
            forget: Names of paths whose files are removed, though they are there.

        Raises:
            KnowledgeBaseError: The embedder or the store fails. What was done so far stays.
            IngestStopped: It was told to stop.
        """
        began = time.monotonic()
        self._begin()
        documents = self._listing.documents
        for done, document in enumerate(documents):
            if self._progress:
                self._progress(done, len(documents), document.source_file)
            self._take(document)
        if self._progress:
            self._progress(len(documents), len(documents), "")
        self._remove_vanished(frozenset(forget))
        self._end()
        self.report.seconds = round(time.monotonic() - began, 3)
        return self.report

    def _begin(self) -> None:
        if not self._collection:
            return
        self._files = self._collection.files()
        about = self._collection.about()
        if self._embedder and about:
            if about.unfinished and (not self._collection.is_remote or self._began - about.unfinished > _ABANDONED):
                self._collection.sweep(self._files)
            elif about.unfinished:  # maybe somebody else is at work: what he has written is not to be touched
                self._began = about.unfinished
            self._collection.remember(replace(about, unfinished=self._began))

    def _end(self) -> None:
        if not self._collection or not self._embedder:
            return
        if self._collection.is_remote and (self.report.added or self.report.changed or self.report.removed):
            self._collection.count_terms()
        about = self._collection.about()
        if about and about.unfinished >= self._started:
            self._collection.remember(replace(about, unfinished=0.0))

    def _take(self, document: Document) -> None:
        known = self._files.get(document.source_file)
        try:
            data = document.path.read_bytes()
            version = _version(document, data)
            if known and known.version == version:
                self._keep(known, document)
                return
            chunks = list(chunked(sections_of(document.kind, data), document.source_file, document.module_name))
        except UnreadableError as error:
            self._refuse(document, error.reason, error.remedy)
            return
        except OSError as error:
            self._refuse(document, f"it cannot be read ({error.strerror})", "Look at its permissions")
            return
        if not chunks:
            self._refuse(document, "it holds no text", "Remove it, or run text recognition if it is a scan")
        if chunks or known:
            record = FileRecord(document.source_file, document.root, version, len(chunks))
            self._write(_Read(record, chunks), known)

    def _refuse(self, document: Document, reason: str, remedy: str) -> None:
        self.report.problems.append(Problem(str(document.path), reason, remedy, document.source_file))

    def _keep(self, known: FileRecord, document: Document) -> None:
        self.report.unchanged.append(known.source_file)
        self.report.chunks += known.chunks
        if known.root != document.root and self._collection and self._embedder:
            self._collection.publish(replace(known, root=document.root), known)

    def _write(self, read: _Read, known: FileRecord | None) -> None:
        (self.report.changed if known else self.report.added).append(read.record.source_file)
        self.report.chunks += len(read.chunks)
        reusable = self._collection.vectors_of(known) if known and self._collection else {}
        staged: list[EmbeddedChunk] = []
        for batch in _batches(read.chunks):
            if self._is_stopped():
                raise IngestStopped("The ingest was stopped. What was done is done; the next one goes on from there.")
            self.report.reused += sum(chunk.content_hash in reusable for chunk in batch)
            self.report.embedded += sum(chunk.content_hash not in reusable for chunk in batch)
            if self._embedder and self._collection:
                embedded = _embedded(batch, reusable, self._embedder)
                self._collection.stage(read.record.version, embedded)
                staged += embedded if self._published else []
        if self._embedder and self._collection:
            self._collection.publish(read.record, known)
            self._files[read.record.source_file] = read.record
            if self._published:
                self._published(read.record.source_file, staged)

    def _remove_vanished(self, forget: frozenset[str]) -> None:
        """Remove what is not there any more. A file that is there but cannot be read keeps what was known of it."""
        there = {document.source_file for document in self._listing.documents}
        there |= {problem.source_file for problem in self._listing.problems}
        for name, record in list(self._files.items()):
            is_gone = record.root in self._listing.roots and name not in there
            if not (is_gone or record.root in forget):
                continue
            self.report.removed.append(name)
            if self._embedder and self._collection:
                self._collection.remove(record)
                if self._published:
                    self._published(name, ())


def _version(document: Document, data: bytes) -> str:
    place = f"{LAYOUT}\0{document.kind}\0{document.module_name}\0".encode()
    return hashlib.sha256(place + data).hexdigest()[:32]


def _batches(chunks: Sequence[DocumentChunk]) -> Iterator[list[DocumentChunk]]:
    rest = iter(chunks)
    while batch := list(islice(rest, _BATCH)):
        yield batch


def _embedded(batch: Sequence[DocumentChunk], reusable: dict[str, Any], embedder: Embedder) -> list[EmbeddedChunk]:
    new = {chunk.content_hash: embedded_text(chunk) for chunk in batch if chunk.content_hash not in reusable}
    vectors = dict(zip(new, embedder.of_documents(list(new.values())), strict=True)) if new else {}
    return [
        EmbeddedChunk(
            chunk,
            reusable[chunk.content_hash] if chunk.content_hash in reusable else vectors[chunk.content_hash],
            document_weights(chunk.section_heading, chunk.asked or chunk.text),
        )
        for chunk in batch
    ]
