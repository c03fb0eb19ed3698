"""What somebody buys in Checkout, with its tax."""

from __future__ import annotations

from typing import Any

from appliance.stripe_sandbox.state import Object
from appliance.stripe_sandbox.tax import Payer, Taxed
from appliance.stripe_sandbox.taxing import (
    automatic_rates,
    is_inclusive,
    rates_named,
    reason,
    tax_of,
    taxes_on,
    total_of,
)
from appliance.stripe_sandbox.world import World, refuse_if


def line_item(
    world: World,
    price: Object,
    quantity: int,
    tax_rates: list[str],
    *,
    payer: Payer,
    automatic: bool,
) -> Object:
    """Raises InvalidRequest."""
    refuse_if(quantity < 1, "Quantity must be at least 1.", param="line_items")
    row: Object = {
        "id": world.new_id("li"),
        "object": "item",
        "amount_discount": 0,
        "amount_subtotal": price["unit_amount"] * quantity,
        "currency": price["currency"],
        "description": world.get("product", price["product"])["name"],
        "price": price,
        "quantity": quantity,
    }
    named = rates_named(world, tax_rates, "line_items[tax_rates]")
    known = automatic and payer.country is not None
    tax(row, automatic_rates(world, payer, inclusive=is_inclusive(price)) if known else named)
    return row


def tax(row: Object, rates: list[Object]) -> None:
    """Puts it on a line that may have had another."""
    taxes = taxes_on(row["amount_subtotal"], rates)
    row.update(
        amount_tax=tax_of(taxes),
        amount_total=total_of(row["amount_subtotal"], taxes),
        taxes=[_shown(rate, one) for rate, one in taxes],
    )


def sums(lines: list[Object]) -> dict[str, Any]:
    """Of a session: its total, and how much of it is tax."""
    taxes: dict[str, dict[str, Any]] = {}
    for line in lines:
        for one in line["taxes"]:
            whole = taxes.setdefault(one["rate"]["id"], {**one, "amount": 0, "taxable_amount": 0})
            whole["amount"] += one["amount"]
            whole["taxable_amount"] += one["taxable_amount"]
    return {
        "amount_subtotal": sum(line["amount_subtotal"] for line in lines) if lines else None,
        "amount_total": sum(line["amount_total"] for line in lines) if lines else None,
        "total_details": {
            "amount_discount": 0,
            "amount_shipping": 0,
            "amount_tax": sum(line["amount_tax"] for line in lines),
            "breakdown": {"discounts": [], "taxes": list(taxes.values())},
        }
        if lines
        else None,
    }


def _shown(rate: Object, one: Taxed) -> dict[str, Any]:
    shown = {name: value for name, value in rate.items() if name[0] != "_"}
    return {"amount": one.tax, "rate": shown, "taxability_reason": reason(rate), "taxable_amount": one.taxable}
