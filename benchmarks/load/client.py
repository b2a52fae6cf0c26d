"""The clients of the load test, in a process of their own: bare sockets and nothing parsed that is not counted.

It reads one plan as JSON on standard input, does it, and writes what it found as JSON on standard output. A client that
cost much itself would measure itself; so its own processor time is told as well.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

QUESTIONS = ("My name is Ada.", "Count to 100.", "What is my name?", "Hello", "I like tea.")
LIVE = b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


@dataclass
class Findings:
    """What the clients saw.

    Attributes:
        seconds: From the first request to the last answer.
        latencies: Of each request, or each heartbeat, in milliseconds.
        statuses: How many answers there were of each status, or how many streams of each last event.
        events: Events of streams.
        together: The most streams that were open at once.
        processor: Seconds of processor time that the clients took.
    """

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)
    events: int = 0
    together: int = 0
    processor: float = 0.0


class Connection:
    """One connection that is kept."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def to(cls, port: int) -> Connection:
        return cls(*await asyncio.open_connection("127.0.0.1", port, limit=1 << 20))

    async def ask(self, request: bytes) -> tuple[str, bytes]:
        """Send a request; gives the status and the body."""
        self._writer.write(request)
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
        return head[9:12].decode(), await self._reader.readexactly(length)

    async def listen(self, request: bytes) -> tuple[int, str]:
        """Send a request and read its stream to the end; gives the number of events and the last one's kind."""
        self._writer.write(request)
        count, last = 0, b""
        while not last.startswith((b'data: {"event": "response_complete"', b'data: {"event": "error"')):
            last = await self._reader.readline()
            if not last:
                return count, "broken"
            count += last.startswith(b"data: ")
        return count, last.split(b'"')[3].decode()

    def close(self) -> None:
        self._writer.close()


def question(path: str, number: int, session_id: str | None) -> bytes:
    """A request whose answer is wanted."""
    body = json.dumps({"query": QUESTIONS[number % len(QUESTIONS)], "session_id": session_id}).encode()
    return b"POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (
        path.encode(),
        len(body),
        body,
    )


async def asked(plan: dict[str, Any]) -> Findings:
    """So many clients hold conversations of ``turns`` questions each, one after the other, until all are asked."""
    found = Findings()
    numbers = iter(range(plan["requests"]))

    async def client() -> None:
        connection = await Connection.to(plan["port"])
        session_id: str | None = None
        for turn, _ in enumerate(numbers):
            if turn % plan["turns"] == 0:
                session_id = None
            began = time.perf_counter()
            status, body = await connection.ask(question("/api/chat", turn * plan["varied"], session_id))
            found.latencies.append((time.perf_counter() - began) * 1000)
            found.statuses[status] += 1
            session_id = json.loads(body).get("session_id") if plan["keeps"] else None
        connection.close()

    began = time.perf_counter()
    async with asyncio.TaskGroup() as clients:
        for _ in range(plan["clients"]):
            clients.create_task(client())
    found.seconds = time.perf_counter() - began
    return found


async def listened(plan: dict[str, Any]) -> Findings:
    """So many streams are read at once; meanwhile a heartbeat asks every 50 ms whether the process answers."""
    found = Findings()
    ended = asyncio.Event()
    now = 0

    async def stream(number: int) -> None:
        nonlocal now
        await asyncio.sleep(number * plan["apart"])
        connection = await Connection.to(plan["port"])
        now += 1
        found.together = max(found.together, now)
        count, last = await connection.listen(question("/api/chat/stream", 1, None))
        now -= 1
        found.events += count
        found.statuses[last] += 1
        connection.close()

    async def heartbeat() -> None:
        connection = await Connection.to(plan["port"])
        while not ended.is_set():
            began = time.perf_counter()
            await connection.ask(LIVE)
            found.latencies.append((time.perf_counter() - began) * 1000)
            await asyncio.sleep(0.05)
        connection.close()

    began = time.perf_counter()
    beating = asyncio.create_task(heartbeat())
    async with asyncio.TaskGroup() as clients:
        for number in range(plan["clients"]):
            clients.create_task(stream(number))
    await asyncio.sleep(plan["idle"])
    ended.set()
    await beating
    found.seconds = time.perf_counter() - began
    return found


def main() -> None:
    plan = json.load(sys.stdin)
    before = time.process_time()
    found = asyncio.run({"ask": asked, "listen": listened}[plan["do"]](plan))
    found.processor = time.process_time() - before
    json.dump(vars(found), sys.stdout)


if __name__ == "__main__":
    main()
