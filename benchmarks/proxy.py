"""A network that is further away: passes TCP connections on, everything later by half the delay in each direction.

It runs in a process of its own, so that it takes no time from the one that is measured. It tells its port on the first
line of its output, and ends when its input does.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_CHUNK = 256 * 1024


@contextmanager
def delayed(host: str, port: int, milliseconds: float) -> Iterator[int]:
    """A port on 127.0.0.1 that leads to another one, with so much more of a round trip."""
    command = [sys.executable, "-m", "benchmarks.proxy", host, str(port), str(milliseconds)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"the delay proxy did not start, it ended with {process.wait()}")
        try:
            yield int(line)
        finally:
            process.stdin.close()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float) -> None:
    """One direction of a connection: what arrives leaves in the same order, each piece so many seconds later."""
    clock = asyncio.get_running_loop().time
    waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def send() -> None:
        while True:
            due, data = await waiting.get()
            await asyncio.sleep(max(0.0, due - clock()))
            if not data:
                return
            writer.write(data)
            await writer.drain()

    sending = asyncio.create_task(send())
    with suppress(OSError):
        while data := await reader.read(_CHUNK):
            waiting.put_nowait((clock() + delay, data))
    waiting.put_nowait((clock() + delay, b""))
    with suppress(OSError):
        await sending
        # Only this direction has ended: the other one may still have something to say.
        writer.write_eof()


async def _serve(host: str, port: int, delay: float) -> None:
    links: set[asyncio.Task[None]] = set()

    async def link(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection(host, port)
        await asyncio.gather(
            _pass_on(reader, there_writer, delay / 2),
            _pass_on(there_reader, writer, delay / 2),
        )
        there_writer.close()
        writer.close()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(link(reader, writer))
        links.add(task)
        task.add_done_callback(links.discard)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.buffer.read)
    server.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("host", help="where the server is")
    parser.add_argument("port", type=int)
    parser.add_argument("milliseconds", type=float, help="how much longer a round trip takes")
    arguments = parser.parse_args()
    asyncio.run(_serve(arguments.host, arguments.port, arguments.milliseconds / 1000))


if __name__ == "__main__":
    main()
