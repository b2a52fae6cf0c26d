"""Who sends a request."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Caller"]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sends a request, as the authentication found.

    Attributes:
        owner: Whose sessions are the caller's; ``None`` where keys are not asked for: then all are.
        counted_as: What limits count by: the key, or the address of somebody without one.
    """

    owner: str | None
    counted_as: str

    def may_use(self, session_owner: str | None) -> bool:
        """Whether a session of that owner is the caller's."""
        return self.owner is None or self.owner == session_owner
