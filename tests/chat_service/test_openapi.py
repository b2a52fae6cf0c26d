"""The OpenAPI document is complete and true: Schemathesis sends what it allows, and what it does not."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from chat_service import exceptions
from chat_service.config import Settings
from chat_service.main import create_app
from chat_service.security import authentication, refusals

from .callers import API_KEYS, bearer
from .conftest import MakeService
from .running import Service

EXAMPLES = os.environ.get("OPENAPI_EXAMPLES", "3")
"""Of each operation and phase. ``OPENAPI_EXAMPLES=200`` is the larger run."""


def document(**settings: Any) -> dict[str, Any]:
    return create_app(Settings(_env_file=None, **settings)).openapi()


def operations(found: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, item in found["paths"].items():
        for operation in item.values():
            yield path, operation


def documented(found: dict[str, Any]) -> set[tuple[str, str]]:
    """Every status with every code that the document names."""
    return {
        (status, code)
        for _, operation in operations(found)
        for status, response in operation["responses"].items()
        for code in response.get("content", {}).get("application/json", {}).get("examples", ())
    }


def run_schemathesis(folder: Path, service: Service, *options: str) -> None:
    result = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "run", f"{service.http.base_url}/openapi.json"),
            *("--max-examples", EXAMPLES, "--generation-deterministic", "--no-color", "--continue-on-failure"),
            *options,
        ],
        env={**os.environ, "SCHEMATHESIS_HOOKS": "openapi_hooks", "PYTHONPATH": str(Path(__file__).parent)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=folder,  # it leaves a folder of its own
        timeout=1800,
        check=False,
    )
    assert result.returncode == 0, result.stdout


def test_what_the_document_says_is_true_where_nobody_needs_a_key(make_service: MakeService, tmp_path: Path) -> None:
    # Without keys a question in an unknown session begins it, so what was deleted may well be there again.
    run_schemathesis(
        tmp_path, make_service(), "--exclude-checks", "use_after_free", "--phases", "examples,coverage,fuzzing"
    )


def test_what_the_document_says_is_true_where_keys_are_asked_for(make_service: MakeService, tmp_path: Path) -> None:
    service = make_service(api_keys=API_KEYS, operators="ada", failed_key_limit="1000000/minute")
    run_schemathesis(tmp_path, service, "--header", f"Authorization: {bearer('ada')['Authorization']}")


def test_every_error_of_the_service_is_in_the_document() -> None:
    found = documented(document(api_keys=API_KEYS, allowed_hosts="chat.example"))
    kinds = [
        kind
        for module in (exceptions, refusals)
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, exceptions.ServiceError)
    ]
    # What is told again has the status and the code of what it tells.
    expected = {(str(kind.status_code), kind.code) for kind in kinds if kind is not exceptions.RepeatedFailure}
    assert len(expected) > 12
    assert expected - found == set()


def test_every_answer_is_described_with_its_request_id_and_errors_with_one_schema() -> None:
    found = document(api_keys=API_KEYS)
    for path, operation in operations(found):
        for status, response in operation["responses"].items():
            assert response["headers"]["X-Request-ID"]["required"], (path, status)
            assert response["description"]
            for code, example in response.get("content", {}).get("application/json", {}).get("examples", {}).items():
                jsonschema.validate(example["value"], found["components"]["schemas"]["ErrorResponse"])
                assert (example["value"]["code"], str(example["value"]["status_code"])) == (code, status)
    assert not {"HTTPValidationError", "ValidationError"} & set(found["components"]["schemas"])


def test_a_waiting_time_is_promised_where_every_such_answer_has_one() -> None:
    responses = document()["paths"]["/api/chat"]["post"]["responses"]
    needed = {
        status: response["headers"].get("Retry-After", {}).get("required") for status, response in responses.items()
    }
    assert (needed["429"], needed["503"]) == (True, True)
    assert needed["409"] is False  # a cancelled answer will not be there later
    assert needed["404"] is None


def test_keys_are_in_the_document_where_they_are_asked_for_and_only_there() -> None:
    without, guarded = document(), document(api_keys=API_KEYS)
    assert "security" not in without
    assert "securitySchemes" not in without["components"]
    assert not {status for status, _ in documented(without)} & {"401", "403"}
    assert guarded["security"] == [{"bearer": []}, {"apiKey": []}]
    public = {path for path, operation in operations(guarded) if operation.get("security") == []}
    assert public == set(authentication.PUBLIC)
    closed = {path for path, operation in operations(guarded) if "403" in operation["responses"]}
    assert closed == {"/metrics", "/debug/pool"}


def test_debugging_routes_are_in_the_document_where_they_are_open() -> None:
    assert "/debug/pool" in document()["paths"]
    assert "/debug/pool" not in document(debug_routes=False)["paths"]


@pytest.mark.parametrize(
    "name", ["ResponseBlock", "ResponseChunk", "ToolStart", "ToolComplete", "ResponseComplete", "Stopped", "Failed"]
)
def test_every_event_is_described(name: str) -> None:
    schemas = document()["components"]["schemas"]
    assert {"$ref": f"#/components/schemas/{name}"} in schemas["Event"]["anyOf"]
    assert "event" in schemas[name]["required"]


def test_an_address_that_takes_several_methods_says_so(make_service: MakeService) -> None:
    service = make_service()
    for path, item in document()["paths"].items():
        answer = service.http.put(path)
        assert answer.status_code == 405, path
        assert {*answer.headers["allow"].split(", ")} - {"HEAD"} == {method.upper() for method in item}, path


def test_the_models_that_may_be_chosen_are_in_the_document() -> None:
    schemas = document(model_provider="openai", openai_api_key="x", model_id="a", model_choices="b,a")["components"][
        "schemas"
    ]
    assert schemas["AgentConfig"]["properties"]["model"]["enum"] == ["a", "b", None]
