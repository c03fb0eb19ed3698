"""The one connection to Stripe's API, with its version pinned."""

import logging
from collections.abc import Awaitable, Callable

import stripe

from billing.clock import Clock
from billing.payments.provider import StripeTax

API_VERSION = "2026-10-28.endive"
assert stripe.api_version == API_VERSION, "the library and the pinned version of the API have parted"
stripe.enable_telemetry = False
logging.getLogger("stripe").setLevel(logging.WARNING)

TIMEOUT_SECONDS = 20.0
RETRIES = 2
PAGE = 100
"""Objects of a list that are asked for at once."""


class Connection:
    """``base`` is another server that speaks Stripe's API; ``http`` another way to it.

    With ``tax``, Stripe reckons the tax of what is sold.
    """

    def __init__(
        self,
        key: str,
        webhook_secret: str,
        clock: Clock,
        *,
        base: str | None = None,
        http: stripe.HTTPClient | None = None,
        tax: StripeTax | None = None,
    ) -> None:
        self._http = http or stripe.HTTPXClient(timeout=TIMEOUT_SECONDS)
        self._client = stripe.StripeClient(
            key,
            stripe_version=API_VERSION,
            http_client=self._http,
            max_network_retries=RETRIES,
            base_addresses={} if base is None else {"api": base},
        )
        self._v1 = self._client.v1
        self._closed: Callable[[], Awaitable[None]] = self._http.close_async
        self._webhook_secret = webhook_secret
        self._clock = clock
        self._tax = tax
        self._live = key.startswith(("sk_live_", "rk_live_"))

    @property
    def _automatic_tax(self) -> dict[str, bool]:
        return {"enabled": self._tax is not None}

    @property
    def _tax_behavior(self) -> str:
        """Of a price: where Stripe reckons no tax, what is paid is in it."""
        return "exclusive" if self._tax is not None and not self._tax.included else "inclusive"

    async def close(self) -> None:
        await self._closed()
