"""A plan's allowance, opened as a plan that is paid opens it."""

from datetime import datetime
from uuid import UUID

from msgspec.structs import replace

from billing.clock import Clock
from billing.ledger.credit import open_lot, write_account
from billing.ledger.lots import moment_after
from billing.store.port import Changes, Lot, NewLot, Source, Store


async def allow(
    store: Store, clock: Clock, account_id: int, amount: int, period_end: datetime, cause: UUID, *, stops: bool
) -> Lot:
    """``stops``: until its end nothing else is spent, else credits follow it. Raises Conflict."""
    async with store.begin() as transaction:
        account = (await transaction.lock([account_id]))[account_id]
        changes = Changes(moment_after(await transaction.holds_of([account_id]), clock()))
        new = NewLot(cause, account_id, Source.ALLOWANCE, "plan", amount, period_end)
        account, lot = await open_lot(transaction, account, new, changes.now)
        if stops:
            account = replace(account, stops_until=period_end)
        await write_account(transaction, changes, account)
    return lot
