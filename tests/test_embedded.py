"""The embedded server, with the real mongod and real processes that are really killed."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from mongodb_session_manager import embedded
from mongodb_session_manager.embedded import EmbeddedMongoDB, EmbeddedMongoDBError, EmbeddedReplicaSet, find_mongod
from mongodb_session_manager.embedded.node import Node

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the tests look into /proc")

# A child imports the embedded server without the package around it, which loads the SDK: a second for each process.
CHILD = """
import os, signal, sys, time, types
package = types.ModuleType("mongodb_session_manager")
package.__path__ = [{package!r}]
sys.modules["mongodb_session_manager"] = package
from pymongo import MongoClient
from mongodb_session_manager.embedded import EmbeddedMongoDB
server = EmbeddedMongoDB({data_dir!r}, startup_timeout=20)
def say(*words):
    print(*words, flush=True)
"""

Start = Callable[..., EmbeddedMongoDB]
Spawn = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def start(data_dir: Path) -> Iterator[Start]:
    """Starts servers that are ended without ceremony: a clean end takes mongod a second."""
    servers: list[EmbeddedMongoDB] = []

    def started(folder: Path = data_dir, **options: Any) -> EmbeddedMongoDB:
        server = EmbeddedMongoDB(folder, **options)
        servers.append(server)
        return server.start()

    yield started
    for server in servers:
        end_at_once(server)


@pytest.fixture
def spawn(data_dir: Path) -> Iterator[Spawn]:
    """Starts processes that run a script with ``server`` made for them."""
    children: list[subprocess.Popen[str]] = []

    def spawned(script: str, folder: Path = data_dir) -> subprocess.Popen[str]:
        package = str(Path(embedded.__file__).parents[1])
        code = CHILD.format(package=package, data_dir=str(folder)) + script
        child = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        children.append(child)
        return child

    yield spawned
    for child in children:
        child.kill()
        child.communicate()


def end_at_once(server: EmbeddedMongoDB) -> None:
    if server.owned and server.pid is not None:
        os.kill(server.pid, signal.SIGKILL)
    server.stop()


def state(server: EmbeddedMongoDB) -> tuple[bool, int | None, int | None]:
    return server.owned, server.port, server.pid


def line(child: subprocess.Popen[str]) -> list[str]:
    """The next line that the child says, in words; the test fails rather than waits when it says none."""
    assert child.stdout is not None
    words = child.stdout.readline().split()
    assert words, "the child ended"
    return words


def go_on(child: subprocess.Popen[str]) -> None:
    """Let the child go on behind its ``input()``."""
    assert child.stdin is not None
    child.stdin.write("\n")
    child.stdin.flush()


def write(uri: str, number: int) -> None:
    with MongoClient[dict[str, Any]](uri) as client:
        client.tests.numbers.insert_one({"_id": number})


def numbers(uri: str) -> list[int]:
    with MongoClient[dict[str, Any]](uri) as client:
        return sorted(document["_id"] for document in client.tests.numbers.find())


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def gone_within(seconds: float, *pids: int) -> bool:
    deadline = time.monotonic() + seconds
    while any(map(is_alive, pids)):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def pid_of(server: EmbeddedMongoDB | Node) -> int:
    assert server.pid is not None
    return server.pid


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def processes_on(folder: Path) -> list[int]:
    """Every mongod and supervisor that runs on a data folder, or on one inside it."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if b"\0--dbpath\0" + os.fsencode(folder) + b"/" in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
    return found


def eventually(condition: Callable[[], Any], seconds: float = 10) -> Any:
    """What the condition gives as soon as it holds."""
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
    return result


def program(path: Path, script: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


# ------------------------------------------------------------------------------------------------- one server


def test_a_server_starts_twice_on_its_folder_and_keeps_port_and_data(data_dir: Path) -> None:
    ports = []
    for number in (1, 2):
        before = time.monotonic()
        with EmbeddedMongoDB(data_dir) as server:
            print(f"start {number}: writable after {time.monotonic() - before:.2f} s")
            assert state(server)[0] is True
            assert server.uri == f"mongodb://127.0.0.1:{server.port}/?replicaSet=rs0"
            pid = server.pid
            assert pid is not None
            ports.append(server.port)
            write(server.uri, number)
            assert numbers(server.uri) == list(range(1, number + 1))
        assert not is_alive(pid)
        assert state(server) == (False, None, None)
    assert ports[0] == ports[1]


def test_it_is_private_and_on_loopback_only(start: Start, data_dir: Path) -> None:
    server = start()
    assert stat.S_IMODE(data_dir.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) & 0o077 for file in data_dir.rglob("*")} == {0}
    listening = [
        local.split()[1]
        for table in ("tcp", "tcp6")
        for local in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
        if local.split()[3] == "0A" and local.split()[1].endswith(f":{server.port:04X}")
    ]
    assert listening == [f"0100007F:{server.port:04X}"]
    assert not Path(f"/tmp/mongodb-{server.port}.sock").exists()
    with MongoClient[dict[str, Any]](server.uri) as client:
        journal = client.admin.command("serverStatus")["wiredTiger"]["log"]
    assert journal["log bytes written"] > 0


def test_starting_and_stopping_again_does_nothing(start: Start, data_dir: Path) -> None:
    server = start()
    pid = server.pid
    assert server.start() is server
    assert server.pid == pid
    end_at_once(server)
    server.stop()
    with pytest.raises(EmbeddedMongoDBError, match=f"{data_dir} is not started"):
        _ = server.uri


def test_a_server_outlives_the_thread_that_started_it(start: Start) -> None:
    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    server = start()
    assert not server.owned
    write(server.uri, 1)


# ------------------------------------------------------------------------------------- a mongod that ends on its own


def test_a_killed_mongod_runs_again_with_all_that_was_acknowledged(start: Start, data_dir: Path) -> None:
    server = start()
    killed, port = pid_of(server), server.port
    supervisor = parent_of(killed)
    with MongoClient[dict[str, Any]](server.uri) as client:
        for number in range(50):
            client.tests.numbers.insert_one({"_id": number})
        client.tests.large.insert_one({"_id": 1, "content": os.urandom(16_000_000)})  # larger than a journal's file
        os.kill(killed, signal.SIGKILL)
        beginning = time.monotonic()
        client.tests.numbers.insert_one({"_id": 50})  # which the driver sends again by itself
        print(f"written {time.monotonic() - beginning:.2f} s after the kill")
        assert numbers(server.uri) == list(range(51))
        assert client.tests.large.count_documents({}) == 1
    assert state(server) == (True, port, server.pid)
    assert pid_of(server) != killed
    assert sorted(processes_on(data_dir)) == sorted([supervisor, pid_of(server)])
    assert "mongod ended with status 137: it is started again" in (data_dir / "mongod.log").read_text()
    server.stop()
    assert processes_on(data_dir) == []


def test_the_number_of_a_killed_mongod_is_none_until_the_next_runs_and_a_start_waits_for_it(start: Start) -> None:
    server = start()
    killed = pid_of(server)
    os.kill(killed, signal.SIGKILL)
    eventually(lambda: server.pid is None)
    again = eventually(lambda: server.pid)
    assert again != killed
    server.start()
    socket.create_connection(("127.0.0.1", server.port or 0)).close()  # a client would wait by itself
    with MongoClient[dict[str, Any]](server.uri, directConnection=True) as client:
        assert client.admin.command("hello")["isWritablePrimary"]
    assert server.pid == again


def test_whoever_shares_the_server_finds_it_again(start: Start, spawn: Spawn) -> None:
    server = start()
    child = spawn(
        "server.start(); client = MongoClient(server.uri)\n"
        "say(server.owned, server.pid); input()\n"
        "client.tests.numbers.insert_one({'_id': 1}); say(server.owned, server.pid); input()"
    )
    assert line(child) == ["False", str(server.pid)]
    killed = pid_of(server)
    os.kill(killed, signal.SIGKILL)
    go_on(child)
    assert line(child) == ["False", str(server.pid)]
    assert server.pid != killed
    assert numbers(server.uri) == [1]


def test_a_mongod_that_ends_three_times_within_a_minute_is_left_alone_until_the_next_start(
    start: Start, data_dir: Path
) -> None:
    server = start()
    write(server.uri, 1)
    supervisor = parent_of(pid_of(server))
    for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL):
        killed = eventually(lambda: server.pid)
        server.start()  # waits for it
        os.kill(killed, number)
        assert gone_within(10, killed)
    assert gone_within(5, supervisor)
    assert server.pid is None
    assert processes_on(data_dir) == []
    log = (data_dir / "mongod.log").read_text()
    assert log.count("it is started again") == 2
    assert log.count("mongod ended 3 times within 60 seconds, now with status 137: it is not started again") == 1
    server.start()
    assert numbers(server.uri) == [1]


def test_a_mongod_that_cannot_be_started_again_is_left_alone_and_the_next_start_says_why(
    start: Start, data_dir: Path
) -> None:
    server = start()
    supervisor = parent_of(pid_of(server))
    (data_dir / "db" / "storage.bson").write_bytes(b"no storage engine")
    os.kill(pid_of(server), signal.SIGKILL)
    assert gone_within(10, supervisor)
    assert (data_dir / "mongod.log").read_text().count("it is not started again") == 1
    with pytest.raises(EmbeddedMongoDBError, match="Unable to read the storage engine metadata file"):
        server.start()
    assert state(server) == (False, None, None)


def test_a_mongod_that_ends_while_it_starts_is_started_once(start: Start, tmp_path: Path) -> None:
    script = f"test $1 = --version && echo 'db version v6.0.0' && exit; echo start >> {tmp_path}/starts; exit 14"
    with pytest.raises(EmbeddedMongoDBError, match="mongod ended with status 14 while it started"):
        start(binary=program(tmp_path / "mongod", script))
    assert (tmp_path / "starts").read_text() == "start\n"


def test_a_mongod_that_is_not_to_keep_running_stays_dead_until_the_next_start(start: Start, data_dir: Path) -> None:
    server = start(keep_running=False)
    write(server.uri, 1)
    killed = pid_of(server)
    supervisor = parent_of(killed)
    os.kill(killed, signal.SIGKILL)
    assert gone_within(5, killed, supervisor)
    assert server.pid is None
    assert processes_on(data_dir) == []
    server.start()
    assert pid_of(server) != killed
    assert numbers(server.uri) == [1]


# Within the wait before the next start, at about the next start, and while mongod starts.
@pytest.mark.parametrize("seconds", [0.0, 0.2, 0.3])
def test_a_stop_right_after_mongod_was_killed_leaves_nothing(start: Start, data_dir: Path, seconds: float) -> None:
    server = start()
    os.kill(pid_of(server), signal.SIGKILL)
    time.sleep(seconds)
    server.stop()
    assert processes_on(data_dir) == []
    assert state(server) == (False, None, None)


@pytest.mark.parametrize("seconds", [0.0, 0.2, 0.3])
def test_an_owner_killed_right_after_its_mongod_leaves_nothing(spawn: Spawn, data_dir: Path, seconds: float) -> None:
    child = spawn("server.start(); say(server.pid); input()")
    (mongod,) = map(int, line(child))
    assert len(processes_on(data_dir)) == 2
    os.kill(mongod, signal.SIGKILL)
    time.sleep(seconds)
    child.kill()
    child.wait()
    eventually(lambda: not processes_on(data_dir))


# ------------------------------------------------------------------------------------------------------ ports


def test_a_taken_port_is_replaced_and_nothing_is_lost_even_if_its_holder_never_answers(start: Start) -> None:
    server = start()
    write(server.uri, 1)
    before = server.port
    assert before is not None
    end_at_once(server)
    with socket.socket() as stranger:
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        stranger.bind(("127.0.0.1", before))
        stranger.listen()
        beginning = time.monotonic()
        server.start()
        print(f"start on another port: {time.monotonic() - beginning:.2f} s")
        assert server.port != before
        write(server.uri, 2)
        assert numbers(server.uri) == [1, 2]
    after = server.port
    end_at_once(server)
    assert server.start().port == after


def test_a_copied_folder_serves_beside_the_original(start: Start, data_dir: Path, tmp_path: Path) -> None:
    original = start()
    write(original.uri, 1)
    end_at_once(original)
    shutil.copytree(data_dir, tmp_path / "copy")
    original.start()
    copy = start(tmp_path / "copy")
    assert copy.owned
    write(copy.uri, 2)
    write(original.uri, 3)
    assert numbers(copy.uri) == [1, 2]
    assert numbers(original.uri) == [1, 3]


def test_a_moved_folder_without_its_port_file_is_writable_again(start: Start, data_dir: Path, tmp_path: Path) -> None:
    server = start()
    write(server.uri, 1)
    end_at_once(server)
    data_dir.rename(tmp_path / "moved")
    (tmp_path / "moved" / "mongod.port").write_text("")
    moved = start(tmp_path / "moved")
    write(moved.uri, 2)
    assert numbers(moved.uri) == [1, 2]


def test_a_wanted_port_is_used_or_refused(start: Start, data_dir: Path, tmp_path: Path) -> None:
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        wanted = stranger.getsockname()[1]
        with pytest.raises(EmbeddedMongoDBError, match=f"Port {wanted} is taken"):
            start(port=wanted)
    assert start(port=wanted).port == wanted


# ---------------------------------------------------------------------------------------------------- sharing


def test_a_second_process_shares_the_server_and_leaves_it_running(start: Start, spawn: Spawn) -> None:
    server = start()
    child = spawn(
        "with server: MongoClient(server.uri).tests.numbers.insert_one({'_id': 7}); say(server.owned, server.pid)"
    )
    assert line(child) == ["False", str(server.pid)]
    assert child.wait(10) == 0
    assert numbers(server.uri) == [7]


def test_two_processes_that_start_at_once_end_with_one_server(spawn: Spawn) -> None:
    script = "server.start(); MongoClient(server.uri).admin.command('ping'); say(server.owned, server.uri); input()"
    children = [spawn(script), spawn(script)]
    said = [line(child) for child in children]
    assert sorted(owned for owned, _ in said) == ["False", "True"]
    assert said[0][1] == said[1][1]
    owner = children[said[0][0] != "True"]
    sharer = children[said[0][0] == "True"]
    write(said[0][1], 1)
    owner.kill()  # first: the folder is free for the other one then
    owner.wait()
    sharer.kill()


def test_a_folder_whose_holder_serves_nothing_is_refused(data_dir: Path, start: Start, spawn: Spawn) -> None:
    child = spawn("server._node.folder.create(); server._node.folder.lock(); say('locked'); input()")
    assert line(child) == ["locked"]
    with pytest.raises(EmbeddedMongoDBError) as refusal:
        start(startup_timeout=0.3)
    for part in (str(data_dir), f"process {child.pid}", "MONGODB_URI"):
        assert part in str(refusal.value)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_shares_and_does_not_end_the_server(start: Start) -> None:
    server = start()

    def use(results: Any) -> None:
        server.stop()
        shared = server.start()
        write(shared.uri, 1)
        results.put((shared.owned, shared.pid))

    fork = multiprocessing.get_context("fork")
    results = fork.Queue()
    child = fork.Process(target=use, args=(results,))
    child.start()
    assert results.get(timeout=10) == (False, server.pid)
    child.join(10)
    assert numbers(server.uri) == [1]


# ----------------------------------------------------------------------------------------------- owners that die


def test_the_server_is_gone_when_its_owner_is_killed_and_a_forked_child_lives_on(
    spawn: Spawn, start: Start, data_dir: Path
) -> None:
    child = spawn(
        "server.start(); MongoClient(server.uri).tests.numbers.insert_one({'_id': 1})\n"
        "forked = os.fork()\n"
        "if not forked: time.sleep(60)\n"
        "say(server.pid, forked); input()"
    )
    mongod, forked = map(int, line(child))
    supervisor = parent_of(mongod)
    try:
        child.kill()
        child.wait()
        assert gone_within(5, mongod, supervisor)
        assert is_alive(forked)
        server = start(startup_timeout=10)
        assert server.owned
        assert numbers(server.uri) == [1]
    finally:
        os.kill(forked, signal.SIGKILL)


def test_ctrl_c_reaches_the_owner_only_which_can_still_write(spawn: Spawn) -> None:
    child = spawn(
        "with server:\n"
        "    try: say(server.pid); time.sleep(60)\n"
        "    except KeyboardInterrupt: time.sleep(0.5)\n"
        "    MongoClient(server.uri, serverSelectionTimeoutMS=2000).tests.numbers.insert_one({'_id': 1})\n"
        "    say('written')"
    )
    (mongod,) = map(int, line(child))
    os.killpg(child.pid, signal.SIGINT)
    assert line(child) == ["written"]
    assert child.wait(10) == 0
    assert not is_alive(mongod)


def test_a_killed_supervisor_takes_the_server_with_it(start: Start) -> None:
    server = start()
    mongod = server.pid
    assert mongod is not None
    os.kill(parent_of(mongod), signal.SIGKILL)
    assert gone_within(5, mongod)
    assert server.start().pid != mongod


def test_a_mongod_that_nobody_owns_any_more_is_replaced(start: Start, data_dir: Path) -> None:
    server = start()
    write(server.uri, 1)
    port = server.port
    end_at_once(server)
    orphan = subprocess.Popen(
        [find_mongod(), "--dbpath", data_dir / "db", "--port", str(port), "--replSet", "rs0", "--nounixsocket"],
        stdout=subprocess.DEVNULL,
    )
    try:
        while (data_dir / "db" / "mongod.lock").read_text().strip() != str(orphan.pid):
            time.sleep(0.01)
        server.start()
        assert orphan.wait(5) == 0
        assert server.owned
        assert numbers(server.uri) == [1]
    finally:
        orphan.kill()
        orphan.wait()


def test_a_stranger_with_the_number_of_an_old_mongod_is_left_alone(start: Start, data_dir: Path) -> None:
    (data_dir / "db").mkdir(parents=True)
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        (data_dir / "db" / "mongod.lock").write_text(f"{stranger.pid}\n")
        assert start().owned
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


# --------------------------------------------------------------------------------------------------- refusals


def test_a_wrong_mongod_binary_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MONGOD_BINARY", str(tmp_path / "missing"))
    with pytest.raises(EmbeddedMongoDBError, match=f"MONGOD_BINARY names {tmp_path}/missing, which is not a file"):
        find_mongod()
    (tmp_path / "missing").touch(0o600)
    with pytest.raises(EmbeddedMongoDBError, match="not executable"):
        find_mongod()


def test_without_any_mongod_the_message_names_the_three_ways_and_docker(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("MONGOD_BINARY", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(EmbeddedMongoDBError) as refusal:
        find_mongod()
    for way in ("MONGOD_BINARY", "mongodb-session-manager[embedded]", "PATH", "docker run ", "MONGODB_URI"):
        assert way in str(refusal.value)


def test_the_packaged_mongod_is_preferred_to_the_path_and_made_executable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    on_path = program(tmp_path / "bin" / "mongod", "exit 0")
    packaged = program(tmp_path / "site" / "fiftyone" / "db" / "bin" / "mongod", "exit 0")
    packaged.chmod(0o644)
    monkeypatch.delenv("MONGOD_BINARY", raising=False)
    monkeypatch.setenv("PATH", str(on_path.parent))
    monkeypatch.setattr(sys, "path", [str(tmp_path / "site")])
    assert find_mongod() == packaged
    assert os.access(packaged, os.X_OK)
    assert "fiftyone" not in sys.modules
    packaged.unlink()
    assert find_mongod() == on_path


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo 'db version v4.4.29'", "MongoDB 4.4.29; version 5 or newer"),
        ("echo 'cannot load libcrypto' >&2; exit 1", "is no mongod that runs here; it printed: cannot load libcrypto"),
        ("test $1 = --version && echo 'db version v6.0.0' && exit; echo 'no such option'; exit 2", "no such option"),
    ],
)
def test_an_unsuitable_program_is_refused(start: Start, tmp_path: Path, script: str, message: str) -> None:
    with pytest.raises(EmbeddedMongoDBError, match=message):
        start(binary=program(tmp_path / "mongod", script))


def test_data_that_mongod_cannot_read_are_refused_with_the_end_of_its_log(start: Start, data_dir: Path) -> None:
    (data_dir / "db").mkdir(parents=True)
    (data_dir / "db" / "storage.bson").write_bytes(b"no storage engine")
    with pytest.raises(EmbeddedMongoDBError, match=r"mongod ended with status \d+ while it started") as refusal:
        start()
    assert "Unable to read the storage engine metadata file" in str(refusal.value)
    (data_dir / "db" / "storage.bson").unlink()
    assert start().owned  # the lock was let go


def test_a_folder_of_another_replica_set_is_refused_with_its_name(start: Start) -> None:
    end_at_once(start(replica_set="mine"))
    with pytest.raises(EmbeddedMongoDBError, match="pass replica_set='mine'"):
        start()


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EmbeddedMongoDBError, match=f"The data folder {tmp_path}/file cannot be used"):
        EmbeddedMongoDB(tmp_path / "file").start()


# --------------------------------------------------------------------------------------------- several servers


def test_a_server_of_several_that_is_killed_stays_dead(tmp_path: Path) -> None:
    with EmbeddedReplicaSet(tmp_path / "set", nodes=1) as servers:
        killed = pid_of(servers.nodes[0])
        supervisor = parent_of(killed)
        os.kill(killed, signal.SIGKILL)
        assert gone_within(5, killed, supervisor)
        assert servers.nodes[0].pid is None
        servers.restart(0)
        assert pid_of(servers.nodes[0]) != killed
        servers.kill(0)
    assert processes_on(tmp_path / "set") == []


def test_three_servers_elect_a_new_primary_when_theirs_is_killed(tmp_path: Path) -> None:
    beginning = time.monotonic()
    with EmbeddedReplicaSet(tmp_path / "set") as servers:
        print(f"three servers: {time.monotonic() - beginning:.2f} s")
        pids = [node.pid for node in servers.nodes]
        first = servers.primary()
        write(servers.uri, 1)
        beginning = time.monotonic()
        servers.kill(first)
        assert servers.nodes[first].pid is None
        second = servers.primary()
        print(f"election: {time.monotonic() - beginning:.2f} s")
        assert second != first
        write(servers.uri, 2)
        servers.restart(first)
        assert servers.nodes[first].pid not in (None, pids[first])
        assert numbers(servers.uri) == [1, 2]
        for number in range(3):  # or each would take a second to end
            servers.kill(number)
    assert not any(is_alive(pid) for pid in pids if pid is not None)


def test_what_is_public_is_what_is_named() -> None:
    assert sorted(embedded.__all__) == embedded.__all__
    assert all(hasattr(embedded, name) for name in embedded.__all__)
