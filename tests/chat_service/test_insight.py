"""What a session is made of and what it costs, over HTTP, on both stores."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

from .replicas import LONG, Replicas
from .running import Service, events_of, eventually


@pytest.fixture(scope="module")
def one(replicas: Replicas) -> Service:
    """A replica whose demo model answers at once."""
    return replicas.start(1, demo_delay=0)[0]


def get(service: Service, session_id: str, what: str) -> Any:
    return service.http.get(f"/api/sessions/{session_id}/{what}").raise_for_status().json()


def runs(service: Service, session_id: str) -> bool:
    return bool(get(service, session_id, "turn")["running"])


def ending_of(service: Service, query: str, **fields: Any) -> dict[str, Any]:
    return service.events(query, **fields)[-1]


def test_a_resumed_turn_says_how_often_it_asked_the_database(make_service: Any) -> None:
    service = make_service()
    session_id = service.ask("My name is Ada.").json()["session_id"]
    store = ending_of(service, "What is my name?", session_id=session_id)["metadata"]["store"]
    assert store["commands"] == 3  # a find and two updates
    assert store["milliseconds"] > 0
    assert ending_of(service, "calculate 2*21", session_id=session_id)["metadata"]["store"]["commands"] == 5


def test_a_turn_on_postgresql_says_so_too(one: Service) -> None:
    session_id = one.ask("My name is Ada.").json()["session_id"]
    stores = [ending_of(one, "What is my name?", session_id=session_id)["metadata"]["store"] for _ in range(4)]
    assert stores[2]["commands"] == stores[3]["commands"] >= 3
    assert all(store["milliseconds"] > 0 for store in stores)


def test_a_turn_counts_no_commands_of_others(make_service: Any) -> None:
    one = make_service()
    ids = [one.ask("My name is Ada.").json()["session_id"] for _ in range(6)]
    alone = ending_of(one, "What is my name?", session_id=ids[0])["metadata"]["store"]["commands"]
    assert alone == 3
    busy = threading.Event()

    def look(session_id: str) -> None:
        while not busy.is_set():
            get(one, session_id, "activity")

    with ThreadPoolExecutor(8) as pool:
        for session_id in ids[:3]:
            pool.submit(look, session_id)
        counts = list(
            pool.map(
                lambda session_id: ending_of(one, "What is my name?", session_id=session_id)["metadata"]["store"][
                    "commands"
                ],
                ids[1:],
            )
        )
        busy.set()
    assert counts == [alone] * 5


def test_a_turn_says_when_its_first_word_came(one: Service) -> None:
    metadata = ending_of(one, "My name is Ada.")["metadata"]
    assert 0 < metadata["time_to_first_token_ms"] <= metadata["response_time_ms"]


def test_a_session_shows_its_agents_its_turns_and_its_last_turn(one: Service) -> None:
    session_id = one.ask("My name is Ada.").json()["session_id"]
    last = ending_of(one, "calculate 2*21", session_id=session_id)["metadata"]
    activity = eventually(lambda: (found := get(one, session_id, "activity"))["last_turn"] and found)
    (agent,) = activity["agents"]
    assert (agent["agent_id"], agent["message_count"], agent["state"]) == ("default", 6, {})
    totals = activity["totals"]
    assert totals["model_calls"] == 3
    assert totals["total_tokens"] == totals["input_tokens"] + totals["output_tokens"] > 0
    assert totals["average_latency_ms"] > 0
    assert [turn["message_id"] for turn in activity["turns"]] == [
        message["message_id"]
        for message in one.session(session_id)["messages"]
        if (message["role"], message["kind"]) == ("assistant", "text")
    ]
    for turn in activity["turns"]:
        assert turn["time_to_first_token_ms"] > 0
        assert turn["latency_ms"] > 0
    assert activity["turns"][-1]["output_tokens"] == last["usage"]["output_tokens"]
    assert activity["last_turn"] == last["store"]


def test_what_another_replica_has_run_is_not_known(replicas: Replicas) -> None:
    first, second = replicas.start(2, demo_delay=0)
    session_id = first.ask("My name is Ada.").json()["session_id"]
    assert get(second, session_id, "activity")["last_turn"] is None
    assert len(get(second, session_id, "activity")["turns"]) == 1


def test_a_session_in_which_nothing_was_said_has_no_activity(one: Service) -> None:
    session_id = one.http.post("/api/sessions", json={}).json()["session_id"]
    activity = get(one, session_id, "activity")
    assert (activity["agents"], activity["turns"], activity["last_turn"]) == ([], [], None)
    assert activity["totals"]["total_tokens"] == activity["totals"]["average_latency_ms"] == 0


def test_a_stored_session_can_be_looked_at(one: Service) -> None:
    session_id = one.ask("My name is Ada.").json()["session_id"]
    document = get(one, session_id, "document")
    assert document["session_id"] == session_id
    assert document["metadata"] == {}
    text = one.http.get(f"/api/sessions/{session_id}/document").text
    assert "My name is Ada." in text
    assert "message_count" in text


def test_a_running_turn_is_known_to_all_and_can_be_joined(two: list[Service]) -> None:
    first, second = two
    session_id = first.http.post("/api/sessions", json={}).json()["session_id"]
    assert get(first, session_id, "turn") == {"running": False, "turn_id": None}
    with first.streamed(LONG, session_id=session_id) as response:
        events = events_of(response)
        turn_id = next(events)["turn"]
        for service in two:
            eventually(partial(runs, service, session_id))
            assert get(service, session_id, "turn") == {"running": True, "turn_id": turn_id}
        parameters = {"session_id": session_id, "last_event_id": f"{turn_id}-0"}
        with second.http.stream("GET", "/api/chat/stream", params=parameters) as joined:
            first.http.post(f"/api/sessions/{session_id}/cancel").raise_for_status()
            whole = list(events_of(joined))
        assert whole[0]["id"] == 1
        assert whole[-1]["event"] == "stopped"
        list(events)
    eventually(lambda: not any(runs(service, session_id) for service in two))


def test_sessions_are_found_by_their_titles(one: Service) -> None:
    for title in ("About Boats", "about trains", "Ferry boats (2)"):
        one.http.post("/api/sessions", json={"title": title}).raise_for_status()

    def found(words: str, **fields: Any) -> list[str]:
        page = one.http.get("/api/sessions", params={"q": words, **fields}).raise_for_status().json()
        return [session["title"] for session in page["sessions"]]

    assert found("boats") == ["Ferry boats (2)", "About Boats"]
    assert found(" BOATS (") == ["Ferry boats (2)"]
    assert found("no such words") == []
    assert len(found(" ")) >= 3
    for odd in ("\0", "\\", ".*", "$where", "%", "_", "[", "é\u0301", "\U0001f600"):
        assert found(odd) == []
    first = one.http.get("/api/sessions", params={"q": "boats", "limit": 1}).json()
    assert found("boats", cursor=first["next_cursor"]) == ["About Boats"]
