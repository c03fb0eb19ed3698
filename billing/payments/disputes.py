"""What a payer's bank contests: as long as it is open, nothing of its credit is spent; lost, the money is gone.

Stripe's word counts, whatever came before. A dispute may be of a part of the payment: while it is open, all of the
lot's rest is set aside, and when it is lost, what the bank did not take returns. A dispute of what was paid for a
plan ends the plan, with the rest of its allowance: docs/decisions/0036-plans.md.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from msgspec.structs import asdict
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.clock import Clock
from billing.database import sales
from billing.database.db import Database, fetch
from billing.documents.reading import read_document
from billing.errors import BillingError, Conflict
from billing.ids import new_id
from billing.ledger.credit import Also, AlsoOfAccount, Credit, Unsent
from billing.payments import life, records
from billing.payments.following import Following
from billing.payments.notices import tell_operator, tell_owner
from billing.payments.ours import is_ours
from billing.payments.provider import DisputeSeen, EventSeen, Provider
from billing.payments.records import Dispute, Payment, Refund
from billing.payments.refunds import FAILED
from billing.payments.settling import INVOICE
from billing.prices.money import NANODOLLARS_PER_CENT
from billing.store.port import End, Lot, Transaction

log = logging.getLogger(__name__)

Ask = Callable[..., Awaitable[Sequence[Any]]]
"""A statement in a transaction, and its rows."""
UNDISPUTED = (End.EXPIRY, End.FORFEITURE)
"""Ends of a lot that nobody has paid back or contested."""

_STATE = "SELECT state FROM dispute WHERE id = $1 FOR UPDATE"
_MOVE = """
UPDATE dispute SET state = $2, due_at = $3, pay_by = $5,
    closed_at = CASE WHEN $2 IN ('won', 'lost', 'closed') THEN $4::timestamptz END
WHERE id = $1 RETURNING id
"""
_TAKEN_BY_BANK = """
UPDATE refund SET state = 'refused', failure = $2 WHERE id = ANY($1::uuid[]) AND state IN ('taken', 'failed')
RETURNING id
"""
# The invoice was credited with the refund: its credit note is posted all the same.
_STAYS_CREDITED = """
INSERT INTO allocation (cause, document_id, cents, vat_cents, kind, created_at)
SELECT id, $2, gross_cents, vat_cents, 'credited', $3 FROM refund WHERE id = ANY($1::uuid[]) RETURNING cause
"""
BY_THE_BANK = "the payer's bank took the money before"


class UnknownDispute(BillingError):
    """A dispute of a payment of ours that is not credited yet."""


class Disputes:
    """Raises DatabaseUnavailable, PaymentsUnavailable, PaymentsRefused.

    ``invoice_term``: so long an invoice is unpaid again before it is due, once its payment is lost.
    """

    def __init__(
        self,
        database: Database,
        provider: Provider,
        credit: Credit,
        following: Following,
        clock: Clock,
        invoice_term: timedelta,
    ) -> None:
        self._database = database
        self._provider = provider
        self._credit = credit
        self._following = following
        self._clock = clock
        self._invoice_term = invoice_term

    async def settle(self, event: EventSeen) -> None:
        """Brings ours to what Stripe says now.

        Raises UnknownDispute; Conflict while requests claim a part of the lot.
        """
        seen = await self._provider.dispute(event.object)
        if not await is_ours(self._database, self._provider, seen.intent):
            log.warning("%s is a dispute of a payment that is none of ours", seen.id)
            return
        payment, dispute = await self._noted(seen)
        for state in way(dispute.state, state_of(seen.status)):
            await self._step(payment, dispute, seen, state)
        await self._told(payment, seen)
        if state_of(seen.status) in ("open", "lost") and payment.subscription_id is not None:
            await self._following.contested(payment.subscription_id)

    async def _noted(self, seen: DisputeSeen) -> tuple[Payment, Dispute]:
        """The row is there first, as an inquiry, which moves nothing."""
        async with self._database.begin() as connection:
            payment = None if seen.intent is None else await records.payment_by(connection, intent=seen.intent)
            if payment is None or payment.state not in ("credited", "unwanted"):
                raise UnknownDispute(f"{seen.id} is a dispute of no payment that is credited here")
            cause = new_id(self._clock())
            new = Dispute(
                seen.id, payment.id, cause, "inquiry", seen.cents, seen.reason, seen.opened_at, seen.due_at, None
            )
            await connection.execute(insert(sales.dispute).values(asdict(new)).on_conflict_do_nothing())
            dispute = await records.dispute(connection, seen.id)
            assert dispute is not None, "disputes are never deleted"
            return payment, dispute

    async def _step(self, payment: Payment, dispute: Dispute, seen: DisputeSeen, state: str) -> None:
        now = self._clock()
        owed_again = state == "lost" and payment.kind == INVOICE and payment.state == "credited"
        pay_by = (now.astimezone(UTC) + self._invoice_term).date() if owed_again else None
        unsent = await self._unsent(payment, dispute) if state == "lost" else []
        if await self._is(dispute, state):
            return

        async def write(ask: Ask) -> None:
            """The rows, with what moves: whoever was faster has moved both."""
            ((before,),) = await ask(_STATE, dispute.id)
            if before == state:
                return
            life.require("dispute", before, state)
            await ask(_MOVE, dispute.id, state, seen.due_at, now, pay_by)
            if unsent:
                await _taken_by_bank(ask, payment, [one.id for one in unsent], now)

        async def moved(transaction: Transaction) -> None:
            await write(transaction.fetch)

        async def of_lot(transaction: Transaction, _: Lot) -> None:
            await write(transaction.fetch)

        end = await self._end_of(payment)
        if state == "lost" and payment.state == "credited":
            await self._lose(payment, dispute, unsent, end, moved, of_lot)
        elif state == "open" and payment.lot_id is not None and end in UNDISPUTED:
            await self._credit.open_dispute(payment.lot_id, also=of_lot)
        elif state == "won" and payment.lot_id is not None and end == End.DISPUTE:
            await self._credit.win_dispute(payment.lot_id, also=of_lot)
        else:
            async with self._database.begin() as connection:
                await write(partial(fetch, connection))

    async def _unsent(self, payment: Payment, dispute: Dispute) -> list[Refund]:
        """Refunds whose credit was taken and whose money the bank took before Stripe could send it.

        One of more than the bank took stays: whoever pays it otherwise pays all of it.
        """
        async with self._database.begin() as connection:
            refunds = await records.refunds_of(connection, payment.id)
        waiting = [one for one in refunds if one.state in ("taken", "failed")]
        if not waiting or payment.intent is None:
            return []
        sent: set[object] = set()
        for seen in await self._provider.refunds_of(payment.intent):
            if seen.status not in FAILED:
                sent |= {seen.id, seen.reference}
        sent.discard(None)
        left, unsent = payment.value_of(dispute.cents) * NANODOLLARS_PER_CENT, []
        for one in waiting:
            if not {one.id, one.stripe_id} & sent and one.value_nanodollars <= left:
                left -= one.value_nanodollars
                unsent.append(one)
        return unsent

    async def _is(self, dispute: Dispute, state: str) -> bool:
        async with self._database.begin() as connection:
            now = await records.dispute(connection, dispute.id)
        return now is not None and now.state == state

    async def _lose(
        self,
        payment: Payment,
        dispute: Dispute,
        refunds: Sequence[Refund],
        end: str | None,
        moved: AlsoOfAccount,
        of_lot: Also,
    ) -> None:
        """What was taken for a refund already is not taken, nor owed, once more."""
        value = payment.value_of(dispute.cents) * NANODOLLARS_PER_CENT
        vat = dispute.cents * NANODOLLARS_PER_CENT - value if payment.vat_on_top else 0
        unsent = [Unsent(one.id, one.value_nanodollars, one.vat_on_top) for one in refunds]
        if payment.kind == INVOICE:
            await self._credit.owe_back(payment.account_id, value, dispute.cause, unsent=unsent, also=moved)
        elif payment.is_of_plan:
            await self._credit.give_back_plan(
                payment.account_id, value, dispute.cause, vat=vat, unsent=unsent, also=moved
            )
        elif payment.lot_id is None:
            await self._credit.owe_back(payment.account_id, value, dispute.cause, vat=vat, also=moved)
        elif end in (End.REFUND, End.CHARGEBACK):
            await self._credit.owe_back_refunded(
                payment.lot_id, value, dispute.cause, vat=vat, unsent=unsent, also=moved
            )
        else:
            if end in UNDISPUTED:
                await self._credit.open_dispute(payment.lot_id)
            await self._credit.lose_dispute(
                payment.lot_id, value, cause=dispute.cause, vat=vat, unsent=unsent, also=of_lot
            )

    async def _end_of(self, payment: Payment) -> str | None:
        """Of the lot that was bought with it; None if there is none."""
        if payment.lot_id is None or payment.is_of_plan:
            return None
        async with self._database.begin() as connection:
            query = "SELECT end_kind FROM lot WHERE id = $1"
            return str((await fetch(connection, query, payment.lot_id))[0].end_kind)

    async def _told(self, payment: Payment, seen: DisputeSeen) -> None:
        """Once for each state. An inquiry is the operator's business alone."""
        now, state = self._clock(), state_of(seen.status)
        subject = f"dispute {seen.id} {state}"
        amount: dict[str, object] = {"state": state, "amount_nanodollars": seen.cents * NANODOLLARS_PER_CENT}
        due = None if seen.due_at is None else seen.due_at.isoformat()
        async with self._database.begin() as connection:
            body = amount | {"account": payment.account_id, "why": seen.reason, "due_at": due}
            await tell_operator(connection, "dispute", subject, body, now)
            if state in ("open", "won", "lost"):
                body = amount | await _of_invoice(connection, payment, seen.id)
                await tell_owner(connection, payment.account_id, "dispute", subject, body, now)


async def _taken_by_bank(ask: Ask, payment: Payment, refunds: Sequence[UUID], now: datetime) -> None:
    if len(await ask(_TAKEN_BY_BANK, refunds, BY_THE_BANK)) < len(refunds):
        raise Conflict(f"a refund of payment {payment.id} has come further meanwhile")
    if payment.kind == INVOICE:
        await ask(_STAYS_CREDITED, refunds, payment.document_id, now)


async def _of_invoice(connection: AsyncConnection, payment: Payment, dispute_id: str) -> dict[str, object]:
    """What its owner is told besides, if the payment is of an invoice."""
    if payment.document_id is None or payment.state != "credited":
        return {}
    invoice = await read_document(connection, payment.document_id)
    dispute = await records.dispute(connection, dispute_id)
    pay_by = None if dispute is None or dispute.pay_by is None else dispute.pay_by.isoformat()
    return {"invoice": invoice.name, "pay_by": pay_by}


def state_of(status: str) -> str:
    """What Stripe's status is here. Pure."""
    if status in ("warning_closed", "prevented"):
        return "closed"
    if status.startswith("warning_"):
        return "inquiry"
    return status if status in ("won", "lost") else "open"


def way(before: str, after: str) -> Sequence[str]:
    """The steps from the one state to the other: the bank decides on what was open. Pure."""
    if before == after:
        return ()
    return ("open", after) if before == "inquiry" and after in ("won", "lost") else (after,)
