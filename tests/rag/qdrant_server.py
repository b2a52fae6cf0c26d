"""A server that speaks the part of Qdrant's REST protocol that is used, over Qdrant's own embedded engine."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

from pydantic import TypeAdapter
from qdrant_client import QdrantClient, models

from .http_server import Answered, Asked, json_server

KEY = "qdrant-key-for-tests"
LARGEST = 32_000_000


class QdrantServer:
    """Keeps everything in memory.

    Attributes:
        address: Where it is.
        asked: The method and path of every request that came.
        key: That is asked for, if any.
        engine: What lies behind.
    """

    def __init__(self) -> None:
        self.address = ""
        self.asked: list[tuple[str, str]] = []
        self.key: str | None = None
        self.engine = QdrantClient(":memory:")
        self._answering = threading.Lock()

    def answer(self, asked: Asked) -> Answered:
        with self._answering:
            path = urlsplit(asked.path)
            self.asked.append((asked.method, path.path))
            if self.key and asked.headers.get("api-key") != self.key:
                return Answered(401, {"status": {"error": "Must provide an API key"}})
            if int(asked.headers.get("Content-Length") or 0) > LARGEST:
                return Answered(413, {"status": {"error": "Payload too large"}})
            try:
                result = self._done(
                    asked.method, path.path.strip("/").split("/"), asked.body or {}, parse_qs(path.query)
                )
            except ValueError as error:
                return Answered(404 if "not found" in str(error) else 400, {"status": {"error": str(error)}})
            return Answered(200, {"result": _plain(result), "status": "ok", "time": 0.0})

    def _done(self, method: str, path: list[str], body: dict[str, Any], query: dict[str, list[str]]) -> Any:
        engine = self.engine
        match method, path:
            case "GET", ["aliases"]:
                return engine.get_aliases()
            case "GET", ["collections"]:
                return engine.get_collections()
            case "POST", ["collections", "aliases"]:
                return engine.update_collection_aliases(models.ChangeAliasesOperation(**body).actions)
            case "PUT", ["collections", name]:
                made = models.CreateCollection(**body)
                return engine.create_collection(
                    name, vectors_config=made.vectors, sparse_vectors_config=made.sparse_vectors
                )
            case "DELETE", ["collections", name]:
                return engine.delete_collection(name)
            case "PUT", ["collections", _, "index"]:
                return _DONE
            case method, ["collections", name, "points", *rest]:
                return self._points(name, "/".join(rest), body)
        raise ValueError(f"not found: {method} {path}")

    def _points(self, name: str, what: str, body: dict[str, Any]) -> Any:
        engine = self.engine
        match what:
            case "" if "ids" in body:
                asked = models.PointRequest(**body)
                return engine.retrieve(name, asked.ids, asked.with_payload or False, asked.with_vector or False)
            case "":
                return engine.upsert(name, models.PointsList(**body).points)
            case "scroll":
                page = models.ScrollRequest(**body)
                points, offset = engine.scroll(
                    name,
                    page.filter,
                    page.limit or 10,
                    offset=page.offset,
                    with_payload=page.with_payload or False,
                    with_vectors=page.with_vector or False,
                )
                return {"points": _plain(points), "next_page_offset": offset}
            case "batch":
                engine.batch_update_points(name, models.UpdateOperations(**body).operations)
                return [_DONE]
            case "delete":
                return engine.delete(name, _SELECTOR.validate_python(body))
            case "query/batch":
                return engine.query_batch_points(name, models.QueryRequestBatch(**body).searches)
        raise ValueError(f"not found: {what}")


_DONE = {"operation_id": 0, "status": "completed"}
_SELECTOR: TypeAdapter[models.PointsSelector] = TypeAdapter(models.PointsSelector)


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return value.model_dump(mode="json") if hasattr(value, "model_dump") else value


@contextmanager
def qdrant_server() -> Iterator[QdrantServer]:
    """Runs one."""
    server = QdrantServer()
    with json_server(server.answer) as server.address:
        yield server
    server.engine.close()
