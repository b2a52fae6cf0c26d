"""How often one may ask, how often one may guess, and how many are answered at once."""

from __future__ import annotations

import asyncio
import logging
import re
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from pymongo import MongoClient

from chat_service.security.authentication import address_of
from chat_service.security.capacity import Capacity
from chat_service.security.rate_limits import RateLimits, open_storage
from chat_service.security.refusals import Overloaded, RateLimited

from .callers import API_KEYS, acting_as, bearer
from .conftest import MakeService
from .running import Service, events_of, eventually, running


def limited(response: httpx.Response) -> bool:
    if response.status_code != 429:
        return False
    assert response.json()["code"] == "rate_limited"
    assert 1 <= int(response.headers["Retry-After"]) <= 3600
    return True


@pytest.fixture
def two(make_service: MakeService) -> Iterator[tuple[Service, Service]]:
    """Ada and Bob, each of whom may ask three times an hour."""
    service = make_service(api_keys=API_KEYS, rate_limit="3/hour")
    with ExitStack() as stack:
        yield stack.enter_context(acting_as("ada", service)), stack.enter_context(acting_as("bob", service))


def test_each_key_may_ask_so_often_on_whatever_route(two: tuple[Service, Service]) -> None:
    ada, bob = two
    session_id = ada.ask("Hello").json()["session_id"]
    assert ada.events("Hello", session_id=session_id)
    assert ada.http.post(f"/api/sessions/{session_id}/messages", json={"query": "Hello"}).status_code == 200
    body = {"query": "Hello", "session_id": session_id}
    assert limited(ada.http.post("/api/chat", json=body))
    assert limited(ada.http.post("/api/chat/stream", json=body))
    assert limited(ada.http.get("/api/chat/stream", params=body))
    assert limited(ada.http.post(f"/api/sessions/{session_id}/messages", json={"query": "Hello"}))
    assert ada.session(session_id)["message_count"] == 6
    assert bob.ask("Hello").status_code == 200


def test_without_keys_each_address_may_ask_so_often(make_service: MakeService) -> None:
    service = make_service(rate_limit="2/hour")
    assert [service.ask("Hello").status_code for _ in range(3)] == [200, 200, 429]
    transport = httpx.HTTPTransport(local_address="127.0.0.2")
    with httpx.Client(base_url=service.http.base_url, transport=transport) as other:
        assert other.post("/api/chat", json={"query": "Hello"}).status_code == 200


@pytest.mark.parametrize(("trusted", "status"), [({}, 429), ({"FORWARDED_ALLOW_IPS": "127.0.0.0/8"}, 200)])
def test_only_a_trusted_proxy_says_whose_request_it_passes_on(
    tmp_path: Path, port: int, mongo_uri: str, trusted: dict[str, str], status: int
) -> None:
    settings = {"MONGODB_URI": mongo_uri, "DATABASE_NAME": f"proxy_{port}", "MIN_POOL_SIZE": "0", "DEMO_DELAY": "0"}
    with running(tmp_path, port, RATE_LIMIT="1/hour", **settings, **trusted) as process:
        answers = [
            process.http.post("/api/chat", json={"query": "Hello"}, headers={"X-Forwarded-For": address})
            for address in ("192.0.2.1", "192.0.2.2")
        ]
    assert [answer.status_code for answer in answers] == [200, status]
    with MongoClient[Any](mongo_uri) as client:
        client.drop_database(f"proxy_{port}")


def test_development_has_no_limit_where_none_is_set_and_production_has(make_service: MakeService) -> None:
    free = make_service()
    assert {free.ask("").status_code for _ in range(3)} == {422}
    assert make_settings_rate(environment="development") is None
    assert make_settings_rate(environment="production", api_keys=API_KEYS) == "60/minute"
    assert make_settings_rate(environment="production", api_keys=API_KEYS, rate_limit="off") is None


def make_settings_rate(**changes: Any) -> str | None:
    from chat_service.config import Settings

    return Settings(_env_file=None, **changes).rate


def test_keys_cannot_be_guessed_at_speed(make_service: MakeService) -> None:
    service = make_service(api_keys=API_KEYS, failed_key_limit="3/hour")
    guesses = [service.http.get("/api/sessions", headers={"X-API-Key": f"guess {n}"}) for n in range(4)]
    assert [guess.status_code for guess in guesses] == [401, 401, 401, 429]
    assert limited(guesses[3])
    assert limited(service.http.get("/api/sessions", headers=bearer("ada"))), "else the right guess would still tell"
    assert service.http.get("/api/sessions").status_code == 401, "no key is no guess"
    assert service.http.get("/livez").status_code == 200


def test_right_keys_do_not_count_as_guesses(make_service: MakeService) -> None:
    service = make_service(api_keys=API_KEYS, failed_key_limit="1/hour")
    assert {service.http.get("/api/sessions", headers=bearer("ada")).status_code for _ in range(5)} == {200}


@pytest.mark.parametrize(
    ("address", "counted_as"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("", "unknown"),
        ("/run/socket", "unknown"),
    ],
)
def test_an_address_is_counted_by_what_its_owner_cannot_change_at_will(address: str, counted_as: str) -> None:
    assert address_of({"type": "http", "client": (address, 1)}) == counted_as
    assert address_of({"type": "http", "client": None}) == "unknown"


async def test_processes_count_together_in_a_shared_storage(mongo_uri: str, mongo_client: MongoClient[Any]) -> None:
    one, other = (RateLimits("3/hour", open_storage(mongo_uri)) for _ in range(2))
    try:
        await one.count("ada")
        await other.count("ada")
        await one.count("ada")
        with pytest.raises(RateLimited) as caught:
            await other.count("ada")
        assert caught.value.retry_after
        assert 3590 <= caught.value.retry_after <= 3600
        await other.count("bob")
    finally:
        await asyncio.to_thread(one.close)
        await asyncio.to_thread(other.close)
        await asyncio.to_thread(mongo_client.drop_database, "limits")


async def test_a_storage_that_cannot_be_reached_limits_nobody_and_is_told_of_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        limits = RateLimits("1/hour", open_storage(f"mongodb://user:secret@127.0.0.1:{nobody.getsockname()[1]}"))
        began = time.monotonic()
        with caplog.at_level(logging.INFO, "chat_service"):
            for _ in range(20):
                await limits.count("ada")
        assert time.monotonic() - began < 10, "a storage that failed is left alone for a while"
    assert len(caplog.records) == 1
    assert "secret" not in caplog.text
    await asyncio.to_thread(limits.close)


async def test_a_storage_that_works_again_is_asked_again(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chat_service.security.rate_limits._REST", 0.0)
    limits = RateLimits("1/hour", open_storage("memory://"))
    hit = limits._limiter.hit
    with caplog.at_level(logging.INFO, "chat_service"):
        monkeypatch.setattr(limits._limiter, "hit", lambda *_: 1 / 0)
        await limits.count("ada")
        await limits.count("ada")
        monkeypatch.setattr(limits._limiter, "hit", hit)
        await limits.count("ada")
        with pytest.raises(RateLimited):
            await limits.count("ada")
    assert [re.sub(".*> [|] ", "", record.getMessage()) for record in caplog.records] == [
        "the storage of the rate limits cannot be used, nobody is limited",
        "the storage of the rate limits works again",
    ]
    limits.close()


async def test_so_many_get_in_the_next_wait_in_order_and_others_are_turned_away() -> None:
    capacity = Capacity(2, 2, 5.0)
    await capacity.enter()
    await capacity.enter()
    order: list[int] = []

    async def wait(number: int) -> None:
        await capacity.enter()
        order.append(number)

    waiting = [asyncio.create_task(wait(number)) for number in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await capacity.enter()
    capacity.leave()
    await waiting[0]
    capacity.leave()
    await waiting[1]
    assert order == [0, 1]


async def test_who_waits_too_long_or_goes_away_takes_no_place() -> None:
    capacity = Capacity(1, 1, 0.02)
    await capacity.enter()
    with pytest.raises(Overloaded):
        await capacity.enter()
    gone = asyncio.create_task(capacity.enter())
    await asyncio.sleep(0)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    capacity.leave()
    await capacity.enter()
    with pytest.raises(Overloaded):
        await capacity.enter()


def test_a_full_service_says_so_and_has_room_again_when_answers_end(make_service: MakeService) -> None:
    service = make_service(demo_delay=0.02, max_concurrent_turns=2, max_queued_turns=0)
    with ExitStack() as stack:
        streams = [stack.enter_context(service.streamed("Count to 100.")) for _ in range(2)]
        refused = service.ask("Hello")
        assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
        assert int(refused.headers["Retry-After"]) >= 1
        assert service.http.get("/api/sessions").status_code == 200
        for stream in streams:
            assert list(events_of(stream))[-1]["event"] == "response_complete"
    eventually(lambda: service.ask("Hello").status_code == 200)


def test_a_queue_lets_everybody_in_at_last(make_service: MakeService) -> None:
    service = make_service(demo_delay=0.002, max_concurrent_turns=1, max_queued_turns=8, queue_seconds=20)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: service.ask(f"My number is {n}").status_code, range(8)))
    assert answers == [200] * 8


def test_turns_that_are_refused_give_their_place_back(make_service: MakeService) -> None:
    service = make_service(environment="staging", max_concurrent_turns=1, max_queued_turns=0)
    refused = {service.ask("Hello", session_id="session_0123456789abcdef").status_code for _ in range(3)}
    assert refused == {404}
    session_id = service.ask("Hello").json()["session_id"]
    eventually(lambda: service.ask("Hello again", session_id=session_id).status_code == 200)
    assert threading.active_count() < 200
