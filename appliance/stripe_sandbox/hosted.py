"""What somebody does on Stripe's pages: pays, confirms a payment at the bank, or fails to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from appliance.stripe_sandbox import bank_debits
from appliance.stripe_sandbox.cards import DECLINES, INVALID_NUMBER, Behaviour, Outcome, card_of
from appliance.stripe_sandbox.checkout import automatic_tax
from appliance.stripe_sandbox.checkout_lines import sums, tax
from appliance.stripe_sandbox.customers import ADDRESS, new_customer, payer_of
from appliance.stripe_sandbox.invoice_items import added
from appliance.stripe_sandbox.invoice_lines import Draft
from appliance.stripe_sandbox.invoicing import pay, settle
from appliance.stripe_sandbox.paying import authentication_failed, foreseen, try_to_pay
from appliance.stripe_sandbox.payment_intents import new_intent
from appliance.stripe_sandbox.payment_methods import attached, behaviour, new_method
from appliance.stripe_sandbox.setup_intents import succeed
from appliance.stripe_sandbox.state import Object
from appliance.stripe_sandbox.subscriptions import begin, new_subscription
from appliance.stripe_sandbox.tax import Payer
from appliance.stripe_sandbox.taxing import automatic_rates, is_inclusive
from appliance.stripe_sandbox.world import World


@dataclass(frozen=True, slots=True)
class Buyer:
    """Who filled in the page. ``country`` has two letters."""

    number: str
    email: str | None = None
    name: str | None = None
    country: str | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """Where the browser goes next, or why it stays."""

    url: str | None = None
    message: str | None = None


def pay_session(world: World, name: str, buyer: Buyer) -> Step:
    """Once: whoever comes after the first is told that it is paid. Raises InvalidRequest if there is none."""
    row = world.get("checkout.session", name, "session")
    if row["status"] == "complete":
        return Step(message="This session is paid already. Nothing was charged again.")
    if row["status"] == "expired":
        return Step(message="This session has expired. Nothing was charged.")
    if row["customer"] and world.get("customer", row["customer"]).get("deleted"):
        return Step(message="The customer was deleted. Nothing was charged.")
    card, account = card_of(buyer.number), buyer.number.replace(" ", "")
    if account in bank_debits.ACCOUNTS and bank_debits.KIND in row["payment_method_types"]:
        _note_buyer(world, row, buyer)
        return _debit(world, row, account, buyer)
    if card is None or "card" not in row["payment_method_types"]:
        return Step(message=INVALID_NUMBER[2] + " Only the numbers below work here.")
    _note_buyer(world, row, buyer)
    method = new_method(world, card, name=buyer.name, email=_email(world, row, buyer))
    if row["mode"] == "payment" and row["amount_total"]:
        return _pay_once(world, row, method)
    return _save_and_go_on(world, row, method)


def answer_3ds(world: World, name: str, *, confirmed: bool) -> Step:
    """``name`` is an intent's or a session's. Raises InvalidRequest if there is none."""
    if name.startswith("cs_"):
        return _answer_of_session(world, name, confirmed=confirmed)
    intent = world.get("payment_intent", name)
    if intent["status"] != "requires_action":
        return Step(message="This payment does not wait to be confirmed.")
    session = world.get("checkout.session", intent["_session"]) if intent["_session"] else None
    back = intent["_return_url"] or f"{world.settings.address}/sandbox"
    if session is not None:
        back = f"{world.settings.address}/c/pay/{session['id']}"
    if not confirmed:
        authentication_failed(world, intent)
        if intent["_invoice"]:
            world.emit("invoice.payment_failed", world.get("invoice", intent["_invoice"]))
        return Step(f"{back}{'?failed=1' if session is not None else ''}")
    method = world.get("payment_method", intent["payment_method"])
    outcome = try_to_pay(world, intent, method, off_session=False, authenticated=True)
    if outcome is not Outcome.PAID:
        return Step(f"{back}{'?failed=1' if session is not None else ''}")
    if session is not None:
        return _complete(world, session)
    if intent["_invoice"]:
        settle(world, world.get("invoice", intent["_invoice"]))
    return Step(back)


def pay_invoice(world: World, name: str, buyer: Buyer) -> Step:
    """On the page of an open invoice. Raises InvalidRequest if there is none."""
    row = world.get("invoice", name)
    if row["status"] != "open":
        return Step(message=f"This invoice is {row['status']}. Nothing was charged.")
    card = card_of(buyer.number)
    if card is None:
        return Step(message=INVALID_NUMBER[2] + " Only the numbers below work here.")
    method = new_method(world, card, name=row["customer_name"], email=row["customer_email"])
    outcome = pay(world, row, method, off_session=False)
    intent = world.get("payment_intent", row["_intent"])
    intent["_return_url"] = row["hosted_invoice_url"]
    world.touch(intent)
    if outcome is Outcome.ACTION:
        return Step(f"{world.settings.address}/3ds/{intent['id']}")
    if outcome is Outcome.DECLINED:
        return Step(message=intent["last_payment_error"]["message"])
    return Step(row["hosted_invoice_url"])


def _pay_once(world: World, row: Object, method: Object) -> Step:
    intent = _intent(world, row)
    outcome = try_to_pay(world, intent, method, off_session=False)
    if outcome is Outcome.ACTION:
        return Step(f"{world.settings.address}/3ds/{intent['id']}")
    if outcome is Outcome.DECLINED:
        return Step(message=intent["last_payment_error"]["message"])
    return _complete(world, row)


def _debit(world: World, row: Object, number: str, buyer: Buyer) -> Step:
    method = bank_debits.new_account(world, number, name=buyer.name, email=_email(world, row, buyer))
    bank_debits.begin(world, _intent(world, row), method)
    return _complete(world, row, paid=False)


def _intent(world: World, row: Object) -> Object:
    """The session's, made when somebody first tries to pay."""
    if row["payment_intent"] is None:
        sent = {**row["_data"], "_session": row["id"]}
        row["payment_intent"] = new_intent(world, row["amount_total"], row["currency"], row["customer"], sent)[
            "id"
        ]
    intent = world.get("payment_intent", row["payment_intent"])
    intent.update(amount=row["amount_total"], customer=row["customer"])
    world.touch(row)
    return intent


def _save_and_go_on(world: World, row: Object, method: Object) -> Step:
    """A card for a subscription, or to be saved: nothing is there before it is good."""
    kind = behaviour(method)
    outcome = foreseen(world, row["customer"], method, off_session=False)
    if row["mode"] == "setup" and kind is Behaviour.ATTACHES_ONLY:
        outcome = Outcome.PAID
    if outcome is Outcome.DECLINED:
        customer = world.get("customer", row["customer"]) if row["customer"] else None
        if customer is not None and customer["_decline_next"] > 0:
            customer["_decline_next"] -= 1
            world.touch(customer)
        return Step(message=DECLINES.get(kind, DECLINES[Behaviour.DECLINED])[2])
    if outcome is Outcome.ACTION:
        row["_method"] = method["id"]
        world.touch(row)
        return Step(f"{world.settings.address}/3ds/{row['id']}")
    return _saved(world, row, method, authenticated=False)


def _answer_of_session(world: World, name: str, *, confirmed: bool) -> Step:
    row = world.get("checkout.session", name, "session")
    method, row["_method"] = row["_method"], None
    world.touch(row)
    if row["status"] != "open" or method is None:
        return Step(message="This payment does not wait to be confirmed.")
    if not confirmed:
        return Step(f"{world.settings.address}/c/pay/{name}?failed=1")
    return _saved(world, row, world.get("payment_method", method), authenticated=True)


def _saved(world: World, row: Object, method: Object, *, authenticated: bool) -> Step:
    if row["mode"] == "setup":
        succeed(world, world.get("setup_intent", row["setup_intent"]), method)
    elif row["mode"] == "subscription":
        _subscribe(world, row, method, authenticated=authenticated)
    return _complete(world, row)


def _subscribe(world: World, row: Object, method: Object, *, authenticated: bool) -> None:
    if row["customer"] is None:
        row["customer"] = _customer(world, row)["id"]
    attached(world, method["id"], row["customer"])
    lines = row["_line_items"]
    prices = [(one["price"], one["quantity"]) for one in lines if one["price"]["recurring"] is not None]
    rates = {rate["rate"]["id"] for one in lines for rate in one["taxes"]}
    automatic = row["automatic_tax"]["enabled"]
    subscription = new_subscription(
        world,
        row["customer"],
        prices,
        {
            "default_tax_rates": [] if automatic else sorted(rates),
            **row["_data"],
            "default_payment_method": method["id"],
            "automatic_tax": {"enabled": automatic},
        },
    )
    for one in lines:
        if one["price"]["recurring"] is None:
            added(world, row["customer"], _once(world, one, subscription))
    invoice = begin(world, subscription)
    row.update(subscription=subscription["id"], invoice=invoice["id"])
    if invoice["status"] == "open":
        pay(world, invoice, method, off_session=False, authenticated=authenticated)


def _once(world: World, line: Object, subscription: Object) -> Draft:
    return Draft(
        line["amount_subtotal"],
        line["description"],
        world.now,
        world.now,
        line["price"],
        line["quantity"],
        subscription["id"],
        tax_rates=tuple(rate["rate"]["id"] for rate in line["taxes"]),
    )


def _complete(world: World, row: Object, *, paid: bool = True) -> Step:
    """Not ``paid`` if that takes days."""
    row.update(status="complete", url=None)
    if row["mode"] != "setup":
        row["payment_status"] = "paid" if paid else "unpaid"
    world.touch(row)
    world.emit("checkout.session.completed", row)
    return Step(row["success_url"].replace("{CHECKOUT_SESSION_ID}", row["id"]))


def _note_buyer(world: World, row: Object, buyer: Buyer) -> None:
    """On the session, and its customer's country where that is to be kept; tax follows the country."""
    owner = world.get("customer", row["customer"]) if row["customer"] else None
    address: dict[str, Any] = dict((owner or {}).get("address") or dict.fromkeys(ADDRESS))
    if buyer.country:
        address["country"] = buyer.country
    row["customer_details"] = {
        "address": address,
        "business_name": None,
        "email": _email(world, row, buyer),
        "individual_name": None,
        "name": buyer.name or (owner or {}).get("name"),
        "phone": None,
        "tax_exempt": "none",
        "tax_ids": [],
    }
    if owner is None and (row["customer_creation"] == "always" or row["_data"].get("setup_future_usage")):
        row["customer"] = _customer(world, row)["id"]
    if owner is not None and row["_keep_address"] and owner["address"] != address:
        before = owner["address"]
        owner["address"] = address
        world.touch(owner)
        world.emit("customer.updated", owner, address=before)
    if row["automatic_tax"]["enabled"] and (owner is None or row["_keep_address"]):
        payer = Payer(address["country"]) if owner is None else payer_of(world, owner)
        for line in row["_line_items"]:
            tax(line, automatic_rates(world, payer, inclusive=is_inclusive(line["price"])))
        row.update(sums(row["_line_items"]))
        row["automatic_tax"] = automatic_tax(automatic=True, known=True)
    world.touch(row)


def _email(world: World, row: Object, buyer: Buyer) -> str | None:
    if row["customer"]:
        known: str | None = world.get("customer", row["customer"])["email"]
        return known or buyer.email
    return row["customer_email"] or buyer.email


def _customer(world: World, row: Object) -> Object:
    customer = new_customer(world)
    details = row["customer_details"]
    customer.update({name: details[name] for name in ("address", "email", "name")})
    world.add("customer", customer)
    world.emit("customer.created", customer)
    return customer
