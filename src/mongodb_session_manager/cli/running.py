"""Commands that run something in the foreground: ``serve``, ``mongod``."""

from __future__ import annotations

import os
import signal
import sys
import threading
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from .failures import Refused
from .options import Json
from .output import note, print_json

__all__ = ["mongod", "serve"]

_POLL_SECONDS = 0.5


def serve(
    uri: Annotated[
        str | None,
        typer.Option("--uri", envvar="MONGODB_URI", metavar="ADDRESS", help="None for an embedded server."),
    ] = None,
    database: Annotated[
        str | None, typer.Option("--database", envvar="DATABASE_NAME", metavar="NAME", help="Database.")
    ] = None,
    collection: Annotated[
        str | None, typer.Option("--collection", envvar="COLLECTION_NAME", metavar="NAME", help="Collection.")
    ] = None,
    host: Annotated[str | None, typer.Option("--host", envvar="HOST", help="Where it listens.")] = None,
    port: Annotated[int | None, typer.Option("--port", envvar="PORT", help="Where it listens.")] = None,
) -> None:
    """Run the chat service, with its settings from the environment.

    Example: mongodb-sessions serve --port 8880
    """
    if not all(map(find_spec, ("chat_service", "fastapi", "pydantic_settings", "uvicorn"))):
        raise Refused("the chat service is not installed: pip install 'mongodb-session-manager[service]'")
    given = {"MONGODB_URI": uri, "DATABASE_NAME": database, "COLLECTION_NAME": collection, "HOST": host, "PORT": port}
    environment = {name: str(value) for name, value in given.items() if value is not None}
    os.execve(sys.executable, [sys.executable, "-m", "chat_service"], {**os.environ, **environment})  # noqa: S606


def mongod(
    folder: Annotated[Path, typer.Option("--folder", metavar="PATH", help="Where its data is.")] = Path(".data"),
    port: Annotated[
        int | None, typer.Option("--port", min=1, max=65535, help="On 127.0.0.1; by default a free one is kept.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Run the embedded MongoDB until Ctrl-C, and print its address.

    Example: mongodb-sessions mongod --folder .data
    """
    try:
        from ..embedded import EmbeddedMongoDB, EmbeddedMongoDBError
    except ImportError as error:
        raise Refused(str(error)) from None
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    try:
        with EmbeddedMongoDB(folder, port=port) as server:
            if as_json:
                print_json({"uri": server.uri, "port": server.port, "pid": server.pid, "owned": server.owned})
            else:
                typer.echo(server.uri)
            sys.stdout.flush()
            if not server.owned:
                note(f"It is run by another process on {server.data_dir}, and ends with that one.")
                return
            while not ended.wait(_POLL_SECONDS):
                pass
    except EmbeddedMongoDBError as error:
        raise Refused(str(error)) from None
