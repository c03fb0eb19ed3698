"""Customers, and the cards that they saved."""

import contextlib
from collections.abc import Sequence

from billing.payments.provider import Card, Gone, PaymentsRefused
from billing.payments.stripe import reading
from billing.payments.stripe.connection import PAGE, Connection
from billing.payments.stripe.errors import asked
from billing.payments.stripe.objects import pages, seen_of


class Customers(Connection):
    async def create_customer(self, account_id: int, email: str, name: str, key: str) -> str:
        made = self._v1.customers.create_async(
            {"email": email, "name": name, "metadata": {"account": str(account_id)}}, {"idempotency_key": key}
        )
        return (await asked(made)).id

    async def delete_customer(self, customer: str) -> None:
        with contextlib.suppress(Gone):
            await asked(self._v1.customers.delete_async(customer))

    async def cards(self, customer: str) -> Sequence[Card]:
        listed = self._v1.customers.payment_methods.list_async(customer, {"type": "card", "limit": PAGE})
        return [reading.card(seen) async for page in pages(await asked(listed)) for seen in page]

    async def forget_card(self, card: str) -> None:
        try:
            await asked(self._v1.payment_methods.detach_async(card))
        except Gone:
            pass
        except PaymentsRefused:
            found = seen_of(await asked(self._v1.payment_methods.retrieve_async(card)))
            if found.get("customer") is not None:
                raise
