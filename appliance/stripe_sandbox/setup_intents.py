"""Setup intents: a card is saved without a payment. https://docs.stripe.com/api/setup_intents"""

from __future__ import annotations

from appliance.stripe_sandbox.lists import PAGE, page_of
from appliance.stripe_sandbox.params import Params, Schema, merged_metadata, text
from appliance.stripe_sandbox.payment_methods import attached
from appliance.stripe_sandbox.state import Object
from appliance.stripe_sandbox.world import World

LISTED: Schema = {**PAGE, "customer": text}


def new_setup(world: World, customer: str | None, params: Params) -> Object:
    name = world.new_id("seti")
    row: Object = {
        "id": name,
        "object": "setup_intent",
        "application": None,
        "automatic_payment_methods": None,
        "cancellation_reason": None,
        "client_secret": f"{name}_secret_sandbox",
        "created": world.now,
        "customer": customer,
        "description": params.get("description"),
        "flow_directions": None,
        "last_setup_error": None,
        "latest_attempt": None,
        "livemode": False,
        "mandate": None,
        "metadata": merged_metadata({}, params),
        "next_action": None,
        "on_behalf_of": None,
        "payment_method": None,
        "payment_method_configuration_details": None,
        "payment_method_options": {
            "card": {"mandate_options": None, "network": None, "request_three_d_secure": "automatic"}
        },
        "payment_method_types": ["card"],
        "single_use_mandate": None,
        "status": "requires_payment_method",
        "usage": "off_session",
    }
    world.add("setup_intent", row)
    world.emit("setup_intent.created", row)
    return row


def succeed(world: World, row: Object, method: Object) -> None:
    """Its method may be charged while its owner is away."""
    if row["customer"] is not None:
        attached(world, method["id"], row["customer"])
    method["_set_up"] = True
    world.touch(method)
    row.update(status="succeeded", payment_method=method["id"], next_action=None)
    world.touch(row)
    world.emit("setup_intent.succeeded", row)


def retrieve(world: World, _params: Params, name: str) -> Object:
    return world.get("setup_intent", name)


def listed(world: World, params: Params) -> Object:
    return page_of(world, "setup_intent", "/v1/setup_intents", params, by=("customer",))
