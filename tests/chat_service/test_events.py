from __future__ import annotations

import asyncio
from typing import Any

from chat_service.events import BEYOND, EventId, EventLog, ResponseChunk, ResponseComplete, frames


def chunk(text: str) -> ResponseChunk:
    return {"event": "response_chunk", "text": text}


def ending(text: str) -> ResponseComplete:
    return {"event": "response_complete", "response_text": text, "metadata": {}}


async def test_every_reader_gets_every_event_from_its_own_position() -> None:
    log = EventLog("turn", "session_a")
    log.append(chunk("a"))
    first = asyncio.create_task(collect(log, 0))
    second = asyncio.create_task(collect(log, 1))
    await asyncio.sleep(0)
    log.append(chunk("b"))
    log.end(ending("ab"))
    assert [position for position, _ in await first] == [1, 2, 3]
    assert [position for position, _ in await second] == [2, 3]
    assert await collect(log, 3) == []


async def test_a_log_ends_once() -> None:
    log = EventLog("turn", "session_a")
    log.end(ending("first"))
    log.end(ending("second"))
    assert (await log.ended())["event"] == "response_complete"
    assert [event["response_text"] for _, event in await collect(log, 0)] == ["first"]


async def test_the_first_event_names_the_session() -> None:
    log = EventLog("turn", "session_a")
    log.append(chunk("a"))
    log.append(chunk("b"))
    assert [event for _, event in await log.after(0)] == [{**chunk("a"), "session_id": "session_a"}, chunk("b")]


async def test_a_reader_who_fell_behind_gets_the_last_event_with_the_whole_answer() -> None:
    log = EventLog("turn", "session_a", capacity=10)
    for number in range(100):
        log.append(chunk(str(number)))
    late = asyncio.create_task(collect(log, 0))
    await asyncio.sleep(0)
    assert not late.done()
    log.end(ending("everything"))
    assert await late == [(101, ending("everything"))]


async def test_silence_is_filled_with_comments() -> None:
    log = EventLog("turn", "session_a")
    stream = frames(log, heartbeat=0.01)
    assert await anext(stream) == ": alive\n\n"
    log.append(chunk("a\nb"))
    log.append(chunk("c\nd"))
    assert (await anext(stream)).startswith("id: turn-1\n")
    assert await anext(stream) == 'id: turn-2\ndata: {"event": "response_chunk", "text": "c\\nd"}\n\n'
    assert await anext(stream) == ": alive\n\n"
    log.end(ending("a"))
    assert (await anext(stream)).startswith("id: turn-3\n")
    assert [frame async for frame in stream] == []


async def test_what_no_encoding_knows_is_sent_as_an_escape() -> None:
    log = EventLog("turn", "session_a")
    log.append(chunk("\ud800"))
    log.end(ending(""))
    assert '"text": "\\ud800"' in (await anext(frames(log, 1))).encode().decode()


async def collect(log: EventLog, position: int) -> list[tuple[int, Any]]:
    found: list[tuple[int, Any]] = []
    while events := await log.after(position):
        found.extend(events)
        position = events[-1][0]
    return found


async def test_nothing_follows_the_last_event() -> None:
    log = EventLog("turn", "session_a")
    log.append(chunk("a"))
    assert not log.is_over(1)
    log.end(ending("a"))
    log.append(chunk("too late"))
    assert [position for position, _ in log.since(0)] == [1, 2]
    assert [log.is_over(position) for position in (1, 2)] == [False, True]


async def test_a_log_that_begins_late_tells_its_last_event_to_everybody() -> None:
    log = EventLog("turn", "session_a", begins_after=BEYOND - 1)
    log.end(ending("a"))
    assert [await collect(log, position) for position in (0, 10, BEYOND - 1)] == [[(BEYOND, ending("a"))]] * 3
    assert log.is_over(BEYOND)


def test_an_id_names_a_turn_and_a_position() -> None:
    assert EventId.parse(f"{'0' * 32}-12") == ("0" * 32, 12)
    assert EventId.parse("0") == (None, 0)
