"""Size: how much a message, a session and a state may hold, and what a turn costs when there is much."""

from __future__ import annotations

from typing import Any

from ..acting import asked, expect, expect_restored, expect_same, expect_texts, new_session, said, start, with_ids
from ..subject import Subject, offered

__all__ = [
    "check_a_message_of_5_megabytes",
    "check_a_message_of_20_megabytes",
    "check_a_session_of_25_megabytes",
    "check_a_state_of_5_megabytes",
    "check_a_state_of_20_megabytes",
    "check_a_turn_after_two_thousand_messages",
    "check_two_thousand_messages",
    "check_what_is_refused_leaves_the_session_usable",
]

_MEGABYTE = 1024 * 1024
_MANY = 2000
_TEXT = "This is what people say in one message, more or less. " * 4


def check_a_message_of_5_megabytes(subject: Subject) -> None:
    """A message of 5 MB."""
    _expect_message(subject, 5)


def check_a_message_of_20_megabytes(subject: Subject) -> None:
    """A message of 20 MB."""
    _expect_message(subject, 20)


def _expect_message(subject: Subject, megabytes: int) -> None:
    session_id = new_session()
    agent = start(subject, session_id)
    prompt: Any = [{"text": "look"}, {"image": {"format": "png", "source": {"bytes": bytes(megabytes * _MEGABYTE)}}}]
    agent(prompt)
    agent("and now?")
    expect_restored(subject, session_id, agent)


def check_a_session_of_25_megabytes(subject: Subject) -> None:
    """A session of 25 MB, in messages of 2.5 MB."""
    session_id = new_session()
    agent = start(subject, session_id, "so")
    for turn in range(10):
        agent(f"{turn}" * (5 * _MEGABYTE // 2))
    expect_restored(subject, session_id, agent)("and now?")


def check_a_state_of_5_megabytes(subject: Subject) -> None:
    """An agent's state of 5 MB."""
    _expect_state(subject, 5)


def check_a_state_of_20_megabytes(subject: Subject) -> None:
    """An agent's state of 20 MB."""
    _expect_state(subject, 20)


def _expect_state(subject: Subject, megabytes: int) -> None:
    session_id = new_session()
    agent = start(subject, session_id)
    agent.state.set("large", "x" * (megabytes * _MEGABYTE))
    agent("hi")
    expect_same(start(subject, session_id).state.get(), agent.state.get(), "the state")


def check_what_is_refused_leaves_the_session_usable(subject: Subject) -> None:
    """A turn of 40 MB is stored whole or refused whole, and the session goes on."""
    session_id = new_session()
    start(subject, session_id)("hello")
    large = "x" * (40 * _MEGABYTE)
    refusal = asked(start(subject, session_id), large)
    restored = start(subject, session_id)
    expect(len(restored.messages) == (4 if refusal is None else 2), "a part of the turn is stored")
    restored("and now?")
    expect_texts(restored, *(["hello", "ok"] + ([] if refusal else [large, "ok"]) + ["and now?", "ok"]))
    expect_restored(subject, session_id, restored)


def check_two_thousand_messages(subject: Subject) -> None:
    """Two thousand messages come back whole, and the conversation goes on."""
    session_id = new_session()
    agent = start(subject, session_id, messages=_long_history())
    agent("and now?")
    restored = expect_restored(subject, session_id, agent)
    restored("and then?")
    expect_restored(subject, session_id, restored)


def check_a_turn_after_two_thousand_messages(subject: Subject) -> None:
    """A turn after two thousand messages does not write the whole history again."""
    written = offered(subject.bytes_written, "nobody counts what it writes")
    session_id = new_session()
    start(subject, session_id, messages=_long_history())("and now?")
    agent = start(subject, session_id)
    before = written()
    agent("and then?")
    share = (written() - before) / (_MANY * len(_TEXT))
    expect(share < 0.1, "it writes the history again")


def _long_history() -> Any:
    return with_ids([said("assistant" if at % 2 else "user", f"{at}: {_TEXT}") for at in range(_MANY)])
