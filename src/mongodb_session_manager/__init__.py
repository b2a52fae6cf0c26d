"""Durable sessions for Strands agents on MongoDB."""

from .aio import Awaitables
from .background import Background
from .client_telemetry import client_listeners
from .codec import decode, encode
from .documents import prompt_change, prompt_lineage, session_message, valid_session_id
from .errors import (
    SessionBusyError,
    SessionConflictError,
    SessionError,
    SessionNotFoundError,
    SessionTooLargeError,
)
from .history_cut import cut_data, looked_at, refuse_cut
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
from .redaction import change_of, redact_message
from .session_export import SessionExport, exported_lines
from .session_lines import read_lines
from .session_manager import SessionManager
from .storage import MongoDBStorage
from .store import (
    AgentSummary,
    Claim,
    Commit,
    Committed,
    DeletionReceipt,
    LoadedAgent,
    OriginalMessage,
    SessionCatalogue,
    SessionPage,
    SessionStatistics,
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
    "DeletionReceipt",
    "FeedbackSNSHook",
    "LoadedAgent",
    "MetadataSQSHook",
    "MongoDBConnectionPool",
    "MongoDBSessionManager",
    "MongoDBSessionManagerFactory",
    "MongoDBSessionRepository",
    "MongoDBStorage",
    "OriginalMessage",
    "SessionBusyError",
    "SessionCatalogue",
    "SessionConflictError",
    "SessionError",
    "SessionExport",
    "SessionManager",
    "SessionNotFoundError",
    "SessionPage",
    "SessionStatistics",
    "SessionStore",
    "SessionSummary",
    "SessionTooLargeError",
    "SessionView",
    "UnsupportedServerError",
    "change_of",
    "client_listeners",
    "close_global_factory",
    "create_feedback_sns_hook",
    "create_metadata_sqs_hook",
    "create_mongodb_session_manager",
    "cut_data",
    "decode",
    "encode",
    "exported_lines",
    "get_global_factory",
    "initialize_global_factory",
    "looked_at",
    "prompt_change",
    "prompt_lineage",
    "read_lines",
    "redact_message",
    "refuse_cut",
    "session_message",
    "valid_session_id",
]
