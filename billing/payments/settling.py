"""From "Stripe says that it is paid" to the lot of credit: once, whoever asks, however often and in what order.

Stripe is asked outside of any transaction. What it says is then taken over in one: the lot with its transfers, and
the payment's row, under the account's lock and the row's.
"""

from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from billing.clock import Clock
from billing.database.db import Database, fetch
from billing.documents.settled import SETTLED
from billing.documents.vat import Quote, Taxing, quote_reckoned
from billing.errors import BillingError, Conflict
from billing.ids import new_id
from billing.ledger.credit import Also, AlsoOfAccount, Credit
from billing.payments import records, rows
from billing.payments.provider import (
    CURRENCY,
    CheckoutSeen,
    CheckoutStatus,
    EventSeen,
    Gone,
    IntentSeen,
    Provider,
)
from billing.payments.records import Payment
from billing.payments.rows import take_tax
from billing.payments.wallets import keep_card, pause
from billing.prices.money import NANODOLLARS_PER_CENT, format_dollars
from billing.store.port import Lot, Transaction

OF_CREDIT = ("credit", "top_up")
INVOICE = "invoice"
CUSTOMER = "customer"
SUCCEEDED = "succeeded"
OVER = ("requires_payment_method", "canceled")
"""Of an intent: the try has failed. On a page, its customer may still try another card."""
NO_CREDIT = "the account takes no credit"

_LEFT_OF_INVOICE = f"""
SELECT d.gross_cents - coalesce(s.cents, 0), p.gross_cents
FROM payment p JOIN document d ON d.id = p.document_id LEFT JOIN ({SETTLED}) s ON s.document_id = d.id
WHERE p.id = $1
"""


class Mismatch(BillingError):
    """What Stripe has is not what was ordered: nothing is credited before the operator has looked."""


class Settling:
    """Raises NotFound, DatabaseUnavailable, PaymentsUnavailable, PaymentsRefused, Mismatch."""

    def __init__(
        self, database: Database, provider: Provider, credit: Credit, taxing: Taxing, clock: Clock
    ) -> None:
        self._database = database
        self._provider = provider
        self._credit = credit
        self._taxing = taxing
        self._clock = clock

    async def settle(self, payment_id: UUID, page: CheckoutSeen | None = None) -> Payment:
        """Brings a payment to what Stripe says of it now, but for those of plans; returns it as it is then.

        ``page``: its page, where Stripe was asked for it just now.
        """
        payment, customer = await self._known(payment_id)
        if payment.kind not in (*OF_CREDIT, INVOICE) or payment.state in ("credited", "unwanted"):
            return payment
        page, intent = await self._asked(payment, customer, page)
        payment = await self._taxed(payment, page)
        if intent is not None and intent.status == SUCCEEDED:
            await self._paid(payment, intent, customer)
        elif page is not None and page.status is CheckoutStatus.EXPIRED:
            await self._over(payment, "expired", None, intent)
        elif payment.kind == "top_up" and intent is not None and intent.status in (*OVER, "requires_action"):
            await self._over(payment, "failed", intent.failure or intent.status, intent)
        async with self._database.begin() as connection:
            return await records.payment(connection, payment_id)

    async def settle_checkout(self, page: CheckoutSeen) -> None:
        """Of a page that Stripe tells of. One that is not ours, or of a subscription, is nobody's here."""
        if page.setup is not None:
            await self._keep_newest_card(page)
        elif page.reference is not None and page.subscription is None:
            await self._settle_if_ours(page.reference, page=page)

    async def settle_intent(self, event: EventSeen) -> None:
        """Of an event about a PaymentIntent."""
        intent = await self._provider.intent(event.object)
        if intent.reference is not None:
            await self._settle_if_ours(intent.reference, intent=intent.id)

    async def _settle_if_ours(
        self, payment_id: UUID, page: CheckoutSeen | None = None, intent: str | None = None
    ) -> None:
        """Keeps what Stripe calls it, in case that whoever made it was killed before it was noted."""
        async with self._database.begin() as connection:
            known = await fetch(connection, "SELECT kind FROM payment WHERE id = $1", payment_id)
            if not known or known[0].kind not in (*OF_CREDIT, INVOICE):
                return
            await rows.note_ids(connection, payment_id, None if page is None else page.id, intent)
        await self.settle(payment_id, page)

    async def _known(self, payment_id: UUID) -> tuple[Payment, str | None]:
        async with self._database.begin() as connection:
            payment = await records.payment(connection, payment_id)
            return payment, (await records.wallet(connection, payment.account_id)).customer

    async def _asked(
        self, payment: Payment, customer: str | None, page: CheckoutSeen | None
    ) -> tuple[CheckoutSeen | None, IntentSeen | None]:
        if page is None or page.id != payment.checkout:
            page = await self._page(payment)
        intent = payment.intent or (None if page is None else page.intent)
        if intent is not None:
            return page, await self._provider.intent(intent)
        if page is None and customer is not None:
            return None, await self._provider.intent_of(payment.id, customer)
        return page, None

    async def _page(self, payment: Payment) -> CheckoutSeen | None:
        try:
            return None if payment.checkout is None else await self._provider.checkout(payment.checkout)
        except Gone:
            return None

    async def _taxed(self, payment: Payment, page: CheckoutSeen | None) -> Payment:
        """With the tax that Stripe has reckoned on the page that was paid."""
        taxed = None if page is None else reckoned_on(page, payment, self._taxing)
        if taxed is None:
            return payment
        async with self._database.begin() as connection:
            await take_tax(connection, payment.id, taxed)
            return await records.payment(connection, payment.id)

    async def _paid(self, payment: Payment, intent: IntentSeen, customer: str | None) -> None:
        if different := differences(payment, intent, customer):
            async with self._database.begin() as connection:
                await rows.note_difference(connection, payment.id, different)
            raise Mismatch(f"payment {payment.id} is paid, but {different}")
        await self._keep_card(payment, intent, customer)
        paid_at = intent.paid_at or self._clock()
        try:
            await self._credited(payment, paid_at, intent.id)
        except Conflict:
            await self._unwanted(payment, paid_at, intent.id)

    async def _credited(self, payment: Payment, paid_at: datetime, intent: str) -> None:
        """A lot of credit, or less of what the account owes. Raises Conflict where neither can be."""
        if payment.kind == INVOICE:
            amount = payment.gross_cents * NANODOLLARS_PER_CENT
            also = pays_invoice(payment.id, paid_at, intent)
            await self._credit.pay_receivable(payment.account_id, amount, payment.id, CUSTOMER, also=also)
            return
        await self._credit.purchase(
            payment.account_id,
            payment.value_nanodollars,
            "bought",
            payment.id,
            vat=payment.vat_on_top,
            also=_credits(payment.id, paid_at, intent),
        )

    async def _unwanted(self, payment: Payment, paid_at: datetime, intent: str) -> None:
        """Noted with the refund that the worker makes of it."""
        now = self._clock()
        async with self._database.begin() as connection:
            await rows.note_unwanted(rows.on(connection), payment.id, paid_at, NO_CREDIT, intent, new_id(now), now)

    async def _over(self, payment: Payment, state: str, failure: str | None, intent: IntentSeen | None) -> None:
        async with self._database.begin() as connection:
            await over(connection, payment, state, failure, None if intent is None else intent.id, self._clock())

    async def _keep_newest_card(self, page: CheckoutSeen) -> None:
        """Of a page on which a card was saved and nothing paid, whose customer has not come back."""
        if page.customer is None or page.status is not CheckoutStatus.COMPLETE:
            return
        cards = await self._provider.cards(page.customer)
        async with self._database.begin() as connection:
            owners = await fetch(connection, "SELECT account_id FROM wallet WHERE customer = $1", page.customer)
            for owner in owners if cards else ():
                await keep_card(connection, owner.account_id, cards[0])

    async def _keep_card(self, payment: Payment, intent: IntentSeen, customer: str | None) -> None:
        """The card that was saved at a purchase, for top-ups. First: nobody looks again at what is credited."""
        if payment.kind != "credit" or customer is None or intent.card is None:
            return
        saved = [card for card in await self._provider.cards(customer) if card.id == intent.card]
        if saved:
            async with self._database.begin() as connection:
                await keep_card(connection, payment.account_id, saved[0])


async def over(
    connection: AsyncConnection,
    payment: Payment,
    state: str,
    failure: str | None,
    intent: str | None,
    now: datetime,
) -> None:
    """Not paid. A top-up that failed is the last one before its owner has looked."""
    noted = await rows.note_over(connection, payment.id, state, failure, intent)
    if noted and payment.kind == "top_up" and state == "failed":
        await pause(connection, payment.account_id, failure or "declined", f"top-up {payment.id}", now)


def reckoned_on(page: CheckoutSeen, payment: Payment, taxing: Taxing) -> Quote | None:
    """What a page asks for, if Stripe reckoned its tax and the price is the one that was ordered. Pure."""
    if page.tax is None or payment.vat_reason is None:
        return None
    quoted = quote_reckoned(page.cents, page.tax, payment.buyer, taxing)
    return quoted if quoted.value == payment.value_nanodollars else None


def differences(payment: Payment, intent: IntentSeen, customer: str | None) -> str | None:
    """What of a paid intent is not as it was ordered, in words; None if all is. Pure."""
    found = []
    if intent.reference != payment.id:
        found.append("it is for another payment")
    if intent.currency != CURRENCY:
        found.append(f"in {intent.currency}, not {CURRENCY}")
    if intent.received != payment.gross_cents:
        found.append(f"{intent.received} cents came, not {payment.gross_cents}")
    if customer is not None and intent.customer != customer:
        found.append("by another customer of Stripe's")
    return "; ".join(found) or None


def _credits(payment_id: UUID, paid_at: datetime, intent: str) -> Also:
    async def also(transaction: Transaction, lot: Lot) -> None:
        if await rows.may_be_credited(transaction.fetch, payment_id):
            await rows.note_credited(transaction.fetch, payment_id, paid_at, lot.id, intent)

    return also


def pays_invoice(payment_id: UUID, paid_at: datetime, intent: str | None) -> AlsoOfAccount:
    """Raises Conflict if not so much of the invoice is left, in the transaction that lowers what is owed."""

    async def also(transaction: Transaction) -> None:
        if not await rows.may_be_credited(transaction.fetch, payment_id):
            return
        ((left, asked),) = await transaction.fetch(_LEFT_OF_INVOICE, payment_id)
        if asked > left:
            raise Conflict(f"of the invoice {format_dollars(left * NANODOLLARS_PER_CENT)} is left to be paid")
        await rows.note_credited(transaction.fetch, payment_id, paid_at, None, intent)

    return also
