"""What one customer pays by agreement, in place of the list's price: seen, agreed on, taken back."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

from fastapi import Request
from fastapi.responses import Response

from appliance.console.customers import HERE, account_of, actor
from appliance.console.rates import TOKENS, written
from appliance.site.audience import Audience
from appliance.site.forms import BadForm, number, read_form
from appliance.site.pages import NothingHere, Routes, go
from appliance.site.rendering import Render
from appliance.site.visitor import Visitor
from billing.clock import Clock
from billing.customers.accounts import get_account
from billing.database.db import Database
from billing.errors import BillingError, NotFound
from billing.prices.money import parse_rate
from billing.prices.rates import TOO_LATE, list_versions, negotiate_rate, price_list, withdraw_rate


class AgreementPages:
    def __init__(self, render: Render, database: Database, clock: Clock) -> None:
        self._render = render
        self._database = database
        self._clock = clock

    def routes(self) -> Routes:
        here = f"{HERE}/{{account_id}}/prices"
        return (
            ("GET", here, Audience.OPERATOR, self.agreements),
            ("POST", here, Audience.OPERATOR, self.agree),
            ("POST", f"{here}/withdraw", Audience.OPERATOR, self.withdraw),
        )

    async def agreements(self, request: Request, visitor: Visitor) -> Response:
        return await self._shown(visitor, account_of(request))

    async def agree(self, request: Request, visitor: Visitor) -> Response:
        account_id, form = account_of(request), await read_form(request)
        try:
            if not form["reason"].strip():
                raise ValueError("a reason is needed")
            tokens = {name: parse_rate(form[name]) for name in TOKENS}
            async with self._database.begin() as connection:
                listed = (await price_list(connection, self._clock)).get(form["model"])
                if listed is None:
                    raise ValueError(f"there is no model {form['model']!r} that costs something")
                await negotiate_rate(
                    connection,
                    account_id,
                    form["model"],
                    replace(listed.current.prices, **tokens),
                    self._clock,
                    effective_at=_day(form["from"]),
                    ends_at=_day(form["until"]),
                    actor=actor(visitor),
                    reason=form["reason"].strip(),
                )
        except (BillingError, ValueError) as error:
            return await self._shown(visitor, account_id, 400, str(error), form)
        return go(f"{HERE}/{account_id}/prices")

    async def withdraw(self, request: Request, visitor: Visitor) -> Response:
        account_id, form = account_of(request), await read_form(request)
        rate_id = number(form["rate"])
        if rate_id is None:
            raise BadForm
        try:
            async with self._database.begin() as connection:
                if rate_id not in {one.id for one in await list_versions(connection, account_id=account_id)}:
                    raise BadForm
                await withdraw_rate(connection, rate_id, self._clock, actor=actor(visitor), reason=form["reason"])
        except BillingError as error:
            return await self._shown(visitor, account_id, 400, str(error))
        return go(f"{HERE}/{account_id}/prices")

    async def _shown(
        self,
        visitor: Visitor,
        account_id: int,
        status: int = 200,
        error: str = "",
        form: Mapping[str, str] | None = None,
    ) -> Response:
        now = self._clock()
        async with self._database.begin() as connection:
            try:
                account = await get_account(connection, account_id)
            except NotFound:
                raise NothingHere from None
            listed = await price_list(connection, self._clock)
            versions = await list_versions(connection, account_id=account_id)
        return self._render(
            visitor,
            "agreements.html",
            status,
            account=account,
            listed=[(model, written(one.current.prices)) for model, one in listed.items()],
            versions=[(one, written(one.prices)) for one in versions],
            to_come=[one for one in versions if one.effective_at > now + TOO_LATE and one.withdrawn_at is None],
            form=form or dict.fromkeys(("model", "from", "until", "reason", *TOKENS), ""),
            now=now,
            error=error,
        )


def _day(text: str) -> datetime | None:
    """Its beginning (UTC); None without one. Raises ValueError."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC) if text.strip() else None
