"""Hooks around an application's metadata and feedback.

A hook is a function ``hook(original_func, action, session_id, **kwargs)``. It decides whether ``original_func`` is
called, with what, and what the caller gets; raising vetoes. A coroutine function awaits ``original_func``. Two are
ready to use: feedback to Amazon SNS, changes of metadata to Amazon SQS.
"""

from .chain import FeedbackHook, Hook, MetadataHook, as_hooks, hooked
from .feedback_sns_hook import FeedbackSNSHook, create_feedback_sns_hook
from .metadata_sqs_hook import MetadataSQSHook, create_metadata_sqs_hook

__all__ = [
    "FeedbackHook",
    "FeedbackSNSHook",
    "Hook",
    "MetadataHook",
    "MetadataSQSHook",
    "as_hooks",
    "create_feedback_sns_hook",
    "create_metadata_sqs_hook",
    "hooked",
]
