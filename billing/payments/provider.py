"""The port to whoever takes the money: what is asked of Stripe, and what of its answers counts here.

All amounts are US cents, but those of the balance, which Stripe may keep in another currency. Every write carries
an idempotency key of ours: the same one a second time changes nothing. ``billing.payments.stripe.adapter`` is by
Stripe. Never called inside a database transaction.
"""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Protocol
from uuid import UUID

import msgspec

from billing.documents.buyers import Buyer
from billing.documents.vat import Reckoned, rounded
from billing.errors import BillingError

CURRENCY = "usd"


class PaymentsUnavailable(BillingError):
    """Stripe cannot be reached, or asks to come back later. Whether the call took place is open; try it again."""


class PaymentsRefused(BillingError):
    """Stripe takes the call for wrong; the same one will be refused again. The message is Stripe's."""


class KeyRefused(PaymentsRefused):
    """Stripe does not know the key, or has ended it."""


class RightsMissing(PaymentsRefused):
    """A restricted key that has no right to this."""


class Declined(BillingError):
    """The card was not charged. ``code`` is Stripe's decline code, or ``authentication_required``."""

    def __init__(self, code: str) -> None:
        super().__init__(f"the card was declined: {code}")
        self.code = code


class BadSignature(BillingError):
    """A webhook that Stripe did not sign with our secret, or too long ago."""


class Gone(BillingError):
    """Stripe has no such object."""


class BuyerRefused(PaymentsRefused):
    """Stripe cannot tell the tax: it does not know such an address, or takes the tax number for wrong."""


class CheckoutStatus(StrEnum):
    OPEN = "open"
    COMPLETE = "complete"
    EXPIRED = "expired"


class StripeTax(msgspec.Struct, frozen=True):
    """That Stripe reckons the tax of what is sold. ``code`` is its tax code for that, ``txcd_…``.

    ``included``: prices have the tax in them; else it comes on top.
    """

    code: str
    included: bool


class Calculation(msgspec.Struct, frozen=True):
    """What a sale comes to with its tax: ``cents``. ``id`` names it in a charge."""

    id: str
    cents: int
    tax: Reckoned


class CheckoutSeen(msgspec.Struct, frozen=True):
    """A Checkout Session. ``reference`` is our payment's or subscription's id; ``url`` is the page, while open.

    ``tax`` is there where Stripe has reckoned it.
    """

    id: str
    status: CheckoutStatus
    paid: bool
    cents: int
    currency: str
    reference: UUID | None
    url: str | None
    customer: str | None
    intent: str | None
    subscription: str | None
    setup: str | None
    tax: Reckoned | None = None


class IntentSeen(msgspec.Struct, frozen=True):
    """A PaymentIntent. ``status`` is Stripe's; ``failure`` the decline code of the last try."""

    id: str
    status: str
    received: int
    currency: str
    reference: UUID | None
    customer: str | None
    card: str | None
    failure: str | None
    paid_at: datetime | None


class Card(msgspec.Struct, frozen=True):
    """What Stripe shows of a saved card: ``visa •••• 4242``."""

    id: str
    label: str


class RefundSeen(msgspec.Struct, frozen=True):
    """``status`` is Stripe's: pending, requires_action, succeeded, failed, canceled. ``reference`` is ours."""

    id: str
    status: str
    cents: int
    intent: str | None
    reference: UUID | None
    failure: str | None


class DisputeSeen(msgspec.Struct, frozen=True):
    """``status`` is Stripe's: needs_response, under_review, won, lost, and those that begin with ``warning_``."""

    id: str
    status: str
    cents: int
    intent: str | None
    reason: str
    opened_at: datetime
    due_at: datetime | None


class InvoiceSeen(msgspec.Struct, frozen=True):
    """An invoice of a subscription. ``why`` is Stripe's billing_reason; the period is that of its newest line.

    ``price`` is that of the same line; of an invoice by ``charge_difference``, the one that it was given.
    ``tax`` is there where Stripe has reckoned it, of ``cents``; ``tax_waits``: it cannot, and asks for the payer's
    place. ``tried``: Stripe has tried to charge it.
    """

    id: str
    status: str
    why: str
    cents: int
    paid_cents: int
    currency: str
    customer: str | None
    subscription: str | None
    price: str | None
    intent: str | None
    period_start: datetime
    period_end: datetime
    paid_at: datetime | None
    hosted_url: str | None
    tax: Reckoned | None = None
    tax_waits: bool = False
    tried: bool = False

    @property
    def is_due(self) -> bool:
        """Nobody has tried to charge it: it is a draft, or whoever finalized it was killed before."""
        return self.status == "draft" or (self.status == "open" and not self.tried)

    @property
    def tax_paid(self) -> int:
        """Cents of tax in what was paid of it: what the payer had at Stripe already pays a part of both."""
        if self.tax is None or self.cents <= 0:
            return 0
        return rounded(self.tax.vat * self.paid_cents, self.cents)

    @property
    def price_cents(self) -> int:
        """What was paid of it, as prices are kept at Stripe: without a tax that came on top."""
        on_top = self.tax is not None and not self.tax.included
        return self.paid_cents - (self.tax_paid if on_top else 0)


class SubscriptionSeen(msgspec.Struct, frozen=True):
    """``status`` is Stripe's. ``price`` is that of its one item; ``reference`` our subscription's id."""

    id: str
    status: str
    customer: str
    item: str
    price: str
    period_start: datetime
    period_end: datetime
    cancels: bool
    reference: UUID | None
    latest_invoice: str | None


class PreviewSeen(msgspec.Struct, frozen=True):
    """What a change of plan would cost now: ``cents`` of the first invoice, as of ``at``.

    ``tax`` is there where Stripe has reckoned it.
    """

    cents: int
    at: datetime
    tax: Reckoned | None = None


class EventSeen(msgspec.Struct, frozen=True):
    """Something happened to ``object`` (its id)."""

    id: str
    kind: str
    object: str
    created_at: datetime


class MovementSeen(msgspec.Struct, frozen=True):
    """A balance transaction: ``cents`` gross as it moved the balance (negative: out), ``fee`` what Stripe kept.

    Both, and ``net``, are in the smallest unit of ``currency``, which is the balance's. ``usd_cents`` is what was
    charged, refunded or disputed, with the same sign; None of what is none of these, or was not in US dollars; of
    a balance in US dollars it is ``cents``. ``rate`` is Stripe's own: how much of ``currency`` a unit of the
    source's currency was; None if both are the same.
    """

    id: str
    kind: str
    source: str | None
    intent: str | None
    currency: str
    cents: int
    fee: int
    net: int
    rate: Decimal | None
    usd_cents: int | None
    created_at: datetime


class StripeAccount(msgspec.Struct, frozen=True):
    """Whose key it is. ``clock`` is Stripe's time, of the answer's Date header."""

    id: str
    country: str
    currency: str
    live: bool
    clock: datetime


class WebhookSeen(msgspec.Struct, frozen=True):
    """An address to which Stripe sends events; ``kinds`` may be ``*``."""

    url: str
    enabled: bool
    kinds: Sequence[str]


class Provider(Protocol):
    """Raises PaymentsUnavailable, PaymentsRefused; Gone for what is looked up; Declined where it says so."""

    async def account(self) -> StripeAccount: ...

    async def create_customer(self, account_id: int, email: str, name: str, key: str) -> str: ...

    async def put_buyer(self, customer: str, buyer: Buyer, key: str) -> None:
        """Where the customer is, and its tax number, as Stripe needs them for the tax. Raises BuyerRefused.

        A subscription whose tax Stripe had put off for want of that is taxed again.
        """
        ...

    async def calculate_tax(self, buyer: Buyer, cents: int, *, key: str) -> Calculation:
        """Of a price in cents, as it is advertised. Raises BuyerRefused."""
        ...

    async def tax_lacks(self) -> Sequence[str]:
        """What Stripe wants to know of the seller before it can reckon a tax; empty if nothing."""
        ...

    async def delete_customer(self, customer: str) -> None:
        """Nothing of the person is left there but what Stripe must keep. One that is gone already is fine."""
        ...

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
        """A Checkout page for one payment. ``back`` is the address to return to, paid or not.

        ``cents`` are what is paid; ``taxed``: as it is advertised, and Stripe reckons the tax.
        """
        ...

    async def subscribe(self, *, customer: str, price: str, reference: UUID, back: str, key: str) -> CheckoutSeen:
        """A Checkout page for a subscription."""
        ...

    async def save_card(self, *, customer: str, reference: UUID, back: str, key: str) -> CheckoutSeen:
        """A Checkout page on which a card is saved and nothing is paid."""
        ...

    async def checkout(self, id_: str) -> CheckoutSeen: ...

    async def expire_checkout(self, id_: str) -> None:
        """One that is over already is fine."""
        ...

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
        """Charges a saved card while its owner is away. Raises Declined.

        With a ``calculation``, Stripe keeps a record of its tax, and of what goes back with refunds.
        """
        ...

    async def intent(self, id_: str) -> IntentSeen: ...

    async def intent_of(self, reference: UUID, customer: str) -> IntentSeen | None:
        """The newest of the customer for our payment, if there is one."""
        ...

    async def cards(self, customer: str) -> Sequence[Card]: ...

    async def forget_card(self, card: str) -> None: ...

    async def refund(self, *, intent: str, cents: int, reference: UUID, key: str) -> RefundSeen: ...

    async def refund_seen(self, id_: str) -> RefundSeen: ...

    async def refunds_of(self, intent: str) -> Sequence[RefundSeen]:
        """Newest first."""
        ...

    async def dispute(self, id_: str) -> DisputeSeen: ...

    async def price_for(self, version_id: int, name: str, cents: int) -> str:
        """The Price of a month of a plan's version at ``cents``, with whatever tax its buyers pay.

        Where Stripe reckons the tax, ``cents`` are as it is advertised.
        The same version and cents a second time give the same Price.
        """
        ...

    async def subscription(self, id_: str) -> SubscriptionSeen: ...

    async def preview_change(self, subscription: str, item: str, price: str, at: datetime) -> PreviewSeen:
        """The first invoice if it changed to ``price`` as of ``at`` (whole seconds), prorated to the second."""
        ...

    async def change_now(
        self, subscription: str, item: str, price: str, *, at: datetime, prorated: bool, key: str
    ) -> InvoiceSeen | None:
        """Changes it and charges the difference at once; nothing is changed if that fails (Declined).

        ``prorated``: for the time since ``at`` that is left; else nothing is charged here and None returned.
        """
        ...

    async def charge_difference(
        self, subscription: str, cents: int, what: str, *, price: str, key: str
    ) -> InvoiceSeen:
        """An invoice of one line, charged at once as the subscription is. Raises Declined; then it is void.

        Those of earlier tries that are not paid are void first. Where Stripe reckons the tax, ``cents`` are as
        prices are advertised.
        ``price`` is what the subscription is to change to: the invoice keeps it in its metadata and says it again.
        Its period is the subscription's.
        """
        ...

    async def collect(self, invoice: str, *, key: str) -> InvoiceSeen:
        """Charges what nobody has tried to charge, a draft too; what is declined Stripe tries again."""
        ...

    async def set_price(self, subscription: str, item: str, price: str, *, key: str) -> None:
        """From the next period on; nothing is charged now."""
        ...

    async def set_cancels(self, subscription: str, cancels: bool, *, key: str) -> None:
        """Whether it ends with its period."""
        ...

    async def end_subscription(self, subscription: str, *, key: str) -> None:
        """Now; open invoices are void. One that is over already is fine."""
        ...

    async def invoice(self, id_: str) -> InvoiceSeen: ...

    def events(self, since: datetime) -> AsyncIterator[Sequence[EventSeen]]:
        """All events created at or after it, newest first, a page at a time."""
        ...

    def movements(self, since: datetime) -> AsyncIterator[Sequence[MovementSeen]]:
        """All movements of the balance created at or after it, a page at a time."""
        ...

    async def webhooks(self) -> Sequence[WebhookSeen]:
        """All that the account has."""
        ...

    def read_webhook(self, body: bytes, signature: str, now: datetime) -> EventSeen:
        """Raises BadSignature."""
        ...
