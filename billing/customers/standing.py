"""An account's standing, and the terms it has. Each change holds from the next request, and is an audit entry."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from msgspec.structs import replace

from billing.charging.limits import in_month, month_of
from billing.clock import Clock
from billing.errors import Conflict, NotFound
from billing.ledger import lots as fifo
from billing.ledger.sweep import sweep_due
from billing.prices.money import format_dollars
from billing.store.port import Allowance, AuditEntry, Changes, End, Notice, Standing, Store, Transaction

DELETION_DELAY = timedelta(days=30)

MOST, MOST_BUDGET = 2**31 - 1, 10**18
"""As much as is kept; the budget in nano-dollars."""

# From which standing an account may come into another. Terms, "Termination" and "Account Deletion".
FROM = {
    "suspended": ("active",),
    "terminated": ("active", "suspended"),
    "deleting": ("active", "suspended", "terminated"),
    "active": ("suspended", "terminated"),
}


@dataclass(frozen=True, slots=True)
class Limits:
    """None is no limit. ``budget`` is nano-dollars a calendar month (UTC)."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrent_requests: int | None = None
    budget: int | None = None

    def __post_init__(self) -> None:
        values = (self.requests_per_minute, self.tokens_per_minute, self.concurrent_requests, self.budget)
        if any(value is not None and value <= 0 for value in values):
            raise ValueError("a limit must be above zero; without one, leave it out")
        if any(value is not None and value > MOST for value in values[:3]) or (self.budget or 0) > MOST_BUDGET:
            raise ValueError(f"a limit is {MOST:,} at most, and a budget {format_dollars(MOST_BUDGET)}")


class Standings:
    """Raises NotFound, Conflict, DatabaseUnavailable; ValueError without a reason."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def suspend(self, account_id: int, actor: str, reason: str) -> Standing:
        return await self._move(account_id, "suspended", actor, reason)

    async def resume(self, account_id: int, actor: str, reason: str) -> Standing:
        """Lifts a suspension, or grants an appeal: credit that was forfeited does not come back by itself."""
        return await self._move(account_id, "active", actor, reason)

    async def terminate(self, account_id: int, actor: str, reason: str) -> Standing:
        """Terms: "Upon termination ... any unused credits will be forfeited"."""
        return await self._move(account_id, "terminated", actor, reason)

    async def mark_for_deletion(self, account_id: int, actor: str, reason: str) -> Standing:
        """Terms: "Accounts are permanently deleted 30 days after the deletion request"."""
        return await self._move(account_id, "deleting", actor, reason)

    async def restore(self, account_id: int, actor: str, reason: str) -> Standing:
        """Back to the standing before the deletion request. Terms: within the 30 days "you may restore"."""
        async with self._locked(account_id, reason) as (transaction, account, now):
            if account.status != "deleting" or account.delete_at is None or account.status_before is None:
                raise Conflict(f"account {account_id} is {account.status}: there is nothing to restore")
            if now >= account.delete_at:
                raise Conflict(f"account {account_id} could be restored until {account.delete_at.isoformat()}")
            after = replace(account, status=account.status_before, status_before=None, delete_at=None)
            changes = Changes(now, notices=[_notice(after, "restored", reason, now)])
            return await self._write(transaction, changes, after, actor, "account restored", reason)

    async def delete(self, account_id: int, actor: str) -> Standing:
        """For good, 30 days after the request: unused credit is forfeited, no key works, nothing names the owner.

        What the account used and paid stays, without a name. Terms: "Accounts are permanently deleted 30 days
        after the deletion request"; "We keep activity and billing logs for a minimum of 5 years".
        """
        async with self._locked(account_id, "-") as (transaction, account, now):
            if account.status != "deleting" or account.delete_at is None or now < account.delete_at:
                raise Conflict(f"account {account_id} is not due for deletion")
            changes = Changes(now)
            after = await _forfeit(transaction, replace(account, status="deleted"), changes)
            await transaction.forget(account_id, now)
            return await self._write(transaction, changes, after, actor, "account deleted", "30 days are over")

    async def set_limits(self, account_id: int, actor: str, limits: Limits, key_id: int | None = None) -> None:
        """The account's, or one key's own, in place of those before. A key's month counts from the first ones."""
        async with self._locked(account_id, "-") as (transaction, account, now):
            subject = "limits" if key_id is None else f"limits of key {key_id}"
            changes, after = Changes(now), account
            if key_id is None:
                after = replace(account, use=_limited(account.use, limits))
            else:
                known = await transaction.keys([key_id])
                use = known[key_id] if key_id in known else await self._new_use(transaction, account, key_id, now)
                changes.keys = {key_id: _limited(use, limits)}
                after = replace(account, limited_keys=True)
            await self._write(transaction, changes, after, actor, "limits set", _describe(limits), subject)

    async def set_terms(
        self, account_id: int, actor: str, *, credit_limit: int | None, priority: int, reason: str
    ) -> Standing:
        """``credit_limit`` in nano-dollars makes it postpaid, None prepaid. A higher ``priority`` is served first.

        Terms: "Enterprise customers and those with commercial agreements may have different ... terms".
        """
        if credit_limit is not None and credit_limit < 0:
            raise ValueError("a credit limit cannot be negative")
        async with self._locked(account_id, reason) as (transaction, account, now):
            if credit_limit is None and account.use.held > account.balance:
                raise Conflict(f"account {account_id} has requests running beyond its credit; try again")
            after = replace(account, credit_limit=credit_limit, priority=priority)
            limit = "prepaid" if credit_limit is None else f"credit limit {format_dollars(credit_limit)}"
            subject = f"{limit}, priority {priority}"
            return await self._write(transaction, Changes(now), after, actor, "terms set", reason, subject)

    async def _move(self, account_id: int, status: str, actor: str, reason: str) -> Standing:
        async with self._locked(account_id, reason) as (transaction, account, now):
            if account.status not in FROM[status]:
                raise Conflict(f"account {account_id} is {account.status} and cannot become {status}")
            changes, after = Changes(now), replace(account, status=status)
            if status == "deleting":
                after = replace(after, status_before=account.status, delete_at=now + DELETION_DELAY)
            elif status == "terminated":
                after = await _forfeit(transaction, after, changes)
            changes.notices = [_notice(after, status, reason, now)]
            return await self._write(transaction, changes, after, actor, f"account {status}", reason)

    @staticmethod
    async def _new_use(transaction: Transaction, account: Standing, key_id: int, now: datetime) -> Allowance:
        """What the key holds now; what it spent before it had limits is not counted."""
        if not await transaction.owns(account.id, key_id):
            raise NotFound(f"account {account.id} has no key {key_id}")
        holds = [hold for hold in await transaction.holds_of([account.id]) if hold.key_id == key_id]
        use = Allowance(held=sum(hold.amount for hold in holds), open_holds=len(holds))
        return in_month(use, month_of(now))

    @asynccontextmanager
    async def _locked(self, account_id: int, reason: str) -> AsyncIterator[tuple[Transaction, Standing, datetime]]:
        if not reason.strip():
            raise ValueError("a reason is needed")
        async with self._store.begin() as transaction:
            account = (await transaction.lock([account_id])).get(account_id)
            if account is None:
                raise NotFound(f"there is no account {account_id}")
            yield transaction, account, self._clock()

    @staticmethod
    async def _write(
        transaction: Transaction,
        changes: Changes,
        after: Standing,
        actor: str,
        action: str,
        reason: str,
        subject: str = "account",
    ) -> Standing:
        changes.accounts = [after]
        changes.audit = [AuditEntry(actor, action, after.id, subject, reason)]
        await transaction.write(changes)
        return after


def _notice(after: Standing, became: str, reason: str, now: datetime) -> Notice:
    """For its owner: what became of the account, and why."""
    delete_at = None if after.delete_at is None else after.delete_at.isoformat()
    body: dict[str, object] = {"became": became, "reason": reason, "delete_at": delete_at}
    return Notice("standing", after.id, f"{became} {now.isoformat()}", body)


async def _forfeit(transaction: Transaction, account: Standing, changes: Changes) -> Standing:
    """Every lot ends now, but for those in dispute; what running requests claim is left to them."""
    changes.now = fifo.moment_after(await transaction.holds_of([account.id]), changes.now)
    lots = {lot.id: lot for lot in await transaction.lots([account.id])}
    for lot in lots.values():
        if lot.end is not End.DISPUTE and lot.ends_at > changes.now:
            lots[lot.id] = replace(lot, ends_at=changes.now, end=End.FORFEITURE)
    account = replace(account, sweep_at=fifo.next_end(lots.values()))
    swept = await sweep_due(transaction, {account.id: account}, changes, lots=lots)
    changes.lots = list(lots.values())
    return swept[account.id]


def _limited(use: Allowance, limits: Limits) -> Allowance:
    """A time-stamp of a limit that is not there any more would count against the next one."""
    return replace(
        use,
        requests_per_minute=limits.requests_per_minute,
        tokens_per_minute=limits.tokens_per_minute,
        concurrent_requests=limits.concurrent_requests,
        budget=limits.budget,
        requests_tat=None,
        tokens_tat=None,
    )


def _describe(limits: Limits) -> str:
    budget = "no" if limits.budget is None else format_dollars(limits.budget)
    return (
        f"{limits.requests_per_minute or 'no'} requests/min, {limits.tokens_per_minute or 'no'} tokens/min, "
        f"{limits.concurrent_requests or 'no'} concurrent, {budget} budget/month"
    )
