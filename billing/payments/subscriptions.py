"""Subscriptions as their owner has them: ordered, changed, ended. docs/decisions/0036-plans.md has the reasons.

They live at Stripe; ``billing.payments.following`` brings our rows to what Stripe says.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Annotated, Literal

import msgspec
from sqlalchemy import or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.clock import Clock
from billing.database import sales, tables
from billing.database.db import Database
from billing.documents.buyers import Buyer, buyer_of
from billing.documents.vat import Quote, Taxing, contained, quote
from billing.errors import BillingError, NotFound
from billing.ids import new_id
from billing.payments.customers import Customers
from billing.payments.following import Following
from billing.payments.plan_life import BY_OPERATOR, CANCELLED
from billing.payments.plan_prices import price_for, sold_at
from billing.payments.provider import Declined, InvoiceSeen, PaymentsRefused, Provider
from billing.payments.shop import NoBuyer
from billing.payments.subscribed import RUNNING, Subscription, running_of, subscriptions_of, unfinished_of
from billing.plans.catalog import FIRST_LANGUAGE, Plan
from billing.plans.versions import Version, newest_versions

PREVIEW_VALID = timedelta(minutes=10)
"""How long a customer may look at an amount before agreeing to it."""
CHANGE_TAKES = timedelta(minutes=5)
"""Longer than Stripe is waited for, and than the sweep takes to find what no webhook brought."""


class NotPossible(BillingError):
    """The account cannot do this with its plan now. The message says why, to an operator."""


class PreviewOld(BillingError):
    """What was shown is not what it would cost now: show it again."""


Kind = Literal["subscribe", "upgrade", "downgrade"]
Moment = Annotated[datetime, msgspec.Meta(tz=True)]


class Preview(msgspec.Struct, frozen=True):
    """What a plan would cost: ``cents`` now and ``then_cents`` from each renewal on, both with the tax in them.

    ``vat_cents`` is the tax in ``cents``. ``then_at`` is the next renewal; None where there is no plan yet: a
    month after the payment. ``at`` is what it was reckoned as of, in whole seconds.
    """

    kind: Kind
    version_id: int
    cents: int
    vat_cents: int
    then_cents: int
    then_at: Moment | None
    at: Moment


class Subscriptions:
    """Raises NotFound, DatabaseUnavailable; PaymentsUnavailable and PaymentsRefused where Stripe is asked.

    ``plans`` are those on offer, whose versions are published. ``prorated``: an upgrade costs the difference for
    the time that is left, else all of it.
    """

    def __init__(
        self,
        database: Database,
        following: Following,
        provider: Provider,
        plans: Sequence[Plan],
        taxing: Taxing,
        clock: Clock,
        *,
        prorated: bool,
    ) -> None:
        self._database = database
        self._following = following
        self._customers = Customers(database, provider)
        self._provider = provider
        self._plans = {plan.id for plan in plans}
        self._taxing = taxing
        self._clock = clock
        self.prorated = prorated
        """Whether an upgrade costs the difference for the time that is left, or all of it."""

    async def running(self, account_id: int) -> Subscription | None:
        """The account's plan, as far as we know."""
        async with self._database.begin() as connection:
            return await running_of(connection, account_id)

    async def history(self, account_id: int) -> Sequence[Subscription]:
        """What it ordered, newest first: the last hundred."""
        async with self._database.begin() as connection:
            return await subscriptions_of(connection, account_id)

    async def preview(self, account_id: int, plan: str) -> Preview:
        """What the plan would cost, exactly. Raises NoBuyer, NotPossible, NotFound (no such plan on offer)."""
        version = await self._offered(plan)
        then = await self._quote(account_id, version.cents)
        at = self._clock().replace(microsecond=0)
        row = await self.running(account_id)
        if row is None:
            return Preview("subscribe", version.id, then.gross, then.vat, then.gross, None, at)
        _require_changeable(row, version, self._clock())
        if version.cents <= row.version.cents:
            return Preview("downgrade", version.id, 0, 0, then.gross, row.period_end, at)
        cents = await self._difference(row, version, then.gross, at)
        _require_costs(cents)
        vat = contained(cents, then.basis_points)
        return Preview("upgrade", version.id, cents, vat, then.gross, row.period_end, at)

    async def subscribe(self, account_id: int, plan: str, *, back: str, email: str) -> str:
        """The address of Stripe's page to pay on. Raises NoBuyer, NotPossible.

        Stripe sends the customer to ``back``, paid or not; then call ``look``. A page that was opened before is
        closed: only the newest can be paid on.
        """
        version = await self._offered(plan)
        buyer = await self._buyer(account_id)
        gross = self._quoted(buyer, version.cents).gross
        await self._close_pages(account_id)
        price = await price_for(self._database, self._provider, version, gross)
        row_id = new_id(self._clock())
        row = {"id": row_id, "account_id": account_id, "version_id": version.id, "state": "ordered"}
        async with self._database.begin() as connection:
            await _require_active(connection, account_id)
            if await running_of(connection, account_id) is not None:
                raise NotPossible("the account has a plan already")
            await connection.execute(insert(sales.subscription).values(**row, created_at=self._clock()))
        customer = await self._customers.of(account_id, email, buyer.name)
        page = await self._provider.subscribe(
            customer=customer, price=price, reference=row_id, back=back, key=f"subscribe {row_id}"
        )
        table = sales.subscription
        async with self._database.begin() as connection:
            await connection.execute(update(table).where(table.c.id == row_id).values(checkout=page.id))
        if page.url is None:
            raise NotPossible("the page to pay on is closed already")
        return page.url

    async def look(self, account_id: int) -> Subscription | None:
        """When its customer comes back: asks Stripe what became of the order; returns the account's plan then."""
        for row in await self._unfinished(account_id):
            if row.state == "ordered" and row.checkout is not None:
                await self._following.on_checkout(await self._provider.checkout(row.checkout))
            elif row.state in RUNNING and row.stripe_id is not None:
                await self._following.follow(row.stripe_id)
        return await self.running(account_id)

    async def upgrade(self, account_id: int, plan: str, preview: Preview) -> Subscription:
        """To a dearer plan at once; charges exactly ``preview.cents``.

        Raises PreviewOld, NotPossible; Declined: then nothing has changed.
        """
        version = await self._offered(plan)
        now = self._clock()
        if preview.version_id != version.id or not now - PREVIEW_VALID <= preview.at <= now:
            raise PreviewOld("what was shown is too old")
        async with self._alone(account_id) as attempt:
            row = await self._fresh(account_id)
            _require_changeable(row, version, now)
            if version.cents <= row.version.cents:
                raise NotPossible("the plan is not dearer: it can follow at the period's end")
            gross = (await self._quote(account_id, version.cents)).gross
            if await self._difference(row, version, gross, preview.at) != preview.cents:
                raise PreviewOld("it would cost something else now")
            _require_costs(preview.cents)
            price = await price_for(self._database, self._provider, version, gross)
            invoice = await self._charge_change(row, version, price, preview, attempt)
            await self._following.follow(_stripe_id(row), invoice)
        return await self._required(account_id)

    async def plan_downgrade(self, account_id: int, plan: str) -> Subscription:
        """To a plan that costs no more, from the next renewal on. Raises NotPossible."""
        version = await self._offered(plan)
        row = await self._fresh(account_id)
        _require_changeable(row, version, self._clock())
        if version.cents > row.version.cents:
            raise NotPossible("the plan is dearer: it is changed to at once")
        gross = (await self._quote(account_id, version.cents)).gross
        return await self._renew_at(row, await price_for(self._database, self._provider, version, gross))

    async def take_back_change(self, account_id: int) -> Subscription:
        """The plan stays as it is at the next renewal. Raises NotPossible."""
        row = await self._fresh(account_id)
        if row.next_version is None:
            raise NotPossible("no change is planned")
        return await self._renew_at(row, await self._price_paid(row))

    async def cancel(self, account_id: int) -> Subscription:
        """At the period's end: terms, "you retain access through the end of the current billing cycle".

        At once if a renewal is not paid. Raises NotPossible.
        """
        row = await self._fresh(account_id)
        if row.state == "past_due":
            return await self._following.end(row, CANCELLED)
        if row.cancels:
            return row
        return await self._set_cancels(row, cancels=True)

    async def resume(self, account_id: int) -> Subscription:
        """Takes a cancellation back. Raises NotPossible: there is none, or the period is over."""
        row = await self._fresh(account_id)
        if not row.cancels:
            raise NotPossible("the plan is not cancelled")
        return await self._set_cancels(row, cancels=False)

    async def end_now(self, account_id: int, actor: str, reason: str) -> Subscription:
        """The operator ends it: what is left of the allowance is forfeited, nothing is paid back here.

        Raises NotPossible; ValueError without a reason.
        """
        if not reason.strip():
            raise ValueError("a reason is needed")
        row = await self._required(account_id)
        entry = {"actor": actor, "action": "plan ended", "subject": row.version.plan, "reason": reason}
        async with self._database.begin() as connection:
            await connection.execute(insert(tables.audit).values(**entry, at=self._clock(), account_id=account_id))
        return await self._following.end(row, BY_OPERATOR)

    async def _offered(self, plan: str) -> Version:
        async with self._database.begin() as connection:
            version = (await newest_versions(connection)).get(plan)
        if version is None or plan not in self._plans:
            raise NotFound(f"no plan {plan} is on offer")
        return version

    async def _buyer(self, account_id: int) -> Buyer:
        async with self._database.begin() as connection:
            buyer = await buyer_of(connection, account_id)
        if buyer is None:
            raise NoBuyer(f"account {account_id} has not said who buys")
        return buyer

    async def _quote(self, account_id: int, cents: int) -> Quote:
        return self._quoted(await self._buyer(account_id), cents)

    def _quoted(self, buyer: Buyer, cents: int) -> Quote:
        return quote(cents, buyer, self._taxing, is_credit=False)

    async def _difference(self, row: Subscription, version: Version, gross: int, at: datetime) -> int:
        """Cents of the first invoice of an upgrade."""
        seen = await self._provider.subscription(_stripe_id(row))
        if not self.prorated:
            paid = (await sold_at(self._database, [seen.price], row.version)).get(seen.price)
            return gross - (row.version.cents if paid is None else paid.cents)
        price = await price_for(self._database, self._provider, version, gross)
        return (await self._provider.preview_change(seen.id, seen.item, price, at)).cents

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

    async def _charge_change(
        self, row: Subscription, version: Version, price: str, preview: Preview, attempt: str
    ) -> InvoiceSeen | None:
        if self.prorated:
            seen = await self._provider.subscription(_stripe_id(row))
            return await self._provider.change_now(
                seen.id, seen.item, price, at=preview.at, prorated=True, key=attempt
            )
        what = f"{version.name(FIRST_LANGUAGE)}: the difference to {row.version.name(FIRST_LANGUAGE)}"
        return await self._provider.charge_difference(
            _stripe_id(row), preview.cents, what, price=price, key=attempt
        )

    async def _price_paid(self, row: Subscription) -> str:
        """The price at which the subscription was paid last: terms, "at the rate you were charged"."""
        table = sales.payment
        query = (
            select(sales.plan_price.c.price)
            .join(table, table.c.gross_cents == sales.plan_price.c.cents)
            .where(table.c.subscription_id == row.id, sales.plan_price.c.version_id == row.version.id)
            .order_by(table.c.created_at.desc())
            .limit(1)
        )
        async with self._database.begin() as connection:
            found = (await connection.execute(query)).scalar()
        if found is not None:
            return str(found)
        gross = (await self._quote(row.account_id, row.version.cents)).gross
        return await price_for(self._database, self._provider, row.version, gross)

    async def _renew_at(self, row: Subscription, price: str) -> Subscription:
        seen = await self._provider.subscription(_stripe_id(row))
        if seen.price != price:
            key = f"renew {row.id} {row.written} {price}"
            await self._provider.set_price(seen.id, seen.item, price, key=key)
        return await self._followed(row)

    async def _set_cancels(self, row: Subscription, *, cancels: bool) -> Subscription:
        key = f"cancels {row.id} {row.written} {cancels}"
        await self._provider.set_cancels(_stripe_id(row), cancels, key=key)
        return await self._followed(row)

    async def _followed(self, row: Subscription) -> Subscription:
        await self._following.follow(_stripe_id(row))
        return await self._required(row.account_id)

    async def _fresh(self, account_id: int) -> Subscription:
        """The running one, after asking Stripe."""
        return await self._followed(await self._required(account_id))

    async def _required(self, account_id: int) -> Subscription:
        row = await self.running(account_id)
        if row is None:
            raise NotPossible("the account has no plan")
        return row

    async def _close_pages(self, account_id: int) -> None:
        """Those that were opened before. What was paid on one of them counts."""
        for row in await self._unfinished(account_id):
            if row.state == "ordered":
                await self._following.close_page(row)

    async def _unfinished(self, account_id: int) -> Sequence[Subscription]:
        async with self._database.begin() as connection:
            return await unfinished_of(connection, account_id)


def _stripe_id(row: Subscription) -> str:
    assert row.stripe_id is not None, "what runs is known at Stripe"
    return row.stripe_id


def _require_changeable(row: Subscription, version: Version, now: datetime) -> None:
    if row.state == "past_due":
        raise NotPossible("the plan's renewal is not paid")
    if row.period_end is None or row.period_end <= now:
        raise NotPossible("the plan is being renewed: try again in a few minutes")
    if row.cancels:
        raise NotPossible("the plan is cancelled: take that back first")
    if row.next_version is not None:
        raise NotPossible("another change is planned: take that back first")
    if row.version.id == version.id:
        raise NotPossible("the account has this plan")


def _require_costs(cents: int) -> None:
    """A plan that is dearer may cost no more, where its buyer pays less tax than before."""
    if cents <= 0:
        raise NotPossible(
            "with the tax of today the plan costs no more than what is paid for: there is nothing to charge"
        )


async def _require_active(connection: AsyncConnection, account_id: int) -> None:
    account = tables.account
    query = select(account.c.status).where(account.c.id == account_id).with_for_update(key_share=True)
    status = (await connection.execute(query)).scalar_one_or_none()
    if status is None:
        raise NotFound(f"there is no account {account_id}")
    if status != "active":
        raise NotPossible(f"the account is {status}")
