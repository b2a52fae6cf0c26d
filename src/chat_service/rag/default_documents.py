"""This project's own documentation: what is in a knowledge base that nobody has filled."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from .sources import Document, Listing

__all__ = ["DEFAULT_ROOT", "default_listing"]

DEFAULT_ROOT = "(this project's documentation)"
"""No path has this name."""

_PACKAGED = Path(__file__).parents[1] / "knowledge"
_CHECKOUT = Path(__file__).resolve().parents[3]


def default_listing() -> Listing:
    """The documentation: of the checkout that this runs from, else what the package carries."""
    folder = _CHECKOUT if (_CHECKOUT / "pyproject.toml").is_file() else _PACKAGED
    return Listing(tuple(_documents(folder)), (), frozenset({DEFAULT_ROOT}))


def _documents(folder: Path) -> Iterator[Document]:
    for path in (folder / "README.md", folder / "ARCHITECTURE.md", *sorted((folder / "docs").glob("*.md"))):
        if path.is_file():
            name = path.relative_to(folder).as_posix()
            yield Document(path, DEFAULT_ROOT, name, "docs" if "/" in name else "project")
