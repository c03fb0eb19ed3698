"""Customers. https://docs.stripe.com/api/customers"""

from __future__ import annotations

import re

from appliance.stripe_sandbox import tax_ids
from appliance.stripe_sandbox.errors import missing
from appliance.stripe_sandbox.lists import PAGE, page_of
from appliance.stripe_sandbox.params import (
    Group,
    Many,
    OneOf,
    Params,
    Schema,
    merged_metadata,
    metadata,
    text,
    whole,
)
from appliance.stripe_sandbox.state import Object
from appliance.stripe_sandbox.tax import Payer
from appliance.stripe_sandbox.world import World, refuse_if

ADDRESS: Schema = dict.fromkeys(("city", "country", "line1", "line2", "postal_code", "state"), text)
LISTED: Schema = {**PAGE, "email": text}
PLAIN = ("description", "email", "name", "phone")
CREATED: Schema = {
    **dict.fromkeys(PLAIN, text),
    "address": Group(ADDRESS),
    "balance": whole,
    "invoice_settings": Group({"default_payment_method": text}),
    "metadata": metadata,
    "payment_method": text,
    "tax": Group({"validate_location": OneOf("deferred", "immediately")}),
    "tax_exempt": OneOf("none", "exempt", "reverse"),
    "tax_id_data": Many(Group(tax_ids.CREATED)),
    "test_clock": text,
}
UPDATED: Schema = {
    name: how for name, how in CREATED.items() if name not in ("payment_method", "tax_id_data", "test_clock")
}


def new_customer(world: World) -> Object:
    name = world.new_id("cus")
    return {
        "id": name,
        "object": "customer",
        "address": None,
        "balance": 0,
        "created": world.now,
        "currency": None,
        "default_source": None,
        "delinquent": False,
        "description": None,
        "email": None,
        "invoice_prefix": name[-8:].upper(),
        "invoice_settings": {
            "custom_fields": None,
            "default_payment_method": None,
            "footer": None,
            "rendering_options": None,
        },
        "livemode": False,
        "metadata": {},
        "name": None,
        "next_invoice_sequence": 1,
        "phone": None,
        "preferred_locales": [],
        "shipping": None,
        "tax_exempt": "none",
        "test_clock": None,
        "_decline_next": 0,
        "_decline_as": "generic_decline",
    }


def create(world: World, params: Params) -> Object:
    from appliance.stripe_sandbox.payment_methods import attached
    from appliance.stripe_sandbox.test_clocks import existing as existing_clock

    row = new_customer(world)
    if params.get("test_clock"):
        row["test_clock"] = existing_clock(world, params["test_clock"], "test_clock")["id"]
    _apply(row, {name: value for name, value in params.items() if name != "invoice_settings"})
    _require_location(row, params)
    world.add("customer", row)
    for one in params.get("tax_id_data", []):
        tax_ids.create(world, one, row["id"])
    if params.get("payment_method"):
        attached(world, params["payment_method"], row["id"])
    _apply_default(world, row, params)
    world.emit("customer.created", row)
    return row


def retrieve(world: World, _params: Params, name: str) -> Object:
    return world.get("customer", name)


def update(world: World, params: Params, name: str) -> Object:
    row = existing(world, name, "id")
    before = dict(row)
    after = dict(row)
    _apply(after, params)
    _require_location(after, params)
    row.update(after)
    _apply_default(world, row, params)
    world.touch(row)
    changed = {key: value for key, value in before.items() if row[key] != value and key[0] != "_"}
    if changed:
        world.emit("customer.updated", row, **changed)
    return row


def delete(world: World, _params: Params, name: str) -> Object:
    """Ends its subscriptions at once."""
    from appliance.stripe_sandbox.subscriptions import end

    row = existing(world, name, "id")
    for subscription in world.having("subscription", "customer", name):
        if subscription["status"] not in ("canceled", "incomplete_expired"):
            end(world, subscription, reason="cancellation_requested")
    world.emit("customer.deleted", row)
    return world.add("customer", {"id": name, "object": "customer", "deleted": True})


def listed(world: World, params: Params) -> Object:
    return page_of(world, "customer", "/v1/customers", params, by=("email",))


def existing(world: World, name: str | None, param: str = "customer") -> Object:
    """One that was not deleted. Raises InvalidRequest."""
    row = world.get("customer", name, param)
    if row.get("deleted"):
        raise missing("customer", str(name), param)
    return row


def payer_of(world: World, row: Object) -> Payer:
    """As its tax is reckoned."""
    return payer_in(row.get("address"), business=bool(tax_ids.of_customer(world, row["id"])))


def payer_in(address: Object | None, *, business: bool) -> Payer:
    known = address or {}
    return Payer(known.get("country") if _located(known) else None, business)


def _located(address: Object) -> bool:
    """https://docs.stripe.com/tax/customer-locations: the country is enough, but for the United States."""
    known = re.fullmatch("[A-Z]{2}", address.get("country") or "") is not None
    precise = re.fullmatch(r"\d{5}(-\d{4})?", address.get("postal_code") or "") is not None
    return known and (address["country"] != "US" or precise)


def _require_location(row: Object, params: Params) -> None:
    """Raises InvalidRequest."""
    at_once = (params.get("tax") or {}).get("validate_location") == "immediately"
    refuse_if(
        at_once and not _located(row["address"] or {}),
        "The customer's location isn't recognized. Set a valid customer address in order to automatically "
        "calculate tax.",
        code="customer_tax_location_invalid",
        param="tax[validate_location]",
    )


def add_to_balance(world: World, row: Object, amount: int) -> None:
    """In cents; below zero is credit that the next invoices use up."""
    before = row["balance"]
    row["balance"] += amount
    world.touch(row)
    world.emit("customer.updated", row, balance=before)


def _apply(row: Object, params: Params) -> None:
    row.update({name: params[name] for name in (*PLAIN, "balance", "tax_exempt") if name in params})
    row["metadata"] = merged_metadata(row["metadata"], params)
    if "address" in params:
        sent = params["address"]
        row["address"] = None if sent is None else dict.fromkeys(ADDRESS) | (row["address"] or {}) | sent


def _apply_default(world: World, row: Object, params: Params) -> None:
    from appliance.stripe_sandbox.payment_methods import of_customer

    chosen = params.get("invoice_settings") or {}
    if "default_payment_method" in chosen:
        method = chosen["default_payment_method"]
        if method is not None:
            of_customer(world, method, row["id"], "invoice_settings[default_payment_method]")
        row["invoice_settings"] = {**row["invoice_settings"], "default_payment_method": method}
