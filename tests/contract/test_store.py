"""What a turn needs of a store: the compare-and-set, the lease, and faithful values."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from strands.types.session import SessionMessage

from mongodb_session_manager import (
    Commit,
    LoadedAgent,
    SessionBusyError,
    SessionConflictError,
    SessionError,
    SessionNotFoundError,
)
from mongodb_session_manager.codec import decode, encode
from mongodb_session_manager.documents import message_changes, message_document, session_message
from mongodb_session_manager.store import Claim
from tests.contract.places import Place
from tests.strategies import AWKWARD_KEYS, AWKWARD_TEXT, identical, json_like, messages, texts

TURN = 30.0


def said(text: str, role: str = "user") -> dict[str, Any]:
    return stored_form({"role": role, "content": [{"text": text}]})


def stored_form(message: Any) -> dict[str, Any]:
    return message_document(SessionMessage.from_message(message, 0))


def commit_of(loaded: LoadedAgent, *messages: dict[str, Any], **changes: Any) -> Commit:
    """A commit by whoever loaded that."""
    fields: dict[str, Any] = {
        "part": "agents",
        "agent_id": "default",
        "at": loaded.at,
        "expected": loaded.revision,
        "revision": secrets.token_urlsafe(12),
        "owner": "me",
        "contested": loaded.turn,
        "holds": False,
        "create": not loaded.found,
        "created_at": loaded.created_at,
        "remains": loaded.remains,
        "session": {},
        "new": loaded.data is None,
        "data": {"agent_id": "default"} if loaded.data is None else {},
        "count": loaded.count + len(messages),
        "messages": [{**message, "message_id": loaded.count + index} for index, message in enumerate(messages)],
        "changes": {},
        "totals": {},
    }
    return Commit(**{**fields, **changes})


def claim_of(loaded: LoadedAgent, owner: str = "me", **changes: Any) -> Claim:
    fields: dict[str, Any] = {
        "part": "agents",
        "agent_id": "default",
        "at": loaded.at,
        "revision": secrets.token_urlsafe(12),
        "owner": owner,
        "created_at": loaded.created_at,
        "session": None if loaded.found else {},
    }
    return Claim(**{**fields, **changes})


def say(place: Place, *words: str, session_id: str = "s", **changes: Any) -> LoadedAgent:
    """Load, append, and load again."""
    loaded = place.store.load(session_id, "default")
    place.store.commit(session_id, commit_of(loaded, *map(said, words), **changes), TURN)
    return place.store.load(session_id, "default")


def words(found: Sequence[dict[str, Any]]) -> list[str]:
    return [stored["message"]["content"][0]["text"] for stored in found]


# Load, commit, messages


def test_an_unknown_session_loads_as_nothing(place: Place) -> None:
    loaded = place.store.load("s", "default")

    assert (loaded.found, loaded.data, loaded.revision, loaded.turn) == (False, None, None, False)
    assert (loaded.count, loaded.first, loaded.messages) == (0, 0, [])
    assert loaded.created_at is None


def test_the_first_commit_creates_the_session(place: Place) -> None:
    began = datetime.now(UTC) - timedelta(seconds=5)
    commit = commit_of(
        place.store.load("s", "default"),
        said("hello"),
        session={"title": "Shoes", "owner": "ann", "application_name": "shop"},
        data={"agent_id": "default", "state": {"a": 1}},
    )
    committed = place.store.commit("s", commit, TURN)

    loaded = place.store.load("s", "default")
    assert (loaded.found, loaded.revision, loaded.turn, loaded.count) == (True, commit.revision, False, 1)
    assert loaded.data == {"agent_id": "default", "state": {"a": 1}}
    assert words(loaded.messages) == ["hello"]
    assert {*loaded.dates} == {"created_at", "updated_at"}
    summary = place.sessions.get("s")
    assert summary is not None
    assert (summary.title, summary.owner, summary.application_name) == ("Shoes", "ann", "shop")
    assert committed.created_at == loaded.created_at == summary.created_at > began


@pytest.mark.parametrize("owner", [None, "", "ann", "\0"])
def test_a_load_tells_whose_the_session_is(place: Place, owner: str | None) -> None:
    place.sessions.create("s", owner=owner)

    assert place.store.load("s", "default").session_owner == owner


def test_a_commit_into_a_session_that_was_created_meanwhile_adds_the_agent(place: Place) -> None:
    loaded = place.store.load("s", "default")
    made = place.sessions.create("s", title="first", metadata={"a": 1})
    place.store.commit("s", commit_of(loaded, said("hello"), session={"title": "second"}), TURN)

    summary = place.sessions.get("s")
    assert summary is not None
    assert (summary.title, summary.metadata, summary.message_count) == ("first", {"a": 1}, 1)
    assert summary.created_at == made.created_at


def test_messages_are_numbered_by_their_position(place: Place) -> None:
    say(place, "a", "b")
    loaded = say(place, "c")

    assert (loaded.first, loaded.count, words(loaded.messages)) == (0, 3, ["a", "b", "c"])
    assert [stored["message_id"] for stored in loaded.messages] == [0, 1, 2]


@pytest.mark.parametrize(("removed", "first"), [(0, 0), (1, 1), (3, 3), (4, 3), (99, 3), (2.0, 2), ("2", 0), (None, 0)])
def test_a_load_brings_what_the_conversation_manager_kept_and_always_the_last_message(
    place: Place, removed: Any, first: int
) -> None:
    say(place, "a", "b", "c", "d", data={"conversation_manager_state": {"removed_message_count": removed}})

    loaded = place.store.load("s", "default")
    assert (loaded.first, loaded.count, words(loaded.messages)) == (first, 4, ["a", "b", "c", "d"][first:])


@pytest.mark.parametrize(
    ("offset", "limit", "expected"),
    [(0, None, "abcde"), (1, 2, "bc"), (4, 9, "e"), (5, 1, ""), (9, None, ""), (0, 0, ""), (2**70, 2**70, "")],
)
def test_other_messages_are_read_from_a_position_on(
    place: Place, offset: int, limit: int | None, expected: str
) -> None:
    say(place, *"abcde")

    loaded = place.store.messages("s", "default", offset, limit)
    assert words(loaded.messages) == [*expected]
    assert loaded.count == 5
    if expected:
        assert loaded.first == offset


def test_a_commit_that_is_sent_again_is_applied_once(place: Place) -> None:
    commit = commit_of(place.store.load("s", "default"), said("a"), totals={"model_calls": 1})
    for _ in range(3):
        place.store.commit("s", commit, TURN)

    loaded = place.store.load("s", "default")
    assert words(loaded.messages) == ["a"]
    agent = place.sessions.agent_summary("s", "default")
    assert agent is not None
    assert (agent.message_count, agent.totals) == (1, {"model_calls": 1})


def test_a_commit_goes_on_from_the_one_before(place: Place) -> None:
    loaded = place.store.load("s", "default")
    first = commit_of(loaded, said("a"))
    at = place.store.commit("s", first, TURN).at
    loaded = LoadedAgent(at=at, found=True, data={"agent_id": "default"}, revision=first.revision, count=1)
    place.store.commit("s", commit_of(loaded, said("b")), TURN)

    assert words(place.store.load("s", "default").messages) == ["a", "b"]


def test_fields_of_the_agent_are_replaced_one_by_one(place: Place) -> None:
    say(place, "a", data={"agent_id": "default", "state": {"a": {"b": 1}}, "model": "one"})
    loaded = say(place, data={"state": {"c": 2}})

    data = dict(loaded.data or {})
    assert [each["model"] for each in data.pop("prompt_lineage")] == ["one"]
    assert data == {"agent_id": "default", "state": {"c": 2}, "model": "one"}


def test_totals_are_added_up(place: Place) -> None:
    for totals in ({"model_calls": 1, "latency_ms": 7}, {"model_calls": 2}, {}):
        say(place, "a", totals=totals)

    agent = place.sessions.agent_summary("s", "default")
    assert agent is not None
    assert agent.totals == {"model_calls": 3, "latency_ms": 7}


def test_agents_of_a_session_do_not_disturb_one_another(place: Place) -> None:
    say(place, "a")
    for agent_id in ("", "a.b$", "%", "é\0", "\ud800", "\\u0000", "default "):
        loaded = place.store.load("s", agent_id)
        assert (loaded.found, loaded.data) == (True, None), agent_id
        place.store.commit("s", commit_of(loaded, said(repr(agent_id)), agent_id=agent_id), TURN)
    for agent_id in ("", "a.b$", "%", "é\0", "\ud800", "\\u0000", "default "):
        assert words(place.store.load("s", agent_id).messages) == [repr(agent_id)]
    assert words(place.store.load("s", "default").messages) == ["a"]


@pytest.mark.parametrize("session_id", ["", "a.b$", "../x", "é\0\\", "\\u0000", " ", "x" * 900])
def test_any_text_is_a_session_id(place: Place, session_id: str) -> None:
    say(place, "a", session_id=session_id)

    assert words(place.store.load(session_id, "default").messages) == ["a"]
    summary = place.sessions.get(session_id)
    assert summary is not None
    assert summary.session_id == session_id
    assert [item.session_id for item in place.sessions.page().items] == [session_id]
    assert place.sessions.delete(session_id)
    assert not place.store.load(session_id, "default").found


def test_a_session_id_that_utf8_cannot_express_is_refused(place: Place) -> None:
    with pytest.raises(ValueError, match="session_id"):
        place.store.commit("\ud800", commit_of(place.store.load("s", "default")), TURN)


def test_a_graph_keeps_its_state_beside_the_agents(place: Place) -> None:
    say(place, "a")
    for state in ({"nodes": [1]}, {"nodes": [1, 2]}):
        loaded = place.store.load("s", "default", "multi_agents")
        commit = commit_of(loaded, part="multi_agents", data={"state": state}, holds=True)
        place.store.commit("s", commit, TURN)

        loaded = place.store.load("s", "default", "multi_agents")
        assert (loaded.data, loaded.revision, loaded.turn) == ({"state": state}, commit.revision, True)
    assert words(place.store.load("s", "default").messages) == ["a"]
    assert place.store.load("s", "default").data == {"agent_id": "default"}


# One writer at a time


def test_a_turn_that_another_owner_has_refuses_a_commit(place: Place) -> None:
    say(place, "a", holds=True, owner="other")
    loaded = place.store.load("s", "default")
    assert loaded.turn

    with pytest.raises(SessionBusyError) as refused:
        place.store.commit("s", commit_of(loaded, said("b")), TURN)
    assert (refused.value.session_id, refused.value.agent_id) == ("s", "default")
    assert TURN - 10 < refused.value.retry_after <= TURN
    assert words(place.store.load("s", "default").messages) == ["a"]


def test_a_turn_that_has_expired_can_be_taken_over(place: Place) -> None:
    say(place, "a", holds=True, owner="other")
    time.sleep(0.05)
    place.store.commit("s", commit_of(place.store.load("s", "default"), said("b"), holds=True), 0.02)

    assert words(place.store.load("s", "default").messages) == ["a", "b"]
    assert not place.store.renew("s", place.store.load("s", "default").at, "other")
    assert place.store.renew("s", place.store.load("s", "default").at, "me")


def test_ones_own_turn_is_no_obstacle_and_ends_with_the_commit_that_says_so(place: Place) -> None:
    say(place, "a", holds=True)
    say(place, "b", holds=True)
    assert not place.is_free("s")
    assert not say(place, "c").turn
    assert place.is_free("s")


def test_a_history_that_moved_on_refuses_a_commit(place: Place) -> None:
    stale = say(place, "a")
    say(place, "b")

    with pytest.raises(SessionConflictError) as refused:
        place.store.commit("s", commit_of(stale, said("c")), TURN)
    assert (refused.value.session_id, refused.value.agent_id) == ("s", "default")
    assert words(place.store.load("s", "default").messages) == ["a", "b"]


def test_a_history_that_was_cut_behind_our_back_refuses_a_commit(place: Place) -> None:
    loaded = say(place, "a", "b")
    place.cut("s", 1)

    with pytest.raises(SessionConflictError):
        place.store.commit("s", commit_of(loaded, said("c")), TURN)


def test_who_loses_the_race_for_a_new_session_is_told_that_it_is_busy(place: Place) -> None:
    loaded = place.store.load("s", "default")
    say(place, "first")

    with pytest.raises(SessionBusyError):
        place.store.commit("s", commit_of(loaded, said("second")), TURN)
    assert words(place.store.load("s", "default").messages) == ["first"]


def test_a_deleted_session_refuses_a_commit_and_is_not_created_again(place: Place) -> None:
    loaded = say(place, "a")
    assert place.sessions.delete("s")

    with pytest.raises(SessionNotFoundError) as refused:
        place.store.commit("s", commit_of(loaded, said("b")), TURN)
    assert refused.value.session_id == "s"
    with pytest.raises(SessionNotFoundError):
        place.store.claim("s", claim_of(loaded), TURN)
    assert place.sessions.get("s") is None


def test_another_session_under_the_same_id_is_not_mistaken_for_the_deleted_one(place: Place) -> None:
    place.sessions.create("s")
    loaded = place.store.load("s", "default")
    place.sessions.delete("s")
    time.sleep(0.002)  # a date is kept to the millisecond, or finer
    place.sessions.create("s")

    with pytest.raises(SessionNotFoundError):
        place.store.commit("s", commit_of(loaded, said("b")), TURN)
    with pytest.raises(SessionNotFoundError):
        place.store.claim("s", claim_of(loaded), TURN)
    assert not place.store.load("s", "default").messages


@pytest.mark.parametrize("exists", [True, False])
def test_of_many_that_loaded_the_same_one_writes(place: Place, exists: bool) -> None:
    if exists:
        say(place, "before")
    loaded = place.store.load("s", "default")
    ready = threading.Barrier(8)
    outcomes: list[Any] = []

    def write(number: int) -> None:
        ready.wait()
        try:
            place.store.commit("s", commit_of(loaded, said(str(number)), owner=str(number), holds=True), TURN)
            outcomes.append(number)
        except SessionError as error:
            outcomes.append(type(error))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))
    [winner] = [outcome for outcome in outcomes if isinstance(outcome, int)]
    assert outcomes.count(SessionBusyError) == 7
    assert words(place.store.load("s", "default").messages) == [*(["before"] if exists else []), str(winner)]


def test_many_writers_that_load_again_lose_nothing_and_number_nothing_twice(place: Place) -> None:
    def write(name: str) -> None:
        written = 0
        while written < 6:
            try:
                say(place, f"{name}{written}")
                written += 1
            except (SessionBusyError, SessionConflictError):
                time.sleep(0.002)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(write, "abcdef"))
    found = place.store.messages("s", "default").messages
    assert [stored["message_id"] for stored in found] == [*range(36)]
    assert sorted(words(found)) == sorted(f"{name}{number}" for name in "abcdef" for number in range(6))
    for name in "abcdef":
        assert [word for word in words(found) if word[0] == name] == [f"{name}{number}" for number in range(6)]


# Claim and renew


def test_a_claim_takes_the_turn_and_returns_the_agent_as_it_was(place: Place) -> None:
    before = say(place, "a")
    claim = claim_of(before)
    claimed = place.store.claim("s", claim, TURN)

    assert (claimed.revision, claimed.count, words(claimed.messages)) == (before.revision, 1, ["a"])
    loaded = place.store.load("s", "default")
    assert (loaded.revision, loaded.turn) == (claim.revision, True)
    with pytest.raises(SessionBusyError) as refused:
        place.store.claim("s", claim_of(before, "other"), TURN)
    assert 0 < refused.value.retry_after <= TURN
    place.store.claim("s", claim_of(before), TURN)


def test_a_claim_creates_a_session_that_may_be_created_without_an_agent(place: Place) -> None:
    loaded = place.store.load("s", "default")
    claimed = place.store.claim("s", claim_of(loaded, session={"title": "Shoes"}), TURN)
    assert (claimed.found, claimed.data, claimed.count) == (True, None, 0)

    summary = place.sessions.get("s")
    assert summary is not None
    assert (summary.title, summary.agents, claimed.created_at) == ("Shoes", {}, summary.created_at)
    assert place.sessions.agent_summary("s", "default") is None
    loaded = place.store.load("s", "default")
    assert (loaded.data, loaded.turn) == (None, True)
    place.store.commit("s", commit_of(loaded, said("a")), TURN)
    assert words(place.store.load("s", "default").messages) == ["a"]


def test_of_many_claims_one_succeeds(place: Place) -> None:
    loaded = place.store.load("s", "default")
    ready = threading.Barrier(8)

    def take(number: int) -> bool:
        ready.wait()
        try:
            place.store.claim("s", claim_of(loaded, str(number)), TURN)
        except SessionBusyError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(take, range(8))) == 1


def test_a_renewal_extends_the_turn_of_its_owner_alone(place: Place) -> None:
    loaded = say(place, "a", holds=True)
    time.sleep(0.1)
    assert place.store.renew("s", loaded.at, "me")
    with pytest.raises(SessionBusyError):
        place.store.commit("s", commit_of(loaded, owner="other"), 0.09)
    assert not place.store.renew("s", loaded.at, "other")
    say(place, "b")
    assert not place.store.renew("s", loaded.at, "me")
    assert not place.store.renew("nobody's", loaded.at, "me")


def test_all_turns_can_be_freed_at_once(place: Place) -> None:
    for name in ("a", "b"):
        say(place, "hello", session_id=name, holds=True)
    say(place, "hello", session_id="c")

    assert place.sessions.clear_turns() == 2
    assert place.sessions.clear_turns() == 0
    assert all(map(place.is_free, "abc"))


# Changes and redaction


def test_a_stored_message_changes_in_its_place(place: Place) -> None:
    loaded = say(place, "a", "secret", "c", holds=True)
    changed = SessionMessage.from_message({"role": "user", "content": [{"text": "public"}]}, 1)
    place.store.commit("s", commit_of(loaded, changes={1: message_changes(changed)}, holds=True), TURN)

    assert words(place.store.load("s", "default").messages) == ["a", "public", "c"]
    assert "secret" not in place.raw("s")


def test_a_redacted_message_leaves_nothing_of_the_original(place: Place) -> None:
    loaded = say(place, "a", "secret", holds=True)
    redacted = SessionMessage.from_message({"role": "user", "content": [{"text": "secret"}]}, 1)
    redacted.redact_message = {"role": "user", "content": [{"text": "[gone]"}]}
    place.store.commit("s", commit_of(loaded, changes={1: message_changes(redacted)}), TURN)

    assert "secret" not in place.raw("s")
    [_, stored] = place.store.load("s", "default").messages
    assert session_message(stored, 1).to_message() == {"role": "user", "content": [{"text": "[gone]"}]}
    assert session_message(stored, 1).redact_message is not None
    anew = SessionMessage.from_message({"role": "user", "content": [{"text": "anew"}]}, 1)
    loaded = place.store.load("s", "default")
    place.store.commit("s", commit_of(loaded, changes={1: message_changes(anew)}), TURN)
    assert "[gone]" not in place.raw("s")
    [_, stored] = place.store.load("s", "default").messages
    assert session_message(stored, 1).redact_message is None


def test_a_messages_cost_is_added_to_it_later(place: Place) -> None:
    loaded = say(place, "a")
    cost = {"accumulated_usage": {"inputTokens": 1}, "accumulated_metrics": {"latencyMs": 7}}
    place.store.commit("s", commit_of(loaded, changes={0: {"event_loop_metrics": cost}}), TURN)

    [stored] = place.store.load("s", "default").messages
    assert (stored["event_loop_metrics"], words([stored])) == (cost, ["a"])


def test_a_refused_change_changes_nothing(place: Place) -> None:
    stale = say(place, "a")
    say(place, "b")
    changed = SessionMessage.from_message({"role": "user", "content": [{"text": "c"}]}, 0)

    with pytest.raises(SessionConflictError):
        place.store.commit("s", commit_of(stale, changes={0: message_changes(changed)}), TURN)
    assert words(place.store.load("s", "default").messages) == ["a", "b"]


# Faithful values

SHARED = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)


@SHARED
@given(message=messages())
@example(message={"role": "user", "content": [{"text": text} for text in AWKWARD_TEXT]})
@example(
    message={
        "role": "user",
        "content": [{"toolUse": {"toolUseId": "1", "name": "a", "input": {"z": 1e300, "a": -0.0}}}],
    }
)
@example(
    message={
        "role": "assistant",
        "content": [{"toolUse": {"toolUseId": "1", "name": "a", "input": dict.fromkeys(AWKWARD_KEYS, 1)}}],
    }
)
def test_a_message_comes_back_as_it_was(place: Place, message: Any) -> None:
    place.sessions.delete("s")
    say(place, "first")
    loaded = place.store.load("s", "default")
    place.store.commit("s", commit_of(loaded, stored_form(message)), TURN)

    [_, stored] = place.store.load("s", "default").messages
    assert identical(decode(stored["message"]), decode(stored_form(message)["message"]))
    [_, found] = place.sessions.messages("s")
    assert identical(found.message, session_message(stored_form(message), 1).message)


@SHARED
@given(state=st.dictionaries(texts(), json_like(), max_size=4))
@example(state={"z": 1, "a": [1, 1.0, True, None, "1", b"1"], "": {"b": 0.1, "é": 1e16, "aa": float("inf")}})
def test_a_state_comes_back_as_it_was(place: Place, state: Any) -> None:
    place.sessions.delete("s")
    data = {"agent_id": encode("default"), "state": encode(state), "name": encode("\0")}
    loaded = say(place, "a", data=data)

    assert loaded.data is not None
    assert identical(decode(loaded.data["state"]), decode(data["state"]))
    agent = place.sessions.agent_summary("s", "default")
    assert agent is not None
    assert identical(agent.state, decode(data["state"]))
    assert agent.name == "\0"


def test_the_dates_of_a_message_come_back(place: Place) -> None:
    at = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
    message = SessionMessage.from_message({"role": "user", "content": [{"text": "a"}]}, 0)
    message.created_at, message.updated_at = at.isoformat(), "some day"
    loaded = place.store.load("s", "default")
    place.store.commit("s", commit_of(loaded, message_document(message)), TURN)

    [found] = place.sessions.messages("s")
    assert (found.created_at, found.updated_at) == (at.isoformat(), "some day")


def test_a_message_of_many_megabytes_comes_back(place: Place) -> None:
    picture = secrets.token_bytes(7 * 1024 * 1024)
    block = {"image": {"format": "png", "source": {"bytes": picture}}}
    loaded = place.store.load("s", "default")
    place.store.commit("s", commit_of(loaded, stored_form({"role": "user", "content": [block]})), TURN)

    [found] = place.sessions.messages("s")
    assert found.message["content"] == [block]


def test_a_long_history_is_read_in_part(place: Place) -> None:
    loaded = place.store.load("s", "default")
    place.store.commit("s", commit_of(loaded, *(said(f"{number}") for number in range(500))), TURN)
    say(place, data={"conversation_manager_state": {"removed_message_count": 460}})

    loaded = place.store.load("s", "default")
    assert (loaded.first, loaded.count, len(loaded.messages)) == (460, 500, 40)
    assert [found.message_id for found in place.sessions.messages_before("s", position=250, limit=3)] == [247, 248, 249]
