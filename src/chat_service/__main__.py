"""``python -m chat_service``: the whole service on this machine, with a database of its own if no other is set.

``python -m chat_service migrate`` brings the tables of ``DATABASE_URL`` up to date and ends.
"""

from __future__ import annotations

import errno
import signal
import socket
import sys

import uvicorn

from .config import ConfigurationError, Settings, load_settings
from .database import migrate, with_database
from .exceptions import ServiceError
from .log import configure
from .main import create_app

__all__ = ["main"]


class _Server(uvicorn.Server):
    """Says where it listens once it does."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and sockets:
            host, port = sockets[0].getsockname()[:2]
            shown = f"[{host}]" if ":" in host else host
            print(f"Chat service on http://{shown}:{port}  (Ctrl-C ends it)", flush=True)


def main() -> int:
    """Run until told to end; or do what the only argument says.

    Returns:
        The exit code: 0, 1 when the port is taken or the database cannot be reached, 2 when a setting or the argument
        is wrong, 3 when the service could not start.
    """
    if sys.argv[1:] not in ([], ["migrate"]):
        print("Without arguments this runs the service; the only other command is: migrate", file=sys.stderr)
        return 2
    # Uvicorn lets a signal through once it has ended by it; so this is also where everything else ends.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        settings = load_settings()
        configure(settings.log_level)
        return _migrate(settings) if sys.argv[1:] else _run(settings)
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 0


def _migrate(settings: Settings) -> int:
    try:
        applied = migrate(settings)
    except ServiceError as error:
        print(f"DATABASE_URL: the database cannot be reached ({type(error.__cause__).__name__}).", file=sys.stderr)
        return 1
    print("\n".join(f"applied {name}" for name in applied) or "up to date")
    return 0


def _run(settings: Settings) -> int:
    try:
        listening = _listening(settings)  # before anything is started: a taken port leaves nothing behind
    except OSError as error:
        print(
            f"PORT: {settings.host}:{settings.port} cannot be used ({error.strerror}). "
            "Stop the other program or set PORT to a free port.",
            file=sys.stderr,
        )
        return 1
    with listening, with_database(settings) as reachable:
        return _serve(reachable, listening)


def _listening(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        socket.getaddrinfo(settings.host, settings.port, family)
        return socket.create_server((settings.host, settings.port), family=family)
    except (OSError, UnicodeError) as error:
        # A name that leads nowhere, one that can be none, or an address of another machine.
        if isinstance(error, socket.gaierror | UnicodeError) or error.errno == errno.EADDRNOTAVAIL:
            remedy = Settings.model_fields["host"].description
            raise ConfigurationError(f"HOST: {settings.host} is no address of this machine. {remedy}") from error
        raise


def _serve(settings: Settings, listening: socket.socket) -> int:
    config = uvicorn.Config(
        create_app(settings),
        access_log=False,  # the service has a log of its own, with the request's id
        log_config=None,
        timeout_graceful_shutdown=int(settings.shutdown_seconds) + 2,
    )
    server = _Server(config)
    server.run(sockets=[listening])
    return 0 if server.started else 3


if __name__ == "__main__":
    sys.exit(main())
