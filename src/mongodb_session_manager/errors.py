"""The errors of the library.

::

    SessionException                 the SDK's
    └── SessionError
        ├── SessionBusyError         another turn is running          409, Retry-After
        ├── SessionConflictError     the history moved on             409
        ├── SessionNotFoundError     the session is gone              404
        └── SessionTooLargeError     more than the store can hold     413

Errors of the database driver pass through unchanged, with the session id added as a note.
"""

from __future__ import annotations

from typing import Self

from strands.types.exceptions import SessionException

__all__ = [
    "SessionBusyError",
    "SessionConflictError",
    "SessionError",
    "SessionNotFoundError",
    "SessionTooLargeError",
]


class SessionError(SessionException):
    """Something about one session. HTTP status 500 unless a subclass says otherwise.

    Attributes:
        session_id: The session it is about.
        agent_id: The agent it is about, ``None`` when it concerns the session as a whole.
    """

    def __init__(self, message: str, *, session_id: str, agent_id: str | None = None) -> None:
        """Keep the ids beside the message.

        Args:
            message: What happened and what to do about it, without message content.
            session_id: The session it is about.
            agent_id: The agent it is about, if one.
        """
        super().__init__(message)
        self.session_id = session_id
        self.agent_id = agent_id

    def again(self) -> Self:
        """An equal error without traceback or context, to raise a second time."""
        copy = self.__class__.__new__(self.__class__, *self.args)
        copy.args = self.args
        copy.__dict__.update(self.__dict__)
        return copy


class SessionBusyError(SessionError):
    """Another turn of this agent is running. HTTP status 409 with ``Retry-After``.

    Attributes:
        retry_after: Seconds after which the other turn has ended if it is not renewed, 0 when it has ended already.
    """

    def __init__(self, message: str, *, session_id: str, agent_id: str | None = None, retry_after: float = 0.0) -> None:
        """Keep the wait beside the ids.

        Args:
            message: What happened and what to do about it.
            session_id: The session it is about.
            agent_id: The agent it is about.
            retry_after: Seconds to wait.
        """
        super().__init__(message, session_id=session_id, agent_id=agent_id)
        self.retry_after = retry_after


class SessionConflictError(SessionError):
    """The stored history is no longer the one that this manager loaded. HTTP status 409: reload and try again."""


class SessionNotFoundError(SessionError):
    """The session does not exist, or was deleted after this manager had found it. HTTP status 404."""


class SessionTooLargeError(SessionError):
    """The store cannot hold what was to be written; nothing of it was. HTTP status 413."""
