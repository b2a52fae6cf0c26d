"""Changes of metadata to an Amazon SQS queue, as for a page that shows them at once."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from ..plain_json import plain_json
from .aws import AWSHook, fifo_ids, now, require_region
from .delivery import Request

__all__ = ["MetadataSQSHook", "create_metadata_sqs_hook"]

_REGION = re.compile(
    r"(?:^|\.)sqs(?:-fips)?\.([a-z0-9-]+)\.(?:vpce\.)?(?:amazonaws\.com|api\.aws|localhost\.localstack\.cloud)"
    r"|^([a-z0-9-]+)\.queue\.amazonaws\.com"
)


class MetadataSQSHook(AWSHook):
    """A ``metadata_hook`` that sends each change to a queue once it is stored.

    The message is JSON: ``session_id``, ``event`` (``metadata_update`` or ``metadata_delete``), ``operation``
    (``update`` or ``delete``), ``metadata`` (what was set), ``timestamp``; for a deletion also ``keys``.
    """

    def __init__(
        self,
        queue_url: str,
        metadata_fields: Sequence[str] | None = None,
        *,
        client: Any = None,
        max_pending: int = 1000,
    ) -> None:
        """Remember the queue. Connects to nothing yet.

        Args:
            queue_url: Where to send. The queue's region is taken from it, where it tells one.
            metadata_fields: The fields to tell about, dotted for nested ones; by default all. A change that touches
                none of them sends nothing.
            client: A boto3 client for SQS, borrowed. By default one is made, configured the ordinary way
                (environment, profile, role).
            max_pending: Messages that may wait; what comes beyond is dropped and counted.

        Raises:
            ValueError: ``queue_url`` is no address of a queue, its region is unknown, a field is empty, or
                ``max_pending`` is below 1.
            TypeError: ``metadata_fields`` is not several names.
        """
        host = _host(queue_url)
        fields = None if metadata_fields is None else _field_names(metadata_fields)
        region = _REGION.search(host)
        if region is None and client is None:
            require_region("queue_url")
        super().__init__("sqs", client, max_pending)
        self._queue_url = queue_url
        self._fields = fields
        self._region = region and (region[1] or region[2])

    def _request(self, action: str, session_id: str, **value: Any) -> Request | None:
        told = self._told(**value)
        if action not in ("update", "delete") or not any(told.values()):
            return None
        message = {"session_id": session_id, "event": f"metadata_{action}", "operation": action, **told}
        return {
            "QueueUrl": self._queue_url,
            "MessageBody": plain_json({**message, "timestamp": now()}),
            **(fifo_ids(session_id) if self._queue_url.endswith(".fifo") else {}),
        }

    def _told(self, metadata: Mapping[str, Any] | None = None, keys: Iterable[str] | None = None) -> dict[str, Any]:
        """What to tell of an update or a deletion."""
        if keys is not None:
            return {"metadata": {}, "keys": [name for key in keys for name in self._touched(key)]}
        given = metadata or {}
        return {"metadata": {name: _value(given, key, name) for key in given for name in self._touched(key)}}

    def _touched(self, key: str) -> list[str]:
        """What a change of this key changes of the chosen fields: the key itself, or fields inside it."""
        if self._fields is None or any(f"{key}.".startswith(f"{field}.") for field in self._fields):
            return [key]
        return [field for field in self._fields if field.startswith(f"{key}.")]

    def _send(self, request: Request) -> None:
        self._client_in(self._region).send_message(**request)


def create_metadata_sqs_hook(
    queue_url: str,
    metadata_fields: Sequence[str] | None = None,
    *,
    client: Any = None,
    max_pending: int = 1000,
) -> MetadataSQSHook:
    """Make a :class:`MetadataSQSHook`; the arguments are its own."""
    return MetadataSQSHook(queue_url, metadata_fields, client=client, max_pending=max_pending)


def _value(metadata: Mapping[str, Any], key: str, name: str) -> Any:
    """The new value of a field that is the key, or lies inside what it holds; ``None`` when it is not there."""
    value = metadata[key]
    for part in name[len(key) + 1 :].split(".") if name != key else ():
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _host(queue_url: str) -> str:
    parts = urlsplit(queue_url) if isinstance(queue_url, str) else None
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname or not parts.path.strip("/"):
        raise ValueError('queue_url must be one such as "https://sqs.eu-west-1.amazonaws.com/123456789012/name"')
    return parts.hostname


def _field_names(fields: Sequence[str]) -> tuple[str, ...]:
    if isinstance(fields, str) or not all(isinstance(field, str) for field in fields):
        raise TypeError("metadata_fields must be several names, such as a list of them")
    if not all(fields):
        raise ValueError("metadata_fields holds an empty name")
    return tuple(fields)
