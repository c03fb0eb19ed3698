"""Refunds. https://docs.stripe.com/api/refunds"""

from __future__ import annotations

from appliance.stripe_sandbox.balance import entry
from appliance.stripe_sandbox.errors import InvalidRequest
from appliance.stripe_sandbox.lists import PAGE, page_of
from appliance.stripe_sandbox.params import OneOf, Params, Schema, merged_metadata, metadata, text, whole
from appliance.stripe_sandbox.state import Object
from appliance.stripe_sandbox.tax_transactions import intent_refunded
from appliance.stripe_sandbox.world import World, refuse_if

CREATED: Schema = {
    "payment_intent": text,
    "charge": text,
    "amount": whole,
    "metadata": metadata,
    "reason": OneOf("duplicate", "fraudulent", "requested_by_customer"),
}
UPDATED: Schema = {"metadata": metadata}
LISTED: Schema = {**PAGE, "payment_intent": text, "charge": text}
FAIL_NEXT = "refunds_that_fail"
"""In the state: how many of the next refunds will fail a moment after they were made."""


def create(world: World, params: Params) -> Object:
    """Of the whole rest without an amount. Raises InvalidRequest if there is not so much left."""
    charge = _charge(world, params)
    left = charge["amount"] - charge["amount_refunded"]
    refuse_if(
        left == 0,
        f"Charge {charge['id']} has already been refunded.",
        code="charge_already_refunded",
    )
    amount = params.get("amount", left)
    refuse_if(amount <= 0, "Invalid positive integer", param="amount", code="parameter_invalid_integer")
    refuse_if(
        amount > left,
        f"Refund amount (${amount / 100:.2f}) is greater than unrefunded amount on charge (${left / 100:.2f})",
        param="amount",
    )
    refuse_if(
        charge["disputed"] and not _refundable(world, charge),
        f"Charge {charge['id']} has been charged back; cannot issue a refund.",
        code="charge_disputed",
    )
    row = _refund(world, charge, amount, params)
    _count_refunded(world, charge, amount)
    intent_refunded(world, charge["payment_intent"], row["id"], amount)
    world.emit("refund.created", row)
    world.emit("charge.refunded", charge, amount_refunded=charge["amount_refunded"] - amount)
    to_fail = world.state.values.get(FAIL_NEXT, 0)
    if to_fail:
        world.state.keep(FAIL_NEXT, to_fail - 1)
        world.later(world.now, "fail_refund", row["id"])
    return row


def fail(world: World, name: str) -> None:
    """The bank gave the money back: it is the operator's again. Nothing if it did fail already."""
    row = world.get("refund", name)
    if row["status"] != "succeeded":
        return
    moved = entry(world, "refund_failure", row["amount"], name, category="refund_failure")
    row.update(status="failed", failure_reason="unknown", failure_balance_transaction=moved["id"])
    world.touch(row)
    _count_refunded(world, world.get("charge", row["charge"]), -row["amount"])
    intent_refunded(world, row["payment_intent"], name, -row["amount"])
    world.emit("refund.updated", row, status="succeeded")
    world.emit("refund.failed", row)


def retrieve(world: World, _params: Params, name: str) -> Object:
    return world.get("refund", name)


def update(world: World, params: Params, name: str) -> Object:
    row = world.get("refund", name)
    before = row["metadata"]
    row["metadata"] = merged_metadata(before, params)
    world.touch(row)
    world.emit("refund.updated", row, metadata=before)
    return row


def listed(world: World, params: Params) -> Object:
    return page_of(world, "refund", "/v1/refunds", params, by=("payment_intent", "charge"))


def _charge(world: World, params: Params) -> Object:
    if params.get("charge"):
        charge = world.get("charge", params["charge"], "charge")
    elif params.get("payment_intent"):
        intent = world.get("payment_intent", params["payment_intent"], "payment_intent")
        refuse_if(
            intent["status"] != "succeeded",
            f"This PaymentIntent ({intent['id']}) does not have a successful charge to refund.",
            param="payment_intent",
        )
        charge = world.get("charge", intent["latest_charge"])
    else:
        raise InvalidRequest(
            "One of the following params should be provided for this request: payment_intent or charge.",
            code="parameter_missing",
        )
    refuse_if(not charge["paid"], f"Charge {charge['id']} was not paid; it cannot be refunded.", param="charge")
    return charge


def _refundable(world: World, charge: Object) -> bool:
    disputes = world.having("dispute", "charge", charge["id"])
    return all(dispute["status"] == "won" for dispute in disputes)


def _count_refunded(world: World, charge: Object, amount: int) -> None:
    charge["amount_refunded"] += amount
    charge["refunded"] = charge["amount_refunded"] == charge["amount"]
    world.touch(charge)


def _refund(world: World, charge: Object, amount: int, params: Params) -> Object:
    name = world.new_id("re")
    moved = entry(world, "refund", -amount, name, description="REFUND FOR CHARGE")
    return world.add(
        "refund",
        {
            "id": name,
            "object": "refund",
            "amount": amount,
            "balance_transaction": moved["id"],
            "charge": charge["id"],
            "created": world.now,
            "currency": charge["currency"],
            "destination_details": {
                "card": {
                    "reference": None,
                    "reference_status": "pending",
                    "reference_type": "acquirer_reference_number",
                    "type": "refund",
                },
                "type": "card",
            },
            "metadata": merged_metadata({}, params),
            "payment_intent": charge["payment_intent"],
            "reason": params.get("reason"),
            "receipt_number": None,
            "source_transfer_reversal": None,
            "status": "succeeded",
            "transfer_reversal": None,
        },
    )
