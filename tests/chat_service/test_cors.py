"""Which pages of other origins a browser lets in."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from chat_service.config import ConfigurationError, Settings, load_settings
from chat_service.main import create_app
from chat_service.security.origins import HEADERS, METHODS

from .callers import API_KEYS, bearer
from .conftest import MakeService
from .running import Service

SITE = "https://app.example.com"


@pytest.fixture(scope="module")
def guarded(make_service: MakeService) -> Service:
    return make_service(
        environment="production",
        api_keys=API_KEYS,
        cors_origins=f"{SITE}, https://B.example:443,capacitor://localhost",
        vercel_url="chat.vercel.app",
        custom_domain="https://chat.example.com",
        rate_limit="off",
    )


def preflight(service: Service, origin: str, method: str = "POST", *headers: str) -> httpx.Response:
    asked = {"Origin": origin, "Access-Control-Request-Method": method}
    if headers:
        asked["Access-Control-Request-Headers"] = ", ".join(headers)
    return service.http.options("/api/chat", headers=asked)


@pytest.mark.parametrize(
    "origin",
    [
        SITE,
        "https://b.example",
        "capacitor://localhost",
        "https://chat.vercel.app",
        "https://chat.example.com",
    ],
)
def test_a_page_of_a_listed_origin_is_let_in(guarded: Service, origin: str) -> None:
    response = preflight(guarded, origin, "POST", "content-type", "authorization")
    assert response.status_code == 200
    assert response.headers["Access-Control-Allow-Origin"] == origin
    assert response.headers["Access-Control-Allow-Credentials"] == "true"
    assert response.headers["Access-Control-Max-Age"] == "600"


@pytest.mark.parametrize(
    "origin",
    [
        "https://app.example.com.evil.example",
        "https://app.example.com:444",
        "http://app.example.com",
        "https://evil.example",
        "http://localhost:3000",
        "null",
        "",
    ],
)
def test_no_other_page_is(guarded: Service, origin: str) -> None:
    assert "Access-Control-Allow-Origin" not in preflight(guarded, origin).headers
    answer = guarded.http.get("/api/sessions", headers={"Origin": origin, **bearer("ada")})
    assert "Access-Control-Allow-Origin" not in answer.headers


def test_every_method_and_header_in_use_is_let_through(guarded: Service) -> None:
    app = create_app(Settings(_env_file=None))
    in_use = {method.upper() for item in app.openapi()["paths"].values() for method in item}
    assert set(METHODS) >= in_use - {"HEAD"}
    for method in METHODS:
        assert preflight(guarded, SITE, method, *HEADERS).status_code == 200
    assert preflight(guarded, SITE, "PUT").status_code == 400
    assert preflight(guarded, SITE, "POST", "X-Other").status_code == 400


def test_a_page_may_read_the_headers_that_it_needs_also_of_an_error(guarded: Service) -> None:
    headers = {"Origin": SITE, **bearer("ada")}
    answers = [
        guarded.http.get("/api/sessions", headers=headers),
        guarded.http.get("/api/sessions", headers={"Origin": SITE}),
        guarded.http.get("/nowhere", headers=headers),
        guarded.http.post("/api/chat", content=b"x" * 100_000, headers=headers),
    ]
    assert [response.status_code for response in answers] == [200, 401, 404, 413]
    for response in answers:
        assert response.headers["Access-Control-Allow-Origin"] == SITE
        exposed = response.headers["Access-Control-Expose-Headers"]
        assert {"session-id", "X-Request-ID", "Retry-After"} <= set(exposed.split(", "))


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("http://localhost:3000", True),
        ("http://127.0.0.1:5173", True),
        ("https://localhost", True),
        ("http://[::1]:8080", True),
        ("http://localhost.evil.example", False),
        ("http://localhost:3000.evil.example", False),
        ("https://evil.example", False),
        ("null", False),
    ],
)
def test_in_development_pages_of_this_machine_are_let_in(service: Service, origin: str, allowed: bool) -> None:
    assert (preflight(service, origin).headers.get("Access-Control-Allow-Origin") == origin) is allowed


def test_in_development_a_list_takes_the_place_of_that(make_service: MakeService) -> None:
    service = make_service(cors_origins=SITE, vercel_url="chat.vercel.app")
    assert preflight(service, SITE).status_code == 200
    for origin in ("http://localhost:3000", "https://chat.vercel.app"):
        assert preflight(service, origin).status_code == 400


@pytest.mark.parametrize("name", ["CORS_ORIGINS", "ALLOWED_ORIGINS"])
def test_the_list_is_read_from_either_variable(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, f" {SITE} ,http://localhost:80,, https://[2001:DB8::1]:8443")
    assert load_settings().cors_origins == (SITE, "http://localhost", "https://[2001:db8::1]:8443")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CORS_ORIGINS", "*"),
        ("CORS_ORIGINS", "https://*.example.com"),
        ("CORS_ORIGINS", "app.example.com"),
        ("CORS_ORIGINS", "https://app.example.com/"),
        ("CORS_ORIGINS", "https://app.example.com/path"),
        ("CORS_ORIGINS", "https://user@app.example.com"),
        ("CORS_ORIGINS", "https://app.example.com:99999"),
        ("CORS_ORIGINS", "https://bücher.example"),
        ("CORS_ORIGINS", "null"),
        ("CORS_ORIGINS", '["https://app.example.com"]'),
        ("VERCEL_URL", "chat.vercel.app/path"),
        ("CUSTOM_DOMAIN", "*"),
    ],
)
def test_what_is_no_origin_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=rf"^{name}: "):
        load_settings()


def test_a_list_can_be_given_as_one() -> None:
    settings: Any = Settings(_env_file=None, cors_origins=[SITE])
    assert settings.cors_origins == (SITE,)
