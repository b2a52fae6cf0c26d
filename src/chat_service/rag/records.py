"""The shapes of what lies in a collection. No I/O.

A collection holds three kinds of points::

    chunk   {kind, chunk_id, source_file, module_name, section_heading, text, link, content_hash, ordinal,
             version, live, words?}, with the vectors "dense" and, on a server, "words"
    file    {kind, source_file, root, version, chunks}: the version of a file that counts, and how many chunks it has
    about   {kind, embedder, dimension, layout, unfinished, documents, terms}

The chunks of a new version of a file are written beside those that count. One write of its file record then makes them
count, together. So a file is never half there, whenever a process is killed.

The embedded store would keep a sparse vector as two lists of Python numbers, whose 10,000 times 200 objects each full
collection of garbage visits, for a quarter of a second. There the weights of the words are packed into a text.
"""

from __future__ import annotations

import uuid
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from .chunking import DocumentChunk
from .terms import Weights

__all__ = [
    "ABOUT",
    "About",
    "FileRecord",
    "chunk_of",
    "chunk_payload",
    "packed",
    "point_of_chunk",
    "point_of_file",
    "unpacked",
]

_SPACE = uuid.UUID("8f1c4f0e-6a0b-5d57-9f43-5c1a5b0f8f11")
ABOUT = str(uuid.uuid5(_SPACE, "about"))


@dataclass(frozen=True, slots=True)
class About:
    """What a collection remembers of itself.

    Attributes:
        embedder: The name of what made its vectors.
        dimension: How many numbers they have.
        layout: How files were taken apart.
        unfinished: When an ingest began that has not ended, in seconds since 1970; else 0. There may be chunks that
            belong to nothing.
        documents: How many chunks the counts below were made over.
        terms: How many chunks hold each term, by its number. Empty where the store counts by itself.
    """

    embedder: str
    dimension: int
    layout: int
    unfinished: float = 0.0
    documents: int = 0
    terms: dict[str, int] = field(default_factory=dict)

    def payload(self) -> dict[str, Any]:
        """As it is stored."""
        return {"kind": "about", **asdict(self)}

    @classmethod
    def of(cls, payload: Mapping[str, Any]) -> About:
        """As it was stored."""
        return cls(**{name: payload[name] for name in cls.__slots__})


@dataclass(frozen=True, slots=True)
class FileRecord:
    """The version of a file that counts.

    Attributes:
        source_file: The name of the file.
        root: The name of the path that it was ingested under.
        version: Of its content and of how it is taken apart.
        chunks: How many it has.
    """

    source_file: str
    root: str
    version: str
    chunks: int

    def payload(self) -> dict[str, Any]:
        """As it is stored."""
        return {"kind": "file", **asdict(self)}

    @classmethod
    def of(cls, payload: Mapping[str, Any]) -> FileRecord:
        """As it was stored."""
        return cls(**{name: payload[name] for name in cls.__slots__})

    @property
    def points(self) -> list[str]:
        """The ids of its chunks' points."""
        return [point_of_chunk(self.source_file, self.version, ordinal) for ordinal in range(self.chunks)]


def point_of_file(source_file: str) -> str:
    """The id of a file's record."""
    return str(uuid.uuid5(_SPACE, f"file\0{source_file}"))


def point_of_chunk(source_file: str, version: str, ordinal: int) -> str:
    """The id of a chunk of one version of a file."""
    return str(uuid.uuid5(_SPACE, f"chunk\0{source_file}\0{version}\0{ordinal}"))


def chunk_payload(chunk: DocumentChunk, version: str) -> dict[str, Any]:
    """A chunk as it is stored. It does not count yet."""
    return {"kind": "chunk", **asdict(chunk), "version": version, "live": False}


def packed(words: Weights) -> str:
    """The weights of a chunk's words as a text."""
    terms, weights = np.fromiter(words, "<u4", len(words)), np.fromiter(words.values(), "<f4", len(words))
    return b64encode(terms.tobytes() + weights.tobytes()).decode("ascii")


def unpacked(packing: str) -> Weights:
    """The weights again."""
    data = b64decode(packing)
    half = len(data) // 2
    return dict(
        zip(np.frombuffer(data[:half], "<u4").tolist(), np.frombuffer(data[half:], "<f4").tolist(), strict=True)
    )


def chunk_of(payload: Mapping[str, Any]) -> DocumentChunk:
    """A chunk as it was stored."""
    return DocumentChunk(**{name: payload[name] for name in DocumentChunk.__slots__})
