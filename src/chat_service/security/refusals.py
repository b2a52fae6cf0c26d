"""How the service refuses callers: errors that need a status, a code and a message, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from ..exceptions import ServiceError

__all__ = ["Forbidden", "Overloaded", "RateLimited", "Unauthorized", "UnknownHost"]


class Unauthorized(ServiceError):
    """The request brings no key, or one that is not known. HTTP status 401."""

    status_code = 401
    code = "unauthorized"
    headers: ClassVar[Mapping[str, str]] = {"WWW-Authenticate": "Bearer"}

    def __init__(self) -> None:
        super().__init__("This needs a valid API key, sent as: Authorization: Bearer <key>.")


class Forbidden(ServiceError):
    """The key is known, but this is for those who run the service. HTTP status 403."""

    status_code = 403
    code = "forbidden"

    def __init__(self) -> None:
        super().__init__("This is for those who run the service.")


class UnknownHost(ServiceError):
    """The request names a host that the service is not known by. HTTP status 421."""

    status_code = 421
    code = "unknown_host"

    def __init__(self) -> None:
        super().__init__(
            "This service does not answer under that name. Use localhost, or have the name added to ALLOWED_HOSTS."
        )


class RateLimited(ServiceError):
    """Too many requests of one caller. HTTP status 429."""

    status_code = 429
    code = "rate_limited"

    def __init__(self, retry_after: int) -> None:
        super().__init__("Too many requests. Try again later.")
        self.retry_after = retry_after


class Overloaded(ServiceError):
    """As many answers are being written as the service can write. HTTP status 503."""

    status_code = 503
    code = "overloaded"
    retry_after = 5

    def __init__(self) -> None:
        super().__init__("Too many answers are being written. Try again in a moment.")
