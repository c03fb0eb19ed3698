"""An object as Stripe's API gives it: without what is ours alone, and with what ``expand`` asks for put in."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from appliance.stripe_sandbox.errors import InvalidRequest
from appliance.stripe_sandbox.state import Object
from appliance.stripe_sandbox.world import World

KINDS = {
    "cus": "customer",
    "prod": "product",
    "price": "price",
    "cs": "checkout.session",
    "pi": "payment_intent",
    "pm": "payment_method",
    "seti": "setup_intent",
    "ch": "charge",
    "re": "refund",
    "du": "dispute",
    "txn": "balance_transaction",
    "po": "payout",
    "sub": "subscription",
    "in": "invoice",
    "ii": "invoiceitem",
}
"""By the beginning of an id."""
MOST_LEVELS = 4
Include = Callable[[World, Object], Any]
INCLUDED: dict[tuple[str, str], Include] = {
    ("checkout.session", "line_items"): lambda _, row: list_of(
        row["_line_items"], f"/v1/checkout/sessions/{row['id']}/line_items"
    ),
    ("invoice", "payments"): lambda world, row: list_of(
        world.having("invoice_payment", "invoice", row["id"]), "/v1/invoice_payments"
    ),
    ("tax.calculation", "line_items"): lambda _, row: list_of(
        row["_lines"], f"/v1/tax/calculations/{row['id']}/line_items"
    ),
    ("tax.transaction", "line_items"): lambda _, row: list_of(
        row["_lines"], f"/v1/tax/transactions/{row['id']}/line_items"
    ),
    ("charge", "refunds"): lambda world, row: list_of(
        world.having("refund", "charge", row["id"])[::-1], f"/v1/charges/{row['id']}/refunds"
    ),
    ("customer", "subscriptions"): lambda world, row: list_of(
        [one for one in world.having("subscription", "customer", row["id"]) if one["status"] != "canceled"],
        f"/v1/customers/{row['id']}/subscriptions",
    ),
}
"""What is only there if it is asked for."""


def list_of(rows: Iterable[Object], url: str) -> Object:
    return {"object": "list", "data": [shown(row) for row in rows], "has_more": False, "url": url}


def shown(row: Object) -> Object:
    return {name: value for name, value in row.items() if name[0] != "_"}


def expanded(world: World, row: Object, paths: Iterable[str]) -> Object:
    """``row`` as the API gives it. Raises InvalidRequest for what cannot be expanded."""
    result = shown(row)
    for path in paths:
        parts = path.split(".")
        if len(parts) > MOST_LEVELS:
            raise InvalidRequest("You cannot expand more than 4 levels of a property.", param="expand")
        _expand(world, row, result, parts, path)
    return result


def _expand(world: World, row: Object, into: Object, parts: list[str], path: str) -> None:
    name, rest = parts[0], parts[1:]
    if (row.get("object"), name) in INCLUDED:
        if not isinstance(into.get(name), dict):
            into[name] = INCLUDED[row["object"], name](world, row)
    elif name not in into:
        raise InvalidRequest(
            f"This property cannot be expanded ({path}). You may want to try expanding a different property.",
            param="expand",
        )
    elif isinstance(into[name], str):
        kind = KINDS.get(into[name].split("_")[0])
        if kind is None or into[name] not in world.state.table(kind).rows:
            raise InvalidRequest(f"This property cannot be expanded ({path}).", param="expand")
        into[name] = shown(world.state.table(kind).rows[into[name]])
    value = into[name]
    if isinstance(value, list):
        into[name] = [_within(world, one, rest, path) for one in value]
    elif isinstance(value, dict) and rest:
        into[name] = _within(world, value, rest, path)


def _within(world: World, value: Any, rest: list[str], path: str) -> Any:
    if not isinstance(value, dict):
        kind = KINDS.get(str(value).split("_")[0], "")
        value = world.state.table(kind).rows.get(value, value)
    if not isinstance(value, dict):
        return value
    copy = shown(value)
    if rest:
        stored = world.state.table(str(copy.get("object"))).rows.get(str(copy.get("id")), value)
        _expand(world, stored, copy, rest, path)
    return copy
