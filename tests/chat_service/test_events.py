from __future__ import annotations

import asyncio

from chat_service.events import EventLog, ResponseChunk, ResponseComplete, frames


def chunk(text: str) -> ResponseChunk:
    return {"event": "response_chunk", "text": text}


def ending(text: str) -> ResponseComplete:
    return {"event": "response_complete", "response_text": text, "metadata": {}}


async def test_every_reader_gets_every_event_from_its_own_position() -> None:
    log = EventLog()
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
    log = EventLog()
    log.end(ending("first"))
    log.end(ending("second"))
    assert await log.ended() == ending("first")
    assert [event for _, event in await collect(log, 0)] == [ending("first")]


async def test_a_reader_who_fell_behind_gets_the_last_event_with_the_whole_answer() -> None:
    log = EventLog(capacity=10)
    for number in range(100):
        log.append(chunk(str(number)))
    late = asyncio.create_task(collect(log, 0))
    await asyncio.sleep(0)
    assert not late.done()
    log.end(ending("everything"))
    assert await late == [(101, ending("everything"))]


async def test_silence_is_filled_with_comments() -> None:
    log = EventLog()
    stream = frames(log, heartbeat=0.01)
    assert await anext(stream) == ": alive\n\n"
    log.append(chunk("a\nb"))
    assert await anext(stream) == 'id: 1\ndata: {"event": "response_chunk", "text": "a\\nb"}\n\n'
    assert await anext(stream) == ": alive\n\n"
    log.end(ending("a"))
    assert (await anext(stream)).startswith("id: 2\n")
    assert [frame async for frame in stream] == []


async def test_what_no_encoding_knows_is_sent_as_an_escape() -> None:
    log = EventLog()
    log.append(chunk("\ud800"))
    log.end(ending(""))
    assert (await anext(frames(log, 1))).encode().decode() == (
        'id: 1\ndata: {"event": "response_chunk", "text": "\\ud800"}\n\n'
    )


async def collect(log: EventLog, position: int) -> list[tuple[int, object]]:
    found: list[tuple[int, object]] = []
    while events := await log.after(position):
        found.extend(events)
        position = events[-1][0]
    return found
