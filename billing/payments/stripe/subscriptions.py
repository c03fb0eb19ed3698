"""Subscriptions: their prices, their changes and their ends."""

from datetime import datetime
from typing import Any, cast

from billing.payments.provider import CURRENCY, Gone, InvoiceSeen, PreviewSeen, SubscriptionSeen
from billing.payments.stripe import reading
from billing.payments.stripe.connection import PAGE
from billing.payments.stripe.errors import asked
from billing.payments.stripe.invoices import Invoices
from billing.payments.stripe.objects import id_of, pages, seen_of


class Subscriptions(Invoices):
    async def price_for(self, version_id: int, name: str, cents: int) -> str:
        lookup, product = f"plan-version-{version_id}-{cents}", {"name": name}
        if self._tax is not None:
            lookup = f"{lookup}-{self._tax_behavior}-{self._tax.code}"
            product["tax_code"] = self._tax.code
        listed = await asked(self._v1.prices.list_async({"lookup_keys": [lookup], "limit": 1}))
        if listed.data:
            return listed.data[0].id
        made = self._v1.prices.create_async(
            cast(
                "Any",
                {
                    "currency": CURRENCY,
                    "unit_amount": cents,
                    "recurring": {"interval": "month"},
                    "product_data": product,
                    "lookup_key": lookup,
                    "tax_behavior": self._tax_behavior,
                },
            ),
            {"idempotency_key": lookup},
        )
        return (await asked(made)).id

    async def subscription(self, id_: str) -> SubscriptionSeen:
        return reading.subscription(seen_of(await asked(self._v1.subscriptions.retrieve_async(id_))))

    async def preview_change(self, subscription: str, item: str, price: str, at: datetime) -> PreviewSeen:
        preview = self._v1.invoices.create_preview_async(
            {
                "subscription": subscription,
                "automatic_tax": cast("Any", self._automatic_tax),
                "subscription_details": {
                    "items": [{"id": item, "price": price}],
                    "proration_behavior": "always_invoice",
                    "proration_date": int(at.timestamp()),
                },
            }
        )
        seen = seen_of(await asked(preview))
        return PreviewSeen(seen["amount_due"], at, await self._tax_of(seen))

    async def change_now(
        self, subscription: str, item: str, price: str, *, at: datetime, prorated: bool, key: str
    ) -> InvoiceSeen | None:
        parameters: dict[str, Any] = {
            "items": [{"id": item, "price": price}],
            "proration_behavior": "always_invoice" if prorated else "none",
            "payment_behavior": "error_if_incomplete",
            "automatic_tax": self._automatic_tax,
            "expand": ["latest_invoice"],
        }
        if prorated:
            parameters["proration_date"] = int(at.timestamp())
        changed = self._v1.subscriptions.update_async(
            subscription, cast("Any", parameters), {"idempotency_key": key}
        )
        latest = seen_of(await asked(changed)).get("latest_invoice")
        return await self.invoice(id_of(latest) or "") if prorated and latest else None

    async def set_price(self, subscription: str, item: str, price: str, *, key: str) -> None:
        changed = self._v1.subscriptions.update_async(
            subscription,
            {
                "items": [{"id": item, "price": price}],
                "proration_behavior": "none",
                "automatic_tax": cast("Any", self._automatic_tax),
            },
            {"idempotency_key": key},
        )
        await asked(changed)

    async def set_cancels(self, subscription: str, cancels: bool, *, key: str) -> None:
        changed = self._v1.subscriptions.update_async(
            subscription, {"cancel_at_period_end": cancels}, {"idempotency_key": key}
        )
        await asked(changed)

    async def end_subscription(self, subscription: str, *, key: str) -> None:
        try:
            seen = await self.subscription(subscription)
            if seen.status not in ("canceled", "incomplete_expired"):
                ended = self._v1.subscriptions.cancel_async(
                    subscription, {"invoice_now": False, "prorate": False}, {"idempotency_key": key}
                )
                await asked(ended)
        except Gone:
            return
        listed = self._v1.invoices.list_async({"subscription": subscription, "status": "open", "limit": PAGE})
        async for page in pages(await asked(listed)):
            for one in page:
                voided = self._v1.invoices.void_invoice_async(
                    one["id"], None, {"idempotency_key": f"{key}-{one['id']}"}
                )
                await asked(voided)
