"""Feedback to Amazon SNS: one topic for good, one for bad, one for all other feedback."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..plain_json import plain_json
from .aws import AWSHook, fifo_ids, now
from .delivery import Request

__all__ = ["FeedbackSNSHook", "create_feedback_sns_hook"]

_ARN = re.compile(r"arn:[a-z-]+:sns:([a-z0-9-]+):[^:\s]+:[A-Za-z0-9_-]{1,256}(?:\.fifo)?")
_OFF = "none"
_SUBJECT_LENGTH = 99
_UNSENDABLE = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class FeedbackSNSHook(AWSHook):
    """A ``feedback_hook`` that publishes each feedback to a topic once it is stored.

    The message is JSON: ``session_id``, ``event`` (``feedback_add``), ``operation`` (``add``), ``feedback``,
    ``timestamp``. The attributes ``session_id`` and ``rating`` (``up``, ``down``, ``neutral``) are for filter policies.
    """

    def __init__(
        self,
        topic_arn_good: str,
        topic_arn_bad: str,
        topic_arn_neutral: str,
        *,
        client: Any = None,
        max_pending: int = 1000,
    ) -> None:
        """Remember the topics; ``"none"`` in the place of one publishes nothing there. Connects to nothing yet.

        Args:
            topic_arn_good: For the rating ``up``.
            topic_arn_bad: For the rating ``down``.
            topic_arn_neutral: For every other rating, and for none.
            client: A boto3 client for SNS, borrowed. By default each topic's region gets one, configured the ordinary
                way (environment, profile, role).
            max_pending: Messages that may wait; what comes beyond is dropped and counted.

        Raises:
            ValueError: One of them is no ARN of a topic, or ``max_pending`` is below 1.
        """
        topics = {"up": topic_arn_good, "down": topic_arn_bad, "neutral": topic_arn_neutral}
        names = ("topic_arn_good", "topic_arn_bad", "topic_arn_neutral")
        regions = {arn: _region(name, arn) for name, arn in zip(names, topics.values(), strict=True) if arn != _OFF}
        super().__init__("sns", client, max_pending)
        self._topics = topics
        self._regions = regions

    def _request(self, action: str, session_id: str, **value: Any) -> Request | None:
        if action != "add":
            return None
        feedback: Mapping[str, Any] = value["feedback"]
        rating = feedback.get("rating")
        rating = rating if rating in ("up", "down") else "neutral"
        topic = self._topics[rating]
        if topic == _OFF:
            return None
        message = {"session_id": session_id, "event": "feedback_add", "operation": "add", "feedback": feedback}
        return {
            "TopicArn": topic,
            "Subject": _subject(f"Feedback {rating}: session {session_id}"),
            "Message": plain_json({**message, "timestamp": now()}),
            "MessageAttributes": _attributes(session_id=session_id, rating=rating),
            **(fifo_ids(session_id) if topic.endswith(".fifo") else {}),
        }

    def _send(self, request: Request) -> None:
        self._client_in(self._regions[request["TopicArn"]]).publish(**request)


def create_feedback_sns_hook(
    topic_arn_good: str,
    topic_arn_bad: str,
    topic_arn_neutral: str,
    *,
    client: Any = None,
    max_pending: int = 1000,
) -> FeedbackSNSHook:
    """Make a :class:`FeedbackSNSHook`; the arguments are its own."""
    return FeedbackSNSHook(topic_arn_good, topic_arn_bad, topic_arn_neutral, client=client, max_pending=max_pending)


def _region(name: str, arn: str) -> str:
    found = _ARN.fullmatch(arn) if isinstance(arn, str) else None
    if found is None:
        raise ValueError(f'{name} must be an ARN such as "arn:aws:sns:eu-west-1:123456789012:name", or "{_OFF}"')
    return found[1]


def _subject(text: str) -> str:
    """What SNS allows: fewer than 100 printable ASCII characters."""
    return re.sub(r"[^ -~]", "?", text)[:_SUBJECT_LENGTH]


def _attributes(**values: str) -> dict[str, Any]:
    """Attributes of a message, without those whose text SNS does not take: it is empty, or has control characters."""
    return {
        name: {"DataType": "String", "StringValue": value}
        for name, value in values.items()
        if value and not _UNSENDABLE.search(value)
    }
