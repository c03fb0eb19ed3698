"""Subscriptions as their owner has them: ordered, changed, ended. docs/decisions/0036-plans.md has the reasons.

They live at Stripe; ``billing.payments.following`` brings our rows to what Stripe says.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal

import msgspec

from billing.clock import Clock
from billing.database.db import Database
from billing.documents.vat import Taxing
from billing.errors import BillingError
from billing.payments.provider import Provider
from billing.payments.subscribed import Subscription
from billing.plans.catalog import Plan
from billing.store.postgres import PostgresStore

PREVIEW_VALID = timedelta(minutes=10)
"""How long a customer may look at an amount before agreeing to it."""


class NoBuyer(BillingError):
    """The account has not said yet who buys: no receipt could be made out."""


class NotPossible(BillingError):
    """The account cannot do this with its plan now. The message says why, to an operator."""


class PreviewOld(BillingError):
    """What was shown is not what it would cost now: show it again."""


Kind = Literal["subscribe", "upgrade", "downgrade"]


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
    then_at: datetime | None
    at: datetime


class Subscriptions:
    """Raises NotFound, DatabaseUnavailable; PaymentsUnavailable and PaymentsRefused where Stripe is asked.

    ``plans`` are those on offer, whose versions are published. ``prorated``: an upgrade costs the difference for
    the time that is left, else all of it. ``grace``: how long a plan stays when its renewal is not paid.
    """

    def __init__(
        self,
        database: Database,
        store: PostgresStore,
        provider: Provider,
        plans: Sequence[Plan],
        taxing: Taxing,
        grace: timedelta,
        clock: Clock,
        *,
        prorated: bool,
    ) -> None:
        raise NotImplementedError

    async def running(self, account_id: int) -> Subscription | None:
        """The account's plan, as far as we know."""
        raise NotImplementedError

    async def history(self, account_id: int) -> Sequence[Subscription]:
        """All that it ever ordered, newest first."""
        raise NotImplementedError

    async def preview(self, account_id: int, plan: str) -> Preview:
        """What the plan would cost, exactly. Raises NoBuyer, NotPossible, NotFound (no such plan on offer)."""
        raise NotImplementedError

    async def subscribe(self, account_id: int, plan: str, *, back: str, email: str) -> str:
        """The address of Stripe's page to pay on. Raises NoBuyer, NotPossible.

        Stripe sends the customer to ``back``, paid or not; then call ``look``. A page that was opened before is
        closed: only the newest can be paid on.
        """
        raise NotImplementedError

    async def look(self, account_id: int) -> Subscription | None:
        """When its customer comes back: asks Stripe what became of the order; returns the account's plan then."""
        raise NotImplementedError

    async def upgrade(self, account_id: int, plan: str, preview: Preview) -> Subscription:
        """To a dearer plan at once; charges exactly ``preview.cents``.

        Raises PreviewOld, NotPossible; Declined: then nothing has changed.
        """
        raise NotImplementedError

    async def plan_downgrade(self, account_id: int, plan: str) -> Subscription:
        """To a plan that costs no more, from the next renewal on. Raises NotPossible."""
        raise NotImplementedError

    async def take_back_change(self, account_id: int) -> Subscription:
        """The plan stays as it is at the next renewal. Raises NotPossible."""
        raise NotImplementedError

    async def cancel(self, account_id: int) -> Subscription:
        """At the period's end: terms, "you retain access through the end of the current billing cycle".

        At once if a renewal is not paid. Raises NotPossible.
        """
        raise NotImplementedError

    async def resume(self, account_id: int) -> Subscription:
        """Takes a cancellation back. Raises NotPossible: there is none, or the period is over."""
        raise NotImplementedError

    async def end_now(self, account_id: int, actor: str, reason: str) -> Subscription:
        """The operator ends it: what is left of the allowance is forfeited, nothing is paid back here."""
        raise NotImplementedError
