from __future__ import annotations

import os
from pathlib import Path

import pytest

from chat_service.rag.sources import Listing, listed


def names(listing: Listing) -> list[str]:
    return [document.source_file for document in listing.documents]


def reasons(listing: Listing) -> list[str]:
    return [problem.reason for problem in listing.problems]


def test_files_are_known_by_the_last_name_of_their_path(documents: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = ["guide/index.md", "guide/bees/hives.md", "guide/bread/dough.md"]
    assert names(listed([documents])) == expected
    monkeypatch.chdir(documents)
    assert names(listed([Path()])) == expected
    assert names(listed([documents / "bees" / "hives.md"])) == ["hives.md"]
    modules = [document.module_name for document in listed([documents]).documents]
    assert modules == ["guide", "bees", "bread"]


def test_what_is_hidden_or_no_document_is_left_out_silently(documents: Path) -> None:
    for name in (".hidden.md", ".git/notes.md", "node_modules/left/readme.md", "photo.jpg"):
        path = documents / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("text")
    listing = listed([documents])
    assert (len(listing.documents), listing.problems) == (3, ())


def test_a_path_of_another_kind_is_told(documents: Path) -> None:
    (documents / "photo.jpg").write_bytes(b"")
    listing = listed([documents / "photo.jpg", documents / "nowhere"])
    assert reasons(listing) == ["this kind of file is not read", "there is no such file or folder"]


def test_a_link_inside_the_folder_is_followed_once_and_one_that_leads_out_is_told(
    documents: Path, tmp_path: Path
) -> None:
    (tmp_path / "secret.md").write_text("secret")
    (documents / "again.md").symlink_to("index.md")
    (documents / "out.md").symlink_to("../secret.md")
    (documents / "loop").symlink_to(".", target_is_directory=True)
    (documents / "broken.md").symlink_to("nothing.md")
    listing = listed([documents])
    assert len(listing.documents) == 3
    assert sorted(reasons(listing)) == [
        "it cannot be read (No such file or directory)",
        "it is a link that leads out of its folder",
        "this folder is a link",
    ]


def test_a_folder_that_is_mounted_as_links_is_read(tmp_path: Path) -> None:
    """As Kubernetes mounts a ConfigMap."""
    mounted = tmp_path / "mounted"
    (mounted / "..2026").mkdir(parents=True)
    (mounted / "..2026" / "page.md").write_text("text")
    (mounted / "..data").symlink_to("..2026")
    (mounted / "page.md").symlink_to("..data/page.md")
    assert (names(listed([mounted])), listed([mounted]).problems) == (["mounted/page.md"], ())


def test_special_and_huge_files_are_told_and_never_opened(documents: Path) -> None:
    os.mkfifo(documents / "pipe.md")
    with (documents / "huge.txt").open("wb") as huge:
        huge.truncate(100_000_001)
    assert reasons(listed([documents])) == ["it is larger than 100 MB", "it is no regular file"]


def test_a_file_under_two_paths_is_taken_once(documents: Path) -> None:
    assert names(listed([documents, documents / "bees"])) == names(listed([documents]))


def test_two_files_of_one_name_are_told(documents: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / "guide"
    other.mkdir(parents=True)
    (other / "index.md").write_text("Another index.")
    listing = listed([documents, other])
    assert reasons(listing) == ["another file is known as guide/index.md already"]
    assert len(listing.documents) == 3


def test_a_name_that_is_not_utf8_is_told(documents: Path) -> None:
    Path(os.fsdecode(os.fsencode(documents) + b"/na\xffme.md")).write_text("text")
    (problem,) = listed([documents]).problems
    assert problem.reason == "its name is not UTF-8"
    problem.file.encode()


def test_an_unreadable_folder_is_told_and_nothing_in_it_counts_as_vanished(
    documents: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = os.scandir

    def refuse(path: str) -> object:  # root may read everything
        if Path(path).name == "bees":
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    listing = listed([documents])
    assert reasons(listing) == ["the folder cannot be read (Permission denied)"]
    assert not listing.roots
