"""Pages of objects, the newest first, as all lists of Stripe's are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from appliance.stripe_sandbox.errors import InvalidRequest
from appliance.stripe_sandbox.params import Params, Schema, span, text, whole
from appliance.stripe_sandbox.state import INDEXED, Object, Table
from appliance.stripe_sandbox.world import World

MOST, USUAL = 100, 10
UNDATED: Schema = {"limit": whole, "starting_after": text, "ending_before": text}
"""What all lists take."""
PAGE: Schema = {**UNDATED, "created": span}
"""What most do."""
Filter = Callable[[Object], bool]


def page_of(
    world: World, kind: str, url: str, params: Params, *, by: tuple[str, ...] = (), also: Filter | None = None
) -> Object:
    """``by`` are the fields whose values ``params`` may name. Raises InvalidRequest."""
    limit = params.get("limit", USUAL)
    if not 1 <= limit <= MOST:
        raise InvalidRequest(f"Invalid limit: must be between 1 and {MOST}", param="limit")
    table = world.state.table(kind)
    wanted = {field: params[field] for field in by if params.get(field) is not None}
    found: list[Object] = []
    backwards = params.get("ending_before") is not None
    for row in _candidates(world, table, kind, params, wanted):
        if row.get("deleted"):
            continue
        if not backwards and _created(row) < params.get("created", {}).get("gte", 0):
            break
        if _fits(row, params, wanted) and (also is None or also(row)):
            found.append(row)
        if len(found) > limit:
            break
    rows = found[:limit]
    return {
        "object": "list",
        "data": rows[::-1] if backwards else rows,
        "has_more": len(found) > limit,
        "url": url,
    }


def _candidates(world: World, table: Table, kind: str, params: Params, wanted: dict[str, Any]) -> Iterator[Object]:
    after, before = params.get("starting_after"), params.get("ending_before")
    for name, param in ((after, "starting_after"), (before, "ending_before")):
        if name is not None:
            world.get(kind, name, param)
    if before is not None:
        return table.oldest(before)
    field = next((one for one in wanted if one in INDEXED), None)
    if field is None:
        return table.newest(after)
    position = table.position[after] if after is not None else len(table.order)
    return (row for row in reversed(table.having(field, wanted[field])) if table.position[row["id"]] < position)


def _fits(row: Object, params: Params, wanted: dict[str, Any]) -> bool:
    created, at = params.get("created") or {}, _created(row)
    if not created.get("gte", at) <= at <= created.get("lte", at):
        return False
    if at <= created.get("gt", at - 1) or at >= created.get("lt", at + 1):
        return False
    return all(row.get(field) == value for field, value in wanted.items())


def _created(row: Object) -> int:
    """Invoice items call it their date."""
    instant: int = row["created"] if "created" in row else row["date"]
    return instant
