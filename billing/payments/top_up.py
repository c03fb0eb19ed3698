"""A saved card, and credit that is bought by itself when it runs low."""

from uuid import UUID

from billing.clock import Clock
from billing.database.db import Database
from billing.documents.vat import Taxing
from billing.payments.provider import Provider
from billing.payments.records import Wallet
from billing.payments.settling import Settling
from billing.payments.shop import Bounds


class TopUps:
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

    async def wallet(self, account_id: int) -> Wallet:
        raise NotImplementedError

    async def save_card(self, account_id: int, *, back: str, email: str) -> str:
        """The address of Stripe's page to save a card on; nothing is paid. Raises NoBuyer.

        Stripe sends the customer to ``back``; call ``find_card`` then.
        """
        raise NotImplementedError

    async def find_card(self, account_id: int) -> Wallet:
        """Takes over the card that Stripe has of the account now."""
        raise NotImplementedError

    async def forget_card(self, account_id: int, actor: str) -> None:
        """Here and at Stripe. No top-up without a card."""
        raise NotImplementedError

    async def set_rule(
        self, account_id: int, actor: str, *, below_nanodollars: int, top_up_cents: int, ceiling_cents: int
    ) -> Wallet:
        """When what is free of the balance is ``below``, ``top_up_cents`` of credit are bought; ``ceiling_cents``
        of money at most in a calendar month (UTC).

        Raises Conflict without a card or a buyer, NotForSale for amounts that cannot be. Ends a pause.
        """
        raise NotImplementedError

    async def stop(self, account_id: int, actor: str) -> Wallet:
        """No more top-ups; the card stays."""
        raise NotImplementedError

    async def resume(self, account_id: int, actor: str) -> Wallet:
        """After a pause, by the customer."""
        raise NotImplementedError

    async def spent_this_month(self, account_id: int) -> int:
        """Cents that count against the ceiling."""
        raise NotImplementedError

    async def run_once(self) -> int:
        """Charges whoever is due; returns how many were charged. By the worker alone."""
        raise NotImplementedError

    async def forget_customer(self, account_id: int) -> None:
        """Of a deleted account: at Stripe, and then here."""
        raise NotImplementedError

    async def charge(self, payment_id: UUID) -> None:
        """Continues a top-up that was ordered."""
        raise NotImplementedError
