"""What readers see of a passage: under its number, with an excerpt, in events, in answers and with stored messages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict

from .passages import Passage

__all__ = ["Chunk", "chunk_of", "chunks_of", "kept_with"]

_LONGEST_EXCERPT = 400  # characters
_LONGEST_NAME = 300
_LONGEST_LINK = 500
_FIELD = "passages"


class Chunk(TypedDict):
    """A passage that was found for an answer, as ``[number]`` cites it there."""

    number: int
    chunk_id: str
    source_file: str
    module_name: str
    section_heading: str
    similarity_score: float
    link: str | None
    excerpt: str


_CHUNKS = TypeAdapter(list[Chunk])


def chunk_of(number: int, passage: Passage) -> Chunk:
    """A passage under a number. However long it is, this is short."""
    return Chunk(
        number=number,
        chunk_id=passage.chunk_id[:_LONGEST_NAME],
        source_file=_shown(passage.source_file, _LONGEST_NAME),
        module_name=_shown(passage.module_name, _LONGEST_NAME),
        section_heading=_shown(passage.section_heading, _LONGEST_NAME),
        similarity_score=round(min(1.0, max(0.0, passage.similarity_score)), 4),
        link=passage.link if passage.link and len(passage.link) <= _LONGEST_LINK else None,
        excerpt=_shown(passage.text, _LONGEST_EXCERPT),
    )


def kept_with(message: Any, chunks: list[Chunk]) -> None:
    """Put chunks into a message, where the SDK keeps what is stored with it and never shown to a model.

    Args:
        message: Changed.
        chunks: What was found for it.
    """
    message.setdefault("metadata", {}).setdefault("custom", {})[_FIELD] = chunks


def chunks_of(message: Mapping[str, Any]) -> list[Chunk]:
    """The chunks that were stored with a message; none where there are none, or something else in their place."""
    metadata = message.get("metadata")
    custom = metadata.get("custom") if isinstance(metadata, Mapping) else None
    kept = custom.get(_FIELD) if isinstance(custom, Mapping) else None
    try:
        return _CHUNKS.validate_python(kept or [])
    except ValidationError:  # of another program
        return []


def _shown(text: str, longest: int) -> str:
    text = text.encode("utf-8", "replace").decode().strip()
    if len(text) <= longest:
        return text
    cut = text[:longest]
    return f"{cut.rsplit(None, 1)[0] if any(map(str.isspace, cut)) else cut} …"
