"""A server that speaks the part of Cohere's protocol (v2) that is used, its limits and errors included."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from chat_service.rag.embedders import OfflineEmbedder

from .http_server import Answered, Asked, json_server

KEY = "cohere-key-for-tests"
MODELS = {"embed-multilingual-v3.0", "embed-english-v3.0"}
RERANKERS = {"rerank-v3.5"}
MOST_TEXTS = 96


class CohereServer:
    """Embeds by the offline model, re-ranks by shared words.

    Attributes:
        address: Where it is.
        asked: Every request that came, with the time of its arrival.
        refusals: What the next requests get instead of an answer.
    """

    def __init__(self) -> None:
        self.address = ""
        self.asked: list[tuple[float, Asked]] = []
        self.refusals: list[Answered] = []
        self._model = OfflineEmbedder()
        self._answering = threading.Lock()

    def bodies(self, path: str) -> list[dict[str, object]]:
        return [asked.body for _, asked in self.asked if asked.path == path]

    def answer(self, asked: Asked) -> Answered:
        with self._answering:
            self.asked.append((time.monotonic(), asked))
            if asked.headers.get("Authorization") != f"Bearer {KEY}":
                return Answered(401, {"message": "invalid api token"})
            if self.refusals:
                return self.refusals.pop(0)
            return {"/v2/embed": self._embed, "/v2/rerank": self._rerank}.get(asked.path, self._unknown)(asked)

    def _embed(self, asked: Asked) -> Answered:
        texts, kind = asked.body["texts"], asked.body["input_type"]
        if asked.body["model"] not in MODELS:
            return Answered(404, {"message": f"model '{asked.body['model']}' not found"})
        if len(texts) > MOST_TEXTS:
            return Answered(400, {"message": f"invalid request: total number of texts must be at most {MOST_TEXTS}"})
        if kind not in ("search_document", "search_query") or not all(texts):
            return Answered(400, {"message": "invalid request"})
        rows = self._model.of_documents(texts).tolist()
        return Answered(
            200, {"id": "1", "embeddings": {"float": rows}, "texts": texts, "response_type": "embeddings_by_type"}
        )

    def _rerank(self, asked: Asked) -> Answered:
        if asked.body["model"] not in RERANKERS:
            return Answered(404, {"message": "model not found"})
        words = set(asked.body["query"].lower().strip("?").split())
        shares = [len(words & set(text.lower().split())) / len(words) for text in asked.body["documents"]]
        order = sorted(range(len(shares)), key=lambda index: -shares[index])
        return Answered(200, {"id": "2", "results": [{"index": n, "relevance_score": shares[n]} for n in order]})

    def _unknown(self, asked: Asked) -> Answered:
        return Answered(404, {"message": "not found"})


@contextmanager
def cohere_server() -> Iterator[CohereServer]:
    """Runs one."""
    server = CohereServer()
    with json_server(server.answer) as server.address:
        yield server
