"""The figures of the service, for programs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from chat_service.config import Settings
from chat_service.main import create_app
from mongodb_session_manager.embedded import EmbeddedMongoDB

from .conftest import MakeService
from .running import ROOT, Service, eventually, running

PROMETHEUS = {"Accept": "application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"}


def figures(http: httpx.Client) -> dict[str, float]:
    text = http.get("/metrics", headers={"Accept": "text/plain"}).raise_for_status().text
    return {
        "".join([sample.name, *(f"[{value}]" for value in sample.labels.values())]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.fixture
def own(make_service: MakeService) -> Service:
    """A service whose figures no other test changes."""
    return make_service(demo_delay=0)


def test_people_get_json_and_prometheus_its_text(own: Service) -> None:
    shown = own.http.get("/metrics").json()
    assert set(shown) == {"connection_pool", "factory", "timestamp"}
    assert shown["factory"] == {"database": own.database_name, "collection": "sessions"}
    assert shown["connection_pool"]["status"] == "connected"
    assert own.http.get("/metrics").headers["vary"].startswith("Accept")
    assert own.http.get("/metrics", headers={"Accept": "text/html,*/*"}).headers["content-type"] == "application/json"
    plain = own.http.get("/metrics", headers={"Accept": "text/plain"})
    assert plain.headers["content-type"].startswith("text/plain; version=")
    modern = own.http.get("/metrics", headers=PROMETHEUS)
    assert modern.headers["content-type"].startswith("application/openmetrics-text")
    assert modern.text.endswith("# EOF\n")


def test_an_answer_counts_once_with_its_time_and_its_tokens(own: Service) -> None:
    before = figures(own.http)
    assert before["chat_requests_total[complete]"] == before["chat_tokens_total[input]"] == 0
    answers = [own.events("hello")[-1], own.events("calculate 2*21")[-1]]
    after = eventually(lambda: (found := figures(own.http))["chat_requests_total[complete]"] == 2 and found)
    used = [answer["metadata"]["usage"] for answer in answers]
    assert after["chat_tokens_total[input]"] == sum(each["input_tokens"] for each in used)
    assert after["chat_tokens_total[output]"] == sum(each["output_tokens"] for each in used)
    assert after["chat_duration_seconds_count"] == after["chat_time_to_first_token_seconds_count"] == 2
    assert 0 < after["chat_time_to_first_token_seconds_sum"] <= after["chat_duration_seconds_sum"]
    assert after["active_sessions"] == after["chat_turns_queued"] == 0


def test_the_other_dialect_and_other_clients_count_as_well(own: Service) -> None:
    own.http.post("/chat/other", params={"message": "hello"}).raise_for_status()
    own.http.get("/api/chat/stream", params={"query": "hello"})
    eventually(lambda: figures(own.http)["chat_requests_total[complete]"] == 2)


def test_a_session_is_active_while_its_answer_is_written(make_service: MakeService) -> None:
    service = make_service(demo_delay=0.05)
    with service.streamed("hello", session_id="s") as response:
        next(response.iter_lines())
        assert figures(service.http)["active_sessions"] == 1
        assert service.ask("hello", session_id="s").status_code == 409
        now = figures(service.http)
        assert (now["chat_requests_total[session_busy]"], now["active_sessions"]) == (1, 1)
        service.http.post("/api/sessions/s/cancel")
    ended = eventually(lambda: (found := figures(service.http))["active_sessions"] == 0 and found)
    assert ended["chat_requests_total[stopped]"] == 1
    assert ended["chat_requests_total[complete]"] == 0


def test_questions_that_wait_and_those_turned_away_are_seen(make_service: MakeService) -> None:
    service = make_service(demo_delay=0.05, max_concurrent_turns=1, max_queued_turns=0, queue_seconds=0.2)
    with service.streamed("hello") as response:
        next(response.iter_lines())
        assert service.ask("hello").status_code == 503
    now = figures(service.http)
    assert now["chat_requests_total[overloaded]"] == 1
    assert now["chat_turns_queued"] == 0


def test_a_refusal_by_the_model_is_counted_by_its_code(make_service: MakeService, port: int) -> None:
    service = make_service(model_provider="ollama", model_id="m", ollama_host=f"http://127.0.0.1:{port}")
    assert service.ask("hello").status_code == 503
    assert figures(service.http)["chat_requests_total[model_unavailable]"] == 1


def test_an_unknown_session_is_counted_and_leaves_nothing_waiting(make_service: MakeService) -> None:
    service = make_service(environment="staging")
    assert service.ask("hello", session_id="nobody").status_code == 404
    now = figures(service.http)
    assert now["chat_requests_total[session_not_found]"] == 1
    assert now["chat_turns_queued"] == now["active_sessions"] == 0


def test_a_repeated_request_is_no_second_answer(own: Service) -> None:
    for _ in range(2):
        own.http.post("/api/chat", json={"query": "hello"}, headers={"Idempotency-Key": "k"}).raise_for_status()
    now = eventually(lambda: (found := figures(own.http))["chat_requests_total[complete]"] == 1 and found)
    assert now["chat_requests_total[repeated]"] == 1
    assert now["chat_turns_queued"] == 0


def test_the_connections_of_the_pool_are_shown(own: Service) -> None:
    now = figures(own.http)
    assert now["database_up"] == 1
    assert now["database_connections_max"] == 100
    assert 0 <= now["database_connections_active"] <= now["database_connections"] <= 100


def test_a_database_that_is_gone_is_down(make_service: MakeService) -> None:
    service = make_service(mongodb_uri="mongodb://127.0.0.1:1/")
    assert figures(service.http)["database_up"] == 0
    assert service.http.get("/metrics").json()["connection_pool"]["status"] == "error"


def test_no_session_and_no_text_gets_into_the_figures(own: Service) -> None:
    own.ask("xyzzy", session_id="abracadabra")
    own.http.get("/metrics/session/abracadabra")
    text = own.http.get("/metrics", headers=PROMETHEUS).text
    assert "xyzzy" not in text
    assert "abracadabra" not in text


def test_two_applications_in_one_process_count_apart() -> None:
    apps = [create_app(Settings(_env_file=None)) for _ in range(2)]
    apps[0].state.metrics.asked()
    written = [app.state.metrics.written("text/plain")[0] for app in apps]
    assert [b"chat_turns_queued 1.0" in each for each in written] == [True, False]


def test_several_processes_are_shown_as_one(tmp_path: Path) -> None:
    program = """
from chat_service.metrics import ServiceMetrics
import sys
metrics = ServiceMetrics()
turn = metrics.asked()
turn.started()
turn.ended({"event": "response_complete", "metadata": {"usage": {"input_tokens": 3, "output_tokens": 2}}})
print(metrics.written("text/plain")[0].decode())
"""
    environment = {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    runs = [
        subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60, check=True
        )
        for _ in range(2)
    ]
    assert 'chat_requests_total{outcome="complete"} 2.0' in runs[1].stdout
    assert 'chat_tokens_total{direction="input"} 6.0' in runs[1].stdout


@pytest.mark.parametrize(("environment", "status"), [("development", 200), ("staging", 404)])
def test_the_pool_is_for_debugging_in_development(make_service: MakeService, environment: str, status: int) -> None:
    assert make_service(environment=environment).http.get("/debug/pool").status_code == status


def test_debugging_can_be_switched(make_service: MakeService) -> None:
    shown = make_service(environment="staging", debug_routes=True).http.get("/debug/pool").json()
    assert (shown["status"], shown["pool_config"]["maxPoolSize"]) == ("connected", 100)
    assert make_service(debug_routes=False).http.get("/debug/pool").json()["code"] == "not_found"


def test_a_process_is_watched_from_outside(tmp_path: Path, port: int) -> None:
    with running(tmp_path, port, DEMO_DELAY="0") as service:
        service.http.post("/api/chat", json={"query": "hello"}).raise_for_status()
        assert eventually(lambda: figures(service.http)["chat_requests_total[complete]"]) == 1


def test_every_figure_is_documented(own: Service) -> None:
    page = (ROOT / "docs" / "observability.md").read_text()
    text = own.http.get("/metrics", headers={"Accept": "text/plain"}).text
    families = [family for family in text_string_to_metric_families(text) if not family.name.endswith("_created")]
    names = {f"{family.name}_total" if family.type == "counter" else family.name for family in families}
    assert len(names) == 12
    assert sorted(name for name in names if f"`{name}" not in page) == []


def test_a_database_that_stands_still_is_noticed_within_a_second_and_found_again(
    make_service: MakeService, tmp_path: Path
) -> None:
    with EmbeddedMongoDB(tmp_path, keep_running=False) as server:
        service = make_service(mongodb_uri=server.uri)
        assert figures(service.http)["database_up"] == 1
        assert server.pid
        os.kill(server.pid, signal.SIGSTOP)
        try:
            for path, status in {"/livez": 200, "/readyz": 503, "/health/factory": 503, "/metrics": 200}.items():
                assert service.http.get(path, timeout=2).status_code == status
            assert figures(service.http)["database_up"] == 0
        finally:
            os.kill(server.pid, signal.SIGCONT)
        eventually(lambda: service.http.get("/readyz").status_code == 200)
