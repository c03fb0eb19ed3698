"""A subscription is changed: at once, at its end, or when the invoice for it is paid."""

from __future__ import annotations

from typing import Any

from appliance.stripe_sandbox.cards import Outcome
from appliance.stripe_sandbox.changes import ITEMS, Change, planned
from appliance.stripe_sandbox.collection import OVER, note_debits
from appliance.stripe_sandbox.errors import InvalidRequest
from appliance.stripe_sandbox.invoice_drafts import draft_invoice
from appliance.stripe_sandbox.invoice_items import added, pending
from appliance.stripe_sandbox.invoice_lines import of_item
from appliance.stripe_sandbox.invoicing import finalize, method_for, pay, void
from appliance.stripe_sandbox.params import (
    Params,
    Schema,
    merged_metadata,
    whole,
)
from appliance.stripe_sandbox.paying import foreseen
from appliance.stripe_sandbox.payment_methods import of_customer
from appliance.stripe_sandbox.state import Object
from appliance.stripe_sandbox.subscriptions import CANCELLATION, INCOMPLETE_SECONDS, PLAIN, fail_unless_paid
from appliance.stripe_sandbox.taxing import rates_named
from appliance.stripe_sandbox.world import World, refuse_if

UPDATED: Schema = {**PLAIN, "items": ITEMS, "proration_date": whole, "cancellation_details": CANCELLATION}
WITH_PENDING = frozenset({"items", "payment_behavior", "proration_behavior", "proration_date", "off_session"})


def update(world: World, params: Params, name: str) -> Object:
    """Raises InvalidRequest, and CardError if the change was to fail unless it is paid at once."""
    row = world.get("subscription", name)
    if row["status"] in OVER and set(params) - {"metadata", "cancellation_details"}:
        raise InvalidRequest("A canceled subscription can only update its cancellation_details and metadata.")
    pending_wanted = params.get("payment_behavior") == "pending_if_incomplete"
    unsupported = set(params) - WITH_PENDING if pending_wanted else set()
    refuse_if(
        bool(unsupported),
        "You can only pass supported params when payment_behavior is `pending_if_incomplete`: "
        f"{', '.join(sorted(unsupported))}",
        param=next(iter(sorted(unsupported)), None),
    )
    if params.get("default_payment_method"):
        of_customer(world, params["default_payment_method"], row["customer"], "default_payment_method")
    before = {key: value for key, value in row.items() if key[0] != "_" and key != "latest_invoice"}
    before["items"] = {**row["items"], "data": list(row["items"]["data"])}
    change = planned(world, row, params)
    if change is not None:
        _carry_out(world, row, change, params)
    _plain_changes(world, row, params)
    world.touch(row)
    changed = {key: value for key, value in before.items() if row[key] != value and key != "status"}
    if changed:
        world.emit("customer.subscription.updated", row, **changed)
    return row


def apply_pending(world: World, row: Object, invoice: Object) -> None:
    """What waited for this invoice to be paid is so now."""
    before = row["items"]
    row["items"] = {**row["items"], "data": row["_pending"]["items"]}
    if row["_pending"]["restarts"]:
        _restart(world, row)
    row.update(pending_update=None, _pending=None)
    note_debits(world, row, invoice)
    world.touch(row)
    world.emit("customer.subscription.pending_update_applied", row)
    world.emit("customer.subscription.updated", row, items=before)


def give_up_pending(world: World, name: str) -> None:
    row = world.get("subscription", name)
    if row["pending_update"] is None or row["pending_update"]["expires_at"] > world.now:
        return
    invoice = world.get("invoice", row["_pending"]["invoice"])
    row.update(pending_update=None, _pending=None)
    world.touch(row)
    if invoice["status"] == "open":
        void(world, invoice)
    world.emit("customer.subscription.pending_update_expired", row)


def _carry_out(world: World, row: Object, change: Change, params: Params) -> None:
    at_once = change.restarts or params.get("proration_behavior") == "always_invoice"
    if not at_once:
        _take_over(world, row, change)
        for draft in change.drafts:
            item = added(world, row["customer"], draft)
            if draft.amount >= 0 and draft.item is not None:
                row["_debits"][draft.item] = _debit(item)
        return
    behavior = params.get("payment_behavior", "allow_incomplete")
    off_session = params.get("off_session", False)
    method = _method(world, row)
    paid = _would_be_paid(world, row, change, method, off_session=off_session)
    if behavior == "error_if_incomplete" and not paid:
        fail_unless_paid(world, row["customer"], method, off_session=off_session)
    waits = behavior == "pending_if_incomplete" and not paid
    if not waits:
        _take_over(world, row, change)
    invoice = _bill_change(world, row, change)
    if waits:
        _wait_for(world, row, change, invoice)
    finalize(world, invoice)
    if invoice["status"] == "open":
        pay(world, invoice, method, off_session=off_session)


def _bill_change(world: World, row: Object, change: Change) -> Object:
    for draft in change.drafts:
        if draft.proration:
            added(world, row["customer"], draft)
    drafts = [of_item(one) for one in pending(world, row["customer"], row["id"])]
    invoice = draft_invoice(
        world,
        world.get("customer", row["customer"]),
        [*drafts, *(draft for draft in change.drafts if not draft.proration)],
        reason="subscription_update",
        subscription=row,
        automatic_tax=row["automatic_tax"]["enabled"],
        proration_date=change.since,
    )
    row["latest_invoice"] = invoice["id"]
    if row["items"]["data"] == change.items:
        note_debits(world, row, invoice)
    world.touch(row)
    return invoice


def _would_be_paid(world: World, row: Object, change: Change, method: Object | None, *, off_session: bool) -> bool:
    waiting = [of_item(one) for one in pending(world, row["customer"], row["id"])]
    invoice = draft_invoice(
        world,
        world.get("customer", row["customer"]),
        [*waiting, *change.drafts],
        reason="subscription_update",
        subscription=row,
        automatic_tax=row["automatic_tax"]["enabled"],
        preview=True,
    )
    if invoice["amount_due"] == 0:
        return True
    return method is not None and (
        foreseen(world, row["customer"], method, off_session=off_session) is Outcome.PAID
    )


def _take_over(world: World, row: Object, change: Change) -> None:
    row["items"] = {**row["items"], "data": change.items}
    if change.restarts:
        _restart(world, row)
    world.touch(row)


def _restart(world: World, row: Object) -> None:
    first = row["items"]["data"][0]
    row["billing_cycle_anchor"] = first["current_period_start"]
    world.later(first["current_period_end"], "renew", row["id"])


def _wait_for(world: World, row: Object, change: Change, invoice: Object) -> None:
    expires = world.now + INCOMPLETE_SECONDS
    row["pending_update"] = {
        "billing_cycle_anchor": world.now if change.restarts else None,
        "expires_at": expires,
        "subscription_items": change.items,
        "trial_end": None,
        "trial_from_plan": None,
    }
    row["_pending"] = {"invoice": invoice["id"], "items": change.items, "restarts": change.restarts}
    invoice["auto_advance"] = False
    world.touch(row)
    world.touch(invoice)
    world.later(expires, "give_up_pending", row["id"])


def _plain_changes(world: World, row: Object, params: Params) -> None:
    row["metadata"] = merged_metadata(row["metadata"], params)
    row.update({key: params[key] for key in ("default_payment_method", "description") if key in params})
    if "default_tax_rates" in params:
        row["default_tax_rates"] = rates_named(world, params["default_tax_rates"], "default_tax_rates")
    if "automatic_tax" in params:
        automatic = params["automatic_tax"]["enabled"]
        row["automatic_tax"] = {
            "disabled_reason": None,
            "enabled": automatic,
            "liability": {"type": "self"} if automatic else None,
        }
    details = params.get("cancellation_details") or {}
    if "cancel_at_period_end" in params:
        ends = params["cancel_at_period_end"]
        period_end = row["items"]["data"][0]["current_period_end"]
        row.update(
            cancel_at_period_end=ends,
            cancel_at=period_end if ends else None,
            canceled_at=(row["canceled_at"] or world.now) if ends else None,
        )
        details = {**details, "reason": "cancellation_requested" if ends else None}
    row["cancellation_details"] = {**row["cancellation_details"], **details}


def _method(world: World, row: Object) -> Object | None:
    return method_for(
        world, {"default_payment_method": None, "_subscription": row["id"], "customer": row["customer"]}
    )


def _debit(item: Object) -> dict[str, Any]:
    span = item["period"]
    return {"amount": item["amount"], "start": span["start"], "end": span["end"], "invoice": None, "line": None}
