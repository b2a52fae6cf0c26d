"""What makes vectors of texts: the seam, and the model that comes with its package."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .calibration import Calibration
from .errors import EmbedderError

if TYPE_CHECKING:
    from wordllama.inference import WordLlamaInference  # type: ignore[import-untyped]

__all__ = ["Embedder", "OfflineEmbedder", "Vectors"]

Vectors: TypeAlias = NDArray[np.float32]
"""One of length 1 in each row, or a single one."""


class Embedder(Protocol):
    """Makes vectors of texts. Blocks; may be called from several threads."""

    name: str
    """Vectors of different names cannot be compared."""
    calibration: Calibration
    """How to judge by its vectors whether there is an answer."""

    def dimension(self) -> int:
        """How many numbers a vector has."""

    def of_documents(self, texts: Sequence[str]) -> Vectors:
        """A row for each text.

        Raises:
            EmbedderError: It cannot be done now.
        """

    def of_question(self, text: str) -> Vectors:
        """The vector of a question.

        Raises:
            EmbedderError: It cannot be done now.
        """

    def close(self) -> None:
        """Let go of what it holds."""


class OfflineEmbedder:
    """The model whose weights come inside the package ``wordllama``. Needs no network, ever."""

    name = "wordllama/l2_supercat_256"
    calibration = Calibration(similarity=12.6, evidence=4.8, unknown=-6.9, constant=-7.1, usual=0.4)

    def __init__(self) -> None:
        """Load the model, which takes half a second.

        Raises:
            EmbedderError: The package is not installed, or not whole.
        """
        found = find_spec("wordllama")
        if not found or not found.origin:
            raise EmbedderError("EMBEDDINGS: offline needs the package wordllama. Install the extra rag.")
        with _logging_left_alone():
            from wordllama import WordLlama  # type: ignore[import-untyped]

            try:
                self._model: WordLlamaInference = WordLlama.load(
                    cache_dir=Path(found.origin).parent, disable_download=True
                )
            except (OSError, ValueError) as error:
                raise EmbedderError("EMBEDDINGS: the package wordllama lacks its weights. Install it anew.") from error

    def dimension(self) -> int:
        """How many numbers a vector has."""
        return int(self._model.embedding.shape[1])

    def of_documents(self, texts: Sequence[str]) -> Vectors:
        """A row for each text."""
        return unit(np.asarray(self._model.embed(list(texts), norm=False), dtype=np.float32))

    def of_question(self, text: str) -> Vectors:
        """The vector of a question."""
        row: Vectors = self.of_documents([text])[0]
        return row

    def close(self) -> None:
        """There is nothing to let go of."""


def unit(rows: Vectors) -> Vectors:
    """Rows of length 1. A row of zeros, as of a text without words, stays: it is like nothing."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    scaled: Vectors = np.nan_to_num(rows / np.where(lengths == 0, 1, lengths)).astype(np.float32)
    return scaled


@contextmanager
def _logging_left_alone() -> Iterator[None]:
    """The package configures the root logger when it is imported, which is the application's business."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
