"""The SDK's storage on MongoDB: what the SDK documents of one, on its own storages and on ours; then what ours adds."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import bson.objectid
import pytest
from bson import ObjectId
from hypothesis import given
from hypothesis import strategies as st
from pymongo import MongoClient, WriteConcern
from pymongo.collection import Collection
from strands import Agent, tool
from strands.multiagent import GraphBuilder
from strands.session import SnapshotSessionManager
from strands.storage import InMemoryStorage, LocalFileStorage, Storage
from strands.storage.search import StorageSearchResult
from strands.types.exceptions import StorageError
from strands.vended_memory_stores.file_memory_store import FileMemoryStore
from strands.vended_plugins.context_offloader import ContextOffloader

from mongodb_session_manager import MongoDBSessionManagerFactory, MongoDBStorage
from mongodb_session_manager import storage as storage_module
from tests.commands import Commands
from tests.models import ScriptedModel

Values = Collection[dict[str, Any]]

MB = 1024 * 1024
MANY = [b"", b"\x00", bytes(range(256)), "Grüße, 世界".encode(), b"\xff" * 100_000]


@pytest.fixture
def mongodb(mongo_client: MongoClient[Any], collection: Values) -> MongoDBStorage:
    return MongoDBStorage(client=mongo_client, database_name="tests", collection_name=collection.name)


@pytest.fixture
def elsewhere(mongo_client: MongoClient[Any], collection: Values) -> Callable[[str], MongoDBStorage]:
    """Storages on the same collection, in a namespace each."""

    def make(namespace: str) -> MongoDBStorage:
        return MongoDBStorage(
            client=mongo_client, database_name="tests", collection_name=collection.name, namespace=namespace
        )

    return make


class Marking:
    """A search strategy that remembers what it was told and finds just that."""

    requires_host_fs = False

    def __init__(self) -> None:
        self.told: list[tuple[object, str, bytes]] = []
        self.fails = False

    async def index(self, storage: Storage, key: str, data: bytes, **kwargs: Any) -> None:
        if self.fails:
            raise RuntimeError("no room")
        self.told.append((storage, key, data))

    async def search(self, storage: Storage, query: str, **kwargs: Any) -> list[StorageSearchResult]:
        return [StorageSearchResult(key=key, score=1.0) for whose, key, _ in self.told if whose is storage]


Make = Callable[..., Any]


@pytest.fixture(params=["memory", "files", "mongodb"])
def make(request: pytest.FixtureRequest, tmp_path: Path, mongo_client: MongoClient[Any], collection: Values) -> Make:
    """Makes the SDK's storages, or ours, with options that all of them have."""
    place: dict[str, Any] = {"client": mongo_client, "database_name": "tests", "collection_name": collection.name}
    makers: dict[str, Make] = {
        "memory": InMemoryStorage,
        "files": lambda **options: LocalFileStorage(str(tmp_path), **options),
        "mongodb": lambda **options: MongoDBStorage(**place, **options),
    }
    return makers[request.param]


@pytest.fixture(params=["whole", "view", "view of a view"])
def storage(request: pytest.FixtureRequest, make: Make) -> Any:
    whole = make()
    views = {"whole": lambda: whole, "view": lambda: whole.namespace("a"), "view of a view": lambda: nested(whole)}
    return views[request.param]()


def nested(whole: Any) -> Any:
    return whole.namespace("a").namespace("b/c/")


# What the SDK documents of every storage


def test_it_is_a_storage(storage: Any) -> None:
    assert isinstance(storage, Storage)


@pytest.mark.parametrize("data", MANY, ids=len)
async def test_bytes_come_back_unchanged(storage: Any, data: bytes) -> None:
    await storage.write("k", data)
    read = await storage.read("k")
    assert (type(read), read) == (bytes, data)


async def test_writing_overwrites(storage: Any) -> None:
    for data in MANY:
        await storage.write("k", data)
    assert await storage.read("k") == MANY[-1]
    assert await storage.list("") == ["k"]


async def test_a_missing_key_reads_as_none(storage: Any) -> None:
    await storage.write("kk", b"1")
    assert await storage.read("k") is None
    assert await storage.read("kk/x") is None


async def test_what_is_deleted_is_missing_and_nothing_else_is(storage: Any) -> None:
    await storage.write("a/1", b"1")
    await storage.write("a/2", b"2")
    await storage.delete("a/1")
    assert await storage.read("a/1") is None
    assert await storage.read("a/2") == b"2"
    assert await storage.list("") == ["a/2"]


async def test_deleting_a_missing_key_does_nothing(storage: Any) -> None:
    await storage.delete("k")
    await storage.write("k", b"1")
    await storage.delete("k")
    await storage.delete("k")
    assert await storage.list("") == []


async def test_a_deleted_key_can_be_written_again(storage: Any) -> None:
    await storage.write("k", b"1")
    await storage.delete("k")
    await storage.write("k", b"2")
    assert await storage.read("k") == b"2"


async def test_keys_are_listed_whole_and_in_order(storage: Any) -> None:
    keys = ["b", "a/10", "a/9", "ab", "a.b", "a-b", "A", "é", "z/y/x", "\U0001f600", "\uffee", "_"]
    for key in keys:
        await storage.write(key, key.encode())
    assert await storage.list("") == sorted(keys)
    assert await storage.list() == sorted(keys)


@pytest.mark.parametrize("prefix", ["a", "a/", "a/1", "ab", "a.", "a/b/c/d", "A", "zzz", "a*", "[", "(", "^a", "$"])
async def test_a_prefix_is_any_beginning_of_a_key_and_no_pattern(storage: Any, prefix: str) -> None:
    keys = ["a/1", "a/10", "a/2", "ab", "a.b", "b/a/1", "(x", "[x]", "^a", "$a", "a*"]
    for key in keys:
        await storage.write(key, b"")
    assert await storage.list(prefix) == sorted(key for key in keys if key.startswith(prefix))


async def test_what_was_written_does_not_change_with_the_buffer_it_came_from(storage: Any) -> None:
    buffer = bytearray(b"before")
    await storage.write("k", buffer)
    buffer[:] = b"after!"
    assert await storage.read("k") == b"before"


async def test_many_calls_may_be_under_way_at_once(storage: Any) -> None:
    numbers = range(60)
    await asyncio.gather(*(storage.write(f"n/{number:02}", str(number).encode()) for number in numbers))
    assert await asyncio.gather(*(storage.read(f"n/{number:02}") for number in numbers)) == [
        str(number).encode() for number in numbers
    ]
    assert await storage.list("n/") == [f"n/{number:02}" for number in numbers]
    await asyncio.gather(*(storage.delete(f"n/{number:02}") for number in numbers))
    assert await storage.list("") == []


async def test_of_writers_at_once_one_wins_whole(storage: Any) -> None:
    values = [bytes([number]) * 50_000 for number in range(20)]
    await asyncio.gather(*(storage.write("k", value) for value in values))
    assert await storage.read("k") in values
    await storage.write("k", b"last")
    assert await storage.read("k") == b"last"


async def test_searching_ranks_what_matches_and_brings_its_bytes(storage: Any) -> None:
    await storage.write("notes/tea.md", b"the user likes green tea")
    await storage.write("notes/green.md", b"a colour")
    await storage.write("notes/other.md", b"nothing of it")
    found = await storage.search("green tea")
    assert [(each.key, each.data) for each in found] == [
        ("notes/tea.md", b"the user likes green tea"),
        ("notes/green.md", b"a colour"),
    ]
    assert found[0].score > found[1].score
    assert await storage.search("and the of") == []


async def test_a_view_holds_a_part_of_the_storage_without_the_prefix(make: Make) -> None:
    whole = make()
    view = whole.namespace("memory/a")
    await view.write("x.md", b"1")
    await whole.write("memory/a/y.md", b"2")
    await whole.write("memory/ab/z.md", b"3")
    await whole.write("other", b"4")
    assert await whole.read("memory/a/x.md") == b"1"
    assert await view.read("y.md") == b"2"
    assert await view.list("") == ["x.md", "y.md"]
    assert await view.list("y") == ["y.md"]
    assert await whole.list("memory/") == ["memory/a/x.md", "memory/a/y.md", "memory/ab/z.md"]
    await view.delete("y.md")
    assert await whole.read("memory/a/y.md") is None
    await view.delete("z.md")
    assert await whole.read("memory/ab/z.md") == b"3"


async def test_views_nest_and_slashes_around_their_prefix_do_not_matter(make: Make) -> None:
    whole = make()
    await whole.namespace("a").namespace("b").write("k", b"1")
    for same in ("a/b", "/a/b", "a/b/"):
        assert await whole.namespace(same).read("k") == b"1"
    assert await whole.namespace("").list("") == ["a/b/k"]
    assert await whole.namespace("a").namespace("").list("") == ["b/k"]


async def test_a_view_searches_only_itself_and_not_by_its_own_prefix(make: Make) -> None:
    whole = make()
    await whole.namespace("memory/tea").write("x.md", b"coffee")
    await whole.namespace("memory/other").write("tea.md", b"tea")
    assert await whole.namespace("memory/tea").search("tea memory") == []
    assert [each.key for each in await whole.namespace("memory/other").search("tea")] == ["tea.md"]


async def test_a_search_strategy_is_told_of_every_write_and_answers_searches(make: Make) -> None:
    strategy = Marking()
    whole = make(search_strategy=strategy)
    view = whole.namespace("a")
    await whole.write("k", b"1")
    await view.write("x", b"2")
    assert strategy.told == [(whole, "k", b"1"), (view, "x", b"2")]
    assert [each.key for each in await whole.search("anything")] == ["k"]
    assert [each.key for each in await view.search("anything")] == ["x"]


async def test_a_write_that_was_not_indexed_says_so_and_is_stored(make: Make) -> None:
    strategy = Marking()
    whole = make(search_strategy=strategy)
    strategy.fails = True
    with pytest.raises(StorageError, match="index"):
        await whole.write("k", b"1")
    assert await whole.read("k") == b"1"


def test_it_works_from_any_event_loop_and_several_at_once(storage: Any) -> None:
    async def work(number: int) -> None:
        for turn in range(5):
            await storage.write(f"{number}/{turn}", bytes([number, turn]))
            await storage.write("shared", bytes([number]) * 1000)
            shared = await storage.read("shared")
            assert len(set(shared)) == 1
            assert len(shared) == 1000
        assert await storage.list(f"{number}/") == [f"{number}/{turn}" for turn in range(5)]

    failed: list[BaseException] = []

    def run(number: int) -> None:
        try:
            asyncio.run(work(number))
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failed == []
    assert [asyncio.run(storage.read(f"{number}/4")) for number in range(8)] == [bytes([n, 4]) for n in range(8)]


# What the SDK builds on a storage


def agent_on(storage: Any, *script: Any, **options: Any) -> Agent:
    manager = SnapshotSessionManager("s", storage=storage, **options.pop("session", {}))
    return Agent(model=ScriptedModel(*script), session_manager=manager, callback_handler=None, **options)


def texts(agent: Agent) -> list[str]:
    return [message["content"][0]["text"] for message in agent.messages]


def test_an_agent_goes_on_from_its_snapshot(storage: Any) -> None:
    agent = agent_on(storage, "hello Ada")
    agent("I am Ada")
    agent.state.set("seen", 1)
    agent("again")

    resumed = agent_on(storage, "you are Ada")
    assert texts(resumed) == ["I am Ada", "hello Ada", "again", "hello Ada"]
    assert resumed.state.get("seen") == 1
    resumed("who am I?")
    assert texts(agent_on(storage))[-1] == "you are Ada"


async def test_an_agent_on_an_event_loop_goes_on_from_its_snapshot(storage: Any) -> None:
    await agent_on(storage, "hello Ada", session={"save_latest_on": "message"}).invoke_async("I am Ada")
    assert texts(agent_on(storage)) == ["I am Ada", "hello Ada"]


async def test_an_agent_goes_back_to_a_checkpoint_and_its_session_is_deleted(storage: Any) -> None:
    agent = agent_on(storage, "one", "two", "three", session={"snapshot_trigger": lambda **_: True})
    for prompt in ("1", "2", "3"):
        await agent.invoke_async(prompt)
    manager: Any = agent._session_manager
    ids = await manager.list_snapshot_ids(agent)
    assert len(ids) == 3
    assert await manager.list_snapshot_ids(agent, start_after=ids[0], limit=1) == [ids[1]]
    assert await manager.restore_snapshot(agent, snapshot_id=ids[0])
    assert texts(agent) == ["1", "one"]

    await manager.delete_session()
    assert await storage.list("") == []
    assert texts(agent_on(storage)) == []


def test_a_graph_goes_on_from_its_snapshot(storage: Any) -> None:
    def graph(first: ScriptedModel, second: ScriptedModel) -> Any:
        builder = GraphBuilder()
        builder.add_node(Agent(model=first, callback_handler=None), "first")
        builder.add_node(Agent(model=second, callback_handler=None), "second")
        builder.add_edge("first", "second")
        builder.set_execution_timeout(60)
        builder.set_session_manager(SnapshotSessionManager("s", storage=storage))
        builder.set_graph_id("g")
        return builder.build()

    with pytest.raises(RuntimeError):
        graph(ScriptedModel("done"), ScriptedModel(RuntimeError("no model")))("go")
    assert [key for key in asyncio.run(storage.list("")) if "scopes/multiAgent/g/" in key]

    first, second = ScriptedModel("done again"), ScriptedModel("done as well")
    graph(first, second)("go")
    assert (len(first.calls), len(second.calls)) == (0, 1)


async def test_the_sdk_adds_no_prefix_to_a_view(make: Make) -> None:
    whole = make()
    agent_on(whole)("hello")
    agent_on(whole.namespace("team"))("hello")
    name = "s/scopes/agent/default/snapshots/snapshot_latest.json"
    assert await whole.list("") == [f"session/{name}", f"team/{name}"]


@tool
def report() -> str:
    """A long report."""
    return "\n".join(f"line {number}" for number in range(20_000))


def test_a_large_tool_result_is_offloaded_and_can_be_looked_into(storage: Any) -> None:
    def look(messages: Any) -> dict[str, Any]:
        shown = messages[-1]["content"][0]["toolResult"]["content"][0]["text"]
        reference = shown.rpartition("[Stored references:]\n")[2].split()[0]
        return {"name": "retrieve_offloaded_content", "input": {"reference": reference, "pattern": "line 19999"}}

    model = ScriptedModel({"name": "report"}, look, "done")
    offloader = ContextOffloader(storage=storage)
    agent = Agent(model=model, tools=[report], plugins=[offloader], callback_handler=None)
    agent("report")
    results = [
        block["toolResult"] for message in agent.messages for block in message["content"] if "toolResult" in block
    ]
    assert results[0]["content"][0]["text"].startswith("[Offloaded: 1 blocks")
    assert "line 19999" in results[1]["content"][0]["text"]
    (key,) = asyncio.run(storage.list(""))
    assert b"line 12345" in (asyncio.run(storage.read(key)) or b"")


async def test_memory_stores_share_a_storage_and_are_apart(make: Make) -> None:
    whole = make()
    mine, other = FileMemoryStore(name="mine", storage=whole), FileMemoryStore(name="other", storage=whole)
    await mine.add("# Preferences\nlikes green tea")
    await mine.add("# Preferences\nlikes short answers")
    await other.add("# Project\nis about tea")
    (entry,) = await FileMemoryStore(name="mine", storage=whole).search("tea")
    assert entry.content == "# Preferences\nlikes green tea\nlikes short answers"
    assert await whole.list("memory/") == ["memory/mine/preferences.md", "memory/other/project.md"]


class WideModel(ScriptedModel):
    """One that says how much it can read, as a context manager asks."""

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "context_window_limit": 100_000}


async def test_an_agents_own_storage_serves_all_its_parts(make: Make) -> None:
    whole = make()
    options: dict[str, Any] = {"storage": whole, "context_manager": "auto", "callback_handler": None}
    agent = Agent(
        model=WideModel({"name": "report"}, "done"),
        tools=[report],
        plugins=[ContextOffloader()],
        session_manager=SnapshotSessionManager("s"),
        **options,
    )
    await agent.invoke_async("report")
    assert {key.partition("/")[0] for key in await whole.list("")} == {"session", "offloader", "context"}

    resumed = Agent(model=ScriptedModel("hm"), session_manager=SnapshotSessionManager("s"), **options)
    assert len(resumed.messages) == len(agent.messages) == 4
    if isinstance(whole, MongoDBStorage):
        # What is stashed lies in the storage already, and is not in the snapshot once more.
        snapshot = json.loads(await whole.read("session/s/scopes/agent/default/snapshots/snapshot_latest.json") or b"")
        assert snapshot["data"]["stash"] == {"location": "external", "storage_type": "MongoDBStorage"}


def test_a_session_above_a_documents_limit_is_one_snapshot(mongodb: MongoDBStorage) -> None:
    picture: Any = [{"image": {"format": "png", "source": {"bytes": os.urandom(13 * MB)}}}]
    agent_on(mongodb, "nice")(picture)
    assert agent_on(mongodb).messages[0]["content"] == picture


# What ours adds: any key


KEYS = [
    "",
    ".",
    "..",
    "/",
    "//",
    "/a",
    "a",
    "a/",
    "a//b",
    "a/b",
    "a/../b",
    "a.b",
    "a$b",
    "$a",
    "$$ROOT",
    "%",
    "%2F",
    "%25",
    "\\",
    "\x00",
    "a\x00b",
    " ",
    '{"$gt": ""}',
    "é",
    "e\u0301",
    "世界",
    "\ud7ff",
    "\ue000",
    "\uffff",
    "\U00010000",
    "\U0010ffff",
    "\U0010ffff\U0010ffff",
    "a\U0010ffff",
    "k" * 100_000,
]


@pytest.mark.parametrize("namespace", ["", "/", "%2F", "a/b", "\x00", "\U0010ffff"])
async def test_any_text_is_a_key_of_its_own(elsewhere: Callable[[str], MongoDBStorage], namespace: str) -> None:
    storage = elsewhere(namespace)
    for number, key in enumerate(KEYS):
        await storage.write(key, bytes([number]))
    assert [await storage.read(key) for key in KEYS] == [bytes([number]) for number in range(len(KEYS))]
    assert await storage.list("") == sorted(KEYS)
    for prefix in KEYS:
        assert await storage.list(prefix) == sorted(key for key in KEYS if key.startswith(prefix))
    for key in KEYS:
        await storage.delete(key)
    assert await storage.list("") == []


@given(prefix=st.text(max_size=5), text=st.text(max_size=5), rest=st.text(max_size=3))
def test_the_range_of_a_prefix_holds_what_begins_with_it_and_nothing_else(prefix: str, text: str, rest: str) -> None:
    low = f"/{prefix}".encode()
    high = storage_module._behind(f"/{prefix}").encode()
    for key in (f"/{text}", f"/{prefix}{rest}", f"/{prefix}{text}"):
        assert (low <= key.encode() < high) == key.startswith(f"/{prefix}")


async def test_what_utf_8_cannot_express_is_refused_by_name(mongodb: MongoDBStorage, commands: Commands) -> None:
    calls: list[Callable[[str], Any]] = [
        lambda key: mongodb.write(key, b""),
        mongodb.read,
        mongodb.delete,
    ]
    for call in calls:
        with pytest.raises(StorageError, match="key holds a lone surrogate"):
            await call("a\ud800")
    with pytest.raises(StorageError, match="prefix holds a lone surrogate"):
        await mongodb.list("\udfff")
    with pytest.raises(StorageError, match="prefix holds a lone surrogate"):
        mongodb.namespace("\udfff")
    with pytest.raises(ValueError, match="namespace holds a lone surrogate"):
        MongoDBStorage("mongodb://127.0.0.1:1", namespace="\ud800")
    with pytest.raises(StorageError, match="key must be a string, not NoneType"):
        await mongodb.read(None)  # type: ignore[arg-type]
    assert commands.sent == []


@pytest.mark.parametrize("data", ["text", None, 5, [1]], ids=repr)
async def test_what_is_no_bytes_is_refused(mongodb: MongoDBStorage, data: Any) -> None:
    with pytest.raises(StorageError, match=f"data must be bytes, not {type(data).__name__}"):
        await mongodb.write("k", data)
    assert await mongodb.read("k") is None


async def test_namespaces_never_meet(elsewhere: Callable[[str], MongoDBStorage], collection: Values) -> None:
    names = ["", "a", "a/b", "a%2Fb", "a%", "a/", "/", "%", "/a", "A"]
    keys = ["c", "b/c", "/b/c", "a/b/c", "/c", "2Fb/c", ""]
    for name in names:
        for key in keys:
            await elsewhere(name).write(key, f"{name}|{key}".encode())
    for name in names:
        assert await elsewhere(name).list("") == sorted(keys)
        assert [await elsewhere(name).read(key) for key in keys] == [f"{name}|{key}".encode() for key in keys]
    await asyncio.gather(*(elsewhere("a").delete(key) for key in keys))
    assert await elsewhere("a").list() == []
    assert await asyncio.to_thread(collection.count_documents, {}) == (len(names) - 1) * len(keys)


# What ours adds: any size


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if a document held 1,000 bytes."""
    monkeypatch.setattr(storage_module, "_LARGEST_PART", 1000)


def parts(collection: Values, commands: Commands) -> list[dict[str, Any]]:
    with commands.unwatched():
        return list(collection.find({"_id": {"$type": "object"}}))


@pytest.mark.parametrize("size", [12 * MB, 12 * MB + 1, 16 * MB, 24 * MB, 40 * MB + 7])
async def test_a_value_has_any_size_and_no_document_more_than_mongodb_allows(
    mongodb: MongoDBStorage, collection: Values, commands: Commands, size: int
) -> None:
    data = os.urandom(size)
    await mongodb.write("large", data)
    assert await mongodb.read("large") == data
    assert await mongodb.list("") == ["large"]
    with commands.unwatched():
        documents = list(collection.aggregate([{"$project": {"size": {"$bsonSize": "$$ROOT"}}}]))
    assert len(documents) == (1 if size <= 12 * MB else 1 + -(-size // (12 * MB)))
    assert max(document["size"] for document in documents) < 12 * MB + 1000
    await mongodb.delete("large")
    assert await mongodb.read("large") is None
    assert await asyncio.to_thread(collection.count_documents, {}) == 0


@pytest.mark.parametrize("first", [1000, 1001, 5000])
@pytest.mark.parametrize("second", [None, 0, 1000, 1001, 7777])
async def test_a_replaced_or_deleted_value_leaves_nothing_behind(
    mongodb: MongoDBStorage, collection: Values, commands: Commands, small_parts: None, first: int, second: int | None
) -> None:
    for key in ("k", "k2", ""):
        await mongodb.write(key, b"1" * first)
    if second is None:
        await mongodb.delete("k")
    else:
        await mongodb.write("k", b"2" * second)
    assert await mongodb.read("k") == (None if second is None else b"2" * second)
    assert await mongodb.read("k2") == await mongodb.read("") == b"1" * first
    of = [part["_id"]["of"] for part in parts(collection, commands)]
    assert of.count("/k") == (-(-second // 1000) if second is not None and second > 1000 else 0)
    assert of.count("/k2") == of.count("/") == (-(-first // 1000) if first > 1000 else 0)


async def test_who_reads_meanwhile_sees_one_value_whole(mongodb: MongoDBStorage, small_parts: None) -> None:
    await mongodb.write("k", bytes(20_000))
    done = asyncio.Event()
    seen: set[int] = set()

    async def read() -> None:
        while not done.is_set():
            value = await mongodb.read("k")
            assert value is not None
            assert len(value) == 20_000
            assert len(set(value)) == 1
            seen.add(value[0])

    async def write() -> None:
        for number in range(60):
            await mongodb.write("k", bytes([number]) * 20_000)
        done.set()

    await asyncio.gather(write(), *(read() for _ in range(4)))
    assert len(seen) > 1


async def test_of_many_writers_and_deleters_the_last_one_wins_and_the_others_leave_nothing(
    mongodb: MongoDBStorage, collection: Values, commands: Commands, small_parts: None
) -> None:
    sizes = [0, 10, 1000, 1001, 2500, 9000]

    async def work(number: int) -> None:
        for turn in range(6):
            size = sizes[(number + turn) % len(sizes)]
            if size:
                await mongodb.write("k", bytes([number]) * size)
            else:
                await mongodb.delete("k")
            value = await mongodb.read("k")
            assert value is None or (len(set(value)) == 1 and len(value) in sizes)

    await asyncio.gather(*(work(number) for number in range(24)))
    await mongodb.write("k", b"e" * 2001)
    assert await mongodb.read("k") == b"e" * 2001
    assert len(parts(collection, commands)) == 3


KILLED = """
import asyncio, os, signal, sys
from pymongo import MongoClient, monitoring
from mongodb_session_manager import MongoDBStorage, storage

class Kill(monitoring.CommandListener):
    def started(self, event):
        if event.command_name == sys.argv[3]:
            os.kill(os.getpid(), signal.SIGKILL)
    def succeeded(self, event): ...
    def failed(self, event): ...

storage._LARGEST_PART = 1000
client = MongoClient(sys.argv[1], event_listeners=[Kill()])
asyncio.run(MongoDBStorage(client=client, database_name="tests", collection_name=sys.argv[2]).write("k", b"2" * 3500))
"""


@pytest.mark.parametrize("command", ["insert", "findAndModify", "delete"])
async def test_a_writer_that_is_killed_leaves_one_value_or_the_other(
    mongodb: MongoDBStorage,
    mongo_uri: str,
    collection: Values,
    commands: Commands,
    monkeypatch: pytest.MonkeyPatch,
    small_parts: None,
    command: str,
) -> None:
    await mongodb.write("k", b"1" * 2500)
    ended = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", KILLED, mongo_uri, collection.name, command], timeout=60, check=False
    )
    assert ended.returncode == -signal.SIGKILL
    stored, there = {
        "insert": (b"1" * 2500, 3),
        "findAndModify": (b"1" * 2500, 3 + 4),
        "delete": (b"2" * 3500, 4 + 3),
    }[command]
    assert await mongodb.read("k") == stored
    assert await mongodb.list("") == ["k"]
    assert len(parts(collection, commands)) == there
    # It may be alive still, for all that anyone can know.
    assert await mongodb.purge() == 0
    with commands.unwatched():
        make_older(collection, timedelta(hours=2))
    assert await mongodb.purge() == there - len(stored) // 1000 - 1
    assert await mongodb.read("k") == stored
    assert len(parts(collection, commands)) == len(stored) // 1000 + 1


def make_older(collection: Values, age: timedelta) -> None:
    """As if all that is stored had been written earlier."""

    def older(write: ObjectId) -> ObjectId:
        return ObjectId(ObjectId.from_datetime(write.generation_time - age).binary[:4] + write.binary[4:])

    for head in collection.find({"write": {"$exists": True}}):
        collection.update_one({"_id": head["_id"]}, {"$set": {"write": older(head["write"])}})
    for part in collection.find({"_id": {"$type": "object"}}):
        collection.insert_one({**part, "_id": {**part["_id"], "write": older(part["_id"]["write"])}})
        collection.delete_one({"_id": part["_id"]})


def set_clock(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """A clock that is wrong by so much, for the ids that are made from now on."""
    clock = SimpleNamespace(time=lambda: time.time() + seconds)
    monkeypatch.setattr(bson.objectid, "time", clock)


@pytest.mark.parametrize("seconds", [-31 * 60, 31 * 60])
@pytest.mark.parametrize("before", [None, 10, 2500])
async def test_a_write_that_took_too_long_is_refused_and_changes_nothing(
    mongodb: MongoDBStorage,
    collection: Values,
    monkeypatch: pytest.MonkeyPatch,
    small_parts: None,
    seconds: float,
    before: int | None,
) -> None:
    if before is not None:
        await mongodb.write("k", b"1" * before)
    set_clock(monkeypatch, seconds)
    with pytest.raises(StorageError, match=r"took more than 0:30:00.* nothing was changed"):
        await mongodb.write("k", b"2" * 2500)
    set_clock(monkeypatch, 0)
    assert await mongodb.read("k") == (None if before is None else b"1" * before)
    assert await mongodb.list("") == ([] if before is None else ["k"])


@pytest.mark.parametrize("seconds", [-29 * 60, 29 * 60])
async def test_a_clock_that_is_a_little_wrong_does_no_harm(
    mongodb: MongoDBStorage, monkeypatch: pytest.MonkeyPatch, small_parts: None, seconds: float
) -> None:
    await mongodb.write("k", b"1" * 2500)
    set_clock(monkeypatch, seconds)
    await mongodb.write("k", b"2" * 2500)
    set_clock(monkeypatch, -seconds)
    await mongodb.write("k", b"3" * 2500)
    assert await mongodb.read("k") == b"3" * 2500
    assert await mongodb.purge() == 0


async def leave_garbage(storage: MongoDBStorage, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    set_clock(monkeypatch, -2 * 3600)
    with pytest.raises(StorageError):
        await storage.write(key, b"x" * 3001)
    set_clock(monkeypatch, 0)


@pytest.mark.parametrize("next_call", ["write", "write over a large one", "delete"])
async def test_the_next_call_on_the_same_key_removes_what_an_unfinished_write_left(
    mongodb: MongoDBStorage,
    collection: Values,
    commands: Commands,
    monkeypatch: pytest.MonkeyPatch,
    small_parts: None,
    next_call: str,
) -> None:
    await mongodb.write("k2", b"1" * 2500)
    if next_call != "write":
        await mongodb.write("k", b"1" * 2500)
    for key in ("k", "k2"):
        await leave_garbage(mongodb, key, monkeypatch)
    assert len([part for part in parts(collection, commands) if part["_id"]["of"] == "/k"]) in (4, 7)
    if next_call == "delete":
        await mongodb.delete("k")
    else:
        await mongodb.write("k", b"2" * (2500 if next_call == "write" else 10))
    left = [part["_id"]["of"] for part in parts(collection, commands)]
    assert left.count("/k") == (3 if next_call == "write" else 0)
    assert left.count("/k2") == 3 + 4


async def test_purging_removes_garbage_alone_and_only_below_its_own_storage(
    mongodb: MongoDBStorage,
    elsewhere: Callable[[str], MongoDBStorage],
    collection: Values,
    commands: Commands,
    monkeypatch: pytest.MonkeyPatch,
    small_parts: None,
) -> None:
    other, view = elsewhere("other"), mongodb.namespace("v")
    for storage in (mongodb, view, other):
        await storage.write("k", b"1" * 2500)
        await storage.write("small", b"1")
        for key in ("k", "gone"):
            await leave_garbage(storage, key, monkeypatch)
    with commands.unwatched():
        make_older(collection, timedelta(days=1))
    assert await view.purge() == 8
    assert await view.purge() == 0
    assert await mongodb.purge() == 8
    assert await other.purge() == 8
    assert len(parts(collection, commands)) == 3 * 3
    for storage in (mongodb, view, other):
        assert await storage.read("k") == b"1" * 2500


async def test_a_value_whose_parts_are_lost_says_so_and_can_be_replaced(
    mongodb: MongoDBStorage, collection: Values, commands: Commands, small_parts: None
) -> None:
    await mongodb.write("k", b"1" * 2500)
    with commands.unwatched():
        collection.delete_one({"_id.part": 1})
    with pytest.raises(StorageError, match="parts of '/k' are missing"):
        await mongodb.read("k")
    await mongodb.write("k", b"2" * 2500)
    assert await mongodb.read("k") == b"2" * 2500


# What ours adds: MongoDB


LARGE, SMALL = b"1" * 2500, b"1" * 10


@pytest.mark.parametrize(
    ("before", "call", "sent"),
    [
        (None, lambda storage: storage.write("k", SMALL), ["update"]),
        (SMALL, lambda storage: storage.write("k", SMALL), ["update"]),
        (SMALL, lambda storage: storage.read("k"), ["find"]),
        (None, lambda storage: storage.read("k"), ["find"]),
        (SMALL, lambda storage: storage.delete("k"), ["delete"]),
        (None, lambda storage: storage.delete("k"), ["delete", "findAndModify"]),
        (SMALL, lambda storage: storage.list("k"), ["find"]),
        (None, lambda storage: storage.list(""), ["find"]),
        (None, lambda storage: storage.write("k", LARGE), ["insert", "findAndModify", "delete"]),
        (LARGE, lambda storage: storage.write("k", LARGE), ["insert", "findAndModify", "delete"]),
        (LARGE, lambda storage: storage.read("k"), ["find", "find"]),
        (LARGE, lambda storage: storage.write("k", SMALL), ["update", "findAndModify", "delete"]),
        (LARGE, lambda storage: storage.delete("k"), ["delete", "findAndModify", "delete"]),
        (LARGE, lambda storage: storage.list(""), ["find"]),
        (None, lambda storage: storage.purge(), ["find"]),
        (None, lambda storage: storage.namespace("a").write("k", SMALL), ["update"]),
    ],
)
async def test_what_a_call_sends(
    mongodb: MongoDBStorage,
    commands: Commands,
    small_parts: None,
    before: bytes | None,
    call: Callable[[MongoDBStorage], Any],
    sent: list[str],
) -> None:
    if before is not None:
        await mongodb.write("k", before)
    commands.clear()
    await call(mongodb)
    assert commands.names == sent


@pytest.mark.parametrize("prefix", ["", "b", "b/1", "b/19", "nothing"])
async def test_listing_examines_only_the_index_entries_of_what_it_returns(
    mongodb: MongoDBStorage, elsewhere: Any, collection: Values, commands: Commands, small_parts: None, prefix: str
) -> None:
    for storage in (mongodb, elsewhere("a"), elsewhere("c")):
        await asyncio.gather(*(storage.write(f"{part}/{n}", SMALL) for part in ("a", "b", "c") for n in range(30)))
        await storage.write("b/1/large", LARGE)
    commands.clear()
    found = await mongodb.list(prefix)
    ((_, command, _),) = commands.sent
    explained = {name: command[name] for name in ("find", "filter", "projection", "sort")}
    with commands.unwatched():
        stats = collection.database.command({"explain": explained, "verbosity": "executionStats"})["executionStats"]
    assert (stats["nReturned"], stats["totalDocsExamined"]) == (len(found), 0)
    assert stats["totalKeysExamined"] == len(found)
    assert "$regex" not in str(command)


@pytest.mark.parametrize("data", [SMALL, LARGE])
async def test_every_write_is_majority_and_journalled_whatever_the_client_says(
    mongo_uri: str, collection: Values, commands: Commands, small_parts: None, data: bytes
) -> None:
    with MongoClient[Any](mongo_uri, w=1, journal=False, readPreference="secondaryPreferred") as client:
        storage = MongoDBStorage(client=client, database_name="tests", collection_name=collection.name)
        await storage.write("k", LARGE)
        await storage.write("k", data)
        assert await storage.read("k") == data
        await storage.delete("k")
        await asyncio.to_thread(client.close)
    writes = [command for name, command, _ in commands.sent if name != "find"]
    assert all(command["writeConcern"] == {"w": "majority", "j": True} for command in writes)
    reads = [command for name, command, _ in commands.sent if name == "find"]
    assert all(command.get("$readPreference", {"mode": "primary"})["mode"] == "primary" for command in reads)


async def test_a_document_can_be_read_in_a_shell(
    elsewhere: Callable[[str], MongoDBStorage], collection: Values, commands: Commands, small_parts: None
) -> None:
    await elsewhere("a/b").write("c/d", SMALL)
    await elsewhere("a/b").write("e", LARGE)
    with commands.unwatched():
        small, head = collection.find({"_id": {"$type": "string"}}).sort("_id")
    now = datetime.now(UTC).replace(tzinfo=None)
    assert small.keys() == {"_id", "updated_at", "data"}
    assert (small["_id"], small["data"]) == ("a%2Fb/c/d", SMALL)
    assert abs(now - small["updated_at"]) < timedelta(minutes=5)
    assert {name: head[name] for name in ("_id", "bytes")} == {"_id": "a%2Fb/e", "bytes": 2500}
    assert [part["_id"] for part in parts(collection, commands)] == [
        {"of": "a%2Fb/e", "write": head["write"], "part": number} for number in range(3)
    ]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def test_a_server_that_is_away_is_a_storage_error_that_names_the_key() -> None:
    async with MongoDBStorage(f"mongodb://me:secret@127.0.0.1:{free_port()}", serverSelectionTimeoutMS=200) as storage:
        calls = {
            "write 'k'": storage.write("k", b"1"),
            "read 'k'": storage.read("k"),
            "delete 'k'": storage.delete("k"),
            "list the keys that begin with 'k'": storage.list("k"),
            "purge": storage.purge(),
        }
        for what, call in calls.items():
            with pytest.raises(StorageError, match=f"could not {what}: ServerSelectionTimeoutError") as caught:
                await call
            assert "secret" not in str(caught.value)


async def test_a_key_that_no_document_can_hold_is_a_storage_error(mongodb: MongoDBStorage) -> None:
    with pytest.raises(StorageError):
        await mongodb.write("k" * (17 * MB), b"")


async def test_a_cancelled_write_is_finished_all_the_same(mongodb: MongoDBStorage) -> None:
    task = asyncio.create_task(mongodb.write("k", b"1" * MB))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    for _ in range(200):
        if await mongodb.read("k") == b"1" * MB:
            return
        await asyncio.sleep(0.05)
    raise AssertionError("it was not written")


# Opening and closing


async def test_who_opens_a_client_closes_it(mongo_uri: str, collection: Values) -> None:
    async with MongoDBStorage(mongo_uri, "tests", collection.name) as storage:
        view = storage.namespace("a")
        view.close()
        with view:
            pass
        await view.write("k", b"1")
        assert await storage.read("a/k") == b"1"
    with pytest.raises(StorageError, match="InvalidOperation"):
        await storage.read("a/k")
    storage.close()
    with MongoDBStorage(mongo_uri, "tests", collection.name, namespace="") as again:
        assert await again.read("a/k") == b"1"


async def test_a_borrowed_client_stays_open(mongo_client: MongoClient[Any], collection: Values) -> None:
    with MongoDBStorage(client=mongo_client, database_name="tests", collection_name=collection.name) as storage:
        await storage.write("k", b"1")
    assert await storage.read("k") == b"1"


def test_making_one_needs_a_client_that_acknowledges_writes_and_asks_nothing_of_it(commands: Commands) -> None:
    with pytest.raises(ValueError, match="pass connection_string or client"):
        MongoDBStorage()
    with MongoClient[Any]("mongodb://127.0.0.1:1", connect=False, w=0) as client:
        with pytest.raises(ValueError, match="w=0"):
            MongoDBStorage(client=client)
    with MongoClient[Any]("mongodb://127.0.0.1:1", connect=False, w=WriteConcern("majority").document["w"]) as client:
        MongoDBStorage(client=client).namespace("a")
    assert commands.sent == []


@pytest.fixture
def dropped(factory: MongoDBSessionManagerFactory, mongo_client: MongoClient[Any], commands: Commands) -> Iterator[str]:
    """The name of the collection that a factory keeps its storage in."""
    name = f"{factory.collection_name}_storage"
    yield name
    with commands.unwatched():
        mongo_client["tests"].drop_collection(name)


async def test_a_factory_makes_storages_on_its_client(
    factory: MongoDBSessionManagerFactory, mongo_client: MongoClient[Any], commands: Commands, dropped: str
) -> None:
    storages = [factory.storage(), factory.storage("a"), factory.storage(collection_name=f"{dropped}_2")]
    assert commands.sent == []
    for number, storage in enumerate(storages):
        await storage.write("k", bytes([number]))
        storage.close()
    assert [await storage.read("k") for storage in storages] == [b"\x00", b"\x01", b"\x02"]
    assert await factory.storage("a").list() == ["k"]
    with commands.unwatched():
        assert sorted(each["_id"] for each in mongo_client["tests"][dropped].find()) == ["/k", "a/k"]
        mongo_client["tests"].drop_collection(f"{dropped}_2")


async def test_a_factorys_storage_ends_with_its_factory(mongo_uri: str) -> None:
    name = f"storage_{uuid.uuid4().hex[:12]}"
    async with MongoDBSessionManagerFactory(mongo_uri, "tests", name) as factory:
        storage = factory.storage()
        assert await storage.read("k") is None
        storage.close()
        assert await storage.read("k") is None
    with pytest.raises(StorageError, match="InvalidOperation"):
        await storage.read("k")
