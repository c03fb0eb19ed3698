"""All that can be done with the plan of an account."""

from collections.abc import Sequence

from billing.clock import Clock
from billing.database.db import Database
from billing.documents.vat import Taxing
from billing.payments.following import Following
from billing.payments.plan_life import BY_OPERATOR
from billing.payments.provider import Provider
from billing.payments.subscribed import Subscription
from billing.payments.subscriptions.costs import Costs
from billing.payments.subscriptions.orders import Orders
from billing.payments.subscriptions.renewals import Renewals
from billing.payments.subscriptions.upgrades import Upgrades
from billing.plans.catalog import Plan


class Subscriptions(Orders, Upgrades, Renewals):
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
        costs = Costs(database, provider, plans, taxing, prorated=prorated)
        super().__init__(database, following, provider, costs, clock)
        self.prorated = prorated

    async def end_now(self, account_id: int, actor: str, reason: str) -> Subscription:
        """The operator ends it: what is left of the allowance is forfeited, nothing is paid back here.

        Raises NotPossible; ValueError without a reason.
        """
        if not reason.strip():
            raise ValueError("a reason is needed")
        row = await self._required(account_id)
        await self._on_record(row, actor, "plan ended", reason)
        return await self._following.end(row, BY_OPERATOR)
