"""PDF becomes sections: one a page, under the headings of the document's own outline where it has one."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Iterator
from typing import Any

from pypdf import PdfReader
from pypdf.errors import PyPdfError

from .sections import Block, Section, UnreadableError

__all__ = ["pdf_sections"]

_HYPHENATED = re.compile(r"(?<=[^\W\d_])-\n(?=[^\W\d_])")
_DAMAGED = (PyPdfError, ValueError, KeyError, TypeError, AttributeError, IndexError, AssertionError, RecursionError)
"""What the reader raises over damaged files, besides its own errors."""

logging.getLogger("pypdf").setLevel(logging.ERROR)  # it tells of every oddity, and may quote the file


def pdf_sections(data: bytes) -> Iterator[Section]:
    """Read a document, page by page.

    Raises:
        UnreadableError: It is damaged, or it needs a password.
    """
    try:
        reader = PdfReader(io.BytesIO(data))
        if reader.is_encrypted and not reader.decrypt(""):
            raise UnreadableError("it needs a password", "Save it without one")
        headings = _headings(reader)
        current: tuple[str, ...] = (_title(reader),) if _title(reader) else ()
        for number, page in enumerate(reader.pages):
            current = headings.get(number, current)
            blocks = list(_paragraphs(page.extract_text()))
            if blocks:
                yield Section(current, f"page={number + 1}", blocks)
    except ImportError as error:  # a package that only some encrypted files need
        raise UnreadableError("it is encrypted in a way that is not read", "Save it without encryption") from error
    except _DAMAGED as error:
        raise UnreadableError(
            f"it is no whole PDF ({type(error).__name__})", "Save it anew, or print it to PDF"
        ) from error


def _title(reader: PdfReader) -> str:
    title = reader.metadata.title if reader.metadata else None
    return " ".join(title.split()) if isinstance(title, str) else ""


def _headings(reader: PdfReader) -> dict[int, tuple[str, ...]]:
    """The headings of each page on which one begins."""
    found: dict[int, tuple[str, ...]] = {}

    def walk(entries: list[Any], above: tuple[str, ...]) -> None:
        path = above
        for entry in entries:
            if isinstance(entry, list):
                walk(entry, path)
                continue
            path = (*above, " ".join(str(entry.title).split()))
            number = reader.get_destination_page_number(entry)
            if number is not None and number >= 0:
                found.setdefault(number, path)

    walk(reader.outline, ())
    return found


def _paragraphs(text: str) -> Iterator[Block]:
    text = _HYPHENATED.sub("", text.replace("\x00", ""))
    for paragraph in re.split(r"\n\s*\n", text):
        if shown := " ".join(paragraph.split()):
            yield Block(shown)
