"""What Schemathesis is told of the service besides its document."""

from __future__ import annotations

from typing import Any

import schemathesis
from schemathesis import Case, CheckContext, HookContext, Response
from schemathesis.core.failures import Failure
from schemathesis.openapi.checks import UseAfterFree

ONLY_THE_SERVER_CAN_JUDGE = (
    "idempotency_key_reused",  # in the run there are fewer keys than questions
    "query: Field required",  # of an address without last_event_id: OpenAPI cannot say "one of these parameters"
)


@schemathesis.check
def error_code_conformance(context: CheckContext, response: Response, case: Case[Any]) -> None:
    """An error has a code that the document names for this route and this status."""
    described = case.operation.definition.raw["responses"].get(str(response.status_code), {})
    examples = described.get("content", {}).get("application/json", {}).get("examples")
    if examples:
        code = response.json()["code"]
        assert code in examples, f"{code} is not among {sorted(examples)}"


@schemathesis.hook
def filter_failure(context: HookContext, failure: Failure, case: Case[Any], response: Response) -> bool:
    """A valid request may be refused for what only the server knows; and what has lost keys is not gone."""
    if isinstance(failure, UseAfterFree):
        return not failure.free.partition("?")[0].endswith("/metadata")
    if failure.code != "ST202":
        return True
    body = response.json()
    judged = body["code"] == "validation_error" and not body["details"]
    return not (judged or {body["code"], body["error"]} & set(ONLY_THE_SERVER_CAN_JUDGE))
