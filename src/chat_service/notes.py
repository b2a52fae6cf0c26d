"""What is noted beside a conversation, as it goes over the wire: title, metadata and feedback."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal, Self

from pydantic import BaseModel, Field

from .models import Body, MetadataChange, plain

__all__ = ["FeedbackList", "FeedbackView", "MetadataPatch", "NewFeedback", "SessionMetadata", "SessionPatch"]


class SessionPatch(Body):
    """What shall change: the title, and what is merged into the metadata."""

    title: str | None = Field(None, max_length=200)
    metadata: MetadataChange = Field(default_factory=dict)


class SessionMetadata(BaseModel):
    """The metadata of a session."""

    session_id: str
    metadata: dict[str, Any]


class MetadataPatch(Body):
    """What is merged into the metadata. Dotted keys address nested fields."""

    metadata: MetadataChange


class NewFeedback(Body):
    """What somebody thinks of an answer, or of the whole conversation."""

    rating: Literal["up", "down", "neutral"]
    comment: str | None = Field(None, max_length=2000)
    reason: str | None = Field(None, max_length=200)
    message_id: str | None = Field(None, pattern=r"^msg_[0-9a-f]{16}$")


class FeedbackView(BaseModel):
    """Stored feedback."""

    rating: str | None = None
    comment: str | None = None
    reason: str | None = None
    message_id: str | None = None
    created_at: datetime | None

    @classmethod
    def of(cls, stored: dict[str, Any]) -> Self:
        """The view of stored feedback, which other programs may have written in their own way."""
        fields = {name: stored.get(name) for name in ("rating", "comment", "reason", "message_id")}
        texts = {name: None if value is None else str(plain(value)) for name, value in fields.items()}
        created_at = stored.get("created_at")
        return cls(created_at=created_at if isinstance(created_at, datetime) else None, **texts)


class FeedbackList(BaseModel):
    """All feedback of a session, the oldest first."""

    session_id: str
    feedback: list[FeedbackView]
