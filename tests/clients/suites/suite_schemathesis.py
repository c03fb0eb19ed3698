"""Schemathesis on our own description: at least 5,000 requests, and no answer that it does not name."""

import os
from collections import Counter
from collections.abc import Callable
from typing import Any

import schemathesis
from hypothesis import HealthCheck, settings
from plain_words import python_in
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

BASE = os.environ["OPENAI_BASE_URL"].removesuffix("/v1")
KEY = os.environ["OPENAI_API_KEY"]
ENOUGH = 5000
EXAMPLES = 260
LIMITS = {"messages": "max_tokens", "prompt": "max_tokens", "input": "max_output_tokens"}
CHECKS = [
    not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance,
]  # fmt: skip
statuses: Counter[int] = Counter()

schema = schemathesis.openapi.from_url(BASE + "/openapi.json")


@schema.hook
def map_body(context: Any, body: Any) -> Any:
    """Long answers tell no more than short ones, and cost time."""
    if isinstance(body, dict):
        for name in ("max_tokens", "max_output_tokens", "n"):
            if isinstance(body.get(name), int | float):  # 19.0 is an integer in JSON
                body[name] = min(body[name], 3)
        for prompt, limit in (
            ("messages", "max_tokens"),
            ("prompt", "max_tokens"),
            ("input", "max_output_tokens"),
        ):
            if prompt in body and body.get(limit) is None:
                body[limit] = 2
    return body


@schema.parametrize()
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_operation(case: Any) -> None:
    response = case.call(headers={"authorization": f"Bearer {KEY}"}, timeout=180)
    statuses[response.status_code] += 1
    case.validate_response(response, checks=CHECKS)
    if 400 <= response.status_code < 500 and "application/json" in response.headers["content-type"]:
        error = response.json().get("error") or {}
        assert python_in(str(error.get("message", ""))) is None, error


def test_there_were_enough(record_testsuite_property: Callable[[str, object], None]) -> None:
    record_testsuite_property("requests", sum(statuses.values()))
    record_testsuite_property("statuses", dict(sorted(statuses.items())))
    assert sum(statuses.values()) >= ENOUGH, statuses
    assert not any(status >= 500 for status in statuses), statuses
    assert statuses[200] > ENOUGH / 10, statuses
