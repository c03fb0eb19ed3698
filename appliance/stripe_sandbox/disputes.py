"""Disputes: a card's owner takes a payment back through his bank. https://docs.stripe.com/api/disputes"""

from __future__ import annotations

from appliance.stripe_sandbox.balance import DISPUTE_FEE_CENTS, entry
from appliance.stripe_sandbox.errors import InvalidRequest
from appliance.stripe_sandbox.lists import PAGE, page_of
from appliance.stripe_sandbox.params import Params, Schema, text
from appliance.stripe_sandbox.settings import DAY_SECONDS
from appliance.stripe_sandbox.state import Object
from appliance.stripe_sandbox.world import World, refuse_if

LISTED: Schema = {**PAGE, "charge": text, "payment_intent": text}
REASON_CODE = "10.4"
"""Visa's: fraud, the card was not present."""
ANSWER_SECONDS = 9 * DAY_SECONDS
EVIDENCE_TEXTS = (
    "access_activity_log",
    "billing_address",
    "cancellation_policy",
    "cancellation_policy_disclosure",
    "cancellation_rebuttal",
    "customer_communication",
    "customer_email_address",
    "customer_name",
    "customer_purchase_ip",
    "customer_signature",
    "duplicate_charge_documentation",
    "duplicate_charge_explanation",
    "duplicate_charge_id",
    "product_description",
    "receipt",
    "refund_policy",
    "refund_policy_disclosure",
    "refund_refusal_explanation",
    "service_date",
    "service_documentation",
    "shipping_address",
    "shipping_carrier",
    "shipping_date",
    "shipping_documentation",
    "shipping_tracking_number",
    "uncategorized_file",
    "uncategorized_text",
)


def open_dispute(world: World, name: str, *, reason: str = "fraudulent", amount: int | None = None) -> Object:
    """Of a paid charge; the money is gone at once, and a fee. Raises InvalidRequest."""
    charge = world.get("charge", name, "charge")
    refuse_if(not charge["paid"] or charge["disputed"], "This charge cannot be disputed.", param="charge")
    left = charge["amount"] - charge["amount_refunded"]
    refuse_if(left == 0, "This charge was refunded in full.", param="charge")
    dispute = _dispute(world, charge, left if amount is None else min(amount, left), reason)
    charge["disputed"] = True
    world.touch(charge)
    world.emit("charge.dispute.created", dispute)
    moved = entry(
        world,
        "adjustment",
        -dispute["amount"],
        dispute["id"],
        category="dispute",
        fee=DISPUTE_FEE_CENTS,
        fee_name="Dispute fee",
        description=f"Chargeback withdrawal for {name}",
    )
    dispute["balance_transactions"] = [_shown(moved)]
    world.touch(dispute)
    world.emit("charge.dispute.funds_withdrawn", dispute)
    return dispute


def decide(world: World, name: str, *, won: bool) -> Object:
    """What the bank decided, for good. Raises InvalidRequest if it did before."""
    dispute = world.get("dispute", name)
    if dispute["status"] in ("won", "lost"):
        raise InvalidRequest(f"This dispute is already {dispute['status']}.")
    before = dispute["status"]
    dispute.update(status="won" if won else "lost", is_charge_refundable=False)
    if won:
        moved = entry(
            world,
            "adjustment",
            dispute["amount"],
            name,
            category="dispute_reversal",
            description=f"Chargeback reversal for {dispute['charge']}",
        )
        dispute["balance_transactions"] = [*dispute["balance_transactions"], _shown(moved)]
    world.touch(dispute)
    world.emit("charge.dispute.closed", dispute, status=before)
    if won:
        world.emit("charge.dispute.funds_reinstated", dispute)
    return dispute


def retrieve(world: World, _params: Params, name: str) -> Object:
    return world.get("dispute", name)


def listed(world: World, params: Params) -> Object:
    return page_of(world, "dispute", "/v1/disputes", params, by=("charge", "payment_intent"))


def _shown(row: Object) -> Object:
    return {name: value for name, value in row.items() if name[0] != "_"}


def _dispute(world: World, charge: Object, amount: int, reason: str) -> Object:
    return world.add(
        "dispute",
        {
            "id": world.new_id("du"),
            "object": "dispute",
            "amount": amount,
            "balance_transactions": [],
            "charge": charge["id"],
            "created": world.now,
            "currency": charge["currency"],
            "enhanced_eligibility_types": [],
            "evidence": {**dict.fromkeys(EVIDENCE_TEXTS), "enhanced_evidence": {}},
            "evidence_details": {
                "due_by": world.now + ANSWER_SECONDS,
                "enhanced_eligibility": {},
                "has_evidence": False,
                "past_due": False,
                "submission_count": 0,
                "submission_method": "not_submitted",
            },
            "is_charge_refundable": False,
            "livemode": False,
            "metadata": {},
            "network_reason_code": REASON_CODE,
            "payment_intent": charge["payment_intent"],
            "payment_method_details": _details(charge),
            "reason": reason,
            "status": "needs_response",
        },
    )


def _details(charge: Object) -> Object | None:
    card = charge["payment_method_details"].get("card")
    if card is None:
        return None
    return {
        "card": {
            "brand": card["brand"],
            "case_type": "chargeback",
            "network": card["network"],
            "network_reason_code": REASON_CODE,
        },
        "type": "card",
    }
