"""The life of an invoice: drafted, finalized, tried to be paid, paid or void."""

from __future__ import annotations

from typing import Any

from appliance.stripe_sandbox.cards import Outcome
from appliance.stripe_sandbox.customers import add_to_balance, existing
from appliance.stripe_sandbox.invoice_items import put_on
from appliance.stripe_sandbox.invoice_lines import Draft, line_of, totals
from appliance.stripe_sandbox.paying import foreseen, try_to_pay
from appliance.stripe_sandbox.payment_intents import LEAST_CENTS, cancel_intent, new_intent
from appliance.stripe_sandbox.settings import DAY_SECONDS
from appliance.stripe_sandbox.state import Object
from appliance.stripe_sandbox.world import World, refuse_if


def draft_invoice(
    world: World,
    customer: Object,
    drafts: list[Draft],
    *,
    reason: str,
    subscription: Object | None = None,
    automatic_tax: bool = False,
    metadata: dict[str, str] | None = None,
    period: tuple[int, int] | None = None,
    proration_date: int | None = None,
    preview: bool = False,
) -> Object:
    """Kept and told of, unless it is a ``preview``."""
    name = world.new_id("upcoming_in" if preview else "in")
    country = (customer["address"] or {}).get("country")
    lines = [line_of(world, name, draft, country=country, automatic=automatic_tax) for draft in drafts]
    start, end = period or (world.now, world.now)
    row = _empty(world, customer, name, reason, automatic_tax=automatic_tax)
    row.update(
        metadata=metadata or {},
        parent=None if subscription is None else _parent(subscription, proration_date),
        period_start=start,
        period_end=end,
        default_tax_rates=[] if subscription is None else subscription["default_tax_rates"],
        _subscription=None if subscription is None else subscription["id"],
    )
    row["lines"] = {
        "object": "list",
        "data": lines,
        "has_more": False,
        "total_count": len(lines),
        "url": f"/v1/invoices/{name}/lines",
    }
    sum_up(row, customer)
    if not preview:
        for draft in drafts:
            if draft.invoice_item is not None:
                put_on(world, world.get("invoiceitem", draft.invoice_item), name)
        world.add("invoice", row)
        world.emit("invoice.created", row)
    return row


def sum_up(row: Object, customer: Object) -> None:
    """What is due of a draft, as the customer's balance is now."""
    row.update(totals(row["lines"]["data"]))
    due, _ = due_of(row["total"], customer["balance"])
    row.update(starting_balance=customer["balance"], amount_due=due, amount_remaining=due)


def due_of(total: int, balance: int) -> tuple[int, int]:
    """What is to be paid, and the customer's balance after it, in cents: too little to be charged waits there."""
    owed = total + balance
    return (owed, 0) if owed >= LEAST_CENTS else (0, owed)


def finalize(world: World, row: Object) -> None:
    """Its numbers change no more. With nothing due, it is paid."""
    refuse_if(
        row["status"] != "draft",
        "This invoice is already finalized, you can't re-finalize a non-draft invoice.",
        code="invoice_not_editable",
    )
    customer = existing(world, row["customer"])
    sum_up(row, customer)
    due, after = due_of(row["total"], customer["balance"])
    number = f"{customer['invoice_prefix']}-{customer['next_invoice_sequence']:04d}"
    customer["next_invoice_sequence"] += 1
    customer["currency"] = row["currency"]
    world.touch(customer)
    if after != customer["balance"]:
        add_to_balance(world, customer, after - customer["balance"])
    page = f"{world.settings.address}/invoices/{row['id']}"
    row.update(
        status="open",
        number=number,
        ending_balance=after,
        effective_at=world.now,
        hosted_invoice_url=page,
        invoice_pdf=f"{page}/pdf",
        auto_advance=row["auto_advance"] and due > 0,
        automatically_finalizes_at=None,
    )
    row["status_transitions"]["finalized_at"] = world.now
    if due > 0:
        _ask_for(world, row, due)
    world.touch(row)
    world.emit("invoice.finalized", row)
    if due == 0:
        _settled(world, row)


def pay(
    world: World, row: Object, method: Object | None, *, off_session: bool, authenticated: bool = False
) -> Outcome:
    """Tries it, and tells of what came of it; the subscription follows. Raises InvalidRequest."""
    existing(world, row["customer"])
    intent = world.get("payment_intent", row["_intent"])
    if method is None:
        outcome = Outcome.DECLINED
    elif (
        foreseen(world, row["customer"], method, off_session=off_session, authenticated=authenticated)
        is Outcome.ACTION
    ):
        outcome = try_to_pay(world, intent, method, off_session=False)
    else:
        outcome = try_to_pay(world, intent, method, off_session=off_session, authenticated=authenticated)
    row.update(attempted=True, attempt_count=row["attempt_count"] + 1)
    world.touch(row)
    if outcome is Outcome.PAID:
        settle(world, row)
    else:
        _not_paid(world, row, outcome)
    return outcome


def settle(world: World, row: Object) -> None:
    """Its intent was paid."""
    payment = world.get("invoice_payment", row["_payment"])
    payment.update(amount_paid=row["amount_due"], status="paid")
    payment["status_transitions"]["paid_at"] = world.now
    world.touch(payment)
    row.update(amount_paid=row["amount_due"], amount_remaining=0)
    world.emit("invoice_payment.paid", payment)
    _settled(world, row)


def void(world: World, row: Object) -> None:
    """Nobody has to pay it any more."""
    from appliance.stripe_sandbox.collection import invoice_was_voided

    refuse_if(row["status"] not in ("open", "uncollectible"), f"You cannot void a {row['status']} invoice.")
    row.update(status="void", auto_advance=False, next_payment_attempt=None)
    row["status_transitions"]["voided_at"] = world.now
    world.touch(row)
    if row["_intent"] is not None:
        intent = world.get("payment_intent", row["_intent"])
        if intent["status"] not in ("succeeded", "canceled"):
            cancel_intent(world, intent, "void_invoice")
        payment = world.get("invoice_payment", row["_payment"])
        payment["status"] = "canceled"
        payment["status_transitions"]["canceled_at"] = world.now
        world.touch(payment)
    world.emit("invoice.voided", row)
    invoice_was_voided(world, row)


def method_for(world: World, row: Object) -> Object | None:
    """With what it is paid by itself: its own default, the subscription's or the customer's."""
    own = row["default_payment_method"]
    subscription = row["_subscription"]
    if own is None and subscription is not None:
        own = world.get("subscription", subscription)["default_payment_method"]
    if own is None:
        own = world.get("customer", row["customer"])["invoice_settings"]["default_payment_method"]
    return None if own is None else world.get("payment_method", own)


def retry(world: World, name: str) -> None:
    """The next try to collect it, if it is still open."""
    row = world.get("invoice", name)
    if row["status"] == "open" and row["next_payment_attempt"] is not None:
        pay(world, row, method_for(world, row), off_session=True)


def _settled(world: World, row: Object) -> None:
    from appliance.stripe_sandbox.collection import invoice_was_paid

    row.update(status="paid", attempted=True, next_payment_attempt=None, auto_advance=False)
    row["status_transitions"]["paid_at"] = world.now
    world.touch(row)
    customer = world.get("customer", row["customer"])
    if customer.get("delinquent"):
        customer["delinquent"] = False
        world.touch(customer)
    world.emit("invoice.paid", row)
    world.emit("invoice.payment_succeeded", row)
    invoice_was_paid(world, row)


def _not_paid(world: World, row: Object, outcome: Outcome) -> None:
    """The next try is so many days after the first; a first invoice, or one of a person, is not tried again."""
    from appliance.stripe_sandbox.collection import invoice_was_not_paid

    days = world.settings.retry_after_days
    tries = row["attempt_count"]
    again = row["billing_reason"] in ("subscription_cycle", "subscription_update") and row["auto_advance"]
    row["next_payment_attempt"] = None
    if row["_first_try"] is None:
        row["_first_try"] = world.now
    if again and tries <= len(days):
        row["next_payment_attempt"] = max(world.now, row["_first_try"] + days[tries - 1] * DAY_SECONDS)
        world.later(row["next_payment_attempt"], "retry_invoice", row["id"])
    world.touch(row)
    if outcome is Outcome.ACTION:
        world.emit("invoice.payment_action_required", row)
    world.emit("invoice.payment_failed", row)
    invoice_was_not_paid(world, row, last=again and row["next_payment_attempt"] is None)


def _ask_for(world: World, row: Object, due: int) -> None:
    future = "off_session" if row["_subscription"] is not None else None
    intent = new_intent(
        world,
        due,
        row["currency"],
        row["customer"],
        {"setup_future_usage": future, "_invoice": row["id"], "description": f"Invoice {row['number']}"},
    )
    payment: Object = {
        "id": world.new_id("inpay"),
        "object": "invoice_payment",
        "amount_paid": None,
        "amount_requested": due,
        "created": world.now,
        "currency": row["currency"],
        "invoice": row["id"],
        "is_default": True,
        "livemode": False,
        "payment": {"payment_intent": intent["id"], "type": "payment_intent"},
        "status": "open",
        "status_transitions": {"canceled_at": None, "paid_at": None},
    }
    world.add("invoice_payment", payment)
    row.update(_intent=intent["id"], _payment=payment["id"])


def _parent(subscription: Object, proration_date: int | None) -> dict[str, Any]:
    details: dict[str, Any] = {
        "metadata": dict(subscription["metadata"]),
        "subscription": subscription["id"],
    }
    if proration_date is not None:
        details["subscription_proration_date"] = proration_date
    return {"quote_details": None, "subscription_details": details, "type": "subscription_details"}


def _empty(world: World, customer: Object, name: str, reason: str, *, automatic_tax: bool) -> Object:
    ours = {"type": "self"}
    return {
        "id": name,
        "object": "invoice",
        "account_country": world.settings.account_country,
        "account_name": "Sandbox",
        "account_tax_ids": None,
        "amount_due": 0,
        "amount_overpaid": 0,
        "amount_paid": 0,
        "amount_remaining": 0,
        "amount_shipping": 0,
        "application": None,
        "attempt_count": 0,
        "attempted": False,
        "auto_advance": True,
        "automatic_tax": {
            "disabled_reason": None,
            "enabled": automatic_tax,
            "liability": ours if automatic_tax else None,
            "provider": "stripe" if automatic_tax else None,
            "status": "complete" if automatic_tax else None,
        },
        "automatically_finalizes_at": None,
        "billing_reason": reason,
        "collection_method": "charge_automatically",
        "created": world.now,
        "currency": world.settings.default_currency,
        "custom_fields": None,
        "customer": customer["id"],
        "customer_address": customer["address"],
        "customer_email": customer["email"],
        "customer_name": customer["name"],
        "customer_phone": customer["phone"],
        "customer_shipping": None,
        "customer_tax_exempt": customer["tax_exempt"],
        "customer_tax_ids": [],
        "default_payment_method": None,
        "default_source": None,
        "default_tax_rates": [],
        "description": None,
        "discounts": [],
        "due_date": None,
        "effective_at": None,
        "ending_balance": None,
        "footer": None,
        "from_invoice": None,
        "hosted_invoice_url": None,
        "invoice_pdf": None,
        "issuer": ours,
        "last_finalization_error": None,
        "latest_revision": None,
        "livemode": False,
        "metadata": {},
        "next_payment_attempt": None,
        "number": None,
        "on_behalf_of": None,
        "payment_settings": {
            "default_mandate": None,
            "payment_method_options": None,
            "payment_method_types": None,
        },
        "post_payment_credit_notes_amount": 0,
        "pre_payment_credit_notes_amount": 0,
        "receipt_number": None,
        "rendering": None,
        "shipping_cost": None,
        "shipping_details": None,
        "starting_balance": 0,
        "statement_descriptor": None,
        "status": "draft",
        "status_transitions": {
            "finalized_at": None,
            "marked_uncollectible_at": None,
            "paid_at": None,
            "voided_at": None,
        },
        "test_clock": None,
        "total_discount_amounts": [],
        "total_pretax_credit_amounts": [],
        "webhooks_delivered_at": None,
        "_intent": None,
        "_payment": None,
        "_first_try": None,
    }
