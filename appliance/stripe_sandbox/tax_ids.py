"""Tax numbers of customers. https://docs.stripe.com/api/tax_ids"""

from __future__ import annotations

import re

from appliance.stripe_sandbox.errors import InvalidRequest, missing
from appliance.stripe_sandbox.lists import UNDATED, page_of
from appliance.stripe_sandbox.params import Need, OneOf, Params, Schema, text
from appliance.stripe_sandbox.state import Object
from appliance.stripe_sandbox.world import World

FORMS = {
    "ch_vat": r"CHE-\d{3}\.\d{3}\.\d{3} (MWST|TVA|IVA)",
    "eu_vat": r"[A-Z]{2}[0-9A-Z]{2,12}",
    "gb_vat": r"(GB|XI)\d{9}(\d{3})?",
    "no_vat": r"\d{9}MVA",
}
"""The kinds that the sandbox takes, and how each is written."""
CREATED: Schema = {"type": Need(OneOf(*FORMS)), "value": Need(text)}
LISTED = UNDATED


def create(world: World, params: Params, customer: str) -> Object:
    """Raises InvalidRequest, ``tax_id_invalid``."""
    kind, value = params["type"], written(params)
    row: Object = {
        "id": world.new_id("txi"),
        "object": "tax_id",
        "country": value[:2] if kind == "eu_vat" else kind[:2].upper(),
        "created": world.now,
        "customer": customer,
        "customer_account": None,
        "livemode": False,
        "owner": {"customer": customer, "type": "customer"},
        "type": kind,
        "value": value,
        "verification": {"status": "pending", "verified_address": None, "verified_name": None},
    }
    world.add("tax_id", row)
    world.emit("customer.tax_id.created", row)
    return row


def written(sent: Params) -> str:
    """Raises InvalidRequest, ``tax_id_invalid``."""
    value = sent["value"] or ""
    if re.fullmatch(FORMS[sent["type"]], value) is None:
        raise InvalidRequest(f"Invalid value for {sent['type']}.", code="tax_id_invalid", param="value")
    return str(value)


def of_customer(world: World, customer: str) -> list[Object]:
    return [row for row in world.having("tax_id", "customer", customer) if not row.get("deleted")]


def listed(world: World, params: Params, customer: str) -> Object:
    url = f"/v1/customers/{customer}/tax_ids"
    return page_of(world, "tax_id", url, {**params, "customer": customer}, by=("customer",))


def delete(world: World, _params: Params, customer: str, name: str) -> Object:
    row = world.get("tax_id", name)
    if row.get("deleted") or row["customer"] != customer:
        raise missing("tax ID", name)
    world.emit("customer.tax_id.deleted", row)
    return world.add("tax_id", {"id": name, "object": "tax_id", "deleted": True})
