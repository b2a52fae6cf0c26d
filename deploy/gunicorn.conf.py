"""Gunicorn for the chat service, with uvicorn's workers.

``gunicorn -c gunicorn.conf.py 'chat_service.main:create_app()'``; everything else is a setting of the service, from the
environment.
"""

from __future__ import annotations

import os
import sys
from typing import Any, ClassVar

from uvicorn_worker import UvicornWorker

_SHUTDOWN = int(float(os.environ.get("SHUTDOWN_SECONDS", "2")))


class _Worker(UvicornWorker):
    """As ``python -m chat_service`` runs uvicorn: on uvloop, with the service's own log of requests."""

    CONFIG_KWARGS: ClassVar[dict[str, Any]] = {
        "loop": "uvloop",
        "access_log": False,
        "server_header": False,
        # After the turns have ended: whoever still reads slowly is cut off then.
        "timeout_graceful_shutdown": _SHUTDOWN + 2,
    }


bind = f"{os.environ.get('HOST', '0.0.0.0')}:{os.environ.get('PORT', '8880')}"  # noqa: S104
# One for each container, where there are several containers: each has its own connections, limits and memory.
workers = int(os.environ.get("WEB_CONCURRENCY", "1"))
worker_class = _Worker
# A client's threads and sockets, and an embedded server, belong to the process that made them.
preload_app = False
# Seconds in which a worker's event loop must have moved; turns may take longer.
timeout = 60
# Ending turns takes SHUTDOWN_SECONDS and a second, what is left of streams 2 more, the database's connections 5.
graceful_timeout = _SHUTDOWN + 10
# Longer than proxies keep an idle connection, so that it is never the service that closes one being used.
keepalive = 75
# Nobody's X-Forwarded-For is believed unless the setting says so.
forwarded_allow_ips = os.environ.get("FORWARDED_ALLOW_IPS", "")
# A file of a worker's heartbeat, in memory where there is such a place: a disk that hangs would end the worker.
worker_tmp_dir = "/dev/shm" if sys.platform == "linux" else None  # noqa: S108
control_socket_disable = True


def child_exit(server: Any, worker: Any) -> None:
    """Forget the figures of a worker that has ended."""
    if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        from prometheus_client import multiprocess

        multiprocess.mark_process_dead(worker.pid)
