"""A dearer plan, at once: what it costs is shown first, and exactly that is charged."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from sqlalchemy import or_, update

from billing.database import sales
from billing.documents.vat import contained
from billing.ids import new_id
from billing.payments.provider import Declined, InvoiceSeen, PaymentsRefused
from billing.payments.shop import NoBuyer
from billing.payments.subscribed import Subscription, stripe_id_of
from billing.payments.subscriptions.changes import (
    NotPossible,
    Preview,
    PreviewOld,
    require_changeable,
    require_costs,
)
from billing.payments.subscriptions.running import Running
from billing.plans.catalog import FIRST_LANGUAGE
from billing.plans.versions import Version

PREVIEW_VALID = timedelta(minutes=10)
"""How long a customer may look at an amount before agreeing to it."""
CHANGE_TAKES = timedelta(minutes=5)
"""Longer than Stripe is waited for, and than the sweep takes to find what no webhook brought."""


class Upgrades(Running):
    async def preview(self, account_id: int, plan: str) -> Preview:
        """What the plan would cost, exactly.

        Raises NoBuyer, BuyerRefused, NotPossible, NotFound (no such plan on offer).
        """
        version = await self._costs.offered(plan)
        buyer = await self._costs.buyer(account_id)
        then = await self._costs.quoted(buyer, version.cents)
        at = self._clock().replace(microsecond=0)
        row = await self.running(account_id)
        if row is None:
            return Preview("subscribe", version.id, then.gross, then.vat, then.gross, None, at)
        require_changeable(row, version, self._clock())
        if version.cents <= row.version.cents:
            return Preview("downgrade", version.id, 0, 0, then.gross, row.period_end, at)
        now = await self._costs.difference(row, version, buyer, at)
        require_costs(now.cents)
        vat = contained(now.cents, then.basis_points) if now.tax is None else now.tax.vat
        return Preview("upgrade", version.id, now.cents, vat, then.gross, row.period_end, at)

    async def upgrade(self, account_id: int, plan: str, preview: Preview) -> Subscription:
        """To a dearer plan at once; charges exactly ``preview.cents``.

        Raises PreviewOld, NotPossible; Declined: then nothing has changed.
        """
        version = await self._costs.offered(plan)
        now = self._clock()
        if preview.version_id != version.id or not now - PREVIEW_VALID <= preview.at <= now:
            raise PreviewOld("what was shown is too old")
        async with self._alone(account_id) as attempt:
            row = await self._fresh(account_id)
            require_changeable(row, version, now)
            if version.cents <= row.version.cents:
                raise NotPossible("the plan is not dearer: it can follow at the period's end")
            buyer = await self._costs.buyer(account_id)
            if (await self._costs.difference(row, version, buyer, preview.at)).cents != preview.cents:
                raise PreviewOld("it would cost something else now")
            require_costs(preview.cents)
            price = await self._costs.price(version, buyer)
            invoice = await self._charge_change(row, version, price, preview, attempt)
            await self._following.follow(stripe_id_of(row), invoice)
        return await self._required(account_id)

    async def _charge_change(
        self, row: Subscription, version: Version, price: str, preview: Preview, attempt: str
    ) -> InvoiceSeen | None:
        if self._costs.prorated:
            seen = await self._provider.subscription(stripe_id_of(row))
            return await self._provider.change_now(
                seen.id, seen.item, price, at=preview.at, prorated=True, key=attempt
            )
        what = f"{version.name(FIRST_LANGUAGE)}: the difference to {row.version.name(FIRST_LANGUAGE)}"
        cents = self._costs.charged_flat(row, version, preview.cents)
        return await self._provider.charge_difference(stripe_id_of(row), cents, what, price=price, key=attempt)

    @asynccontextmanager
    async def _alone(self, account_id: int) -> AsyncIterator[str]:
        """One upgrade of an account at a time, and a name for the attempt.

        If nobody knows whether Stripe was reached, there is no other attempt before events would have told.
        """
        table, now = sales.subscription, self._clock()
        row = await self._required(account_id)
        free = or_(table.c.changing_at.is_(None), table.c.changing_at <= now - CHANGE_TAKES)
        claim = update(table).where(table.c.id == row.id, free).values(changing_at=now).returning(table.c.id)
        async with self._database.begin() as connection:
            if (await connection.execute(claim)).first() is None:
                raise NotPossible("a change is under way")
        try:
            yield f"upgrade {new_id(now)}"
        except (Declined, NoBuyer, NotPossible, PaymentsRefused, PreviewOld):
            await self._release(row)
            raise
        await self._release(row)

    async def _release(self, row: Subscription) -> None:
        table = sales.subscription
        async with self._database.begin() as connection:
            await connection.execute(update(table).where(table.c.id == row.id).values(changing_at=None))
