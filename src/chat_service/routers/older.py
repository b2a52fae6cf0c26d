"""The older dialect: the same turns under other addresses, for clients that bring their own session ids."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal
from urllib.parse import unquote

from fastapi import APIRouter, Header, Query, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from mongodb_session_manager import AgentSummary

from ..agent import AGENT_ID
from ..config import Settings
from ..dependencies import AppCaller, AppSettings, AppTurns, Factory, NamedSession, OwnedSession, RequestId
from ..events import Log
from ..exceptions import InvalidRequest, TurnFailed
from ..model_options import ModelOptions
from ..models import WHOLE, Body, ChatRequest, SessionId
from ..openapi import OF_SESSION, OF_TURN, REFUSED_VALUE, TOO_LARGE, Responses, errors

__all__ = ["router"]

router = APIRouter(tags=["older dialect"])

_TEXT: Responses = {
    200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "The answer, while it is written."},
    **errors(OF_TURN, REFUSED_VALUE),
}
_Prompt = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1), Field(json_schema_extra={"pattern": r"\S"})
]  # MAX_BODY_BYTES bounds it
_HeaderSession = Annotated[SessionId, BeforeValidator(unquote), Header(alias="session-id", description="URL-encoded.")]


class AgentConfig(Body):
    """What a client may choose. Anything else is refused, and nothing of this reaches an agent as it is."""

    model_config = ConfigDict(extra="forbid", strict=True)

    temperature: float = Field(0.5, ge=0, le=1)
    max_tokens: Annotated[int, Field(ge=1, le=100_000), WHOLE] | None = None
    model: str | None = Field(None, max_length=200, description="One of MODEL_CHOICES.")


class Prompt(Body):
    """A question in the older form."""

    prompt: _Prompt
    agent_config: AgentConfig = Field(default_factory=AgentConfig)


class Metrics(BaseModel):
    """What the conversation has cost since its beginning."""

    total_tokens: int = 0
    average_latency_ms: float = 0
    total_messages: int = 0


class PromptAnswer(BaseModel):
    """A whole answer in the older form."""

    response: str
    session_id: str
    metrics: Metrics


class MessageAnswer(BaseModel):
    """A whole answer in the shortest form."""

    session_id: str
    response: str


class Success(BaseModel):
    """It is done."""

    status: Literal["success"] = "success"


class _Question(ChatRequest):
    """The same question for the service; other than there, its length has no limit of its own."""

    query: _Prompt
    max_tokens: int | None = None
    model: str | None = None

    def options(self) -> ModelOptions:
        """How the answer is to be made."""
        return ModelOptions(self.temperature, self.max_tokens, self.model)


@router.post("/chat", responses=errors(OF_TURN, REFUSED_VALUE))
async def chat(
    prompt: Prompt,
    session_id: _HeaderSession,
    turns: AppTurns,
    settings: AppSettings,
    factory: Factory,
    request_id: RequestId,
    caller: AppCaller,
) -> PromptAnswer:
    """Ask a question in the session that the header ``session-id`` names, and wait for the whole answer."""
    turn = await turns.begin(_question(prompt, session_id, settings), request_id, caller)
    answer = await turn.response()
    summary: AgentSummary | None = await factory.sessions.aio.agent_summary(session_id, AGENT_ID)
    return PromptAnswer(response=answer.response_text, session_id=session_id, metrics=_metrics(summary))


@router.post("/chat/stream", response_class=StreamingResponse, responses=_TEXT)
async def chat_stream(
    prompt: Prompt,
    session_id: _HeaderSession,
    turns: AppTurns,
    settings: AppSettings,
    request_id: RequestId,
    caller: AppCaller,
) -> Response:
    """Ask a question and read the answer as plain text while it is written.

    An answer that fails, or that the end of the service cuts short, ends in a broken connection: plain text has no
    other way to say so.
    """
    turn = await turns.begin(_question(prompt, session_id, settings), request_id, caller)
    headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    return StreamingResponse(_texts(turn.log), media_type="text/plain", headers=headers)


@router.post("/chat/{session_id}", responses=errors(OF_TURN))
async def chat_message(
    session_id: NamedSession,
    message: Annotated[_Prompt, Query()],
    turns: AppTurns,
    request_id: RequestId,
    caller: AppCaller,
) -> MessageAnswer:
    """Ask a question in a session and wait for the whole answer."""
    turn = await turns.begin(_Question(query=message, session_id=session_id), request_id, caller)
    return MessageAnswer(session_id=session_id, response=(await turn.response()).response_text)


@router.post("/feedback/{session_id}", responses=errors(OF_SESSION, TOO_LARGE))
async def feedback(
    session: OwnedSession,
    factory: Factory,
    rating: Annotated[str, Query(min_length=1, max_length=100)],
    comment: Annotated[str, Query(max_length=2000)] = "",
) -> Success:
    """Say what one thinks of a conversation."""
    await factory.sessions.aio.add_feedback(session.session_id, {"rating": rating, "comment": comment})
    return Success()


def _question(prompt: Prompt, session_id: str, settings: Settings) -> _Question:
    chosen = prompt.agent_config
    if chosen.model is not None and chosen.model not in (settings.model_id, *settings.model_choices):
        raise InvalidRequest("agent_config.model: this is none of the models that may be chosen")
    return _Question(query=prompt.prompt, session_id=session_id, **chosen.model_dump())


def _metrics(agent: AgentSummary | None) -> Metrics:
    totals: dict[str, Any] = agent.totals if agent else {}
    calls = totals.get("model_calls", 0)
    return Metrics(
        total_tokens=totals.get("total_tokens", 0),
        average_latency_ms=totals.get("latency_ms", 0) / calls if calls else 0,
        total_messages=agent.message_count if agent else 0,
    )


async def _texts(log: Log) -> AsyncIterator[str]:
    position = 0
    while events := await log.after(position):
        for number, event in events:
            match event:
                case {"event": "response_chunk", "text": str(text)} if number == position + 1:
                    yield text
                case {"event": "response_chunk" | "error"} | {"event": "stopped", "reason": "shutdown"}:
                    raise TurnFailed  # cuts the connection; what was wrong is in the log already
            position = number
