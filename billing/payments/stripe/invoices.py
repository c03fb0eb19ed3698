"""Invoices: those of subscriptions, and the one by which a plan's difference is charged."""

from typing import Any, cast

from billing.payments.provider import CURRENCY, Declined, InvoiceSeen, PaymentsRefused
from billing.payments.stripe import reading
from billing.payments.stripe.connection import PAGE
from billing.payments.stripe.errors import asked
from billing.payments.stripe.objects import CHANGES, CHANGES_TO, id_of, pages, seen_of
from billing.payments.stripe.tax import Tax

EXPANDED: list[str] = ["payments"]


class Invoices(Tax):
    async def invoice(self, id_: str) -> InvoiceSeen:
        found = self._v1.invoices.retrieve_async(id_, {"expand": EXPANDED})
        seen = seen_of(await asked(found))
        return reading.invoice(seen, await self._tax_of(seen))

    async def collect(self, invoice: str, *, key: str) -> InvoiceSeen:
        seen = await self.invoice(invoice)
        if not seen.is_due:
            return seen
        try:
            if seen.status == "draft":
                final = self._v1.invoices.finalize_invoice_async(
                    invoice, None, {"idempotency_key": f"{key}-final"}
                )
                await asked(final)
            pay = self._v1.invoices.pay_async(invoice, {"off_session": True}, {"idempotency_key": f"{key}-pay"})
            await asked(pay)
        except (Declined, PaymentsRefused):  # what became of it, the invoice says: Stripe may have been quicker
            pass
        return await self.invoice(invoice)

    async def charge_difference(
        self, subscription: str, cents: int, what: str, *, price: str, key: str
    ) -> InvoiceSeen:
        """The invoice is not the subscription's own: one that is declined would make it past due."""
        raw = seen_of(await asked(self._v1.subscriptions.retrieve_async(subscription)))
        changed, card = reading.subscription(raw), id_of(raw.get("default_payment_method"))
        customer = changed.customer
        await self._void_differences(subscription, customer)
        parameters: dict[str, Any] = {
            "customer": customer,
            "collection_method": "charge_automatically",
            "auto_advance": False,
            "pending_invoice_items_behavior": "exclude",
            "metadata": {CHANGES: subscription, CHANGES_TO: price},
            "automatic_tax": self._automatic_tax,
        }
        if card is not None:
            parameters["default_payment_method"] = card
        made = self._v1.invoices.create_async(cast("Any", parameters), {"idempotency_key": key})
        invoice = (await asked(made)).id
        of_line: dict[str, Any] = {
            "customer": customer,
            "invoice": invoice,
            "amount": cents,
            "currency": CURRENCY,
            "description": what,
            "period": {
                "start": int(changed.period_start.timestamp()),
                "end": int(changed.period_end.timestamp()),
            },
        }
        if self._tax is not None:
            of_line |= {"tax_behavior": self._tax_behavior, "tax_code": self._tax.code}
        line = self._v1.invoice_items.create_async(cast("Any", of_line), {"idempotency_key": f"{key}-line"})
        await asked(line)
        seen = await self.invoice(invoice)
        if seen.status == "draft":
            finalized = self._v1.invoices.finalize_invoice_async(
                invoice, {"auto_advance": False}, {"idempotency_key": f"{key}-final"}
            )
            await asked(finalized)
            seen = await self.invoice(invoice)
        if seen.status == "open":
            try:
                pay = self._v1.invoices.pay_async(
                    invoice, {"off_session": True}, {"idempotency_key": f"{key}-pay"}
                )
                await asked(pay)
            except Declined:
                await asked(
                    self._v1.invoices.void_invoice_async(invoice, None, {"idempotency_key": f"{key}-void"})
                )
                raise
        return await self.invoice(invoice)

    async def _void_differences(self, subscription: str, customer: str) -> None:
        """Those of tries that came to no end: paid later, they would buy nothing."""
        listed = self._v1.invoices.list_async({"customer": customer, "status": "open", "limit": PAGE})
        async for page in pages(await asked(listed)):
            for one in page:
                if (one.get("metadata") or {}).get(CHANGES) == subscription:
                    voided = self._v1.invoices.void_invoice_async(
                        one["id"], None, {"idempotency_key": f"void {one['id']}"}
                    )
                    await asked(voided)
