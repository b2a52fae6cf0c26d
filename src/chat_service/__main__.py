"""``python -m chat_service``: the whole service on this machine, with a database of its own if no other is set.

Other commands, which end when they are done:

* ``migrate`` brings the tables of ``DATABASE_URL`` up to date.
* ``config`` prints the configuration in force, and where each value comes from.
* ``key <owner>`` makes a key for ``API_KEYS``.
"""

from __future__ import annotations

import argparse
import errno
import logging
import signal
import socket
import sys

import uvicorn

from .config import ConfigurationError, Settings, load_settings
from .database import migrate, with_database
from .effective import effective
from .exceptions import ServiceError
from .log import configure
from .main import create_app
from .security.api_keys import is_owner, made_for
from .security.settings import is_loopback

__all__ = ["main"]

logger = logging.getLogger(__name__)


class _Server(uvicorn.Server):
    """Says where it listens once it does."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and sockets:
            host, port = sockets[0].getsockname()[:2]
            shown = f"[{host}]" if ":" in host else host
            print(f"Chat service on http://{shown}:{port}  (Ctrl-C ends it)", flush=True)


def main() -> int:
    """Run until told to end; or do what the command says.

    Returns:
        The exit code: 0, 1 when the port is taken or the database cannot be reached, 2 when a setting or an argument
        is wrong, 3 when the service could not start.
    """
    arguments = _parser().parse_args()
    if arguments.command == "key":
        return _make_key(arguments.owner)
    # Uvicorn lets a signal through once it has ended by it; so this is also where everything else ends.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        settings = load_settings()
        configure(settings.log_level, settings.log_format)
        return _COMMANDS[arguments.command or "run"](settings)
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="chat-service", description="A chat service. Without a command it runs.")
    commands = parser.add_subparsers(dest="command", metavar="{run,migrate,config,key <owner>}")
    commands.add_parser("run", help="run the service")
    commands.add_parser("migrate", help="bring the tables of DATABASE_URL up to date")
    commands.add_parser("config", help="print the configuration in force, without secrets")
    key = commands.add_parser("key", help="make a key for API_KEYS")
    key.add_argument("owner", type=_owner, help="whose sessions it opens")
    return parser


def _owner(name: str) -> str:
    if not is_owner(name):
        raise argparse.ArgumentTypeError("use letters, digits, dots, dashes and underscores, 64 at most")
    return name


def _make_key(owner: str) -> int:
    key, entry = made_for(owner)
    print(f"The key, which is shown once and stored nowhere:\n\n    {key}\n")
    print(f"Its entry for API_KEYS, after a comma if there are others:\n\n    API_KEYS={entry}")
    return 0


def _migrate(settings: Settings) -> int:
    try:
        applied = migrate(settings)
    except ServiceError as error:
        print(f"DATABASE_URL: the database cannot be reached ({type(error.__cause__).__name__}).", file=sys.stderr)
        return 1
    print("\n".join(f"applied {name}" for name in applied) or "up to date")
    return 0


def _show(settings: Settings) -> int:
    print("\n".join(effective(settings)))
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
    if not settings.keys and not is_loopback(settings.host):
        logger.warning(
            "HOST=<%s> | everybody who reaches this address can read and delete every session: set API_KEYS,"
            " or HOST to 127.0.0.1",
            settings.host,
        )
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
        server_header=False,
        proxy_headers=bool(settings.forwarded_allow_ips),
        forwarded_allow_ips=list(settings.forwarded_allow_ips),
        timeout_graceful_shutdown=int(settings.shutdown_seconds) + 2,
    )
    server = _Server(config)
    server.run(sockets=[listening])
    return 0 if server.started else 3


_COMMANDS = {"run": _run, "migrate": _migrate, "config": _show}

if __name__ == "__main__":
    sys.exit(main())
