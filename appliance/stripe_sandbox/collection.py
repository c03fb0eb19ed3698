"""How a subscription follows its invoices: paid, not paid, void; and its next period."""

from __future__ import annotations

from appliance.stripe_sandbox.invoice_drafts import draft_invoice, tax_anew
from appliance.stripe_sandbox.invoice_items import pending
from appliance.stripe_sandbox.invoice_lines import for_period, of_item
from appliance.stripe_sandbox.invoicing import finalize, method_for, pay, void
from appliance.stripe_sandbox.periods import next_boundary
from appliance.stripe_sandbox.settings import AfterRetries
from appliance.stripe_sandbox.state import Object
from appliance.stripe_sandbox.world import World

DRAFT_SECONDS = 3600
"""How long the invoice of a renewal can still be changed, before it is charged."""
OVER = ("canceled", "incomplete_expired")


def renew(world: World, name: str) -> None:
    """At the end of a period: the next one begins, or it ends if that was asked for."""
    from appliance.stripe_sandbox.subscriptions import end

    row = world.get("subscription", name)
    first = row["items"]["data"][0]
    if row["status"] in OVER or first["current_period_end"] > world.now:
        return
    if row["cancel_at_period_end"]:
        end(world, row, reason="cancellation_requested")
        return
    before = [dict(item) for item in row["items"]["data"]]
    ended = (first["current_period_start"], first["current_period_end"])
    for item in row["items"]["data"]:
        recurring = item["price"]["recurring"]
        item["current_period_start"] = ended[1]
        item["current_period_end"] = next_boundary(
            row["billing_cycle_anchor"], recurring["interval"], recurring["interval_count"], ended[1]
        )
    world.later(row["items"]["data"][0]["current_period_end"], "renew", name)
    world.touch(row)
    invoice = bill_period(world, row, reason="subscription_cycle", period=ended)
    world.emit("customer.subscription.updated", row, items={**row["items"], "data": before})
    if row["status"] != "unpaid":
        invoice["automatically_finalizes_at"] = world.now + DRAFT_SECONDS
        world.touch(invoice)
        world.later(world.now + DRAFT_SECONDS, "finalize_invoice", invoice["id"])


def bill_period(world: World, row: Object, *, reason: str, period: tuple[int, int]) -> Object:
    """A draft for the current period of each item, with what waited for it."""
    drafts = [of_item(one) for one in pending(world, row["customer"], row["id"])]
    drafts += [
        for_period(world, row, item, item["current_period_start"], item["current_period_end"])
        for item in row["items"]["data"]
    ]
    invoice = draft_invoice(
        world,
        world.get("customer", row["customer"]),
        drafts,
        reason=reason,
        subscription=row,
        automatic_tax=row["automatic_tax"]["enabled"],
        period=period,
    )
    note_debits(world, row, invoice)
    row["latest_invoice"] = invoice["id"]
    world.touch(row)
    return invoice


def note_debits(world: World, row: Object, invoice: Object) -> None:
    """What each item was last charged, and for which time: a later credit is a share of that."""
    for line in invoice["lines"]["data"]:
        parent = line["parent"] or {}
        own, waited = parent.get("subscription_item_details"), parent.get("invoice_item_details")
        item = own["subscription_item"] if own else None
        if waited and waited["proration"]:
            item = world.get("invoiceitem", waited["invoice_item"])["_item"]
        if item is not None and line["amount"] >= 0:
            span = line["period"]
            row["_debits"][item] = {
                "amount": line["amount"],
                "start": span["start"],
                "end": span["end"],
                "invoice": invoice["id"],
                "line": line["id"],
            }


def finalize_and_pay(world: World, name: str) -> None:
    """A draft whose hour is over."""
    row = world.state.table("invoice").rows.get(name)
    if row is None or row["status"] != "draft" or not row["auto_advance"]:
        return
    tax_anew(world, row, world.get("customer", row["customer"]))
    if row["automatic_tax"]["status"] == "requires_location_inputs":
        _go_on_without_tax(world, row)
    finalize(world, row)
    if row["status"] == "open":
        pay(world, row, method_for(world, row), off_session=True)


def _go_on_without_tax(world: World, invoice: Object) -> None:
    """Where nobody knows where its customer is, nor for the next ones, until it is put on again.

    https://docs.stripe.com/tax/customer-locations
    """
    invoice["automatic_tax"] = {
        "disabled_reason": "finalization_requires_location_inputs",
        "enabled": False,
        "liability": None,
        "provider": None,
        "status": None,
    }
    for line in invoice["lines"]["data"]:
        line["taxes"] = []
    world.touch(invoice)
    row = _followed(world, invoice)
    if row is not None:
        before = row["automatic_tax"]
        row["automatic_tax"] = {"disabled_reason": "requires_location_inputs", "enabled": False, "liability": None}
        world.touch(row)
        world.emit("customer.subscription.updated", row, automatic_tax=before)


def invoice_was_paid(world: World, invoice: Object) -> None:
    row = _followed(world, invoice)
    if row is None:
        return
    if row["pending_update"] is not None and row["_pending"] and row["_pending"]["invoice"] == invoice["id"]:
        from appliance.stripe_sandbox.subscription_updates import apply_pending

        apply_pending(world, row, invoice)
    elif row["status"] in ("incomplete", "past_due", "unpaid") and row["latest_invoice"] == invoice["id"]:
        _become(world, row, "active")


def invoice_was_voided(world: World, invoice: Object) -> None:
    row = _followed(world, invoice)
    if row is not None and row["status"] in ("past_due", "unpaid") and row["latest_invoice"] == invoice["id"]:
        _become(world, row, "active")


def invoice_was_not_paid(world: World, invoice: Object, *, last: bool) -> None:
    """``last`` if it is not tried again by itself."""
    from appliance.stripe_sandbox.subscriptions import end

    row = _followed(world, invoice)
    customer = world.get("customer", invoice["customer"])
    if not customer.get("delinquent") and not customer.get("deleted"):
        customer["delinquent"] = True
        world.touch(customer)
    if row is None or row["status"] == "incomplete" or row["_pending"]:
        return
    if last and world.settings.after_retries is AfterRetries.CANCELED:
        end(world, row, reason="payment_failed")
    elif last and world.settings.after_retries is AfterRetries.UNPAID:
        _become(world, row, "unpaid")
    elif row["status"] == "active":
        _become(world, row, "past_due")


def give_up_incomplete(world: World, name: str) -> None:
    """Its first invoice was not paid in time."""
    row = world.get("subscription", name)
    if row["status"] != "incomplete":
        return
    row["ended_at"] = world.now
    _become(world, row, "incomplete_expired")
    invoice = world.get("invoice", row["latest_invoice"])
    if invoice["status"] == "open":
        void(world, invoice)


def _followed(world: World, invoice: Object) -> Object | None:
    """The subscription that an invoice is of, unless it is over."""
    if invoice["_subscription"] is None:
        return None
    row = world.get("subscription", invoice["_subscription"])
    return None if row["status"] in OVER else row


def _become(world: World, row: Object, status: str) -> None:
    before = row["status"]
    row["status"] = status
    world.touch(row)
    world.emit("customer.subscription.updated", row, status=before)
