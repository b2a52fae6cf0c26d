"""What the turns of a process cost, and what an outage of the database does to them."""

from __future__ import annotations

import asyncio
import gc
import logging
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
from pymongo import MongoClient
from strands import Agent

from chat_service.stores.connections import Connections
from chat_service.stores.mongodb_turn_records import MongoDBTurnRecords
from mongodb_session_manager import MongoDBSessionManager
from tests.commands import Commands

from .conftest import MakeService
from .replicas import LONG, Replicas, beginning, replicas_on, rest, resumed
from .running import Service, events_of, eventually


def of_turns(commands: Commands) -> list[str]:
    """The commands about turn records."""
    return [name for name, command, _ in commands.sent if str(command.get(name)).endswith("_turns")]


def settled(commands: Commands, count: int) -> list[str]:
    """The commands about turn records, once there are so many and then no more."""
    eventually(lambda: len(of_turns(commands)) >= count)
    time.sleep(0.3)
    return of_turns(commands)


@pytest.fixture
def warm(service: Service, commands: Commands) -> Service:
    """A service that has made its indexes, and is at rest."""
    service.ask("Hello")
    settled(commands, 1)
    commands.clear()
    return service


def test_while_no_turn_runs_nothing_is_sent(warm: Service, commands: Commands) -> None:
    time.sleep(2.5)
    assert commands.sent == []


def test_a_short_turn_is_written_down_with_one_command(warm: Service, commands: Commands) -> None:
    warm.ask("Hello")
    assert settled(commands, 1) == ["update"]
    commands.clear()
    warm.http.post("/api/chat", json={"query": "Hello"}, headers={"Idempotency-Key": "short"})
    assert settled(commands, 2) == ["update", "update"]  # the key is claimed before


def test_a_turn_and_its_reader_do_not_cost_each_other_anything(warm: Service, commands: Commands) -> None:
    events = warm.events("Hello")
    settled(commands, 1)
    commands.clear()
    rest(warm.http, events[0])
    assert settled(commands, 2) == ["aggregate", "aggregate"]  # whether it is there, and then all of it


def test_turns_that_run_at_once_share_two_commands_a_second(make_service: MakeService, commands: Commands) -> None:
    service = make_service(demo_delay=0.03)
    service.ask("Hello")
    settled(commands, 1)
    commands.clear()
    began = time.monotonic()
    asyncio.run(ask_together(str(service.http.base_url), 8))
    seconds = time.monotonic() - began
    names = settled(commands, 2)
    beats, writes = names.count("findAndModify"), names.count("update")
    assert beats + writes == len(names)
    assert 1 <= beats <= seconds + 1
    assert writes <= seconds + 1 + 8  # at most one more for each end


async def ask_together(address: str, count: int) -> None:
    import httpx

    async with httpx.AsyncClient(base_url=address, timeout=30) as http:
        await asyncio.gather(*(http.post("/api/chat", json={"query": LONG}) for _ in range(count)))


def test_ends_that_come_together_share_a_command(make_service: MakeService, commands: Commands) -> None:
    service = make_service()
    service.ask("Hello")
    settled(commands, 1)
    commands.clear()
    asyncio.run(ask_together(str(service.http.base_url), 40))
    written = settled(commands, 1)
    assert set(written) <= {"update", "findAndModify"}
    assert len(written) < 40


def test_the_record_of_a_turn_holds_no_question_and_its_document_can_be_read(
    service: Service, mongo_client: MongoClient[Any]
) -> None:
    query = "calculate 2*21"
    answer = service.events(query)
    turns = mongo_client[service.database_name]["sessions_turns"]
    found = eventually(lambda: turns.find_one({"_id": answer[0]["turn"], "ending": {"$exists": True}}))
    assert found["session_id"] == answer[0]["session_id"]
    assert found["ending"]["position"] == answer[-1]["id"]
    assert "key" not in found
    assert sum(len(batch["text"].split("\n")) for batch in found["events"]) == len(answer) - 1


def test_an_outage_of_the_records_disturbs_no_turn_and_is_told_once(
    make_service: MakeService, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    service = make_service(demo_delay=0.02)
    whole, missing = MongoDBTurnRecords.write, {"is": True}

    def write(self: MongoDBTurnRecords, changes: Any) -> None:
        if missing["is"]:
            raise ConnectionError("no server")
        whole(self, changes)

    monkeypatch.setattr(MongoDBTurnRecords, "write", write)
    with caplog.at_level(logging.INFO, "chat_service.turn_writer"):
        events = service.events(LONG)
        assert events[-1]["event"] == "response_complete"
        assert rest(service.http, events[3]) == events[4:]  # this replica still knows it
        eventually(lambda: "they go on without" in caplog.text)
        time.sleep(2.2)
        missing["is"] = False
        eventually(lambda: "written down again" in caplog.text)
    assert caplog.text.count("they go on without") == 1
    assert rest(service.http, events[3]) == events[4:]  # and now the others do


def test_an_answer_that_is_too_long_to_keep_is_told_by_its_last_event(
    make_service: MakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chat_service.turn_writer._LARGEST_LOG", 500)
    service = make_service()
    events = service.events(LONG)
    eventually(lambda: [event["id"] for event in rest(service.http, f"{events[0]['turn']}-0")][1:2] == [2])
    again = rest(service.http, f"{events[0]['turn']}-0")
    eventually(lambda: len(rest(service.http, f"{events[0]['turn']}-0")) < len(events))
    again = rest(service.http, f"{events[0]['turn']}-0")
    assert again[:-1] == events[: len(again) - 1]
    assert again[-1] == events[-1]
    assert rest(service.http, events[-2]) == [events[-1]]


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The calls to PostgreSQL. None may wait in a thread that runs an event loop."""
    called: list[str] = []
    on_a_loop: list[str] = []
    call = Connections.call

    def watched(self: Connections, work: Any, **how: Any) -> Any:
        called.append(work.__qualname__)
        if asyncio._get_running_loop() is not None:
            on_a_loop.append(work.__qualname__)
        return call(self, work, **how)

    monkeypatch.setattr(Connections, "call", watched)
    yield called
    assert on_a_loop == []


def test_on_postgresql_it_costs_as_little(statements: list[str], mongo_uri: str) -> None:
    def turn_records() -> list[str]:
        return [re.sub(r"PostgresTurnRecords\.(\w+)\..*", r"\1", name) for name in statements if "TurnRecords" in name]

    with replicas_on("postgres", mongo_uri) as replicas:
        [service] = replicas.start(1, demo_delay=0)
        service.ask("Hello")
        eventually(lambda: len(turn_records()) == 2)  # the second removes what has expired, once a minute
        statements.clear()
        time.sleep(1.5)
        assert statements == []
        service.ask("Hello")
        eventually(turn_records)
        time.sleep(0.3)
        assert turn_records() == ["_execute"]
        [slow] = replicas.start(1)
        with slow.streamed(LONG) as response:
            events = events_of(response)
            first = next(events)
            session_id = first["session_id"]
            rest(service.http, first)
            service.http.post(f"/api/sessions/{session_id}/cancel")


def test_a_client_that_goes_away_at_once_finds_its_answer_by_the_id_of_an_event(replicas: Replicas) -> None:
    [service] = replicas.start(1, demo_delay=0.01)
    with service.streamed(LONG) as response:
        [seen] = beginning(response, 1)
    events = [seen, *rest(service.http, seen)]
    assert [event["id"] for event in events] == list(range(1, len(events) + 1))
    assert events[-1]["event"] == "response_complete"
    assert resumed(service.http, events[-1]).status_code == 204


def test_what_a_turn_needed_is_freed_without_the_collector_of_garbage(service: Service) -> None:
    service.ask("Hello")
    gc.collect()
    gc.disable()
    try:
        for number in range(5):
            assert service.ask("Hello", session_id=f"session {number}").status_code == 200
        eventually(lambda: not alive(Agent, MongoDBSessionManager))
    finally:
        gc.enable()


def alive(*kinds: type) -> list[Any]:
    return [each for each in gc.get_objects() if type(each) in kinds]
