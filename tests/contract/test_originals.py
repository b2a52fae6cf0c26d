"""What redacted messages said: gone by default, and where it is kept, only an audit reads it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pymongo import MongoClient

from mongodb_session_manager import SessionConflictError, SessionNotFoundError
from mongodb_session_manager.archive import Archive
from tests.contract.places import OnMongoDB, Place, make_agent
from tests.models import ScriptedModel

SECRET = "my password is xyzzy"
LARGE = "xyzzy " * 20_000


@pytest.fixture
def audited(place: Place) -> Iterator[Place]:
    """An empty place where what redacted messages said is kept."""
    with place.auditing() as same:
        yield same


def originals(place: Place, session_id: str = "a") -> list[tuple[int, str]]:
    found = place.sessions.originals(session_id)
    assert all(each.redacted_at is not None for each in found)
    return [(each.position, "".join(block.get("text", "") for block in each.message["content"])) for each in found]


def words(place: Place) -> list[str]:
    messages = [message.to_message() for message in place.sessions.messages("a")]
    return ["".join(block.get("text", "") for block in message["content"]) for message in messages]


def archived(place: Place) -> int:
    """How many documents the archive has; PostgreSQL has none."""
    return place.factory.sessions._archive.collection.count_documents({}) if isinstance(place, OnMongoDB) else 0


def test_by_default_nothing_is_kept(place: Place) -> None:
    make_agent(place.manager("a"), "noted")(SECRET)
    place.sessions.redact("a", 0)

    assert originals(place) == []
    assert SECRET not in place.raw("a")


@pytest.mark.parametrize("said", [SECRET, LARGE], ids=["small", "large"])
def test_what_the_catalogue_redacts_is_kept_for_the_audit_alone(audited: Place, said: str) -> None:
    make_agent(audited.manager("a"), "noted")(said)
    assert audited.sessions.redact("a", 0) == ["a"]

    assert originals(audited) == [(0, said)]
    assert words(audited) == ["[redacted]", "noted"]
    agent = make_agent(audited.manager("a"), "again")
    agent("hello")
    told = [
        str(agent.messages),
        str(audited.sessions.get("a")),
        str(audited.sessions.page()),
        str(audited.manager("a").get_session()),
        str(audited.sessions.agent_summary("a", "default")),
        "".join(audited.sessions.export("a")),
    ]
    assert [text for text in told if "xyzzy" in text] == []
    copy = audited.sessions.import_lines([*audited.sessions.export("a")], session_id="b")
    assert originals(audited, copy.session_id) == []


def test_what_a_guardrail_redacts_is_kept(audited: Place) -> None:
    model = ScriptedModel("I cannot say")
    model.redact = "[blocked]"
    make_agent(audited.manager("a"), model=model)(SECRET)

    assert words(audited)[0] == "[blocked]"
    assert originals(audited) == [(0, SECRET)]


def test_a_guardrail_of_a_manager_without_the_setting_keeps_nothing(place: Place) -> None:
    model = ScriptedModel("I cannot say")
    model.redact = "[blocked]"
    make_agent(place.manager("a"), model=model)(SECRET)

    assert originals(place) == []


def test_a_turn_that_is_stored_at_its_end_keeps_it_too(audited: Place) -> None:
    model = ScriptedModel("I cannot say")
    model.redact = "[blocked]"
    make_agent(audited.manager("a", durability="turn"), model=model)(SECRET)

    assert originals(audited) == [(0, SECRET)]
    assert SECRET not in audited.raw("a").partition("chat_originals")[0]


def test_an_archived_message_is_kept(audited: Place) -> None:
    agent = make_agent(audited.manager("a"), "y" * 30_000)
    agent(SECRET)
    for _ in range(6):
        agent("x" * 30_000)
    audited.sessions.redact("a", 0)
    audited.sessions.redact("a", 3)  # what is listed survives that the archive is swept

    assert originals(audited) == [(0, SECRET), (3, "y" * 30_000)]
    assert words(audited)[:4][::3] == ["[redacted]", "[redacted]"]


def test_what_was_redacted_before_is_no_original(audited: Place) -> None:
    make_agent(audited.manager("a"), "noted")(SECRET)
    audited.sessions.redact("a", 0, "[first]")
    audited.sessions.redact("a", 0, "[second]")

    assert originals(audited) == [(0, SECRET)]
    assert words(audited)[0] == "[second]"


@pytest.mark.parametrize("turns", [1, 6], ids=["in the tail", "in the archive"])
def test_each_fork_keeps_its_own_and_a_later_fork_has_none(audited: Place, turns: int) -> None:
    agent = make_agent(audited.manager("a"), "y" * 30_000)
    agent(SECRET)
    for _ in range(turns):
        agent("x" * 30_000)
    audited.sessions.fork("a", "before")
    assert sorted(audited.sessions.redact("a", 0)) == ["a", "before"]
    audited.sessions.fork("a", "after")

    assert originals(audited) == originals(audited, "before") == [(0, SECRET)]
    assert originals(audited, "after") == []
    audited.sessions.delete("a")
    assert originals(audited, "before") == [(0, SECRET)]
    audited.sessions.delete("before")
    audited.sessions.delete("after")
    assert archived(audited) == 0


def test_what_is_kept_goes_with_the_session(audited: Place) -> None:
    make_agent(audited.manager("a"), "noted")(LARGE)
    audited.sessions.redact("a", 0)
    audited.sessions.delete("a")

    with pytest.raises(SessionNotFoundError):
        audited.sessions.originals("a")
    assert archived(audited) == 0
    make_agent(audited.manager("a"), "new")("hello")
    assert originals(audited) == []


def test_a_rewind_leaves_what_is_kept(audited: Place) -> None:
    make_agent(audited.manager("a"), "noted")(SECRET)
    audited.sessions.redact("a", 0)
    audited.sessions.rewind("a", 0)
    make_agent(audited.manager("a"), "noted")("something else")

    assert originals(audited) == [(0, SECRET)]


def test_what_is_redacted_after_a_rewind_is_kept_beside_what_was_there_before(audited: Place) -> None:
    for said in (SECRET, LARGE):
        make_agent(audited.manager("a"), "noted")(said)
        audited.sessions.redact("a", 0)
        audited.sessions.rewind("a", 0)

    assert originals(audited) == [(0, SECRET), (0, LARGE)]


@pytest.fixture
def audited_mongodb(mongo_client: MongoClient[Any]) -> Iterator[OnMongoDB]:
    place = OnMongoDB(mongo_client, redacted_originals="keep")
    yield place
    place.drop()


def test_the_doctor_takes_what_is_kept_for_no_garbage(audited_mongodb: OnMongoDB) -> None:
    audited = audited_mongodb
    make_agent(audited.manager("a"), "noted")(SECRET)
    audited.sessions.redact("a", 0)
    report = audited.factory.sessions.doctor(repair=True, grace=0)

    assert report.is_healthy
    assert report.findings == ()
    assert originals(audited) == [(0, SECRET)]


def test_many_of_them_do_not_crowd_out_the_messages(audited_mongodb: OnMongoDB) -> None:
    audited = audited_mongodb
    make_agent(audited.manager("a"), "noted")(SECRET)
    entry = {"position": 0, "redacted_at": None, "external": [{"path": [], "ids": [], "bytes": 0}]}
    audited.collection.update_one({"_id": "a"}, {"$set": {"agents.default.originals": [entry] * 3000}})

    assert audited.store.load("a", "default").at.bytes < 2000


def with_a_shared_secret(audited: OnMongoDB) -> None:
    """A session whose first messages lie in the archive, and a fork that shares them."""
    agent = make_agent(audited.manager("a"), "y" * 30_000)
    agent(SECRET)
    for _ in range(6):
        agent("x" * 30_000)
    audited.sessions.fork("a", "fork")


def test_who_shares_an_archived_message_keeps_it_whoever_redacts_it(audited_mongodb: OnMongoDB) -> None:
    audited = audited_mongodb
    with_a_shared_secret(audited)
    assert audited.sessions.redact("fork", 0) == ["fork"]
    assert words(audited)[0] == "[redacted]"

    assert originals(audited) == originals(audited, "fork") == [(0, SECRET)]
    audited.sessions.delete("fork")
    assert originals(audited) == [(0, SECRET)]
    assert audited.factory.sessions.doctor(grace=0).findings == ()
    audited.sessions.delete("a")
    assert archived(audited) == 0


def test_a_fork_keeps_it_though_the_redaction_was_interrupted_before_it(
    audited_mongodb: OnMongoDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    audited = audited_mongodb
    with_a_shared_secret(audited)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(audited.sessions, "_forks_of", interrupted)
        with pytest.raises(KeyboardInterrupt):
            audited.sessions.redact("a", 0)
    assert audited.sessions.redact("a", 0) == ["a", "fork"]

    assert originals(audited) == originals(audited, "fork") == [(0, SECRET)]


def test_of_two_redactions_of_what_is_shared_the_later_one_loses_nothing_and_frees_the_turn(
    audited_mongodb: OnMongoDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    audited = audited_mongodb
    with_a_shared_secret(audited)
    lend = Archive.lend_originals

    def late(self: Archive, *arguments: Any) -> None:
        monkeypatch.setattr(Archive, "lend_originals", lend)
        lend(self, *arguments)
        audited.sessions.redact("fork", 0, "[first]")

    monkeypatch.setattr(Archive, "lend_originals", late)
    with pytest.raises(SessionConflictError):
        audited.sessions.redact("a", 0, "[second]")

    assert originals(audited) == originals(audited, "fork") == [(0, SECRET)]
    assert words(audited)[0] == "[first]"
    assert audited.sessions.redact("a", 0, "[third]") == ["a", "fork"]
    assert originals(audited) == originals(audited, "fork") == [(0, SECRET)]


async def test_the_awaitable_form_reads_them_off_the_loop(audited: Place) -> None:
    manager = await audited.open("a")
    await make_agent(manager, "noted").invoke_async(SECRET)
    catalogue: Any = audited.sessions
    await catalogue.aio.redact("a", 0)

    assert [each.position for each in await catalogue.aio.originals("a")] == [0]


# Who changed which prompt when


def test_each_prompt_that_an_agent_came_with_is_in_its_lineage(place: Place) -> None:
    for prompt in ("be kind", "be kind", "be brief"):
        make_agent(place.manager("a"), "ok", system_prompt=prompt)("hello")
    first, second = place.manager("a").get_prompt_lineage("default")

    assert (first["source"], first["changed_by"], first["model"]) == ("turn", None, "scripted-1")
    assert first["system_prompt_sha256"] != second["system_prompt_sha256"]
    assert "model" not in second
    assert first["changed_at"] < second["changed_at"]
    assert first["changed_at"].tzinfo is not None
    assert place.manager("a").get_agent_config("default")["system_prompt"] == "be brief"


def test_a_change_by_hand_says_who_made_it(place: Place) -> None:
    manager = place.manager("a")
    agent = make_agent(manager, "ok", system_prompt="be kind")
    agent("hello")
    manager.set_prompt_metadata("default", {"name": "support", "version": 7}, changed_by="ann")
    manager.update_agent_config("default", model="larger", changed_by="bob")
    agent.system_prompt = "be brief"
    agent("go on")
    lineage = manager.get_prompt_lineage("default")

    assert [(each["source"], each["changed_by"]) for each in lineage[1:]] == [
        ("config", "ann"),
        ("config", "bob"),
        ("turn", None),
    ]
    assert lineage[1]["prompt_metadata"] == {"name": "support", "version": 7}
    assert lineage[2]["model"] == "larger"
    assert "prompt_lineage" not in manager.get_agent_config("default")


def test_a_lineage_keeps_the_last_fifty(place: Place) -> None:
    manager = place.manager("a")
    make_agent(manager, "ok")("hello")
    for version in range(55):
        manager.set_prompt_metadata("default", {"version": version})
    lineage = manager.get_prompt_lineage("default")

    assert [each["prompt_metadata"]["version"] for each in lineage] == [*range(5, 55)]


def test_an_unknown_agent_is_told_whatever_is_asked_of_its_set_up(place: Place) -> None:
    manager = place.manager("a")
    make_agent(manager, "ok")("hello")
    for ask in (
        manager.get_agent_config,
        manager.get_message_count,
        manager.get_prompt_lineage,
        manager.update_agent_config,
        lambda agent_id: manager.update_agent_config(agent_id, model="x"),
        lambda agent_id: manager.set_prompt_metadata(agent_id, {}),
    ):
        with pytest.raises(SessionNotFoundError, match="nobody"):
            ask("nobody")
    assert [each["agent_id"] for each in manager.list_agents()] == ["default"]


def test_a_lineage_moves_with_an_export_and_begins_a_fork(place: Place) -> None:
    make_agent(place.manager("a"), "ok", system_prompt="be kind")("hello")
    lineage = place.manager("a").get_prompt_lineage("default")
    place.sessions.import_lines([*place.sessions.export("a")], session_id="b")
    place.sessions.fork("a", "c")

    assert place.manager("b").get_prompt_lineage("default") == lineage
    assert place.manager("c").get_prompt_lineage("default") == lineage


def test_what_another_tool_left_in_its_place_is_no_lineage(mongo_client: MongoClient[Any]) -> None:
    place = OnMongoDB(mongo_client)
    make_agent(place.manager("a"), "ok")("hello")
    for other in (5, "x", None, {"a": 1}, [1], [{"changed_at": "2020"}]):
        place.collection.update_one({"_id": "a"}, {"$set": {"agents.default.agent_data.prompt_lineage": other}})
        assert place.manager("a").get_prompt_lineage("default") == []
        assert [each.session_id for each in place.sessions.page().items] == ["a"]
    place.drop()
