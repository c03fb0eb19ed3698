"""The plan that an account has now, as Stripe says."""

from billing.clock import Clock
from billing.customers.accounts import Entry, record
from billing.database.db import Database
from billing.payments.following import Following
from billing.payments.provider import Provider
from billing.payments.subscribed import Subscription, running_of, stripe_id_of
from billing.payments.subscriptions.changes import NotPossible
from billing.payments.subscriptions.costs import Costs


class Running:
    def __init__(
        self, database: Database, following: Following, provider: Provider, costs: Costs, clock: Clock
    ) -> None:
        self._database = database
        self._following = following
        self._provider = provider
        self._costs = costs
        self._clock = clock

    async def running(self, account_id: int) -> Subscription | None:
        """The account's plan, as far as we know."""
        async with self._database.begin() as connection:
            return await running_of(connection, account_id)

    async def _on_record(self, row: Subscription, actor: str, action: str, reason: str) -> None:
        """Who asked for it: what becomes of it is on record as Stripe says."""
        entry = Entry(self._clock(), actor, action, row.account_id, row.version.plan, reason)
        async with self._database.begin() as connection:
            await record(connection, entry)

    async def _required(self, account_id: int) -> Subscription:
        row = await self.running(account_id)
        if row is None:
            raise NotPossible("the account has no plan")
        return row

    async def _fresh(self, account_id: int) -> Subscription:
        """The running one, after asking Stripe."""
        return await self._followed(await self._required(account_id))

    async def _followed(self, row: Subscription) -> Subscription:
        await self._following.follow(stripe_id_of(row))
        return await self._required(row.account_id)
