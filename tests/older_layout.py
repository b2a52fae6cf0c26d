"""Sessions as older tools left them, written by hand: one document for each oddity that they had."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from bson.int64 import Int64

CREATED = datetime(2024, 5, 1, 10, 0, 0, 123000, tzinfo=UTC)
LATER = datetime(2024, 5, 1, 10, 5, tzinfo=UTC)
TEXT = "2024-05-01T10:05:00.123456+00:00"
NAIVE_TEXT = "2024-05-01T10:05:00.123456"


@dataclass(frozen=True)
class Older:
    """A session of the older layout, and what must be found in it.

    Attributes:
        document: As it lies in the database, without ``_id``.
        says: What the agent's messages say, in order: the text, or the kind of a block that has none.
        agent_id: Whose they are.
        at: The way to the agent in the document.
        state: The agent's state.
        removed: How many of the messages the conversation manager had removed.
    """

    document: dict[str, Any]
    says: list[str]
    agent_id: str = "default"
    at: tuple[str, ...] = ("agents", "default")
    state: dict[str, Any] = field(default_factory=dict)
    removed: int = 0


def message(message_id: Any, role: str, content: Any, **more: Any) -> dict[str, Any]:
    """A stored message."""
    return {
        "message": {"role": role, "content": [{"text": content}] if isinstance(content, str) else content},
        "message_id": message_id,
        "redact_message": None,
        "created_at": TEXT,
        "updated_at": TEXT,
        **more,
    }


def agent(*messages: dict[str, Any], agent_id: str = "default", **data: Any) -> dict[str, Any]:
    """A stored agent."""
    return {
        "agent_data": {
            "agent_id": agent_id,
            "state": {},
            "conversation_manager_state": {"__name__": "SlidingWindowConversationManager", "removed_message_count": 0},
            "created_at": TEXT,
            "updated_at": TEXT,
            **data,
        },
        "created_at": CREATED,
        "updated_at": LATER,
        "messages": list(messages),
    }


def session(agents: Any, **more: Any) -> dict[str, Any]:
    """A stored session."""
    return {
        "session_id": "as in _id",
        "session_type": "default",
        "created_at": CREATED,
        "updated_at": LATER,
        "metadata": {"topic": "weather", "nested": {"a": 1}},
        "feedbacks": [{"rating": "up", "comment": "fine", "created_at": CREATED}],
        "agents": agents,
        **more,
    }


def without(document: dict[str, Any], *names: str) -> dict[str, Any]:
    """The same without some fields."""
    return {name: value for name, value in document.items() if name not in names}


HELLO = (message(0, "user", "hello"), message(1, "assistant", "hi"))
METRICS = {
    "event_loop_metrics": {
        "accumulated_usage": {"inputTokens": 12, "outputTokens": 3, "totalTokens": 15},
        "accumulated_metrics": {"latencyMs": 420},
    }
}
TOOL_USE = {"toolUse": {"toolUseId": "t-1", "name": "add", "input": {"a": 1, "b": 2}}}
TOOL_RESULT = {"toolResult": {"toolUseId": "t-1", "status": "success", "content": [{"text": "3"}]}}
INTERRUPT_ID = "v1:before_tool_call:t-1:asked"

OLDER: dict[str, Older] = {
    "plain": Older(
        session({"default": agent(HELLO[0], {**HELLO[1], **METRICS}, state={"mood": "good"})}),
        ["hello", "hi"],
        state={"mood": "good"},
    ),
    "naive dates": Older(
        session(
            {
                "default": {
                    **agent(
                        message(0, "user", "hello", created_at=datetime(2024, 5, 1), updated_at=NAIVE_TEXT),  # noqa: DTZ001
                        message(1, "assistant", "hi", created_at=NAIVE_TEXT, updated_at=datetime(2024, 5, 1)),  # noqa: DTZ001
                        created_at=NAIVE_TEXT,
                    ),
                    "created_at": datetime(2024, 5, 1),  # noqa: DTZ001
                }
            },
            created_at=datetime(2024, 5, 1, 10),  # noqa: DTZ001
            updated_at=datetime(2024, 5, 1, 11),  # noqa: DTZ001
        ),
        ["hello", "hi"],
    ),
    "dates as text": Older(
        session(
            {"default": {**agent(*HELLO), "created_at": TEXT, "updated_at": NAIVE_TEXT}},
            created_at=TEXT,
            updated_at=NAIVE_TEXT,
            feedbacks=[{"rating": "down", "created_at": TEXT}, {"rating": None}],
        ),
        ["hello", "hi"],
    ),
    "no dates, or none that one can read": Older(
        session(
            {
                "default": {
                    **without(agent(without(HELLO[0], "created_at"), {**HELLO[1], "updated_at": None}), "created_at"),
                    "updated_at": "yesterday",
                }
            },
            created_at="a long time ago",
            updated_at=None,
        ),
        ["hello", "hi"],
    ),
    "contents as plain strings": Older(
        session(
            {
                "default": agent(
                    {**HELLO[0], "message": {"role": "user", "content": "hello"}},
                    {**HELLO[1], "message": {"role": "assistant", "content": "hi", "tracking_id": "kept"}},
                    {**HELLO[0], "message": {"role": "user", "content": ""}},
                )
            }
        ),
        ["hello", "hi", ""],
    ),
    "messages without content or role": Older(
        session(
            {
                "default": agent(
                    {**HELLO[0], "message": {"content": [{"text": "hello"}]}},
                    {**HELLO[1], "message": {"role": "assistant", "content": None}},
                    {**HELLO[1], "message": {"role": "assistant"}},
                )
            }
        ),
        ["hello", "nothing", "nothing"],
    ),
    "no array of messages": Older(session({"default": without(agent(), "messages")}), []),
    "messages are null": Older(session({"default": {**agent(), "messages": None}}), []),
    "no metadata, no feedback, no type": Older(
        without(session({"default": agent(*HELLO)}), "metadata", "feedbacks", "session_type", "session_id"),
        ["hello", "hi"],
    ),
    "metadata and feedback are null": Older(
        session({"default": agent(*HELLO)}, metadata=None, feedbacks=None, session_type=None), ["hello", "hi"]
    ),
    "fields that nobody knows": Older(
        session(
            {
                "default": {
                    **agent(
                        {**HELLO[0], "$note": {"$a": [{"": 1}]}, "score.total": Int64(3)},
                        {
                            **HELLO[1],
                            "message": {**HELLO[1]["message"], "annotations": {"a.b": [1, None]}},
                            "latency_ms": 12.5,
                        },
                        prompt_id="p-7",
                        labels=["x", {"y": None}],
                    ),
                    "message_stats": {"user": 1},
                    "turn_count": Int64(1),
                }
            },
            tenant="acme",
            **{"legacy.flags": {"$on": True}, "": "empty"},
        ),
        ["hello", "hi"],
    ),
    "stub agents beside a whole one": Older(
        session(
            {
                "ghost": {},
                "null": None,
                "number": 7,
                "messages only": {"messages": [HELLO[0]]},
                "data is empty": {"agent_data": {}, "messages": []},
                "data is null": {"agent_data": None},
                "default": agent(*HELLO),
            }
        ),
        ["hello", "hi"],
    ),
    "message ids twice, with gaps, and none": Older(
        session(
            {
                "default": agent(
                    message(0, "user", "one"),
                    message(0, "assistant", "two"),
                    message(7, "user", "three"),
                    message(7, "assistant", "four"),
                    without(message(0, "user", "five"), "message_id"),
                    message(None, "assistant", "six"),
                    message("1", "user", "seven"),
                    message(Int64(2), "assistant", "eight"),
                )
            }
        ),
        ["one", "two", "three", "four", "five", "six", "seven", "eight"],
    ),
    "no state of the conversation manager": Older(
        session({"default": {**agent(*HELLO), "agent_data": {"agent_id": "default"}}}), ["hello", "hi"]
    ),
    "an agent that does not say whose it is": Older(
        session({"default": {**agent(*HELLO), "agent_data": {"state": {"n": 1}}}}), ["hello", "hi"], state={"n": 1}
    ),
    "states that are null": Older(
        session({"default": agent(*HELLO, state=None, conversation_manager_state=None, _internal_state=None)}),
        ["hello", "hi"],
    ),
    "a window that has moved on": Older(
        session(
            {
                "default": agent(
                    *HELLO,
                    *(message(2, "user", "three"), message(3, "assistant", "four")),
                    conversation_manager_state={
                        "__name__": "SlidingWindowConversationManager",
                        "removed_message_count": 2,
                        "model_call_count": 2,
                    },
                )
            }
        ),
        ["hello", "hi", "three", "four"],
        removed=2,
    ),
    "counts that another language wrote": Older(
        session(
            {
                "default": agent(
                    *HELLO,
                    *(message(2.0, "user", "three"), message(3.0, "assistant", "four")),
                    conversation_manager_state={
                        "__name__": "SlidingWindowConversationManager",
                        "removed_message_count": Int64(2),
                        "model_call_count": 2.0,
                    },
                )
            }
        ),
        ["hello", "hi", "three", "four"],
        removed=2,
    ),
    "bytes as the SDK writes them into JSON": Older(
        session(
            {
                "default": agent(
                    message(
                        0,
                        "user",
                        [
                            {"text": "look"},
                            {
                                "image": {
                                    "format": "png",
                                    "source": {"bytes": {"__bytes_encoded__": True, "data": "iVBORwD/"}},
                                }
                            },
                        ],
                    ),
                    message(1, "assistant", [{"text": "seen"}, {"reasoningContent": {"redactedContent": b"\x00\x01"}}]),
                )
            }
        ),
        ["look", "seen"],
    ),
    "a redacted message": Older(
        session(
            {
                "default": agent(
                    message(
                        0,
                        "user",
                        "my card is 1234",
                        redact_message={"role": "user", "content": [{"text": "[removed]"}]},
                    ),
                    HELLO[1],
                )
            }
        ),
        ["[removed]", "hi"],
    ),
    "a tool call and its result": Older(
        session(
            {
                "default": agent(
                    HELLO[0],
                    message(1, "assistant", [TOOL_USE]),
                    message(2, "user", [TOOL_RESULT]),
                    message(3, "assistant", "three"),
                )
            }
        ),
        ["hello", "toolUse", "toolResult", "three"],
    ),
    "an id that is a raw key": Older(
        session({"50%": agent(*HELLO, agent_id="50%")}), ["hello", "hi"], agent_id="50%", at=("agents", "50%")
    ),
    "an id with a dollar sign": Older(
        session({"a$b": agent(*HELLO, agent_id="a$b")}), ["hello", "hi"], agent_id="a$b", at=("agents", "a$b")
    ),
    "an id of digits": Older(
        session({"0": agent(*HELLO, agent_id="0")}), ["hello", "hi"], agent_id="0", at=("agents", "0")
    ),
    "an id with spaces and letters of all kinds": Older(
        session({"Ärger mit 猫": agent(*HELLO, agent_id="Ärger mit 猫")}),
        ["hello", "hi"],
        agent_id="Ärger mit 猫",
        at=("agents", "Ärger mit 猫"),
    ),
    "a dotted id, nested": Older(
        session(
            {
                "team": {
                    "alpha": agent(*HELLO, agent_id="team.alpha", state={"n": 1}),
                    "beta": agent(message(0, "user", "for beta"), agent_id="team.beta"),
                }
            }
        ),
        ["hello", "hi"],
        agent_id="team.alpha",
        at=("agents", "team", "alpha"),
        state={"n": 1},
    ),
    "a dotted id, nested in another agent": Older(
        session(
            {
                "team": {
                    **agent(message(0, "user", "for the team"), agent_id="team"),
                    "alpha": agent(*HELLO, agent_id="team.alpha"),
                }
            }
        ),
        ["hello", "hi"],
        agent_id="team.alpha",
        at=("agents", "team", "alpha"),
    ),
    "no agents yet": Older(session({}), []),
    "agents are missing": Older(without(session({}), "agents"), []),
    "an open interrupt in the older form": Older(
        session(
            {
                "default": agent(
                    HELLO[0],
                    message(1, "assistant", [TOOL_USE]),
                    _internal_state={
                        "interrupt_state": {
                            "interrupts": {
                                INTERRUPT_ID: {"id": INTERRUPT_ID, "name": "sure", "reason": None, "response": None}
                            },
                            "context": {
                                "tool_use_message": {"role": "assistant", "content": [TOOL_USE]},
                                "tool_results": [],
                            },
                            "activated": True,
                        }
                    },
                )
            }
        ),
        ["hello", "toolUse"],
    ),
}
"""By what is odd about them."""
