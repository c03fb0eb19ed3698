"""Where credit is bought: what may be bought, the order, and the way to Stripe's page."""

from dataclasses import dataclass
from uuid import UUID

from billing.clock import Clock
from billing.database.db import Database
from billing.documents.vat import Quote, Taxing
from billing.errors import BillingError
from billing.payments.provider import Provider
from billing.payments.records import Payment
from billing.payments.settling import Settling


class NoBuyer(BillingError):
    """The account has not said yet who buys: no receipt could be made out."""


class NotForSale(BillingError):
    """So much credit cannot be bought, or not today, or not by this account. The message says which."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Of one payment, and of an account's payments in 24 hours. Cents, as prices are advertised."""

    least: int
    most: int
    most_a_day: int


class Shop:
    """Raises NotFound, DatabaseUnavailable; PaymentsUnavailable and PaymentsRefused where Stripe is asked."""

    def __init__(
        self,
        database: Database,
        provider: Provider,
        settling: Settling,
        taxing: Taxing,
        bounds: Bounds,
        clock: Clock,
    ) -> None:
        self._database = database
        self._provider = provider
        self._settling = settling
        self._taxing = taxing
        self._bounds = bounds
        self._clock = clock

    async def quote(self, account_id: int, price_cents: int) -> Quote:
        """What the account would pay. Raises NoBuyer, NotForSale."""
        raise NotImplementedError

    async def order_credit(
        self, account_id: int, price_cents: int, *, back: str, email: str, save_card: bool
    ) -> str:
        """The address of Stripe's page to pay on. Raises NoBuyer, NotForSale.

        Stripe sends the customer to ``back`` with ``?payment=<id>``, paid or not. ``save_card``: for top-ups.
        """
        raise NotImplementedError

    async def look(self, payment_id: UUID) -> Payment:
        """The payment as it is after asking Stripe: when its customer comes back. Raises Mismatch."""
        raise NotImplementedError
