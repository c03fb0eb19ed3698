"""Tax on a sale that Stripe is told of. https://docs.stripe.com/api/tax/calculations"""

from __future__ import annotations

from typing import Any

from appliance.stripe_sandbox import tax_ids
from appliance.stripe_sandbox.customers import ADDRESS, existing, payer_in
from appliance.stripe_sandbox.params import Group, Many, Need, OneOf, Params, Schema, currency, text, whole
from appliance.stripe_sandbox.settings import DAY_SECONDS
from appliance.stripe_sandbox.state import Object
from appliance.stripe_sandbox.tax import Payer, Ruling, Taxed, ruling_for, taxed
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
    "customer": text,
    "customer_details": Group(
        {
            "address": Need(Group(ADDRESS)),
            "address_source": Need(OneOf("billing", "shipping")),
            "tax_ids": Many(Group(tax_ids.CREATED)),
        }
    ),
    "line_items": Need(Many(Group(LINE))),
}


def create(world: World, params: Params) -> Object:
    """Raises InvalidRequest if nobody knows where the customer is."""
    details = _details(world, params)
    payer = payer_in(details["address"], business=bool(details["tax_ids"]))
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
            "customer": params.get("customer"),
            "customer_details": details,
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


def _details(world: World, params: Params) -> Object:
    """Of the customer, or as the request says them. Raises InvalidRequest."""
    refuse_if(
        bool(params.get("customer")) == bool(params.get("customer_details")),
        "You must specify exactly one of these parameters: customer, customer_details.",
        param="customer_details",
    )
    if params.get("customer"):
        customer = existing(world, params["customer"])
        address = customer["address"]
        numbers = [(one["type"], one["value"]) for one in tax_ids.of_customer(world, customer["id"])]
    else:
        sent = params["customer_details"]
        address = dict.fromkeys(ADDRESS) | sent["address"]
        numbers = [(one["type"], tax_ids.written(one)) for one in sent.get("tax_ids", [])]
    return {
        "address": address,
        "address_source": "billing",
        "ip_address": None,
        "tax_ids": [{"type": kind, "value": value} for kind, value in numbers],
        "taxability_override": "none",
    }


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
