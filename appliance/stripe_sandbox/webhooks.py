"""What is sent of each event: signed, again until it is taken, and wrongly if one asks for that.

https://docs.stripe.com/webhooks
"""

from __future__ import annotations

import hashlib
import hmac
import random
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from appliance.stripe_sandbox.params import Params
from appliance.stripe_sandbox.rendering import shown
from appliance.stripe_sandbox.settings import API_VERSION, SandboxSettings
from appliance.stripe_sandbox.state import Object, State
from appliance.stripe_sandbox.world import World

WAITS_SECONDS = (5, 30, 300, 3600, 6 * 3600, 24 * 3600)
"""After each try that failed; after the last of them it is given up."""
HELD_SECONDS = 60
"""How long a delivery waits at most for a later one to overtake it."""
ENDPOINT = "we_sandbox"


class Fault(StrEnum):
    """How the sandbox misbehaves, as the network and Stripe do now and then."""

    DROP = "drop"
    DUPLICATE = "duplicate"
    DELAY = "delay"
    REORDER = "reorder"


@dataclass(frozen=True, slots=True)
class Delivery:
    """One try to be made: POST ``body`` to ``url``."""

    id: str
    url: str
    body: bytes
    headers: dict[str, str]


class Outbox:
    """Kept in the state, as kind ``_delivery``. Times are the sandbox's."""

    def __init__(self, state: State, settings: SandboxSettings) -> None:
        self._state = state
        self._settings = settings
        self._random = random.Random(f"{state.values['seed']}:webhooks")  # noqa: S311
        rows = state.table("_delivery").rows
        self._open = {name: None for name, one in rows.items() if one["status"] in ("waiting", "held")}
        self._held = [name for name in self._open if rows[name]["status"] == "held"]
        self.faults: dict[Fault, dict[str, float]] = {}

    def set_fault(self, fault: Fault, *, probability: float, count: int, seconds: float) -> None:
        """For the next ``count`` events, and any other with ``probability``; ``seconds`` is for a delay."""
        self.faults[fault] = {"probability": probability, "count": count, "seconds": seconds}

    def take(self, event: Object, now: int) -> int:
        """Returns how many deliveries were made of it that are still to be sent."""
        overtaken, self._held = self._held, []
        if self._settings.webhook_url is None:
            return 0
        if self._strikes(Fault.DROP):
            self._add(event, now, "dropped")
            return 0
        wait = int(self.faults[Fault.DELAY]["seconds"]) if self._strikes(Fault.DELAY) else 0
        held_back = self._strikes(Fault.REORDER)
        for _ in range(2 if self._strikes(Fault.DUPLICATE) else 1):
            self._add(event, now + (HELD_SECONDS if held_back else wait), "held" if held_back else "waiting")
        for name in overtaken:
            if name in self._open:
                self._change(self._row(name), status="waiting", due=now, place=self._place())
        return 1

    def due(self, now: int, signed_at: int) -> list[Delivery]:
        """What is to be sent now, in order. ``signed_at`` is the receiver's time, in seconds."""
        rows = [self._row(name) for name in self._open]
        ready = sorted((row for row in rows if row["due"] <= now), key=lambda row: row["place"])
        return [self._delivery(row, signed_at) for row in ready]

    def sent(self, name: str, status: int, now: int) -> None:
        """``status`` is the receiver's of HTTP, 0 if there was no answer."""
        row = self._row(name)
        tries = row["tries"] + 1
        if 200 <= status < 300:
            self._change(row, tries=tries, last_status=status, status="delivered")
            self._event_delivered(row["event"])
        elif tries > len(WAITS_SECONDS):
            self._change(row, tries=tries, last_status=status, status="given up")
        else:
            self._change(
                row, tries=tries, last_status=status, status="waiting", due=now + WAITS_SECONDS[tries - 1]
            )
        if row["status"] != "waiting":
            self._open.pop(name, None)

    def send_again(self, event: Object, now: int) -> None:
        self._add(event, now, "waiting")

    def log(self, most: int) -> list[Object]:
        """The latest first."""
        return [row for row, _ in zip(self._state.table("_delivery").newest(), range(most), strict=False)]

    def _event_delivered(self, name: str) -> None:
        event = self._state.table("event").rows[name]
        event["pending_webhooks"] = 0
        self._state.put("event", name, event)

    def _strikes(self, fault: Fault) -> bool:
        chosen = self.faults.get(fault)
        if chosen is None:
            return False
        if chosen["count"] > 0:
            chosen["count"] -= 1
            return True
        return self._random.random() < chosen["probability"]

    def _row(self, name: str) -> Object:
        return self._state.table("_delivery").rows[name]

    def _place(self) -> int:
        place = int(self._state.values.get("deliveries", 0)) + 1
        self._state.keep("deliveries", place)
        return place

    def _add(self, event: Object, due: int, status: str) -> None:
        place = self._place()
        name = f"delivery_{place}"
        row = {
            "id": name,
            "event": event["id"],
            "type": event["type"],
            "due": due,
            "place": place,
            "tries": 0,
            "last_status": None,
            "status": status,
        }
        self._state.put("_delivery", name, row)
        if status != "dropped":
            self._open[name] = None
        if status == "held":
            self._held.append(name)

    def _change(self, row: Object, **changes: object) -> None:
        row.update(changes)
        self._state.put("_delivery", row["id"], row)

    def _delivery(self, row: Object, signed_at: int) -> Delivery:
        body = msgspec.json.encode(shown(self._state.table("event").rows[row["event"]]))
        headers = {
            "content-type": "application/json; charset=utf-8",
            "user-agent": "Stripe/1.0 (sandbox)",
            "stripe-signature": signature(body, self._settings.webhook_secret, signed_at),
        }
        return Delivery(row["id"], self._settings.webhook_url or "", body, headers)


def signature(body: bytes, secret: str, signed_at: int) -> str:
    """The header ``Stripe-Signature``."""
    digest = hmac.new(secret.encode(), b"%d.%s" % (signed_at, body), hashlib.sha256).hexdigest()
    return f"t={signed_at},v1={digest}"


def endpoints(world: World, _params: Params) -> Object:
    url = world.settings.webhook_url
    rows = (
        []
        if url is None
        else [
            {
                "id": ENDPOINT,
                "object": "webhook_endpoint",
                "api_version": API_VERSION,
                "application": None,
                "created": world.state.values["began"],
                "description": None,
                "enabled_events": ["*"],
                "livemode": False,
                "metadata": {},
                "status": "enabled",
                "url": url,
            }
        ]
    )
    return {"object": "list", "data": rows, "has_more": False, "url": "/v1/webhook_endpoints"}
