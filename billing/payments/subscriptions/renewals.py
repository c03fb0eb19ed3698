"""What becomes of a plan at its next renewal: a plan that costs no more, or its end."""

from billing.payments.plan_life import CANCELLED
from billing.payments.settling import CUSTOMER
from billing.payments.subscribed import Subscription, stripe_id_of
from billing.payments.subscriptions.changes import NotPossible, require_changeable
from billing.payments.subscriptions.running import Running


class Renewals(Running):
    async def plan_downgrade(self, account_id: int, plan: str) -> Subscription:
        """To a plan that costs no more, from the next renewal on. Raises NotPossible."""
        version = await self._costs.offered(plan)
        row = await self._fresh(account_id)
        require_changeable(row, version, self._clock())
        if version.cents > row.version.cents:
            raise NotPossible("the plan is dearer: it is changed to at once")
        buyer = await self._costs.buyer(account_id)
        return await self._renew_at(row, await self._costs.price(version, buyer))

    async def take_back_change(self, account_id: int) -> Subscription:
        """The plan stays as it is at the next renewal. Raises NotPossible."""
        row = await self._fresh(account_id)
        if row.next_version is None:
            raise NotPossible("no change is planned")
        return await self._renew_at(row, await self._costs.price_paid(row))

    async def cancel(self, account_id: int, actor: str = CUSTOMER) -> Subscription:
        """At the period's end: terms, "you retain access through the end of the current billing cycle".

        At once if a renewal is not paid. Raises NotPossible.
        """
        row = await self._fresh(account_id)
        if not row.cancels:
            await self._on_record(row, actor, "plan cancellation asked", "-")
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

    async def _renew_at(self, row: Subscription, price: str) -> Subscription:
        seen = await self._provider.subscription(stripe_id_of(row))
        if seen.price != price:
            key = f"renew {row.id} {row.written} {price}"
            await self._provider.set_price(seen.id, seen.item, price, key=key)
        return await self._followed(row)

    async def _set_cancels(self, row: Subscription, *, cancels: bool) -> Subscription:
        key = f"cancels {row.id} {row.written} {cancels}"
        await self._provider.set_cancels(stripe_id_of(row), cancels, key=key)
        return await self._followed(row)
