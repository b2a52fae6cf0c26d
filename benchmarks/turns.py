"""The turns that are measured, and the sessions that they are turns of."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from datetime import UTC, datetime
from typing import Any, TypeAlias

from strands import Agent
from strands.session import SessionManager
from strands.types.content import ContentBlock, Message

from benchmarks.model import WordModel
from mongodb_session_manager import MongoDBSessionManager, MongoDBSessionManagerFactory

Prompt: TypeAlias = str | list[ContentBlock]

KB, MB = 1000, 1_000_000

WINDOW = 40
"""Messages that the SDK's default conversation manager keeps."""

_WORDS = "what do you remember of all that I said before, and of what you answered then? "


def text(size: int, number: int = 0) -> str:
    """So many characters, which begin with a number."""
    return f"{number} {_WORDS * (size // len(_WORDS) + 1)}"[:size]


def picture(size: int, number: int) -> list[ContentBlock]:
    """A prompt with a picture, another one for each number."""
    noise = random.Random(number).randbytes(size)
    return [{"image": {"format": "png", "source": {"bytes": noise}}}, {"text": f"{number} What is on it?"}]


def new_agent(model: WordModel | None = None, **options: Any) -> Agent:
    return Agent(model=model or WordModel(), callback_handler=None, **options)


async def our_turn(
    factory: MongoDBSessionManagerFactory, session_id: str, prompt: Prompt, *, agent: Any = None, **options: Any
) -> None:
    """A turn as a stateless service has it: a manager, an agent, one question.

    Args:
        factory: Makes the manager.
        session_id: The session.
        prompt: What is asked.
        agent: Options of the agent.
        **options: Of the manager.
    """
    manager = await factory.open_session(session_id, **options)
    await new_agent(session_manager=manager, **(agent or {})).invoke_async(prompt)


async def bare_turn(prompt: Prompt) -> None:
    """The same without any session."""
    await new_agent().invoke_async(prompt)


async def floor_turn(sessions: Any, session_id: str, prompt: str) -> None:
    """The least that a durable turn can do on an event loop: read the messages, write the question and the answer."""
    newest = {"agents.default.messages": {"$slice": -WINDOW}}
    found = await asyncio.to_thread(sessions.find_one, {"_id": session_id}, newest)
    stored = found["agents"]["default"]["messages"]
    agent = new_agent(messages=[each["message"] for each in stored])
    agent.messages.append({"role": "user", "content": [{"text": prompt}]})
    await asyncio.to_thread(_push, sessions, session_id, agent.messages[-1], len(stored))
    await agent.invoke_async()
    await asyncio.to_thread(_push, sessions, session_id, agent.messages[-1], len(stored) + 1)


def _push(sessions: Any, session_id: str, message: Any, message_id: int) -> None:
    now = datetime.now(UTC)
    stored = {"message": message, "message_id": message_id, "created_at": now, "updated_at": now}
    sessions.update_one(
        {"_id": session_id},
        {"$push": {"agents.default.messages": stored}, "$currentDate": {"updated_at": True}},
    )


# Sessions to measure turns of


async def grow(agent: Agent, manager: SessionManager[Any], messages: int, size: int, many: int = 100) -> None:
    """Fill a session, each message with its position in front: many at once, and the last two of them by a turn.

    Args:
        agent: Made with the manager.
        manager: Ours, or one of the SDK's.
        messages: How many there are in the end: an even number.
        size: Characters of each, but for the answers that end a turn.
        many: How many are added between two turns.
    """
    position = len(agent.messages)
    while position < messages:
        async with _one_turn(manager, agent):
            for _ in range(min(many, messages - position) - 2):
                role: Any = "assistant" if position % 2 else "user"
                message: Message = {"role": role, "content": [{"text": text(size, position)}]}
                # Ours notes it and writes all of them at the end of the turn, those of the SDK write now.
                agent.messages.append(message)
                manager.append_message(message, agent)
                position += 1
            await agent.invoke_async(text(size, position))
            position += 2


def _one_turn(manager: SessionManager[Any], agent: Agent) -> AbstractAsyncContextManager[Any]:
    return manager.claim(agent) if isinstance(manager, MongoDBSessionManager) else nullcontext()


async def grow_ours(
    factory: MongoDBSessionManagerFactory, session_id: str, messages: int, size: int, **options: Any
) -> None:
    """A session of ours with so many messages; options are the agent's."""
    manager = await factory.open_session(session_id)
    await grow(new_agent(session_manager=manager, **options), manager, messages, size)


def check_messages(
    factory: MongoDBSessionManagerFactory, session_id: str, count: int, beginnings: Callable[[int], str | None]
) -> int:
    """Compare what the catalogue reads of a session with what was said, at twenty positions.

    Args:
        factory: Whose catalogue.
        session_id: The session.
        count: How many messages there are.
        beginnings: With what the message at a position begins; ``None`` where nobody knows.

    Returns:
        How many were compared.

    Raises:
        RuntimeError: The session is not what was stored.
    """
    summary = factory.sessions.get(session_id)
    stored = summary.agents["default"].message_count if summary else 0
    if stored != count:
        raise RuntimeError(f"session {session_id!r} has {stored} messages, not {count}")
    positions = [at for at in range(count) if beginnings(at) is not None]
    chosen = random.Random(count).sample(positions, min(20, len(positions)))
    for position in chosen:
        (message,) = factory.sessions.messages(session_id, limit=1, offset=position)
        said: Any = next((block["text"] for block in message.message["content"] if "text" in block), "")
        if message.message_id != position or not said.startswith(f"{beginnings(position)} "):
            raise RuntimeError(f"message {position} of session {session_id!r} is not what was stored")
    return len(chosen)


def copy_session(sessions: Any, session_id: str, names: Sequence[str]) -> None:
    """The same document again under other ids; for a session that has nothing in the archive."""
    document = sessions.find_one({"_id": session_id})
    sessions.insert_many({**document, "_id": name} for name in names)
