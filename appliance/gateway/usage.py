"""``GET /v1/usage``: what the account of the key used, summed by day, model, key, endpoint and channel. Never
content."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from fastapi import APIRouter, Request, Response
from sqlalchemy.ext.asyncio import AsyncConnection

from appliance.errors import InvalidRequest, Unavailable
from appliance.gateway.caller import Callers
from appliance.gateway.refusals import Refusals
from billing.clock import Clock
from billing.customers.accounts import get_account
from billing.customers.keys import Key, list_keys, owner_of
from billing.database.db import Database
from billing.errors import DatabaseUnavailable, NotFound
from billing.prices.money import NANODOLLARS_PER_DOLLAR, decimal
from billing.statements.period import By, Line, Period, require_kept, summarize, total_of

MOST_DAYS = 366
AT_ONCE = 2
COUNTS = ("requests", "prompt_tokens", "cached_tokens", "completion_tokens", "images", "audio_seconds")


@dataclass(frozen=True, slots=True)
class Query:
    period: Period
    by: tuple[By, ...]


def usage_router(database: Database, callers: Callers, refusals: Refusals, clock: Clock) -> APIRouter:
    """An account that is suspended may still see what it used. Sums that take long wait for each other."""
    router = APIRouter()
    gate = asyncio.Semaphore(AT_ONCE)

    @router.get("/v1/usage")
    async def usage(request: Request, response: Response) -> dict[str, Any]:
        caller = callers.require(request.scope)
        query = _parse(request.query_params.multi_items(), clock().date())
        response.headers["cache-control"] = "no-store"
        try:
            async with gate, database.begin() as connection:
                account_id = await owner_of(connection, caller.digest, clock())
                if account_id is not None:
                    return await _answer(connection, account_id, query)
        except DatabaseUnavailable:
            raise Unavailable("Usage cannot be read at the moment.") from None
        raise await refusals.unknown(caller)

    return router


def _parse(items: Sequence[tuple[str, str]], today: date) -> Query:
    """The month of today, by day and model, where nothing else is asked for. Raises InvalidRequest."""
    days: dict[str, date] = {}
    by: list[By] = []
    for name, text in items:
        match name:
            case "start_date" | "end_date":
                days[name] = _day(name, text)
            case "group_by":
                by += [_group(word) for word in text.split(",") if word]
            case _:
                known = "start_date, end_date and group_by"
                raise InvalidRequest(f"Unknown parameter `{name[:40]}`. Known are {known}.", param=name[:40])
    month = Period.month(days.get("start_date") or min(today, days.get("end_date", today)))
    try:
        period = Period(days.get("start_date", month.first), days.get("end_date", month.last))
    except ValueError:
        raise InvalidRequest("`end_date` lies before `start_date`.", param="end_date") from None
    if period.days > MOST_DAYS:
        raise InvalidRequest(f"The period has {period.days} days; at most {MOST_DAYS} can be asked for.")
    asked_groups = any(name == "group_by" for name, _ in items)
    return Query(period, tuple(one for one in By if one in by) if asked_groups else (By.DAY, By.MODEL))


def _day(name: str, text: str) -> date:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        day = date.min
    if not 2000 <= day.year < 9000:
        raise InvalidRequest(f"`{name}` must be a day (UTC) like 2026-11-30.", param=name)
    return day


def _group(word: str) -> By:
    try:
        return By(word)
    except ValueError:
        known = ", ".join(By)
        raise InvalidRequest(f"`group_by` takes any of {known}.", param="group_by") from None


async def _answer(connection: AsyncConnection, account_id: int, query: Query) -> dict[str, Any]:
    try:
        await require_kept(connection, query.period)
    except NotFound as error:
        raise InvalidRequest(f"{error}.".capitalize(), param="start_date") from None
    lines = await summarize(connection, query.period, query.by, account_id)
    keys = {key.id: key for key in await list_keys(connection, account_id)} if By.KEY in query.by else {}
    account = await get_account(connection, account_id)
    return {
        "object": "usage",
        "start_date": query.period.first.isoformat(),
        "end_date": query.period.last.isoformat(),
        "group_by": list(query.by),
        "currency": "USD",
        "data": [_groups(line, query.by, keys) | _sums(line) for line in lines],
        "total": _sums(total_of(lines)),
        "balance": decimal(account.balance_nanodollars, NANODOLLARS_PER_DOLLAR),
    }


def _groups(line: Line, by: Sequence[By], keys: Mapping[int, Key]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if line.day is not None:
        found["day"] = line.day.isoformat()
    if By.MODEL in by:
        found["model"] = line.model
    if line.key_id is not None:
        key = keys[line.key_id]
        found["key"] = {"id": key.id, "name": key.name, "hint": key.hint}
    if By.ENDPOINT in by:
        found["endpoint"] = line.endpoint
    if By.CHANNEL in by:
        found["channel"] = line.channel
    return found


def _sums(line: Line) -> dict[str, Any]:
    """``cost`` is dollars as a decimal string, exact."""
    counts = {name: getattr(line, name) for name in COUNTS}
    return counts | {"cost": decimal(line.cost_nanodollars, NANODOLLARS_PER_DOLLAR)}
