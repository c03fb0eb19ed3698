"""What every endpoint works on: the objects, the instant, what is to be done later, who is told of changes."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from appliance.stripe_sandbox.errors import InvalidRequest, missing
from appliance.stripe_sandbox.settings import SandboxSettings
from appliance.stripe_sandbox.state import Object, State

NAMES = {
    "checkout.session": "checkout.session",
    "payment_intent": "payment_intent",
    "payment_method": "PaymentMethod",
    "invoiceitem": "invoiceitem",
    "tax.calculation": "tax calculation",
    "tax.transaction": "tax transaction",
    "tax_id": "tax ID",
    "tax_rate": "tax rate",
    "test_helpers.test_clock": "test clock",
}
"""As Stripe's messages call what does not exist."""


@dataclass(frozen=True, slots=True)
class Cause:
    """Which request made something happen; neither, if the clock did."""

    request: str | None = None
    idempotency_key: str | None = None


class World:
    """``now`` is the instant at which something happens, which may be before the clock's, if it was due then.

    ``goal`` is where a request wants the clock.
    """

    def __init__(self, state: State, settings: SandboxSettings, told: Callable[[Object], int]) -> None:
        """``told`` takes each event and gives the number of places that it will be sent to."""
        self.state = state
        self.settings = settings
        self.now = 0
        self.goal = 0
        self.cause = Cause()
        self._told = told
        self._due = [(job["when"], job["place"], name) for name, job in state.table("_job").rows.items()]
        heapq.heapify(self._due)

    def new_id(self, prefix: str) -> str:
        """Stripe's ids look like this one, and it is the same in each run with the same seed."""
        count = self.state.values.get("ids", 0) + 1
        self.state.keep("ids", count)
        digest = hashlib.blake2b(f"{self.state.values['seed']}:{count}".encode(), digest_size=12).hexdigest()
        return f"{prefix}_{digest}"

    def get(self, kind: str, name: str | None, param: str = "id") -> Object:
        """Raises InvalidRequest, ``resource_missing``."""
        row = self.state.table(kind).rows.get(name or "")
        if row is None:
            raise missing(NAMES.get(kind, kind), name or "", param)
        return row

    def add(self, kind: str, row: Object) -> Object:
        return self.state.put(kind, row["id"], row)

    def touch(self, row: Object) -> None:
        """It was changed in place."""
        self.state.put(row["object"], row["id"], row)

    def having(self, kind: str, field: str, value: str) -> list[Object]:
        """The oldest first."""
        return self.state.table(kind).having(field, value)

    def emit(self, kind: str, row: Object, **previous: Any) -> None:
        """``previous`` are the values that changed, as they were."""
        from appliance.stripe_sandbox.events import event_of

        event = event_of(self, kind, row, previous)
        self.add("event", event)
        event["pending_webhooks"] = self._told(event)

    def later(self, when: int, what: str, about: str) -> None:
        """At ``when``, at the earliest."""
        place = self.state.values.get("jobs", 0) + 1
        self.state.keep("jobs", place)
        name = f"job_{place}"
        self.state.put("_job", name, {"when": when, "place": place, "what": what, "about": about})
        heapq.heappush(self._due, (when, place, name))

    def move_to(self, instant: int) -> None:
        """The clock is to be moved there as soon as the request is carried out."""
        self.goal = max(self.goal, instant)

    def next_due(self, until: int) -> tuple[str, str] | None:
        """Takes the earliest of what is due by then, and makes it ``now``: what is to be done, about which id."""
        if not self._due or self._due[0][0] > until:
            return None
        when, _, name = heapq.heappop(self._due)
        job = self.state.table("_job").rows[name]
        self.state.remove("_job", name)
        self.now = max(self.now, when)
        return job["what"], job["about"]


def refuse_if(condition: bool, message: str, *, param: str | None = None, code: str | None = None) -> None:
    """Raises InvalidRequest."""
    if condition:
        raise InvalidRequest(message, param=param, code=code)
