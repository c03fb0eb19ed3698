"""What Stripe tells of a change: the object as it is right after it."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

import msgspec

from appliance.stripe_sandbox.errors import InvalidRequest
from appliance.stripe_sandbox.lists import PAGE, page_of
from appliance.stripe_sandbox.params import Many, Params, Schema, text
from appliance.stripe_sandbox.rendering import shown
from appliance.stripe_sandbox.settings import API_VERSION, DAY_SECONDS
from appliance.stripe_sandbox.state import Object
from appliance.stripe_sandbox.world import World

LISTED: Schema = {**PAGE, "type": text, "types": Many(text)}
MOST_TYPES = 20
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
    """``type`` may be a pattern with ``*``; ``types`` are names."""
    wanted, types = params.get("type"), params.get("types")
    if types and wanted:
        raise InvalidRequest("You may only specify one of these parameters: type, types.", param="types")
    if types and len(types) > MOST_TYPES:
        raise InvalidRequest(f"You may specify up to {MOST_TYPES} types.", param="types")
    oldest = world.now - KEPT_DAYS * DAY_SECONDS
    plain = {name: value for name, value in params.items() if name not in ("type", "types")}
    return page_of(
        world,
        "event",
        "/v1/events",
        {**plain, "created": {"gte": oldest, **params.get("created", {})}},
        also=lambda event: (
            event["created"] >= oldest
            and (not types or event["type"] in types)
            and (not wanted or fnmatchcase(event["type"], wanted))
        ),
    )
