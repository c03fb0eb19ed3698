"""Payments that take days: a bank account is debited, and Checkout tells of it later.

https://docs.stripe.com/payments/ach-direct-debit
"""

from __future__ import annotations

import hashlib

from appliance.stripe_sandbox.paying import debit_failed, debit_succeeded
from appliance.stripe_sandbox.payment_methods import bare_method
from appliance.stripe_sandbox.settings import DAY_SECONDS
from appliance.stripe_sandbox.state import Object
from appliance.stripe_sandbox.world import World

KIND = "us_bank_account"
ACCOUNTS = {"000123456789": True, "000111111116": False}
"""Stripe's test accounts: whether a debit succeeds."""
SETTLED_AFTER_SECONDS = 4 * DAY_SECONDS
FAILED = ("debit_not_authorized", None, "The customer has notified their bank that this payment was unauthorized.")


def new_account(world: World, number: str, *, name: str | None, email: str | None) -> Object:
    row = bare_method(world, KIND, name=name, email=email)
    row[KIND] = {
        "account_holder_type": "individual",
        "account_type": "checking",
        "bank_name": "STRIPE TEST BANK",
        "financial_connections_account": None,
        "fingerprint": hashlib.blake2b(number.encode(), digest_size=8).hexdigest(),
        "last4": number[-4:],
        "networks": {"preferred": "ach", "supported": ["ach"]},
        "routing_number": "110000000",
        "status_details": {},
    }
    row["_number"] = number
    return world.add("payment_method", row)


def begin(world: World, intent: Object, method: Object) -> None:
    """Under way from now on."""
    intent.update(status="processing", payment_method=method["id"], next_action=None, last_payment_error=None)
    world.touch(intent)
    world.emit("payment_intent.processing", intent)
    world.later(world.now + SETTLED_AFTER_SECONDS, "settle_debit", intent["id"])


def settle(world: World, name: str) -> None:
    """What the bank said; the session that it is of is told of too."""
    intent = world.get("payment_intent", name)
    if intent["status"] != "processing":
        return
    method = world.get("payment_method", intent["payment_method"])
    succeeded = ACCOUNTS[method["_number"]]
    if succeeded:
        debit_succeeded(world, intent, method)
    else:
        debit_failed(world, intent, method, FAILED)
    if intent["_session"] is None:
        return
    session = world.get("checkout.session", intent["_session"])
    if succeeded:
        session["payment_status"] = "paid"
        world.touch(session)
    world.emit(f"checkout.session.async_payment_{'succeeded' if succeeded else 'failed'}", session)
