"""Whose account it is, what moved its balance, and where its events are sent."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from email.utils import parsedate_to_datetime

from billing.payments.provider import MovementSeen, StripeAccount, WebhookSeen
from billing.payments.stripe import reading
from billing.payments.stripe.connection import PAGE, Connection
from billing.payments.stripe.errors import asked
from billing.payments.stripe.objects import pages, seen_of


class Account(Connection):
    async def account(self) -> StripeAccount:
        found = await asked(self._v1.accounts.retrieve_current_async())
        answer = found.last_response
        date = None if answer is None else answer.headers.get("date")
        seen = seen_of(found)
        clock = self._clock() if date is None else parsedate_to_datetime(date)
        return StripeAccount(
            seen["id"], seen.get("country") or "", seen.get("default_currency") or "", self._live, clock
        )

    async def movements(self, since: datetime) -> AsyncIterator[Sequence[MovementSeen]]:
        listed = self._v1.balance_transactions.list_async(
            {"created": {"gte": int(since.timestamp())}, "limit": PAGE, "expand": ["data.source"]}
        )
        async for page in pages(await asked(listed)):
            yield [reading.movement(seen) for seen in page]

    async def webhooks(self) -> Sequence[WebhookSeen]:
        found = []
        async for page in pages(await asked(self._v1.webhook_endpoints.list_async({"limit": PAGE}))):
            found += [WebhookSeen(one["url"], one["status"] == "enabled", one["enabled_events"]) for one in page]
        return found
