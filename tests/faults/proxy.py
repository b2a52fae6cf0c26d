"""A small TCP proxy before a MongoDB server, with the faults of a network: slow, cut, silent, down."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from enum import Enum
from types import TracebackType
from typing import Self

__all__ = ["EVERYBODY", "Fault", "Peer", "Proxy"]

_HEADER = struct.Struct("<iiii")
_OP_MSG = 2013
_BODY = 26
"""Where an OP_MSG names its command: header 16, flags 4, kind 1, length 4, type 1."""

_DRIVER = b"PyMongo"
"""In the first message of each of its connections, in which a program says who it is."""

_POLL_SECONDS = 0.02
_DRIVERS_OWN = {"hello", "ismaster", "isMaster", "ping", "endSessions"}


class Fault(Enum):
    """What becomes of one command."""

    NONE = "the command and its reply pass"
    CUT_BEFORE = "the connection is cut, the server never sees the command"
    REPLY_LOST = "the server carries the command out, the connection is cut before the reply"


class Peer(Enum):
    """Who connects."""

    CLIENT = "an application, by its driver"
    SERVER = "another server of the replica set"


EVERYBODY = frozenset(Peer)


class Proxy:
    """Passes everything on, except for what a test asks it to do to.

    Attributes:
        port: Where to connect, on 127.0.0.1.
        delay: Seconds by which replies to the application are late.
        delayed: The commands whose replies are, ``None`` for all.
        fault: Decides by the name of each of the application's commands; called in its order of arrival.
        heard: The application's commands, as they arrived.
        muted: Whose connections stay open while nothing passes in either direction; what they sent arrives afterwards.
        lag: Seconds by which replies to another server are late.
    """

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._links: set[_Link] = set()
        self._lock = threading.Lock()
        self._down = False
        self.port: int = self._listener.getsockname()[1]
        self.delay = 0.0
        self.delayed: set[str] | None = None
        self.heard: list[str] = []
        self.muted: frozenset[Peer] = frozenset()
        self.lag = 0.0
        self.fault: Callable[[str], Fault] = lambda name: Fault.NONE

    @property
    def uri(self) -> str:
        """A connection string through this proxy, for a driver that does not retry writes by itself.

        It polls: a driver that is told of changes takes half a second to notice that it has lost its server.
        """
        options = "directConnection=true&retryWrites=false&serverMonitoringMode=poll&serverSelectionTimeoutMS=1500"
        return f"mongodb://127.0.0.1:{self.port}/?{options}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.go_down()
        # close() alone would leave the thread in accept().
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def go_down(self) -> None:
        """Cut every connection and accept no other."""
        with self._lock:
            self._down = True
            links, self._links = self._links, set()
        for link in links:
            link.cut()

    def come_up(self) -> None:
        """Accept connections again."""
        self._down = False

    @contextmanager
    def failing(self, name: str, number: int, fault: Fault, *, then_down: bool = False) -> Iterator[None]:
        """Do something to the n-th command of a name, counted from 1 and from now.

        Args:
            name: Such as ``update``.
            number: Which of them.
            fault: What becomes of it.
            then_down: Whether nobody can connect afterwards.
        """
        seen = 0

        def decide(arrived: str) -> Fault:
            nonlocal seen
            seen += arrived == name
            if arrived != name or seen != number:
                return Fault.NONE
            self._down = self._down or then_down
            return fault

        self.fault = decide
        try:
            yield
        finally:
            self.fault = lambda name: Fault.NONE
            self.come_up()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._down:
                client.close()
                continue
            try:
                server = socket.create_connection(self._target)
            except OSError:
                client.close()
                continue
            link = _Link(self, client, server)
            with self._lock:
                self._links.add(link)
            link.start()

    def decide(self, name: str) -> Fault:
        """What becomes of a command that has arrived."""
        with self._lock:
            self.heard.append(name)
            return self.fault(name)

    def forget(self, link: _Link) -> None:
        """A connection has ended."""
        with self._lock:
            self._links.discard(link)


class _Link:
    """One connection of a client, and the one to the server that belongs to it."""

    def __init__(self, proxy: Proxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy = proxy
        self._client = client
        self._server = server
        self._late: set[int] = set()
        self._lost: set[int] = set()
        self._peer: Peer | None = None
        self._ended = False
        for end in (client, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def start(self) -> None:
        pumps = [threading.Thread(target=self._run, args=(pump,), daemon=True) for pump in (self._send, self._answer)]
        for pump in pumps:
            pump.start()
        threading.Thread(target=self._close, args=(pumps,), daemon=True).start()

    def cut(self) -> None:
        """End both connections at once: unlike close() it also wakes a thread that reads from one."""
        self._ended = True
        for end in (self._client, self._server):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _close(self, pumps: list[threading.Thread]) -> None:
        for pump in pumps:
            pump.join()
        self._client.close()
        self._server.close()

    def _run(self, pump: Callable[[], None]) -> None:
        try:
            with suppress(OSError):
                pump()
        finally:
            self.cut()
            self._proxy.forget(self)

    def _send(self) -> None:
        while message := _read_message(self._client):
            if self._peer is None:
                self._peer = Peer.CLIENT if _DRIVER in message else Peer.SERVER
            name, request = _command(message)
            if self._peer is Peer.CLIENT and name not in _DRIVERS_OWN:
                if self._proxy.delayed is None or name in self._proxy.delayed:
                    self._late.add(request)
                fault = self._proxy.decide(name)
                if fault is Fault.CUT_BEFORE:
                    return
                if fault is Fault.REPLY_LOST:
                    self._lost.add(request)
            self._wait_while_muted()
            self._server.sendall(message)

    def _answer(self) -> None:
        while message := _read_message(self._server):
            answered = _HEADER.unpack_from(message)[2]
            if answered in self._lost:
                return
            if answered in self._late:
                self._late.discard(answered)
                time.sleep(self._proxy.delay)
            if self._peer is Peer.SERVER and self._proxy.lag:
                time.sleep(self._proxy.lag)
            self._wait_while_muted()
            self._client.sendall(message)

    def _wait_while_muted(self) -> None:
        while self._peer in self._proxy.muted and not self._ended:
            time.sleep(_POLL_SECONDS)


def _command(message: bytes) -> tuple[str, int]:
    _, request, _, operation = _HEADER.unpack_from(message)
    if operation != _OP_MSG:
        return "hello", request
    return message[_BODY : message.index(b"\0", _BODY)].decode(), request


def _read_message(source: socket.socket) -> bytes:
    """One message of the wire protocol, empty when the connection has ended."""
    header = _read(source, _HEADER.size)
    if not header:
        return b""
    rest = _read(source, _HEADER.unpack(header)[0] - _HEADER.size)
    return header + rest if rest else b""


def _read(source: socket.socket, size: int) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        part = source.recv(size - len(parts))
        if not part:
            return b""
        parts += part
    return bytes(parts)
