"""Products and their prices. https://docs.stripe.com/api/products"""

from __future__ import annotations

from appliance.stripe_sandbox.errors import InvalidRequest
from appliance.stripe_sandbox.lists import PAGE, page_of
from appliance.stripe_sandbox.params import (
    Group,
    Many,
    Need,
    OneOf,
    Params,
    Schema,
    currency,
    flag,
    merged_metadata,
    metadata,
    text,
    whole,
)
from appliance.stripe_sandbox.state import Object
from appliance.stripe_sandbox.world import World

INTERVALS = OneOf("day", "week", "month", "year")
TAX_BEHAVIORS = OneOf("inclusive", "exclusive", "unspecified")
RECURRING = Group({"interval": Need(INTERVALS), "interval_count": whole, "usage_type": OneOf("licensed")})
PRODUCT: Schema = {
    "name": text,
    "active": flag,
    "description": text,
    "metadata": metadata,
    "tax_code": text,
    "unit_label": text,
    "url": text,
}
PRODUCT_CREATED: Schema = {**PRODUCT, "id": text, "name": Need(text)}
PRODUCTS_LISTED: Schema = {**PAGE, "active": flag, "ids": Many(text)}
PRICE_CREATED: Schema = {
    "currency": Need(currency),
    "unit_amount": Need(whole),
    "product": text,
    "product_data": Group({"name": Need(text), "metadata": metadata, "tax_code": text}),
    "recurring": RECURRING,
    "lookup_key": text,
    "transfer_lookup_key": flag,
    "metadata": metadata,
    "nickname": text,
    "active": flag,
    "tax_behavior": TAX_BEHAVIORS,
    "billing_scheme": OneOf("per_unit"),
}
PRICE_UPDATED: Schema = {
    "active": flag,
    "lookup_key": text,
    "transfer_lookup_key": flag,
    "metadata": metadata,
    "nickname": text,
    "tax_behavior": TAX_BEHAVIORS,
}
PRICES_LISTED: Schema = {
    **PAGE,
    "active": flag,
    "currency": currency,
    "product": text,
    "type": OneOf("one_time", "recurring"),
    "lookup_keys": Many(text),
    "recurring": Group({"interval": INTERVALS}),
}
PRICE_DATA = Group(
    {
        "currency": Need(currency),
        "unit_amount": Need(whole),
        "product": text,
        "product_data": Group(
            {"name": Need(text), "description": text, "metadata": metadata, "tax_code": text, "images": Many(text)}
        ),
        "recurring": Group({"interval": Need(INTERVALS), "interval_count": whole}),
        "tax_behavior": TAX_BEHAVIORS,
    }
)
"""A price made for one use, in a line."""


def create_product(world: World, params: Params) -> Object:
    name = params.get("id") or world.new_id("prod")
    if name in world.state.table("product").rows:
        raise InvalidRequest("Product already exists.", code="resource_already_exists", param="id")
    row: Object = {
        "id": name,
        "object": "product",
        "active": params.get("active", True),
        "created": world.now,
        "default_price": None,
        "description": params.get("description"),
        "images": [],
        "livemode": False,
        "marketing_features": [],
        "metadata": merged_metadata({}, params),
        "name": params["name"],
        "package_dimensions": None,
        "shippable": None,
        "statement_descriptor": None,
        "tax_code": params.get("tax_code"),
        "type": "service",
        "unit_label": params.get("unit_label"),
        "updated": world.now,
        "url": params.get("url"),
    }
    world.add("product", row)
    world.emit("product.created", row)
    return row


def retrieve_product(world: World, _params: Params, name: str) -> Object:
    return world.get("product", name)


def update_product(world: World, params: Params, name: str) -> Object:
    row = world.get("product", name)
    row.update({key: value for key, value in params.items() if key != "metadata"}, updated=world.now)
    row["metadata"] = merged_metadata(row["metadata"], params)
    world.touch(row)
    world.emit("product.updated", row)
    return row


def list_products(world: World, params: Params) -> Object:
    ids = params.get("ids")
    return page_of(
        world, "product", "/v1/products", params, by=("active",), also=lambda row: not ids or row["id"] in ids
    )


def create_price(world: World, params: Params) -> Object:
    """Raises InvalidRequest if the lookup key is another price's and not to be moved."""
    recurring = params.get("recurring")
    if params.get("product_data"):
        of_use = {"active": params.get("active", True)}
        product = create_product(world, {**params["product_data"], **of_use})["id"]
    else:
        product = world.get("product", params.get("product"), "product")["id"]
    row: Object = {
        "id": world.new_id("price"),
        "object": "price",
        "active": params.get("active", True),
        "billing_scheme": "per_unit",
        "created": world.now,
        "currency": params["currency"],
        "custom_unit_amount": None,
        "livemode": False,
        "lookup_key": None,
        "metadata": merged_metadata({}, params),
        "nickname": params.get("nickname"),
        "product": product,
        "recurring": None
        if recurring is None
        else {
            "interval": recurring["interval"],
            "interval_count": recurring.get("interval_count", 1),
            "meter": None,
            "trial_period_days": None,
            "usage_type": "licensed",
        },
        "tax_behavior": params.get("tax_behavior", "unspecified"),
        "tiers_mode": None,
        "transform_quantity": None,
        "type": "one_time" if recurring is None else "recurring",
        "unit_amount": params["unit_amount"],
        "unit_amount_decimal": str(params["unit_amount"]),
    }
    _take_lookup_key(world, row, params)
    world.add("price", row)
    world.emit("price.created", row)
    return row


def retrieve_price(world: World, _params: Params, name: str) -> Object:
    return world.get("price", name)


def update_price(world: World, params: Params, name: str) -> Object:
    row = world.get("price", name)
    row.update({key: params[key] for key in ("active", "nickname", "tax_behavior") if key in params})
    row["metadata"] = merged_metadata(row["metadata"], params)
    _take_lookup_key(world, row, params)
    world.touch(row)
    world.emit("price.updated", row)
    return row


def list_prices(world: World, params: Params) -> Object:
    keys, interval = params.get("lookup_keys"), (params.get("recurring") or {}).get("interval")

    def fits(row: Object) -> bool:
        of_interval = interval is None or (row["recurring"] or {}).get("interval") == interval
        return of_interval and (not keys or row["lookup_key"] in keys)

    return page_of(world, "price", "/v1/prices", params, by=("active", "currency", "product", "type"), also=fits)


def price_for(world: World, line: Params, param: str) -> Object:
    """Of a line that names a price or has the data of one. Raises InvalidRequest."""
    if line.get("price_data"):
        return create_price(world, {**line["price_data"], "active": False})
    row = world.get("price", line.get("price"), f"{param}[price]")
    if not row["active"]:
        raise InvalidRequest(
            "The price specified is inactive. This field only accepts active prices.", param=param
        )
    return row


def plan_of(price: Object) -> Object:
    """Stripe's older name for a recurring price, which items of a subscription still carry."""
    recurring = price["recurring"]
    return {
        "id": price["id"],
        "object": "plan",
        "active": price["active"],
        "amount": price["unit_amount"],
        "amount_decimal": price["unit_amount_decimal"],
        "billing_scheme": "per_unit",
        "created": price["created"],
        "currency": price["currency"],
        "interval": recurring["interval"],
        "interval_count": recurring["interval_count"],
        "livemode": False,
        "metadata": price["metadata"],
        "meter": None,
        "nickname": price["nickname"],
        "product": price["product"],
        "tiers_mode": None,
        "transform_usage": None,
        "trial_period_days": None,
        "usage_type": "licensed",
    }


def _take_lookup_key(world: World, row: Object, params: Params) -> None:
    key = params.get("lookup_key")
    if "lookup_key" not in params:
        return
    owner = next(
        (one for one in world.state.table("price").rows.values() if key and one["lookup_key"] == key), row
    )
    if owner is not row:
        if not params.get("transfer_lookup_key"):
            raise InvalidRequest(
                f"A price (`{owner['id']}`) already uses that lookup key.",
                code="resource_already_exists",
                param="lookup_key",
            )
        owner["lookup_key"] = None
        world.touch(owner)
    row["lookup_key"] = key
