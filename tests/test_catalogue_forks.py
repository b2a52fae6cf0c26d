"""Forks and rewinds on MongoDB: what is shared, what it costs, and what is left behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import permutations
from typing import Any

import pytest
from pymongo.collection import Collection
from strands.agent.conversation_manager import NullConversationManager

from mongodb_session_manager import (
    MongoDBSessionManagerFactory,
    SessionBusyError,
    SessionNotFoundError,
)
from mongodb_session_manager.archive import Archive
from mongodb_session_manager.sessions import forks
from mongodb_session_manager.sessions.loan import Loan
from tests.commands import Commands
from tests.test_archive import KB, agent_in, grow, numbers, picture, window
from tests.test_lifecycle import make_agent

Stored = Callable[[str], Any]


@pytest.fixture
def archive(collection: Collection[Any], commands: Commands) -> Iterator[Any]:
    """The archive's collection, read by the test itself."""
    archive = collection.database[f"{collection.name}_archive"]
    yield archive
    with commands.unwatched():
        archive.drop()


def said(factory: MongoDBSessionManagerFactory, session_id: str) -> list[str]:
    return numbers(factory.sessions.messages(session_id)[::2])


def texts(count: int) -> list[str]:
    return [str(number) for number in range(count)]


def healthy(factory: MongoDBSessionManagerFactory) -> bool:
    report = factory.sessions.doctor(grace=0)
    assert not report.findings, str(report)
    return True


def test_a_fork_shares_the_buckets_and_copies_the_tail(
    factory: MongoDBSessionManagerFactory, stored: Stored, archive: Any
) -> None:
    grow(factory, 150)
    before = archive.count_documents({})
    factory.sessions.fork("s", "f")

    parent, fork = agent_in(stored("s")), agent_in(stored("f"))
    assert fork["archive"] == parent["archive"]
    assert fork["messages"] == parent["messages"]
    assert archive.count_documents({}) == before == archive.count_documents({"session_ids": ["s", "f"]})
    assert said(factory, "f") == texts(150)
    assert healthy(factory)


@pytest.mark.parametrize("at", [0, 2, 100, 198, 240, 298])
def test_a_fork_in_the_middle_lists_what_it_needs(
    factory: MongoDBSessionManagerFactory, stored: Stored, archive: Any, at: int
) -> None:
    grow(factory, 150)
    factory.sessions.fork("s", "f", at=at)

    found = factory.sessions.messages("f")
    assert [each.message_id for each in found] == [*range(at)]
    fork = agent_in(stored("f"))
    lent = {each["_id"] for each in archive.find({"session_ids": "f"})}
    assert lent == {each["id"] for each in fork.get("archive", [])}
    assert healthy(factory)
    grow(factory, 60, session_id="f")
    assert said(factory, "f") == [*texts(at // 2), *texts(60)]
    assert said(factory, "s") == texts(150)
    assert healthy(factory)


def test_later_turns_spill_into_buckets_of_their_own(factory: MongoDBSessionManagerFactory, archive: Any) -> None:
    grow(factory, 80)
    factory.sessions.fork("s", "f")
    grow(factory, 80)
    grow(factory, 80, session_id="f")

    assert archive.count_documents({"session_ids": ["s"]}) > 0
    assert archive.count_documents({"session_ids": ["f"]}) > 0
    assert said(factory, "s") == said(factory, "f") == [*texts(80), *texts(80)]
    factory.sessions.delete("s")
    assert said(factory, "f") == [*texts(80), *texts(80)]
    assert healthy(factory)


@pytest.mark.parametrize("at", [None, 100, 280])
def test_a_fork_costs_four_commands_however_long_the_history_is(
    factory: MongoDBSessionManagerFactory, commands: Commands, archive: Any, at: int | None
) -> None:
    grow(factory, 150)
    commands.clear()
    factory.sessions.fork("s", "f", at=at)
    assert commands.names == ["aggregate", "update", "insert", "aggregate"]


@pytest.mark.parametrize("at", [None, 20, 100])
def test_large_values_make_a_fork_no_dearer(
    factory: MongoDBSessionManagerFactory, commands: Commands, archive: Any, at: int | None
) -> None:
    with_pictures(factory, 60)
    commands.clear()
    factory.sessions.fork("s", "f", at=at)
    assert commands.names == ["aggregate", "update", "insert", "aggregate"]
    assert len(pictures(factory, "f")) == (12 if at is None else at // 10)
    assert healthy(factory)


def test_large_values_without_an_archived_message_cost_one_more(
    factory: MongoDBSessionManagerFactory, commands: Commands, archive: Any
) -> None:
    with_pictures(factory, 2)
    commands.clear()
    factory.sessions.fork("s", "f")
    assert commands.names == ["aggregate", "update", "insert", "aggregate"]


@pytest.mark.parametrize("turns", [3, 60], ids=["in the tail", "with an archive"])
def test_a_message_that_is_redacted_before_the_fork_is_there_is_redacted_in_it(
    factory: MongoDBSessionManagerFactory, archive: Any, monkeypatch: pytest.MonkeyPatch, turns: int
) -> None:
    with_pictures(factory, turns)
    made = forks._fork
    last = 2 * turns - 2

    def late(*arguments: Any) -> Any:
        document = made(*arguments)
        monkeypatch.setattr(forks, "_fork", made)
        assert factory.sessions.redact("s", last) == ["s"]
        return document

    monkeypatch.setattr(forks, "_fork", late)
    factory.sessions.fork("s", "f")
    [message] = factory.sessions.messages("f", offset=last, limit=1)
    assert message.to_message()["content"] == [{"text": "[redacted]"}]
    assert len(factory.sessions.messages("f")) == 2 * turns
    assert healthy(factory)


def test_what_is_said_while_a_session_is_forked_keeps_no_fork_from_being_made(
    factory: MongoDBSessionManagerFactory, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    grow(factory, 3)
    made = forks._fork

    def late(*arguments: Any) -> Any:
        document = made(*arguments)
        with commands.unwatched():
            grow(factory, 1)
        return document

    monkeypatch.setattr(forks, "_fork", late)
    commands.clear()
    factory.sessions.fork("s", "f")
    of_the_fork = [name for name in commands.names if name in ("aggregate", "insert", "delete")]
    assert of_the_fork == ["aggregate", "insert", "aggregate"]
    assert said(factory, "f") == texts(3)


def test_a_bucket_that_is_rewritten_before_it_is_lent_is_read_again(
    factory: MongoDBSessionManagerFactory, archive: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_pictures(factory, 60)
    take = Loan.take
    redacted: list[str] = []

    def late(self: Loan) -> bool:
        if not redacted:
            redacted.extend(factory.sessions.redact("s", 0))
        taken = take(self)
        outcomes.append(taken)
        return taken

    outcomes: list[bool] = []
    monkeypatch.setattr(Loan, "take", late)
    factory.sessions.fork("s", "f")
    assert outcomes == [False, True]
    assert pictures(factory, "f") == pictures(factory, "s") == [*range(5, 60, 5)]
    factory.sessions.delete("s")
    assert pictures(factory, "f") == [*range(5, 60, 5)]
    assert healthy(factory)


def test_a_fork_without_an_archive_costs_three(factory: MongoDBSessionManagerFactory, commands: Commands) -> None:
    grow(factory, 3)
    commands.clear()
    factory.sessions.fork("s", "f")
    assert commands.names == ["aggregate", "insert", "aggregate"]


def test_buckets_are_lent_a_thousand_at_a_time(
    factory: MongoDBSessionManagerFactory, commands: Commands, archive: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    grow(factory, 150)
    buckets = archive.count_documents({})
    monkeypatch.setattr("mongodb_session_manager.sessions.loan._MOST_BUCKETS", 2)
    commands.clear()
    factory.sessions.fork("s", "f")
    assert buckets > 3
    assert commands.names == ["aggregate", *["update"] * ((buckets + 1) // 2), "insert", "aggregate"]


def with_pictures(factory: MongoDBSessionManagerFactory, turns: int, session_id: str = "s") -> None:
    """A session with a picture of its own in every fifth turn."""
    agent = make_agent(factory.create_session_manager(session_id), "a " + "x" * 2000, conversation_manager=window())
    for number in range(turns):
        extra = [picture(80 * KB, number % 250)] if number % 5 == 0 else []
        agent([{"text": f"{number} {'x' * 2000}"}, *extra])


def pictures(factory: MongoDBSessionManagerFactory, session_id: str) -> list[int]:
    found = factory.sessions.messages(session_id)
    blocks = [block for each in found for block in each.message["content"] if "image" in block]
    return [block["image"]["source"]["bytes"][0] for block in blocks]


@pytest.mark.parametrize("order", [*permutations(["s", "f", "g"]), ("ann", "f", "g"), ("f", "ann", "g")], ids="-".join)
def test_deleting_in_any_order_leaves_the_others_whole_and_nothing_behind(
    factory: MongoDBSessionManagerFactory, archive: Any, order: tuple[str, ...]
) -> None:
    sessions = factory.sessions
    sessions.create("s", owner="ann")
    with_pictures(factory, 60)
    sessions.fork("s", "f", owner="bob")
    sessions.fork("f", "g", at=40, owner="carl")
    with_pictures(factory, 60, "g")
    shown = {name: (said(factory, name), pictures(factory, name)) for name in ("s", "f", "g")}
    assert archive.count_documents({"session_ids": {"$all": ["s", "f", "g"]}}) > 0
    for name in order:
        assert sessions.delete_owner("ann") if name == "ann" else sessions.delete(name)
        shown.pop("s" if name == "ann" else name)
        assert {each: (said(factory, each), pictures(factory, each)) for each in shown} == shown
        assert archive.count_documents({"session_ids": "s" if name == "ann" else name}) == 0
        assert healthy(factory)
    assert archive.count_documents({}) == 0


def test_the_values_of_a_fork_come_with_it(factory: MongoDBSessionManagerFactory, archive: Any) -> None:
    with_pictures(factory, 60)
    factory.sessions.fork("s", "f", at=40)

    assert pictures(factory, "f") == [0, 5, 10, 15]
    assert archive.count_documents({"digest": {"$exists": True}, "session_ids": "f"}) >= 4
    factory.sessions.delete("s")
    assert pictures(factory, "f") == [0, 5, 10, 15]
    assert healthy(factory)


# Redaction


def test_a_redacted_archived_message_reaches_every_fork_by_the_bucket_that_they_share(
    factory: MongoDBSessionManagerFactory, archive: Any
) -> None:
    with_pictures(factory, 60)
    factory.sessions.fork("s", "f")
    assert pictures(factory, "f")[0] == 0
    assert factory.sessions.redact("s", 0) == ["s", "f"]

    assert pictures(factory, "s") == pictures(factory, "f") == [*range(5, 60, 5)]
    assert archive.count_documents({"value": bytes(80 * KB)}) == 0
    assert healthy(factory)


def test_a_large_value_that_another_session_still_lists_outlives_a_redaction(
    factory: MongoDBSessionManagerFactory, archive: Any
) -> None:
    grow(factory, 1)
    make_agent(factory.create_session_manager("s"), "a")([{"text": "1"}, picture(80 * KB, 7)])
    factory.sessions.fork("s", "f")
    assert factory.sessions.redact("f", 2) == ["f"]

    assert (pictures(factory, "s"), pictures(factory, "f")) == ([7], [])
    assert archive.count_documents({"session_ids": "f"}) == 0
    assert factory.sessions.redact("s", 2) == ["s", "f"]
    assert pictures(factory, "s") == []
    assert archive.count_documents({}) == 0


def test_what_takes_the_place_of_an_archived_message_belongs_to_all_that_share_it(
    factory: MongoDBSessionManagerFactory, archive: Any
) -> None:
    grow(factory, 150)
    factory.sessions.fork("s", "f")
    factory.sessions.redact("s", 0, "y" * 100 * KB)
    factory.sessions.delete("s")

    assert factory.sessions.messages("f", limit=1)[0].message["content"] == [{"text": "y" * 100 * KB}]
    assert healthy(factory)


# Rewinds


@pytest.mark.parametrize("position", [0, 2, 100, 240, 298])
def test_a_rewind_keeps_what_is_before_and_removes_what_nobody_lists(
    factory: MongoDBSessionManagerFactory, stored: Stored, archive: Any, position: int
) -> None:
    grow(factory, 150)
    assert factory.sessions.rewind("s", position).message_count == position

    assert said(factory, "s") == texts(position // 2)
    agent = agent_in(stored("s"))
    assert {each["_id"] for each in archive.find()} == {each["id"] for each in agent.get("archive", [])}
    assert healthy(factory)
    grow(factory, 80)
    assert said(factory, "s") == [*texts(position // 2), *texts(80)]
    assert healthy(factory)


def test_a_rewind_leaves_forks_whole_and_a_rewind_of_a_fork_the_session(
    factory: MongoDBSessionManagerFactory, archive: Any
) -> None:
    with_pictures(factory, 60)
    for name in ("f", "g"):
        factory.sessions.fork("s", name)
    whole = pictures(factory, "s")
    factory.sessions.rewind("s", 20)
    assert pictures(factory, "f") == whole
    factory.sessions.rewind("f", 10)
    assert (said(factory, "g"), pictures(factory, "g")) == (texts(60), whole)
    assert (said(factory, "s"), said(factory, "f")) == (texts(10), texts(5))
    assert healthy(factory)
    factory.sessions.delete("g")
    assert (said(factory, "s"), said(factory, "f")) == (texts(10), texts(5))
    assert healthy(factory)


def test_a_rewind_costs_a_few_commands(factory: MongoDBSessionManagerFactory, commands: Commands, archive: Any) -> None:
    grow(factory, 3)
    commands.clear()
    factory.sessions.rewind("s", 2)
    assert commands.names == ["find", "find", "update", "find"]
    grow(factory, 150)
    commands.clear()
    factory.sessions.rewind("s", 100)
    assert len(commands.names) <= 9


def test_a_large_message_at_the_cut_is_no_obstacle(factory: MongoDBSessionManagerFactory, archive: Any) -> None:
    agent = make_agent(factory.create_session_manager("s"), "a", conversation_manager=NullConversationManager())
    blocks: Any = [{"text": str(number)} for number in range(20_000)]
    agent(blocks)
    agent("1")
    factory.sessions.fork("s", "f", at=1)
    factory.sessions.rewind("s", 1)

    assert len(factory.sessions.messages("f")[0].message["content"]) == 20_000
    factory.sessions.delete("f")
    assert len(factory.sessions.messages("s")[0].message["content"]) == 20_000


# Interrupted, and at once with others


class Killed(BaseException):
    """The process ends here."""


def test_an_interrupted_fork_leaves_only_garbage(
    factory: MongoDBSessionManagerFactory, archive: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_pictures(factory, 60)

    def die(*_: object) -> Any:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(forks, "_fork", die)
        with pytest.raises(Killed):
            factory.sessions.fork("s", "f")
    assert factory.sessions.get("f") is None
    assert archive.count_documents({"session_ids": "f"}) > 0
    assert said(factory, "s") == texts(60)
    factory.sessions.delete("s")
    left = archive.count_documents({})
    assert left > 0
    assert factory.sessions.doctor(repair=True).findings == ()
    report = factory.sessions.doctor(repair=True, grace=0)
    assert [finding.kind for finding in report.findings] == ["garbage"]
    assert archive.count_documents({}) == 0


def test_a_fork_of_a_session_that_is_deleted_meanwhile_is_refused(
    factory: MongoDBSessionManagerFactory, archive: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    grow(factory, 150)
    take = Loan.take

    def late(self: Loan) -> bool:
        factory.sessions.delete("s")
        return take(self)

    monkeypatch.setattr(Loan, "take", late)
    with pytest.raises(SessionNotFoundError, match="'s'"):
        factory.sessions.fork("s", "f")
    assert archive.count_documents({}) == 0
    assert factory.sessions.get("f") is None


def test_a_session_that_is_deleted_right_after_it_lent_leaves_the_fork_whole(
    factory: MongoDBSessionManagerFactory, archive: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_pictures(factory, 60)
    take = Loan.take

    def then_deleted(self: Loan) -> bool:
        taken = take(self)
        factory.sessions.delete("s")
        return taken

    monkeypatch.setattr(Loan, "take", then_deleted)
    factory.sessions.fork("s", "f")
    assert (said(factory, "f"), len(pictures(factory, "f"))) == (texts(60), 12)
    assert healthy(factory)


def test_a_message_that_is_redacted_while_it_is_lent_is_redacted_in_the_fork(
    factory: MongoDBSessionManagerFactory, archive: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_pictures(factory, 60)
    share = Archive.share
    redacted: list[str] = []

    def late(self: Archive, ids: Any, session_ids: Any) -> bool:
        shared = share(self, ids, session_ids)
        if not redacted:
            redacted.append("now")
            redacted.extend(factory.sessions.redact("s", 0))
        return shared

    monkeypatch.setattr(Archive, "share", late)
    factory.sessions.fork("s", "f")
    assert pictures(factory, "f") == pictures(factory, "s") == [*range(5, 60, 5)]
    assert healthy(factory)


def test_a_second_fork_at_the_same_moment_takes_nothing_from_the_first(
    factory: MongoDBSessionManagerFactory, archive: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_pictures(factory, 60)
    take = Loan.take

    def after_another(self: Loan) -> bool:
        taken = take(self)
        monkeypatch.setattr(Loan, "take", take)
        factory.sessions.fork("s", "f")
        return taken

    monkeypatch.setattr(Loan, "take", after_another)
    with pytest.raises(Exception, match="'f' exists"):
        factory.sessions.fork("s", "f")
    factory.sessions.delete("s")
    assert (said(factory, "f"), len(pictures(factory, "f"))) == (texts(60), 12)
    assert healthy(factory)


def test_a_fork_takes_the_place_of_an_expired_session(factory: MongoDBSessionManagerFactory, archive: Any) -> None:
    grow(factory, 150)
    grow(factory, 150, session_id="f")
    factory.sessions.expire("f", 0.001, rolling=False)
    factory.sessions.fork("s", "f", at=100)

    assert said(factory, "f") == texts(50)
    assert healthy(factory)


def test_a_fork_of_a_running_session_has_what_is_stored(factory: MongoDBSessionManagerFactory, stored: Stored) -> None:
    manager = factory.create_session_manager("s")
    agent = make_agent(manager, "a")
    agent("0")
    with manager.claim(agent):
        agent("1")
        factory.sessions.fork("s", "f")
        with pytest.raises(SessionBusyError):
            factory.sessions.rewind("s", 0)
    assert "turn" not in agent_in(stored("f"))
    assert said(factory, "f") == texts(2)
