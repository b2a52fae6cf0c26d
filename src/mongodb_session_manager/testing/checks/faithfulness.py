"""Faithfulness: whatever the SDK hands over comes back equal, to the type and the bit."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from strands.types.content import Messages

from ..acting import expect_restored, expect_same, new_session, said, start, with_ids
from ..subject import Subject

__all__ = [
    "check_binary",
    "check_citations",
    "check_dates",
    "check_deep_nesting",
    "check_empty_content",
    "check_keys",
    "check_large_integers",
    "check_lone_surrogates",
    "check_lookalikes",
    "check_nul",
    "check_numbers",
    "check_reasoning",
    "check_the_state_is_kept_as_it_is",
    "check_tracking_ids_and_metadata",
    "check_unicode",
]

_PNG = b"\x89PNG\r\n\x1a\n\x00\xff\xfe"


def _nested(levels: int) -> Any:
    value: Any = "bottom"
    for level in range(levels):
        value = [value] if level % 2 else {"a": value}
    return value


def _expect_unchanged(subject: Subject, *content: Any, **more: Any) -> None:
    """Fail unless a message with these blocks comes back equal."""
    message: Any = {"role": "user", "content": [*content], **more}
    _expect_history(subject, [message, said("assistant", "so")])


def _expect_history(subject: Subject, messages: Messages) -> None:
    session_id = new_session()
    agent = start(subject, session_id, messages=with_ids(messages))
    agent("and now?")
    expect_restored(subject, session_id, agent)


def _expect_value(subject: Subject, value: Any) -> None:
    """Fail unless a value that a tool returned as JSON comes back equal."""
    use = {"toolUse": {"toolUseId": "call-1", "name": "look", "input": {}}}
    result = {"toolResult": {"toolUseId": "call-1", "status": "success", "content": [{"json": value}]}}
    history: Any = [
        said("user", "look"),
        {"role": "assistant", "content": [use]},
        {"role": "user", "content": [result]},
        said("assistant", "so"),
    ]
    _expect_history(subject, history)


def check_binary(subject: Subject) -> None:
    """Bytes in images, documents, videos and audio."""
    _expect_unchanged(
        subject,
        {"text": "look"},
        {"image": {"format": "png", "source": {"bytes": _PNG}}},
        {"document": {"format": "pdf", "name": "d", "source": {"bytes": b""}, "citations": {"enabled": True}}},
        {"video": {"format": "mp4", "source": {"bytes": bytes(range(256))}}},
        {"audio": {"format": "wav", "source": {"bytes": b"RIFF\x00"}}},
        {"document": {"format": "md", "name": "e", "source": {"location": {"type": "s3", "uri": "s3://b/k"}}}},
    )


def check_reasoning(subject: Subject) -> None:
    """Reasoning with its signature, and reasoning that the provider has encrypted."""
    thought: Any = {"reasoningContent": {"reasoningText": {"text": "hm\n", "signature": "c2ln+/="}}}
    hidden: Any = {"reasoningContent": {"redactedContent": b"\x00\x01\xff"}}
    answer: Any = {"role": "assistant", "content": [thought, hidden, {"text": "so"}]}
    _expect_history(subject, [said("user", "why?"), answer])


def check_citations(subject: Subject) -> None:
    """Citations, guarded content and cache points."""
    citation = {
        "title": "t",
        "location": {"documentChar": {"documentIndex": 0, "start": 1, "end": 2}},
        "sourceContent": [{"text": "s"}],
    }
    answer: Any = {
        "role": "assistant",
        "content": [{"citationsContent": {"citations": [citation], "content": [{"text": "so"}]}}],
    }
    question: Any = {
        "role": "user",
        "content": [
            {"guardContent": {"text": {"text": "q", "qualifiers": ["query"]}}},
            {"cachePoint": {"type": "default", "ttl": "5m"}},
        ],
    }
    _expect_history(subject, [question, answer])


def check_tracking_ids_and_metadata(subject: Subject) -> None:
    """Tracking ids and metadata of messages, an application's own included."""
    metadata = {
        "usage": {"inputTokens": 1, "outputTokens": 2, "totalTokens": 3},
        "metrics": {"latencyMs": 4},
        "custom": {"score": 0.1, "tags": ["x"], "nothing": None},
    }
    _expect_unchanged(subject, {"text": "hi"}, tracking_id="my-own-id", metadata=metadata)


def check_empty_content(subject: Subject) -> None:
    """Messages without content, and empty texts, lists and dictionaries."""
    empty: Any = [{"role": "user", "content": []}, said("assistant", ""), said("user", " \n"), said("assistant", "so")]
    _expect_history(subject, empty)
    _expect_value(subject, {"a": {}, "b": [], "c": "", "d": None, "e": [[], {}]})


def check_keys(subject: Subject) -> None:
    """Keys with ``$`` and ``.``, numeric and empty ones, in their order."""
    keys = ("z", "$set", "a.b", ".", "", "$", "0", "_id", "$ref", "a$", "ü", "__proto__", "a")
    _expect_value(subject, {"outer": {key: {key: at} for at, key in enumerate(keys)}})


def check_nul(subject: Subject) -> None:
    """NUL in texts and in keys."""
    _expect_unchanged(subject, {"text": "a\0b\0"})
    _expect_value(subject, {"a\0b": "\0", "\0": 1})


def check_lone_surrogates(subject: Subject) -> None:
    """Lone surrogates, as half an emoji leaves them."""
    _expect_unchanged(subject, {"text": "half \ud83d"})
    _expect_value(subject, {"\udfff": "\ud800 \udfff\ud800"})


def check_unicode(subject: Subject) -> None:
    """Text of any script, not normalized."""
    _expect_unchanged(subject, {"text": "e\u0301 \u00e9 ﬃ \u2028 \ufeff \x1b 中文 \U0001f600 \r\n"})


def check_large_integers(subject: Subject) -> None:
    """Integers beyond 64 bits."""
    _expect_value(subject, {"n": [2**63 - 1, 2**63, -(2**63) - 1, 2**70, -(2**70), 2**200]})


def check_numbers(subject: Subject) -> None:
    """Floats to the bit, infinity and not-a-number; 1, 1.0 and true are three values."""
    numbers = [0.1, -0.0, 1e308, 5e-324, float("inf"), float("nan"), 2.0**63, 1, 1.0, True, 0, False]
    _expect_value(subject, {"n": numbers})


def check_deep_nesting(subject: Subject) -> None:
    """Two hundred levels of lists and dictionaries."""
    _expect_value(subject, _nested(200))


def check_dates(subject: Subject) -> None:
    """Dates and times to the microsecond, which JSON does not know."""
    _expect_value(
        subject,
        {"at": datetime(2026, 2, 3, 4, 5, 6, 789012, tzinfo=UTC), "naive": datetime(2026, 2, 3)},  # noqa: DTZ001
    )


def check_lookalikes(subject: Subject) -> None:
    """Values that look like a store's own way of writing bytes, dates and references."""
    lookalikes = [
        {"__bytes_encoded__": True, "data": "aGk="},
        {"__json__": '"a"'},
        {"$date": "2026-02-03T04:05:06Z"},
        {"$oid": "0" * 24},
        {"$ref": "a", "$id": 1},
        {"$binary": {"base64": "aGk=", "subType": "00"}},
    ]
    _expect_value(subject, {"values": lookalikes})


def check_the_state_is_kept_as_it_is(subject: Subject) -> None:
    """The same kinds of values in an agent's state."""
    state = {
        "$set": {"a.b": 2**70, "": None},
        "nul\0": "\0",
        "float": -0.0,
        "deep": _nested(120),
        "lookalike": {"__json__": "1"},
    }
    session_id = new_session()
    agent = start(subject, session_id, state=state)
    agent("hi")
    restored = start(subject, session_id)
    # An agent's state goes through JSON on its way in, so it is compared with the living agent's.
    expect_same(restored.state.get(), agent.state.get(), "the state")
