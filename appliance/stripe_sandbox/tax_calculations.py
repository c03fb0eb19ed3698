"""Tax on a sale that Stripe is told of. https://docs.stripe.com/api/tax/calculations"""

from __future__ import annotations

from typing import Any

from appliance.stripe_sandbox.customers import existing, payer_of
from appliance.stripe_sandbox.params import Group, Many, Need, OneOf, Params, Schema, currency, text, whole
from appliance.stripe_sandbox.settings import DAY_SECONDS
from appliance.stripe_sandbox.state import Object
from appliance.stripe_sandbox.tax import Payer, Ruling, Taxed, ruling_for, taxed
from appliance.stripe_sandbox.tax_ids import of_customer
from appliance.stripe_sandbox.world import World, refuse_if

VALID_DAYS = 90
LINE: Schema = {
    "amount": Need(whole),
    "reference": text,
    "tax_behavior": OneOf("exclusive", "inclusive"),
    "tax_code": text,
}
CREATED: Schema = {
    "currency": Need(currency),
    "customer": Need(text),
    "line_items": Need(Many(Group(LINE))),
}


def create(world: World, params: Params) -> Object:
    """Raises InvalidRequest if nobody knows where the customer is."""
    customer = existing(world, params["customer"])
    payer = payer_of(world, customer)
    refuse_if(
        payer.country is None,
        "We could not determine the customer's tax location based on the provided customer address.",
        code="customer_tax_location_invalid",
        param="customer",
    )
    ruling = ruling_for(payer)
    lines = [_line(world, number, sent, ruling) for number, sent in enumerate(params["line_items"], 1)]
    name = world.new_id("taxcalc")
    on_top = sum(one["amount_tax"] for one in lines if one["tax_behavior"] == "exclusive")
    return world.add(
        "tax.calculation",
        {
            "id": name,
            "object": "tax.calculation",
            "amount_total": sum(one["amount"] for one in lines) + on_top,
            "currency": params["currency"],
            "customer": customer["id"],
            "customer_details": {
                "address": customer["address"],
                "address_source": "billing",
                "ip_address": None,
                "tax_ids": [
                    {"type": one["type"], "value": one["value"]} for one in of_customer(world, customer["id"])
                ],
                "taxability_override": "none",
            },
            "expires_at": world.now + VALID_DAYS * DAY_SECONDS,
            "livemode": False,
            "ship_from_details": None,
            "shipping_cost": None,
            "tax_amount_exclusive": on_top,
            "tax_amount_inclusive": sum(one["amount_tax"] for one in lines) - on_top,
            "tax_breakdown": [_breakdown(one, payer, ruling) for one in lines],
            "tax_date": world.now,
            "_lines": lines,
        },
    )


def retrieve(world: World, _params: Params, name: str) -> Object:
    return world.get("tax.calculation", name, "calculation")


def _taxed(line: Object, ruling: Ruling) -> Taxed:
    return taxed(line["amount"], ruling.percent, inclusive=line["tax_behavior"] == "inclusive")


def _line(world: World, number: int, sent: Params, ruling: Ruling) -> Object:
    row: Object = {
        "id": world.new_id("tax_li"),
        "object": "tax.calculation_line_item",
        "amount": sent["amount"],
        "livemode": False,
        "performance_location": None,
        "product": None,
        "quantity": 1,
        "reference": sent.get("reference") or f"L{number}",
        "tax_behavior": sent.get("tax_behavior", "exclusive"),
        "tax_code": sent.get("tax_code") or "txcd_10000000",
    }
    return {**row, "amount_tax": _taxed(row, ruling).tax}


def _breakdown(line: Object, payer: Payer, ruling: Ruling) -> dict[str, Any]:
    one = _taxed(line, ruling)
    return {
        "amount": one.tax,
        "inclusive": one.inclusive,
        "tax_rate_details": {
            "country": payer.country,
            "flat_amount": None,
            "percentage_decimal": str(ruling.percent),
            "rate_type": "percentage" if ruling.percent else None,
            "state": None,
            "tax_type": "vat",
        },
        "taxability_reason": ruling.reason,
        "taxable_amount": one.taxable,
    }
