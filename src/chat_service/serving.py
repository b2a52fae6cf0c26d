"""Listening, before anything is started: a taken port leaves nothing behind."""

from __future__ import annotations

import errno
import socket
import sys

import uvicorn

__all__ = ["Server", "listening_on"]


class Server(uvicorn.Server):
    """Says where it listens once it does."""

    def __init__(self, config: uvicorn.Config, announcement: str) -> None:
        """Prepare.

        Args:
            config: Of the server.
            announcement: What to print, with ``{}`` where host and port shall stand.
        """
        super().__init__(config)
        self._announcement = announcement

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say so."""
        await super().startup(sockets)
        if self.started and sockets:
            host, port = sockets[0].getsockname()[:2]
            shown = f"[{host}]" if ":" in host else host
            sys.stdout.write(f"{self._announcement.format(f'{shown}:{port}')}  (Ctrl-C ends it)\n")
            sys.stdout.flush()


def listening_on(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        ValueError: The host is no address of this machine, or a name that leads nowhere.
        OSError: The port cannot be used.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.getaddrinfo(host, port, family)
        return socket.create_server((host, port), family=family)
    except (OSError, UnicodeError) as error:
        if isinstance(error, socket.gaierror | UnicodeError) or error.errno == errno.EADDRNOTAVAIL:
            raise ValueError(f"{host} is no address of this machine") from error
        raise
