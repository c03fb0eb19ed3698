"""What was collected of tax, and what went back. https://docs.stripe.com/api/tax/transactions

One that is made of a calculation that a payment intent names follows the payment and its refunds by itself:
https://docs.stripe.com/tax/payment-intent
"""

from __future__ import annotations

from typing import Any

from appliance.stripe_sandbox.params import Need, OneOf, Params, Schema, merged_metadata, metadata, text, whole
from appliance.stripe_sandbox.proration import rounded
from appliance.stripe_sandbox.state import Object
from appliance.stripe_sandbox.world import World, refuse_if

FROM_CALCULATION: Schema = {"calculation": Need(text), "reference": Need(text), "metadata": metadata}
REVERSAL: Schema = {
    "original_transaction": Need(text),
    "mode": Need(OneOf("full", "partial")),
    "reference": Need(text),
    "flat_amount": whole,
    "metadata": metadata,
}


def create_from_calculation(world: World, params: Params) -> Object:
    """Raises InvalidRequest: a calculation becomes one transaction, and each has a reference of its own."""
    calculation = world.get("tax.calculation", params["calculation"], "calculation")
    refuse_if(
        calculation["expires_at"] <= world.now, "This calculation has expired.", code="tax_calculation_expired"
    )
    _require_new(world, params["reference"])
    refuse_if(
        bool(_of_calculation(world, calculation["id"])), "A transaction was made of this calculation already."
    )
    lines = [
        _line(world, "transaction", line, line["amount"], line["amount_tax"]) for line in calculation["_lines"]
    ]
    return _transaction(world, calculation, params, lines, None)


def create_reversal(world: World, params: Params) -> Object:
    """Of all of it, or of ``flat_amount`` with the tax, below zero. Raises InvalidRequest."""
    original = world.get("tax.transaction", params["original_transaction"], "original_transaction")
    _require_new(world, params["reference"])
    whole_amount, whole_tax = _sums(original)
    flat = params.get("flat_amount", -whole_amount)
    refuse_if(params["mode"] == "partial" and "flat_amount" not in params, "Missing required param: flat_amount.")
    earlier = [
        row for row in world.state.table("tax.transaction").rows.values() if _original(row) == original["id"]
    ]
    gone, gone_tax = (sum(part) for part in zip(*[_sums(row) for row in earlier], (0, 0), strict=True))
    refuse_if(whole_amount + gone + flat < 0, "The reversal is of more than what is left.", param="flat_amount")
    until = rounded(whole_tax * -(gone + flat), whole_amount)
    (line, *_) = original["_lines"]
    tax = -until - gone_tax
    amount = flat if line["tax_behavior"] == "inclusive" else flat - tax
    return _transaction(world, original, params, [_line(world, "reversal", line, amount, tax)], original["id"])


def retrieve(world: World, _params: Params, name: str) -> Object:
    return world.get("tax.transaction", name, "transaction")


def line_items(world: World, _params: Params, name: str) -> Object:
    row = world.get("tax.transaction", name, "transaction")
    url = f"/v1/tax/transactions/{name}/line_items"
    return {"object": "list", "data": row["_lines"], "has_more": False, "url": url}


def intent_paid(world: World, intent: Object) -> None:
    calculation = ((intent["hooks"] or {}).get("inputs") or {}).get("tax")
    if calculation is not None and not _of_calculation(world, calculation["calculation"]):
        create_from_calculation(world, {**calculation, "reference": intent["id"]})


def intent_refunded(world: World, intent: str, refund: str, cents: int) -> None:
    """``cents`` below zero: the refund has failed, and the money is back."""
    original = next(
        (row for row in world.state.table("tax.transaction").rows.values() if row["reference"] == intent), None
    )
    if original is not None:
        reference = refund if cents > 0 else f"{refund} failed"
        sent = {"original_transaction": original["id"], "reference": reference, "flat_amount": -cents}
        create_reversal(world, {**sent, "mode": "partial"})


def _transaction(world: World, of: Object, params: Params, lines: list[Object], original: str | None) -> Object:
    row: Object = {
        "id": world.new_id("tax"),
        "object": "tax.transaction",
        "created": world.now,
        "currency": of["currency"],
        "customer": of["customer"],
        "customer_details": of["customer_details"],
        "livemode": False,
        "metadata": merged_metadata({}, params),
        "posted_at": world.now,
        "reference": params["reference"],
        "reversal": None if original is None else {"original_transaction": original},
        "ship_from_details": None,
        "shipping_cost": None,
        "tax_date": of["tax_date"],
        "type": "transaction" if original is None else "reversal",
        "_calculation": of["id"] if original is None else None,
        "_lines": lines,
    }
    return world.add("tax.transaction", row)


def _line(world: World, kind: str, line: Object, amount: int, tax: int) -> dict[str, Any]:
    back = {"original_line_item": line["id"]} if kind == "reversal" else None
    return {
        "id": world.new_id("tax_li"),
        "object": "tax.transaction_line_item",
        "amount": amount,
        "amount_tax": tax,
        "livemode": False,
        "metadata": None,
        "product": None,
        "quantity": 1,
        "reference": line["reference"],
        "reversal": back,
        "tax_behavior": line["tax_behavior"],
        "tax_code": line["tax_code"],
        "type": kind,
    }


def _sums(row: Object) -> tuple[int, int]:
    """With the tax, and the tax, in cents."""
    tax = sum(line["amount_tax"] for line in row["_lines"])
    on_top = sum(line["amount_tax"] for line in row["_lines"] if line["tax_behavior"] == "exclusive")
    return sum(line["amount"] for line in row["_lines"]) + on_top, tax


def _original(row: Object) -> str | None:
    original: str | None = (row["reversal"] or {}).get("original_transaction")
    return original


def _of_calculation(world: World, name: str) -> list[Object]:
    return [row for row in world.state.table("tax.transaction").rows.values() if row["_calculation"] == name]


def _require_new(world: World, reference: str) -> None:
    known = any(row["reference"] == reference for row in world.state.table("tax.transaction").rows.values())
    refuse_if(known, f"A transaction with the reference {reference} exists already.", param="reference")
