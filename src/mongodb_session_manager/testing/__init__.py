"""A contract suite for session managers of Strands agents: what one has to do, as plain functions to call.

:data:`CONTRACT` is a tuple of checks. Each is called with a :class:`Subject`, which says how to make the session
manager in question, and raises when a promise is not kept. :func:`run` calls them all and reports. The command
``python -m mongodb_session_manager.testing`` compares this library's session manager with the SDK's. Nothing here needs
a network or a test framework.
"""

from .contract import CAPABILITIES, CONTRACT, Check
from .report import Report, Result, comparison, run
from .scripted_model import Redacted, ScriptedModel, ToolCall
from .subject import NotOffered, Subject
from .subjects import files, mongodb, snapshots

__all__ = [
    "CAPABILITIES",
    "CONTRACT",
    "Check",
    "NotOffered",
    "Redacted",
    "Report",
    "Result",
    "ScriptedModel",
    "Subject",
    "ToolCall",
    "comparison",
    "files",
    "mongodb",
    "run",
    "snapshots",
]
