"""The search by a Qdrant server: one request for both kinds of vectors."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
from qdrant_client import models

from .candidates import Candidate, Candidates, Question
from .errors import StoreUnavailable
from .records import About, chunk_of
from .store import Store, told
from .terms import document_weights, rarity

__all__ = ["ServerSearch"]

_REMEMBERED_SECONDS = 30.0
"""For how long it is believed how rare words are."""


class ServerSearch:
    """Asks the server. May be called from several threads."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: About | None = None
        self._known_at = -_REMEMBERED_SECONDS
        self._asking = threading.Lock()

    def search(self, question: Question, limit: int) -> Candidates:
        """The best candidates by vector, and the best by words."""
        with told():
            about = self._about()
            if about is None:
                return Candidates((), (), (), {})
            near, heavy = self._asked(question, limit)
            beside = self._store.of_sections(
                {(point.payload or {})["section"] for point in (*near, *heavy) if _asks(point)}
            )
        rarities = {term: rarity(about.terms.get(str(term), 0), about.documents) for term in question.terms}
        near_ones, heavy_ones, others = (
            tuple(_candidate(point, question, rarities) for point in points) for points in (near, heavy, beside)
        )
        return Candidates(near_ones, heavy_ones, others, rarities)

    def forget(self) -> None:
        """Ask anew what is in the collection that counts, because that has changed."""
        self._known_at = -_REMEMBERED_SECONDS

    def _about(self) -> About | None:
        with self._asking:
            if time.monotonic() - self._known_at > _REMEMBERED_SECONDS:
                collection = self._store.current()
                self._known = collection.about() if collection else None
                self._known_at = time.monotonic() if self._known else -_REMEMBERED_SECONDS
            return self._known

    def _asked(self, question: Question, limit: int) -> tuple[list[models.ScoredPoint], list[models.ScoredPoint]]:
        shared: dict[str, Any] = {
            "filter": _filter(question),
            "limit": limit,
            "with_payload": True,
            "with_vector": ["dense"],
        }
        requests = []
        if question.vector is not None:
            requests.append(models.QueryRequest(query=question.vector.tolist(), using="dense", **shared))
        if question.terms:
            words = models.SparseVector(indices=list(question.terms), values=[1.0] * len(question.terms))
            requests.append(models.QueryRequest(query=words, using="words", **shared))
        answers = self._store.asked(requests) if requests else []
        near = answers.pop(0) if question.vector is not None else []
        return near, answers.pop(0) if answers else []


def _filter(question: Question) -> models.Filter:
    asked: dict[str, str | bool | None] = {
        "live": True,
        "module_name": question.module,
        "source_file": question.source,
    }
    return models.Filter(
        must=[
            models.FieldCondition(key=name, match=models.MatchValue(value=value))
            for name, value in asked.items()
            if value is not None
        ]
    )


def _asks(point: models.ScoredPoint) -> bool:
    return bool((point.payload or {})["asked"])


def _candidate(point: models.ScoredPoint | models.Record, question: Question, rarities: dict[int, float]) -> Candidate:
    chunk = chunk_of(point.payload or {})
    weights = document_weights(chunk.section_heading, chunk.asked or chunk.text)
    shared = question.terms & weights.keys()
    cosine = 0.0
    if question.vector is not None:
        if not isinstance(point.vector, dict):
            raise StoreUnavailable("QDRANT_URL: the server keeps no vectors of this collection. Ingest with --rebuild.")
        cosine = float(np.asarray(point.vector["dense"], np.float32) @ question.vector)
    return Candidate(chunk, cosine, sum(weights[term] * rarities[term] for term in shared))
