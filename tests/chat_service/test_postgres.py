"""PostgreSQL as a session store: what is its own, beside the suite in tests/contract that holds for every store."""

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
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from asyncpg.transaction import Transaction
from hypothesis import given
from strands import tool

from chat_service.__main__ import main
from chat_service.config import Settings
from chat_service.exceptions import explain, failure_of_turn
from chat_service.stores import migration
from chat_service.stores.address import Address
from chat_service.stores.connections import Connections, DatabaseUnavailable
from chat_service.stores.faithful_json import Fields, dumps, loads
from chat_service.stores.postgres import PostgresSessionFactory
from mongodb_session_manager import SessionBusyError, SessionConflictError
from mongodb_session_manager.codec import encode
from tests.chat_service.running import ROOT, Service, running, served, started
from tests.contract.places import OnPostgreSQL, make_agent
from tests.contract.postgresql import PostgreSQL, free_port, new_database, on_database, running_server, sql
from tests.contract.test_store import claim_of, commit_of, said, say, words
from tests.strategies import identical, json_like

MIGRATIONS = ["0001_sessions", "0002_turns", "0003_catalogue", "0004_originals"]


@pytest.fixture(scope="module")
def server() -> Iterator[PostgreSQL]:
    """A server that a test may stop and start."""
    with running_server() as server:
        yield server


@pytest.fixture
def url(server: PostgreSQL) -> Iterator[str]:
    """A database of its own for each test, without tables."""
    with new_database(server.url) as url:
        yield url


@pytest.fixture
def factory(url: str) -> Iterator[PostgresSessionFactory]:
    with PostgresSessionFactory(url) as factory:
        yield factory


@pytest.fixture
def place(factory: PostgresSessionFactory, url: str) -> OnPostgreSQL:
    return OnPostgreSQL(factory, url)


def stored(url: str, session_id: str = "s") -> list[str]:
    """The messages of a session, as the table shows them to people."""
    rows = sql(url, "SELECT content FROM chat_messages WHERE session_id = $1 ORDER BY position", session_id)
    return [row["content"] for row in rows]


# What is in the tables


async def test_the_tables_can_be_read_by_people(factory: PostgresSessionFactory, url: str) -> None:
    agent = make_agent(await factory.open_session("session_1", title="Shoes"), "It is 3.")
    selected: Any = {"text": "<selected_text>\n1 + 2\n</selected_text>"}
    await agent.invoke_async([selected, {"text": "What is this?"}])
    await factory.sessions.aio.update_metadata("session_1", {"topic": "sums"})

    [session] = sql(url, "SELECT * FROM chat_sessions")
    assert (session["session_id"], session["title"], session["metadata"]) == ("session_1", "Shoes", '{"topic": "sums"}')
    assert session["created_at"] < session["last_accessed"]
    question, answer = sql(url, "SELECT * FROM chat_messages ORDER BY position")
    assert (question["role"], question["content"], question["selected_text"]) == ("user", "What is this?", "1 + 2")
    assert (answer["role"], answer["content"], answer["selected_text"]) == ("assistant", "It is 3.", None)
    assert (question["response_time_ms"], answer["response_time_ms"]) == (None, 7.0)
    assert question["message_id"].startswith("msg_")
    assert len({question["message_id"], answer["message_id"]}) == 2
    assert question["timestamp"] <= answer["timestamp"]
    [found] = sql(
        url, "SELECT message #>> '{content,0,text}' AS text FROM chat_messages WHERE message->>'role' = 'assistant'"
    )
    assert found["text"] == "It is 3."


async def test_a_tool_use_can_be_queried(factory: PostgresSessionFactory, url: str) -> None:
    @tool
    def look(where: str, how: str) -> str:
        """Look."""
        return "seen"

    script: Any = ({"name": "look", "input": {"where": "here", "how": "well"}}, "ok")
    await make_agent(await factory.open_session("s"), *script, tools=[look]).invoke_async("go")
    path = "message #>> '{content,0,toolUse,input,where}'"
    [found] = sql(url, f"SELECT {path} AS place FROM chat_messages WHERE {path} IS NOT NULL")
    assert found["place"] == "here"


def test_deleting_a_session_leaves_no_row(place: OnPostgreSQL, url: str) -> None:
    say(place, "a")
    place.sessions.add_feedback("s", {"rating": "up"})
    assert place.sessions.delete("s")

    tables = ("chat_sessions", "chat_agents", "chat_messages", "chat_feedback")
    assert [sql(url, f"SELECT count(*) AS n FROM {table}")[0]["n"] for table in tables] == [0, 0, 0, 0]


def test_an_acknowledged_change_is_on_disk_even_where_the_database_says_otherwise(url: str) -> None:
    name = url.rpartition("/")[2]
    sql(url, f"ALTER DATABASE {name} SET synchronous_commit = off")
    with PostgresSessionFactory(url) as factory:

        async def setting(connection: Any) -> tuple[str, str]:
            from chat_service.stores.postgres_store import touch

            async with connection.transaction():
                await touch(connection, "s", {})
                inside = await connection.fetchval("SHOW synchronous_commit")
            return inside, await connection.fetchval("SHOW synchronous_commit")

        assert factory._connections.call(setting) == ("on", "off")


# Values as jsonb


@given(value=json_like())
def test_any_stored_value_goes_through_json(value: Any) -> None:
    encoded = encode(value)
    assert identical(loads(dumps(encoded)), encoded)


@given(value=json_like())
def test_a_value_survives_that_its_keys_are_sorted(value: Any) -> None:
    encoded = encode(value)
    sorted_by_the_server = json.dumps(json.loads(dumps(encoded)), sort_keys=True)
    assert identical(loads(sorted_by_the_server), encoded)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"a": [1, 1.5, True, None, "é"]}, '{"a":[1,1.5,true,null,"é"]}'),
        ({"b": 1, "a": 2}, '{"b":1,"a":2,"$order":[1,0]}'),
        ({"a": 2, "b": 1, "aa": 0}, '{"a":2,"b":1,"aa":0}'),
        ("a\0b", '{"$text":"\\"a\\\\u0000b\\""}'),
        (1e300, '{"$float":"1e+300"}'),
        (-0.0, '{"$float":"-0.0"}'),
        (b"\xff", '{"$bytes":"/w=="}'),
        (Fields(b=1, a={"d": 1, "c": 2}), '{"b":1,"a":{"d":1,"c":2,"$order":[1,0]}}'),
    ],
)
def test_only_what_jsonb_would_change_is_wrapped(value: Any, text: str) -> None:
    assert dumps(value) == text


# Addresses


@pytest.mark.parametrize(
    ("given_url", "expected", "is_pooled"),
    [
        ("postgresql://u:p%40@h:5432/d", "postgresql://u:p%40@h:5432/d", False),
        ("postgres://u@h/d?sslmode=require", "postgres://u@h/d?sslmode=require", False),
        ("postgresql://u@h/d?pgbouncer=true&sslmode=require", "postgresql://u@h/d?sslmode=require", True),
        ("postgresql://u@h1:1,h2:2,[::1]:3/d", "postgresql://u@h1:1,h2:2,[::1]:3/d", False),
        ("postgresql:///d", "postgresql:///d", False),
        ("postgresql://u@h/d?pgbouncer=false", "postgresql://u@h/d", False),
        ("postgresql://u@ep-a-b-pooler.eu.aws.neon.tech/d?sslmode=require&channel_binding=require",
         "postgresql://u@ep-a-b-pooler.eu.aws.neon.tech/d?sslmode=require", True),
        ("postgresql://u@ep-a-b.eu.aws.neon.tech/d", "postgresql://u@ep-a-b.eu.aws.neon.tech/d", False),
        ("postgresql://u@h/d?options=endpoint%3Dep-a", "postgresql://u@h/d?options=endpoint%3Dep-a", False),
    ],
)  # fmt: skip
def test_an_address_is_understood(given_url: str, expected: str, is_pooled: bool) -> None:
    address = Address(given_url)
    assert (address.url, address.is_pooled) == (expected, is_pooled)


@pytest.mark.parametrize(
    "given_url", ["mysql://u:secret@h/d", "secret", "postgresql+asyncpg://u:secret@h/d", "postgresql://u:sec/ret@h/d",
                  "postgresql://u:secret@[h/d", ""]
)  # fmt: skip
def test_what_is_no_address_is_refused_and_not_quoted(given_url: str) -> None:
    with pytest.raises(ValueError, match=r"URL|address") as refused:
        PostgresSessionFactory(given_url)
    assert "sec" not in str(refused.value)


def test_behind_a_pooler_no_statement_is_prepared_for_later(url: str) -> None:
    async def prepared(connection: Any) -> int:
        await connection.fetchval("SELECT 1")
        return int(await connection.fetchval("SELECT count(*) FROM pg_prepared_statements WHERE name <> ''"))

    for suffix, expected in (("", True), ("?pgbouncer=true", False)):
        with PostgresSessionFactory(url + suffix) as factory:
            assert bool(factory._connections.call(prepared)) is expected


# Migrations


def test_migrations_are_applied_once_by_whoever_comes_first(url: str) -> None:
    factories = [PostgresSessionFactory(url) for _ in range(6)]
    try:
        with ThreadPoolExecutor(6) as pool:
            applied = list(pool.map(PostgresSessionFactory.migrate, factories))
        assert sorted(applied) == [*[[]] * 5, MIGRATIONS]
        rows = sql(url, "SELECT version, name FROM chat_migrations")
        assert [(row["version"], row["name"]) for row in rows] == [*enumerate(MIGRATIONS, 1)]
    finally:
        for factory in factories:
            factory.close()


def test_a_migration_that_fails_leaves_nothing(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = [*migration._migrations(), (3, "0003_broken", "CREATE TABLE half_done (a int); SELECT nonsense")]
    with monkeypatch.context() as patch, PostgresSessionFactory(url) as factory:
        patch.setattr(migration, "_migrations", lambda: iter(broken))
        with pytest.raises(Exception, match="nonsense"):
            factory.sessions.page()
        assert sql(url, "SELECT FROM pg_tables WHERE schemaname = 'public'") == []
        patch.undo()
        assert factory.sessions.page().items == []


def test_a_user_who_may_create_nothing_can_use_what_is_there(place: OnPostgreSQL, url: str, server: PostgreSQL) -> None:
    say(place, "a")
    sql(url, "CREATE ROLE worker LOGIN PASSWORD 'secret'")
    try:
        sql(url, "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO worker")
        restricted = on_database(url.replace("postgres:a%3Ap%40ss%2Fword", "worker:secret"), url.rpartition("/")[2])
        with PostgresSessionFactory(restricted) as factory:
            assert words(say(OnPostgreSQL(factory, url), "b").messages) == ["a", "b"]
    finally:
        sql(url, "DROP OWNED BY worker")
        sql(url, "DROP ROLE worker")


# The thread that asks


def test_a_factory_does_nothing_before_it_is_used() -> None:
    before = threading.active_count()
    factory = PostgresSessionFactory("postgresql://nobody@127.0.0.1:1/none")
    factory.create_session_manager("s")
    assert threading.active_count() == before
    factory.close()
    factory.close()


def test_a_call_on_the_loop_that_would_answer_raises(factory: PostgresSessionFactory) -> None:
    async def ask_itself(connection: Any) -> None:
        factory.sessions.get("s")

    with pytest.raises(RuntimeError, match="wait for itself"):
        factory._connections.call(ask_itself)
    assert factory.sessions.get("s") is None


def test_closed_connections_say_so(url: str) -> None:
    factory = PostgresSessionFactory(url)
    factory.sessions.page()
    factory.close()
    with pytest.raises(RuntimeError, match="closed"):
        factory.sessions.page()


def test_closing_ends_what_takes_too_long_and_tells_whoever_waits(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chat_service.stores.connections._CLOSE_SECONDS", 0.3)
    factory = PostgresSessionFactory(url)
    factory.sessions.page()

    async def forever(connection: Any) -> None:
        await connection.execute("SELECT pg_sleep(30)")

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(factory._connections.call, forever)
        time.sleep(0.2)
        factory.close()
        with pytest.raises(RuntimeError, match="closed"):
            waiting.result(5)


def test_the_pool_is_as_large_as_it_may_be_and_serves_more_callers_than_that(factory: PostgresSessionFactory) -> None:
    async def work(connection: Any) -> None:
        await connection.execute("SELECT pg_sleep(0.05)")

    with ThreadPoolExecutor(30) as pool:
        list(pool.map(lambda _: factory._connections.call(work), range(30)))
    stats = factory.get_connection_stats()
    assert stats["pool_config"] == {"maxPoolSize": 10, "minPoolSize": 2}
    assert (stats["total_connections"], factory.store.max_concurrency) == (10, 10)


FORK = """
import os, sys, warnings
warnings.simplefilter("ignore", DeprecationWarning)
from chat_service.stores.postgres import PostgresSessionFactory
factory = PostgresSessionFactory(sys.argv[1])
factory.sessions.create("parent")
child = os.fork()
if child == 0:
    try:
        factory.sessions.create("child")
        assert factory.sessions.get("parent")
        factory.close()
        os._exit(0)
    except BaseException as error:
        print(repr(error), file=sys.stderr)
        os._exit(1)
assert os.waitpid(child, 0)[1] == 0
assert factory.sessions.get("child")
factory.close()
"""


def test_a_forked_child_has_connections_of_its_own(url: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    ended = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", "-c", FORK, url],
        env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize(
    ("options", "calls", "transactions"),
    [({}, 3, 2), ({"durability": "turn"}, 2, 1), ({"on_busy": "wait", "durability": "turn"}, 3, 2)],
)
async def test_a_resumed_turn_costs_the_same_however_long_the_history(
    place: OnPostgreSQL, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], calls: int, transactions: int
) -> None:
    await asyncio.to_thread(say, place, *map(str, range(300)))
    seen: list[str] = []
    call, enter = Connections.call, Transaction.__aenter__
    monkeypatch.setattr(Connections, "call", lambda *a, **k: seen.append("call") or call(*a, **k))
    monkeypatch.setattr(Transaction, "__aenter__", lambda self: seen.append("transaction") or enter(self))
    await make_agent(await place.open("s", **options), "a").invoke_async("q")
    assert (seen.count("call"), seen.count("transaction")) == (calls, transactions)


# When the server goes away


async def test_a_restart_between_two_turns_is_not_noticed(
    factory: PostgresSessionFactory, server: PostgreSQL, url: str
) -> None:
    agent = make_agent(await factory.open_session("s"), "a")
    for mode in ("immediate", "fast"):
        await agent.invoke_async(mode)
        await asyncio.to_thread(server.restart, mode)
    await agent.invoke_async("after")
    assert await asyncio.to_thread(stored, url) == ["immediate", "a", "fast", "a", "after", "a"]


async def test_a_restart_in_the_middle_of_a_turn_is_not_noticed(
    factory: PostgresSessionFactory, server: PostgreSQL, url: str
) -> None:
    @tool
    async def restart() -> str:
        """Start the server again."""
        await asyncio.to_thread(server.restart)
        return "done"

    agent = make_agent(await factory.open_session("s"), {"name": "restart", "input": {}}, "ok", tools=[restart])
    await agent.invoke_async("go")
    assert await asyncio.to_thread(stored, url) == ["go", "", "", "ok"]
    assert make_agent(await factory.open_session("s"), tools=[restart]).messages == agent.messages


async def test_turns_that_run_while_the_server_restarts_wait_for_it(
    factory: PostgresSessionFactory, server: PostgreSQL, url: str
) -> None:
    done = asyncio.Event()

    async def talk(name: str) -> int:
        turns = 0
        agent = make_agent(await factory.open_session(name), "a")
        while not done.is_set() or turns < 2:
            await agent.invoke_async(f"q{turns}")
            turns += 1
        return turns

    talking = [asyncio.create_task(talk(str(number))) for number in range(6)]
    for _ in range(3):
        await asyncio.sleep(0.1)
        await asyncio.to_thread(server.restart)
    done.set()
    for name, turns in enumerate(await asyncio.gather(*talking)):
        expected = [text for turn in range(turns) for text in (f"q{turn}", "a")]
        assert await asyncio.to_thread(stored, url, str(name)) == expected


async def test_connections_that_the_server_ends_at_any_moment_lose_and_double_nothing(
    factory: PostgresSessionFactory, url: str
) -> None:
    done = asyncio.Event()

    async def talk(name: str) -> int:
        turns = 0
        agent = make_agent(await factory.open_session(name), "a")
        while not done.is_set():
            await agent.invoke_async(f"q{turns}")
            turns += 1
        return turns

    talking = [asyncio.create_task(talk(str(number))) for number in range(4)]
    others = "datname = current_database() AND pid <> pg_backend_pid()"
    ending = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}"
    for _ in range(25):
        await asyncio.to_thread(sql, url, ending)
    done.set()
    for name, turns in enumerate(await asyncio.gather(*talking)):
        expected = [text for turn in range(turns) for text in (f"q{turn}", "a")]
        assert await asyncio.to_thread(stored, url, str(name)) == expected


@pytest.fixture(params=[True, False], ids=["applied", "not applied"])
def lost_reply(request: pytest.FixtureRequest, place: OnPostgreSQL, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The connection of the next transaction is lost when it commits, before or after the server has done so."""
    say(place, "a")
    lost: list[str] = []
    leave = Transaction.__aexit__

    async def leave_and_lose(self: Any, *raised: Any) -> Any:
        if lost or raised[0]:
            return await leave(self, *raised)
        lost.append("once")
        if request.param:
            await leave(self, *raised)
        self._connection.terminate()
        raise ConnectionResetError("the reply was lost")

    monkeypatch.setattr(Transaction, "__aexit__", leave_and_lose)
    return lost


def test_a_connection_that_is_lost_during_a_commit_leaves_no_doubt(place: OnPostgreSQL, lost_reply: list[str]) -> None:
    commit = commit_of(place.store.load("s", "default"), said("b"), totals={"model_calls": 1})
    committed = place.store.commit("s", commit, 30)

    assert lost_reply == ["once"]
    assert committed.at.count == 2
    loaded = place.store.load("s", "default")
    assert (words(loaded.messages), loaded.revision) == (["a", "b"], commit.revision)
    agent = place.sessions.agent_summary("s", "default")
    assert agent is not None
    assert agent.totals == {"model_calls": 1}


def test_a_new_session_knows_its_creation_whose_reply_was_lost(place: OnPostgreSQL, lost_reply: list[str]) -> None:
    commit = commit_of(place.store.load("new", "default"), said("b"))
    committed = place.store.commit("new", commit, 30)

    assert lost_reply == ["once"]
    summary = place.sessions.get("new")
    assert summary is not None
    assert (committed.created_at, summary.message_count) == (summary.created_at, 1)


def test_a_claim_whose_reply_was_lost_is_held(place: OnPostgreSQL, lost_reply: list[str]) -> None:
    claim = claim_of(place.store.load("s", "default"))
    claimed = place.store.claim("s", claim, 30)

    assert lost_reply == ["once"]
    assert words(claimed.messages) == ["a"]
    assert place.store.load("s", "default").revision == claim.revision


def test_feedback_and_sessions_whose_reply_was_lost_are_there_once(place: OnPostgreSQL, lost_reply: list[str]) -> None:
    place.sessions.add_feedback("s", {"rating": "up"})
    assert lost_reply == ["once"]
    assert len(place.sessions.feedbacks("s")) == 1
    lost_reply.clear()
    assert place.sessions.create("new", title="Shoes").title == "Shoes"
    assert lost_reply == ["once"]


async def test_a_turn_that_cannot_be_stored_fails_within_the_stores_patience_and_works_later(
    server: PostgreSQL, url: str
) -> None:
    factory = PostgresSessionFactory(url)
    factory._connections._patience = 0.5
    try:
        agent = make_agent(await factory.open_session("s"), "a")
        await agent.invoke_async("one")
        await asyncio.to_thread(server.stop)
        try:
            with pytest.raises(DatabaseUnavailable) as failed:
                await agent.invoke_async("two")
            assert isinstance(failed.value.__cause__, OSError)
            assert failed.value.__notes__ == ["session_id='s'"]
            assert (explain(failed.value).status_code, explain(failed.value).code) == (503, "service_unavailable")
            assert failure_of_turn(failed.value) is failed.value
            with pytest.raises(DatabaseUnavailable):
                await factory.open_session("other")
        finally:
            await asyncio.to_thread(server.start)
        await agent.invoke_async("three")
        assert (await asyncio.to_thread(stored, url))[:2] == ["one", "a"]
        assert (await asyncio.to_thread(stored, url))[-2:] == ["three", "a"]
    finally:
        await factory.aio.close()


async def test_a_turn_goes_on_when_what_it_says_is_held(server: PostgreSQL, url: str) -> None:
    factory = PostgresSessionFactory(url)
    factory._connections._patience = 0.2
    try:
        manager = await factory.open_session("s", on_outage="hold")

        @tool
        async def stop() -> str:
            """Stop the server."""
            await asyncio.to_thread(server.stop)
            return "stopped"

        agent = make_agent(manager, {"name": "stop", "input": {}}, "done", tools=[stop])
        try:
            assert str(await agent.invoke_async("go")).strip() == "done"
            assert manager.pending == 2
        finally:
            await asyncio.to_thread(server.start)
        end = time.monotonic() + 15
        while manager.pending:
            assert time.monotonic() < end
            await asyncio.sleep(0.05)
        assert await asyncio.to_thread(stored, url) == ["go", "", "", "done"]
        assert make_agent(await factory.open_session("s"), tools=[stop]).messages == agent.messages
    finally:
        await factory.aio.close()


async def test_a_turn_whose_process_died_can_be_taken_over_when_its_lease_has_expired(
    factory: PostgresSessionFactory, server: PostgreSQL
) -> None:
    first = await factory.open_session("s")
    first_agent = make_agent(first, "a")
    await first_agent.invoke_async("one")
    held = first.claim(first_agent)
    await asyncio.to_thread(held.__enter__)
    await asyncio.to_thread(server.restart)
    with pytest.raises(SessionBusyError):
        await make_agent(await factory.open_session("s"), "b").invoke_async("two")
    await make_agent(await factory.open_session("s", turn_timeout=0.01), "b").invoke_async("two")
    with pytest.raises(SessionConflictError):
        await first_agent.invoke_async("three")
    await asyncio.to_thread(held.__exit__, None, None, None)


def test_a_server_that_does_not_answer_is_given_up(url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"postgresql://postgres@127.0.0.1:{silent.getsockname()[1]}/none"
        connections = Connections(address, timeout=0.3)
        factory = PostgresSessionFactory(address)
        factory._connections = connections

        async def work(connection: Any) -> None:
            return None

        with pytest.raises(DatabaseUnavailable):
            connections.call(work, session_id="s")
        began = time.monotonic()
        assert factory.get_connection_stats()["status"] == "error"
        assert time.monotonic() - began < 2
        connections.close()


def test_the_figures_name_no_credentials(factory: PostgresSessionFactory, url: str) -> None:
    stats = factory.get_connection_stats()
    assert stats["status"] == "connected"
    assert stats["server_version"]
    assert "ss%2Fword" not in json.dumps(stats)
    assert stats["connection_string"] == f"postgresql://127.0.0.1:{url.rpartition(':')[2]}"


# The service


def test_the_service_runs_on_postgresql_and_comes_back_from_a_restart(server: PostgreSQL, url: str) -> None:
    import httpx

    settings = Settings(_env_file=None, session_store="postgres", database_url=url, demo_delay=0, retrieval="off")
    with served(settings) as address, httpx.Client(base_url=address, timeout=20) as http:
        service = Service(http, "none")
        first = service.ask("My name is Ada").json()
        assert stored(url, first["session_id"])[0] == "My name is Ada"
        server.restart()
        answer = service.ask("What is my name?", session_id=first["session_id"]).json()
        assert "Ada" in answer["response_text"]
        ids = [row["message_id"] for row in sql(url, "SELECT message_id FROM chat_messages ORDER BY position")]
        assert answer["message_id"] == ids[-1]
        assert http.get("/health").json()["connection_pool"]["pool_config"]["maxPoolSize"] == 10
        server.stop()
        try:
            began = time.monotonic()
            assert http.get("/readyz").status_code == 503
            assert time.monotonic() - began < 2
            refused = service.ask("Are you there?", session_id=first["session_id"])
            assert (refused.status_code, refused.json()["code"]) == (503, "service_unavailable")
            assert refused.headers["retry-after"]
            assert http.get("/livez").status_code == 200
        finally:
            server.start()
        assert http.get("/readyz").status_code == 200
        assert service.ask("And now?", session_id=first["session_id"]).status_code == 200


def test_the_service_starts_before_its_database(server: PostgreSQL, url: str) -> None:
    import httpx

    server.stop()
    try:
        settings = Settings(_env_file=None, session_store="postgres", database_url=url, demo_delay=0, retrieval="off")
        with served(settings) as address, httpx.Client(base_url=address, timeout=20) as http:
            assert http.get("/readyz").status_code == 503
            server.start()
            assert http.post("/api/chat", json={"query": "Hello"}).status_code == 200
    finally:
        if not sql_works(server):
            server.start()


def sql_works(server: PostgreSQL) -> bool:
    try:
        return bool(sql(server.url, "SELECT 1"))
    except OSError:
        return False


def test_the_command_migrates_and_says_what_it_did(url: str, tmp_path: Path) -> None:
    with started(tmp_path, free_port(), program=("chat_service", "migrate"), DATABASE_URL=url) as process:
        assert process.process.stdout
        assert process.process.stdout.read() == "".join(f"applied {name}\n" for name in MIGRATIONS)
        assert process.process.wait(20) == 0
        assert process.log() == ""


@pytest.mark.parametrize(
    ("arguments", "change", "code", "told"),
    [
        (["migrate"], ("", ""), 0, "up to date"),
        (["migrate"], ("ss%2Fword", "wrong"), 2, "DATABASE_URL"),
        (["migrate"], ("127.0.0.1:", "127.0.0.1:1/none?"), 1, "DATABASE_URL"),
        (["migrate"], None, 2, "DATABASE_URL"),
    ],
)
def test_the_command_says_what_is_wrong(
    factory: PostgresSessionFactory,
    url: str,
    arguments: list[str],
    change: tuple[str, str] | None,
    code: int,
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    factory.migrate()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["chat_service", *arguments])
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.delenv("DATABASE_URL", raising=False)
    if change:
        monkeypatch.setenv("DATABASE_URL", url.replace(*change))
    assert main() == code
    shown = capsys.readouterr()
    assert told in shown.out + shown.err
    assert "wrong" not in shown.err


def test_the_whole_service_on_postgresql_needs_no_mongodb(url: str, tmp_path: Path) -> None:
    port = free_port()
    with running(tmp_path, port, SESSION_STORE="Postgres", DATABASE_URL=url, DEMO_DELAY="0") as process:
        assert process.http.post("/api/chat", json={"query": "Hello"}).status_code == 200
        assert not (tmp_path / ".data").exists()
        assert "applied" in process.log()
    assert len(stored(url, sql(url, "SELECT session_id FROM chat_sessions")[0]["session_id"])) == 2


def test_the_store_needs_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="DATABASE_URL: missing"):
        Settings(_env_file=None, session_store="postgres")
    with pytest.raises(ValueError, match="not the address of a PostgreSQL server"):
        Settings(_env_file=None, database_url="mysql://u:p@h/d")
