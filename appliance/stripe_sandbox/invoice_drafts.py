"""Invoices before they are final: their shape and their sums."""

from __future__ import annotations

from typing import Any

from appliance.stripe_sandbox.customers import payer_of
from appliance.stripe_sandbox.invoice_items import put_on
from appliance.stripe_sandbox.invoice_lines import Draft, line_of, totals
from appliance.stripe_sandbox.payment_intents import LEAST_CENTS
from appliance.stripe_sandbox.state import Object
from appliance.stripe_sandbox.taxing import as_invoice_taxes, automatic_rates, taxes_on
from appliance.stripe_sandbox.world import World


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
    payer = payer_of(world, customer)
    lines = [line_of(world, name, draft, payer=payer, automatic=automatic_tax) for draft in drafts]
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


def tax_anew(world: World, row: Object, customer: Object) -> None:
    """Of a draft whose tax is automatic: where the customer is now counts."""
    if not row["automatic_tax"]["enabled"]:
        return
    row["automatic_tax"] = {**row["automatic_tax"], "status": _tax_status(world, customer)}
    payer = payer_of(world, customer)
    for line in row["lines"]["data"]:
        inclusive = any(one["tax_behavior"] == "inclusive" for one in line["taxes"])
        rates = automatic_rates(world, payer, inclusive=inclusive)
        line["taxes"] = as_invoice_taxes(taxes_on(line["amount"], rates))


def due_of(total: int, balance: int) -> tuple[int, int]:
    """What is to be paid, and the customer's balance after it, in cents: too little to be charged waits there."""
    owed = total + balance
    return (owed, 0) if owed >= LEAST_CENTS else (0, owed)


def _parent(subscription: Object, proration_date: int | None) -> dict[str, Any]:
    details: dict[str, Any] = {
        "metadata": dict(subscription["metadata"]),
        "subscription": subscription["id"],
    }
    if proration_date is not None:
        details["subscription_proration_date"] = proration_date
    return {"quote_details": None, "subscription_details": details, "type": "subscription_details"}


def _tax_status(world: World, customer: Object) -> str:
    return "complete" if payer_of(world, customer).country else "requires_location_inputs"


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
            "status": _tax_status(world, customer) if automatic_tax else None,
        },
        "automatically_finalizes_at": None,
        "billing_reason": reason,
        "collection_method": "charge_automatically",
        "created": world.now,
        "currency": world.settings.sold_in,
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
        "test_clock": customer["test_clock"],
        "total_discount_amounts": [],
        "total_pretax_credit_amounts": [],
        "webhooks_delivered_at": None,
        "_intent": None,
        "_payment": None,
        "_first_try": None,
    }
