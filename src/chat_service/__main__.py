"""``python -m chat_service``: the whole service on this machine, with a database of its own if no other is set.

Other commands, which end when they are done:

* ``migrate`` brings the tables of ``DATABASE_URL`` up to date.
* ``config`` prints the configuration in force, and where each value comes from.
* ``key <owner>`` makes a key for ``API_KEYS``.
* ``ingest PATH…`` takes documents into the knowledge base.
* ``evaluate`` measures how well questions are answered from it.

And ``frontend``, which serves the page alone until it is ended.
"""

from __future__ import annotations

import argparse
import logging
import signal
import socket
import sys

import uvicorn

from . import frontend
from .config import ConfigurationError, Settings, load_settings
from .database import migrate, with_database
from .effective import effective
from .exceptions import ServiceError
from .log import configure
from .main import create_app
from .rag import evaluate_command, ingest_command
from .security.api_keys import is_owner, made_for
from .security.settings import is_loopback
from .serving import Server, listening_on

__all__ = ["main"]

logger = logging.getLogger(__name__)


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
        if arguments.command == "frontend":
            return frontend.run(arguments)
        settings = load_settings()
        configure(settings.log_level, settings.log_format)
        if arguments.command == "ingest":
            return ingest_command.run(settings, arguments)
        if arguments.command == "evaluate":
            return evaluate_command.run(settings, arguments)
        return _COMMANDS[arguments.command or "run"](settings)
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="chat-service", description="A chat service. Without a command it runs.")
    commands = parser.add_subparsers(
        dest="command", metavar="{run,migrate,config,key <owner>,ingest PATH…,evaluate,frontend}"
    )
    commands.add_parser("run", help="run the service")
    commands.add_parser("migrate", help="bring the tables of DATABASE_URL up to date")
    commands.add_parser("config", help="print the configuration in force, without secrets")
    key = commands.add_parser("key", help="make a key for API_KEYS")
    key.add_argument("owner", type=_owner, help="whose sessions it opens")
    ingest_command.add_to(commands)
    evaluate_command.add_to(commands)
    frontend.add_to(commands)
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
    try:
        return listening_on(settings.host, settings.port)
    except ValueError as error:
        remedy = Settings.model_fields["host"].description
        raise ConfigurationError(f"HOST: {settings.host} is no address of this machine. {remedy}") from error


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
    server = Server(config, "Chat service on http://{}")
    server.run(sockets=[listening])
    return 0 if server.started else 3


_COMMANDS = {"run": _run, "migrate": _migrate, "config": _show}

if __name__ == "__main__":
    sys.exit(main())
