"""The end of credit: what no hold claims of a lot that is over leaves the account. docs/money.md, "Credit".

Admission and settlement sweep the accounts that they lock; ``Sweeper`` those that nobody asks for.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from uuid import UUID

from msgspec.structs import replace

from billing.clock import Clock
from billing.ids import new_id
from billing.ledger import lots as fifo
from billing.store.port import Changes, End, Lot, OpenHold, Standing, Store, Transaction, Transfer

DESTINATIONS = {
    # end: kind of transfer, house account
    End.EXPIRY: ("expiry", "expired"),
    End.FORFEITURE: ("forfeiture", "forfeited"),
    End.DISPUTE: ("freeze", "disputed"),
}
PAGE = 500


def is_due(account: Standing, now: datetime) -> bool:
    return account.sweep_at is not None and account.sweep_at <= now


def sweep(
    account: Standing, lots: Sequence[Lot], holds: Iterable[OpenHold], house: Mapping[str, int], now: datetime
) -> tuple[Standing, list[Lot], list[Transfer]]:
    """The account after it, all its lots after it, and the transfers. Pure but for the new ids."""
    ended = fifo.endings(lots, holds, now)
    cause = new_id(now)
    transfers, changed = [], {}
    for lot, rest in ended:
        kind, destination = DESTINATIONS[lot.end]
        transfers.append(Transfer(cause, lot.id, house[destination], rest, kind))
        frozen = lot.frozen + (rest if lot.end is End.DISPUTE else 0)
        changed[lot.id] = replace(lot, remaining=lot.remaining - rest, frozen=frozen)
    after = [changed.get(lot.id, lot) for lot in lots]
    gone = sum(rest for _, rest in ended)
    return replace(account, balance=account.balance - gone, sweep_at=fifo.next_end(after)), after, transfers


async def house_accounts(transaction: Transaction) -> dict[str, int]:
    return {name: await transaction.ledger_account(name) for _, name in DESTINATIONS.values()}


async def sweep_due(
    transaction: Transaction,
    accounts: Mapping[int, Standing],
    changes: Changes,
    *,
    lots: dict[int, Lot] | None = None,
    resolved: Collection[UUID] = (),
) -> dict[int, Standing]:
    """``accounts`` with those that are due swept; the transfers go to ``changes``, the accounts do not.

    ``lots`` are the accounts' as they are so far and are brought up to date; without them they are read, and those
    that changed go to ``changes``. The holds in ``resolved`` claim nothing any more.
    """
    due = [account.id for account in accounts.values() if is_due(account, changes.now)]
    after = dict(accounts)
    if not due:
        return after
    read = {lot.id: lot for lot in await transaction.lots(due)} if lots is None else lots
    holds = [hold for hold in await transaction.holds_of(due) if hold.request_id not in resolved]
    house = await house_accounts(transaction)
    for account_id in due:
        account, swept, transfers = sweep(
            accounts[account_id],
            [lot for lot in read.values() if lot.account_id == account_id],
            [hold for hold in holds if hold.account_id == account_id],
            house,
            changes.now,
        )
        after[account_id] = account
        changes.transfers += transfers
        changed = [lot for lot in swept if lot is not read[lot.id]]
        read.update((lot.id, lot) for lot in changed)
        if lots is None:
            changes.lots += changed
    return after


class Sweeper:
    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def run_once(self) -> int:
        """Sweeps every account that is due; returns how many lots lost credit. Raises DatabaseUnavailable."""
        swept, after = 0, 0
        while True:
            now = self._clock()
            async with self._store.begin() as transaction:
                due: Collection[int] = await transaction.due(now, after, PAGE)
                if not due:
                    return swept
                before = await transaction.lock(due)
                changes = Changes(now)
                accounts = await sweep_due(transaction, before, changes)
                changes.accounts = [account for account in accounts.values() if account != before[account.id]]
                await transaction.write(changes)
            swept += len(changes.lots)
            after = max(due)
