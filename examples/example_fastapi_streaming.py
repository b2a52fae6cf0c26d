"""Answers as they are written: server-sent events, or plain text.

    pip install "mongodb-session-manager[fastapi,embedded]"
    python examples/example_fastapi_streaming.py

    curl -N -H 'session-id: ada' -H 'Content-Type: application/json' -d '{"prompt": "Hello"}' localhost:8880/chat/stream
    curl -N -H 'session-id: ada' -H 'Content-Type: application/json' -d '{"prompt": "Hello"}' localhost:8880/chat/events

Stop curl in the middle: the answer is stored all the same. MONGODB_URI names a database; without it an embedded MongoDB
is run in .data/examples. MODEL_ID names a model on Bedrock; without it an answer is made up here, and needs no account.
"""

from __future__ import annotations

import os
from contextlib import ExitStack

import uvicorn
from fastapi import APIRouter, FastAPI, Response
from pydantic import BaseModel
from strands import Agent
from strands.types.content import Messages

from mongodb_session_manager.embedded import EmbeddedMongoDB
from mongodb_session_manager.fastapi import (
    OpenSession,
    health_router,
    install_error_handlers,
    session_lifespan,
    stream_agent,
    stream_text,
)
from mongodb_session_manager.testing import ScriptedModel

router = APIRouter()


class Question(BaseModel):
    prompt: str


def made_up(messages: Messages) -> str:
    said = [block["text"] for message in messages if message["role"] == "user" for block in message["content"]]
    return f"You have said {len(said)} things, and the first was: {said[0]}"


MODEL = os.environ.get("MODEL_ID") or ScriptedModel(made_up)


@router.post("/chat/stream")
async def chat_stream(question: Question, session: OpenSession) -> Response:
    agent = Agent(model=MODEL, session_manager=session, callback_handler=None)
    return await stream_text(agent, question.prompt)


@router.post("/chat/events")
async def chat_events(question: Question, session: OpenSession) -> Response:
    agent = Agent(model=MODEL, session_manager=session, callback_handler=None)
    return await stream_agent(agent, question.prompt)


def create_app(uri: str | None = None) -> FastAPI:
    database = os.environ.get("DATABASE_NAME", "examples")
    app = FastAPI(lifespan=session_lifespan(uri or os.environ["MONGODB_URI"], database, "sessions"))
    install_error_handlers(app)
    for routes in (router, health_router()):
        app.include_router(routes)
    return app


if __name__ == "__main__":
    with ExitStack() as stack:
        uri = os.environ.get("MONGODB_URI") or stack.enter_context(EmbeddedMongoDB(".data/examples")).uri
        # Streams that are open when the server is told to end get ten seconds for their last words.
        uvicorn.run(create_app(uri), port=int(os.environ.get("PORT", "8880")), timeout_graceful_shutdown=10)
