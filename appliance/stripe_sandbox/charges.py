"""Charges: each try to take money from a card. https://docs.stripe.com/api/charges"""

from __future__ import annotations

from typing import Any

from appliance.stripe_sandbox.balance import entry, fee_on
from appliance.stripe_sandbox.cards import Behaviour
from appliance.stripe_sandbox.lists import PAGE, page_of
from appliance.stripe_sandbox.params import Params, Schema, text
from appliance.stripe_sandbox.payment_methods import behaviour
from appliance.stripe_sandbox.state import Object
from appliance.stripe_sandbox.world import World

LISTED: Schema = {**PAGE, "customer": text, "payment_intent": text}
Decline = tuple[str, str | None, str]
"""Code, decline code, message."""


def charge(
    world: World, intent: Object, method: Object, decline: Decline | None, *, authenticated: bool = False
) -> Object:
    """A try, successful without ``decline``. Tells of it."""
    paid = decline is None
    name = world.new_id("ch")
    row: Object = {
        "id": name,
        "object": "charge",
        "amount": intent["amount"],
        "amount_captured": intent["amount"] if paid else 0,
        "amount_refunded": 0,
        "application": None,
        "application_fee": None,
        "application_fee_amount": None,
        "balance_transaction": None,
        "billing_details": method["billing_details"],
        "calculated_statement_descriptor": "SANDBOX",
        "captured": paid,
        "created": world.now,
        "currency": intent["currency"],
        "customer": intent["customer"],
        "description": intent["description"],
        "disputed": False,
        "failure_balance_transaction": None,
        "failure_code": None if decline is None else decline[0],
        "failure_message": None if decline is None else decline[2],
        "fraud_details": {},
        "livemode": False,
        "metadata": dict(intent["metadata"]),
        "on_behalf_of": None,
        "outcome": _outcome(decline),
        "paid": paid,
        "payment_intent": intent["id"],
        "payment_method": method["id"],
        "payment_method_details": _details(method, intent, authenticated=authenticated),
        "receipt_email": intent["receipt_email"],
        "receipt_number": None,
        "receipt_url": f"{world.settings.address}/receipts/{name}" if paid else None,
        "refunded": False,
        "review": None,
        "shipping": None,
        "source": None,
        "source_transfer": None,
        "statement_descriptor": None,
        "statement_descriptor_suffix": None,
        "status": "succeeded" if paid else "failed",
        "transfer_data": None,
        "transfer_group": None,
    }
    if paid:
        moved = entry(
            world,
            "charge",
            row["amount"],
            name,
            fee=fee_on(row["amount"]),
            description=intent["description"],
            available=behaviour(method) is Behaviour.AVAILABLE,
        )
        row["balance_transaction"] = moved["id"]
    world.add("charge", row)
    world.emit("charge.succeeded" if paid else "charge.failed", row)
    return row


def retrieve(world: World, _params: Params, name: str) -> Object:
    return world.get("charge", name)


def listed(world: World, params: Params) -> Object:
    return page_of(world, "charge", "/v1/charges", params, by=("payment_intent", "customer"))


def _outcome(decline: Decline | None) -> dict[str, Any]:
    if decline is None:
        return {
            "advice_code": None,
            "network_advice_code": None,
            "network_decline_code": None,
            "network_status": "approved_by_network",
            "reason": None,
            "risk_level": "normal",
            "risk_score": 20,
            "seller_message": "Payment complete.",
            "type": "authorized",
        }
    return {
        "advice_code": "try_again_later" if decline[1] == "insufficient_funds" else None,
        "network_advice_code": None,
        "network_decline_code": None,
        "network_status": "declined_by_network",
        "reason": decline[1] or decline[0],
        "risk_level": "normal",
        "risk_score": 20,
        "seller_message": "The bank did not approve this payment.",
        "type": "issuer_declined",
    }


def _details(method: Object, intent: Object, *, authenticated: bool) -> dict[str, Any]:
    kind = method["type"]
    if kind == "card":
        return {"card": _card(method, intent, authenticated=authenticated), "type": kind}
    shown = ("account_holder_type", "account_type", "bank_name", "fingerprint", "last4", "routing_number")
    return {
        kind: {**{name: method[kind][name] for name in shown}, "mandate": None, "payment_reference": None},
        "type": kind,
    }


def _card(method: Object, intent: Object, *, authenticated: bool) -> dict[str, Any]:
    card = method["card"]
    secure = None
    if authenticated:
        secure = {
            "authentication_flow": "challenge",
            "electronic_commerce_indicator": "05",
            "exemption_indicator": None,
            "result": "authenticated",
            "result_reason": None,
            "transaction_id": None,
            "version": "2.2.0",
        }
    return {
        "amount_authorized": intent["amount"],
        "authorization_code": None,
        **{name: card[name] for name in ("brand", "checks", "country", "exp_month", "exp_year", "fingerprint")},
        "extended_authorization": {"status": "disabled"},
        "funding": card["funding"],
        "incremental_authorization": {"status": "unavailable"},
        "installments": None,
        "last4": card["last4"],
        "mandate": None,
        "multicapture": {"status": "unavailable"},
        "network": card["brand"],
        "network_token": {"used": False},
        "network_transaction_id": None,
        "overcapture": {"maximum_amount_capturable": intent["amount"], "status": "unavailable"},
        "regulated_status": "unregulated",
        "three_d_secure": secure,
        "wallet": None,
    }
