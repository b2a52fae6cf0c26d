"""The stored document: its fields, its keys for any id, any content, and documents of the older layout."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymongo.collection import Collection
from strands import Agent, tool

from mongodb_session_manager import MongoDBSessionManagerFactory, SessionConflictError, SessionManager
from mongodb_session_manager.documents import addresses, agent_key
from tests.models import Line, ScriptedModel

Document = Callable[[str], Any]

SESSION_IDS = [
    "",
    " ",
    ".",
    "a.b",
    "a/b",
    "../../etc",
    "100%",
    "$x",
    "$",
    "ünï €😀",
    "\x00",
    "a\nb",
    "null",
    "x" * 5000,
]

AGENT_IDS = [
    "",
    " ",
    "0",
    "50%",
    "%",
    "%25",
    "%00",
    "\x00",
    ".",
    "..",
    "a",
    "a.b",
    "a%2Eb",
    "a%252Eb",
    "a.b.c",
    "a.agent_data.state",
    "a.messages",
    "$",
    "$x",
    "x.$y",
    "messages",
    "agent_data",
    "ünï €😀",
    "\ud800",
    "\ud83d\ude00",
    "%ED%A0%80",
    "n" * 500,
]


def agent_of(manager: SessionManager, *script: Line, **options: Any) -> Agent:
    return Agent(model=ScriptedModel(*script), session_manager=manager, callback_handler=None, **options)


def agent_named(agent_id: str, manager: SessionManager, *script: Line) -> Agent:
    """An agent with any id: the constructor takes an empty one for none."""
    agent = Agent(model=ScriptedModel(*script), callback_handler=None)
    agent.agent_id = agent_id
    agent.hooks.add_hook(manager)
    manager.initialize(agent)
    return agent


@tool
def take(anything: Any) -> str:
    """Take anything.

    Args:
        anything: Anything.
    """
    return "taken"


# Fields


def test_a_session_is_stored_as_it_is_documented(factory: MongoDBSessionManagerFactory, stored: Document) -> None:
    manager = factory.create_session_manager("s", application_name="shop", owner="ann", title="Shoes")
    agent = agent_of(manager, {"name": "take", "input": {"anything": 1}}, "an answer", tools=[take], name="Ada")
    agent.state.set("colour", "blue")
    agent("a question")

    document = stored("s")
    record = document["agents"]["default"]
    assert {*document} == {
        "_id",
        "session_id",
        "session_type",
        "schema_version",
        "application_name",
        "owner",
        "title",
        "created_at",
        "updated_at",
        "metadata",
        "feedbacks",
        "agents",
    }
    assert (document["_id"], document["session_id"], document["session_type"]) == ("s", "s", "AGENT")
    assert (document["schema_version"], document["metadata"], document["feedbacks"]) == (1, {}, [])
    assert {*record} == {
        "agent_data",
        "created_at",
        "updated_at",
        "revision",
        "message_count",
        "totals",
        "messages",
    }
    data = record["agent_data"]
    assert (data["agent_id"], data["name"], data["model"]) == ("default", "Ada", "scripted-1")
    assert data["state"] == {"colour": "blue"}
    assert data["conversation_manager_state"] == agent.conversation_manager.get_state()
    assert {*data["_internal_state"]} == {"interrupt_state", "model_state"}
    assert record["message_count"] == 4
    assert record["totals"] == {
        "input_tokens": 20,
        "output_tokens": 10,
        "total_tokens": 30,
        "latency_ms": 14,
        "model_calls": 2,
        "tool_calls": 1,
    }
    assert all(isinstance(one[name], datetime) for one in (document, record) for name in ("created_at", "updated_at"))


def test_a_message_is_stored_with_its_position_and_the_turns_cost_on_the_last(
    factory: MongoDBSessionManagerFactory, stored: Document
) -> None:
    agent = agent_of(factory.create_session_manager("s"), {"name": "take"}, "done", tools=[take])
    agent("one")
    agent("two")

    messages = stored("s")["agents"]["default"]["messages"]
    assert [message["message_id"] for message in messages] == [0, 1, 2, 3, 4, 5]
    assert [message["message"] for message in messages] == agent.messages
    assert all(isinstance(message[name], datetime) for message in messages for name in ("created_at", "updated_at"))
    with_costs = {index: one["event_loop_metrics"] for index, one in enumerate(messages) if "event_loop_metrics" in one}
    assert {*with_costs} == {3, 5}
    assert with_costs[3] == {
        "accumulated_usage": {"inputTokens": 20, "outputTokens": 10, "totalTokens": 30},
        "accumulated_metrics": {"latencyMs": 14},
        "model_calls": 2,
        "tool_calls": 1,
    }
    assert with_costs[5]["accumulated_usage"]["totalTokens"] == 15


def test_a_question_is_stored_and_the_turn_is_held_while_the_model_answers(
    factory: MongoDBSessionManagerFactory, stored: Document
) -> None:
    agent = agent_of(factory.create_session_manager("s"), "an answer")
    model = agent.model
    assert isinstance(model, ScriptedModel)
    model.hold = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        turn = pool.submit(agent, "a question")
        while not model.calls:
            pass
        meanwhile = stored("s")["agents"]["default"]
        model.hold.set()
        turn.result()
    afterwards = stored("s")["agents"]["default"]

    assert [message["message"]["content"] for message in meanwhile["messages"]] == [[{"text": "a question"}]]
    assert {*meanwhile["turn"]} == {"owner", "stamp"}
    assert "turn" not in afterwards
    assert afterwards["revision"] != meanwhile["revision"]


def test_unchanged_state_is_never_written_again(factory: MongoDBSessionManagerFactory, stored: Document) -> None:
    first = agent_of(factory.create_session_manager("s"))
    first.state.set("colour", "blue")
    first("hi")
    before = stored("s")["agents"]["default"]["agent_data"]
    agent_of(factory.create_session_manager("s"))("again")

    assert stored("s")["agents"]["default"]["agent_data"] == before
    assert before["state"] == {"colour": "blue"}


# Ids


@pytest.mark.parametrize("session_id", SESSION_IDS, ids=lambda session_id: repr(session_id[:9]))
def test_any_session_id_works(factory: MongoDBSessionManagerFactory, stored: Document, session_id: str) -> None:
    manager = factory.create_session_manager(session_id)
    agent_of(manager, "an answer")("a question")
    manager.update_metadata({"a": 1})
    manager.add_feedback({"rating": "up"})

    again = factory.create_session_manager(session_id)
    restored = agent_of(again)
    assert [message["content"][0]["text"] for message in restored.messages] == ["a question", "an answer"]
    assert (again.get_metadata(), len(again.get_feedbacks())) == ({"a": 1}, 1)
    session = again.get_session()
    assert session is not None
    assert session.session_id == stored(session_id)["session_id"] == session_id
    assert [item.session_id for item in factory.sessions.page().items] == [session_id]
    assert factory.sessions.delete(session_id)


@pytest.mark.parametrize("session_id", ["\ud800", "a\udfffb"], ids=ascii)
def test_a_lone_surrogate_is_no_session_id(factory: MongoDBSessionManagerFactory, session_id: str) -> None:
    with pytest.raises(ValueError, match="surrogate"):
        factory.create_session_manager(session_id)


@pytest.mark.parametrize("session_id", [None, 7, b"s"])
def test_a_session_id_is_text(factory: MongoDBSessionManagerFactory, session_id: Any) -> None:
    with pytest.raises(ValueError, match="string"):
        factory.create_session_manager(session_id)


@pytest.fixture
def crowded(factory: MongoDBSessionManagerFactory) -> str:
    """A session in which an agent of every awkward id has spoken once."""
    manager = factory.create_session_manager("s")
    for number, agent_id in enumerate(AGENT_IDS):
        agent = agent_named(agent_id, manager, f"answer {number}")
        agent.state.set("agent_data", {"number": number})
        agent(f"question {number}")
    return "s"


def test_agents_of_any_id_live_side_by_side(factory: MongoDBSessionManagerFactory, crowded: str) -> None:
    manager = factory.create_session_manager(crowded)

    for number, agent_id in enumerate(AGENT_IDS):
        agent = agent_named(agent_id, manager, "another answer")
        texts = [message["content"][0]["text"] for message in agent.messages]
        assert texts == [f"question {number}", f"answer {number}"]
        assert agent.state.get("agent_data") == {"number": number}
        agent("another question")
    session = manager.get_session()
    assert session is not None
    assert {agent_id: agent.message_count for agent_id, agent in session.agents.items()} == dict.fromkeys(AGENT_IDS, 4)


def test_agents_of_any_id_are_told_apart_by_whoever_asks(factory: MongoDBSessionManagerFactory, crowded: str) -> None:
    manager = factory.create_session_manager(crowded)
    manager.set_prompt_metadata("a.b", {"for": "a.b"})

    for number, agent_id in enumerate(AGENT_IDS):
        assert manager.get_metrics_summary(agent_id)["total_tokens"] == 15
        assert manager.get_message_count(agent_id) == 2
        [question, _] = factory.sessions.messages(crowded, agent_id)
        assert question.message["content"] == [{"text": f"question {number}"}]
        expected = {"for": "a.b"} if agent_id == "a.b" else None
        assert manager.get_agent_config(agent_id)["prompt_metadata"] == expected


@pytest.mark.parametrize("agent_id", ["", "%", "%00", "a", "a.b", "a%2Eb", "a.agent_data.state", "%ED%A0%80"])
def test_an_agent_that_is_not_there_is_not_taken_for_another(
    factory: MongoDBSessionManagerFactory, agent_id: str
) -> None:
    manager = factory.create_session_manager("s")
    for other in AGENT_IDS:
        if other != agent_id:
            agent = agent_named(other, manager, f"answer of {len(other)}")
            agent.state.set("agent_data", {"number": 1})
            manager.sync_agent(agent)

    again = factory.create_session_manager("s")
    assert factory.sessions.agent_summary("s", agent_id) is None
    agent = agent_named(agent_id, again)
    assert (agent.messages, agent.state.get()) == ([], {})


@given(st.lists(st.text(alphabet=st.characters(exclude_categories=[]), max_size=6), min_size=2, unique=True))
def test_keys_of_different_agents_differ(agent_ids: list[str]) -> None:
    assert len({agent_key(agent_id) for agent_id in agent_ids}) == len(agent_ids)


@given(st.text(alphabet=st.sampled_from(".$%\x0025E0aD\ud800"), max_size=8))
def test_a_key_is_one_that_mongodb_can_address(agent_id: str) -> None:
    key = agent_key(agent_id)

    assert key
    assert not {".", "$", "\x00"} & {*key}
    key.encode()
    assert addresses("agents", agent_id)[0] == f"agents.{key}"


def test_a_plain_id_is_its_own_key() -> None:
    assert [agent_key(agent_id) for agent_id in ("default", "agent-1", "Ünï x/y")] == ["default", "agent-1", "Ünï x/y"]


# Content

AWKWARD: dict[str, Any] = {
    "$set": {"a.b": 1, ".": [], "$": "$x"},
    "": "",
    "\x00": "\x00",
    "deep": [[[{"": {"$ref": "x", "$id": 1}}]]],
    "big": [2**63, -(2**63) - 1, 2**200, 2**63 - 1],
    "float": [1.0, 1e300, 5e-324],
    "surrogate \ud800": "\ud800 and \udfff",
    "tag": {"__json__": "not ours"},
    "date like": "2026-01-01T00:00:00+00:00",
    "none": None,
    "bool": [True, False],
}


def test_awkward_state_and_tool_input_come_back_equal(factory: MongoDBSessionManagerFactory, stored: Document) -> None:
    call = {"name": "take", "input": {"anything": AWKWARD}}
    agent = agent_of(factory.create_session_manager("s"), call, "an answer", tools=[take])
    agent.state.set("kept", AWKWARD)
    agent("take this")

    restored = agent_of(factory.create_session_manager("s"), tools=[take])
    assert restored.messages == agent.messages
    assert restored.messages[1]["content"][0]["toolUse"]["input"] == {"anything": AWKWARD}
    assert restored.state.get("kept") == AWKWARD


def test_bytes_in_messages_come_back_equal(factory: MongoDBSessionManagerFactory) -> None:
    picture: Any = {"image": {"format": "png", "source": {"bytes": bytes(range(256))}}}
    report: Any = {"document": {"format": "pdf", "name": "report", "source": {"bytes": b""}}}
    agent = agent_of(factory.create_session_manager("s"))
    agent([picture, report, {"text": "what is this?"}])

    restored = agent_of(factory.create_session_manager("s"))
    assert restored.messages == agent.messages
    assert restored.messages[0]["content"][:2] == [picture, report]


def test_what_is_stored_can_be_queried(factory: MongoDBSessionManagerFactory, collection: Collection[Any]) -> None:
    agent = agent_of(factory.create_session_manager("s"))
    agent.state.set("profile", {"address": {"city": "Wien"}})
    agent("a question")

    assert collection.count_documents({"agents.default.agent_data.state.profile.address.city": "Wien"}) == 1
    assert collection.count_documents({"agents.default.messages.message.content.text": "a question"}) == 1


# The older layout


def older(agents: dict[str, Any], **fields: Any) -> dict[str, Any]:
    naive = datetime(2024, 5, 6, 7, 8, 9)  # noqa: DTZ001
    return {
        "_id": "s",
        "session_id": "s",
        "session_type": "default",
        "created_at": naive,
        "updated_at": naive,
        "agents": agents,
        **fields,
    }


def older_agent(agent_id: str, *messages: dict[str, Any], **data: Any) -> dict[str, Any]:
    naive = datetime(2024, 5, 6, 7, 8, 9)  # noqa: DTZ001
    manager_state = {"__name__": "SlidingWindowConversationManager", "removed_message_count": 0}
    agent_data = {"agent_id": agent_id, "state": {"k": 1}, "conversation_manager_state": manager_state, **data}
    return {"agent_data": agent_data, "created_at": naive, "updated_at": naive, "messages": list(messages)}


def older_message(number: int, role: str, content: Any) -> dict[str, Any]:
    naive = datetime(2024, 5, 6, 7, 8, 9)  # noqa: DTZ001
    message = {"role": role, "content": content}
    return {"message": message, "message_id": number, "created_at": naive, "updated_at": naive, "latency_ms": 12}


def test_a_session_of_the_older_layout_loads_and_goes_on(
    factory: MongoDBSessionManagerFactory, collection: Collection[Any], stored: Document
) -> None:
    said = [
        older_message(0, "user", [{"text": "old question"}]),
        older_message(1, "assistant", "old answer"),
        older_message(1, "user", [{"text": "duplicate id"}]),
        older_message(1, "assistant", [{"text": "also one"}]),
    ]
    collection.insert_one(older({"default": {**older_agent("default", *said), "extra": 1}}, unknown={"kept": True}))
    agent = agent_of(factory.create_session_manager("s"), "new answer")
    texts = ["old question", "old answer", "duplicate id", "also one"]
    assert [message["content"] for message in agent.messages] == [[{"text": words}] for words in texts]
    assert agent.state.get() == {"k": 1}
    agent("new question")

    document = stored("s")
    record = document["agents"]["default"]
    assert (document["unknown"], document["session_type"], record["extra"]) == ({"kept": True}, "default", 1)
    assert document["created_at"] == datetime(2024, 5, 6, 7, 8, 9)  # noqa: DTZ001
    assert [message["message"]["content"] for message in record["messages"][:4]] == [
        message["message"]["content"] for message in said
    ]
    assert [message.get("latency_ms") for message in record["messages"]] == [12, 12, 12, 12, None, None]
    assert [message.message_id for message in factory.sessions.messages("s")] == [0, 1, 2, 3, 4, 5]
    session = factory.create_session_manager("s").get_session()
    assert session is not None
    assert session.created_at == datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    ("agent_id", "agents"),
    [
        ("100%", {"100%": older_agent("100%", older_message(0, "user", "hi"))}),
        ("team.alpha", {"team": {"alpha": older_agent("team.alpha", older_message(0, "user", "hi"))}}),
    ],
    ids=["raw", "nested"],
)
def test_an_agent_keeps_the_address_where_it_was_found(
    factory: MongoDBSessionManagerFactory,
    collection: Collection[Any],
    stored: Document,
    agent_id: str,
    agents: dict[str, Any],
) -> None:
    collection.insert_one(older(agents))
    manager = factory.create_session_manager("s")
    agent = agent_of(manager, "hello", agent_id=agent_id)
    assert [message["content"] for message in agent.messages] == [[{"text": "hi"}]]
    agent("how are you?")
    manager.update_agent_config(agent_id, system_prompt="be brief")

    assert stored("s")["agents"].keys() == agents.keys()
    assert len(agent_of(factory.create_session_manager("s"), agent_id=agent_id).messages) == 3
    assert manager.get_message_count(agent_id) == 3
    assert manager.get_agent_config(agent_id)["system_prompt"] == "be brief"
    session = manager.get_session()
    assert session is not None
    assert {*session.agents} == {agent_id}
    assert session.agents[agent_id].message_count == len(session.agents[agent_id].messages) == 3


@pytest.mark.parametrize(
    "stub",
    [
        {},
        {"messages": []},
        {"agent_data": {}, "messages": []},
        {"agent_data": {"agent_id": "default"}},
        {"agent_data": {"agent_id": "default", "state": None}, "messages": None},
    ],
    ids=repr,
)
def test_a_stub_of_an_agent_can_be_used(
    factory: MongoDBSessionManagerFactory, collection: Collection[Any], stub: dict[str, Any]
) -> None:
    collection.insert_one(older({"default": stub}))
    agent = agent_of(factory.create_session_manager("s"), "an answer")
    assert (agent.messages, agent.state.get()) == ([], {})
    agent("a question")

    restored = agent_of(factory.create_session_manager("s"))
    assert [message["content"][0]["text"] for message in restored.messages] == ["a question", "an answer"]


@pytest.mark.parametrize("agents", [{}, {"agents": {}}], ids=repr)
def test_a_session_without_agents_gets_its_first(
    factory: MongoDBSessionManagerFactory, collection: Collection[Any], stored: Document, agents: dict[str, Any]
) -> None:
    collection.insert_one({"_id": "s", **agents})
    agent_of(factory.create_session_manager("s"), "an answer")("a question")

    assert stored("s")["agents"]["default"]["message_count"] == 2
    assert len(agent_of(factory.create_session_manager("s")).messages) == 2


def test_a_writer_of_the_older_layout_is_noticed(
    factory: MongoDBSessionManagerFactory, collection: Collection[Any]
) -> None:
    collection.insert_one(older({"default": older_agent("default", older_message(0, "user", "hi"))}))
    agent = agent_of(factory.create_session_manager("s"))
    collection.update_one({"_id": "s"}, {"$push": {"agents.default.messages": older_message(1, "assistant", "hello")}})

    with pytest.raises(SessionConflictError):
        agent("how are you?")
    agent("how are you?")
    assert len(factory.sessions.messages("s")) == 4
