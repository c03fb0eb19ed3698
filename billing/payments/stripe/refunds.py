"""Money that goes back: by us, or by the payer's bank."""

from collections.abc import Sequence
from uuid import UUID

from billing.payments.provider import DisputeSeen, RefundSeen
from billing.payments.stripe import reading
from billing.payments.stripe.connection import PAGE, Connection
from billing.payments.stripe.errors import asked
from billing.payments.stripe.objects import OURS, pages, seen_of


class Refunds(Connection):
    async def refund(self, *, intent: str, cents: int, reference: UUID, key: str) -> RefundSeen:
        made = self._v1.refunds.create_async(
            {
                "payment_intent": intent,
                "amount": cents,
                "reason": "requested_by_customer",
                "metadata": {OURS: str(reference)},
            },
            {"idempotency_key": key},
        )
        return reading.refund(seen_of(await asked(made)))

    async def refund_seen(self, id_: str) -> RefundSeen:
        return reading.refund(seen_of(await asked(self._v1.refunds.retrieve_async(id_))))

    async def refunds_of(self, intent: str) -> Sequence[RefundSeen]:
        listed = self._v1.refunds.list_async({"payment_intent": intent, "limit": PAGE})
        return [reading.refund(seen) async for page in pages(await asked(listed)) for seen in page]

    async def dispute(self, id_: str) -> DisputeSeen:
        return reading.dispute(seen_of(await asked(self._v1.disputes.retrieve_async(id_))))
