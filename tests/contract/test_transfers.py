"""Sessions as lines: exported, and imported again."""

from __future__ import annotations

import json
import os
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mongodb_session_manager import SessionConflictError, SessionError
from mongodb_session_manager.session_lines import LineWriter, read_lines
from tests.commands import LISTENER
from tests.contract.places import Place, make_agent
from tests.contract.test_catalogue import SHARED
from tests.contract.test_store import TURN, commit_of, say, stored_form
from tests.strategies import identical, json_like, messages

MB = 1024 * 1024


def talk(place: Place, *prompts: Any, session_id: str = "s", **options: Any) -> None:
    agent = make_agent(place.manager(session_id), "an answer", **options)
    for prompt in prompts:
        agent(prompt)


def told(place: Place, session_id: str) -> dict[str, Any]:
    """Everything that the catalogue and the store tell of a session, but for its id."""
    summary = place.sessions.get(session_id)
    assert summary is not None
    agents = {name: place.store.load(session_id, name) for name in summary.agents}
    return {
        "title": summary.title,
        "owner": summary.owner,
        "application_name": summary.application_name,
        "created_at": summary.created_at,
        "updated_at": summary.updated_at,
        "metadata": summary.metadata,
        "agents": [(each.agent_id, each.totals, each.config, each.state) for each in summary.agents.values()],
        "data": [each.data for each in agents.values()],
        "dates": [each.dates for each in agents.values()],
        "messages": [[*map(vars, place.sessions.messages(session_id, name))] for name in agents],
        "metrics": [place.store.messages(session_id, name).messages[-1].get("event_loop_metrics") for name in agents],
        "feedbacks": place.sessions.feedbacks(session_id),
        "graph": place.store.load(session_id, "g.1", "multi_agents").data,
    }


def full(place: Place) -> None:
    """A session with something of everything."""
    place.sessions.create("s", title="Sh\0es", owner="ann", application_name="shop", metadata={"a": {"$b": 2**70}})
    talk(place, "one", "two", agent_id="default", name="Ada", system_prompt="be kind")
    talk(place, [{"text": "a picture"}, {"image": {"format": "png", "source": {"bytes": b"\0\xff"}}}], agent_id="a.b$")
    place.sessions.add_feedback("s", {"rating": "up", "$odd": {"a.b": 2**70}})
    place.sessions.add_feedback("s", {"rating": "down"})
    place.sessions.redact("s", 2)
    graph = place.store.load("s", "g.1", "multi_agents")
    state = {"state": {"nodes": ["a"], "v": b"x"}}
    place.store.commit("s", commit_of(graph, part="multi_agents", agent_id="g.1", data=state), TURN)


def test_what_is_imported_is_what_was_exported(place: Place) -> None:
    full(place)
    before = told(place, "s")
    lines = [*place.sessions.export("s")]
    place.sessions.delete("s")
    summary = place.sessions.import_lines(lines)

    assert place.sessions.get("s") == summary
    after = told(place, "s")
    for name, value in before.items():
        assert identical(after[name], value) or after[name] == value, name
    assert [*place.sessions.export("s")] == lines
    talk(place, "three", agent_id="default")
    assert len(place.sessions.messages("s")) == 6


def test_an_import_may_have_another_id_and_owner(place: Place) -> None:
    full(place)
    summary = place.sessions.import_lines(place.sessions.export("s"), session_id="again", owner="bob")

    assert (summary.session_id, summary.owner, summary.title) == ("again", "bob", "Sh\0es")
    first, second = told(place, "s"), told(place, "again")
    assert {name for name in first if first[name] != second[name]} == {"owner"}


def test_lines_may_be_bytes_with_line_ends(place: Place) -> None:
    full(place)
    lines = [f"{line}\r\n".encode() for line in place.sessions.export("s")]
    assert place.sessions.import_lines(iter(lines), session_id="again").message_count == 6


def test_a_line_is_json_that_others_can_read(place: Place) -> None:
    full(place)
    lines = [json.loads(line) for line in place.sessions.export("s")]

    assert lines[0]["session_id"] == "s"
    kinds = [line["kind"] for line in lines]
    assert kinds == [
        "session",
        "agent",
        *["message"] * 4,
        "agent",
        *["message"] * 2,
        "graph",
        "feedback",
        "feedback",
        "end",
    ]
    assert lines[2]["stored"]["message"]["content"] == [{"text": "one"}]


def test_a_line_cannot_bring_in_what_another_session_keeps(place: Place) -> None:
    talk(place, [{"text": "secret"}, {"image": {"format": "png", "source": {"bytes": os.urandom(100_000)}}}])
    exported = [*read_lines(place.sessions.export("s"))]
    assert not any("external" in line.fields.get("stored", ()) for line in exported)
    listed = [{"path": ["content", 0, "text"], "ids": the_archives_ids(place), "bytes": 100_000}]
    writer = LineWriter()
    lines = [
        writer.line(line.kind, small(line.fields, listed) if line.kind == "message" else line.fields)
        for line in exported
    ]
    place.sessions.import_lines([*lines, writer.line("end", {})], session_id="thief")

    assert [each.message["content"] for each in place.sessions.messages("thief")] == [[{"text": "mine"}]] * 2


def the_archives_ids(place: Place) -> list[Any]:
    """What a store on MongoDB keeps elsewhere; others keep nothing so."""
    collection = getattr(place.sessions, "collection", None)
    return [] if collection is None else collection.database[f"{collection.name}_archive"].distinct("_id")


def small(fields: dict[str, Any], listed: list[dict[str, Any]]) -> dict[str, Any]:
    message = {**fields["stored"]["message"], "content": [{"text": "mine"}]}
    return {"stored": {**fields["stored"], "message": message, "external": listed}}


def test_an_existing_session_is_not_overwritten(place: Place) -> None:
    full(place)
    lines = [*place.sessions.export("s")]
    with pytest.raises(SessionError, match="'s' exists"):
        place.sessions.import_lines(lines)
    assert len(place.sessions.messages("s")) == 4


def test_an_export_leaves_out_the_fork_and_keeps_the_expiry(place: Place) -> None:
    talk(place, "one")
    place.sessions.expire("s", 1000)
    place.sessions.fork("s", "f")
    place.sessions.hold("f")
    summary = place.sessions.import_lines(place.sessions.export("f"), session_id="again")

    assert (summary.forked_from, summary.is_held, summary.lifetime) == (None, False, 1000)
    fixed = place.sessions.expire("s", 1000, rolling=False)
    again = place.sessions.import_lines(place.sessions.export("s"), session_id="fixed")
    assert again.expires_at is not None
    assert fixed is not None
    assert abs((again.expires_at - fixed).total_seconds()) < 0.001


@pytest.mark.parametrize("number", range(13))
def test_a_line_that_is_missing_is_named_and_nothing_is_left(place: Place, number: int) -> None:
    full(place)
    lines = [*place.sessions.export("s")]
    assert len(lines) == 13
    del lines[number]
    with pytest.raises(ValueError, match=f"line {number + 1}: "):
        place.sessions.import_lines(lines, session_id="again")
    assert_nothing_is_left(place)


@pytest.mark.parametrize("number", [0, 1, 2, 5, 9, 10, 12])
@pytest.mark.parametrize("damage", ["cut", "changed", "other", "binary", "empty", "twice"])
def test_a_damaged_line_is_named_and_nothing_is_left(place: Place, number: int, damage: str) -> None:
    full(place)
    lines: list[Any] = [*place.sessions.export("s")]
    line = lines[number]
    damaged = {
        "cut": line[: len(line) // 2],
        "changed": line.replace("kind", "kinD", 1),
        "other": '{"a": 1}',
        "binary": b"\xff\xfe",
        "empty": "",
        "twice": line,
    }
    lines[number : number + (damage != "twice")] = [damaged[damage]]
    at = number + 1 + (damage == "twice")
    if (damage, number) == ("twice", 12):
        return  # what comes after the end is not read
    with pytest.raises(ValueError, match=f"line {at}: ") as raised:
        place.sessions.import_lines(lines, session_id="again")
    assert "be kind" not in str(raised.value)
    assert_nothing_is_left(place)


def assert_nothing_is_left(place: Place) -> None:
    assert place.sessions.get("again") is None
    assert "be kind" not in place.raw("again")
    place.sessions.create("again")
    assert place.sessions.delete("again")


def test_what_is_no_export_is_refused(place: Place) -> None:
    for lines in ([], [""], ["{}"], ['{"kind": "session"}'], ["[" * 100_000]):
        with pytest.raises(ValueError, match="line 1: "):
            place.sessions.import_lines(lines)
    assert place.sessions.page().items == []


def test_an_import_is_not_seen_before_it_is_complete(place: Place) -> None:
    full(place)
    seen = []

    def slowly() -> Iterator[str]:
        for line in place.sessions.export("s"):
            seen.append((place.sessions.get("again"), len(place.sessions.page().items)))
            yield line

    place.sessions.import_lines(slowly(), session_id="again")
    assert {*seen} == {(None, 1)}
    assert place.sessions.get("again") is not None


def test_who_makes_the_session_while_it_is_imported_keeps_it(place: Place) -> None:
    full(place)

    def slowly() -> Iterator[str]:
        for number, line in enumerate(place.sessions.export("s")):
            if number == 8:
                place.sessions.create("again", title="mine")
            yield line

    with pytest.raises(SessionError):
        place.sessions.import_lines(slowly(), session_id="again")
    summary = place.sessions.get("again")
    assert summary is not None
    assert (summary.title, summary.message_count) == ("mine", 0)


def test_a_history_that_is_cut_while_it_is_exported_is_no_export(place: Place) -> None:
    talk(place, *map(str, range(40)))
    lines = iter(place.sessions.export("s"))
    [next(lines) for _ in range(10)]
    place.sessions.rewind("s", 20)
    with pytest.raises(SessionConflictError, match="export it again"):
        list(lines)


@SHARED
@given(said=st.lists(messages(), min_size=1, max_size=4), value=json_like())
def test_any_message_and_value_comes_back_equal(place: Place, said: list[Any], value: Any) -> None:
    for name in ("s", "again"):
        place.sessions.delete(name)
    place.sessions.create("s", metadata={"v": value})
    place.sessions.add_feedback("s", {"v": value})
    loaded = place.store.load("s", "default")
    place.store.commit("s", commit_of(loaded, *map(stored_form, said), data={"agent_id": "default"}), TURN)
    place.sessions.import_lines(place.sessions.export("s"), session_id="again")

    first, second = told(place, "s"), told(place, "again")
    assert identical(first["messages"], second["messages"])
    assert identical(first["metadata"], second["metadata"])
    assert identical(first["feedbacks"], second["feedbacks"])


def with_pictures(place: Place, count: int) -> str:
    """A session of so many messages of 3 MB."""
    session_id = f"s{count}"
    for number in range(count):
        block = {"image": {"format": "png", "source": {"bytes": os.urandom(3 * MB)}}}
        message = stored_form({"role": "user", "content": [{"text": str(number)}, block]})
        loaded = place.store.messages(session_id, "default", number)
        place.store.commit(session_id, commit_of(loaded, message, data={"agent_id": "default"}), TURN)
    return session_id


def memory_of(place: Place, session_id: str) -> int:
    """Bytes that are held at most while a session is exported and imported."""
    tracemalloc.start()
    try:
        with LISTENER.unwatched():  # it would keep the commands
            place.sessions.import_lines(place.sessions.export(session_id), session_id=f"{session_id} again")
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_large_messages_are_streamed(place: Place) -> None:
    few, many = with_pictures(place, 2), with_pictures(place, 10)

    assert memory_of(place, many) < memory_of(place, few) + 8 * MB
    for position in range(10):
        [one], [other] = (place.sessions.messages(name, limit=1, offset=position) for name in (many, f"{many} again"))
        assert one.message == other.message


def test_a_long_history_comes_back(place: Place) -> None:
    for _ in range(8):
        loaded = place.store.load("s", "default")
        texts = [
            stored_form({"role": "user", "content": [{"text": f"{loaded.count + n} {'x' * 800}"}]}) for n in range(60)
        ]
        place.store.commit("s", commit_of(loaded, *texts, data={"agent_id": "default"}), TURN)
    place.sessions.import_lines(place.sessions.export("s"), session_id="again")

    assert place.sessions.messages("again") == place.sessions.messages("s")
    say(place, "more", session_id="again")
    assert len(place.sessions.messages("again")) == 481
