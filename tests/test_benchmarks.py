"""The benchmark works, at tiny sizes: its counts are those that are promised, and it notices when they are not."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from strands.session import FileSessionManager

from benchmarks.counting import Cost, Files, together
from benchmarks.ground import DELAY, Ground, open_ground, ping
from benchmarks.proxy import delayed
from benchmarks.run import SECTIONS, main, report
from benchmarks.sections.options import is_whole
from benchmarks.table import BEGIN, END, Promise, Table, in_bytes, summary, with_block
from benchmarks.timing import Times, Work, interleaved
from benchmarks.turns import KB, check_messages, grow_ours, new_agent, our_turn, picture, text

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def ground(mongo_uri: str) -> Iterator[Ground]:
    with open_ground(mongo_uri, quick=True, rounds=2) as ground:
        yield ground


@pytest.mark.parametrize("name", SECTIONS)
def test_each_section_runs_and_finds_the_counts_that_are_promised(name: str, ground: Ground) -> None:
    found = [*SECTIONS[name](ground)]
    counts = [each for each in found if isinstance(each, Promise) and each.promised[0] not in "≤≥"]
    tables = [each for each in found if isinstance(each, Table)]

    assert [promise for promise in counts if not promise.kept] == []
    assert all(len(row) == len(table.columns) for table in tables for row in table.rows)
    assert tables


def test_the_parts_of_a_report_are_printed_as_they_are_found_with_the_promises_last(
    ground: Ground, capsys: pytest.CaptureFixture[str]
) -> None:
    tables = report(ground, ["managers"])
    printed = capsys.readouterr().out

    assert [table.title for table in tables] == [
        "What is promised, and what was found",
        "100 session managers of one factory",
    ]
    assert printed == "".join(f"{table}\n\n" for table in reversed(tables))


def test_the_page_names_every_section() -> None:
    page = (ROOT / "docs" / "benchmarks.md").read_text()

    assert [name for name in SECTIONS if f"| `{name}` |" not in page] == []
    assert with_block(page, "new").count("\nnew\n") == 1


# Sessions to measure turns of


async def test_a_session_that_is_filled_is_the_one_that_turns_would_have_left(ground: Ground) -> None:
    await grow_ours(ground.near, "filled", 130, 50)
    for number in range(65):
        await our_turn(ground.near, "talked", text(50, 2 * number))
    filled, talked = [new_agent(session_manager=await ground.near.open_session(name)) for name in ("filled", "talked")]

    assert len(filled.messages) == len(talked.messages) == 40
    assert filled.conversation_manager.removed_message_count == talked.conversation_manager.removed_message_count == 90
    assert [each["content"] for each in filled.messages[::2]] == [each["content"] for each in talked.messages[::2]]


def test_a_session_that_is_not_what_was_stored_is_noticed(ground: Ground) -> None:
    asyncio.run(grow_ours(ground.near, "checked", 50, 20))

    assert check_messages(ground.near, "checked", 50, lambda at: None if at == 49 else str(at)) == 20
    with pytest.raises(RuntimeError, match="'checked' has 50 messages, not 52"):
        check_messages(ground.near, "checked", 52, str)
    with pytest.raises(RuntimeError, match="of session 'checked' is not what was stored"):
        check_messages(ground.near, "checked", 50, lambda at: str(at + 1))


def test_prompts_have_the_size_that_is_asked_for_and_differ() -> None:
    assert [len(text(size, 7)) for size in (10, KB)] == [10, KB]
    assert text(KB, 7).startswith("7 ")
    one, other = (picture(KB, number) for number in (1, 2))
    assert len(one[0]["image"]["source"]["bytes"]) == KB
    assert one != other
    assert one == picture(KB, 1)


@pytest.mark.parametrize(
    ("broken", "whole"),
    [
        ({}, True),
        ({0: {"text": "8"}}, False),
        ({1: {"toolUse": {"toolUseId": "b", "input": {"number": 7}}}}, False),
        ({3: {"toolResult": {"toolUseId": "a"}}}, False),
    ],
)
def test_a_turn_with_something_of_another_one_in_it_is_not_whole(broken: dict[int, Any], whole: bool) -> None:
    use = {"toolUse": {"toolUseId": "a", "input": {"number": 7}}}
    turn = dict(enumerate([{"text": "7"}, use, {"toolResult": {"toolUseId": "a"}}, {"text": "done"}]))

    assert is_whole([*(turn | broken).values()]) is whole


# Counting and timing


async def test_only_what_is_sent_while_it_counts_is_counted(ground: Ground) -> None:
    await our_turn(ground.near, "counted", "one")
    with ground.commands.counting() as near:
        await our_turn(ground.near, "counted", "two")
    await our_turn(ground.near, "counted", "three")
    with ground.commands.counting() as far:
        await our_turn(ground.far, "counted", "four")

    assert near.operations == far.operations == {"find": 1, "update": 2}
    assert near.total == 3
    assert 1000 < near.sent < 10_000
    assert 500 < near.received < far.received


def test_costs_are_told_by_the_turn() -> None:
    one, other = Cost(sent=10, received=4000), Cost(sent=20)
    one.operations.update({"find": 1, "update": 2})
    other.operations.update({"update": 3})

    assert one.a_turn() == ("find, update ×2", "10 B", "4.0 KB")
    assert together([one, other]).a_turn(2) == ("find ×0.50, update ×2.50", "15 B", "2.0 KB")
    assert Cost().a_turn() == ("nothing", "0 B", "0 B")


def test_the_files_of_a_folder_are_counted_with_their_bytes(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "here", tmp_path / "there"
    files = Files(folder)
    new_agent(session_manager=FileSessionManager("s", storage_dir=str(folder)))("one")
    with files.counting() as cost:
        new_agent(session_manager=FileSessionManager("s", storage_dir=str(folder)))("two")
        new_agent(session_manager=FileSessionManager("s", storage_dir=str(elsewhere)))("two")

    stored = sorted(folder.rglob("message_*.json"), key=os.path.getmtime)
    assert len(stored) == 4
    assert cost.operations["file written"] >= 2
    assert cost.operations["folder listed"] == 1
    assert cost.sent >= sum(path.stat().st_size for path in stored[2:])
    assert cost.received >= sum(path.stat().st_size for path in stored[:2])


async def test_every_variant_runs_once_a_round_and_the_first_round_is_not_timed() -> None:
    seen: list[tuple[str, int]] = []

    def work(name: str, every: int) -> Work:
        async def do(number: int) -> None:
            seen.append((name, number))

        return Work(name, do, every)

    times = await interleaved(6, [work("a", 1), work("b", 1), work("seldom", 3)])

    assert {name: len(found.milliseconds) for name, found in times.items()} == {"a": 6, "b": 6, "seldom": 2}
    assert [number for name, number in seen if name == "seldom"] == [0, 3, 6]
    orders = {tuple(name for name, at in seen if at == number and name != "seldom") for number in range(7)}
    assert orders == {("a", "b"), ("b", "a")}


def test_times_are_told_as_a_median_with_the_middle_half() -> None:
    assert str(Times([1.0, 2.0, 3.0, 4.0, 500.0])) == "3.00 (2.00–4.00)"
    assert str(Times([1234.5])) == "1,234"
    assert Times([3.0, 6.0, 9.0]).ratio(Times([4.0])) == 1.5


# The delay


def test_the_far_server_is_further_away_by_the_delay(ground: Ground) -> None:
    assert ping(ground.far) >= DELAY


def test_the_proxy_passes_everything_on_later_and_ends_with_who_asked_for_it() -> None:
    sent, received = os.urandom(3_000_000), bytearray()
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=_send_back, args=(server,), daemon=True)
        thread.start()
        with delayed("127.0.0.1", server.getsockname()[1], 50) as port:
            with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
                start = time.monotonic()
                client.sendall(sent)
                client.shutdown(socket.SHUT_WR)
                first = client.recv(1)
                seconds = time.monotonic() - start
                while part := client.recv(65536):
                    received += part
        thread.join(10)

    assert first + received == sent
    assert seconds >= 0.05
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=10)


def _send_back(server: socket.socket) -> None:
    connection, _ = server.accept()
    with connection:
        while part := connection.recv(65536):
            connection.sendall(part)


# The tables, and the command


def test_a_table_reads_in_a_terminal_and_is_markdown() -> None:
    table = Table("Cost", ("", "commands"), [("a turn", "3"), ("a turn with a tool", "5")], "As promised.")

    assert str(table).splitlines() == [
        "**Cost**",
        "",
        "|                    | commands |",
        "| ------------------ | -------: |",
        "| a turn             |        3 |",
        "| a turn with a tool |        5 |",
        "",
        "As promised.",
    ]


def test_a_promise_that_is_not_kept_stands_out() -> None:
    rows = summary([Promise("commands", "3", "3", True), Promise("× floor", "≤ 1.3", "2.00", False)]).rows

    assert [*rows] == [("commands", "3", "3", "yes"), ("× floor", "≤ 1.3", "2.00", "**no**")]


def test_bytes_are_told_in_their_unit() -> None:
    assert [in_bytes(size) for size in (0, 999, 1000, 5_000_000)] == ["0 B", "999 B", "1.0 KB", "5.0 MB"]


def test_a_page_gets_a_new_block_between_its_marks() -> None:
    page = f"before\n{BEGIN}\nold\n{END}\nafter\n"

    assert with_block(page, "new") == f"before\n{BEGIN}\nnew\n{END}\nafter\n"
    with pytest.raises(ValueError, match="the page has no lines <!-- bench: begin -->"):
        with_block("before\nafter\n", "new")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--only", "turn,speed"], "there is no speed; there are managers, turn"),
        (["--write", "page.md", "--quick"], "--write takes the whole benchmark"),
        (["--write", "page.md", "--only", "turn"], "--write takes the whole benchmark"),
        (["--rounds", "0"], "--rounds must be at least 1, not 0"),
    ],
)
def test_the_command_says_what_is_wrong_with_its_arguments(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(arguments)
    assert says in capsys.readouterr().err


def test_the_command_measures_what_is_named(mongo_uri: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--only", "managers", "--quick", "--uri", mongo_uri])
    printed = capsys.readouterr().out

    assert "100 session managers of one factory" in printed
    assert "A resumed turn" not in printed
