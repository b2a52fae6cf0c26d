"""What goes over the wire: requests as they are checked, answers as they are documented."""

from __future__ import annotations

import hashlib
import math
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self

from fastapi.exceptions import RequestValidationError
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    WithJsonSchema,
)
from strands.types.content import Message
from strands.types.session import SessionMessage

from mongodb_session_manager import SessionSummary

from .model_options import ModelOptions
from .rag.chunks import Chunk, chunks_of
from .timing import timings_of

__all__ = [
    "WHOLE",
    "Body",
    "Cancelled",
    "ChatRequest",
    "ChatResponse",
    "ErrorResponse",
    "IdempotencyKey",
    "LastEventId",
    "MessageList",
    "MessageView",
    "Metadata",
    "MetadataChange",
    "MetadataKey",
    "NewSession",
    "Question",
    "Render",
    "SessionDetail",
    "SessionId",
    "SessionList",
    "SessionView",
    "StreamQuery",
    "Usage",
    "plain",
    "public_message_id",
    "text_of",
]


_DEEPEST = 100  # levels of objects and lists, as in MongoDB itself


def _blank_is_none(value: Any) -> Any:
    return None if isinstance(value, str) and not value.strip() else value


def _fits_in_an_address(value: str) -> str:
    if value in (".", ".."):  # a browser takes them for the way up
        raise ValueError("this cannot be the name of a session")
    return value


def _not_too_deep(value: dict[str, Any]) -> dict[str, Any]:
    level: list[Any] = [value]
    for _ in range(_DEEPEST):
        containers = [item for item in level if isinstance(item, dict | list)]
        level = [item for inner in containers for item in (inner.values() if isinstance(inner, dict) else inner)]
    if any(isinstance(item, dict | list) for item in level):
        raise ValueError(f"nested more than {_DEEPEST} levels deep")
    return value


_NO_NAMES: dict[str, Any] = {"not": {"enum": [".", ".."]}}

SessionId = Annotated[
    str,
    StringConstraints(min_length=1, max_length=256, pattern=r"^[^\x00-\x1f\x7f]+$"),
    AfterValidator(_fits_in_an_address),
    Field(json_schema_extra=_NO_NAMES),
]
"""Ids made here are ``session_`` + 16 hex digits; older clients bring their own."""

AnySession = Annotated[
    SessionId | None,
    BeforeValidator(_blank_is_none),
    WithJsonSchema({"type": ["string", "null"], "pattern": r"^(\s*|[^\x00-\x1f\x7f]{1,256})$", **_NO_NAMES}),
]
"""A session, or nothing, which may be written as blanks."""

Metadata = Annotated[dict[str, Any], AfterValidator(_not_too_deep)]
_DOTTED = r"^[^.$\x00][^.\x00]*(\.[^.$\x00][^.\x00]*)*$"
MetadataKey = Annotated[str, Field(json_schema_extra={"pattern": _DOTTED})]
"""A key in the metadata, or several with dots between them; the catalogue refuses others."""
MetadataChange = Annotated[Metadata, Field(json_schema_extra={"propertyNames": {"pattern": _DOTTED}})]

Query = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=1000),
    Field(json_schema_extra={"pattern": r"\S"}),
]
SelectedText = Annotated[str, StringConstraints(max_length=2000)]


def _without_point(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


WHOLE = BeforeValidator(_without_point)
"""In JSON, 5 is the same whole number as 5.0."""


class Body(BaseModel):
    """What a client sends as JSON, where a number is no text and no truth value."""

    model_config = ConfigDict(strict=True)


class Question(Body):
    """A question."""

    query: Query
    selected_text: Annotated[SelectedText | None, BeforeValidator(_blank_is_none)] = None
    temperature: float = Field(0.5, ge=0, le=1)
    top_k: Annotated[int, Field(ge=1, le=10), WHOLE] = 5
    stream: bool = False

    def options(self) -> ModelOptions:
        """How the answer is to be made."""
        return ModelOptions(temperature=self.temperature)


class ChatRequest(Question):
    """A question, and the session that it is asked in; without one a session begins."""

    session_id: AnySession = None


IdempotencyKey = Annotated[str, StringConstraints(pattern=r"^[\x20-\x7e]{1,200}$")]
LastEventId = Annotated[
    Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{32}-)?[0-9]{1,10}$")] | None,
    BeforeValidator(_blank_is_none),
    WithJsonSchema({"type": "string", "pattern": r"^(\s*|([0-9a-f]{32}-)?[0-9]{1,10})$"}),
]


Render = Annotated[Literal["html"] | None, Field(description="`html`: answers come as HTML too.")]
"""In an address: whether answers come as HTML too."""


class StreamQuery(ChatRequest):
    """A question in an address, or what was seen of its answer."""

    model_config = ConfigDict(strict=False)  # in an address everything is text

    query: Query | None = None  # type: ignore[assignment]
    last_event_id: LastEventId = Field(None, description="As the header Last-Event-ID, which wins.")
    idempotency_key: IdempotencyKey | None = Field(None, description="As the header Idempotency-Key of a POST.")
    render: Render = None

    def question(self) -> ChatRequest:
        """The question.

        Raises:
            RequestValidationError: There is none.
        """
        if self.query is None:
            raise RequestValidationError([{"type": "missing", "loc": ("query", "query"), "msg": "Field required"}])
        return ChatRequest(**self.model_dump(include=set(ChatRequest.model_fields)))


class Cancelled(BaseModel):
    """What became of the wish to cancel. Nothing is cancelled where nothing runs."""

    session_id: str
    cancelled: bool


class ChatResponse(BaseModel):
    """A whole answer."""

    response_text: str
    session_id: str
    message_id: str
    response_time_ms: float
    chunks: list[Chunk] | None = Field(None, description="What was found for it; null where no documents are searched.")
    timestamp: datetime


class NewSession(Body):
    """What a session may start with."""

    metadata: Metadata = Field(default_factory=dict)
    title: str | None = Field(None, max_length=200)
    application_name: str | None = Field(None, min_length=1, max_length=200)


class SessionView(BaseModel):
    """A session without its messages."""

    session_id: str
    title: str | None
    application_name: str | None
    created_at: datetime
    last_accessed: datetime
    message_count: int
    metadata: dict[str, Any]

    @classmethod
    def of(cls, summary: SessionSummary) -> Self:
        """The view of a session in the catalogue."""
        return cls(
            session_id=summary.session_id,
            title=summary.title,
            application_name=summary.application_name,
            created_at=summary.created_at,
            last_accessed=summary.updated_at,
            message_count=summary.message_count,
            metadata=plain(summary.metadata),
        )


class SessionList(BaseModel):
    """A page of sessions, the newest first. ``next_cursor`` asks for the next page."""

    sessions: list[SessionView]
    next_cursor: str | None


class Usage(BaseModel):
    """What a model call has cost."""

    input_tokens: int
    output_tokens: int


class MessageView(BaseModel):
    """A stored message. ``kind`` tells what people said from what an agent exchanged with its tools."""

    message_id: str
    role: Literal["user", "assistant"]
    kind: Literal["text", "tool_use", "tool_result"]
    text: str
    content: list[dict[str, Any]]
    passages: list[Chunk] = Field(description="What was found for this answer, by the numbers that it cites.")
    created_at: datetime
    html: str | None = Field(None, description="`text` as safe HTML: of what a model says, where that was asked for.")
    usage: Usage | None = Field(description="Of the model call that made it.")
    latency_ms: float | None = Field(description="What it took, from the message before.")
    time_to_first_token_ms: float | None = Field(description="From the question to the first word of the answer.")

    @classmethod
    def of(cls, stored: SessionMessage, session_id: str) -> Self:
        """The view of a stored message."""
        message = stored.message
        timings = timings_of(message)
        return cls(
            message_id=public_message_id(message, f"{session_id}/{stored.message_id}"),
            role=message["role"],
            kind=_kind(message),
            text=text_of(message),
            content=[plain(dict(block)) for block in message["content"]],
            passages=chunks_of(message),
            created_at=_aware(stored.created_at),
            usage=_usage(message),
            latency_ms=timings.get("latency_ms"),
            time_to_first_token_ms=timings.get("time_to_first_token_ms"),
        )


class MessageList(BaseModel):
    """Messages, the oldest first. ``total`` counts all of the session's conversation, ``offset`` those before these."""

    session_id: str
    messages: list[MessageView]
    offset: int
    total: int


class SessionDetail(SessionView):
    """A session with its newest messages; ``offset`` counts those before them."""

    messages: list[MessageView]
    offset: int


class ErrorResponse(BaseModel):
    """Every error, whatever its status."""

    error: str = Field(description="What went wrong, for people.")
    code: str = Field(description="What went wrong, for programs. Stable.")
    status_code: int
    details: dict[str, Any]
    request_id: str


def public_message_id(message: Message, position: str) -> str:
    """The id under which clients know a message: ``msg_`` + 16 hex digits, the same whenever it is asked for.

    Args:
        message: Its ``tracking_id`` decides; the SDK gives one to every message.
        position: Session and place in it, for messages stored before there were such ids.
    """
    tracked = message.get("tracking_id") or position
    return f"msg_{hashlib.sha256(tracked.encode()).hexdigest()[:16]}"


def text_of(message: Message) -> str:
    """All that a message says in words."""
    text: str = plain("\n\n".join(block["text"] for block in message["content"] if "text" in block))
    return text


def plain(value: Any, depth: int = 0) -> Any:
    """A value as JSON can carry it.

    Binary becomes its size, characters outside Unicode become question marks, and what lies too deep to be written as
    JSON is left out.
    """
    if isinstance(value, dict | list | tuple) and depth >= _DEEPEST:
        return "<nested too deeply>"
    if isinstance(value, dict):
        return {plain(str(key)): plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, depth + 1) for item in value]
    if isinstance(value, bytes | bytearray):
        return f"<{len(value)} bytes>"
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, float) and not math.isfinite(value):
        return None  # JSON has no such number
    if value is None or isinstance(value, bool | int | float):
        return value
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _kind(message: Message) -> Literal["text", "tool_use", "tool_result"]:
    if any("toolResult" in block for block in message["content"]):
        return "tool_result"
    return "tool_use" if any("toolUse" in block for block in message["content"]) else "text"


def _usage(message: Message) -> Usage | None:
    """What the SDK keeps with a message; other programs may have left anything there."""
    kept: Any = message
    for name in ("metadata", "usage"):
        kept = kept.get(name) if isinstance(kept, dict) else None
    tokens = [kept.get(name) for name in ("inputTokens", "outputTokens")] if isinstance(kept, dict) else []
    if not tokens or not all(isinstance(count, int) for count in tokens):
        return None
    return Usage(input_tokens=tokens[0] or 0, output_tokens=tokens[1] or 0)


def _aware(stamp: str) -> datetime:
    parsed = datetime.fromisoformat(stamp)
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
