"""Several tenants on one application: a database for each, one client for all of them.

    pip install "mongodb-session-manager[fastapi,embedded]"
    python examples/example_multi_tenant.py

    curl -X POST -H 'Authorization: Bearer key-of-acme' -H 'session-id: ada' 'localhost:8880/chat?prompt=Hello'
    curl -X POST -H 'Authorization: Bearer key-of-globex' -H 'session-id: ada' 'localhost:8880/chat?prompt=Hello'

Both sessions are called "ada", and neither tenant sees the other's. Who the tenant is, the key tells and never a name
that a client may choose. MONGODB_URI names a server; without it an embedded MongoDB is run in .data/examples. MODEL_ID
names a model on Bedrock; without it an answer is made up here.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import Annotated

import uvicorn
from fastapi import APIRouter, Depends, FastAPI, Header, HTTPException
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from strands import Agent
from strands.types.content import Messages

from mongodb_session_manager import MongoDBSessionManager
from mongodb_session_manager.embedded import EmbeddedMongoDB
from mongodb_session_manager.fastapi import Factory, health_router, install_error_handlers, session_lifespan
from mongodb_session_manager.testing import ScriptedModel

router = APIRouter()

# In an application of yours these come from where its secrets are kept.
TENANTS = {"key-of-acme": "acme", "key-of-globex": "globex"}


def made_up(messages: Messages) -> str:
    said = [block["text"] for message in messages if message["role"] == "user" for block in message["content"]]
    return f"You have said {len(said)} things, and the first was: {said[0]}"


MODEL = os.environ.get("MODEL_ID") or ScriptedModel(made_up)


def tenant_of(credentials: Annotated[HTTPAuthorizationCredentials, Depends(HTTPBearer())]) -> str:
    if credentials.credentials not in TENANTS:
        raise HTTPException(401, "This key is not known.", {"WWW-Authenticate": "Bearer"})
    return TENANTS[credentials.credentials]


async def session_of(
    tenant: Annotated[str, Depends(tenant_of)], session_id: Annotated[str, Header(max_length=100)], factory: Factory
) -> MongoDBSessionManager:
    database = f"{factory.database_name}_{tenant}"
    return await factory.open_session(session_id, database_name=database, application_name=tenant)


TenantSession = Annotated[MongoDBSessionManager, Depends(session_of)]


@router.post("/chat")
async def chat(prompt: str, session: TenantSession) -> dict[str, str | None]:
    agent = Agent(model=MODEL, session_manager=session, callback_handler=None)
    return {"response": str(await agent.invoke_async(prompt)), "tenant": session.application_name}


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
        uvicorn.run(create_app(uri), port=int(os.environ.get("PORT", "8880")))
