"""What a writer may come for, and what becomes of a history by it."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import bson

from mongodb_session_manager import MongoDBSessionManagerFactory, SessionError
from tests.faults.ground import KB, SECRET, contents, look, picture, talker
from tests.faults.victims import GUARDED, guarded

Factory: TypeAlias = MongoDBSessionManagerFactory

History: TypeAlias = dict[str, list[str]]
"""What the agents of a session have said, each message in a few words; empty when there is no session."""


@dataclass(frozen=True)
class Work:
    """What a writer comes for, and what becomes of a history by it.

    Attributes:
        name: For the names of tests.
        does: Does it, or is refused. ``False`` when there was nothing to do.
        leaves: The history afterwards, given that before.
        begins: Likewise what a turn may have stored when it is taken over before its end.
        asks: Its prompt, in a few words.
        shows: Bytes of a picture in its prompt.
        hides: Bytes that are nowhere in the database once it is done, unless another message shows them again.
        deletes: Whether nothing is left of the session that it found.
    """

    name: str
    does: Callable[[Factory], object]
    leaves: Callable[[History], History]
    begins: Sequence[Callable[[History], History]] = ()
    asks: str = ""
    shows: bytes | None = None
    hides: bytes | None = None
    deletes: bool = False


def talk(
    name: str,
    prompt: Any,
    *,
    agent_id: str = "default",
    shows: bytes | None = None,
    window: int = 10,
    **options: Any,
) -> Work:
    """A turn with a prompt and an answer."""
    answer = f"answer to {name}"

    def does(factory: Factory) -> None:
        talker(factory.create_session_manager("s", **options), answer, agent_id=agent_id, window=window)(prompt)

    asked = user(prompt)
    answered = brief({"role": "assistant", "content": [{"text": answer}]})
    return Work(name, does, adds([asked, answered], agent_id), [adds([asked], agent_id)], asked, shows)


def guard(prompt: Any) -> Work:
    """A turn whose prompt is redacted when the model has seen it."""
    answer = brief({"role": "assistant", "content": [{"text": "I cannot look at that"}]})
    return Work(
        "redacts in its turn",
        lambda factory: guarded(factory.create_session_manager("s"))(prompt),
        adds([REMOVED, answer]),
        [adds([user(prompt)]), adds([REMOVED])],
        hides=GUARDED,
    )


def change(name: str, position: int, original: Any, put: dict[str, Any], hides: bytes | None = None) -> Work:
    """Change a message as an application does from outside, if it is there as it was."""

    def does(factory: Factory) -> bool:
        repository = factory.create_session_manager("s").session_repository
        if repository.read_agent("s", "default") is None:
            return False
        message = repository.read_message("s", "default", position)
        if message is None or message.message["content"] != original:
            return False
        for field, content in put.items():
            setattr(message, field, {"role": "user", "content": content})
        repository.update_message("s", "default", message)
        return True

    after = user(*put.values())

    def leaves(history: History) -> History:
        return {
            agent_id: [
                after if agent_id == "default" and at == position and each == user(original) else each
                for at, each in enumerate(told)
            ]
            for agent_id, told in history.items()
        }

    return Work(name, does, leaves, [leaves], after, hides=hides)


def redact(name: str, position: int, original: Any, hides: bytes) -> Work:
    """Redact a message as an application does from outside, if it is there as it was."""
    return change(name, position, original, {"redact_message": [{"text": "[removed]"}]}, hides)


def delete_and_begin_again() -> Work:
    again = talk("again", [{"text": "again"}, picture(70 * KB, b"a later picture")])

    def does(factory: Factory) -> None:
        factory.sessions.delete("s")
        time.sleep(0.002)  # Sessions are told apart by the millisecond of their creation.
        again.does(factory)

    return Work("deletes and begins again", does, lambda history: again.leaves({}), deletes=True)


def make(factory: Factory) -> bool:
    """Make an empty session, unless there is one."""
    try:
        factory.sessions.create("s")
    except SessionError as error:
        if "exists already" not in str(error):
            raise
        return False
    return True


def make_and_delete(factory: Factory) -> None:
    make(factory)
    factory.sessions.delete("s")


def adds(told: list[str], agent_id: str = "default") -> Callable[[History], History]:
    return lambda history: {**history, agent_id: [*history.get(agent_id, []), *told]}


def user(content: Any) -> str:
    return brief({"role": "user", "content": [{"text": content}] if isinstance(content, str) else content})


def brief(message: Mapping[str, Any]) -> str:
    """A message in a few words that tell it from any other."""
    digest = hashlib.sha256(bson.encode({"": message["content"]})).hexdigest()[:8]
    return f"{message['role']}: {message['content'][0].get('text', '')[:20]} #{digest}"


REMOVED = user("[removed]")

END = 16
"""Messages of a long session."""

TURN = talk("turn", "hello")
SPILL = talk("spills", "z" * 50 * KB)
RESUME = talk("resumes", "hello again", window=1000)
WAIT = talk("waits", "hello at last", on_busy="wait", busy_timeout=0.2)
SEND = talk("sends the picture", [{"text": "once more"}, picture(70 * KB)], shows=SECRET)
SEND_AGAIN = talk("sends the picture too", [{"text": "yet again"}, picture(70 * KB)], shows=SECRET)
SEND_ELSEWHERE = talk("another agent sends the picture", look(), agent_id="other", shows=SECRET)
SEND_OTHER = talk("sends another picture", look(b"another picture"))
GUARD = guard(look(GUARDED))
REDACT = redact("redacts the first message", 0, look(), SECRET)
REDACT_GUARDED = redact("redacts the same prompt", END, look(GUARDED), GUARDED)
EDIT = replace(
    change("edits the first message", 0, look(), {"message": [{"text": "look here"}, picture(70 * KB)]}), shows=SECRET
)
DELETE = Work("deletes", lambda factory: factory.sessions.delete("s"), lambda history: {}, deletes=True)
AGAIN = delete_and_begin_again()
MAKE = Work("makes", make, lambda history: history)
MAKE_AND_DELETE = Work("makes and deletes", make_and_delete, lambda history: {}, deletes=True)
NOTE = Work(
    "notes", lambda factory: factory.create_session_manager("s").update_metadata({"a": 1}), lambda history: history
)


def said(factory: Factory) -> History:
    """What an application reads of every agent."""
    found = factory.sessions.get("s")
    agents = found.agents if found else {}
    return {agent_id: brief_of(factory.sessions.messages("s", agent_id)) for agent_id in agents}


def brief_of(messages: Iterable[Any]) -> list[str]:
    return [brief(each) for each in contents(messages)]
