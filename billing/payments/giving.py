"""What a paid plan brings an account, and what leaves it at the plan's end: one transaction for all of it."""

from datetime import datetime
from uuid import UUID, uuid5

import asyncpg
import msgspec
from msgspec.structs import replace
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.database import tables
from billing.documents.buyers import Buyer
from billing.documents.vat import Quote, Taxing, contained, quote_reckoned, rule_for
from billing.ids import new_id, vat_cause
from billing.ledger import lots as fifo
from billing.ledger.credit import open_lot, write_account
from billing.payments import life, rows
from billing.payments.plan_life import After, Bought, Told
from billing.payments.provider import InvoiceSeen
from billing.payments.rows import NewPayment
from billing.payments.subscribed import RUNNING, Subscription
from billing.plans.entitlements import NO_PLAN, Entitled, moved
from billing.prices.money import NANODOLLARS_PER_CENT
from billing.store.port import (
    Allowance,
    AuditEntry,
    Changes,
    End,
    Lot,
    NewLot,
    Notice,
    Source,
    Standing,
    Store,
    Transaction,
    Transfer,
)

UNWANTED = "the plan is over"
PAYMENTS_OF_INVOICES = UUID("5b0c2a6e-6f0f-5c77-9d5a-0d2f6e9b7a11")
LIMITS = ("requests_per_minute", "tokens_per_minute", "concurrent_requests")

_ROW = """
UPDATE subscription
SET version_id = $3, next_version_id = $4, state = $5, stripe_id = $6, cancels = $7, before = $8::text::jsonb,
    period_start = $9, period_end = $10, grace_until = $11, ended_at = $12, end_reason = $13, written = $2 + 1
WHERE id = $1 AND written = $2
RETURNING id
"""


def payment_of(invoice: str) -> UUID:
    """The id of the payment that an invoice of Stripe's is here."""
    return uuid5(PAYMENTS_OF_INVOICES, invoice)


def quote_of(invoice: InvoiceSeen, buyer: Buyer, taxing: Taxing) -> Quote:
    """What was paid for a plan consists of: as Stripe reckoned, or by the table where it did not."""
    gross = invoice.paid_cents
    if invoice.tax is not None:
        return quote_reckoned(gross, replace(invoice.tax, vat=invoice.tax_paid), buyer, taxing)
    rule = rule_for(buyer, taxing.rules)
    vat = contained(gross, rule.basis_points)
    value = (gross if taxing.included else gross - vat) * NANODOLLARS_PER_CENT
    return Quote(value, gross - vat, vat, gross, rule.code, rule.basis_points, rule.note)


async def write(
    store: Store, before: Subscription, after: After, buyer: Buyer | None, taxing: Taxing, now: datetime
) -> bool:
    """False if somebody else wrote the row since ``before`` was read: nothing is written then.

    ``buyer`` is there if anything is bought. Raises DatabaseUnavailable; Conflict if the account was closed since.
    """
    row = after.row
    if row.state != before.state:
        life.require("subscription", before.state, row.state)
    try:
        async with store.begin() as transaction:
            account = (await transaction.lock([row.account_id]))[row.account_id]
            changes = Changes(fifo.moment_after(await transaction.holds_of([account.id]), now))
            row, account = _entitle(before, row, account)
            if before.state in RUNNING and row.state == "ended":
                await _end_allowances(transaction, account, changes)
            if await _write_row(transaction, row, before.written) == 0:
                return False
            for bought in after.bought:
                assert buyer is not None
                quote = quote_of(bought.invoice, buyer, taxing)
                account, lot = await _give(transaction, account, bought, quote, changes)
                await _write_payment(transaction, row, bought, quote, buyer, lot, now)
            changes.notices = [_notice(row, one) for one in after.told]
            changes.audit = [_entry(row, one) for one in after.told]
            await write_account(transaction, changes, account)
    except asyncpg.UniqueViolationError:  # another subscription of the account has begun since
        return False
    return True


def _entitle(before: Subscription, row: Subscription, account: Standing) -> tuple[Subscription, Standing]:
    """The row with what comes back later, and the account with what its plan gives now."""
    has = _entitled(account)
    old, new = NO_PLAN, NO_PLAN
    if before.state in RUNNING:
        old = before.version.terms
    if row.state in RUNNING:
        new = row.version.terms
        row = replace(row, before=row.before or has)
    if row.before is not None and (before.state, before.version.id) != (row.state, row.version.id):
        gets = moved(has, row.before, old, new)
        use = {field: getattr(gets, field) for field in LIMITS}
        changed = any(getattr(has, field) != value for field, value in use.items())
        forgotten = {"requests_tat": None, "tokens_tat": None} if changed else {}
        limited: Allowance = replace(account.use, **use, **forgotten)
        account = replace(account, use=limited, priority=gets.priority, models=gets.models)
    if row.state in RUNNING:
        stops = row.version.terms.stops and row.state == "active"
        account = replace(account, stops_until=row.period_end if stops else None)
    elif before.state in RUNNING:
        account = replace(account, stops_until=None)
    return row, account


def _entitled(account: Standing) -> Entitled:
    use = {field: getattr(account.use, field) for field in LIMITS}
    return Entitled(**use, priority=account.priority, models=account.models)


async def _end_allowances(transaction: Transaction, account: Standing, changes: Changes) -> None:
    """What is left of them is forfeited; what running requests claim is left to these."""
    for lot in await transaction.lots([account.id]):
        if lot.source is Source.ALLOWANCE and lot.ends_at > changes.now:
            changes.lots.append(replace(lot, ends_at=changes.now, end=End.FORFEITURE))


async def _give(
    transaction: Transaction, account: Standing, bought: Bought, quote: Quote, changes: Changes
) -> tuple[Standing, Lot | None]:
    """The money's transfers go to ``changes``. Money that is not wanted moves nothing: it goes back."""
    if not bought.wanted:
        return account, None
    cause = payment_of(bought.invoice.id)
    payments, plans, vat = [await transaction.ledger_account(name) for name in ("payments", "plans", "vat")]
    if quote.value:
        changes.transfers.append(Transfer(cause, payments, plans, quote.value, "plan"))
    if on_top := quote.gross * NANODOLLARS_PER_CENT - quote.value:
        changes.transfers.append(Transfer(vat_cause(cause), payments, vat, on_top, "vat"))
    if not bought.allowance:
        return account, None
    new = NewLot(uuid5(cause, "allowance"), account.id, Source.ALLOWANCE, "plan", bought.allowance, bought.until)
    return await open_lot(transaction, account, new, changes.now)


async def _write_row(transaction: Transaction, row: Subscription, written: int) -> int:
    """How many rows were: none if it has been written since."""
    done = await transaction.fetch(
        _ROW,
        row.id,
        written,
        row.version.id,
        None if row.next_version is None else row.next_version.id,
        row.state,
        row.stripe_id,
        row.cancels,
        None if row.before is None else msgspec.json.encode(row.before).decode(),
        row.period_start,
        row.period_end,
        row.grace_until,
        row.ended_at,
        row.end_reason,
    )
    return len(done)


async def _write_payment(
    transaction: Transaction,
    row: Subscription,
    bought: Bought,
    quote: Quote,
    buyer: Buyer,
    lot: Lot | None,
    now: datetime,
) -> None:
    """Money that is not wanted has its refund with it: the worker sends it."""
    invoice = bought.invoice
    payment_id = payment_of(invoice.id)
    paid_at = invoice.paid_at or now
    period = (invoice.period_start if bought.kind == "plan" else paid_at, bought.until)
    new = NewPayment(
        id=payment_id,
        account_id=row.account_id,
        kind=bought.kind,
        state="credited" if bought.wanted else "unwanted",
        quote=quote,
        buyer=buyer,
        created_at=now,
        paid_at=paid_at,
        intent=invoice.intent,
        invoice=invoice.id,
        lot_id=None if lot is None else lot.id,
        subscription_id=row.id,
        version_id=bought.version.id,
        period=period if bought.wanted else (None, None),
        failure=None if bought.wanted else UNWANTED,
    )
    await rows.write(transaction.fetch, new)
    if not bought.wanted:
        await rows.give_back(transaction.fetch, payment_id, new_id(now), now)


def _notice(row: Subscription, told: Told) -> Notice:
    body: dict[str, object] = {
        "became": told.became,
        "names": dict(row.version.names),
        "next_names": None if row.next_version is None else dict(row.next_version.names),
        "until": None if told.until is None else told.until.isoformat(),
        "reason": row.end_reason,
    }
    return Notice("plan", row.account_id, told.about, body)


def _entry(row: Subscription, told: Told) -> AuditEntry:
    version = row.next_version or row.version
    subject = f"{version.plan}, version {version.id}"
    return AuditEntry(
        rows.ACTOR, f"plan {told.became}", row.account_id, subject, row.end_reason or "as Stripe says"
    )


async def tell_grace_ends(connection: AsyncConnection, row: Subscription, now: datetime) -> None:
    """Once for each renewal that is not paid."""
    told = Told("grace_ends", f"grace_ends {row.id} {row.period_end}", row.grace_until)
    notice = _notice(row, told)
    values = {"created_at": now, "kind": notice.kind, "account_id": notice.account_id, "subject": notice.subject}
    statement = insert(tables.notice).values(**values, body=notice.body)
    await connection.execute(statement.on_conflict_do_nothing())
