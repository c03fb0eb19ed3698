"""A change of what a subscription is for: the new items, and the credit and the charge for the rest of the period.

As flexible billing does it, which is Stripe's default: the credit is a share of what the item was last charged.
https://docs.stripe.com/billing/subscriptions/prorations
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from appliance.stripe_sandbox.catalog import plan_of, price_for
from appliance.stripe_sandbox.errors import InvalidRequest
from appliance.stripe_sandbox.invoice_lines import Draft, day, for_period, product_name
from appliance.stripe_sandbox.params import Group, Many, OneOf, Params, merged_metadata, metadata, text, whole
from appliance.stripe_sandbox.periods import boundary
from appliance.stripe_sandbox.proration import share
from appliance.stripe_sandbox.state import Object
from appliance.stripe_sandbox.world import World, refuse_if

ITEMS = Many(Group({"id": text, "price": text, "quantity": whole, "metadata": metadata}))
PRORATIONS = OneOf("none", "create_prorations", "always_invoice")


@dataclass(frozen=True, slots=True)
class Change:
    """``items`` are all of them as they will be; ``drafts`` what is to be charged for it, without ``none``."""

    items: list[Object]
    drafts: list[Draft]
    restarts: bool
    """Another interval: a new period begins now, and is charged at once."""
    since: int


def planned(world: World, subscription: Object, params: Params, prefix: str = "") -> Change | None:
    """None if nothing changes in price or quantity. Raises InvalidRequest."""
    sent = params.get("items") or []
    items = [_changed(world, item, sent, prefix) for item in subscription["items"]["data"]]
    known = {item["id"] for item in items}
    for one in sent:
        if one.get("id") not in known:
            raise InvalidRequest(
                f"Invalid subscription item: {one.get('id')}. The sandbox changes items; it adds none.",
                param=f"{prefix}items",
            )
    pairs = list(zip(subscription["items"]["data"], items, strict=True))
    if all(_same(old, new) for old, new in pairs):
        return None
    restarts = any(_interval(old) != _interval(new) for old, new in pairs)
    since = _since(world, subscription, params, prefix)
    if restarts:
        items = [_restarted(world, item) for item in items]
        pairs = list(zip(subscription["items"]["data"], items, strict=True))
    drafts = []
    if params.get("proration_behavior", "create_prorations") != "none":
        drafts = [draft for old, new in pairs for draft in _drafts(world, subscription, old, new, since, restarts)]
    elif restarts:
        drafts = [for_period(world, subscription, new, *_period(new)) for _, new in pairs]
    return Change(items, drafts, restarts, since)


def _since(world: World, subscription: Object, params: Params, prefix: str) -> int:
    since: int = params.get("proration_date") or world.now
    start, end = _period(subscription["items"]["data"][0])
    refuse_if(
        not start <= since <= end,
        "Cannot specify `proration_date` outside of the current period.",
        param=f"{prefix}proration_date",
    )
    return since


def _changed(world: World, item: Object, sent: list[Params], prefix: str) -> Object:
    mine = next((one for one in sent if one.get("id") == item["id"]), None)
    if mine is None:
        return item
    price = item["price"]
    if mine.get("price") and mine["price"] != price["id"]:
        price = price_for(world, mine, f"{prefix}items")
        refuse_if(
            price["recurring"] is None,
            f"The price specified is set to `type=one_time` but this field only accepts prices with "
            f"`type=recurring`: {price['id']}",
            param=f"{prefix}items",
        )
    return {
        **item,
        "price": price,
        "plan": plan_of(price),
        "quantity": mine.get("quantity", item["quantity"]),
        "metadata": merged_metadata(item["metadata"], mine),
    }


def _same(old: Object, new: Object) -> bool:
    return bool(old["price"]["id"] == new["price"]["id"] and old["quantity"] == new["quantity"])


def _interval(item: Object) -> tuple[str, int]:
    return item["price"]["recurring"]["interval"], item["price"]["recurring"]["interval_count"]


def _period(item: Object) -> tuple[int, int]:
    return item["current_period_start"], item["current_period_end"]


def _restarted(world: World, item: Object) -> Object:
    interval, count = _interval(item)
    return {
        **item,
        "current_period_start": world.now,
        "current_period_end": boundary(world.now, interval, count, 1),
    }


def _drafts(
    world: World, subscription: Object, old: Object, new: Object, since: int, restarts: bool
) -> list[Draft]:
    if not restarts and _same(old, new):
        return []
    found = [_credit(world, subscription, old, since)]
    if restarts:
        return [*found, for_period(world, subscription, new, *_period(new))]
    start, end = _period(old)
    charged = share(new["price"]["unit_amount"] * new["quantity"], start, end, since)
    times = "" if new["quantity"] == 1 else f"{new['quantity']} x "
    return [
        *found,
        Draft(
            charged,
            f"Remaining time on {times}{product_name(world, new['price'])} after {day(since)}",
            since,
            end,
            new["price"],
            new["quantity"],
            subscription["id"],
            new["id"],
            proration=True,
            tax_rates=_rates(subscription),
        ),
    ]


def _credit(world: World, subscription: Object, old: Object, since: int) -> Draft:
    debit: dict[str, Any] | None = subscription["_debits"].get(old["id"])
    start, end = _period(old)
    if debit is None:
        debit = {"amount": old["price"]["unit_amount"] * old["quantity"], "start": start, "end": end, "line": None}
    times = "" if old["quantity"] == 1 else f"{old['quantity']} x "
    return Draft(
        -share(debit["amount"], debit["start"], debit["end"], since),
        f"Unused time on {times}{product_name(world, old['price'])} after {day(since)}",
        since,
        end,
        old["price"],
        old["quantity"],
        subscription["id"],
        old["id"],
        proration=True,
        credited=None
        if debit["line"] is None
        else {"invoice": debit["invoice"], "invoice_line_items": [debit["line"]]},
        tax_rates=_rates(subscription),
    )


def _rates(subscription: Object) -> tuple[str, ...]:
    return tuple(rate["id"] for rate in subscription["default_tax_rates"])
