"""Invoices that are not paid in time: a reminder, then no more is served until they are.

Each step is taken once for an invoice: an operator who lets the account go on in spite of it is not overruled.
Where a bank took the payment back for good, the invoice is due anew, and each step may be taken once more.
"""

import logging
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from billing.clock import Clock
from billing.customers.accounts import why_closed
from billing.customers.standing import Standings
from billing.database.db import Database, fetch
from billing.errors import Conflict
from billing.payments.invoices import Unpaid, unpaid
from billing.payments.notices import tell_operator, tell_owner

log = logging.getLogger(__name__)

APPLIANCE = "appliance"
REMINDER, STOPPED = "invoice_reminder", "invoice_stop"
PAID = "all invoices that were due are paid"
_STOPPED_BEFORE = """
SELECT 1 FROM audit WHERE account_id = $1 AND action = 'account suspended' AND actor = $2 AND reason = $3
    AND ($4::timestamptz IS NULL OR at >= $4) LIMIT 1
"""
_SUSPENDED = "SELECT id FROM account WHERE status = 'suspended' ORDER BY id"
_STATUS = "SELECT status FROM account WHERE id = $1"


@dataclass(frozen=True, slots=True)
class Patience:
    """Days after an invoice's due day. Of payment: until it is due."""

    reminder_days: int
    stop_days: int


@dataclass(frozen=True, slots=True)
class Reminded:
    reminders: int
    stopped: int
    resumed: int


def why_stopped(invoice: str) -> str:
    """The reason of a suspension, as it is on record and as its owner reads it."""
    return f"invoice {invoice} is unpaid"


def stopped_for(reason: str) -> str | None:
    """The invoice, if one was the reason."""
    is_of_invoice = reason.startswith("invoice ") and reason.endswith(" is unpaid")
    return reason.removeprefix("invoice ").removesuffix(" is unpaid") if is_of_invoice else None


class Reminding:
    """Raises DatabaseUnavailable."""

    def __init__(self, database: Database, standings: Standings, patience: Patience, clock: Clock) -> None:
        self._database = database
        self._standings = standings
        self._patience = patience
        self._clock = clock

    async def run_once(self) -> Reminded:
        async with self._database.begin() as connection:
            open_ = await unpaid(connection)
            suspended = [row.id for row in await fetch(connection, _SUSPENDED)]
        reminders = sum([await self._remind(one) for one in open_])
        late = [one for one in open_ if self._is_over(one, self._patience.stop_days)]
        stopped = sum([await self._stop(one) for one in late])
        debtors = {one.account_id for one in late}
        resumed = sum([await self._resume(id_) for id_ in suspended if id_ not in debtors])
        return Reminded(reminders, stopped, resumed)

    def _is_over(self, invoice: Unpaid, days: int) -> bool:
        return invoice.due_on + timedelta(days=days) < self._clock().date()

    async def _remind(self, one: Unpaid) -> bool:
        if not self._is_over(one, self._patience.reminder_days):
            return False
        async with self._database.begin() as connection:
            if await _is_told(connection, one, REMINDER):
                return False
            body, now = self._body(one), self._clock()
            await tell_owner(connection, one.account_id, REMINDER, _subject(one), body, now)
        return True

    async def _stop(self, one: Unpaid) -> bool:
        reason = why_stopped(one.name)
        async with self._database.begin() as connection:
            if await fetch(connection, _STOPPED_BEFORE, one.account_id, APPLIANCE, reason, one.due_again_at):
                return False
            ((status,),) = await fetch(connection, _STATUS, one.account_id)
        if status != "active":
            return False
        try:
            await self._standings.suspend(one.account_id, APPLIANCE, reason)
        except Conflict:
            return False
        async with self._database.begin() as connection:
            await tell_operator(connection, STOPPED, _subject(one), self._body(one), self._clock())
        log.warning("account %d is suspended: invoice %s is unpaid", one.account_id, one.name)
        return True

    async def _resume(self, account_id: int) -> bool:
        """If an unpaid invoice was the reason, and the only one."""
        async with self._database.begin() as connection:
            why = await why_closed(connection, account_id, "suspended")
        if why is None or why.actor != APPLIANCE or stopped_for(why.reason) is None:
            return False
        try:
            await self._standings.resume(account_id, APPLIANCE, PAID)
        except Conflict:
            return False
        log.info("account %d is active again: its invoices are paid", account_id)
        return True

    def _body(self, one: Unpaid) -> dict[str, object]:
        stops_on = one.due_on + timedelta(days=self._patience.stop_days)
        return {
            "account_id": one.account_id, "document": one.id, "name": one.name, "left_cents": one.left_cents,
            "due_on": one.due_on.isoformat(), "stops_on": stops_on.isoformat(),
        }  # fmt: skip


async def _is_told(connection: AsyncConnection, one: Unpaid, kind: str) -> bool:
    query = "SELECT 1 FROM notice WHERE kind = $1 AND account_id = $2 AND subject = $3"
    return bool(await fetch(connection, query, kind, one.account_id, _subject(one)))


def _subject(one: Unpaid) -> str:
    """Of its notices, which come once for each."""
    return one.name if one.due_again_at is None else f"{one.name} due {one.due_on}"
