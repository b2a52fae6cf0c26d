"""The tool with which a model reads and writes the metadata of its session."""

from __future__ import annotations

import asyncio
import json
import logging
from datetime import UTC, datetime
from typing import Any

import pytest
from pymongo import MongoClient
from strands import Agent

from mongodb_session_manager import MongoDBSessionManager, MongoDBSessionManagerFactory
from tests.commands import Commands
from tests.models import ScriptedModel


@pytest.fixture
def manager(factory: MongoDBSessionManagerFactory) -> MongoDBSessionManager:
    return factory.create_session_manager("s")


async def answer(tool: Any, **given: Any) -> tuple[str, str]:
    """What a model that uses the tool so is answered: the status and the text."""
    events = [each async for each in tool.stream({"toolUseId": "1", "name": tool.tool_name, "input": given}, {})]
    result = events[-1]["tool_result"]
    (block,) = result["content"]
    return result["status"], block["text"]


def test_an_agent_uses_it_in_a_turn(factory: MongoDBSessionManagerFactory, commands: Commands) -> None:
    manager = factory.create_session_manager("s")
    uses = [
        {
            "name": "manage_metadata",
            "input": {"action": "set", "metadata": {"status": "open", "customer.tier": "gold"}},
        },
        {"name": "manage_metadata", "input": {"action": "delete", "keys": ["status"]}},
        {"name": "manage_metadata", "input": {"action": "get"}},
    ]
    agent = Agent(
        model=ScriptedModel(*uses, "done"),
        session_manager=manager,
        tools=[manager.get_metadata_tool()],
        callback_handler=None,
    )
    asyncio.run(agent.invoke_async("What do you know?"))
    results = [
        block["toolResult"] for message in agent.messages for block in message["content"] if "toolResult" in block
    ]

    assert [result["status"] for result in results] == ["success"] * 3
    assert json.loads(results[2]["content"][0]["text"]) == {"customer": {"tier": "gold"}}
    assert manager.get_metadata() == {"customer": {"tier": "gold"}}
    assert commands.on_a_loop == []


def test_an_application_may_call_it_through_the_agent(manager: MongoDBSessionManager) -> None:
    agent = Agent(
        model=ScriptedModel(), session_manager=manager, tools=[manager.get_metadata_tool()], callback_handler=None
    )
    result = agent.tool.manage_metadata(action="set", metadata={"a": 1})

    assert result["status"] == "success"
    assert manager.get_metadata() == {"a": 1}


def test_a_model_is_told_how_to_use_it(manager: MongoDBSessionManager) -> None:
    spec = manager.get_metadata_tool(["status", "customer"]).tool_spec
    schema = spec["inputSchema"]["json"]

    assert spec["name"] == "manage_metadata"
    assert schema["properties"]["action"]["enum"] == ["get", "set", "update", "delete"]
    assert {name: value["type"] for name, value in schema["properties"].items()} == {
        "action": "string",
        "metadata": "object",
        "keys": "array",
    }
    assert schema["required"] == ["action"]
    assert "status, customer" in spec["description"]
    assert "Only" not in manager.get_metadata_tool().tool_spec["description"]


@pytest.mark.parametrize("action", ["set", "update", "SET", "Update", " set "])
async def test_set_and_update_store_and_leave_the_rest(manager: MongoDBSessionManager, action: str) -> None:
    await manager.aio.update_metadata({"kept": True, "a": 0})

    assert await answer(manager.get_metadata_tool(), action=action, metadata={"a": 1, "b": {"c": 2}}) == (
        "success",
        "Stored: a, b.",
    )
    assert await manager.aio.get_metadata() == {"kept": True, "a": 1, "b": {"c": 2}}


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ('{"a": 1, "b": {"c": [2]}}', {"a": 1, "b": {"c": [2]}}),
        ({"a": '{"b": 1}', "c": "[1, 2]"}, {"a": {"b": 1}, "c": [1, 2]}),
        ('{"a": "[1]"}', {"a": [1]}),
        # What is text stays text.
        (
            {"a": "5", "b": "true", "c": "null", "d": "[draft] x", "e": "{", "f": '"x"', "g": ""},
            {"a": "5", "b": "true", "c": "null", "d": "[draft] x", "e": "{", "f": '"x"', "g": ""},
        ),
    ],
)
async def test_objects_and_lists_may_come_as_json_text(
    manager: MongoDBSessionManager, metadata: Any, expected: dict[str, Any]
) -> None:
    status, _ = await answer(manager.get_metadata_tool(), action="set", metadata=metadata)

    assert status == "success"
    assert await manager.aio.get_metadata() == expected


async def test_get_answers_in_json_with_all_or_with_some(manager: MongoDBSessionManager) -> None:
    when = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    await manager.aio.update_metadata({"a": {"b": 1, "c": 2}, "when": when, "d": "ü"})
    tool = manager.get_metadata_tool()
    asked: list[tuple[Any, Any]] = [
        (None, {"a": {"b": 1, "c": 2}, "when": "2026-01-02T03:04:05+00:00", "d": "ü"}),
        ([], {"a": {"b": 1, "c": 2}, "when": "2026-01-02T03:04:05+00:00", "d": "ü"}),
        (["a.b", "d", "unknown", "d.e"], {"a.b": 1, "d": "ü", "unknown": None, "d.e": None}),
        ("d", {"d": "ü"}),
        ('["a.c"]', {"a.c": 2}),
    ]
    for keys, expected in asked:
        status, text = await answer(tool, action="Get", keys=keys)
        assert (status, json.loads(text)) == ("success", expected)


async def test_get_of_a_new_session_is_an_empty_object(manager: MongoDBSessionManager) -> None:
    assert await answer(manager.get_metadata_tool(), action="get") == ("success", "{}")


@pytest.mark.parametrize("keys", [["a", "b.c"], '["a", "b.c"]'])
async def test_delete_removes_keys(manager: MongoDBSessionManager, keys: Any) -> None:
    await manager.aio.update_metadata({"a": 1, "b": {"c": 2, "d": 3}})

    assert await answer(manager.get_metadata_tool(), action="DELETE", keys=keys) == ("success", "Deleted: a, b.c.")
    assert await manager.aio.get_metadata() == {"b": {"d": 3}}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "action must be one of: get, set, update, delete."),
        ({"action": "remove"}, "action must be one of"),
        ({"action": 5}, "action must be one of"),
        ({"action": ["get"]}, "action must be one of"),
        ({"action": "set"}, "set needs metadata, an object such as"),
        ({"action": "update", "metadata": {}}, "update needs metadata"),
        ({"action": "set", "keys": ["a"]}, "set needs metadata"),
        ({"action": "set", "metadata": ["a"]}, "metadata must be an object"),
        ({"action": "set", "metadata": "status"}, "metadata must be an object"),
        ({"action": "set", "metadata": "{'a': 1}"}, "metadata must be an object"),
        ({"action": "set", "metadata": 7}, "metadata must be an object"),
        ({"action": "set", "metadata": {"$a": 1}}, "$a"),
        ({"action": "set", "metadata": {"a..b": 1}}, "a..b"),
        ({"action": "delete"}, "delete needs keys, a list such as"),
        ({"action": "delete", "keys": []}, "delete needs keys"),
        ({"action": "delete", "metadata": {"a": 1}}, "delete needs keys"),
        ({"action": "delete", "keys": [1]}, "keys must be a list of texts"),
        ({"action": "delete", "keys": {"a": 1}}, "keys must be a list of texts"),
        ({"action": "delete", "keys": [""]}, "key"),
        ({"action": "get", "keys": 7}, "keys must be a list of texts"),
    ],
    ids=str,
)
async def test_wrong_input_is_answered_with_what_would_be_right(
    manager: MongoDBSessionManager, given: dict[str, Any], words: str
) -> None:
    status, text = await answer(manager.get_metadata_tool(), **given)

    assert status == "error"
    assert words in text
    assert await manager.aio.get_metadata() == {}


@pytest.mark.parametrize(
    "given",
    [
        {"action": "set", "metadata": {"status": 1, "owner": 2}},
        {"action": "update", "metadata": '{"owner": 2}'},
        {"action": "set", "metadata": {"customer": {"tier": "x"}}},
        {"action": "set", "metadata": {"statuses": 1}},
        {"action": "set", "metadata": {"customer.tiers": 1}},
        {"action": "delete", "keys": ["owner"]},
        {"action": "delete", "keys": "customer"},
    ],
    ids=str,
)
async def test_only_allowed_keys_are_written(manager: MongoDBSessionManager, given: dict[str, Any]) -> None:
    before = {"owner": "ann", "customer": {"tier": "gold"}}
    await manager.aio.update_metadata(before)
    status, text = await answer(manager.get_metadata_tool(["status", "customer.tier"]), **given)

    assert status == "error"
    assert "Allowed: status, customer.tier." in text
    assert await manager.aio.get_metadata() == before


async def test_allowed_keys_are_written_with_all_inside_and_everything_is_read(manager: MongoDBSessionManager) -> None:
    await manager.aio.update_metadata({"owner": "ann"})
    tool = manager.get_metadata_tool(("status", "customer.tier"))
    given: list[dict[str, Any]] = [
        {"action": "set", "metadata": {"status": "open", "status.by": "x"}},
        {"action": "set", "metadata": {"status": {"by": "me", "on": 1}, "customer.tier": "gold"}},
        {"action": "delete", "keys": ["status.on"]},
    ]
    statuses = [(await answer(tool, **each))[0] for each in given]

    assert statuses == ["error", "success", "success"]  # a key and one inside it cannot be set at once
    _, text = await answer(tool, action="get")
    assert json.loads(text) == {"owner": "ann", "status": {"by": "me"}, "customer": {"tier": "gold"}}


async def test_with_nothing_allowed_it_can_only_read(manager: MongoDBSessionManager) -> None:
    await manager.aio.update_metadata({"a": 1})
    tool = manager.get_metadata_tool([])

    assert (await answer(tool, action="set", metadata={"b": 1}))[0] == "error"
    assert await answer(tool, action="get") == ("success", '{"a": 1}')


@pytest.mark.parametrize("wrong", ["status", [1], [None]])
def test_what_is_no_list_of_keys_is_refused(manager: MongoDBSessionManager, wrong: Any) -> None:
    with pytest.raises(TypeError, match="allowed_keys"):
        manager.get_metadata_tool(wrong)


async def test_it_goes_through_the_hooks(factory: MongoDBSessionManagerFactory) -> None:
    seen: list[tuple[str, Any]] = []

    async def upper(original_func: Any, action: str, session_id: str, **kwargs: Any) -> Any:
        seen.append((action, kwargs))
        assert asyncio.get_running_loop()
        if action == "update":
            return await original_func({key: str(value).upper() for key, value in kwargs["metadata"].items()})
        return await original_func(*kwargs.values())

    def veto(original_func: Any, action: str, session_id: str, **kwargs: Any) -> Any:
        if "a" in kwargs.get("keys", ()):
            raise PermissionError("a is kept for the audit")
        return original_func(*kwargs.values())

    manager = factory.create_session_manager("s", metadata_hook=[upper, veto])
    tool = manager.get_metadata_tool()
    await answer(tool, action="set", metadata={"a": "x"})

    assert await answer(tool, action="delete", keys=["a"]) == ("error", "a is kept for the audit")
    assert await answer(tool, action="get") == ("success", '{"a": "X"}')
    assert [action for action, _ in seen] == ["update", "delete", "get"]


async def test_a_failure_is_logged_and_told_without_its_particulars(
    collection: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with MongoClient[Any]("mongodb://127.0.0.1:1", serverSelectionTimeoutMS=50) as client:
        factory = MongoDBSessionManagerFactory(client=client, database_name="tests", collection_name=collection.name)
        tool = factory.create_session_manager("s-1").get_metadata_tool()
        with caplog.at_level(logging.DEBUG, "mongodb_session_manager"):
            status, text = await answer(tool, action="set", metadata={"a": "a private word"})

    assert status == "error"
    assert "cannot be reached" in text
    assert "127.0.0.1" not in text
    (line,) = [each.getMessage() for each in caplog.records if each.name == "mongodb_session_manager.metadata_tool"]
    assert "session_id=<s-1>" in line
    assert "ServerSelectionTimeoutError" in line
    assert "private" not in caplog.text


async def test_what_is_too_large_is_told_so(manager: MongoDBSessionManager) -> None:
    status, text = await answer(manager.get_metadata_tool(), action="set", metadata={"a": "x" * 17_000_000})

    assert status == "error"
    assert "cannot be reached" not in text
    assert "xxx" not in text
