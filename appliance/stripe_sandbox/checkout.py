"""Checkout sessions: a page of Stripe's on which somebody pays. https://docs.stripe.com/api/checkout/sessions"""

from __future__ import annotations

from typing import Any

from appliance.stripe_sandbox.catalog import PRICE_DATA, price_for
from appliance.stripe_sandbox.checkout_lines import line_item, sums
from appliance.stripe_sandbox.customers import existing, payer_of
from appliance.stripe_sandbox.errors import InvalidRequest
from appliance.stripe_sandbox.lists import PAGE, page_of
from appliance.stripe_sandbox.params import (
    Group,
    Many,
    Need,
    OneOf,
    Params,
    Schema,
    currency,
    flag,
    merged_metadata,
    metadata,
    text,
    whole,
)
from appliance.stripe_sandbox.payment_intents import FUTURE_USAGE, LEAST_CENTS, cancel_intent
from appliance.stripe_sandbox.settings import DAY_SECONDS
from appliance.stripe_sandbox.setup_intents import new_setup
from appliance.stripe_sandbox.state import Object
from appliance.stripe_sandbox.tax import Payer
from appliance.stripe_sandbox.world import World, refuse_if

EARLIEST_SECONDS, LATEST_SECONDS = 30 * 60, DAY_SECONDS
INTENT_DATA = Group(
    {
        "metadata": metadata,
        "setup_future_usage": FUTURE_USAGE,
        "description": text,
        "receipt_email": text,
        "statement_descriptor_suffix": text,
    }
)
CREATED: Schema = {
    "mode": Need(OneOf("payment", "setup", "subscription")),
    "success_url": Need(text),
    "cancel_url": text,
    "line_items": Many(
        Group({"price": text, "price_data": PRICE_DATA, "quantity": whole, "tax_rates": Many(text)})
    ),
    "automatic_tax": Group({"enabled": Need(flag)}),
    "billing_address_collection": OneOf("auto", "required"),
    "client_reference_id": text,
    "currency": currency,
    "custom_text": Group(
        {
            name: Group({"message": Need(text)})
            for name in ("submit", "after_submit", "terms_of_service_acceptance")
        }
    ),
    "customer": text,
    "customer_creation": OneOf("always", "if_required"),
    "customer_email": text,
    "customer_update": Group(dict.fromkeys(("address", "name"), OneOf("auto", "never"))),
    "expires_at": whole,
    "locale": text,
    "metadata": metadata,
    "payment_intent_data": INTENT_DATA,
    "allowed_payment_method_types": Many(OneOf("card", "us_bank_account")),
    "setup_intent_data": Group({"metadata": metadata, "description": text}),
    "submit_type": OneOf("auto", "book", "donate", "pay", "subscribe"),
    "subscription_data": Group({"metadata": metadata, "description": text, "default_tax_rates": Many(text)}),
    "tax_id_collection": Group({"enabled": Need(flag)}),
    "ui_mode": OneOf("hosted_page"),
}
LISTED: Schema = {
    **PAGE,
    "customer": text,
    "payment_intent": text,
    "subscription": text,
    "status": OneOf("open", "complete", "expired"),
}


def create(world: World, params: Params) -> Object:
    """Raises InvalidRequest."""
    mode, customer = params["mode"], params.get("customer")
    _check(params)
    owner = existing(world, customer) if customer is not None else None
    expires = params.get("expires_at", world.now + LATEST_SECONDS)
    refuse_if(
        not EARLIEST_SECONDS <= expires - world.now <= LATEST_SECONDS,
        "The `expires_at` timestamp must be at least 30 minutes and at most 24 hours from Checkout Session "
        "creation.",
        param="expires_at",
    )
    automatic = (params.get("automatic_tax") or {}).get("enabled", False)
    payer = Payer() if owner is None else payer_of(world, owner)
    _require_location(params, payer, automatic=automatic)
    lines = _lines(world, params, payer, automatic=automatic)
    name = world.new_id("cs_test")
    row = _session(world, name, params, lines, expires)
    row["automatic_tax"] = automatic_tax(automatic=automatic, known=payer.country is not None)
    row.update(sums(lines))
    refuse_if(
        mode == "payment" and 0 < row["amount_total"] < LEAST_CENTS,
        "The Checkout Session's total amount must convert to at least 50 cents.",
        code="amount_too_small",
    )
    if mode == "setup":
        row["setup_intent"] = new_setup(world, customer, params.get("setup_intent_data") or {})["id"]
    world.add("checkout.session", row)
    world.later(expires, "expire_session", name)
    return row


def automatic_tax(*, automatic: bool, known: bool) -> dict[str, Any]:
    return {
        "enabled": automatic,
        "liability": {"type": "self"} if automatic else None,
        "provider": "stripe" if automatic else None,
        "status": ("complete" if known else "requires_location_inputs") if automatic else None,
    }


def retrieve(world: World, _params: Params, name: str) -> Object:
    return world.get("checkout.session", name, "session")


def line_items(world: World, _params: Params, name: str) -> Object:
    row = world.get("checkout.session", name, "session")
    return {
        "object": "list",
        "data": row["_line_items"],
        "has_more": False,
        "url": f"/v1/checkout/sessions/{name}/line_items",
    }


def expire(world: World, _params: Params, name: str) -> Object:
    row = world.get("checkout.session", name, "session")
    if row["status"] != "open":
        raise InvalidRequest(
            'Only Checkout Sessions with a status in ["open"] can be expired. This Checkout Session has a status '
            f"of {row['status']}."
        )
    expire_now(world, name)
    return row


def expire_now(world: World, name: str) -> None:
    """Nothing if it is not open any more."""
    row = world.get("checkout.session", name, "session")
    if row["status"] != "open":
        return
    row.update(status="expired", url=None)
    world.touch(row)
    if row["payment_intent"] is not None:
        intent = world.get("payment_intent", row["payment_intent"])
        if intent["status"] not in ("succeeded", "canceled"):
            cancel_intent(world, intent, "expired")
    world.emit("checkout.session.expired", row)


def listed(world: World, params: Params) -> Object:
    return page_of(
        world,
        "checkout.session",
        "/v1/checkout/sessions",
        params,
        by=("customer", "payment_intent", "subscription", "status"),
    )


def _check(params: Params) -> None:
    mode = params["mode"]
    refuse_if(
        mode != "setup" and not params.get("line_items"),
        f"You must provide `line_items` in `{mode}` mode.",
        param="line_items",
        code="parameter_missing",
    )
    for name, only in (
        ("payment_intent_data", "payment"),
        ("subscription_data", "subscription"),
        ("setup_intent_data", "setup"),
        ("customer_creation", "payment"),
    ):
        refuse_if(name in params and mode != only, f"You can not pass `{name}` in `{mode}` mode.", param=name)
    refuse_if(
        mode != "payment" and params.get("allowed_payment_method_types", ["card"]) != ["card"],
        "The sandbox takes bank accounts in `payment` mode alone.",
        param="allowed_payment_method_types",
    )
    refuse_if(
        mode == "setup" and not params.get("currency") and not params.get("allowed_payment_method_types"),
        "You must provide `currency` in `setup` mode when `allowed_payment_method_types` is not set.",
        param="currency",
        code="parameter_missing",
    )
    refuse_if(
        bool(params.get("customer") and params.get("customer_email")),
        "You may only specify one of these parameters: customer, customer_email.",
        param="customer_email",
    )
    refuse_if(
        bool(params.get("customer_update")) and not params.get("customer"),
        "`customer_update` can only be used with `customer`.",
        param="customer_update",
    )


def _require_location(params: Params, payer: Payer, *, automatic: bool) -> None:
    """Of a customer whose address the page may not keep."""
    kept = (params.get("customer_update") or {}).get("address") == "auto"
    refuse_if(
        automatic and bool(params.get("customer")) and payer.country is None and not kept,
        "Automatic tax calculation in Checkout requires a valid address on the Customer. Add a valid address to "
        "the Customer or set `customer_update[address]` to 'auto' to save the address entered in Checkout to the "
        "Customer.",
        code="customer_tax_location_invalid",
        param="automatic_tax",
    )


def _lines(world: World, params: Params, payer: Payer, *, automatic: bool) -> list[Object]:
    found = []
    for number, sent in enumerate(params.get("line_items", [])):
        where = f"line_items[{number}]"
        refuse_if("quantity" not in sent, "Missing required param: quantity.", param=f"{where}[quantity]")
        refuse_if(
            bool(sent.get("price")) == bool(sent.get("price_data")),
            "You must specify exactly one of these parameters: price, price_data.",
            param=where,
        )
        price = price_for(world, sent, where)
        found.append(
            line_item(world, price, sent["quantity"], sent.get("tax_rates", []), payer=payer, automatic=automatic)
        )
    recurring = [line for line in found if line["price"]["recurring"] is not None]
    refuse_if(
        params["mode"] == "payment" and bool(recurring),
        "You specified `payment` mode but passed a recurring price. Either switch to `subscription` mode or use "
        "only one-time prices.",
        param="line_items",
    )
    refuse_if(
        params["mode"] == "subscription" and not recurring,
        "You must provide at least one recurring price in `subscription` mode when using prices.",
        param="line_items",
    )
    return found


def _session(world: World, name: str, params: Params, lines: list[Object], expires: int) -> Object:
    mode = params["mode"]
    kind = lines[0]["currency"] if lines else params.get("currency")
    texts = params.get("custom_text") or {}
    return {
        "id": name,
        "object": "checkout.session",
        "adaptive_pricing": None,
        "after_expiration": None,
        "allow_promotion_codes": None,
        "allowed_payment_method_types": params.get("allowed_payment_method_types"),
        "billing_address_collection": params.get("billing_address_collection"),
        "cancel_url": params.get("cancel_url"),
        "client_reference_id": params.get("client_reference_id"),
        "client_secret": None,
        "collected_information": None,
        "consent": None,
        "consent_collection": None,
        "created": world.now,
        "currency": kind,
        "currency_conversion": None,
        "custom_fields": [],
        "custom_text": {
            **dict.fromkeys(("after_submit", "shipping_address", "submit", "terms_of_service_acceptance")),
            **texts,
        },
        "customer": params.get("customer"),
        "customer_creation": params.get("customer_creation", "if_required") if mode == "payment" else None,
        "customer_details": _details(world, params),
        "customer_email": params.get("customer_email"),
        "discounts": [],
        "expires_at": expires,
        "invoice": None,
        "invoice_creation": None,
        "livemode": False,
        "locale": params.get("locale"),
        "metadata": merged_metadata({}, params),
        "mode": mode,
        "payment_intent": None,
        "payment_link": None,
        "payment_method_collection": "always" if mode == "subscription" else "if_required",
        "payment_method_configuration_details": None,
        "payment_method_options": {"card": {"request_three_d_secure": "automatic"}},
        "payment_method_types": params.get("allowed_payment_method_types") or ["card"],
        "payment_status": "no_payment_required" if mode == "setup" else "unpaid",
        "permissions": None,
        "phone_number_collection": {"enabled": False},
        "recovered_from": None,
        "saved_payment_method_options": None,
        "setup_intent": None,
        "shipping_address_collection": None,
        "shipping_cost": None,
        "shipping_options": [],
        "status": "open",
        "submit_type": params.get("submit_type"),
        "subscription": None,
        "success_url": params["success_url"],
        "ui_mode": "hosted_page",
        "url": f"{world.settings.address}/c/pay/{name}",
        "wallet_options": None,
        "_line_items": lines,
        "_data": params.get(f"{'payment_intent' if mode == 'payment' else mode}_data") or {},
        "_keep_address": (params.get("customer_update") or {}).get("address") == "auto",
        "_method": None,
    }


def _details(world: World, params: Params) -> dict[str, Any] | None:
    """Who is known before anybody was on the page."""
    email = params.get("customer_email")
    if params.get("customer"):
        email = world.get("customer", params["customer"])["email"]
    if email is None:
        return None
    return {
        "address": None,
        "business_name": None,
        "email": email,
        "individual_name": None,
        "name": None,
        "phone": None,
        "tax_exempt": "none",
        "tax_ids": None,
    }
