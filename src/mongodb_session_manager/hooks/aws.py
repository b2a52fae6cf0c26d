"""What the hooks that call AWS have in common: clients, a life, and what AWS allows in a name."""

from __future__ import annotations

import hashlib
import os
import re
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cached_property, partial
from types import TracebackType
from typing import Any, Self

from ..aio import Awaitables
from ..background import Background
from .delivery import Delivery, Request

__all__ = ["AWSHook", "fifo_ids", "now", "require_region"]

_CONNECT_SECONDS, _READ_SECONDS = 5, 10
_CLOSE_SECONDS = 5.0
_GROUP_ID = re.compile(r"[!-~]{1,128}")


class AWSHook(ABC):
    """Lets everything pass and, once it is stored, tells AWS about it in the background.

    Made once and given to any number of session managers. Whatever AWS does, what is stored stays stored and the caller
    hears nothing of it: a message that cannot be delivered is logged and counted.

    Attributes:
        aio: ``close`` in its awaitable form.
    """

    def __init__(self, service: str, client: Any, max_pending: int) -> None:
        """Connect to nothing yet.

        Args:
            service: What boto3 calls it.
            client: A boto3 client to use, borrowed; by default one is made when it is needed first.
            max_pending: Messages that may wait.
        """
        self._service = service
        self._client = client
        self._own_clients: dict[tuple[int, str | None], Any] = {}
        self._delivery = Delivery(self._send, max_pending)

    def __call__(self, original_func: Callable[..., Any], action: str, session_id: str, **kwargs: Any) -> Any:
        """Store, then leave a message to the background."""
        result = original_func(*kwargs.values())
        self._delivery.put(session_id, partial(self._request, action, session_id, **kwargs))
        return result

    @abstractmethod
    def _request(self, action: str, session_id: str, **value: Any) -> Request | None:
        """What to send of something that was done, ``None`` for nothing."""

    @abstractmethod
    def _send(self, request: Request) -> None:
        """Send a message, in a thread of the background."""

    def _client_in(self, region: str | None) -> Any:
        """A client that this process may use. Two threads may make one each; either is good."""
        if self._client is not None:
            return self._client
        key = (os.getpid(), region)
        if key not in self._own_clients:
            self._own_clients[key] = _new_client(self._service, region)
        return self._own_clients[key]

    def stats(self) -> dict[str, int]:
        """How messages fare: ``pending`` now; ``delivered``, ``failed``, ``dropped`` since the process began."""
        return self._delivery.stats()

    def close(self, timeout: float = _CLOSE_SECONDS) -> bool:
        """Wait until every message is sent; those that still wait after so many seconds are dropped.

        The hook stays usable. The end of the process does the same by itself.

        Returns:
            Whether nothing is under way any more.
        """
        if drained := self._delivery.drain(timeout):
            clients, self._own_clients = self._own_clients, {}
            for client in clients.values():
                client.close()
        return drained

    @cached_property
    def aio(self) -> Awaitables:
        """The awaitable form of ``close``."""
        return Awaitables(self, Background.of(self, 1), frozenset({"close"}))

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    async def __aenter__(self) -> Self:
        """Itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close, off the event loop."""
        await self.aio.close()


def _new_client(service: str, region: str | None) -> Any:
    import boto3  # here, because most applications call no AWS
    from botocore.config import Config

    config = Config(connect_timeout=_CONNECT_SECONDS, read_timeout=_READ_SECONDS)
    return boto3.session.Session().client(service, region_name=region, config=config)


def require_region(argument: str) -> None:
    """Refuse what boto3 would refuse later, in the background.

    Raises:
        ValueError: Neither the environment nor the profile names a region.
    """
    import boto3

    if boto3.session.Session().region_name is None:
        raise ValueError(f"{argument} tells no region: set AWS_DEFAULT_REGION, or a region in the profile")


def fifo_ids(session_id: str) -> dict[str, str]:
    """What a message to a FIFO topic or queue carries: a group for the session, an id of its own.

    The id is the message's, not its content's: what is sent again after a lost answer is delivered once.
    """
    group = session_id if _GROUP_ID.fullmatch(session_id) else hashlib.sha256(session_id.encode()).hexdigest()
    return {"MessageGroupId": group, "MessageDeduplicationId": uuid.uuid4().hex}


def now() -> str:
    """This moment in ISO 8601, UTC."""
    return datetime.now(UTC).isoformat()
