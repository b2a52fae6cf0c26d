"""What the checks do with agents, and how they look at what came of it."""

from __future__ import annotations

import reprlib
import struct
import threading
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from strands import Agent
from strands.agent.conversation_manager import NullConversationManager
from strands.multiagent.graph import Graph
from strands.types.content import Message

from .scripted_model import Line, ScriptedModel
from .subject import Subject

__all__ = [
    "asked",
    "difference",
    "expect",
    "expect_restored",
    "expect_same",
    "expect_texts",
    "expect_whole_turns",
    "in_threads",
    "new_session",
    "said",
    "start",
    "texts",
    "with_ids",
]


def new_session() -> str:
    """The id of a session that nobody has used."""
    return f"session-{uuid.uuid4().hex}"


def start(subject: Subject, session_id: str, *script: Line, **options: Any) -> Agent:
    """An agent as a process makes it that has just started: restored, if the session is there already.

    Args:
        subject: Makes the session manager.
        session_id: The session.
        *script: What the model says.
        **options: Of the agent; ``model`` instead of a script, ``manager`` instead of a new session manager. Unless
            they name a conversation manager, the agent keeps everything.
    """
    options = {"conversation_manager": NullConversationManager(), **options}
    manager = options.pop("manager", None) or subject.make_session_manager(session_id)
    model = options.pop("model", None) or ScriptedModel(*script)
    return Agent(model=model, session_manager=manager, callback_handler=None, **options)


def said(role: str, text: str) -> Message:
    """A message of one text."""
    return {"role": role, "content": [{"text": text}]}  # type: ignore[typeddict-item]


def with_ids(messages: Iterable[Message]) -> list[Message]:
    """The messages with the tracking ids that the SDK gives to those it adds itself."""
    return [{"tracking_id": str(uuid.uuid4()), **message} for message in messages]


def texts(messages: Iterable[Message]) -> list[str]:
    """Every message in a word: its text, or what kind of block it begins with."""
    found = []
    for message in messages:
        block: Mapping[str, Any] = next(iter(message["content"]), {})
        found.append(block.get("text") or next(iter(block), ""))
    return found


def expect(condition: object, message: str) -> None:
    """Fail unless something is so; unlike an ``assert``, also when Python runs optimized.

    Raises:
        AssertionError: With the message.
    """
    if not condition:
        raise AssertionError(message)


def expect_same(found: object, expected: object, what: str) -> None:
    """Fail unless two values are the same, with types, bits and the order of keys.

    Raises:
        AssertionError: Names the first place where they differ, and shows nothing of the values.
    """
    if place := difference(found, expected):
        raise AssertionError(f"{what} came back different at {place}")


def expect_texts(agent: Agent, *expected: str) -> None:
    """Fail unless an agent remembers these messages."""
    found = texts(agent.messages)
    expect(found == [*expected], f"the agent remembers {reprlib.repr(found)}, not {reprlib.repr([*expected])}")


def expect_restored(subject: Subject, session_id: str, living: Agent, **options: Any) -> Agent:
    """Fail unless another process gets the messages, the state and the conversation manager of a living agent.

    Returns:
        The restored agent.
    """
    restored = start(subject, session_id, **{"agent_id": living.agent_id, **options})
    expect(
        len(restored.messages) == len(living.messages),
        f"{len(restored.messages)} messages came back, not {len(living.messages)}",
    )
    expect_same(restored.messages, living.messages, "the messages")
    expect_same(restored.state.get(), living.state.get(), "the state")
    expect_same(
        restored.conversation_manager.get_state(), living.conversation_manager.get_state(), "the conversation manager"
    )
    return restored


def difference(found: object, expected: object) -> str | None:
    """The first place where two values differ, ``None`` if they are the same in every respect."""
    pairs: list[tuple[str, object, object]] = [("", found, expected)]
    while pairs:
        place, left, right = pairs.pop()
        if type(left) is not type(right):
            return f"{_short(place)}: {type(left).__name__}, not {type(right).__name__}"
        if isinstance(left, dict) and isinstance(right, dict):
            if [*left] != [*right]:
                return f"{_short(place)}: other keys"
            pairs.extend((f"{place}.{key}", left[key], right[key]) for key in reversed(left))
        elif isinstance(left, list) and isinstance(right, list):
            if len(left) != len(right):
                return f"{_short(place)}: {len(left)} elements, not {len(right)}"
            pairs.extend((f"{place}[{at}]", left[at], right[at]) for at in reversed(range(len(left))))
        elif _bits(left) != _bits(right):
            return f"{_short(place)}: another {type(left).__name__}"
    return None


def _short(place: str) -> str:
    shown = place.lstrip(".").encode("ascii", "backslashreplace").decode()
    return (shown if len(shown) < 60 else f"{shown[:56]} ...") or "the top"


def _bits(value: object) -> object:
    if isinstance(value, float):
        return "nan" if value != value else struct.pack(">d", value)
    if isinstance(value, datetime):
        return value.isoformat()
    return value


# Several writers


def asked(agent: Agent | Graph, prompt: Any) -> Exception | None:
    """Ask an agent, or a graph of them; the error if it refuses or fails, ``None`` when the turn is acknowledged."""
    try:
        agent(prompt)
    except Exception as error:
        return error
    return None


def in_threads(*works: Callable[[], object], seconds: float = 60.0) -> list[BaseException | None]:
    """Do several things at once.

    Returns:
        For each the error that it ended with.
    """
    errors: list[BaseException | None] = [None] * len(works)

    def do(at: int) -> None:
        try:
            works[at]()
        except BaseException as error:
            errors[at] = error

    threads = [threading.Thread(target=do, args=(at,), daemon=True) for at in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(seconds)
        expect(not thread.is_alive(), f"a writer was still busy after {seconds:g} seconds")
    return errors


def expect_whole_turns(messages: Sequence[Message], acknowledged: Iterable[str], refused: Iterable[str] = ()) -> None:
    """Fail unless a history is made of whole turns: every acknowledged one, once, and nothing of a refused one.

    A turn is ``ask X`` followed by ``answer X``, whatever tool messages are between.
    """
    history = [text for text in texts(messages) if text not in {"toolUse", "toolResult"}]
    for name in acknowledged:
        expect({f"ask {name}", f"answer {name}"} <= {*history}, "an acknowledged turn is lost")
        expect(history.count(f"ask {name}") == 1, "an acknowledged turn is in the history twice")
        following = history[history.index(f"ask {name}") + 1 :][:1]
        expect(following == [f"answer {name}"], "the messages of two turns are mixed")
    for name in refused:
        expect(
            f"ask {name}" not in history and f"answer {name}" not in history,
            "something of a refused turn is in the history",
        )
