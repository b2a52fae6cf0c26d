"""A real embedded Qdrant and the real offline model, on a folder of each test's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chat_service.config import Settings

MakeSettings = Callable[..., Settings]


@pytest.fixture
def make_settings(tmp_path: Path) -> MakeSettings:
    """Makes settings with a data folder of this test's own."""

    def make(**changes: Any) -> Settings:
        return Settings(_env_file=None, **{"data_dir": tmp_path / "data", **changes})

    return make


@pytest.fixture
def settings(make_settings: MakeSettings) -> Settings:
    """The defaults."""
    return make_settings()


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    """A folder ``guide`` with two modules."""
    folder = tmp_path / "guide"
    for name, text in {
        "index.md": "# Guide\n\nThis guide explains how to keep bees and how to bake bread.",
        "bees/hives.md": "# Hives\n\n## Where to put a hive\n\nA hive stands in the sun, out of the wind, its "
        "entrance to the south.\n\n## Winter\n\nBees eat twelve kilograms of honey in the winter.",
        "bread/dough.md": "# Dough\n\n## Kneading\n\nKnead the dough for ten minutes, until it is smooth.\n\n"
        "## Rising\n\nLet it rise for an hour at room temperature.",
    }.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder
