"""Hooks around an application's metadata and feedback.

A hook is a function ``hook(original_func, action, session_id, **kwargs)``. It decides whether ``original_func`` is
called, with what, and what the caller gets; raising vetoes.
"""

from .chain import FeedbackHook, Hook, MetadataHook, as_hooks, run_hooks

__all__ = ["FeedbackHook", "Hook", "MetadataHook", "as_hooks", "run_hooks"]
