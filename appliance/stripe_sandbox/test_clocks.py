"""Test clocks, by which time passes for the customers of one simulation. https://docs.stripe.com/api/test_clocks

The sandbox has one clock for all: an advance moves it for every object, and it goes on by itself after that, where
Stripe's stands still. An advance to a time that the sandbox has passed already moves nothing.
"""

from __future__ import annotations

from appliance.stripe_sandbox.customers import delete as delete_customer
from appliance.stripe_sandbox.params import Need, Params, Schema, text, whole
from appliance.stripe_sandbox.settings import DAY_SECONDS
from appliance.stripe_sandbox.state import Object
from appliance.stripe_sandbox.world import World, refuse_if

KIND = "test_helpers.test_clock"
CREATED: Schema = {"frozen_time": Need(whole), "name": text}
ADVANCED: Schema = {"frozen_time": Need(whole)}
KEPT_DAYS = 30
MOST_SECONDS = 2 * 366 * DAY_SECONDS
"""Stripe allows two periods of the shortest subscription at once, and two years without one."""


def create(world: World, params: Params) -> Object:
    row: Object = {
        "id": world.new_id("clock"),
        "object": KIND,
        "created": world.now,
        "deletes_after": world.now + KEPT_DAYS * DAY_SECONDS,
        "frozen_time": params["frozen_time"],
        "livemode": False,
        "name": params.get("name"),
        "status": "ready",
        "status_details": {},
    }
    world.add(KIND, row)
    world.emit("test_helpers.test_clock.created", row)
    world.move_to(row["frozen_time"])
    return row


def retrieve(world: World, _params: Params, name: str) -> Object:
    return world.get(KIND, name)


def advance(world: World, params: Params, name: str) -> Object:
    """It is ready when all that falls due on the way has happened. Raises InvalidRequest."""
    row = existing(world, name)
    goal = params["frozen_time"]
    refuse_if(row["status"] == "advancing", "The test clock is advancing already.", param="frozen_time")
    refuse_if(
        not row["frozen_time"] < goal <= row["frozen_time"] + MOST_SECONDS,
        "A test clock advances to a later time, and not too far at once.",
        param="frozen_time",
    )
    row.update(status="advancing", status_details={"advancing": {"target_frozen_time": goal}})
    world.touch(row)
    world.emit("test_helpers.test_clock.advancing", row)
    world.later(goal, "clock_ready", name)
    world.move_to(goal)
    return row


def arrive(world: World, name: str) -> None:
    row = world.get(KIND, name)
    if row.get("deleted"):
        return
    row.update(
        frozen_time=row["status_details"]["advancing"]["target_frozen_time"], status="ready", status_details={}
    )
    world.touch(row)
    world.emit("test_helpers.test_clock.ready", row)


def delete(world: World, _params: Params, name: str) -> Object:
    """With its customers, whose subscriptions end."""
    row = existing(world, name)
    for customer in list(world.state.table("customer").rows.values()):
        if customer.get("test_clock") == name:
            delete_customer(world, {}, customer["id"])
    world.emit("test_helpers.test_clock.deleted", row)
    return world.add(KIND, {"id": name, "object": KIND, "deleted": True})


def existing(world: World, name: str | None, param: str = "id") -> Object:
    """One that was not deleted. Raises InvalidRequest."""
    row = world.get(KIND, name, param)
    refuse_if(bool(row.get("deleted")), f"No such test clock: '{name}'", param=param, code="resource_missing")
    return row
