"""Money that goes back: first the credit leaves the account, then Stripe is told, then it is done.

Each step is durable before the next begins. A refund's id is its transfers' cause and Stripe's idempotency key, so
that whoever continues it repeats nothing.
"""

import contextlib
import logging
from collections.abc import Sequence
from uuid import UUID

from msgspec import Struct
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.clock import Clock
from billing.customers.accounts import Entry, record
from billing.database.db import Database, execute, fetch
from billing.documents.crediting import credited_of
from billing.documents.reading import read_document
from billing.documents.vat import parts
from billing.errors import BillingError, Conflict, DatabaseUnavailable
from billing.ids import new_id
from billing.ledger.credit import AlsoOfAccount, Credit, Kept, PaidBack
from billing.payments import life, records
from billing.payments.notices import tell_operator, tell_owner
from billing.payments.ours import is_ours
from billing.payments.provider import EventSeen, Gone, PaymentsRefused, Provider, RefundSeen
from billing.payments.records import Payment, Refund
from billing.payments.rows import on, write_refund
from billing.payments.settling import INVOICE, OF_CREDIT
from billing.prices.money import NANODOLLARS_PER_CENT, format_dollars
from billing.store.port import Lot, Transaction

log = logging.getLogger(__name__)

AT_ONCE = 100
STRIPE = "stripe"
"""The way of what Stripe can give back."""
CUSTOMER = "customer"
"""The actor of what customers ask for themselves."""
BY_ITSELF = "the customer asked for it"
FAILED = ("failed", "canceled")
"""Of a refund at Stripe."""
LEFT = ("asked", "taken", "sent", "done", "failed", "otherwise")
"""Refunds that count against what is left of a payment."""

_STATE = "SELECT state FROM refund WHERE id = $1 FOR UPDATE"
_LOCK_PAYMENT = "SELECT 1 FROM payment WHERE id = $1 FOR NO KEY UPDATE"
_MOVE = """
UPDATE refund SET state = $2, failure = $3, stripe_id = coalesce($4, stripe_id),
    past_ids = CASE WHEN stripe_id <> $4 THEN array_append(past_ids, stripe_id) ELSE past_ids END,
    done_at = CASE WHEN $2 IN ('done', 'otherwise') THEN $5 ELSE done_at END,
    tries = tries + CASE WHEN $2 = 'failed' THEN 1 ELSE 0 END
WHERE id = $1
"""
_AGAIN = """
UPDATE refund SET state = 'taken', stripe_id = NULL, failure = NULL, done_at = NULL,
    past_ids = CASE WHEN stripe_id IS NULL THEN past_ids ELSE array_append(past_ids, stripe_id) END
WHERE id = $1
"""
_SEEN = "SELECT id, payment_id FROM refund WHERE stripe_id = $1 OR id = $2 OR $1 = ANY(past_ids)"
_TRIES = "SELECT tries FROM refund WHERE id = $1"


class UnknownRefund(BillingError):
    """A refund that was made at Stripe and not here: nothing has left the account for it."""


class Given(Struct, frozen=True):
    """What was given back of a payment, of its value: cents."""

    value: int
    rest: int


class Refunds:
    """Raises NotFound, Conflict, DatabaseUnavailable; ValueError without a reason."""

    def __init__(self, database: Database, provider: Provider, credit: Credit, clock: Clock) -> None:
        self._database = database
        self._provider = provider
        self._credit = credit
        self._clock = clock

    async def why_not(self, account_id: int, payment_id: UUID) -> Kept | None:
        """Why the customer cannot have it back without asking the operator; None if they can."""
        async with self._database.begin() as connection:
            payment = await records.payment(connection, payment_id)
            given = await given_back(connection, payment)
            disputed = await records.disputes_of(connection, payment_id)
        if payment.account_id != account_id or payment.kind not in OF_CREDIT or payment.lot_id is None:
            return Kept.NOT_BOUGHT
        if given.value:
            return Kept.PAID_BACK
        if any(one.state in ("inquiry", "open", "lost") for one in disputed):
            return Kept.DISPUTED
        return await self._credit.why_not_refundable(payment.lot_id)

    async def ask(self, account_id: int, payment_id: UUID) -> Refund:
        """All of it, by the customer. Raises Conflict where the rule of the terms forbids it."""
        if refusal := await self.why_not(account_id, payment_id):
            raise Conflict(f"payment {payment_id} cannot be refunded: {refusal.value}")
        return await self._begin(payment_id, None, CUSTOMER, BY_ITSELF)

    async def most(self, payment_id: UUID) -> int:
        """Cents of value that the operator can give back now: what is left of it and no request claims."""
        async with self._database.begin() as connection:
            payment = await records.payment(connection, payment_id)
            given = await given_back(connection, payment)
        return min(given.rest, await self._unclaimed(payment))

    async def by_operator(
        self, payment_id: UUID, actor: str, reason: str, cents: int | None = None, refund_id: UUID | None = None
    ) -> Refund:
        """``cents`` of the value, all that is left without. Raises Conflict if there is not so much.

        The same ``refund_id`` a second time gives nothing more back.
        """
        _require_reason(reason)
        await self._require_by_stripe(payment_id)
        most = await self.most(payment_id)
        if refund_id is not None and await self._is_there(refund_id, payment_id):
            return await self._finish(refund_id)
        cents = most if cents is None else cents
        if not 0 < cents <= most:
            raise Conflict(
                f"{format_dollars(most * NANODOLLARS_PER_CENT)} can be given back of payment {payment_id}"
            )
        return await self._begin(payment_id, cents, actor, reason, refund_id)

    async def adopt(self, stripe_id: str, actor: str, reason: str) -> Refund:
        """Takes the credit of a refund that was made in Stripe's own pages; the money has gone already.

        Raises Conflict if it failed, or is of no payment of ours, or there is not so much credit left.
        """
        _require_reason(reason)
        seen = await self._provider.refund_seen(stripe_id)
        async with self._database.begin() as connection:
            found = await fetch(connection, "SELECT id FROM payment WHERE intent = $1", seen.intent)
            if not found or seen.status in FAILED:
                raise Conflict(f"{stripe_id} has given nothing back of a payment that is known here")
            payment = await records.payment(connection, found[0].id)
            known = await fetch(connection, _SEEN, stripe_id, seen.reference)
        if known:
            return await self.carry_on(known[0].id)
        return await self._begin(payment.id, payment.value_of(seen.cents), actor, reason, None, seen)

    async def again(self, refund_id: UUID, actor: str, reason: str) -> Refund:
        """The operator tries one that failed once more."""
        return await self._decide(refund_id, "taken", _AGAIN, actor, "refund tried again", reason)

    async def otherwise(self, refund_id: UUID, actor: str, reason: str) -> Refund:
        """The operator has paid one that failed by other means; ``reason`` says how.

        Raises Conflict if Stripe has paid it after all; PaymentsUnavailable while that cannot be told.
        """
        _require_reason(reason)
        async with self._database.begin() as connection:
            refund = await records.refund(connection, refund_id)
            payment = await records.payment(connection, refund.payment_id)
        if refund.state == "failed" and payment.intent is not None:
            with contextlib.suppress(Gone):
                if (seen := await self._sent(payment.intent, refund)) is not None:
                    await self._follow(refund, seen)
                    raise Conflict(f"Stripe has sent refund {refund_id} after all: it must not be paid again")
        return await self._decide(refund_id, "otherwise", None, actor, "refund paid by other means", reason)

    async def run_once(self) -> int:
        """Continues those that are not done; returns how many came further."""
        async with self._database.begin() as connection:
            waiting = await records.refunds_in(connection, "asked", "taken", limit=AT_ONCE)
        return await self._continue_all(waiting)

    async def look(self) -> int:
        """Asks Stripe after those that it has and has not finished; returns how many came further."""
        async with self._database.begin() as connection:
            sent = await records.refunds_in(connection, "sent", limit=AT_ONCE)
        return await self._continue_all(sent)

    async def carry_on(self, refund_id: UUID) -> Refund:
        """As far as it comes now. Raises PaymentsUnavailable: then the worker goes on with it."""
        while True:
            async with self._database.begin() as connection:
                refund = await records.refund(connection, refund_id)
                payment = await records.payment(connection, refund.payment_id)
            if refund.state == "asked":
                await self._take(payment, refund)
            elif refund.state == "taken":
                await self._send(payment, refund)
            elif refund.state == "sent" and refund.stripe_id is not None:
                seen = await self._provider.refund_seen(refund.stripe_id)
                if not await self._follow(refund, seen):
                    return refund
            else:
                return refund

    async def settle(self, event: EventSeen) -> None:
        """Of an event about a refund.

        Raises UnknownRefund for one of a payment of ours that was not asked for here.
        """
        seen = await self._provider.refund_seen(event.object)
        async with self._database.begin() as connection:
            known = await fetch(connection, _SEEN, seen.id, seen.reference)
        if not known and not await is_ours(self._database, self._provider, seen.intent):
            log.warning("%s gave back a payment that is none of ours", seen.id)
            return
        if not known:
            raise UnknownRefund(
                f"{seen.id} was refunded at Stripe and not here: nothing has left the account for it"
            )
        async with self._database.begin() as connection:
            refund = await records.refund(connection, known[0].id)
        if refund.state == "asked" or seen.id in refund.past_ids:
            return
        if refund.stripe_id in (None, seen.id) or (refund.state == "failed" and seen.status not in FAILED):
            await self._follow(refund, seen)

    async def _require_by_stripe(self, payment_id: UUID) -> None:
        async with self._database.begin() as connection:
            payment = await records.payment(connection, payment_id)
        if payment.way != STRIPE:
            raise Conflict("it came by bank: pay it back by bank, and note that by `appliance invoice paid-back`")

    async def _is_there(self, refund_id: UUID, payment_id: UUID) -> bool:
        async with self._database.begin() as connection:
            return any(one.id == refund_id for one in await records.refunds_of(connection, payment_id))

    async def _begin(
        self,
        payment_id: UUID,
        cents: int | None,
        actor: str,
        reason: str,
        refund_id: UUID | None = None,
        made: RefundSeen | None = None,
    ) -> Refund:
        """``cents`` of value; None is all of a purchase of which nothing was used. ``made`` at Stripe already.

        One that somebody else has begun meanwhile is gone on with.
        """
        now = self._clock()
        refund_id = refund_id or new_id(now)
        async with self._database.begin() as connection:
            await execute(connection, _LOCK_PAYMENT, payment_id)
            stripe_id = None if made is None else made.id
            reference = refund_id if made is None else made.reference
            known = await fetch(connection, _SEEN, stripe_id, reference)
            if known and known[0].payment_id != payment_id:
                raise Conflict(f"refund {known[0].id} is of another payment")
            if not known:
                await self._ask(connection, payment_id, cents, actor, reason, refund_id, made)
        return await self._finish(known[0].id if known else refund_id)

    async def _ask(
        self,
        connection: AsyncConnection,
        payment_id: UUID,
        cents: int | None,
        actor: str,
        reason: str,
        refund_id: UUID,
        made: RefundSeen | None,
    ) -> None:
        """Writes it down, as ``_begin`` has it. Raises Conflict if the payment does not allow it."""
        now = self._clock()
        payment = await records.payment(connection, payment_id)
        if payment.state != "credited":
            raise Conflict(f"payment {payment_id} is {payment.state}")
        given = await given_back(connection, payment)
        cents = given.rest if cents is None and not given.value else cents
        if cents is None or cents > given.rest:
            raise Conflict(f"payment {payment_id} is paid back already, or a part of it")
        if payment.kind == INVOICE:
            net, vat = await _of_invoice(connection, payment, cents)
        else:
            net, vat = _net_and_vat(payment, given.value, cents)
        if made is not None and net + vat != made.cents:
            raise Conflict(f"{made.id} gives back an amount whose tax cannot be told")
        new = Refund(
            id=refund_id,
            payment_id=payment_id,
            state="asked",
            value_nanodollars=cents * NANODOLLARS_PER_CENT,
            net_cents=net,
            vat_cents=vat,
            gross_cents=net + vat,
            actor=actor,
            reason=reason,
            created_at=now,
            stripe_id=None if made is None else made.id,
        )
        await write_refund(on(connection), new)
        await record(
            connection, Entry(now, actor, "refund asked", payment.account_id, f"refund {refund_id}", reason)
        )

    async def _finish(self, refund_id: UUID) -> Refund:
        """As far as it comes now; the worker goes on with it. Raises Conflict if it is refused."""
        try:
            refund = await self.carry_on(refund_id)
        except DatabaseUnavailable:
            raise
        except BillingError as error:
            log.warning("refund %s waits: %s", refund_id, error)
            async with self._database.begin() as connection:
                refund = await records.refund(connection, refund_id)
        if refund.state == "refused":
            raise Conflict(f"payment {refund.payment_id} cannot be refunded: {refund.failure}")
        return refund

    async def _take(self, payment: Payment, refund: Refund) -> None:
        """Out of the account, and the row with it, in one transaction."""
        vat = refund.vat_on_top

        async def taken(transaction: Transaction) -> None:
            ((state,),) = await transaction.fetch(_STATE, refund.id)
            if state == "asked":
                await transaction.fetch("UPDATE refund SET state = 'taken' WHERE id = $1", refund.id)

        async def of_lot(transaction: Transaction, _: Lot) -> None:
            await taken(transaction)

        try:
            if payment.is_of_plan:
                value = refund.value_nanodollars
                await self._credit.give_back_plan(payment.account_id, value, refund.id, vat=vat, also=taken)
            elif payment.kind == INVOICE:
                await self._take_of_invoice(payment, refund, taken)
            elif payment.lot_id is None:
                raise Conflict("nothing was bought with it that could be taken")
            elif refund.actor == CUSTOMER:
                await self._credit.refund(
                    payment.lot_id, refund.actor, refund.reason, cause=refund.id, vat=vat, also=of_lot
                )
            else:
                await self._credit.give_back(
                    payment.lot_id, refund.value_nanodollars, refund.actor, refund.reason, refund.id,
                    vat=vat, also=of_lot,
                )  # fmt: skip
        except Conflict as error:
            await self._move(refund, "refused", str(error))

    async def _take_of_invoice(self, payment: Payment, refund: Refund, taken: AlsoOfAccount) -> None:
        """The invoice is credited by it: nothing changes of what the account owes."""
        async with self._database.begin() as connection:
            assert payment.document_id is not None, "it pays an invoice"
            invoice = await read_document(connection, payment.document_id)
            credited = await credited_of(connection, invoice)
        vat = refund.vat_cents * NANODOLLARS_PER_CENT if credited.on_top else 0
        part = PaidBack(refund.id, refund.value_nanodollars, vat)
        reason = f"invoice {invoice.name}: {refund.reason}"
        await self._credit.give_back_invoiced(payment.account_id, [part], refund.actor, reason, also=taken)

    async def _send(self, payment: Payment, refund: Refund) -> None:
        if payment.intent is None:
            await self._move(refund, "failed", "Stripe has no payment to give back")
            return
        async with self._database.begin() as connection:
            ((tries,),) = await fetch(connection, _TRIES, refund.id)
        key = f"{refund.id}-{tries}"
        try:
            seen = await self._sent(payment.intent, refund) or await self._provider.refund(
                intent=payment.intent, cents=refund.gross_cents, reference=refund.id, key=key
            )
        except (PaymentsRefused, Gone) as error:
            await self._move(refund, "failed", str(error))
            return
        await self._move(refund, "sent", None, seen.id)
        await self._follow(refund, seen)

    async def _sent(self, intent: str, refund: Refund) -> RefundSeen | None:
        """What Stripe has of it already: it forgets keys after a while."""
        for seen in await self._provider.refunds_of(intent):
            if (seen.reference == refund.id or seen.id == refund.stripe_id) and seen.status not in FAILED:
                return seen
        return None

    async def _follow(self, refund: Refund, seen: RefundSeen) -> bool:
        """To where Stripe says that it is; whether that is further than before."""
        if seen.status == "succeeded":
            return await self._move(refund, "done", None, seen.id)
        if seen.status in FAILED:
            return await self._move(refund, "failed", seen.failure or seen.status, seen.id)
        return await self._move(refund, "sent", None, seen.id)

    async def _move(self, refund: Refund, state: str, failure: str | None, stripe_id: str | None = None) -> bool:
        """With what has to be told of it. False where there is no such step from where it is by now."""
        now = self._clock()
        async with self._database.begin() as connection:
            before = (await fetch(connection, _STATE, refund.id))[0].state
            by_way = before == "taken" or (before == "failed" and state == "done")
            if by_way and state in ("done", "failed") and stripe_id is not None:
                await execute(connection, _MOVE, refund.id, "sent", None, stripe_id, now)
                before = "sent"
            if not life.may("refund", before, state):
                return False
            await execute(connection, _MOVE, refund.id, state, failure, stripe_id, now)
            payment = await records.payment(connection, refund.payment_id)
            subject = f"refund {refund.id}"
            amount = {"amount_nanodollars": refund.gross_cents * NANODOLLARS_PER_CENT}
            if state == "done":
                await tell_owner(connection, payment.account_id, "refunded", subject, amount, now)
            if state == "failed":
                body = amount | {"account": payment.account_id, "why": failure or ""}
                await tell_operator(connection, "refund_failed", f"{subject} {now.isoformat()}", body, now)
        return True

    async def _continue_all(self, refunds: Sequence[Refund]) -> int:
        further = 0
        for refund in refunds:
            try:
                further += (await self.carry_on(refund.id)).state != refund.state
            except DatabaseUnavailable:
                raise
            except BillingError as error:
                log.warning("refund %s waits: %s", refund.id, error)
        return further

    async def _unclaimed(self, payment: Payment) -> int:
        """Whole cents: what is below one stays with the account."""
        if payment.state != "credited":
            return 0
        if payment.is_of_plan or (payment.kind == INVOICE and payment.way == STRIPE):
            return payment.value_nanodollars // NANODOLLARS_PER_CENT
        if payment.lot_id is None:
            return 0
        return await self._credit.unclaimed(payment.lot_id) // NANODOLLARS_PER_CENT

    async def _decide(
        self, refund_id: UUID, state: str, statement: str | None, actor: str, action: str, reason: str
    ) -> Refund:
        _require_reason(reason)
        now = self._clock()
        async with self._database.begin() as connection:
            refund = await records.refund(connection, refund_id, locked=True)
            life.require("refund", refund.state, state)
            if statement is None:
                await execute(connection, _MOVE, refund_id, state, refund.failure, None, now)
            else:
                await execute(connection, statement, refund_id)
            payment = await records.payment(connection, refund.payment_id)
            await record(connection, Entry(now, actor, action, payment.account_id, f"refund {refund_id}", reason))
            return await records.refund(connection, refund_id)


async def given_back(connection: AsyncConnection, payment: Payment) -> Given:
    """With what is about to be. The rest is also less what the payer's bank has taken back."""
    refunds = await records.refunds_of(connection, payment.id)
    disputes = await records.disputes_of(connection, payment.id)
    value = sum(one.value_nanodollars for one in refunds if one.state in LEFT) // NANODOLLARS_PER_CENT
    taken = sum(payment.value_of(one.cents) for one in disputes if one.state in ("open", "lost"))
    return Given(value, max(0, payment.value_nanodollars // NANODOLLARS_PER_CENT - value - taken))


async def _of_invoice(connection: AsyncConnection, payment: Payment, cents: int) -> tuple[int, int]:
    """As ``_net_and_vat``, with so much tax that all of the invoice's is in all that is credited of it."""
    assert payment.document_id is not None, "it pays an invoice"
    invoice = await read_document(connection, payment.document_id)
    vat = (await credited_of(connection, invoice)).vat_of_next(invoice, cents)
    return cents - vat, vat


def _net_and_vat(payment: Payment, given: int, cents: int) -> tuple[int, int]:
    """Of ``cents`` of the payment's value, after ``given`` of it were given back. Pure."""
    price, gross, tax = payment.price_cents, payment.gross_cents, payment.vat_cents
    until, before = parts(given + cents, price, gross, tax), parts(given, price, gross, tax)
    return until[0] - before[0], until[1] - before[1]


def _require_reason(reason: str) -> None:
    if not reason.strip():
        raise ValueError("a reason is needed")
