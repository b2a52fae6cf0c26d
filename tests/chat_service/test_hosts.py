"""Under which names the service answers: a page must not make itself its origin by pointing a name of its own at it."""

from __future__ import annotations

import http.client

import pytest

from chat_service.config import Settings
from chat_service.security.settings import SecuritySettings

from .callers import API_KEYS, bearer
from .conftest import MakeService
from .running import Service

OWN = ["localhost", "LOCALHOST:8880", "localhost.", "app.localhost:1", "127.0.0.1:8880", "127.1.2.3", "[::1]:8880"]
FOREIGN = [
    "evil.example",
    "evil.example:8880",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "10.1.2.3",
    "[2001:db8::1]",
    "",
    "localhost@evil.example",
    "[::1",
    "127.0.0.1:x",
]


def asked(service: Service, host: str, path: str = "/api/sessions", **headers: str) -> int:
    return service.http.get(path, headers={"Host": host, **headers}).status_code


@pytest.fixture(scope="module")
def open_to_all(make_service: MakeService) -> Service:
    """It would listen on every address; the tests reach it by loopback all the same."""
    return make_service(host="0.0.0.0", allowed_hosts="chat.example.com, *.Example.net")


@pytest.mark.parametrize("host", OWN)
def test_a_service_without_keys_answers_under_the_names_of_this_machine(service: Service, host: str) -> None:
    assert asked(service, host) == 200


@pytest.mark.parametrize("host", FOREIGN)
def test_a_service_without_keys_refuses_every_other_name_on_every_address(service: Service, host: str) -> None:
    for path in ("/api/sessions", "/", "/chat.html", "/static/app.js", "/openapi.json", "/health", "/nothing"):
        assert asked(service, host, path) == 421, path


def test_a_refusal_says_what_to_do_and_does_not_repeat_the_name(service: Service) -> None:
    body = service.http.get("/api/sessions", headers={"Host": "evil.example"}).json()
    assert (body["code"], body["status_code"]) == ("unknown_host", 421)
    assert "ALLOWED_HOSTS" in body["error"]
    assert "evil" not in str(body)


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
def test_probes_are_answered_under_any_name(service: Service, path: str) -> None:
    assert asked(service, "10.1.2.3:8880", path) == 200


def test_a_client_so_old_that_it_sends_no_name_is_answered(service: Service) -> None:
    url = service.http.base_url
    connection = http.client.HTTPConnection(url.host, url.port or 80, timeout=5)
    connection._http_vsn, connection._http_vsn_str = 10, "HTTP/1.0"  # type: ignore[attr-defined]
    connection.putrequest("GET", "/api/sessions", skip_host=True)
    connection.endheaders()
    assert connection.getresponse().status == 200
    connection.close()


@pytest.mark.parametrize(
    "host", ["10.1.2.3:8880", "[2001:db8::1]", "chat.example.com:80", "a.b.example.net", "localhost"]
)
def test_names_that_are_set_and_the_addresses_that_it_listens_on_are_its_own(open_to_all: Service, host: str) -> None:
    assert asked(open_to_all, host) == 200


@pytest.mark.parametrize("host", ["a.chat.example.com", "example.net", "evilexample.net", "example.com"])
def test_a_name_that_is_set_stands_for_no_other(open_to_all: Service, host: str) -> None:
    assert asked(open_to_all, host) == 421


def test_the_name_it_listens_on_is_its_own(make_service: MakeService) -> None:
    service = make_service(host="Devbox.local")
    assert asked(service, "devbox.local:8880") == 200
    assert asked(service, "other.local:8880") == 421


def test_with_keys_any_name_will_do_unless_some_are_set(make_service: MakeService, guarded: Service) -> None:
    assert asked(guarded, "evil.example", **bearer("ada")) == 200
    strict = make_service(api_keys=API_KEYS, allowed_hosts="chat.example.com")
    assert asked(strict, "evil.example", **bearer("ada")) == 421
    assert asked(strict, "chat.example.com", **bearer("ada")) == 200


@pytest.mark.parametrize(
    ("names", "expected"), [("", ()), ("A.example,,b ", ("a.example", "b")), ("*.x.y,[::1]", ("*.x.y", "::1"))]
)
def test_names_stand_at_commas(names: str, expected: tuple[str, ...]) -> None:
    assert Settings(_env_file=None, allowed_hosts=names).allowed_hosts == expected


@pytest.mark.parametrize("names", ["*", "https://a.example", "a.example:80", "a/b", "a b", "*.*", "a.*.b", "."])
def test_what_is_no_name_is_refused_at_the_start(names: str) -> None:
    with pytest.raises(ValueError, match="allowed_hosts"):
        SecuritySettings(allowed_hosts=names)
