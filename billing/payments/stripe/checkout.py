"""Stripe's pages: to pay on, to subscribe on, to save a card on."""

from typing import Any, cast
from uuid import UUID

from billing.payments.provider import CURRENCY, CheckoutSeen, CheckoutStatus, PaymentsRefused
from billing.payments.stripe import reading
from billing.payments.stripe.connection import Connection
from billing.payments.stripe.errors import asked
from billing.payments.stripe.objects import OURS, seen_of


class Checkout(Connection):
    async def sell(
        self, *, customer: str, cents: int, what: str, reference: UUID, save_card: bool, back: str, key: str
    ) -> CheckoutSeen:
        intent: dict[str, Any] = {"metadata": {OURS: str(reference)}, "description": what}
        if save_card:
            intent["setup_future_usage"] = "off_session"
        item = {
            "price_data": {"currency": CURRENCY, "unit_amount": cents, "product_data": {"name": what}},
            "quantity": 1,
        }
        return await self._open_page(
            customer, reference, back, key, mode="payment", line_items=[item], payment_intent_data=intent
        )

    async def subscribe(self, *, customer: str, price: str, reference: UUID, back: str, key: str) -> CheckoutSeen:
        return await self._open_page(
            customer,
            reference,
            back,
            key,
            mode="subscription",
            line_items=[{"price": price, "quantity": 1}],
            subscription_data={"metadata": {OURS: str(reference)}},
        )

    async def save_card(self, *, customer: str, reference: UUID, back: str, key: str) -> CheckoutSeen:
        return await self._open_page(
            customer,
            reference,
            back,
            key,
            mode="setup",
            currency=CURRENCY,
            setup_intent_data={"metadata": {OURS: str(reference)}},
        )

    async def checkout(self, id_: str) -> CheckoutSeen:
        return reading.checkout(seen_of(await asked(self._v1.checkout.sessions.retrieve_async(id_))))

    async def expire_checkout(self, id_: str) -> None:
        try:
            await asked(self._v1.checkout.sessions.expire_async(id_))
        except PaymentsRefused:
            if (await self.checkout(id_)).status is CheckoutStatus.OPEN:
                raise

    async def _open_page(
        self, customer: str, reference: UUID, back: str, key: str, **of_mode: Any
    ) -> CheckoutSeen:
        parameters = {
            "customer": customer,
            "client_reference_id": str(reference),
            "metadata": {OURS: str(reference)},
            "allowed_payment_method_types": ["card"],
            "success_url": back,
            "cancel_url": back,
        }
        made = self._v1.checkout.sessions.create_async(cast("Any", parameters | of_mode), {"idempotency_key": key})
        return reading.checkout(seen_of(await asked(made)))
