"""Sessions in an application of one's own on FastAPI: a factory, session managers, streams, errors and health checks.

Needs the extra ``fastapi``.
"""

from importlib.util import find_spec

if not find_spec("fastapi"):
    raise ImportError(
        "mongodb_session_manager.fastapi needs FastAPI, which its extra brings: "
        "pip install 'mongodb-session-manager[fastapi]'"
    )

from .dependencies import Factory, OpenSession, open_session
from .health import health_router, metrics_router, pool_stats
from .lifespan import session_lifespan
from .problems import Problem, explain, install_error_handlers
from .streams import stream_agent, stream_text

__all__ = [
    "Factory",
    "OpenSession",
    "Problem",
    "explain",
    "health_router",
    "install_error_handlers",
    "metrics_router",
    "open_session",
    "pool_stats",
    "session_lifespan",
    "stream_agent",
    "stream_text",
]
