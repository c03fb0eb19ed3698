"""What Stripe tells of a change: the object as it is right after it."""

from __future__ import annotations

from typing import Any

import msgspec

from appliance.stripe_sandbox.errors import InvalidRequest
from appliance.stripe_sandbox.lists import PAGE, page_of
from appliance.stripe_sandbox.params import Params, Schema, many, text
from appliance.stripe_sandbox.rendering import shown
from appliance.stripe_sandbox.settings import API_VERSION
from appliance.stripe_sandbox.state import Object
from appliance.stripe_sandbox.world import World

LISTED: Schema = {**PAGE, "type": text, "types": many(text)}
KEPT_DAYS = 30
"""Stripe gives events of the last 30 days."""


def event_of(world: World, kind: str, row: Object, previous: dict[str, Any]) -> Object:
    """``row`` is copied: the event keeps what it was."""
    data: Object = {"object": msgspec.json.decode(msgspec.json.encode(shown(row)))}
    if previous:
        data["previous_attributes"] = msgspec.json.decode(msgspec.json.encode(previous))
    return {
        "id": world.new_id("evt"),
        "object": "event",
        "api_version": API_VERSION,
        "created": world.now,
        "data": data,
        "livemode": False,
        "pending_webhooks": 0,
        "request": {"id": world.cause.request, "idempotency_key": world.cause.idempotency_key},
        "type": kind,
    }


def retrieve(world: World, _params: Params, name: str) -> Object:
    return world.get("event", name)


def listed(world: World, params: Params) -> Object:
    types = params.get("types")
    if types and params.get("type"):
        raise InvalidRequest("You may only specify one of these parameters: type, types.", param="types")
    oldest = world.now - KEPT_DAYS * 86_400
    return page_of(
        world,
        "event",
        "/v1/events",
        {**params, "created": {"gte": oldest, **params.get("created", {})}},
        by=("type",),
        also=lambda event: _among(event["type"], types) and event["created"] >= oldest,
    )


def _among(kind: str, types: list[str] | None) -> bool:
    """A type may end in ``.*``, for all that begin so."""
    return not types or any(kind == one or (one.endswith(".*") and kind.startswith(one[:-1])) for one in types)
