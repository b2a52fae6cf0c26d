from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from strands.types.session import SessionMessage

from chat_service.models import ChatRequest, MessageView, NewSession, SessionDetail, plain, public_message_id


def stored(message: object, created_at: str = "2026-01-02T03:04:05+00:00") -> SessionMessage:
    return SessionMessage.from_dict(
        {"message": message, "message_id": 3, "created_at": created_at, "updated_at": created_at}
    )


def test_a_message_keeps_its_public_id() -> None:
    message = {"role": "user", "content": [{"text": "hi"}], "tracking_id": "11111111-1111-4111-8111-111111111111"}
    first = MessageView.of(stored(message), "session_a")
    assert first.message_id == MessageView.of(stored(message), "session_a").message_id
    assert first.message_id == public_message_id(message, "elsewhere")  # type: ignore[arg-type]
    assert len(first.message_id) == len("msg_") + 16


def test_a_message_from_before_there_were_ids_is_known_by_its_place() -> None:
    message = {"role": "user", "content": [{"text": "hi"}]}
    assert MessageView.of(stored(message), "a").message_id == MessageView.of(stored(message), "a").message_id
    assert MessageView.of(stored(message), "a").message_id != MessageView.of(stored(message), "b").message_id


def test_binary_content_is_named_and_not_sent() -> None:
    message = {
        "role": "user",
        "content": [{"text": "look"}, {"image": {"format": "png", "source": {"bytes": b"1234"}}}],
    }
    view = MessageView.of(stored(message), "a")
    assert view.text == "look"
    assert view.content[1] == {"image": {"format": "png", "source": {"bytes": "<4 bytes>"}}}


def test_messages_of_tools_are_marked() -> None:
    use = {"toolUse": {"toolUseId": "1", "name": "clock", "input": {}}}
    result = {"toolResult": {"toolUseId": "1", "status": "success", "content": [{"text": "noon"}]}}
    kinds = [
        MessageView.of(stored({"role": role, "content": content}), "a").kind
        for role, content in [
            ("user", [{"text": "?"}]),
            ("assistant", [{"text": "I will look"}, use]),
            ("user", [result]),
        ]
    ]
    assert kinds == ["text", "tool_use", "tool_result"]


def test_a_date_without_a_zone_is_utc() -> None:
    message = {"role": "user", "content": [{"text": "hi"}]}
    view = MessageView.of(stored(message, "2026-01-02T03:04:05"), "a")
    assert view.created_at == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def nested(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(levels - 1):
        value = {"a": value}
    return value


def test_metadata_may_be_as_deep_as_a_document() -> None:
    assert NewSession(metadata=nested(100)).metadata == nested(100)
    with pytest.raises(ValidationError, match="100 levels"):
        NewSession(metadata=nested(101))
    with pytest.raises(ValidationError, match="100 levels"):
        NewSession(metadata={"a": [nested(99)]})


def test_what_is_stored_too_deep_does_not_hide_the_rest() -> None:
    assert plain(nested(100)) == nested(100)
    shown = json.dumps(plain({"before": 1, "deep": nested(900)}))
    assert '"before": 1' in shown
    assert "<nested too deeply>" in shown


@pytest.mark.parametrize("name", [".", "..", "a\x00", "a\x7f", "x" * 257, "\ud800"])
def test_what_no_address_can_carry_names_no_session(name: str) -> None:
    with pytest.raises(ValidationError):
        ChatRequest(query="x", session_id=name)


def test_the_documented_session_looks_as_sessions_do() -> None:
    page = (Path(__file__).parents[2] / "docs" / "service.md").read_text()
    shown = json.loads(page.partition("```json\n")[2].partition("```")[0])
    session = SessionDetail.model_validate(shown)
    assert session.model_dump(mode="json").keys() == shown.keys()
    assert {frozenset(message) for message in shown["messages"]} == {frozenset(MessageView.model_fields)}


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()) | st.binary() | st.datetimes(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters()), inner),
)


@given(values)
def test_whatever_is_stored_can_be_sent(value: object) -> None:
    json.dumps(plain(value), allow_nan=False, ensure_ascii=False).encode()
