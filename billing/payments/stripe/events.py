"""What Stripe tells: by a webhook that is proved by its signature, or when it is asked for."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta

import stripe

from billing.payments.provider import BadSignature, EventSeen
from billing.payments.stripe import reading
from billing.payments.stripe.connection import PAGE, Connection
from billing.payments.stripe.errors import asked
from billing.payments.stripe.objects import pages, seen_of

TOLERANCE = timedelta(seconds=300)


class Events(Connection):
    async def events(self, since: datetime) -> AsyncIterator[Sequence[EventSeen]]:
        listed = self._v1.events.list_async({"created": {"gte": int(since.timestamp())}, "limit": PAGE})
        async for page in pages(await asked(listed)):
            yield [reading.event(seen) for seen in page]

    def read_webhook(self, body: bytes, signature: str, now: datetime) -> EventSeen:
        """By ``now`` rather than by the library's own clock, and nothing from the future either."""
        try:
            stripe.WebhookSignature.verify_header(body, signature, self._webhook_secret)
            stamps = [part[2:] for part in signature.split(",") if part.startswith("t=")]
            if abs(now.timestamp() - int(stamps[0])) > TOLERANCE.total_seconds():
                raise BadSignature("it was signed too long ago")
            event = self._client.construct_event_without_verification(body)
            return reading.event(seen_of(event))
        except stripe.SignatureVerificationError:
            raise BadSignature("it is not signed with our secret") from None
        except (ValueError, KeyError, TypeError, AttributeError, IndexError):
            raise BadSignature("it is no event") from None
