"""A fresh sandbox for each test, on a clock that the test moves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
import stripe

from appliance.stripe_sandbox.core import Sandbox
from tests.stripe_sandbox.inprocess import InProcessClient, settings
from tests.stripe_sandbox.shapes import problems

DAY = 86_400


class Hands:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.instant = float(at(2027, 1, 10, 12))

    def __call__(self) -> float:
        return self.instant

    def pass_days(self, days: float) -> None:
        self.instant += days * DAY

    def go_to(self, instant: int) -> None:
        self.instant = float(instant)


def at(year: int, month: int, day: int, hour: int = 0) -> int:
    return int(datetime(year, month, day, hour, tzinfo=UTC).timestamp())


@pytest.fixture
def hands() -> Hands:
    return Hands()


@pytest.fixture
def sandbox(hands: Hands) -> Sandbox:
    return Sandbox(settings(webhook_url="http://site.test/webhooks"), clock=hands, receivers_clock=hands)


@pytest.fixture
def api(sandbox: Sandbox) -> Iterator[stripe.StripeClient]:
    """Every answer to the test, and every event, is held to the SDK's own types in the end."""
    http = InProcessClient(sandbox)
    yield stripe.StripeClient(sandbox.settings.api_key, http_client=http)
    answers = [json.loads(answer.body) for answer in http.answers if answer.status == 200]
    events = [json.loads(json.dumps(row)) for row in sandbox.state.table("event").rows.values()]
    assert {problem for answer in [*answers, *events] for problem in problems(answer)} == set()
