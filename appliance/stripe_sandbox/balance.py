"""The operator's balance at Stripe: what came in and went out, the fee of each, and what is paid out each day.

https://docs.stripe.com/api/balance_transactions
"""

from __future__ import annotations

from appliance.stripe_sandbox.lists import PAGE, page_of
from appliance.stripe_sandbox.params import OneOf, Params, Schema, currency, text
from appliance.stripe_sandbox.proration import rounded
from appliance.stripe_sandbox.settings import DAY_SECONDS
from appliance.stripe_sandbox.state import Object
from appliance.stripe_sandbox.world import World

FEE_PER_MILLE, FEE_CENTS = 29, 30
DISPUTE_FEE_CENTS = 1500
AVAILABLE_AFTER_SECONDS = 2 * DAY_SECONDS
LISTED: Schema = {**PAGE, "currency": currency, "payout": text, "source": text, "type": text}
PAYOUTS_LISTED: Schema = {
    **PAGE,
    "arrival_date": PAGE["created"],
    "destination": text,
    "status": OneOf("pending", "paid", "failed", "canceled"),
}
DESTINATION = "ba_sandbox"


def fee_on(amount: int) -> int:
    """Of a card payment, in cents: 2.9 % and 30 cents."""
    return rounded(amount * FEE_PER_MILLE, 1000) + FEE_CENTS


def entry(
    world: World,
    kind: str,
    amount: int,
    source: str,
    *,
    category: str | None = None,
    fee: int = 0,
    fee_name: str = "Stripe processing fees",
    description: str | None = None,
    available: bool = False,
) -> Object:
    """One movement; ``amount`` and ``fee`` in cents, both as they change the balance before ``net``."""
    at_once = available or kind == "payout"
    row: Object = {
        "id": world.new_id("txn"),
        "object": "balance_transaction",
        "amount": amount,
        "available_on": world.now if at_once else world.now + AVAILABLE_AFTER_SECONDS,
        "balance_type": "payments",
        "created": world.now,
        "currency": world.settings.default_currency,
        "description": description,
        "exchange_rate": None,
        "fee": fee,
        "fee_details": [
            {
                "amount": fee,
                "application": None,
                "currency": world.settings.default_currency,
                "description": fee_name,
                "type": "stripe_fee",
            }
        ]
        if fee
        else [],
        "net": amount - fee,
        "reporting_category": category or kind,
        "source": source,
        "status": "available" if at_once else "pending",
        "type": kind,
        "_payout": None,
    }
    world.add("balance_transaction", row)
    if kind != "payout":
        world.state.put("_unpaid", row["id"], {"id": row["id"]})
    return row


def retrieve(world: World, _params: Params, name: str) -> Object:
    return world.get("balance_transaction", name)


def listed(world: World, params: Params) -> Object:
    renamed = {**params, "_payout": params.get("payout")}
    return page_of(
        world,
        "balance_transaction",
        "/v1/balance_transactions",
        renamed,
        by=("_payout", "source", "currency", "type"),
    )


def retrieve_payout(world: World, _params: Params, name: str) -> Object:
    return world.get("payout", name)


def list_payouts(world: World, params: Params) -> Object:
    return page_of(world, "payout", "/v1/payouts", params, by=("status", "destination"))


def pay_out(world: World, about: str) -> None:
    """At midnight: everything that became available, if that is more than nothing. And again the next day."""
    world.later(world.now + DAY_SECONDS, "payout", about)
    unpaid = world.state.table("_unpaid").rows
    entries = [world.get("balance_transaction", name) for name in list(unpaid)]
    ripe = [row for row in entries if row["available_on"] <= world.now]
    for row in ripe:
        if row["status"] == "pending":
            row["status"] = "available"
            world.touch(row)
    total = sum(row["net"] for row in ripe)
    if total <= 0:
        return
    payout = _payout(world, total)
    for row in ripe:
        row["_payout"] = payout["id"]
        world.touch(row)
        world.state.remove("_unpaid", row["id"])
    world.emit("payout.created", payout)
    payout["status"] = "paid"
    world.touch(payout)
    world.emit("payout.paid", payout)


def _payout(world: World, amount: int) -> Object:
    name = world.new_id("po")
    moved = entry(world, "payout", -amount, name, description="STRIPE PAYOUT")
    moved["_payout"] = name
    world.touch(moved)
    return world.add(
        "payout",
        {
            "id": name,
            "object": "payout",
            "amount": amount,
            "application_fee": None,
            "application_fee_amount": None,
            "arrival_date": world.now,
            "automatic": True,
            "balance_transaction": moved["id"],
            "created": world.now,
            "currency": world.settings.default_currency,
            "description": "STRIPE PAYOUT",
            "destination": DESTINATION,
            "failure_balance_transaction": None,
            "failure_code": None,
            "failure_message": None,
            "livemode": False,
            "metadata": {},
            "method": "standard",
            "original_payout": None,
            "payout_method": None,
            "reconciliation_status": "completed",
            "reversed_by": None,
            "source_type": "card",
            "statement_descriptor": None,
            "status": "pending",
            "trace_id": None,
            "type": "bank_account",
        },
    )
