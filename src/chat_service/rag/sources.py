"""Which files there are to read: paths become documents. What is left out for a reason is told."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["SUFFIXES", "Document", "Listing", "Problem", "listed"]

SUFFIXES = {
    ".md": "markdown",
    ".markdown": "markdown",
    ".mdx": "markdown",
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    ".pdf": "pdf",
    ".txt": "text",
    ".text": "text",
    ".rst": "text",
}
"""How a file is read, by the end of its name."""

_LARGEST = 100_000_000  # bytes
_NEVER = frozenset({"node_modules", "__pycache__"})


@dataclass(frozen=True, slots=True)
class Problem:
    """A file that was left out, and what its owner can do about it.

    Attributes:
        file: Its path.
        reason: What is wrong with it.
        remedy: What to do.
        source_file: Its name in the knowledge base, where it has one: what is known of it stays.
    """

    file: str
    reason: str
    remedy: str
    source_file: str = ""

    def __str__(self) -> str:
        return f"{self.file}: {self.reason}. {self.remedy}."


@dataclass(frozen=True, slots=True)
class Document:
    """A file to read.

    Attributes:
        path: Where it lies.
        root: The name of the path that it was found under. What vanishes is looked for under the same name.
        source_file: Its name in the knowledge base: the root's name and the path below it, with slashes.
        module_name: The first folder below the root, or the root itself.
    """

    path: Path
    root: str
    source_file: str
    module_name: str

    @property
    def kind(self) -> str:
        """How it is read: a value of :data:`SUFFIXES`."""
        return SUFFIXES[self.path.suffix.lower()]


@dataclass(frozen=True, slots=True)
class Listing:
    """What was found under some paths.

    Attributes:
        documents: Each file once, in the order of the paths, then of the names.
        problems: What was left out, but for what is hidden and what is no document.
        roots: The names of the paths that could be looked through to their end: what is not listed under them has
            vanished. A folder without a document is not among them: maybe its disk is not there.
    """

    documents: tuple[Document, ...]
    problems: tuple[Problem, ...]
    roots: frozenset[str]


def listed(paths: Sequence[Path]) -> Listing:
    """Look through files and folders. Blocks.

    Hidden files and folders are left out, and so are links that lead out of the folder that they were found in.

    Args:
        paths: Each with a name of its own: by that its files are known, wherever it lies.
    """
    gathering = _Gathering()
    for path in paths:
        gathering.look_through(path)
    return Listing(tuple(gathering.documents.values()), tuple(gathering.problems), frozenset(gathering.roots))


class _Gathering:
    """What was found so far."""

    def __init__(self) -> None:
        self.documents: dict[str, Document] = {}
        self.problems: list[Problem] = []
        self.roots: set[str] = set()
        self._taken: set[Path] = set()

    def look_through(self, path: Path) -> None:
        root = Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow a link and lose its name
        if not root.exists():
            self.problems.append(Problem(str(path), "there is no such file or folder", "Correct the path"))
            return
        unread: list[Problem] = []
        found = list(_files(root, unread))
        for each in found:
            self._take(each)
        self.problems += unread
        if not found and not unread:
            self.problems.append(Problem(str(path), "there is no document in it", f"These are: {', '.join(SUFFIXES)}"))
        elif not unread:
            self.roots.add(root.name)

    def _take(self, found: Document | Problem) -> None:
        if isinstance(found, Problem):
            self.problems.append(found)
            return
        real = found.path.resolve()
        if real in self._taken:  # one path lies below another, or a link shows a file under a second name
            return
        if found.source_file in self.documents:
            self.problems.append(
                Problem(
                    str(found.path),
                    f"another file is known as {found.source_file} already",
                    "Ingest the folder above both, so that their names differ",
                )
            )
            return
        self._taken.add(real)
        self.documents[found.source_file] = found


def _files(root: Path, unread: list[Problem]) -> Iterator[Document | Problem]:
    if not root.is_dir():
        yield _document(root, root)
        return

    def refused(error: OSError) -> None:
        unread.append(
            Problem(_shown(error.filename), f"the folder cannot be read ({error.strerror})", "Change its permissions")
        )

    for folder, folders, names in os.walk(root, onerror=refused):
        folders[:] = sorted(name for name in folders if _is_shown(name))
        for name in folders:
            if Path(folder, name).is_symlink():
                yield Problem(
                    str(Path(folder, name)), "this folder is a link", "Ingest what it leads to by its own path"
                )
        for name in sorted(filter(_is_shown, names)):
            if Path(name).suffix.lower() in SUFFIXES:
                yield _document(Path(folder, name), root)


def _is_shown(name: str) -> bool:
    return not name.startswith(".") and name not in _NEVER


def _document(path: Path, root: Path) -> Document | Problem:
    below = path.relative_to(root).parts if root != path else ()
    name = "/".join([root.name, *below])
    try:
        os.fsencode(path).decode()
    except UnicodeDecodeError:
        return Problem(_shown(path), "its name is not UTF-8", "Rename it")
    try:
        problem = _problem(path, root)
    except OSError as error:
        problem = f"it cannot be read ({error.strerror})", "Look at its permissions, or where it leads"
    if problem:
        return Problem(str(path), *problem, name)
    return Document(path, root.name, name, below[0] if len(below) > 1 else root.name)


def _problem(path: Path, root: Path) -> tuple[str, str] | None:
    """What is wrong with a file, and what to do about it."""
    if path.suffix.lower() not in SUFFIXES:
        return "this kind of file is not read", f"These are: {', '.join(SUFFIXES)}"
    if path != root and not path.resolve(strict=True).is_relative_to(root.resolve()):
        return "it is a link that leads out of its folder", "Ingest what it leads to by its own path"
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        return "it is no regular file", "Put a file in its place"
    if status.st_size > _LARGEST:
        return f"it is larger than {_LARGEST // 1_000_000} MB", "Split it"
    return None


def _shown(path: str | Path) -> str:
    """A path as it can be printed, whatever bytes are in it."""
    return os.fsencode(path).decode(errors="backslashreplace")
