"""Tax rates. https://docs.stripe.com/api/tax_rates"""

from __future__ import annotations

from appliance.stripe_sandbox.lists import PAGE, page_of
from appliance.stripe_sandbox.params import (
    Need,
    OneOf,
    Params,
    Schema,
    flag,
    merged_metadata,
    metadata,
    percentage,
    text,
)
from appliance.stripe_sandbox.state import Object
from appliance.stripe_sandbox.world import World

CREATED: Schema = {
    "display_name": Need(text),
    "inclusive": Need(flag),
    "percentage": Need(percentage),
    "active": flag,
    "country": text,
    "description": text,
    "jurisdiction": text,
    "metadata": metadata,
    "tax_type": OneOf("vat", "sales_tax", "gst"),
}
LISTED: Schema = {**PAGE, "active": flag, "inclusive": flag}


def create(world: World, params: Params) -> Object:
    row: Object = {
        "id": world.new_id("txr"),
        "object": "tax_rate",
        "active": params.get("active", True),
        "country": params.get("country"),
        "created": world.now,
        "description": params.get("description"),
        "display_name": params["display_name"],
        "effective_percentage": None,
        "flat_amount": None,
        "inclusive": params["inclusive"],
        "jurisdiction": params.get("jurisdiction"),
        "jurisdiction_level": None,
        "livemode": False,
        "metadata": merged_metadata({}, params),
        "percentage": params["percentage"],
        "rate_type": "percentage",
        "state": None,
        "tax_type": params.get("tax_type"),
    }
    world.add("tax_rate", row)
    world.emit("tax_rate.created", row)
    return row


def retrieve(world: World, _params: Params, name: str) -> Object:
    return world.get("tax_rate", name)


def listed(world: World, params: Params) -> Object:
    return page_of(world, "tax_rate", "/v1/tax_rates", params, by=("active", "inclusive"))
