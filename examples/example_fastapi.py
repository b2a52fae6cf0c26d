"""A chat route on FastAPI: one factory for the application, one session manager and one agent for each request.

    pip install "mongodb-session-manager[fastapi,embedded]"
    python examples/example_fastapi.py

    curl -H 'session-id: ada' -H 'Content-Type: application/json' -d '{"prompt": "My name is Ada."}' localhost:8880/chat
    curl localhost:8880/health

Or `uvicorn --factory example_fastapi:create_app --app-dir examples` with MONGODB_URI. Without that an embedded MongoDB
is run in .data/examples. MODEL_ID names a model on Bedrock; without it an answer is made up here, and needs no account.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import Any

import uvicorn
from fastapi import APIRouter, FastAPI
from pydantic import BaseModel
from strands import Agent
from strands.types.content import Messages

from mongodb_session_manager.embedded import EmbeddedMongoDB
from mongodb_session_manager.fastapi import (
    OpenSession,
    health_router,
    install_error_handlers,
    metrics_router,
    session_lifespan,
)
from mongodb_session_manager.testing import ScriptedModel

router = APIRouter()


class Question(BaseModel):
    prompt: str


class Answer(BaseModel):
    response: str
    session_id: str
    metrics: dict[str, Any]


def made_up(messages: Messages) -> str:
    said = [block["text"] for message in messages if message["role"] == "user" for block in message["content"]]
    return f"You have said {len(said)} things, and the first was: {said[0]}"


MODEL = os.environ.get("MODEL_ID") or ScriptedModel(made_up)


@router.post("/chat")
async def chat(question: Question, session: OpenSession) -> Answer:
    agent = Agent(model=MODEL, session_manager=session, callback_handler=None)
    result = await agent.invoke_async(question.prompt)
    summary = await session.aio.get_metrics_summary(agent.agent_id)
    metrics = {name: summary[name] for name in ("total_tokens", "average_latency_ms", "total_messages")}
    return Answer(response=str(result), session_id=session.session_id, metrics=metrics)


def create_app(uri: str | None = None) -> FastAPI:
    database = os.environ.get("DATABASE_NAME", "examples")
    app = FastAPI(lifespan=session_lifespan(uri or os.environ["MONGODB_URI"], database, "sessions"))
    install_error_handlers(app)
    for routes in (router, health_router(), metrics_router()):
        app.include_router(routes)
    return app


if __name__ == "__main__":
    with ExitStack() as stack:
        uri = os.environ.get("MONGODB_URI") or stack.enter_context(EmbeddedMongoDB(".data/examples")).uri
        uvicorn.run(create_app(uri), port=int(os.environ.get("PORT", "8880")))
