"""Running hooks one around the other."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias

__all__ = ["FeedbackHook", "Hook", "MetadataHook", "as_hooks", "run_hooks"]


class Hook(Protocol):
    """What an application passes as ``metadata_hook`` or ``feedback_hook``.

    The value, where the action has one, comes as a keyword (``metadata``, ``keys`` or ``feedback``) and goes to
    ``original_func`` as its only argument.
    """

    def __call__(self, original_func: Callable[..., Any], action: str, session_id: str, **kwargs: Any) -> Any:
        """Call ``original_func`` or do not; what is returned the caller gets."""


MetadataHook: TypeAlias = Hook
"""Actions ``update`` (with ``metadata``), ``get``, ``delete`` (with ``keys``)."""

FeedbackHook: TypeAlias = Hook
"""Action ``add`` (with ``feedback``)."""


def as_hooks(hook: Hook | Sequence[Hook] | None, name: str) -> tuple[Hook, ...]:
    """One hook, several or none, as a chain; the first is the outermost.

    Raises:
        TypeError: One of them is not a plain callable.
    """
    hooks = () if hook is None else tuple(hook) if isinstance(hook, Sequence) else (hook,)
    for each in hooks:
        if not callable(each):
            raise TypeError(f"{name} must be a callable, not {type(each).__name__}")
        if inspect.iscoroutinefunction(each) or inspect.iscoroutinefunction(type(each).__call__):
            raise TypeError(f"{name} must be a plain function; coroutine functions are not supported")
    return hooks


def run_hooks(
    hooks: Sequence[Hook], original_func: Callable[..., Any], action: str, session_id: str, **value: Any
) -> Any:
    """Run a chain of hooks around a function.

    Args:
        hooks: The first is the outermost.
        original_func: What is done in the end, with the value as its only argument.
        action: What it is called to the hooks.
        session_id: The session.
        **value: At most one: what the action is about.

    Returns:
        What the outermost hook returns.
    """
    if not hooks:
        return original_func(*value.values())

    def inner(*arguments: Any) -> Any:
        passed_on = dict(zip(value, arguments, strict=True)) if arguments else value
        return run_hooks(hooks[1:], original_func, action, session_id, **passed_on)

    return hooks[0](inner, action, session_id, **value)
