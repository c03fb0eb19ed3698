"""Whatever customers, banks and operators do, in any order: the sums agree and every object keeps its shape."""

from __future__ import annotations

import contextlib
import json
import random
from collections.abc import Callable
from typing import Any

import pytest
import stripe

from appliance.stripe_sandbox.balance import fee_on
from appliance.stripe_sandbox.control import carry_out
from appliance.stripe_sandbox.core import Sandbox
from appliance.stripe_sandbox.errors import StripeError
from appliance.stripe_sandbox.hosted import Buyer
from appliance.stripe_sandbox.rendering import shown
from appliance.stripe_sandbox.settings import AfterRetries
from tests.stripe_sandbox.buying import (
    ASKS_ALWAYS,
    ASKS_ONCE,
    ATTACHES_ONLY,
    BACK,
    DECLINED,
    DISPUTED,
    PAYS,
    credit_session,
    item_of,
    monthly,
)
from tests.stripe_sandbox.conftest import Hands
from tests.stripe_sandbox.inprocess import client, settings
from tests.stripe_sandbox.shapes import problems

STEPS = 250
REFUSALS = (stripe.CardError, stripe.InvalidRequestError, StripeError)
"""As a customer meets them; anything else is a fault of the sandbox."""
NUMBERS = (
    PAYS,
    PAYS,
    PAYS,
    DECLINED,
    ASKS_ONCE,
    ASKS_ALWAYS,
    ATTACHES_ONLY,
    DISPUTED,
    "000123456789",
    "000111111116",
)


class Business:
    """Everybody who does something."""

    def __init__(self, chance: random.Random, sandbox: Sandbox, hands: Hands) -> None:
        self.chance, self.sandbox, self.hands, self.api = chance, sandbox, hands, client(sandbox)
        self.prices = [
            monthly(self.api, cents, name, interval)
            for cents, name, interval in ((2000, "Pro", "month"), (6000, "Max", "month"), (20000, "Year", "year"))
        ]
        self.customers = [self.api.v1.customers.create({"address": {"country": "NO"}}).id for _ in range(4)]

    def acts(self) -> list[Callable[[], object]]:
        return [
            self.buy, self.subscribe, self.change, self.cancel, self.refund, self.fail, self.dispute, self.decide,
            self.decline, self.pay_open, self.confirm, self.void, self.expire, self.save_card, self.detach,
            self.wait, self.wait, self.wait,
        ]  # fmt: skip

    def one(self, kind: str, **having: Any) -> str | None:
        rows = [
            row["id"]
            for row in self.sandbox.state.table(kind).rows.values()
            if all(row.get(name) == value for name, value in having.items())
        ]
        return self.chance.choice(rows) if rows else None

    def go_on(self, session: str) -> None:
        step = self.sandbox.pay_session(session, Buyer(self.chance.choice(NUMBERS)))
        if step.url and "/3ds/" in step.url and self.chance.random() < 0.7:
            self.sandbox.answer_3ds(step.url.rsplit("/", 1)[1], confirmed=self.chance.random() < 0.8)

    def buy(self) -> None:
        cents = self.chance.randrange(50, 20_000)
        session = credit_session(
            self.api,
            self.chance.choice(self.customers),
            cents,
            automatic_tax={"enabled": self.chance.random() < 0.5},
            allowed_payment_method_types=["card", "us_bank_account"],
            payment_intent_data={"setup_future_usage": "off_session"},
        )
        self.go_on(session.id)

    def subscribe(self) -> None:
        session = self.api.v1.checkout.sessions.create(
            {
                "mode": "subscription",
                "customer": self.chance.choice(self.customers),
                "success_url": BACK,
                "automatic_tax": {"enabled": self.chance.random() < 0.5},
                "line_items": [{"price": self.chance.choice(self.prices).id, "quantity": 1}],
            }
        )
        self.go_on(session.id)

    def change(self) -> None:
        name = self.one("subscription")
        if name is None:
            return
        before = self.api.v1.subscriptions.retrieve(name)
        params: Any = {
            "items": [{"id": item_of(before).id, "price": self.chance.choice(self.prices).id}],
            "proration_behavior": self.chance.choice(["none", "create_prorations", "always_invoice"]),
        }
        preview: Any = {"subscription": name, "subscription_details": params}
        upcoming = self.api.v1.invoices.create_preview(preview)
        behavior = self.chance.choice(["allow_incomplete", "error_if_incomplete", "pending_if_incomplete"])
        params["payment_behavior"] = behavior
        changed = self.api.v1.subscriptions.update(name, params)
        if changed.latest_invoice != before.latest_invoice:
            made = self.api.v1.invoices.retrieve(str(changed.latest_invoice))
            told, done = ([line.amount for line in one.lines.data] for one in (upcoming, made))
            assert told == done, "what was said before is what is charged"
            assert upcoming.amount_due == made.amount_due

    def cancel(self) -> None:
        name = self.one("subscription")
        if name is not None and self.chance.random() < 0.5:
            self.api.v1.subscriptions.cancel(name)
        elif name is not None:
            self.api.v1.subscriptions.update(name, {"cancel_at_period_end": self.chance.random() < 0.5})

    def refund(self) -> None:
        name = self.one("payment_intent", status="succeeded")
        if name is not None:
            left = self.chance.choice([None, self.chance.randrange(1, 5000)])
            self.api.v1.refunds.create({"payment_intent": name, **({"amount": left} if left else {})})

    def fail(self) -> None:
        self.control("fail_refund", refund=self.one("refund"))

    def dispute(self) -> None:
        self.control("dispute", charge=self.one("charge"))

    def decide(self) -> None:
        self.control("decide", dispute=self.one("dispute"), won=self.chance.choice(["true", "false"]))

    def decline(self) -> None:
        self.control("decline", customer=self.chance.choice(self.customers), count=self.chance.choice("0126"))

    def control(self, act: str, **fields: str | None) -> None:
        if None not in fields.values():
            carry_out(self.sandbox, act, fields)

    def pay_open(self) -> None:
        name = self.one("invoice", status="open")
        if name is not None and self.chance.random() < 0.5:
            self.sandbox.pay_invoice(name, Buyer(self.chance.choice(NUMBERS[:8])))
        elif name is not None:
            self.api.v1.invoices.pay(name)

    def confirm(self) -> None:
        name = self.one("payment_intent", status="requires_action")
        if name is not None:
            self.sandbox.answer_3ds(name, confirmed=self.chance.random() < 0.5)

    def void(self) -> None:
        name = self.one("invoice", status="open")
        if name is not None:
            self.api.v1.invoices.void_invoice(name)

    def expire(self) -> None:
        name = self.one("checkout.session", status="open")
        if name is not None:
            self.api.v1.checkout.sessions.expire(name)

    def save_card(self) -> None:
        customer = self.chance.choice(self.customers)
        method = self.api.v1.payment_methods.attach("pm_card_visa", {"customer": customer}).id
        self.api.v1.customers.update(customer, {"invoice_settings": {"default_payment_method": method}})

    def detach(self) -> None:
        name = self.one("payment_method")
        if name is not None and self.chance.random() < 0.3:
            self.api.v1.payment_methods.detach(name)

    def wait(self) -> None:
        self.hands.pass_days(self.chance.choice([0.01, 1, 3, 10, 31]))
        self.sandbox.catch_up()


@pytest.mark.parametrize("seed", range(8))
def test_the_sums_agree(seed: int, hands: Hands) -> None:
    chance = random.Random(seed)
    ends = chance.choice(list(AfterRetries))
    sandbox = Sandbox(settings(after_retries=ends, webhook_url="http://site.test/"), clock=hands)
    business = Business(chance, sandbox, hands)
    done = 0
    for _ in range(STEPS):
        with contextlib.suppress(*REFUSALS):
            chance.choice(business.acts())()
            done += 1
    assert done > STEPS / 2
    hands.pass_days(5)
    sandbox.catch_up()
    everything = {
        kind: list(table.rows.values()) for kind, table in sandbox.state.tables.items() if kind[0] != "_"
    }
    assert {one for rows in everything.values() for row in rows for one in problems(plain(row))} == set()
    check_sums(everything)


def plain(row: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(shown(row)))
    return found


def check_sums(everything: dict[str, list[dict[str, Any]]]) -> None:
    entries, charges = everything["balance_transaction"], everything["charge"]
    paid = [row for row in charges if row["paid"]]
    assert sum(row["amount"] for row in entries if row["type"] == "charge") == sum(row["amount"] for row in paid)
    assert sum(row["fee"] for row in entries if row["type"] == "charge") == sum(
        fee_on(row["amount"]) for row in paid
    )
    for payout in everything.get("payout", []):
        assert sum(row["net"] for row in entries if row["_payout"] == payout["id"]) == 0
    refunds = [row for row in everything.get("refund", []) if row["status"] == "succeeded"]
    for charge in charges:
        back = sum(row["amount"] for row in refunds if row["charge"] == charge["id"])
        assert charge["amount_refunded"] == back <= charge["amount"]
    intents = {row["id"]: row for row in everything["payment_intent"]}
    for intent in intents.values():
        taken = sum(row["amount"] for row in paid if row["payment_intent"] == intent["id"])
        assert taken == intent["amount_received"] == (intent["amount"] if intent["status"] == "succeeded" else 0)
    for invoice in everything.get("invoice", []):
        assert invoice["total"] == sum(
            line["amount"] + sum(tax["amount"] for tax in line["taxes"] if tax["tax_behavior"] == "exclusive")
            for line in invoice["lines"]["data"]
        )
        if invoice["_intent"] is not None:
            succeeded = intents[invoice["_intent"]]["status"] == "succeeded"
            assert succeeded == (invoice["status"] == "paid")
        if invoice["status"] != "draft":
            owed = invoice["total"] + invoice["starting_balance"]
            assert invoice["amount_due"] + invoice["ending_balance"] == owed
        assert invoice["amount_paid"] == (invoice["amount_due"] if invoice["status"] == "paid" else 0)
