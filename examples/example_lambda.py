"""An AWS Lambda function behind an HTTP API: the factory outlives the invocation, the session manager does not.

    pip install "mongodb-session-manager[embedded]"
    python examples/example_lambda.py

calls the handler twice here. In Lambda the handler is `example_lambda.handler` and MONGODB_URI is set; the embedded
MongoDB is for this computer only. MODEL_ID names a model on Bedrock; without it an answer is made up here.
"""

from __future__ import annotations

import base64
import json
import os
from functools import cache
from typing import Any

from strands import Agent
from strands.types.content import Messages

from mongodb_session_manager import MongoDBSessionManagerFactory, SessionBusyError, SessionConflictError


def made_up(messages: Messages) -> str:
    said = [block["text"] for message in messages if message["role"] == "user" for block in message["content"]]
    return f"You have said {len(said)} things, and the first was: {said[0]}"


@cache
def factory() -> MongoDBSessionManagerFactory:
    """Made by the first invocation and kept for all later ones in this container, which serves one at a time."""
    database = os.environ.get("DATABASE_NAME", "examples")
    return MongoDBSessionManagerFactory(os.environ["MONGODB_URI"], database, "sessions", maxPoolSize=2, minPoolSize=0)


@cache
def model() -> Any:
    if model_id := os.environ.get("MODEL_ID"):
        return model_id
    from mongodb_session_manager.testing import ScriptedModel

    return ScriptedModel(made_up)


def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    session_id = event.get("headers", {}).get("session-id")
    prompt = prompt_of(event)
    if not session_id or not prompt:
        return answer(400, {"error": 'Send the header session-id and a body {"prompt": …}.'})
    agent = Agent(model=model(), session_manager=factory().create_session_manager(session_id), callback_handler=None)
    try:
        return answer(200, {"response": str(agent(prompt)), "session_id": session_id})
    except (SessionBusyError, SessionConflictError):
        return answer(409, {"error": "Another answer is being written in this session. Try again in a moment."})


def prompt_of(event: dict[str, Any]) -> str | None:
    body = event.get("body") or ""
    try:
        sent = json.loads(base64.b64decode(body) if event.get("isBase64Encoded") else body)
    except ValueError:
        return None
    prompt = sent.get("prompt") if isinstance(sent, dict) else None
    return prompt if isinstance(prompt, str) else None


def answer(status: int, body: dict[str, Any]) -> dict[str, Any]:
    return {"statusCode": status, "headers": {"Content-Type": "application/json"}, "body": json.dumps(body)}


def main() -> None:
    for prompt in ("My name is Ada.", "What did I say?"):
        event = {"headers": {"session-id": "ada"}, "body": json.dumps({"prompt": prompt})}
        print(handler(event, None)["body"])
    factory().close()


if __name__ == "__main__":
    if "MONGODB_URI" in os.environ:
        main()
    else:
        from mongodb_session_manager.embedded import EmbeddedMongoDB

        with EmbeddedMongoDB(".data/examples") as server:
            os.environ["MONGODB_URI"] = server.uri
            main()
