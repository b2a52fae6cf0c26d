"""Clients that read answers in threads, while something happens to those who write them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import httpx

from tests.chat_service.running import events_of, eventually

ENDINGS = ("response_complete", "stopped", "error")
LONG = "Count to 120."  # so many words of the demo model


class Stream:
    """One answer, read as it comes."""

    def __init__(self, address: str, query: str = LONG, session_id: str | None = None) -> None:
        self._url, self._body = f"{address}/api/chat/stream", {"query": query, "session_id": session_id}
        self.events: list[dict[str, Any]] = []
        self.broken: httpx.TransportError | None = None
        self.status = 0
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        try:
            with httpx.stream("POST", self._url, json=self._body, timeout=60) as response:
                self.status = response.status_code
                for event in events_of(response):
                    if "event" in event:
                        self.events.append(event)
        except httpx.TransportError as error:
            self.broken = error

    def join(self) -> Stream:
        """Wait for its end."""
        self._thread.join(60)
        assert not self._thread.is_alive(), "the stream has no end"
        return self

    @property
    def session_id(self) -> str:
        found: str = self.events[0]["session_id"]
        return found

    @property
    def said(self) -> str:
        return "".join(event.get("text", "") for event in self.events)

    @property
    def ending(self) -> dict[str, Any] | None:
        """Its last event, of which there must not be two."""
        endings = [event for event in self.events if event["event"] in ENDINGS]
        assert endings in ([], self.events[-1:])
        return endings[0] if endings else None


def begun(streams: Sequence[Stream], count: int = 3) -> Sequence[Stream]:
    """Streams of which each has told some events."""
    eventually(lambda: all(len(stream.events) >= count for stream in streams), 20)
    return streams


def history(http: httpx.Client, session_id: str) -> list[str]:
    """What a session holds, as a client reads it."""
    messages = http.get(f"/api/sessions/{session_id}").raise_for_status().json()["messages"]
    return [message["text"] for message in messages]


def answers(ask: Callable[[], httpx.Response], seconds: float) -> dict[str, Any]:
    """The first answer within some time; whatever is said before must be an error of the service's own."""

    def tried() -> Any:
        try:
            response = ask()
        except httpx.TransportError:
            return None
        if response.status_code != 200:
            assert response.json()["code"] in {"session_busy", "service_unavailable"}, response.text
            return None
        return response.json()

    found: dict[str, Any] = eventually(tried, seconds)
    return found
