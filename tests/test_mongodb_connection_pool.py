"""Clients, leases, counters, statistics, redaction and the application's pool, on a real server."""

import contextlib
import os
import select
import signal
import socket
import socketserver
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote, quote_plus

import dns.resolver
import pymongo
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymongo import MongoClient, monitoring
from pymongo.errors import ConfigurationError, InvalidOperation, InvalidURI, PyMongoError, ServerSelectionTimeoutError

from mongodb_session_manager.mongodb_connection_pool import (
    DEFAULT_CLIENT_OPTIONS,
    ClientLease,
    MongoDBConnectionPool,
    UnsupportedServerError,
    acquire_client,
    check_server,
    check_write_concern,
    connection_stats,
    redact_text,
    redacted,
    unsupported_reason,
)

NOWHERE = "mongodb://127.0.0.1:1/"  # a port on which nothing listens
PASSWORD = "s3same"


class Commands(monitoring.CommandListener):
    def __init__(self) -> None:
        self.names: list[str] = []

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        self.names.append(event.command_name)

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None: ...

    def failed(self, event: monitoring.CommandFailedEvent) -> None: ...


class Tunnel(socketserver.ThreadingTCPServer):
    """Passes bytes to a real server until it is told to fall silent."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, target: tuple[str, int]) -> None:
        self.target = target
        self.silent = threading.Event()
        super().__init__(("127.0.0.1", 0), socketserver.BaseRequestHandler)

    def finish_request(self, request: Any, client_address: Any) -> None:
        with socket.create_connection(self.target) as server:
            while True:
                readable, _, _ = select.select([request, server], [], [])
                for source in readable:
                    if self.silent.is_set():
                        threading.Event().wait(10)
                        return
                    chunk = source.recv(65536)
                    if not chunk:
                        return
                    (server if source is request else request).sendall(chunk)


@pytest.fixture(autouse=True)
def _no_pool_left() -> Iterator[None]:
    yield
    MongoDBConnectionPool.close()


@pytest.fixture
def mute_uri() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        yield f"mongodb://127.0.0.1:{server.getsockname()[1]}/"


@pytest.fixture
def tunnel(mongo_client: MongoClient[Any]) -> Iterator[Tunnel]:
    mongo_client.admin.command("ping")
    address = mongo_client.address
    assert address
    with Tunnel((address[0], address[1] or 27017)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@contextlib.contextmanager
def within(seconds: float) -> Iterator[None]:
    start = time.monotonic()
    yield
    assert time.monotonic() - start < seconds


def until(condition: Callable[[], bool], seconds: float = 5) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def effective(connection_string: str, **options: Any) -> Any:
    with acquire_client(connection_string, **options) as lease:
        return lease.client.options.pool_options


def is_closed(client: MongoClient[Any]) -> bool:
    try:
        client.admin.command("ping")
    except InvalidOperation:
        return True
    return False


def threads_of_the_driver() -> set[int | None]:
    return {thread.ident for thread in threading.enumerate() if thread.name.startswith(("pymongo", "mongodb-probe"))}


def counts(lease: ClientLease) -> tuple[int, int]:
    return lease.shared.counters.counts()


# Options


def test_defaults_apply_where_nobody_chose() -> None:
    with acquire_client(NOWHERE) as lease:
        options = lease.client.options
    pool = options.pool_options
    assert (pool.max_pool_size, pool.min_pool_size) == (100, 10)
    assert (pool.max_idle_time_seconds, pool.wait_queue_timeout) == (30, 5)
    assert (pool.connect_timeout, pool.socket_timeout, options.server_selection_timeout) == (10, 30, 5)
    assert (options.retry_writes, options.retry_reads) == (True, True)
    assert set(DEFAULT_CLIENT_OPTIONS) == {
        "maxPoolSize",
        "minPoolSize",
        "maxIdleTimeMS",
        "waitQueueTimeoutMS",
        "serverSelectionTimeoutMS",
        "connectTimeoutMS",
        "socketTimeoutMS",
        "retryWrites",
        "retryReads",
    }


@pytest.mark.parametrize(
    ("query", "options", "expected"),
    [
        ("", {}, 100),
        ("?maxPoolSize=50", {}, 50),
        ("?MAXPOOLSIZE=50", {}, 50),
        ("?w=1;maxPoolSize=50", {}, 50),
        ("?maxPoolSize=50", {"maxPoolSize": 20}, 20),
        ("?maxPoolSize=50", {"maxpoolsize": 20}, 20),
        ("", {"maxpoolsize": 20}, 20),
    ],
)
def test_a_keyword_wins_over_the_uri_and_the_uri_over_the_default(query: str, options: Any, expected: int) -> None:
    assert effective(NOWHERE + query, **options).max_pool_size == expected


@pytest.mark.parametrize(("query", "options"), [("?maxPoolSize=3", {}), ("", {"maxPoolSize": 3})])
def test_a_small_maximum_lowers_the_default_minimum(query: str, options: Any) -> None:
    assert effective(NOWHERE + query, **options).min_pool_size == 3


def test_a_pool_without_a_maximum_is_accepted() -> None:
    assert effective(NOWHERE, maxPoolSize=None).max_pool_size is None
    assert effective(NOWHERE + "?maxPoolSize=0").max_pool_size == 0


def test_any_option_of_the_driver_is_accepted() -> None:
    pool = effective(NOWHERE, appname="shop", compressors=["zlib"], heartbeatFrequencyMS=20000, tz_aware=True)
    assert pool.appname == "shop"


def test_an_unknown_option_raises_and_names_what_was_meant() -> None:
    with pytest.raises(ConfigurationError, match=r"maxPoolsSize.*maxpoolsize"):
        acquire_client(NOWHERE, maxPoolsSize=5)


@pytest.mark.parametrize("nothing", ["", None])
def test_no_connection_string_is_not_taken_for_localhost(nothing: Any) -> None:
    with pytest.raises(ValueError, match="connection string is needed"):
        acquire_client(nothing)


def test_the_server_is_told_who_we_are(mongo_uri: str) -> None:
    with acquire_client(mongo_uri, appname="who-we-are") as lease:
        lease.client.admin.command("ping")
        own = lease.client.admin.aggregate([{"$currentOp": {}}, {"$match": {"appName": "who-we-are"}}]).next()
    assert "mongodb-session-manager" in own["clientMetadata"]["driver"]["name"].split("|")


# Sharing


def test_the_same_arguments_share_one_client_and_the_last_release_closes_it(mongo_uri: str) -> None:
    first, second = acquire_client(mongo_uri, maxPoolSize=7), acquire_client(mongo_uri, maxpoolsize=7)
    client = first.client
    assert second.client is client
    first.release()
    first.release()
    assert not is_closed(client)
    second.release()
    assert is_closed(client)


def test_a_default_spelt_out_is_the_same_option() -> None:
    with acquire_client(NOWHERE) as plain, acquire_client(NOWHERE, maxPoolSize=100) as explicit:
        assert plain.client is explicit.client


def test_another_uri_or_other_options_get_a_client_of_their_own(mongo_uri: str) -> None:
    leases = [acquire_client(mongo_uri), acquire_client(mongo_uri, maxPoolSize=7), acquire_client(NOWHERE)]
    clients = [lease.client for lease in leases]
    assert len({id(client) for client in clients}) == 3
    leases[0].release()
    assert [is_closed(client) for client in clients[:2]] == [True, False]
    leases[1].release()
    leases[2].release()


def test_options_that_cannot_be_hashed_are_compared_by_value_or_by_identity() -> None:
    listener = Commands()
    options: dict[str, Any] = {"compressors": ["zlib"], "event_listeners": [listener]}
    options |= {"authMechanismProperties": {"ALLOWED_HOSTS": ["*.example"]}}
    same = {**options, "compressors": ["zlib"], "event_listeners": [listener]}
    other = {**options, "event_listeners": [Commands()]}
    with acquire_client(NOWHERE, **options) as one, acquire_client(NOWHERE, **same) as two:
        assert one.client is two.client
        with acquire_client(NOWHERE, **other) as three:
            assert three.client is not one.client


def test_a_released_lease_gives_no_client() -> None:
    lease = acquire_client(NOWHERE)
    lease.release()
    with pytest.raises(InvalidOperation, match="acquire a new one"):
        _ = lease.client
    with acquire_client(NOWHERE) as again:
        assert again.client is not None


def test_many_threads_acquire_and_release_one_client() -> None:
    seen: list[int] = []
    everyone = threading.Barrier(20)

    def work() -> None:
        lease = acquire_client(NOWHERE, maxPoolSize=9)
        everyone.wait()
        seen.append(id(lease.client))
        everyone.wait()
        lease.release()

    run_all([work] * 20)
    assert len(set(seen)) == 1
    with acquire_client(NOWHERE, maxPoolSize=9) as lease:
        assert len(lease.shared.leases) == 1


def test_making_a_client_waits_for_no_server_and_no_name_server(mute_uri: str, mute_name_server: None) -> None:
    for uri in (NOWHERE, mute_uri, "mongodb+srv://cluster.example.test/"):
        with within(0.5):
            acquire_client(uri).release()


def run_all(calls: list[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


# Forks


def in_child(check: Callable[[], None]) -> str:
    """Run a check in a forked child and return what went wrong there."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        signal.alarm(15)
        try:
            check()
        except BaseException:
            os.write(writer, traceback.format_exc().encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        trouble = pipe.read()
    _, status = os.waitpid(child, 0)
    return trouble or ("" if status == 0 else f"status {status}")


forks = pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")


@forks
def test_after_a_fork_the_child_makes_its_own_client_and_leaves_the_parents_alone(mongo_uri: str) -> None:
    lease = acquire_client(mongo_uri, minPoolSize=0)
    parents = lease.client
    parents.admin.command("ping")

    def check() -> None:
        client = lease.client
        assert client is not parents
        assert lease.client is client
        assert counts(lease) == (0, 0)
        client.admin.command("ping")
        assert counts(lease) == (0, 1)
        assert connection_stats(lease)["status"] == "connected"
        lease.release()
        assert is_closed(client)

    assert in_child(check) == ""
    assert lease.client is parents
    parents.admin.command("ping")
    assert counts(lease) == (0, 1)
    lease.release()


@forks
def test_a_child_that_never_used_the_client_releases_it_without_closing_it(mongo_uri: str) -> None:
    lease = acquire_client(mongo_uri)
    parents = lease.client
    parents.admin.command("ping")

    def check() -> None:
        lease.release()
        parents.close = lambda: None  # type: ignore[method-assign]  # only so that a mistake would not hang

    assert in_child(check) == ""
    parents.admin.command("ping")
    lease.release()


@forks
def test_a_fork_in_the_middle_of_other_threads_work_leaves_no_lock_behind() -> None:
    done = threading.Event()

    def busy() -> None:
        while not done.is_set():
            acquire_client(NOWHERE, connect=False).release()

    threads = [threading.Thread(target=busy) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        troubles = [in_child(lambda: acquire_client(NOWHERE, connect=False).release()) for _ in range(20)]
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert troubles == [""] * 20


@forks
def test_the_pool_works_on_both_sides_of_a_fork(mongo_uri: str) -> None:
    parents = MongoDBConnectionPool.initialize(mongo_uri)

    def check() -> None:
        client = MongoDBConnectionPool.get_client()
        assert client is not None
        assert client is not parents
        client.admin.command("ping")
        MongoDBConnectionPool.close()
        MongoDBConnectionPool.initialize(mongo_uri).admin.command("ping")

    assert in_child(check) == ""
    parents.admin.command("ping")


# Counters


def hold(client: MongoClient[Any], milliseconds: int) -> None:
    """Keep one connection in use."""
    client.pool_tests.held.find_one({"$where": f"sleep({milliseconds}) || true"})


def test_connections_are_counted_truly_under_twenty_threads(mongo_uri: str, mongo_client: MongoClient[Any]) -> None:
    mongo_client.pool_tests.held.replace_one({"_id": 1}, {"_id": 1}, upsert=True)

    def on_the_server() -> int:
        every = {"$currentOp": {"idleConnections": True, "allUsers": True}}
        return len(list(mongo_client.admin.aggregate([every, {"$match": {"appName": "counted"}}])))

    def fail(client: MongoClient[Any]) -> None:
        with pytest.raises(PyMongoError):
            client.admin.command("noSuchCommand")

    with acquire_client(mongo_uri, minPoolSize=0, appname="counted") as lease:
        client = lease.client
        client.admin.command("ping")
        monitors = on_the_server() - counts(lease)[1]
        holders = threading.Thread(target=run_all, args=([lambda: hold(client, 500)] * 20,))
        holders.start()
        assert until(lambda: counts(lease)[0] == 20)
        assert counts(lease)[1] == 20
        holders.join()
        run_all([lambda: fail(client)] * 20)
        stats = connection_stats(lease)
        assert stats["active_connections"] == 0
        assert stats["total_connections"] == 20
        # A second monitor of the driver may have connected meanwhile.
        assert until(lambda: on_the_server() - counts(lease)[1] in (monitors, monitors + 1))
        counters = lease.shared.counters
    assert counters.counts() == (0, 0)


def test_the_callers_own_listeners_are_kept(mongo_uri: str) -> None:
    listener = Commands()
    with acquire_client(mongo_uri, event_listeners=[listener]) as lease:
        lease.client.admin.command("ping")
        assert counts(lease)[1] >= 1
    assert "ping" in listener.names


# Statistics


def test_stats_of_a_reachable_server_are_complete(mongo_uri: str, mongo_client: MongoClient[Any]) -> None:
    with acquire_client(mongo_uri, maxPoolSize=30, minPoolSize=2) as lease:
        stats = connection_stats(lease)
        assert until(lambda: connection_stats(lease)["total_connections"] == 2)
    assert stats.pop("total_connections") >= 1
    assert stats == {
        "status": "connected",
        "connection_string": mongo_uri,
        "server_version": mongo_client.server_info()["version"],
        "pool_config": {"maxPoolSize": 30, "minPoolSize": 2},
        "active_connections": 0,
    }
    assert connection_stats(lease) == {"status": "not_initialized"}


@pytest.mark.parametrize("listening", [True, False])
def test_stats_answer_in_about_a_second_when_nothing_listens_or_answers(mute_uri: str, listening: bool) -> None:
    uri = mute_uri if listening else NOWHERE
    with acquire_client(uri.replace("//", f"//bob:{PASSWORD}@")) as lease:
        with within(1.5):
            stats = connection_stats(lease)
    assert stats["error"].startswith("ServerSelectionTimeoutError: ")
    assert PASSWORD not in str(stats)
    del stats["error"]
    assert stats == {
        "status": "error",
        "connection_string": uri.replace("//", "//***@"),
        "pool_config": {"maxPoolSize": 100, "minPoolSize": 10},
        "active_connections": 0,
        "total_connections": 0,
    }


def test_stats_and_closing_stay_quick_when_a_server_falls_silent(tunnel: Tunnel) -> None:
    lease = acquire_client(f"mongodb://127.0.0.1:{tunnel.server_address[1]}/?directConnection=true", minPoolSize=0)
    assert connection_stats(lease)["status"] == "connected"
    tunnel.silent.set()
    with within(1.5):
        stats = connection_stats(lease)
    assert stats["status"] == "error"
    with within(2.5):
        lease.release()


def test_stats_of_a_busy_pool_say_connected(mongo_uri: str, mongo_client: MongoClient[Any]) -> None:
    mongo_client.pool_tests.held.replace_one({"_id": 1}, {"_id": 1}, upsert=True)
    with acquire_client(mongo_uri, maxPoolSize=2) as lease:
        version = connection_stats(lease)["server_version"]
        holders = threading.Thread(target=run_all, args=([lambda: hold(lease.client, 1400)] * 2,))
        holders.start()
        assert until(lambda: counts(lease)[0] == 2)
        with within(1.5):
            stats = connection_stats(lease)
        holders.join()
    assert (stats["status"], stats["server_version"], stats["active_connections"]) == ("connected", version, 2)


@pytest.fixture
def mute_name_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        resolver = dns.resolver.Resolver(configure=False)
        resolver.nameservers = ["127.0.0.1"]
        resolver.port = server.getsockname()[1]
        monkeypatch.setattr(dns.resolver, "default_resolver", resolver)
        yield
        assert until(lambda: "mongodb-probe" not in {thread.name for thread in threading.enumerate()})


def test_stats_wait_for_no_silent_name_server_and_pile_up_no_threads(mute_name_server: None) -> None:
    with acquire_client("mongodb+srv://bob:sesame@cluster.example.test/", connectTimeoutMS=2500) as lease:
        with within(1.5):
            stats = connection_stats(lease)
        with within(1.5):
            connection_stats(lease)
        assert [thread.name for thread in threading.enumerate()].count("mongodb-probe") == 1
    assert stats["status"] == "error"
    assert stats["connection_string"] == "mongodb+srv://***@cluster.example.test/"


# Redaction

credentials = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@given(user=credentials, password=credentials, escape=st.sampled_from([lambda text: quote(text, safe=""), quote_plus]))
def test_credentials_are_replaced_and_hosts_kept(user: str, password: str, escape: Callable[[str], str]) -> None:
    uri = f"mongodb://{escape(user)}:{escape(password)}@a.example:27017,[::1]:27018,b_2/shop?replicaSet=rs0&w=majority"
    assert redacted(uri) == "mongodb://***@a.example:27017,[::1]:27018,b_2/shop?replicaSet=rs0&w=majority"
    assert redact_text(f'cannot reach "{uri}".') == f'cannot reach "{redacted(uri)}".'


@given(user=credentials, password=credentials)
def test_credentials_that_were_not_escaped_are_replaced_too(user: str, password: str) -> None:
    for scheme in ("mongodb://", "mongodb+srv://"):
        assert redacted(f"{scheme}{user}:{password}@a.example/shop") == f"{scheme}***@a.example/shop"


@given(user=st.text("ab1:@/%+!", min_size=1), password=st.text("cd2:@/%+!"))
def test_an_error_about_a_malformed_address_repeats_nothing_of_its_password(user: str, password: str) -> None:
    with pytest.raises(InvalidURI) as caught:
        acquire_client(f"mongodb://{user}:{password}/TAIL x@a.example/shop")
    assert str(caught.value).endswith("| mongodb://***@a.example/shop")
    assert "TAIL" not in str(caught.value)
    assert caught.value.__context__ is None


def test_an_error_about_a_malformed_address_says_what_is_wrong() -> None:
    with pytest.raises(InvalidURI, match="scheme"):
        acquire_client("mongo://a.example/shop")
    with pytest.raises(InvalidURI, match="must be escaped"):
        acquire_client("mongodb://bob:100%ZZ@a.example/shop")
    with pytest.raises(InvalidURI, match="percent-encode its user name and password"):
        acquire_client("mongodb://bob:pa/ss word@a.example/shop")


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        (
            "mongodb://h/?authMechanismProperties=AWS_SESSION_TOKEN:t0k%2Fen&w=1",
            "mongodb://h/?authMechanismProperties=***&w=1",
        ),
        ("mongodb://h/?tlsCertificateKeyFilePassword=s3same;w=1", "mongodb://h/?tlsCertificateKeyFilePassword=***;w=1"),
        ("mongodb://h/?TLSCERTIFICATEKEYFILEPASSWORD=s3same", "mongodb://h/?TLSCERTIFICATEKEYFILEPASSWORD=***"),
        ("mongodb://h/?pasword=s3same&proxyPassword=s3same", "mongodb://h/?***&***"),
        ("mongodb://h/?s3same", "mongodb://h/?***"),
        ("mongodb://h/?password=s3&same=4", "mongodb://h/?password=***&***"),
        ("mongodb://bob:s3same", "mongodb://***"),
        ("mongodb://bob:s3same/x?w=same", "mongodb://***"),
        ("mongodb://bob:p@s3same/x@h:1/shop", "mongodb://***@h:1/shop"),
        ("mongodb://bob:s3?w=same@h", "mongodb://***@h"),
        ("bob:s3same@h:27017", "***@h:27017"),
        ("s3same://bob@h", "***://***@h"),
        ("mongodb://h/s3 same", "mongodb://h/***"),
        ("mongodb://%2Ftmp%2Fmongodb-27017.sock/shop", "mongodb://%2Ftmp%2Fmongodb-27017.sock/shop"),
        ("localhost:27017", "localhost:27017"),
        ("", "***"),
    ],
)
def test_what_may_be_a_secret_is_hidden(uri: str, shown: str) -> None:
    assert redacted(uri) == shown


def test_every_address_inside_a_text_is_redacted() -> None:
    text = "tried mongodb://bob:s3same@a/x, then (MongoDB+SRV://eve:p/w?d@b.example/), not http://c:d@e"
    assert redact_text(text) == "tried mongodb://***@a/x, then (MongoDB+SRV://***@b.example/), not http://c:d@e"
    assert redact_text("nothing to hide") == "nothing to hide"


# The pool of an application


def test_the_pool_is_one_object() -> None:
    seen: list[MongoDBConnectionPool] = []
    run_all([lambda: seen.append(MongoDBConnectionPool())] * 10)
    assert len({id(pool) for pool in seen}) == 1


def test_the_pool_before_and_after_its_life_is_not_initialized() -> None:
    assert MongoDBConnectionPool.get_client() is None
    assert MongoDBConnectionPool.get_pool_stats() == {"status": "not_initialized"}
    MongoDBConnectionPool.close()
    MongoDBConnectionPool().close()


def test_initializing_connects_and_the_same_arguments_return_the_same_client(mongo_uri: str) -> None:
    client = MongoDBConnectionPool.initialize(mongo_uri, maxPoolSize=40)
    assert MongoDBConnectionPool.initialize(mongo_uri, maxPoolSize=40) is client
    assert MongoDBConnectionPool.get_client() is MongoDBConnectionPool().get_client() is client
    stats = MongoDBConnectionPool.get_pool_stats()
    assert (stats["status"], stats["pool_config"]["maxPoolSize"]) == ("connected", 40)
    MongoDBConnectionPool.close()
    assert is_closed(client)
    assert MongoDBConnectionPool.get_client() is None


def test_initializing_with_other_arguments_closes_the_earlier_client(mongo_uri: str) -> None:
    first = MongoDBConnectionPool.initialize(mongo_uri)
    second = MongoDBConnectionPool.initialize(mongo_uri, maxPoolSize=20)
    assert is_closed(first)
    assert not is_closed(second)


def test_closing_the_pool_leaves_a_client_that_others_share(mongo_uri: str) -> None:
    client = MongoDBConnectionPool.initialize(mongo_uri)
    with acquire_client(mongo_uri) as lease:
        assert lease.client is client
        MongoDBConnectionPool.close()
        assert not is_closed(client)
    assert is_closed(client)


def test_many_threads_initialize_one_client(mongo_uri: str) -> None:
    seen: list[MongoClient[Any]] = []
    run_all([lambda: seen.append(MongoDBConnectionPool.initialize(mongo_uri))] * 10)
    assert len({id(client) for client in seen}) == 1
    MongoDBConnectionPool.close()
    assert is_closed(seen[0])


def test_a_wrong_address_fails_within_five_seconds_and_leaves_nothing_open() -> None:
    before = threads_of_the_driver()
    uri = NOWHERE.replace("//", f"//bob:{PASSWORD}@")
    with within(6), pytest.raises(ServerSelectionTimeoutError) as caught:
        MongoDBConnectionPool.initialize(uri, serverSelectionTimeoutMS=60_000)
    assert caught.value.__notes__ == ["while connecting to mongodb://***@127.0.0.1:1/"]
    assert PASSWORD not in "".join(traceback.format_exception(caught.value))
    assert MongoDBConnectionPool.get_client() is None
    assert MongoDBConnectionPool.get_pool_stats() == {"status": "not_initialized"}
    assert until(lambda: threads_of_the_driver() <= before)


def test_a_failed_attempt_leaves_the_earlier_client_in_use(mongo_uri: str, mute_uri: str) -> None:
    client = MongoDBConnectionPool.initialize(mongo_uri)
    with within(2), pytest.raises(ServerSelectionTimeoutError):
        MongoDBConnectionPool.initialize(mute_uri, serverSelectionTimeoutMS=300)
    assert MongoDBConnectionPool.get_client() is client
    assert not is_closed(client)


# What a server must be able to do


@pytest.mark.parametrize(
    ("host", "wire_version", "reason"),
    [
        ("db.example", 13, None),
        ("db.example", 25, None),
        ("balancer.example", None, None),
        ("docdb.example", 13, None),
        ("db.example", 9, "MongoDB 4.4"),
        ("db.example", 8, "MongoDB 4.2"),
        ("db.example", 12, "MongoDB with wire version 12"),
        ("shop.cluster-abc.eu-west-1.docdb.amazonaws.com", 13, "DocumentDB"),
        ("shop.cluster-abc.cn-north-1.docdb.amazonaws.com.cn", 13, "DocumentDB"),
        ("shop-123.eu-west-1.docdb-elastic.amazonaws.com", None, "DocumentDB"),
    ],
)
def test_old_servers_and_documentdb_are_told_apart(host: str, wire_version: int | None, reason: str | None) -> None:
    answer = unsupported_reason(["localhost", host], wire_version)
    if reason is None:
        assert answer is None
        return
    assert answer
    assert reason in answer
    assert "5.0 or newer" in answer


def test_a_good_server_is_accepted_without_a_command(mongo_uri: str) -> None:
    listener = Commands()
    with acquire_client(mongo_uri, event_listeners=[listener]) as lease:
        lease.client.admin.command("ping")
        check_server(lease.client)
        check_write_concern(lease.client)
    assert [name for name in listener.names if name != "endSessions"] == ["ping"]
    assert issubclass(UnsupportedServerError, RuntimeError)


def test_a_client_without_contact_is_not_judged(mute_name_server: None) -> None:
    for uri in (NOWHERE, "mongodb+srv://cluster.example.test/"):
        with acquire_client(uri) as lease:
            check_server(lease.client)


def test_unacknowledged_writes_are_refused() -> None:
    with acquire_client(NOWHERE, w=0) as lease, pytest.raises(ValueError, match=r"w=0.*majority"):
        check_write_concern(lease.client)
    with acquire_client(NOWHERE, w=1) as lease:
        check_write_concern(lease.client)


def test_a_deadline_of_the_callers_own_shortens_the_wait() -> None:
    with acquire_client(NOWHERE) as lease, within(0.8), pymongo.timeout(0.3):
        assert connection_stats(lease)["status"] == "error"
