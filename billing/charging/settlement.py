"""Settlement: charge exactly what was metered, once, and free the hold. Batched, idempotent by request id.

A hold is pending until it is resolved, once: settled with a usage row and transfers from the account's lots to
revenue, in one transaction. A request that used nothing is resolved with a usage row of zero.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from uuid import UUID

import msgspec
from msgspec.structs import replace

from billing.charging import limits
from billing.charging.admission import budget_notice
from billing.charging.batch import Batcher
from billing.clock import Clock
from billing.errors import HoldExceeded, LotsShort, NotFound
from billing.ledger import lots as fifo
from billing.ledger.sweep import sweep_due
from billing.prices.pricing import Tokens, cost
from billing.store.port import (
    Allowance,
    Changes,
    Ended,
    Lot,
    Notice,
    OpenHold,
    Resolution,
    Standing,
    Store,
    Transaction,
    Transfer,
)

__all__ = ["Ended", "Metered", "Settled", "Settlement"]


class Metered(msgspec.Struct, frozen=True, gc=False):
    """What a replica's meter says of a request, and whose it is."""

    request_id: UUID
    account_id: int
    tokens: Tokens
    ended: Ended


class Settled(msgspec.Struct, frozen=True, gc=False):
    """``cost`` in nano-dollars."""

    request_id: UUID
    cost: int


class Books:
    """The accounts of a batch while it is charged, one request after the other."""

    def __init__(
        self,
        accounts: Mapping[int, Standing],
        keys: Mapping[int, Allowance],
        lots: Iterable[Lot],
        receivables: Mapping[int, int],
        revenue: int,
        now: datetime,
    ) -> None:
        """``receivables`` are the ledger accounts of those accounts that are postpaid, ``revenue`` the house's."""
        month = limits.month_of(now)
        self.accounts = {id_: limits.account_in_month(account, month) for id_, account in accounts.items()}
        self.keys_before = keys
        self.keys = {id_: limits.in_month(key, month) for id_, key in keys.items()}
        self.lots_before: dict[int, Lot] = {}
        self.lots: dict[int, list[Lot]] = defaultdict(list)
        for lot in lots:
            self.lots_before[lot.id] = lot
            self.lots[lot.account_id].append(lot)
        for account_id, of_account in self.lots.items():
            if len(of_account) > 1:
                self.lots[account_id] = fifo.in_order(of_account)
        self.transfers: list[Transfer] = []
        self.resolutions: list[Resolution] = []
        self.notices: list[Notice] = []
        self._receivables = receivables
        self._revenue = revenue
        self._now = now

    def charge(self, metered: Metered, hold: OpenHold) -> int:
        """Nano-dollars. Raises HoldExceeded or LotsShort, and has changed nothing then."""
        amount = cost(hold.rate, metered.tokens)
        if amount > hold.amount:
            raise HoldExceeded(f"request {hold.request_id} cost {amount} nano-dollars, {hold.amount} were held")
        account = self.accounts[hold.account_id]
        parts, lots = fifo.consume(self.lots[account.id], amount, hold.created_at, self._now)
        from_lots = sum(part for _, part in parts)
        owed = amount - from_lots
        if owed and account.credit_limit is None:
            raise LotsShort(f"the lots are {owed} nano-dollars short for request {hold.request_id}")
        self.lots[account.id] = lots
        for lot_id, part in parts:
            self.transfers.append(Transfer(hold.request_id, lot_id, self._revenue, part, "usage"))
        if owed:
            receivable = self._receivables[account.id]
            self.transfers.append(Transfer(hold.request_id, receivable, self._revenue, owed, "postpaid"))
        self.resolutions.append(Resolution(hold, metered.tokens, amount, metered.ended))
        use = self._used(account.use, metered, hold, amount)
        self._notice(account.id, None, account.use, use)
        self.accounts[account.id] = replace(
            account, balance=account.balance - from_lots, owed=account.owed + owed, use=use
        )
        if (key := self.keys.get(hold.key_id)) is not None:
            self.keys[hold.key_id] = self._used(key, metered, hold, amount)
            self._notice(account.id, hold.key_id, key, self.keys[hold.key_id])
        return amount

    def _used(self, use: Allowance, metered: Metered, hold: OpenHold, amount: int) -> Allowance:
        tat = use.tokens_tat
        if use.tokens_per_minute is not None:
            tokens = metered.tokens.prompt + metered.tokens.completion
            tat = limits.spent(tat, self._now, use.tokens_per_minute, tokens)
        in_its_month = limits.month_of(hold.created_at) == use.month
        return replace(
            use,
            held=use.held - hold.amount,
            open_holds=use.open_holds - 1,
            month_spent=use.month_spent + (amount if in_its_month else 0),
            tokens_tat=tat,
        )

    def _notice(self, account_id: int, key_id: int | None, before: Allowance, after: Allowance) -> None:
        for percent in limits.crossed(after.budget, before.month_spent, after.month_spent):
            self.notices.append(budget_notice(account_id, key_id, after, percent))


class Settlement:
    """Settles in batches. ``settle`` returns when the charge is durable; a repeated call charges nothing.

    Raises DatabaseUnavailable (settle again: nothing is lost), HoldExceeded, LotsShort, and NotFound for a
    request that has neither a hold nor a usage row.
    """

    def __init__(self, store: Store, clock: Clock, *, observe_batch: Callable[[int], None] | None = None) -> None:
        self._store = store
        self._clock = clock
        self._batcher = Batcher[Metered, Settled](self.settle_all, observe=observe_batch)

    async def settle(self, metered: Metered) -> Settled:
        return await self._batcher.submit(metered)

    async def settle_all(self, batch: Sequence[Metered]) -> list[Settled | Exception]:
        """One transaction; an error for a request spares the others."""
        unique = {item.request_id: item for item in batch}
        async with self._store.begin() as transaction:
            now = self._clock()
            locked = await transaction.lock({item.account_id for item in batch})
            holds = await transaction.holds(unique)
            outcomes: dict[UUID, Settled | Exception] = {}
            if holds:
                books = await _open_books(transaction, locked, holds, now)
                for request_id, item in unique.items():
                    if (hold := holds.get(request_id)) is None:
                        continue
                    try:
                        outcomes[request_id] = Settled(request_id, books.charge(item, hold))
                    except (HoldExceeded, LotsShort) as error:
                        outcomes[request_id] = error
                await _close_books(transaction, books, locked, now)
            if len(holds) < len(unique):
                missing = [request_id for request_id in unique if request_id not in holds]
                before = await transaction.resolved(missing)
                for request_id in missing:
                    if (amount := before.get(request_id)) is None:
                        outcomes[request_id] = NotFound(f"request {request_id} was never admitted")
                    else:
                        outcomes[request_id] = Settled(request_id, amount)
        return [outcomes[item.request_id] for item in batch]


async def _open_books(
    transaction: Transaction, accounts: Mapping[int, Standing], holds: Mapping[UUID, OpenHold], now: datetime
) -> Books:
    limited = {hold.key_id for hold in holds.values() if accounts[hold.account_id].limited_keys}
    postpaid = [id_ for id_, account in accounts.items() if account.credit_limit is not None]
    return Books(
        accounts,
        await transaction.keys(limited) if limited else {},
        await transaction.lots(accounts),
        {id_: await transaction.ledger_account("receivable", id_) for id_ in postpaid},
        await transaction.ledger_account("revenue"),
        now,
    )


async def _close_books(
    transaction: Transaction, books: Books, before: Mapping[int, Standing], now: datetime
) -> None:
    """Sweeps what the resolved holds no longer claim, and writes."""
    changes = Changes(now, transfers=books.transfers, resolutions=books.resolutions, notices=books.notices)
    lots = {lot.id: lot for of_account in books.lots.values() for lot in of_account}
    resolved = {resolution.hold.request_id for resolution in books.resolutions}
    accounts = await sweep_due(transaction, books.accounts, changes, lots=lots, resolved=resolved)
    changes.lots = [lot for lot_id, lot in lots.items() if lot is not books.lots_before[lot_id]]
    for account_id in {lot.account_id for lot in changes.lots if not lot.remaining}:
        left = [lots[lot.id] for lot in books.lots[account_id]]
        accounts[account_id] = replace(accounts[account_id], sweep_at=fifo.next_end(left))
    changes.accounts = [account for account in accounts.values() if account is not before[account.id]]
    changes.keys = {id_: key for id_, key in books.keys.items() if key is not books.keys_before[id_]}
    await transaction.write(changes)
