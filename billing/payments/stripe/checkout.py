"""Stripe's pages: to pay on, to subscribe on, to save a card on."""

from typing import Any, cast
from uuid import UUID

from billing.payments.provider import CURRENCY, CheckoutSeen, CheckoutStatus, PaymentsRefused
from billing.payments.stripe import reading
from billing.payments.stripe.connection import Connection
from billing.payments.stripe.errors import asked
from billing.payments.stripe.objects import OURS, seen_of

EXPANDED: list[str] = ["total_details.breakdown"]


class Checkout(Connection):
    async def sell(
        self,
        *,
        customer: str,
        cents: int,
        what: str,
        reference: UUID,
        save_card: bool,
        back: str,
        key: str,
        taxed: bool = False,
    ) -> CheckoutSeen:
        intent: dict[str, Any] = {"metadata": {OURS: str(reference)}, "description": what}
        if save_card:
            intent["setup_future_usage"] = "off_session"
        product: dict[str, Any] = {"name": what}
        price: dict[str, Any] = {"currency": CURRENCY, "unit_amount": cents}
        if taxed:
            assert self._tax is not None, "Stripe reckons the tax"
            product["tax_code"], price["tax_behavior"] = self._tax.code, self._tax_behavior
        return await self._open_page(
            customer,
            reference,
            back,
            key,
            mode="payment",
            line_items=[{"price_data": {**price, "product_data": product}, "quantity": 1}],
            payment_intent_data=intent,
            **(self._taxed() if taxed else {}),
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
            **self._taxed(),
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
        found = self._v1.checkout.sessions.retrieve_async(id_, {"expand": EXPANDED})
        return reading.checkout(seen_of(await asked(found)))

    async def expire_checkout(self, id_: str) -> None:
        try:
            await asked(self._v1.checkout.sessions.expire_async(id_))
        except PaymentsRefused:
            if (await self.checkout(id_)).status is CheckoutStatus.OPEN:
                raise

    def _taxed(self) -> dict[str, Any]:
        """The customer's place is what we told Stripe: nobody changes it on the page."""
        return {} if self._tax is None else {"automatic_tax": self._automatic_tax}

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
            "expand": EXPANDED,
        }
        made = self._v1.checkout.sessions.create_async(cast("Any", parameters | of_mode), {"idempotency_key": key})
        return reading.checkout(seen_of(await asked(made)))
