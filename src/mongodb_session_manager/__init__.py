"""Durable sessions for Strands agents on MongoDB."""

from .aio import Awaitables
from .background import Background
from .codec import decode, encode
from .documents import session_message, valid_session_id
from .errors import (
    SessionBusyError,
    SessionConflictError,
    SessionError,
    SessionNotFoundError,
    SessionTooLargeError,
)
from .hooks import FeedbackSNSHook, MetadataSQSHook, create_feedback_sns_hook, create_metadata_sqs_hook
from .mongodb_connection_pool import MongoDBConnectionPool, UnsupportedServerError
from .mongodb_session_factory import (
    MongoDBSessionManagerFactory,
    close_global_factory,
    get_global_factory,
    initialize_global_factory,
)
from .mongodb_session_manager import MongoDBSessionManager, create_mongodb_session_manager
from .mongodb_session_repository import MongoDBSessionRepository
from .session_manager import SessionManager
from .storage import MongoDBStorage
from .store import (
    AgentSummary,
    Claim,
    Commit,
    Committed,
    LoadedAgent,
    SessionCatalogue,
    SessionPage,
    SessionStore,
    SessionSummary,
)
from .views import AgentView, SessionView

__all__ = [
    "AgentSummary",
    "AgentView",
    "Awaitables",
    "Background",
    "Claim",
    "Commit",
    "Committed",
    "FeedbackSNSHook",
    "LoadedAgent",
    "MetadataSQSHook",
    "MongoDBConnectionPool",
    "MongoDBSessionManager",
    "MongoDBSessionManagerFactory",
    "MongoDBSessionRepository",
    "MongoDBStorage",
    "SessionBusyError",
    "SessionCatalogue",
    "SessionConflictError",
    "SessionError",
    "SessionManager",
    "SessionNotFoundError",
    "SessionPage",
    "SessionStore",
    "SessionSummary",
    "SessionTooLargeError",
    "SessionView",
    "UnsupportedServerError",
    "close_global_factory",
    "create_feedback_sns_hook",
    "create_metadata_sqs_hook",
    "create_mongodb_session_manager",
    "decode",
    "encode",
    "get_global_factory",
    "initialize_global_factory",
    "session_message",
    "valid_session_id",
]
