"""Redaction: what a guardrail took back is not in the store when the turn has ended, and does not come back."""

from __future__ import annotations

from typing import Any

from strands import tool

from ..acting import asked, expect, expect_restored, expect_texts, new_session, said, start
from ..scripted_model import Redacted, ToolCall
from ..subject import Subject, offered

__all__ = [
    "check_a_later_redaction",
    "check_a_redacted_answer",
    "check_a_redacted_prompt",
    "check_a_redacted_prompt_is_not_stored",
    "check_a_redacted_tool_result",
    "check_a_repeated_prompt_is_redacted_everywhere",
]

_SECRET = "the-account-number-is-4711"  # noqa: S105 - what the checks look for in the store


@tool
def read() -> str:
    """Read what is not meant for everybody."""
    return _SECRET


def check_a_redacted_prompt(subject: Subject) -> None:
    """Another process gets the replacement of a prompt that a guardrail took back."""
    session_id = new_session()
    agent = start(subject, session_id, "hello", Redacted("I see", user="[redacted]"))
    agent("hi")
    agent(_SECRET)
    expect_texts(expect_restored(subject, session_id, agent), "hi", "hello", "[redacted]", "I see")


def check_a_redacted_prompt_is_not_stored(subject: Subject) -> None:
    """A prompt that a guardrail took back is not in the store any more."""
    session_id = new_session()
    start(subject, session_id, Redacted("I see", user="[redacted]"))(f"hi, {_SECRET}")
    _expect_gone(subject, session_id)


def check_a_redacted_answer(subject: Subject) -> None:
    """An answer that a guardrail took back is replaced, and not in the store."""
    session_id = new_session()
    agent = start(subject, session_id, Redacted(f"well, {_SECRET}", assistant="[redacted]"))
    agent("hi")
    expect_texts(expect_restored(subject, session_id, agent), "hi", "[redacted]")
    _expect_gone(subject, session_id)


def check_a_redacted_tool_result(subject: Subject) -> None:
    """A tool's result that a guardrail took back is replaced, and not in the store."""
    session_id = new_session()
    agent = start(subject, session_id, ToolCall("read"), Redacted("I see", user="[redacted]"), tools=[read])
    agent("read it")
    result: Any = expect_restored(subject, session_id, agent).messages[2]["content"][0]["toolResult"]
    expect(result["content"] == [{"text": "[redacted]"}], "the result was not replaced")
    _expect_gone(subject, session_id)


def check_a_repeated_prompt_is_redacted_everywhere(subject: Subject) -> None:
    """A prompt that the application sent again after a failure is redacted in both places."""
    session_id = new_session()
    agent = start(subject, session_id, ValueError("the model is ill"), Redacted("I see", user="[redacted]"))
    prompt = [said("user", _SECRET)]
    asked(agent, prompt)
    agent(prompt)
    expect(_SECRET not in str(expect_restored(subject, session_id, agent).messages), "it came back")
    _expect_gone(subject, session_id)


def check_a_later_redaction(subject: Subject) -> None:
    """The application redacts the last message in another process, and it is gone at once."""
    session_id = new_session()
    start(subject, session_id, f"well, {_SECRET}")("hi")
    agent = start(subject, session_id)
    agent.messages[-1]["content"] = [{"text": "[redacted]"}]
    manager: Any = agent._session_manager
    manager.redact_latest_message(agent.messages[-1], agent)
    expect_texts(expect_restored(subject, session_id, agent), "hi", "[redacted]")
    _expect_gone(subject, session_id)


def _expect_gone(subject: Subject, session_id: str) -> None:
    stored = offered(subject.stored, "its store cannot be looked into")(session_id)
    expect(stored, "the store holds nothing of the session")
    expect(_SECRET.encode() not in stored, "what was taken back is still in the store")
