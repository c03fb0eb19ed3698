"""The life of an invoice: drafted, finalized, tried to be paid, paid or void."""

from __future__ import annotations

from appliance.stripe_sandbox.cards import Outcome
from appliance.stripe_sandbox.customers import add_to_balance, existing
from appliance.stripe_sandbox.invoice_drafts import due_of, sum_up, tax_anew
from appliance.stripe_sandbox.paying import foreseen, try_to_pay
from appliance.stripe_sandbox.payment_intents import cancel_intent, new_intent
from appliance.stripe_sandbox.settings import DAY_SECONDS
from appliance.stripe_sandbox.state import Object
from appliance.stripe_sandbox.world import World, refuse_if


def finalize(world: World, row: Object) -> None:
    """Its numbers change no more. With nothing due, it is paid."""
    refuse_if(
        row["status"] != "draft",
        "This invoice is already finalized, you can't re-finalize a non-draft invoice.",
        code="invoice_not_editable",
    )
    customer = existing(world, row["customer"])
    tax_anew(world, row, customer)
    refuse_if(
        row["automatic_tax"]["status"] == "requires_location_inputs",
        "This invoice cannot be finalized because the customer's tax location is not known.",
        code="customer_tax_location_invalid",
    )
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
