"""Dependencies of one's own on top of a session: an agent made for the request, a session that must exist already.

    pip install "mongodb-session-manager[fastapi,embedded]"
    python examples/example_fastapi_dependencies.py

    curl -X POST -H 'session-id: ada' 'localhost:8880/chat?prompt=Hello'
    curl -X POST -H 'session-id: ada' 'localhost:8880/feedback?rating=up'
    curl localhost:8880/sessions

The application has a lifespan of its own around that of the sessions. MONGODB_URI names a database; without it an
embedded MongoDB is run in .data/examples. MODEL_ID names a model on Bedrock; without it an answer is made up here.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import uvicorn
from fastapi import APIRouter, Depends, FastAPI, Request
from strands import Agent
from strands.types.content import Messages

from mongodb_session_manager import MongoDBSessionManager, SessionNotFoundError
from mongodb_session_manager.embedded import EmbeddedMongoDB
from mongodb_session_manager.fastapi import (
    Factory,
    OpenSession,
    health_router,
    install_error_handlers,
    open_session,
    session_lifespan,
)
from mongodb_session_manager.testing import ScriptedModel

router = APIRouter()


def made_up(messages: Messages) -> str:
    said = [block["text"] for message in messages if message["role"] == "user" for block in message["content"]]
    return f"You have said {len(said)} things, and the first was: {said[0]}"


MODEL = os.environ.get("MODEL_ID") or ScriptedModel(made_up)

NamedSession = Annotated[MongoDBSessionManager, Depends(open_session(application_name="examples"))]


async def agent_of(session: NamedSession) -> Agent:
    return Agent(model=MODEL, session_manager=session, system_prompt="Be brief.", callback_handler=None)


async def known(session: OpenSession) -> MongoDBSessionManager:
    if not await session.aio.check_session_exists():
        raise SessionNotFoundError("no such session", session_id=session.session_id)
    return session


SessionAgent = Annotated[Agent, Depends(agent_of)]
KnownSession = Annotated[MongoDBSessionManager, Depends(known)]


@router.post("/chat")
async def chat(prompt: str, agent: SessionAgent) -> dict[str, str]:
    return {"response": str(await agent.invoke_async(prompt))}


@router.post("/feedback")
async def feedback(rating: Literal["up", "down"], session: KnownSession, comment: str = "") -> dict[str, str]:
    await session.aio.add_feedback({"rating": rating, "comment": comment})
    return {"status": "success"}


@router.get("/sessions")
async def sessions(request: Request, factory: Factory, cursor: str | None = None) -> dict[str, Any]:
    page = await factory.sessions.aio.page(limit=20, cursor=cursor)
    names = [session.session_id for session in page.items]
    return {"sessions": names, "next_cursor": page.next_cursor, "since": request.app.state.started}


def create_app(uri: str | None = None) -> FastAPI:
    database = os.environ.get("DATABASE_NAME", "examples")
    with_sessions = session_lifespan(uri or os.environ["MONGODB_URI"], database, "sessions")

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with with_sessions(app):
            app.state.started = datetime.now(UTC)
            yield

    app = FastAPI(lifespan=lifespan)
    install_error_handlers(app)
    for routes in (router, health_router()):
        app.include_router(routes)
    return app


if __name__ == "__main__":
    with ExitStack() as stack:
        uri = os.environ.get("MONGODB_URI") or stack.enter_context(EmbeddedMongoDB(".data/examples")).uri
        uvicorn.run(create_app(uri), port=int(os.environ.get("PORT", "8880")))
