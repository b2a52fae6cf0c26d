"""``chat-service frontend``: the page served alone, for a service under another address.

The service has to let the page's origin in: in development it takes any port of this machine, elsewhere
``CORS_ORIGINS`` names it.
"""

from __future__ import annotations

import argparse
import re
import sys

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from .page import assets, page
from .serving import Server, listening_on

__all__ = ["add_to", "create_frontend", "run"]

_PORT = 8881
_SERVICE = "http://127.0.0.1:8880"
_ORIGIN = re.compile(r"https?://([a-z0-9_-]+(\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])(:\d{1,5})?", re.IGNORECASE)


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the command.

    Args:
        commands: Of the program.
    """
    command = commands.add_parser("frontend", help="serve the page alone, for a service under another address")
    command.add_argument("--host", default="127.0.0.1", help="where to listen, 127.0.0.1")
    command.add_argument("--port", type=int, default=_PORT, help=f"the port, {_PORT}")
    command.add_argument("--service", type=_service, default=_SERVICE, help=f"where the service is, {_SERVICE}")


def create_frontend(service_url: str) -> Starlette:
    """The page as an application of its own.

    Args:
        service_url: Where the service is: scheme, host and port.
    """

    async def chat_page(request: Request) -> Response:
        return await page(request, service_url)

    routes = [Route("/", chat_page), Route("/chat.html", chat_page), Mount("/static", assets(service_url))]
    return Starlette(routes=routes)


def run(arguments: argparse.Namespace) -> int:
    """Serve the page until told to end.

    Args:
        arguments: Of :func:`add_to`.

    Returns:
        The exit code: 0, 1 when the port is taken, 2 when the host is none of this machine, 3 when it could not start.
    """
    try:
        listening = listening_on(arguments.host, arguments.port)
    except ValueError:
        sys.stderr.write(f"--host: {arguments.host} is no address of this machine. Take 127.0.0.1.\n")
        return 2
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or "it is no port"
        sys.stderr.write(
            f"--port: {arguments.host}:{arguments.port} cannot be used ({reason}). "
            "Stop the other program or take another one: --port 8882.\n"
        )
        return 1
    application = create_frontend(arguments.service)
    config = uvicorn.Config(application, access_log=False, log_config=None, server_header=False)
    with listening:
        server = Server(config, f"Page for {arguments.service} on http://{{}}/chat.html")
        server.run(sockets=[listening])
    return 0 if server.started else 3


def _service(text: str) -> str:
    address = text.rstrip("/")
    if not _ORIGIN.fullmatch(address):
        raise argparse.ArgumentTypeError("use scheme, host and port, as in http://127.0.0.1:8880")
    return address
