"""A day's takings are compared once it is over: what Stripe moved, our payments, the ledger, the documents."""

import logging
from datetime import date, timedelta

from appliance.worker.metrics import WorkerMetrics
from billing.clock import Clock
from billing.database.db import Database
from billing.documents.at_stripe import told
from billing.payments.provider import CURRENCY, PaymentsRefused, PaymentsUnavailable, Provider
from billing.prices.money import NANODOLLARS_PER_CENT, format_dollars
from billing.proof.takings import UNDER_WAY, Difference, compare_takings
from billing.statements import closing
from billing.statements.period import Period

log = logging.getLogger(__name__)


class TakingsCheck:
    """Raises DatabaseUnavailable; the same day is tried again then, and where Stripe cannot be asked."""

    def __init__(self, database: Database, provider: Provider, metrics: WorkerMetrics, clock: Clock) -> None:
        self._database = database
        self._provider = provider
        self._metrics = metrics
        self._clock = clock
        self._compared: date | None = None

    async def run_once(self) -> None:
        """Once for each day that is over, and so long that nothing of it is under way."""
        day = (self._clock() - UNDER_WAY).date() - timedelta(days=1)
        if self._compared == day:
            return
        try:
            movements = self._provider.movements(Period(day, day).start)
            found = await compare_takings(self._database, day, movements, self._clock)
        except (PaymentsUnavailable, PaymentsRefused) as error:
            log.warning("the takings of %s are not compared yet: Stripe: %s", day, error)
            return
        self._metrics.takings_differences.set(found.count)
        self._metrics.takings_compared_until.set(Period(day, day).end.timestamp())
        for difference in found.differences:
            log.error("the takings do not agree: %s", describe(difference))
        log.info("takings of %s are compared: %d items, %d differences", day, found.items, found.count)
        async with self._database.begin() as connection:
            if await closing.record_takings(connection, day, found.count):
                self._compared = day


def describe(difference: Difference) -> str:
    """One line."""
    owner = "" if difference.account_id is None else f" of account {difference.account_id}"
    return (
        f"{difference.subject}{owner}: {difference.what};"
        f" at Stripe {_at_stripe(difference)}, here {cents(difference.here_cents)},"
        f" in the ledger {format_dollars(difference.ledger_nanodollars)},"
        f" in documents {cents(difference.document_cents)}"
    )


def _at_stripe(difference: Difference) -> str:
    """In dollars, and what that was on a balance that is kept in another currency."""
    others = [told(one.cents, one.currency) for one in difference.on_balance if one.currency != CURRENCY]
    return cents(difference.stripe_cents) + (f" ({', '.join(others)})" if others else "")


def cents(amount: int) -> str:
    """In dollars."""
    return format_dollars(amount * NANODOLLARS_PER_CENT)
