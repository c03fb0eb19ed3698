"""Payments: a saved card that is charged, and what became of any of them."""

from typing import Any, cast
from uuid import UUID

from billing.payments.provider import CURRENCY, IntentSeen
from billing.payments.stripe import reading
from billing.payments.stripe.connection import PAGE, Connection
from billing.payments.stripe.errors import asked
from billing.payments.stripe.objects import OURS, pages, reference_of, seen_of

EXPANDED: list[str] = ["latest_charge"]


class Charges(Connection):
    async def charge(
        self,
        *,
        customer: str,
        card: str,
        cents: int,
        what: str,
        reference: UUID,
        key: str,
        calculation: str | None = None,
    ) -> IntentSeen:
        parameters: dict[str, Any] = {
            "amount": cents,
            "currency": CURRENCY,
            "customer": customer,
            "payment_method": card,
            "allowed_payment_method_types": ["card"],
            "off_session": True,
            "confirm": True,
            "description": what,
            "metadata": {OURS: str(reference)},
            "expand": EXPANDED,
        }
        if calculation is not None:
            parameters["hooks"] = {"inputs": {"tax": {"calculation": calculation}}}
        made = self._v1.payment_intents.create_async(cast("Any", parameters), {"idempotency_key": key})
        return reading.intent(seen_of(await asked(made)))

    async def intent(self, id_: str) -> IntentSeen:
        found = self._v1.payment_intents.retrieve_async(id_, {"expand": EXPANDED})
        return reading.intent(seen_of(await asked(found)))

    async def intent_of(self, reference: UUID, customer: str) -> IntentSeen | None:
        listed = self._v1.payment_intents.list_async({"customer": customer, "limit": PAGE})
        async for page in pages(await asked(listed)):
            for seen in page:
                if reference_of(seen) == reference:
                    return await self.intent(seen["id"])
        return None
