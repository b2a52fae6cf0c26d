"""Cohere: embeddings and re-ranking over the network, by the official client."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal

import numpy as np
from httpx import Client, HTTPError

from .calibration import Calibration
from .embedders import Vectors, unit
from .errors import EmbedderError
from .settings import RetrievalSettings

if TYPE_CHECKING:
    from cohere import ClientV2
    from cohere.core.request_options import RequestOptions

__all__ = ["CohereEmbedder", "CohereReranker"]

_ADDRESS = "https://api.cohere.com"
_MOST_TEXTS = 96  # that Cohere takes at once
_PATIENT: RequestOptions = {"max_retries": 6, "timeout": 60}
"""For documents. The client waits as long as ``Retry-After`` says, else longer from time to time."""
_HURRIED: RequestOptions = {"max_retries": 1, "timeout": 10}
"""For a question: somebody waits for the answer."""


class CohereEmbedder:
    """One of Cohere's models for embeddings."""

    calibration = Calibration(similarity=25.0, evidence=0.0, unknown=0.0, constant=-7.0, usual=0.5)
    """By hand: its cosines are about 0.3 for what has nothing to do with a question, and 0.5 and more for answers."""

    def __init__(self, settings: RetrievalSettings) -> None:
        """Prepare it. No network yet.

        Raises:
            EmbedderError: The package is not installed.
        """
        self._connection = _Connection(settings)
        self._model = settings.cohere_model
        self.name = f"cohere/{settings.cohere_model}"
        self._dimension = 0

    def dimension(self) -> int:
        """How many numbers a vector has, which takes a request the first time."""
        if not self._dimension:
            self._dimension = len(self.of_question("dimension"))
        return self._dimension

    def of_documents(self, texts: Sequence[str]) -> Vectors:
        """A row for each text."""
        parts = [texts[start : start + _MOST_TEXTS] for start in range(0, len(texts), _MOST_TEXTS)]
        return np.concatenate([self._embedded(part, "search_document", _PATIENT) for part in parts])

    def of_question(self, text: str) -> Vectors:
        """The vector of a question."""
        row: Vectors = self._embedded([text], "search_query", _HURRIED)[0]
        return row

    def close(self) -> None:
        """Let go of the connections."""
        self._connection.close()

    def _embedded(
        self, texts: Sequence[str], kind: Literal["search_document", "search_query"], options: RequestOptions
    ) -> Vectors:
        with _told("COHERE_MODEL"):
            answer = self._connection.client().embed(
                model=self._model,
                input_type=kind,
                texts=list(texts),
                embedding_types=["float"],
                truncate="END",
                request_options=options,
            )
        rows = answer.embeddings.float_
        if rows is None or len(rows) != len(texts):
            raise EmbedderError("COHERE_MODEL: the answer has not one embedding for each text. Take another model.")
        return unit(np.asarray(rows, dtype=np.float32))


class CohereReranker:
    """One of Cohere's models that read a question and its passages together."""

    def __init__(self, settings: RetrievalSettings) -> None:
        """Prepare it. No network yet.

        Raises:
            EmbedderError: The package is not installed.
        """
        assert settings.cohere_rerank_model
        self._connection = _Connection(settings)
        self._model = settings.cohere_rerank_model

    def scores(self, question: str, texts: list[str]) -> list[float]:
        """How well each text answers, from 0 to 1."""
        with _told("COHERE_RERANK_MODEL"):
            answer = self._connection.client().rerank(
                model=self._model, query=question, documents=texts, request_options=_HURRIED
            )
        scores = [0.0] * len(texts)
        for result in answer.results:
            if not 0 <= result.index < len(texts):
                raise EmbedderError(
                    "COHERE_RERANK_MODEL: the answer names passages that were not sent. Take another model."
                )
            scores[result.index] = float(result.relevance_score)
        return scores

    def close(self) -> None:
        """Let go of the connections."""
        self._connection.close()


class _Connection:
    """The client, made at the first use: importing it takes a second."""

    def __init__(self, settings: RetrievalSettings) -> None:
        if not find_spec("cohere"):
            raise EmbedderError("COHERE_API_KEY: Cohere needs the package cohere. Install the extra cohere.")
        assert settings.cohere_api_key
        self._key = settings.cohere_api_key
        self._address = settings.cohere_url or _ADDRESS
        self._http = Client(follow_redirects=True)
        self._client: ClientV2 | None = None
        self._making = threading.Lock()

    def client(self) -> ClientV2:
        with self._making:
            if self._client is None:
                from cohere import ClientV2

                self._client = ClientV2(
                    self._key.get_secret_value(),
                    base_url=self._address,
                    client_name="chat-service",
                    httpx_client=self._http,
                    log_warning_experimental_features=False,
                )
            return self._client

    def close(self) -> None:
        self._http.close()


@contextmanager
def _told(model: str) -> Iterator[None]:
    """Tell what went wrong in words that name the setting; the client's own may quote what was sent."""
    from cohere.core.api_error import ApiError

    try:
        yield
    except ApiError as error:
        raise EmbedderError(_complaint(error.status_code, model)) from error
    except HTTPError as error:
        raise EmbedderError("COHERE_URL: Cohere cannot be reached. Correct the address, or try again later.") from error


def _complaint(status: int | None, model: str) -> str:
    if status in (401, 403, 498):
        return "COHERE_API_KEY: Cohere refuses the key. Set it to a valid one."
    if status == 429:
        return "COHERE_API_KEY: Cohere takes no more for now. Try again later, or use a key with a higher limit."
    if status in (400, 404, 422):
        return f"{model}: Cohere does not take this (status {status}). Set it to a model that this key may use."
    return f"COHERE_URL: Cohere fails (status {status}). Try again later."
