"""Several replicas of the service on one database, in this process or each in one of its own."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx

from chat_service.config import Settings
from chat_service.rag.passages import Retriever
from tests.contract.postgresql import free_port, new_database, running_database

from .running import Process, Service, events_of, running, served

LONG = "Count to 120."  # so many words of the demo model


@contextmanager
def database_of(kind: str, mongo_uri: str) -> Iterator[dict[str, str]]:
    """The settings that lead to a new database. One on MongoDB goes with its server."""
    if kind == "mongodb":
        yield {"mongodb_uri": mongo_uri, "database_name": f"replicas_{uuid.uuid4().hex[:12]}", "min_pool_size": "0"}
        return
    with running_database() as server, new_database(server) as url:
        yield {"session_store": "postgres", "database_url": url}


class Replicas:
    """Starts replicas on one database."""

    def __init__(self, database: dict[str, str], stack: ExitStack) -> None:
        self.database = database
        self._stack = stack

    def start(self, count: int = 2, **changes: Any) -> list[Service]:
        """Replicas in this process."""
        return [self._start(**changes) for _ in range(count)]

    def _start(self, retriever: Retriever | None = None, **changes: Any) -> Service:
        how = "step" if retriever else "off"
        values: dict[str, Any] = {"demo_delay": 0.02, "retrieval": how, **self.database, **changes}
        address = self._stack.enter_context(served(Settings(_env_file=None, **values), retriever))
        http = self._stack.enter_context(httpx.Client(base_url=address, timeout=30))
        return Service(http, self.database.get("database_name", ""))

    def process(self, folder: Path, **environment: str) -> Process:
        """A replica in a process of its own."""
        folder.mkdir(exist_ok=True)
        values = {name.upper(): value for name, value in self.database.items()}
        return self._stack.enter_context(
            running(folder, free_port(), **{"DEMO_DELAY": "0.02", "RETRIEVAL": "off", **values, **environment})
        )


@contextmanager
def replicas_on(kind: str, mongo_uri: str) -> Iterator[Replicas]:
    with database_of(kind, mongo_uri) as database, ExitStack() as stack:
        yield Replicas(database, stack)


def resumed(http: httpx.Client, event: dict[str, Any] | str, **parameters: Any) -> httpx.Response:
    """Come back with the id of an event."""
    seen = event if isinstance(event, str) else f"{event['turn']}-{event['id']}"
    return http.get("/api/chat/stream", params=parameters, headers={"Last-Event-ID": seen})


def rest(http: httpx.Client, event: dict[str, Any] | str, **parameters: Any) -> list[dict[str, Any]]:
    """The events after one."""
    response = resumed(http, event, **parameters)
    assert response.status_code == 200, response.text
    return [found for found in events_of(response) if "event" in found]


def beginning(response: httpx.Response, count: int) -> list[dict[str, Any]]:
    """The first events of a stream."""
    return [event for _, event in zip(range(count), events_of(response), strict=False)]
