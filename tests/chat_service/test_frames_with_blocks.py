"""A log told with its answer as HTML: how often, to whom, and what is left out."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest

from chat_service.events import EventLog
from chat_service.rendering.answers import answer_html
from chat_service.rendering.cache import Rendered
from chat_service.rendering.frames import frames_with_blocks

from .test_rendering import BAD

TURN = "0" * 32


def ending(text: str) -> Any:
    return {"event": "response_complete", "response_text": text, "metadata": {"message_id": "msg_1"}}


def chunk(text: str) -> Any:
    return {"event": "response_chunk", "text": text}


async def told(log: EventLog, position: int = 0, heartbeat: float = 5.0) -> list[dict[str, Any]]:
    events = []
    async for frame in frames_with_blocks(log, heartbeat, Rendered(), position):
        number, _, data = frame.removesuffix("\n\n").partition("\n")
        if number.startswith("id: "):
            events.append({"id": number.removeprefix(f"id: {TURN}-"), **json.loads(data.removeprefix("data: "))})
        else:
            events.append({"event": "comment"})
    return events


async def test_blocks_come_at_most_about_ten_times_a_second() -> None:
    log = EventLog(TURN, "s")
    began = time.monotonic()
    reading = asyncio.create_task(told(log))
    for _ in range(300):
        log.append(chunk("word "))
        await asyncio.sleep(0.002)
    log.end(ending("word " * 300))
    events = await reading
    blocks = [event for event in events if event["event"] == "response_block"]
    assert 2 <= len(blocks) <= (time.monotonic() - began) / 0.1 + 2
    assert sum(event["event"] == "response_chunk" for event in events) == 300
    assert blocks[-1]["html"] == events[-1]["metadata"]["html"] == answer_html("word " * 300)


async def test_the_first_words_are_shown_at_once() -> None:
    log = EventLog(TURN, "s")
    log.append(chunk("First"))
    frames = frames_with_blocks(log, 60.0, Rendered())
    async with asyncio.timeout(30):
        assert [json.loads((await anext(frames)).partition("data: ")[2])["event"] for _ in range(2)] == [
            "response_chunk",
            "response_block",
        ]
    await frames.aclose()  # type: ignore[attr-defined]  # it is a generator


@pytest.mark.parametrize("position", range(7))
async def test_wherever_one_comes_back_the_message_is_whole(position: int) -> None:
    log = EventLog(TURN, "s")
    for text in ("One\n\n", "tw", "o\n\n- th", "ree"):
        log.append(chunk(text))
    log.append({"event": "tool_start", "tool_use_id": "t", "name": "n", "input": {}})
    log.append({"event": "tool_complete", "tool_use_id": "t", "status": "success", "output": ""})
    log.append(chunk("*Last*"))
    log.end(ending("*Last*"))
    events = await told(log, position)
    kinds = [event["event"] for event in events]
    cut = kinds.index("tool_start") if "tool_start" in kinds else 0
    before, after = (
        {event["index"]: event["html"] for event in part if event["event"] == "response_block"}
        for part in (events[:cut], events[cut:])
    )
    if position < 4:
        assert "".join(before.values()) == answer_html("One\n\ntwo\n\n- three")
    assert "".join(after.values()) == answer_html("*Last*") == events[-1]["metadata"]["html"]
    numbers = [int(event["id"]) for event in events if event["event"] != "response_block"]
    assert numbers == list(range(position + 1, 9))
    assert "html" not in log.ending["metadata"], "the log itself has changed"  # type: ignore[index, typeddict-item]


async def test_where_the_beginning_is_kept_no_longer_there_are_no_wrong_blocks() -> None:
    log = EventLog(TURN, "s", capacity=10)
    for count in range(15):
        log.append(chunk(f"{count} "))
    log.end(ending("the whole"))
    events = await told(log, 13)
    assert [event["event"] for event in events] == ["response_chunk", "response_chunk", "response_complete"]
    assert events[-1]["metadata"]["html"] == answer_html("the whole")


async def test_silence_is_told_by_comments() -> None:
    log = EventLog(TURN, "s")
    log.append(chunk("Hello"))
    asyncio.get_running_loop().call_later(0.5, log.end, ending("Hello"))
    kinds = [event["event"] for event in await told(log, heartbeat=0.1)]
    assert kinds[:2] == ["response_chunk", "response_block"]
    assert kinds.count("comment") >= 2


async def test_the_loop_goes_on_while_an_enormous_answer_is_rendered() -> None:
    rendering = asyncio.create_task(Rendered().html([BAD["many blocks"]]))
    turns = 0
    while not rendering.done():
        await asyncio.sleep(0.001)
        turns += 1
    assert turns > 5
