"""What models cost: the list, the changes that are announced, and a new one, seen before it is announced."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from fastapi import Request
from fastapi.responses import Response

from appliance.console.customers import actor
from appliance.console.people import count_told
from appliance.site.audience import Audience
from appliance.site.forms import BadForm, number, read_form
from appliance.site.pages import Routes, go
from appliance.site.rendering import Render
from appliance.site.visitor import Visitor
from billing.clock import Clock
from billing.database.db import Database
from billing.errors import BillingError
from billing.prices.money import MICRODOLLARS_PER_DOLLAR, decimal, parse_rate
from billing.prices.rates import TOO_LATE, Prices, Version, change_rate, list_versions, price_list, withdraw_rate

HERE = "/console/rates"
TOKENS = ("input", "cached_input", "output")
"""What a page changes; what else a model's requests cost stays as it is."""


@dataclass(frozen=True, slots=True)
class Change:
    """``old`` is what will be in force until then; prices by their names, as they are written."""

    model: str
    day: str
    effective_at: datetime
    prices: Prices
    old: Mapping[str, str]
    new: Mapping[str, str]


class RatePages:
    """``notice_days`` is how long before it takes effect a change is announced."""

    def __init__(self, render: Render, database: Database, notice_days: int, clock: Clock) -> None:
        self._render = render
        self._database = database
        self._notice_days = notice_days
        self._clock = clock

    def routes(self) -> Routes:
        return (
            ("GET", HERE, Audience.OPERATOR, self.rates),
            ("POST", f"{HERE}/preview", Audience.OPERATOR, self.preview),
            ("POST", HERE, Audience.OPERATOR, self.announce),
            ("POST", f"{HERE}/withdraw", Audience.OPERATOR, self.withdraw),
        )

    async def rates(self, _: Request, visitor: Visitor) -> Response:
        return await self._shown(visitor)

    async def preview(self, request: Request, visitor: Visitor) -> Response:
        """What would be announced, and to how many; nothing is written."""
        form = await read_form(request)
        try:
            change = await self._parse(form)
        except (BillingError, ValueError) as error:
            return await self._shown(visitor, 400, str(error), form)
        async with self._database.begin() as connection:
            told = await count_told(connection)
        return self._render(visitor, "rate-preview.html", change=change, told=told, form=form)

    async def announce(self, request: Request, visitor: Visitor) -> Response:
        form = await read_form(request)
        try:
            change = await self._parse(form)
            async with self._database.begin() as connection:
                await change_rate(
                    connection,
                    change.model,
                    change.prices,
                    change.effective_at,
                    self._clock,
                    notice_days=self._notice_days,
                    actor=actor(visitor),
                )
        except (BillingError, ValueError) as error:
            return await self._shown(visitor, 400, str(error), form)
        return go(HERE)

    async def withdraw(self, request: Request, visitor: Visitor) -> Response:
        form = await read_form(request)
        rate_id = number(form["rate"])
        if rate_id is None:
            raise BadForm
        try:
            async with self._database.begin() as connection:
                if rate_id not in {one.id for one in await list_versions(connection) if _is_listed(one)}:
                    raise BadForm
                await withdraw_rate(connection, rate_id, self._clock, actor=actor(visitor), reason=form["reason"])
        except BillingError as error:
            return await self._shown(visitor, 400, str(error))
        return go(HERE)

    async def _parse(self, form: Mapping[str, str]) -> Change:
        """Raises ValueError, also for a day that is too soon."""
        day = datetime.fromisoformat(form["day"]).replace(tzinfo=UTC)
        async with self._database.begin() as connection:
            versions = await list_versions(connection, form["model"])
        before = [one for one in versions if _is_listed(one) and one.effective_at <= day]
        if not before:
            raise ValueError(f"there is no model {form['model']!r} that costs something")
        old, tokens = before[-1], {name: parse_rate(form[name]) for name in TOKENS}
        prices = replace(old.prices, **tokens)
        if day < self._clock() + timedelta(days=self._notice_days):
            raise ValueError(f"a change is announced {self._notice_days} days before")
        return Change(form["model"], form["day"], day, prices, written(old.prices), written(prices))

    async def _shown(
        self, visitor: Visitor, status: int = 200, error: str = "", form: Mapping[str, str] | None = None
    ) -> Response:
        now = self._clock()
        async with self._database.begin() as connection:
            listed = await price_list(connection, self._clock)
            versions = await list_versions(connection)
        announced = [one for one in versions if _is_listed(one) and one.effective_at > now]
        first_day = (now + timedelta(days=self._notice_days + 1)).date()
        return self._render(
            visitor,
            "rates.html",
            status,
            listed=[(model, written(one.current.prices)) for model, one in listed.items()],
            announced=[(one, written(one.prices)) for one in sorted(announced, key=_when)],
            to_withdraw=[one for one in sorted(announced, key=_when) if one.effective_at > now + TOO_LATE],
            first_day=first_day.isoformat(),
            form=form or {"model": "", "day": "", **dict.fromkeys(TOKENS, "")},
            error=error,
        )


def _is_listed(version: Version) -> bool:
    """Of the list, and not taken back."""
    return version.account_id is None and version.withdrawn_at is None


def _when(version: Version) -> tuple[datetime, str]:
    return version.effective_at, version.model


def written(prices: Prices) -> dict[str, str]:
    """Dollars for a million tokens, by their names."""
    return {name: decimal(getattr(prices, name), MICRODOLLARS_PER_DOLLAR) for name in TOKENS}
