"""Stripe's objects as the port's types."""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any, cast

from billing.documents.vat import Reckoned
from billing.payments.provider import (
    CURRENCY,
    Calculation,
    Card,
    CheckoutSeen,
    CheckoutStatus,
    DisputeSeen,
    EventSeen,
    IntentSeen,
    InvoiceSeen,
    MovementSeen,
    RefundSeen,
    SubscriptionSeen,
)
from billing.payments.stripe.objects import CHANGES, CHANGES_TO, Seen, id_of, reference_of, uuid_of

MOVES = ("charge", "refund", "dispute")
"""The objects that move what customers paid."""


def checkout(seen: Seen) -> CheckoutSeen:
    return CheckoutSeen(
        seen["id"],
        CheckoutStatus(seen["status"]),
        seen["payment_status"] == "paid",
        seen.get("amount_total") or 0,
        seen.get("currency") or CURRENCY,
        uuid_of(seen.get("client_reference_id")),
        seen.get("url"),
        id_of(seen.get("customer")),
        id_of(seen.get("payment_intent")),
        id_of(seen.get("subscription")),
        id_of(seen.get("setup_intent")),
        tax_of_page(seen),
    )


def tax_of_page(seen: Seen) -> Reckoned | None:
    """None until Stripe has reckoned it. All of what is sold is of one kind, so that its taxes have one reason."""
    automatic, details = seen.get("automatic_tax") or {}, seen.get("total_details") or {}
    taxes = (details.get("breakdown") or {}).get("taxes") or ()
    if automatic.get("status") != "complete" or not taxes:
        return None
    points = [basis_points_of(one["rate"]) for one in taxes]
    included = any(one["rate"]["inclusive"] for one in taxes)
    return Reckoned(details["amount_tax"], sum(points), reason_of(taxes), included)


def calculation(seen: Seen) -> Calculation:
    taxes = seen["tax_breakdown"]
    points = [basis_points(one["tax_rate_details"]["percentage_decimal"]) for one in taxes]
    vat = seen["tax_amount_exclusive"] + seen["tax_amount_inclusive"]
    included = any(one["inclusive"] for one in taxes)
    tax = Reckoned(vat, sum(points), reason_of(taxes), included)
    return Calculation(seen.get("id") or "", seen["amount_total"], tax)


def reason_of(taxes: Sequence[Seen]) -> str:
    """Of several, that of the most tax."""
    return str(max(taxes, key=lambda one: one["amount"])["taxability_reason"])


def basis_points_of(rate: Seen) -> int:
    """What is collected: ``percentage`` is also there where nothing is, and ``effective_percentage`` is then 0."""
    effective = rate.get("effective_percentage")
    return basis_points(rate["percentage"] if effective is None else effective)


def basis_points(percent: float | str) -> int:
    """Some states have rates that are finer: half to even."""
    return int((Decimal(str(percent)) * 100).quantize(Decimal(1), ROUND_HALF_EVEN))


def intent(seen: Seen) -> IntentSeen:
    charge = seen.get("latest_charge")
    paid_at = _moment(charge["created"]) if isinstance(charge, dict) and charge.get("paid") else None
    failure = seen.get("last_payment_error") or {}
    return IntentSeen(
        seen["id"],
        seen["status"],
        seen.get("amount_received") or 0,
        seen["currency"],
        reference_of(seen),
        id_of(seen.get("customer")),
        id_of(seen.get("payment_method")),
        failure.get("decline_code") or failure.get("code"),
        paid_at,
    )


def card(seen: Seen) -> Card:
    shown = seen["card"]
    return Card(seen["id"], f"{shown.get('brand') or 'card'} •••• {shown.get('last4') or ''}")


def refund(seen: Seen) -> RefundSeen:
    return RefundSeen(
        seen["id"],
        seen.get("status") or "pending",
        seen["amount"],
        id_of(seen.get("payment_intent")),
        reference_of(seen),
        seen.get("failure_reason"),
    )


def dispute(seen: Seen) -> DisputeSeen:
    due = (seen.get("evidence_details") or {}).get("due_by")
    return DisputeSeen(
        seen["id"],
        seen["status"],
        seen["amount"],
        id_of(seen.get("payment_intent")),
        seen.get("reason") or "general",
        _moment(seen["created"]),
        _moment_if(due),
    )


def subscription(seen: Seen) -> SubscriptionSeen:
    """The period is its item's: since 2025 a subscription has none of its own."""
    (item, *_) = seen["items"]["data"]
    return SubscriptionSeen(
        seen["id"],
        seen["status"],
        id_of(seen["customer"]) or "",
        item["id"],
        id_of(item["price"]) or "",
        _moment(item["current_period_start"]),
        _moment(item["current_period_end"]),
        bool(seen.get("cancel_at_period_end")) or seen.get("cancel_at") is not None,
        reference_of(seen),
        id_of(seen.get("latest_invoice")),
    )


def invoice(seen: Seen, tax: Reckoned | None) -> InvoiceSeen:
    """``tax`` is what Stripe reckoned of it. Its subscription is its parent, and its intents are in its payments.

    Of the lines of one period, the dearest is what was bought; what is taken back of the plan before is negative.
    """
    details = (seen.get("parent") or {}).get("subscription_details") or {}
    paying = [one["payment"].get("payment_intent") for one in (seen.get("payments") or {}).get("data", ())]
    lines = (seen.get("lines") or {}).get("data", ())
    newest = max(
        lines, key=lambda one: (one["period"]["end"], one["period"]["start"], one["amount"]), default=None
    )
    period = {"start": seen["period_start"], "end": seen["period_end"]} if newest is None else newest["period"]
    kept = seen.get("metadata") or {}
    priced = {} if newest is None else (newest.get("pricing") or {}).get("price_details") or {}
    return InvoiceSeen(
        seen["id"],
        seen.get("status") or "draft",
        seen.get("billing_reason") or "manual",
        seen["total"],
        seen.get("amount_paid") or 0,
        seen["currency"],
        id_of(seen.get("customer")),
        id_of(details.get("subscription")) or kept.get(CHANGES),
        kept.get(CHANGES_TO) or id_of(priced.get("price")),
        next((id_of(one) for one in paying if one is not None), None),
        _moment(period["start"]),
        _moment(period["end"]),
        _moment_if((seen.get("status_transitions") or {}).get("paid_at")),
        seen.get("hosted_invoice_url"),
        tax,
        (seen.get("automatic_tax") or {}).get("status") in ("requires_location_inputs", "failed"),
        bool(seen.get("attempted")),
    )


def event(seen: Seen) -> EventSeen:
    return EventSeen(seen["id"], seen["type"], seen["data"]["object"].get("id") or "", _moment(seen["created"]))


def movement(seen: Seen) -> MovementSeen:
    source, rate = seen.get("source"), seen.get("exchange_rate")
    paying = source.get("payment_intent") if isinstance(source, dict) else None
    return MovementSeen(
        seen["id"],
        seen["type"],
        id_of(source),
        id_of(paying),
        seen["currency"],
        seen["amount"],
        seen["fee"],
        seen["net"],
        None if rate is None else Decimal(str(rate)),
        _in_dollars(seen, source),
        _moment(seen["created"]),
    )


def _in_dollars(seen: Seen, source: Any) -> int | None:
    """Of a movement on a balance in another currency, what its source was. A source's own amount has no sign."""
    if seen["currency"] == CURRENCY:
        return cast("int", seen["amount"])
    if not isinstance(source, dict) or source["object"] not in MOVES or source["currency"] != CURRENCY:
        return None
    return cast("int", source["amount"] if seen["amount"] > 0 else -source["amount"])


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _moment_if(seconds: int | None) -> datetime | None:
    return None if seconds is None else _moment(seconds)
