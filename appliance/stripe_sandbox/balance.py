"""The operator's balance at Stripe: what came in and went out, the fee of each, and what is paid out each day.

https://docs.stripe.com/api/balance_transactions
"""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal

from appliance.stripe_sandbox.lists import PAGE, page_of
from appliance.stripe_sandbox.params import OneOf, Params, Schema, text
from appliance.stripe_sandbox.params import currency as currency_code
from appliance.stripe_sandbox.proration import rounded
from appliance.stripe_sandbox.settings import DAY_SECONDS
from appliance.stripe_sandbox.state import Object
from appliance.stripe_sandbox.world import World

FEE_PER_MILLE, FEE_CENTS = 29, 30
DISPUTE_FEE_CENTS = 1500
AVAILABLE_AFTER_SECONDS = 2 * DAY_SECONDS
LISTED: Schema = {**PAGE, "currency": currency_code, "payout": text, "source": text, "type": text}
PAYOUTS_LISTED: Schema = {
    **PAGE,
    "arrival_date": PAGE["created"],
    "destination": text,
    "status": OneOf("pending", "paid", "failed", "canceled"),
}
DESTINATION = "ba_sandbox"
SETTLES_IN, RATE = "settles_in", "exchange_rate"
"""In the state: the currency of the balance and the rate, where the operator said otherwise than the settings."""


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
    paid_out_in: str | None = None,
) -> Object:
    """One movement; ``amount`` and ``fee`` in cents, both as they change the balance before ``net``.

    They are of what is sold in, and are exchanged into the balance's currency at the rate of this moment; those of
    a payout are ``paid_out_in`` already.
    """
    at_once = available or paid_out_in is not None
    rate = None if paid_out_in is not None else rate_now(world)
    amount, fee = exchanged(amount, rate), exchanged(fee, rate)
    currency = paid_out_in or settles_in(world)
    row: Object = {
        "id": world.new_id("txn"),
        "object": "balance_transaction",
        "amount": amount,
        "available_on": world.now if at_once else world.now + AVAILABLE_AFTER_SECONDS,
        "balance_type": "payments",
        "created": world.now,
        "currency": currency,
        "description": description,
        "exchange_rate": rate,
        "fee": fee,
        "fee_details": [
            {
                "amount": fee,
                "application": None,
                "currency": currency,
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
    if paid_out_in is None:
        world.state.put("_unpaid", row["id"], {"id": row["id"]})
    return row


def settles_in(world: World) -> str:
    return str(world.state.values.get(SETTLES_IN, world.settings.default_currency))


def rate_now(world: World) -> float | None:
    """None where the balance is kept in what is sold in."""
    if settles_in(world) == world.settings.sold_in:
        return None
    return float(world.state.values.get(RATE, world.settings.exchange_rate))


def exchanged(amount: int, rate: float | None) -> int:
    """Half away from zero."""
    return amount if rate is None else int((amount * Decimal(str(rate))).quantize(Decimal(1), ROUND_HALF_UP))


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
    for currency in sorted({row["currency"] for row in ripe}):
        _pay_out(world, [row for row in ripe if row["currency"] == currency], currency)


def _pay_out(world: World, ripe: list[Object], currency: str) -> None:
    total = sum(row["net"] for row in ripe)
    if total <= 0:
        return
    payout = _payout(world, total, currency)
    for row in ripe:
        row["_payout"] = payout["id"]
        world.touch(row)
        world.state.remove("_unpaid", row["id"])
    world.emit("payout.created", payout)
    payout["status"] = "paid"
    world.touch(payout)
    world.emit("payout.paid", payout)


def _payout(world: World, amount: int, currency: str) -> Object:
    name = world.new_id("po")
    moved = entry(world, "payout", -amount, name, description="STRIPE PAYOUT", paid_out_in=currency)
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
            "currency": currency,
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
