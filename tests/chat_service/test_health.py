from __future__ import annotations

import time

import pytest

from .conftest import MakeService
from .running import Service


@pytest.mark.parametrize("path", ["/health", "/api/health", "/readyz"])
def test_a_service_that_can_work_is_healthy(service: Service, path: str) -> None:
    response = service.http.get(path)
    assert response.status_code == 200
    body = response.json()
    assert body["status"] == "healthy"
    assert body["connection_pool"]["status"] == "connected"
    assert body["timestamp"]


@pytest.mark.parametrize(
    "path", ["/livez", "/readyz", "/health", "/api/health", "/", "/chat.html", "/static/scripts/app.js"]
)
def test_a_monitor_may_ask_for_the_head_alone(service: Service, path: str) -> None:
    whole, head = service.http.get(path), service.http.head(path)
    assert head.status_code == whole.status_code == 200
    assert head.content == b""
    assert head.headers["content-type"] == whole.headers["content-type"]
    assert int(head.headers["content-length"]) > 0


def test_no_page_asks_another_host_for_its_parts(service: Service) -> None:
    for path in ("/docs", "/redoc"):
        assert service.http.get(path).json()["code"] == "not_found"
    assert service.http.get("/openapi.json").json()["openapi"]


def test_addresses_are_nobodys_business(service: Service) -> None:
    for path in ("/health", "/"):
        assert "127.0.0.1" not in service.http.get(path).text
        assert "mongodb://" not in service.http.get(path).text


def test_without_its_database_a_service_lives_but_is_not_ready(make_service: MakeService) -> None:
    service = make_service(mongodb_uri="mongodb://127.0.0.1:1/")
    for path in ("/health", "/api/health", "/readyz"):
        began = time.monotonic()
        response = service.http.get(path)
        assert time.monotonic() - began < 2
        assert response.status_code == 503
        assert response.json()["status"] == "unhealthy"
        assert set(response.json()) == {"status", "connection_pool", "timestamp"}
    assert service.http.get("/livez").json() == {"status": "alive"}


def test_the_root_shows_programs_the_state_and_browsers_the_page(service: Service) -> None:
    state = service.http.get("/")
    assert set(state.json()) == {"status", "startup_time", "pool_stats"}
    page = service.http.get("/", headers={"Accept": "text/html,*/*"})
    assert page.headers["content-type"].startswith("text/html")
    assert page.text == service.http.get("/chat.html").text
    assert state.headers["vary"] == "Accept, Origin"
    assert page.headers["vary"] == "Accept, Accept-Encoding, Origin"


def test_the_page_runs_no_script_but_its_own(service: Service) -> None:
    response = service.http.get("/chat.html")
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert response.headers["x-content-type-options"] == "nosniff"
    for name in ("scripts/app.js", "scripts/stream.js", "styles/page.css", "highlight.css", "icon.svg"):
        asset = service.http.get(f"/static/{name}")
        assert asset.status_code == 200
        assert asset.headers["cache-control"] == "no-cache"
    assert service.http.get("/static/../config.py").status_code == 404
    assert service.http.get("/static/none.js").json()["code"] == "not_found"
