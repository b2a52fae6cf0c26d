"""A network between the browser and the service, which can be cut, be down, and be slow."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from types import TracebackType
from typing import Self

__all__ = ["Network"]

_PIECE = 4096


class Network:
    """Passes TCP connections on, as long as it is up.

    Attributes:
        address: Where to connect instead.
        delay: Seconds by which each piece of an answer is late.
        passed: Bytes of answers until now.
    """

    def __init__(self, port: int) -> None:
        self._target = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._links: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._is_down = False
        self.address = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.delay = 0.0
        self.passed = 0

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.go_down()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def cut(self) -> None:
        """End every connection; others can be made at once."""
        with self._lock:
            links, self._links = self._links, set()
        for link in links:
            with suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)

    def go_down(self) -> None:
        """End every connection and let no other be made."""
        self._is_down = True
        self.cut()

    def come_up(self) -> None:
        """Let connections be made again."""
        self._is_down = False

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._is_down:
                client.close()
                continue
            try:
                server = socket.create_connection(self._target)
            except OSError:
                client.close()
                continue
            with self._lock:
                self._links |= {client, server}
            threading.Thread(target=self._link, args=(client, server), daemon=True).start()

    def _link(self, client: socket.socket, server: socket.socket) -> None:
        asking = threading.Thread(target=self._pass_on, args=(client, server, False), daemon=True)
        asking.start()
        self._pass_on(server, client, True)
        asking.join()
        with self._lock:
            self._links -= {client, server}
        client.close()
        server.close()

    def _pass_on(self, source: socket.socket, target: socket.socket, is_answer: bool) -> None:
        with suppress(OSError):
            while piece := source.recv(_PIECE):
                if is_answer:
                    self.passed += len(piece)
                    time.sleep(self.delay)
                target.sendall(piece)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
