"""Sessions that begin with the history of another one, and histories that are cut."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest
from strands import tool
from strands.agent.conversation_manager import SlidingWindowConversationManager

from mongodb_session_manager import (
    SessionBusyError,
    SessionConflictError,
    SessionError,
    SessionNotFoundError,
    decode,
)
from tests.contract.places import Place, make_agent
from tests.contract.test_store import TURN, commit_of, say, stored_form

CALL = {"name": "add", "input": {"a": 1, "b": 2}}


@tool
def add(a: int, b: int) -> int:
    """Add two numbers.

    Args:
        a: One.
        b: Another.
    """
    return a + b


def said(place: Place, session_id: str = "s", agent_id: str = "default") -> list[str]:
    """The texts of a history."""
    found = place.sessions.messages(session_id, agent_id)
    assert [each.message_id for each in found] == [*range(len(found))]
    return [each.to_message()["content"][0].get("text", "-") for each in found]


def talk(place: Place, *prompts: str, session_id: str = "s", **options: Any) -> None:
    agent = make_agent(place.manager(session_id), "an answer", **options)
    for prompt in prompts:
        agent(prompt)


def use_a_tool(place: Place) -> None:
    """Four messages: a question, a tool use, its result, an answer."""
    make_agent(place.manager("s"), CALL, "three", tools=[add])("what is 1 + 2?")


# Forks


def test_a_fork_begins_with_the_history_and_goes_its_own_way(place: Place) -> None:
    talk(place, "one", "two")
    fork = place.sessions.fork("s", "f")
    talk(place, "three", session_id="f")
    talk(place, "four")

    assert (fork.session_id, fork.message_count, fork.forked_from) == ("f", 4, "s")
    assert said(place, "f") == ["one", "an answer", "two", "an answer", "three", "an answer"]
    assert said(place) == ["one", "an answer", "two", "an answer", "four", "an answer"]


@pytest.mark.parametrize("at", [0, 1, 2, 3, 4, None])
def test_a_fork_has_as_many_messages_as_are_asked_for(place: Place, at: int | None) -> None:
    talk(place, "one", "two")
    fork = place.sessions.fork("s", "f", at=at)

    assert said(place, "f") == said(place)[:at]
    assert fork.message_count == len(said(place, "f"))
    talk(place, "three", session_id="f")
    assert said(place, "f") == [*said(place)[:at], "three", "an answer"]


def test_a_fork_takes_over_what_describes_the_session_and_no_more(place: Place) -> None:
    place.sessions.create("s", title="Shoes", owner="ann", application_name="shop", metadata={"a": {"b.c": 2**70}})
    talk(place, "one")
    place.sessions.add_feedback("s", {"rating": "up"})
    place.sessions.expire("s", 1000)
    place.sessions.hold("s")
    fork = place.sessions.fork("s", "f")
    other = place.sessions.fork("s", "o", owner="bob", title="Boots")

    assert (fork.title, fork.owner, fork.application_name) == ("Shoes", "ann", "shop")
    assert (fork.metadata, fork.lifetime, fork.is_held) == ({"a": {"b.c": 2**70}}, 1000, False)
    assert (other.title, other.owner) == ("Boots", "bob")
    assert place.sessions.feedbacks("f") == []
    assert fork.agents["default"].totals == {}
    assert place.sessions.get("f") == fork
    assert place.sessions.get("o") == other


def test_a_fork_keeps_the_agents_state_and_set_up(place: Place) -> None:
    agent = make_agent(place.manager("s"), "a", name="Ada", system_prompt="be kind")
    agent.state.set("colour", "blue")
    agent("one")
    agent("two")
    place.sessions.fork("s", "f", at=2)

    forked = make_agent(place.manager("f"), "b")
    assert forked.state.get("colour") == "blue"
    found = place.sessions.agent_summary("f", "default")
    assert found is not None
    assert (found.name, found.config["system_prompt"], found.message_count) == ("Ada", "be kind", 2)


def test_a_fork_is_of_one_agent(place: Place) -> None:
    for agent_id in ("one", "a.b$\ud800"):
        make_agent(place.manager("s"), "x", agent_id=agent_id)(f"hello from {agent_id[:3]}")
    place.sessions.fork("s", "f", agent_id="a.b$\ud800")

    summary = place.sessions.get("f")
    assert summary is not None
    assert [*summary.agents] == ["a.b$\ud800"]
    assert said(place, "f", "a.b$\ud800") == ["hello from a.b", "x"]


def test_what_cannot_be_forked_is_named(place: Place) -> None:
    talk(place, "one")
    place.sessions.create("there")
    with pytest.raises(SessionNotFoundError, match="nobody's"):
        place.sessions.fork("nobody's", "f")
    with pytest.raises(SessionNotFoundError, match="nobody"):
        place.sessions.fork("s", "f", agent_id="nobody")
    with pytest.raises(SessionError, match="'there' exists"):
        place.sessions.fork("s", "there")
    with pytest.raises(SessionError, match="'s' exists"):
        place.sessions.fork("s", "s")
    for at in (-1, 3):
        with pytest.raises(ValueError, match="2 messages"):
            place.sessions.fork("s", "f", at=at)
    with pytest.raises(ValueError, match="surrogate"):
        place.sessions.fork("s", "\ud800")
    assert place.sessions.get("f") is None
    assert said(place) == ["one", "an answer"]


def test_a_second_fork_of_the_same_name_leaves_the_first_whole(place: Place) -> None:
    talk(place, "one")
    place.sessions.fork("s", "f")
    with pytest.raises(SessionError, match="'f' exists"):
        place.sessions.fork("s", "f")
    place.sessions.delete("s")
    assert said(place, "f") == ["one", "an answer"]


def test_forks_can_be_forked(place: Place) -> None:
    talk(place, "one", "two")
    place.sessions.fork("s", "f", at=2)
    talk(place, "three", session_id="f")
    place.sessions.fork("f", "g")
    place.sessions.delete("f")
    talk(place, "four", session_id="g")

    assert said(place, "g")[::2] == ["one", "three", "four"]
    assert said(place)[::2] == ["one", "two"]


@pytest.mark.parametrize("order", [*permutations(["s", "f", "g"]), *permutations(["s", "f", "ann"], 3)], ids="-".join)
def test_deleting_in_any_order_leaves_the_others_whole(place: Place, order: tuple[str, ...]) -> None:
    place.sessions.create("s", owner="ann")
    talk(place, "one", "two")
    place.sessions.fork("s", "f", owner="bob")
    place.sessions.fork("f", "g", at=2, owner="carl")
    talk(place, "three", session_id="g")
    left = {"s": ["one", "two"], "f": ["one", "two"], "g": ["one", "three"]}
    for name in order:
        if name == "ann":
            assert place.sessions.delete_owner("ann").sessions == ("s" in left)
        else:
            assert place.sessions.delete(name) is (name in left)
        left.pop("s" if name == "ann" else name, None)
        assert {each.session_id for each in place.sessions.page().items} == {*left}
        assert all(said(place, session_id)[::2] == words for session_id, words in left.items())


# Cuts


@pytest.mark.parametrize("method", ["fork", "rewind"])
def test_a_tool_use_is_not_torn_from_its_result(place: Place, method: str) -> None:
    use_a_tool(place)

    def cut(position: int) -> Any:
        if method == "fork":
            return place.sessions.fork("s", f"f{position}", at=position)
        return place.sessions.rewind("s", position)

    with pytest.raises(ValueError, match="position 2 lies between a tool use and its result; take 1 or 3"):
        cut(2)
    assert len(said(place)) == 4
    cut(3)
    cut(1)


def test_a_rewound_session_goes_on_from_there(place: Place) -> None:
    talk(place, "one", "two", "three")
    before = place.sessions.get("s")
    found = place.sessions.rewind("s", 2)

    assert (found.agent_id, found.message_count) == ("default", 2)
    assert said(place) == ["one", "an answer"]
    after = place.sessions.get("s")
    assert before is not None
    assert after is not None
    assert after.agents["default"].totals == before.agents["default"].totals
    assert after.updated_at > before.updated_at
    talk(place, "two again")
    assert said(place) == ["one", "an answer", "two again", "an answer"]
    assert place.is_free("s")


@pytest.mark.parametrize("position", [0, 6])
def test_all_or_nothing_can_be_cut(place: Place, position: int) -> None:
    talk(place, "one", "two", "three")
    assert place.sessions.rewind("s", position).message_count == position
    talk(place, "four")
    assert len(said(place)) == position + 2


def test_an_agent_that_was_loaded_before_a_rewind_is_told(place: Place) -> None:
    agent = make_agent(place.manager("s"), "an answer")
    agent("one")
    agent("two")
    place.sessions.rewind("s", 2)

    with pytest.raises(SessionConflictError):
        agent("three")
    agent("three again")
    assert said(place) == ["one", "an answer", "three again", "an answer"]


def test_a_session_is_not_rewound_while_its_turn_runs(place: Place) -> None:
    talk(place, "one")
    loaded = place.store.load("s", "default")
    say(place, "two", at=loaded.at, holds=True, owner="somebody")
    with pytest.raises(SessionBusyError) as raised:
        place.sessions.rewind("s", 0)
    assert 0 < raised.value.retry_after <= TURN
    assert said(place) == ["one", "an answer", "two"]
    assert not place.is_free("s")

    place.sessions.rewind("s", 0, turn_timeout=0.0)
    assert said(place) == []


def test_what_cannot_be_rewound_is_named(place: Place) -> None:
    talk(place, "one")
    for position in (-1, 3):
        with pytest.raises(ValueError, match="2 messages"):
            place.sessions.rewind("s", position)
    with pytest.raises(SessionNotFoundError, match="nobody's"):
        place.sessions.rewind("nobody's", 0)
    with pytest.raises(SessionNotFoundError, match="nobody"):
        place.sessions.rewind("s", 0, agent_id="nobody")
    assert len(said(place)) == 2


def test_a_rewind_drops_what_hangs_on_the_end(place: Place) -> None:
    talk(place, "one", "two")
    loaded = place.store.load("s", "default")
    internal = {"interrupt_state": {"interrupts": {"i": {}}, "activated": True}, "model_state": {"id": "r"}, "own": 1}
    place.store.commit("s", commit_of(loaded, data={"_internal_state": internal, "state": {"a": 1}}), TURN)
    place.sessions.fork("s", "whole")
    place.sessions.fork("s", "cut", at=2)
    place.sessions.rewind("s", 2)

    def data(session_id: str) -> Any:
        return decode(place.store.load(session_id, "default").data)

    assert data("whole")["_internal_state"] == internal
    for session_id in ("cut", "s"):
        assert data(session_id)["state"] == {"a": 1}
        kept = data(session_id)["_internal_state"]
        assert (kept["interrupt_state"]["activated"], kept["model_state"], kept["own"]) == (False, {}, 1)


@pytest.mark.parametrize("method", ["fork", "rewind"])
@pytest.mark.parametrize(("position", "begins"), [(20, "8"), (12, "4"), (2, "0"), (29, None)])
def test_an_agent_is_given_messages_to_go_on_with(place: Place, method: str, position: int, begins: str | None) -> None:
    manager = SlidingWindowConversationManager(window_size=4)
    agent = make_agent(place.manager("s"), "an answer", conversation_manager=manager)
    for number in range(15):
        agent(str(number))
    assert agent.conversation_manager.removed_message_count == 26
    if method == "rewind":
        place.sessions.rewind("s", position)
    else:
        place.sessions.fork("s", "f", at=position)
    session_id = "s" if method == "rewind" else "f"
    forked = make_agent(
        place.manager(session_id), "x", conversation_manager=SlidingWindowConversationManager(window_size=4)
    )

    texts = [message["content"][0]["text"] for message in forked.messages]
    assert texts[0] == ("13" if begins is None else begins)
    assert len(texts) == (3 if begins is None else min(4, position))
    forked("go on")
    assert said(place, session_id)[-2:] == ["go on", "x"]
    assert len(said(place, session_id)) == position + 2


def test_a_summary_of_what_was_cut_off_is_forgotten(place: Place) -> None:
    talk(place, "one", "two", "three")
    state = {"__name__": "S", "removed_message_count": 4, "summary_message": {"role": "user", "content": []}}
    place.store.commit(
        "s", commit_of(place.store.load("s", "default"), data={"conversation_manager_state": state}), TURN
    )
    place.sessions.fork("s", "f", at=5)
    place.sessions.rewind("s", 4)

    after = [decode(place.store.load(name, "default").data) for name in ("f", "s")]
    kept, cut = [each["conversation_manager_state"] for each in after]
    assert kept == state
    assert cut == {"__name__": "S", "removed_message_count": 2, "summary_message": None}


# Redaction


def test_a_redacted_message_is_nowhere_any_more(place: Place) -> None:
    talk(place, "the needle", "two")
    place.sessions.fork("s", "f")
    place.sessions.fork("f", "g")
    place.sessions.fork("s", "early", at=0)
    talk(place, "three", session_id="g")
    place.sessions.delete("f")

    assert sorted(place.sessions.redact("s", 0)) == ["g", "s"]
    assert said(place)[0] == said(place, "g")[0] == "[redacted]"
    assert said(place, "g")[1:] == ["an answer", "two", "an answer", "three", "an answer"]
    assert not any("needle" in place.raw(name) for name in ("s", "g", "early"))
    assert place.sessions.messages("s")[0].redact_message is not None
    talk(place, "four")
    talk(place, "five", session_id="g")


def test_a_redaction_in_a_fork_does_not_reach_what_it_was_forked_from(place: Place) -> None:
    talk(place, "one")
    place.sessions.fork("s", "f")

    assert place.sessions.redact("f", 0, "gone") == ["f"]
    assert (said(place)[0], said(place, "f")[0]) == ("one", "gone")


def test_a_redaction_leaves_alone_what_only_has_the_same_position(place: Place) -> None:
    talk(place, "one", "two")
    place.sessions.fork("s", "f")
    place.sessions.rewind("f", 2)
    talk(place, "another", session_id="f")
    place.sessions.fork("s", "g")
    place.sessions.rewind("s", 2)
    talk(place, "later")

    assert place.sessions.redact("s", 2) == ["s"]
    assert said(place, "f")[2] == "another"
    assert said(place, "g")[2] == "two"


def test_tool_uses_and_results_fit_after_a_redaction(place: Place) -> None:
    use_a_tool(place)
    for position in range(4):
        place.sessions.redact("s", position, "…")

    found = [each.to_message()["content"] for each in place.sessions.messages("s")]
    [use], [result] = found[1], found[2]
    assert use["toolUse"]["input"] == {}
    assert use["toolUse"]["name"] == "add"
    assert use["toolUse"]["toolUseId"] == result["toolResult"]["toolUseId"]
    assert result["toolResult"]["content"] == [{"text": "…"}]
    assert found[0] == found[3] == [{"text": "…"}]
    assert len(make_agent(place.manager("s"), "x").messages) == 4


def test_what_cannot_be_redacted_is_named(place: Place) -> None:
    talk(place, "one")
    for position in (-1, 2):
        with pytest.raises(ValueError, match="2 messages"):
            place.sessions.redact("s", position)
    with pytest.raises(SessionNotFoundError, match="nobody's"):
        place.sessions.redact("nobody's", 0)
    with pytest.raises(SessionNotFoundError, match="nobody"):
        place.sessions.redact("s", 0, agent_id="nobody")


def test_a_busy_fork_is_redacted_by_a_repeat(place: Place) -> None:
    talk(place, "one")
    for name in ("f", "g"):
        place.sessions.fork("s", name)
    loaded = place.store.load("f", "default")
    held = commit_of(loaded, stored_form({"role": "user", "content": [{"text": "two"}]}), holds=True)
    committed = place.store.commit("f", held, TURN)
    with pytest.raises(SessionBusyError) as raised:
        place.sessions.redact("s", 0)
    assert raised.value.session_id == "f"
    assert [said(place, name)[0] for name in ("s", "f", "g")] == ["[redacted]", "one", "[redacted]"]

    loaded = place.store.load("f", "default")
    place.store.commit("f", commit_of(loaded, at=committed.at, owner=held.owner), TURN)
    assert sorted(place.sessions.redact("s", 0)) == ["f", "g", "s"]
    assert said(place, "f")[0] == "[redacted]"
