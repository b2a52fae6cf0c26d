"""A file becomes sections, whatever its kind."""

from __future__ import annotations

from collections.abc import Iterator

from .html import html_sections
from .markdown import markdown_sections
from .pdf import pdf_sections
from .plain_text import decoded, text_sections
from .sections import Section

__all__ = ["sections_of"]


def sections_of(kind: str, data: bytes) -> Iterator[Section]:
    """Read a file.

    Args:
        kind: ``markdown``, ``html``, ``pdf`` or ``text``.
        data: All of it.

    Raises:
        UnreadableError: It cannot be read. Maybe in the middle, so nothing of it is to be used before its end.
    """
    if kind == "html":
        return html_sections(data)
    if kind == "pdf":
        return pdf_sections(data)
    return markdown_sections(decoded(data)) if kind == "markdown" else text_sections(decoded(data))
