"""The life of a lot: bought, granted or allowed; refunded, disputed, owed. docs/money.md has the rules.

Each operation is one transaction under the account's lock. Those that bring credit or a payment are given a
``cause``: the same cause a second time changes nothing. ``vat`` is nano-dollars that were paid beside the value.
``also`` writes what a room above keeps of it, in the same transaction, also that second time.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from enum import Enum
from typing import NamedTuple
from uuid import UUID

from msgspec.structs import replace

from billing.clock import Clock
from billing.errors import Conflict, NotFound
from billing.ids import new_id, vat_cause
from billing.ledger import lots as fifo
from billing.ledger.sweep import sweep_due
from billing.prices.money import format_dollars
from billing.store.port import (
    AuditEntry,
    Changes,
    End,
    Lot,
    NewLot,
    Source,
    Standing,
    Store,
    Transaction,
    Transfer,
)

REFUND_DAYS = 30
MOST_BALANCE = 9 * 10**18  # nano-dollars: what a column of 64 bits holds
CLOSED = ("terminated", "deleting", "deleted")

Also = Callable[[Transaction, Lot], Awaitable[None]]
"""Given the lot as it is then. What it raises undoes the whole."""
AlsoOfAccount = Callable[[Transaction], Awaitable[None]]


class Kept(Enum):
    """Why a purchase cannot be given back."""

    NOT_BOUGHT = "it was not bought"
    OVER = "it is over"
    USED = "a part of it was used"
    OLD = "it was bought too long ago"
    CLAIMED = "a request that is running may need it"
    PAID_BACK = "it is paid back already, or a part of it"
    DISPUTED = "its payer's bank has asked for it"


class Unsent(NamedTuple):
    """A refund whose value has left the account and whose money has not left us; ``cause`` is of its transfers."""

    cause: UUID
    value: int
    vat: int


class PaidBack(NamedTuple):
    """A part of an invoice that was paid and is credited; ``vat`` of it is not owed to the state any more."""

    cause: UUID
    amount: int
    vat: int


class Credit:
    """Amounts are nano-dollars. Raises NotFound, Conflict, DatabaseUnavailable; ValueError for a bad argument."""

    def __init__(self, store: Store, clock: Clock, *, refund_days: int = REFUND_DAYS) -> None:
        self._store = store
        self._clock = clock
        self._refund_days = refund_days

    async def purchase(
        self, account_id: int, amount: int, reason: str, cause: UUID, *, vat: int = 0, also: Also | None = None
    ) -> Lot:
        """Terms: "Credits expire 1 year after purchase"."""
        now = self._clock()
        new = NewLot(cause, account_id, Source.PURCHASE, reason, amount, fifo.one_year_after(now))
        return await self._open(new, now, vat=vat, also=also)

    async def grant(
        self,
        account_id: int,
        amount: int,
        reason: str,
        cause: UUID,
        actor: str,
        expires_at: datetime | None = None,
    ) -> Lot:
        now = self._clock()
        expires_at = expires_at or fifo.one_year_after(now)
        new = NewLot(cause, account_id, Source.GRANT, reason, amount, expires_at)
        entry = AuditEntry(actor, "credit granted", account_id, format_dollars(amount), reason)
        return await self._open(new, now, entry)

    async def refund(
        self,
        lot_id: int,
        actor: str,
        reason: str,
        *,
        cause: UUID | None = None,
        vat: int = 0,
        also: Also | None = None,
    ) -> int:
        """What goes back to whoever paid. Terms: "if they remain completely unused for 30 days"."""
        async with self._lot(lot_id) as (transaction, lot, account, now):
            if cause is None or not await transaction.moved(cause):
                if refusal := await self._why_not_refundable(transaction, lot, now):
                    raise Conflict(f"lot {lot_id} cannot be refunded: {refusal.value}")
                closed = replace(lot, remaining=0, ends_at=now, end=End.REFUND)
                await self._give_back(transaction, account, closed, lot.amount, cause, vat, actor, reason, now)
            await _also(transaction, lot_id, also)
            return lot.amount

    async def why_not_refundable(self, lot_id: int) -> Kept | None:
        """Why the rule of the terms forbids it now; None if it does not."""
        async with self._lot(lot_id) as (transaction, lot, _, now):
            return await self._why_not_refundable(transaction, lot, now)

    async def unclaimed(self, lot_id: int) -> int:
        """What the operator could give back of a purchase: the rest of it that no running request may need."""
        async with self._lot(lot_id) as (transaction, lot, _, now):
            return await _unclaimed(transaction, lot, now)

    async def give_back(
        self,
        lot_id: int,
        amount: int,
        actor: str,
        reason: str,
        cause: UUID,
        *,
        vat: int = 0,
        also: Also | None = None,
    ) -> None:
        """A part of a purchase goes back to whoever paid, whatever the rule: by the operator."""
        _require_positive(amount)
        async with self._lot(lot_id) as (transaction, lot, account, now):
            if not await transaction.moved(cause):
                if amount > (free := await _unclaimed(transaction, lot, now)):
                    raise Conflict(f"{format_dollars(free)} of lot {lot_id} can be given back, not more")
                less = replace(lot, remaining=lot.remaining - amount)
                await self._give_back(transaction, account, less, amount, cause, vat, actor, reason, now)
            await _also(transaction, lot_id, also)

    @staticmethod
    async def _give_back(
        transaction: Transaction,
        account: Standing,
        lot: Lot,
        amount: int,
        cause: UUID | None,
        vat: int,
        actor: str,
        reason: str,
        now: datetime,
    ) -> None:
        """``lot`` as it is after it."""
        cause = cause or new_id(now)
        payments = await transaction.ledger_account("payments")
        changes = Changes(
            now,
            lots=[lot],
            transfers=[
                Transfer(cause, lot.id, payments, amount, "refund"),
                *await _vat_back(transaction, cause, vat),
            ],
            audit=[AuditEntry(actor, "purchase refunded", account.id, f"lot {lot.id}", reason)],
        )
        await write_account(transaction, changes, replace(account, balance=account.balance - amount))

    async def give_back_plan(
        self,
        account_id: int,
        value: int,
        cause: UUID,
        *,
        vat: int = 0,
        unsent: Sequence[Unsent] = (),
        also: AlsoOfAccount | None = None,
    ) -> None:
        """What was paid for a plan goes back to whoever paid; what the plan gave is not touched.

        ``unsent`` are undone with it: their value is a part of this one.
        """
        _require_positive(value)
        async with self._locked(account_id) as (transaction, _, now):
            if not await transaction.moved(cause):
                plans, payments = await _house(transaction, "plans", "payments")
                transfers = [Transfer(cause, plans, payments, value, "plan_refund")]
                transfers += await _vat_back(transaction, cause, vat)
                transfers += await _undone(transaction, unsent, plans, "plan")
                await transaction.write(Changes(now, transfers=transfers))
            if also is not None:
                await also(transaction)

    async def give_back_invoiced(
        self,
        account_id: int,
        parts: Sequence[PaidBack],
        actor: str,
        reason: str,
        *,
        also: AlsoOfAccount,
    ) -> None:
        """What was paid of an invoice goes back, as it is not owed after all: the account owes what it did."""
        async with self._locked(account_id) as (transaction, account, now):
            await also(transaction)
            receivable = await transaction.ledger_account("receivable", account_id)
            payments, written_off, state = await _house(transaction, "payments", "written_off", "vat")
            changes = Changes(now)
            for cause, amount, vat in parts:
                _require_positive(amount)
                if await transaction.moved(cause):
                    continue
                changes.transfers += [
                    Transfer(cause, written_off, receivable, amount - vat, "write_off"),
                    Transfer(cause, receivable, payments, amount, "invoice_refund"),
                ]
                if vat:
                    changes.transfers.append(Transfer(cause, state, receivable, vat, "vat_credited"))
                changes.audit.append(
                    AuditEntry(actor, "invoice paid back", account_id, format_dollars(amount), reason)
                )
            await write_account(transaction, changes, account)

    async def owe_back(
        self,
        account_id: int,
        amount: int,
        cause: UUID,
        *,
        vat: int = 0,
        unsent: Sequence[Unsent] = (),
        also: AlsoOfAccount | None = None,
    ) -> None:
        """The bank took a payment back of which no credit is left to take: the account owes it.

        ``unsent`` are of an invoice that is credited: so much less is owed.
        """
        _require_positive(amount)
        async with self._locked(account_id) as (transaction, account, now):
            if not await transaction.moved(cause):
                covered = _covered(unsent, amount)
                transfers = await _vat_back(transaction, cause, vat)
                transfers += await _owed_back(transaction, account_id, cause, amount)
                receivable = await transaction.ledger_account("receivable", account_id)
                transfers += await _undone(transaction, unsent, receivable, "payment")
                changes = Changes(now, transfers=transfers)
                owed = account.owed + amount - covered
                await write_account(transaction, changes, replace(account, owed=owed))
            if also is not None:
                await also(transaction)

    async def owe_back_refunded(
        self,
        lot_id: int,
        amount: int,
        cause: UUID,
        *,
        vat: int = 0,
        unsent: Sequence[Unsent] = (),
        also: AlsoOfAccount | None = None,
    ) -> None:
        """As ``owe_back``, of a lot that was refunded: what left it for ``unsent`` covers it first."""
        _require_positive(amount)
        async with self._lot(lot_id) as (transaction, _, account, now):
            if not await transaction.moved(cause):
                covered = _covered(unsent, amount)
                transfers = await _vat_back(transaction, cause, vat)
                transfers += await _set_aside_again(transaction, lot_id, cause, unsent)
                transfers += await _owed_back(transaction, account.id, cause, amount - covered)
                if covered:
                    disputed, payments = await _house(transaction, "disputed", "payments")
                    transfers.append(Transfer(cause, disputed, payments, covered, "chargeback"))
                owner = replace(account, owed=account.owed + amount - covered)
                await write_account(transaction, Changes(now, transfers=transfers), owner)
            if also is not None:
                await also(transaction)

    async def _why_not_refundable(self, transaction: Transaction, lot: Lot, now: datetime) -> Kept | None:
        if lot.source is not Source.PURCHASE:
            return Kept.NOT_BOUGHT
        if lot.end is not End.EXPIRY or lot.ends_at <= now:
            return Kept.OVER
        if lot.remaining != lot.amount:
            return Kept.USED
        if now > lot.acquired_at + timedelta(days=self._refund_days):
            return Kept.OLD
        of_account = [lot.account_id]
        claimed = fifo.claims(await transaction.lots(of_account), await transaction.holds_of(of_account), now)
        return Kept.CLAIMED if claimed.get(lot.id) else None

    async def open_dispute(self, lot_id: int, *, also: Also | None = None) -> Lot:
        """The payment of the lot is disputed: what no request claims of it is set aside."""
        async with self._lot(lot_id) as (transaction, lot, account, now):
            if lot.source is not Source.PURCHASE:
                raise Conflict(f"lot {lot_id} was not bought")
            if lot.end in (End.DISPUTE, End.CHARGEBACK, End.REFUND):
                raise Conflict(f"lot {lot_id} is over by {lot.end.value}")
            moment = fifo.moment_after(await transaction.holds_of([account.id]), now)
            disputed = replace(lot, ends_at=min(lot.ends_at, moment), end=End.DISPUTE)
            await write_account(transaction, Changes(moment, lots=[disputed]), account)
            return await _also(transaction, lot_id, also)

    async def win_dispute(self, lot_id: int, *, also: Also | None = None) -> Lot:
        """What was set aside comes back; what is over by now leaves again."""
        async with self._lot(lot_id) as (transaction, lot, account, now):
            _require_disputed(lot)
            won = _released(lot, lot.frozen, account, now)
            changes = Changes(now, lots=[won])
            if lot.frozen:
                disputed = await transaction.ledger_account("disputed")
                changes.transfers.append(Transfer(new_id(now), disputed, lot_id, lot.frozen, "release"))
            await write_account(transaction, changes, replace(account, balance=account.balance + lot.frozen))
            return await _also(transaction, lot_id, also)

    async def lose_dispute(
        self,
        lot_id: int,
        amount: int | None = None,
        *,
        cause: UUID | None = None,
        vat: int = 0,
        unsent: Sequence[Unsent] = (),
        also: Also | None = None,
    ) -> int:
        """What was set aside goes back to the payer; returns the shortfall, which the account owes.

        ``amount`` is what the bank took of the lot's value, all of it without; what was set aside beyond returns.
        What left the lot for ``unsent`` is taken first.
        """
        async with self._lot(lot_id) as (transaction, lot, account, now):
            _require_disputed(lot)
            if lot.remaining:
                raise Conflict(f"requests that are running still claim a part of lot {lot_id}; try again")
            amount = lot.amount if amount is None else amount
            covered = _covered(unsent, amount)
            taken = min(lot.frozen, amount - covered)
            rest, shortfall = lot.frozen - taken, amount - covered - taken
            cause = cause or new_id(now)
            disputed, payments = await _house(transaction, "disputed", "payments")
            transfers = await _vat_back(transaction, cause, vat)
            transfers += await _set_aside_again(transaction, lot_id, cause, unsent)
            if covered + taken:
                transfers.append(Transfer(cause, disputed, payments, covered + taken, "chargeback"))
            transfers += await _owed_back(transaction, account.id, cause, shortfall)
            if rest:
                transfers.append(Transfer(new_id(now), disputed, lot_id, rest, "release"))
                after = _released(lot, rest, account, now)
            else:
                after = replace(lot, frozen=0, end=End.CHARGEBACK)
            owner = replace(account, balance=account.balance + rest, owed=account.owed + shortfall)
            await write_account(transaction, Changes(now, lots=[after], transfers=transfers), owner)
            await _also(transaction, lot_id, also)
            return shortfall

    async def owe_vat(self, account_id: int, amount: int, cause: UUID) -> None:
        """The tax on top of what was used beyond credit: the account owes it with its invoice."""
        _require_positive(amount)
        async with self._locked(account_id) as (transaction, account, now):
            if await transaction.moved(cause):
                return
            receivable = await transaction.ledger_account("receivable", account_id)
            (vat,) = await _house(transaction, "vat")
            changes = Changes(now, transfers=[Transfer(cause, receivable, vat, amount, "vat_invoiced")])
            await write_account(transaction, changes, replace(account, owed=account.owed + amount))

    async def pay_receivable(
        self, account_id: int, amount: int, cause: UUID, actor: str, *, also: AlsoOfAccount | None = None
    ) -> None:
        """A payment of what the account owes."""
        await self._lower_receivable(account_id, amount, cause, actor, "payment", "paid", also)

    async def write_off(
        self,
        account_id: int,
        amount: int,
        cause: UUID,
        actor: str,
        reason: str,
        *,
        vat: int = 0,
        also: AlsoOfAccount | None = None,
    ) -> None:
        """The operator gives up a part of what the account owes; ``vat`` of it is not owed to the state either."""
        await self._lower_receivable(account_id, amount, cause, actor, "write_off", reason, also, vat)

    async def _lower_receivable(
        self,
        account_id: int,
        amount: int,
        cause: UUID,
        actor: str,
        kind: str,
        reason: str,
        also: AlsoOfAccount | None = None,
        vat: int = 0,
    ) -> None:
        _require_positive(amount)
        async with self._locked(account_id) as (transaction, account, now):
            if also is not None:
                await also(transaction)
            if await transaction.moved(cause):
                return
            if amount > account.owed:
                raise Conflict(f"account {account_id} owes {format_dollars(account.owed)} only")
            house = await transaction.ledger_account("payments" if kind == "payment" else "written_off")
            receivable = await transaction.ledger_account("receivable", account_id)
            transfers = [Transfer(cause, house, receivable, amount - vat, kind)]
            if vat:
                (state,) = await _house(transaction, "vat")
                transfers.append(Transfer(cause, state, receivable, vat, "vat_credited"))
            changes = Changes(
                now,
                transfers=transfers,
                audit=[AuditEntry(actor, f"receivable: {kind}", account_id, format_dollars(amount), reason)],
            )
            await write_account(transaction, changes, replace(account, owed=account.owed - amount))

    async def _open(
        self,
        new: NewLot,
        now: datetime,
        entry: AuditEntry | None = None,
        vat: int = 0,
        also: Also | None = None,
    ) -> Lot:
        _require_positive(new.amount)
        if new.expires_at <= now:
            raise ValueError("credit must end in the future")
        async with self._locked(new.account_id) as (transaction, account, now):
            if (opened := await transaction.lot_of(new.cause)) is not None:
                return await _also(transaction, opened, also)
            after, lot = await open_lot(transaction, account, new, now)
            changes = Changes(now, audit=[entry] if entry else [])
            if vat:
                payments, owed_to_the_state = await _house(transaction, "payments", "vat")
                changes.transfers = [Transfer(vat_cause(new.cause), payments, owed_to_the_state, vat, "vat")]
            await write_account(transaction, changes, after)
            return lot if also is None else await _also(transaction, lot.id, also)

    @asynccontextmanager
    async def _locked(self, account_id: int) -> AsyncIterator[tuple[Transaction, Standing, datetime]]:
        async with self._store.begin() as transaction:
            account = (await transaction.lock([account_id])).get(account_id)
            if account is None:
                raise NotFound(f"there is no account {account_id}")
            yield transaction, account, self._clock()

    @asynccontextmanager
    async def _lot(self, lot_id: int) -> AsyncIterator[tuple[Transaction, Lot, Standing, datetime]]:
        """The lot as it is under its account's lock."""
        async with self._store.begin() as transaction:
            found = await transaction.lot(lot_id)
            if found is None:
                raise NotFound(f"there is no lot {lot_id}")
            account = (await transaction.lock([found.account_id]))[found.account_id]
            yield transaction, await _now(transaction, lot_id), account, self._clock()


async def open_lot(
    transaction: Transaction, account: Standing, new: NewLot, now: datetime
) -> tuple[Standing, Lot]:
    """The lot, and the locked account with its credit; ``write_account`` is to follow. Raises Conflict."""
    if account.status in CLOSED:
        raise Conflict(f"account {account.id} is {account.status}: it takes no credit")
    if account.balance + new.amount > MOST_BALANCE:
        raise Conflict(f"an account cannot have more than {format_dollars(MOST_BALANCE)}")
    lot = await transaction.open_lot(new, now)
    return replace(account, balance=account.balance + new.amount), lot


async def write_account(transaction: Transaction, changes: Changes, account: Standing) -> None:
    """Writes the account with its lots as ``changes`` leave them, and sweeps it if it is due then."""
    after = {lot.id: lot for lot in await transaction.lots([account.id])}
    after.update((lot.id, lot) for lot in changes.lots)
    account = replace(account, sweep_at=fifo.next_end(after.values()))
    swept = await sweep_due(transaction, {account.id: account}, changes, lots=after)
    changed = {lot.id for lot in changes.lots} | {transfer.debit for transfer in changes.transfers}
    changes.lots = [after[lot_id] for lot_id in changed if lot_id in after]
    changes.accounts = [swept[account.id]]
    await transaction.write(changes)


async def _also(transaction: Transaction, lot_id: int, also: Also | None) -> Lot:
    """The lot as it is now."""
    lot = await _now(transaction, lot_id)
    if also is not None:
        await also(transaction, lot)
    return lot


async def _unclaimed(transaction: Transaction, lot: Lot, now: datetime) -> int:
    if lot.source is not Source.PURCHASE or lot.end is not End.EXPIRY or lot.ends_at <= now:
        return 0
    holds = await transaction.holds_of([lot.account_id])
    claimed = fifo.claims(await transaction.lots([lot.account_id]), holds, now)
    return lot.remaining - claimed.get(lot.id, 0)


async def _house(transaction: Transaction, *names: str) -> list[int]:
    return [await transaction.ledger_account(name) for name in names]


async def _vat_back(transaction: Transaction, cause: UUID, vat: int) -> list[Transfer]:
    if not vat:
        return []
    state, payments = await _house(transaction, "vat", "payments")
    return [Transfer(cause, state, payments, vat, "vat_refund")]


async def _owed_back(transaction: Transaction, account_id: int, cause: UUID, amount: int) -> list[Transfer]:
    if not amount:
        return []
    receivable = await transaction.ledger_account("receivable", account_id)
    (payments,) = await _house(transaction, "payments")
    return [Transfer(cause, receivable, payments, amount, "shortfall")]


async def _undone(transaction: Transaction, unsent: Sequence[Unsent], back_to: int, kind: str) -> list[Transfer]:
    """The way that each of them went, backwards."""
    payments, vat = await _house(transaction, "payments", "vat")
    transfers = [Transfer(one.cause, payments, back_to, one.value, kind) for one in unsent]
    taxed = [one for one in unsent if one.vat]
    return transfers + [Transfer(vat_cause(one.cause), payments, vat, one.vat, "vat") for one in taxed]


async def _set_aside_again(
    transaction: Transaction, lot_id: int, cause: UUID, unsent: Sequence[Unsent]
) -> list[Transfer]:
    """What left the lot for them comes back, and goes to what the bank takes. The lot itself is as it was."""
    if not unsent:
        return []
    (disputed,) = await _house(transaction, "disputed")
    aside = Transfer(cause, lot_id, disputed, sum(one.value for one in unsent), "freeze")
    return [*await _undone(transaction, unsent, lot_id, "purchase"), aside]


def _covered(unsent: Sequence[Unsent], amount: int) -> int:
    """Raises ValueError if it is more than ``amount``."""
    covered = sum(one.value for one in unsent)
    if covered > amount:
        raise ValueError(f"refunds of {covered} are more than the {amount} that the bank took")
    return covered


def _released(lot: Lot, amount: int, account: Standing, now: datetime) -> Lot:
    """With ``amount`` of what was set aside given back, and the rest of that gone."""
    ends_at, end = lot.expires_at, End.EXPIRY
    if account.status in CLOSED:
        ends_at, end = min(now, lot.expires_at), End.FORFEITURE
    return replace(lot, remaining=lot.remaining + amount, frozen=0, ends_at=ends_at, end=end)


async def _now(transaction: Transaction, lot_id: int) -> Lot:
    lot = await transaction.lot(lot_id)
    assert lot is not None, "lots are never deleted"
    return lot


def _require_disputed(lot: Lot) -> None:
    if lot.end is not End.DISPUTE:
        raise Conflict(f"lot {lot.id} is not disputed")


def _require_positive(amount: int) -> None:
    if amount <= 0:
        raise ValueError("an amount of credit must be above zero")
