"""From "Stripe says that it is paid" to the lot of credit: once, whoever asks, however often and in what order."""

from uuid import UUID

from billing.clock import Clock
from billing.database.db import Database
from billing.errors import BillingError
from billing.ledger.credit import Credit
from billing.payments.provider import Provider
from billing.payments.records import Payment


class Mismatch(BillingError):
    """What Stripe has is not what was ordered: nothing is credited before the operator has looked."""


class Settling:
    """Raises NotFound, DatabaseUnavailable, PaymentsUnavailable, PaymentsRefused, Mismatch."""

    def __init__(self, database: Database, provider: Provider, credit: Credit, clock: Clock) -> None:
        self._database = database
        self._provider = provider
        self._credit = credit
        self._clock = clock

    async def settle(self, payment_id: UUID) -> Payment:
        """Brings a payment for credit to what Stripe says of it now; returns it as it is then."""
        raise NotImplementedError
