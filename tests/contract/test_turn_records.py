"""What replicas tell each other of their turns, on every store."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from chat_service.stores.mongodb_turn_records import MongoDBTurnRecords
from chat_service.turn_records import (
    LONGEST_SILENCE,
    Batch,
    TurnChange,
    TurnRecord,
    TurnRecords,
    age_of,
    digest,
    new_turn_id,
)
from tests.chat_service.running import eventually
from tests.commands import LISTENER, Commands
from tests.contract.places import OnMongoDB, OnPostgreSQL, Place
from tests.contract.postgresql import sql

RETENTION = 60.0


@pytest.fixture
def records(place: Place) -> Iterator[TurnRecords]:
    """An empty place for records."""
    if isinstance(place, OnPostgreSQL):
        sql(place.url, "TRUNCATE chat_turns, chat_replicas CASCADE")
        yield place.factory.turn_records(RETENTION)
        return
    assert isinstance(place, OnMongoDB)
    made = records_on_mongodb(place)
    yield made
    with LISTENER.unwatched():
        made._turns.drop()


def records_on_mongodb(place: OnMongoDB) -> MongoDBTurnRecords:
    return MongoDBTurnRecords(place.collection.database.client, "tests", f"{place.collection.name}_turns", RETENTION)


def a_turn(session_id: str = "s", **fields: Any) -> TurnRecord:
    return TurnRecord(**{"turn_id": new_turn_id(), "session_id": session_id, "owner": None, "replica": "r", **fields})


def with_key(**fields: Any) -> TurnRecord:
    return a_turn(**{"key": digest("a key"), "body": digest("a body"), **fields})


def news(record: TurnRecord, first: int, *texts: str, **fields: Any) -> TurnChange:
    events = [json.dumps({"event": "response_chunk", "text": text}) for text in texts]
    return TurnChange(record=record, batch=Batch(first, events) if events else None, **fields)


def told(records: TurnRecords, record: TurnRecord, position: int = 0) -> list[tuple[int, str]]:
    found = records.read(record.turn_id, position)
    assert found
    return [(number, json.loads(text)["text"]) for number, text in found.events]


def test_a_turn_is_read_as_it_was_written(records: TurnRecords) -> None:
    record = a_turn('s/$x."\\', owner="$müller")
    records.write([news(record, 1, "a", "b\n", "\ud800")])
    records.write([news(record, 4, "d"), news(a_turn("other"), 1, "z")])
    found = records.read(record.turn_id)
    assert found
    assert (found.record, found.begun, found.ending) == (record, True, None)
    assert told(records, record) == [(1, "a"), (2, "b\n"), (3, "\ud800"), (4, "d")]
    records.write([news(record, 5, "e", ending=(6, "{}"))])
    found = records.read(record.turn_id)
    assert found
    assert found.ending == (6, "{}")
    assert [number for number, _ in found.events] == [1, 2, 3, 4, 5]


def test_only_what_comes_after_a_position_is_read(records: TurnRecords) -> None:
    record = a_turn()
    records.write([news(record, 1, "a", "b")])
    records.write([news(record, 3, "c")])
    assert [number for number, _ in told(records, record, 2)] == [3]
    assert told(records, record, 3) == []
    assert records.read(new_turn_id()) is None


def test_what_is_written_again_is_there_once(records: TurnRecords) -> None:
    record = a_turn()
    for _ in range(2):
        records.write([news(record, 1, "a")])
    for texts in (("b",), ("b", "c")):  # an answer that was lost, and what was new since
        records.write([news(record, 2, *texts)])
    assert told(records, record) == [(1, "a"), (2, "b"), (3, "c")]


def test_the_first_ending_stays(records: TurnRecords) -> None:
    record = a_turn()
    records.write([news(record, 1, "a")])
    records.interrupt(record.turn_id, (99, '"interrupted"'))
    records.write([news(record, 2, ending=(2, '"late"'))])
    records.interrupt(record.turn_id, (99, '"again"'))
    found = records.read(record.turn_id)
    assert found
    assert found.ending == (99, '"interrupted"')


def test_a_replica_is_quiet_since_it_was_last_heard_of(records: TurnRecords) -> None:
    record = a_turn()
    assert records.beat("r") == []
    records.write([news(record, 1, "a")])
    time.sleep(0.2)
    found = records.read(record.turn_id)
    assert found
    assert 0.2 <= found.quiet < 5
    assert records.beat("other") == []
    later = records.read(record.turn_id)
    assert later
    assert later.quiet > found.quiet
    records.beat("r")
    assert (again := records.read(record.turn_id))
    assert again.quiet < later.quiet


def test_a_wish_to_cancel_reaches_the_replica_of_the_turn(records: TurnRecords) -> None:
    record, other = a_turn(), a_turn(replica="never heard of")
    records.beat("r")
    records.cancel(record)
    records.cancel(other)
    assert records.beat("r") == [record.turn_id]
    assert records.beat("never heard of") == [other.turn_id]


def test_wishes_do_not_pile_up_without_end(records: TurnRecords) -> None:
    last = [a_turn() for _ in range(1005)]
    for record in last:
        records.cancel(record)
    assert records.beat("r") == [record.turn_id for record in last[-1000:]]


def test_the_turn_that_runs_in_a_session_is_found(records: TurnRecords) -> None:
    ended, waiting, running = a_turn(), with_key(), a_turn()
    assert records.unfinished("s") is None
    records.write([news(ended, 1, "a", ending=(2, "{}"))])
    records.claim(waiting)
    assert records.unfinished("s") is None
    records.write([news(running, 1, "a")])
    found = records.unfinished("s")
    assert found
    assert (found.record, found.events) == (running, [])
    assert records.unfinished("t") is None


def test_a_key_belongs_to_one_turn(records: TurnRecords) -> None:
    first, second = with_key(owner="ada"), with_key()
    assert records.claim(first) is None
    assert records.claim(first) is None  # sent again
    found = records.claim(second)
    assert found
    assert (found.record, found.begun) == (first, False)
    records.write([news(first, 1, "a")])
    assert (found := records.claim(second))
    assert found.begun
    assert records.claim(with_key(key=digest("another"))) is None


def test_of_many_who_want_a_key_one_gets_it(records: TurnRecords) -> None:
    wanting = [with_key() for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        holders = list(pool.map(records.claim, wanting))
    assert sum(holder is None for holder in holders) == 1
    assert len({holder.record.turn_id for holder in holders if holder}) == 1


@pytest.mark.parametrize("way", ["released", "interrupted", "failed"])
def test_a_key_that_gave_no_answer_is_free_again(records: TurnRecords, way: str) -> None:
    first = with_key()
    records.claim(first)
    if way == "released":
        records.release(first)
        assert records.read(first.turn_id) is None
    elif way == "interrupted":
        records.interrupt(first.turn_id, (9, "{}"))
    else:
        records.write([news(first, 1, "a", ending=(2, "{}"), frees_key=True)])
    assert records.claim(with_key()) is None
    records.write([news(first, 1, "a", ending=(2, "{}"))])  # does not take it back


def test_a_turn_that_was_accepted_is_not_released(records: TurnRecords) -> None:
    record = with_key()
    records.claim(record)
    records.write([news(record, 1, "a")])
    records.release(record)
    assert told(records, record) == [(1, "a")]


def test_nothing_is_left_of_a_session_that_is_forgotten(records: TurnRecords) -> None:
    gone, kept = a_turn(), a_turn("t")
    records.write([news(gone, 1, "a"), news(kept, 1, "b")])
    records.forget("s")
    assert records.read(gone.turn_id) is None
    assert told(records, kept) == [(1, "b")]


def test_a_turn_whose_session_is_gone_keeps_no_events(records: TurnRecords) -> None:
    record = a_turn()
    records.write([news(record, 1, "secret")])
    records.write([news(record, 2, "too", ending=(3, "{}"), forgets=True)])
    found = records.read(record.turn_id)
    assert found
    assert (found.events, found.ending) == ([], (3, "{}"))


def test_a_turn_is_kept_for_its_time_and_removed_by_the_server(place: Place, records: TurnRecords) -> None:
    running, ended = a_turn(), a_turn()
    records.write([news(running, 1, "a"), news(ended, 1, "a", ending=(2, "{}"))])
    if isinstance(place, OnMongoDB):
        turns = place.collection.database[f"{place.collection.name}_turns"]
        with LISTENER.unwatched():
            indexes = turns.index_information()
            stored = {each["_id"]: each["expires_at"] - each["started"] for each in turns.find()}
        assert indexes["expires_at_1"]["expireAfterSeconds"] == 0
        kept = [stored[record.turn_id].total_seconds() for record in (running, ended)]
    else:
        assert isinstance(place, OnPostgreSQL)
        rows = sql(place.url, "SELECT turn_id, expires_at - started AS kept FROM chat_turns")
        by_id = {row["turn_id"]: row["kept"].total_seconds() for row in rows}
        kept = [by_id[record.turn_id] for record in (running, ended)]
    assert kept == pytest.approx([RETENTION + LONGEST_SILENCE, RETENTION], abs=1)


def test_on_postgresql_what_has_expired_is_gone_at_once_and_removed_now_and_then(
    place: Place, records: TurnRecords
) -> None:
    if not isinstance(place, OnPostgreSQL):
        return
    old = with_key()
    records.claim(old)
    records.write([news(old, 1, "a")])
    records.beat("r")
    for table in ("chat_turns", "chat_replicas"):
        sql(place.url, f"UPDATE {table} SET expires_at = now() - interval '1 second'")
    assert records.read(old.turn_id) is None
    assert records.unfinished("s") is None
    assert records.claim(with_key()) is None
    sql(place.url, "UPDATE chat_turns SET expires_at = now() - interval '1 second'")
    place.factory.turn_records(RETENTION).write([news(a_turn(), 1, "b")])
    counts = [sql(place.url, f"SELECT count(*) AS n FROM {table}")[0]["n"] for table in ("chat_turns", "chat_replicas")]
    assert counts == [1, 0]
    assert sql(place.url, "SELECT count(*) AS n FROM chat_turn_events")[0]["n"] == 1


def test_every_method_is_one_command_on_mongodb(place: Place, records: TurnRecords, commands: Commands) -> None:
    if not isinstance(place, OnMongoDB):
        return
    first, second = with_key(), with_key()
    calls: list[tuple[Any, list[str]]] = [
        (lambda: records.claim(first), ["update"]),
        (lambda: records.claim(second), ["update", "aggregate"]),
        (lambda: records.write([news(first, 1, "a"), news(a_turn(), 1, "b"), news(a_turn(), 1, "c")]), ["update"]),
        (lambda: records.beat("r"), ["findAndModify"]),
        (lambda: records.read(first.turn_id), ["aggregate"]),
        (lambda: records.unfinished("s"), ["aggregate"]),
        (lambda: records.cancel(first), ["update"]),
        (lambda: records.interrupt(first.turn_id, (9, "{}")), ["update"]),
        (lambda: records.release(first), ["delete"]),
        (lambda: records.forget("s"), ["delete"]),
    ]
    for call, names in calls:
        commands.clear()
        call()
        assert commands.names == names


def test_an_id_tells_when_its_turn_began() -> None:
    turn_id = new_turn_id()
    assert len(turn_id) == 32
    assert turn_id != new_turn_id()
    assert 0 <= age_of(turn_id) < 5
    eventually(lambda: age_of(turn_id) > 1)
