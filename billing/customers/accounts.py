"""Accounts: who has credit here. Every change of credit goes through ``billing.ledger``."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, insert, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.charging.limits import month_of
from billing.clock import Clock
from billing.customers.standing import Limits
from billing.database import tables
from billing.errors import Conflict, InvalidName, NotFound

NAME_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class Account:
    """Amounts in nano-dollars; limits are None where there is none.

    ``month_spent_nanodollars`` is of ``month`` (12 x year + month - 1), the last in which anything was charged.
    """

    id: int
    name: str
    role: str
    status: str
    created_at: datetime
    balance_nanodollars: int
    held_nanodollars: int
    owed_nanodollars: int
    credit_limit_nanodollars: int | None
    open_holds: int
    requests_per_minute: int | None
    tokens_per_minute: int | None
    concurrent_requests: int | None
    budget_nanodollars: int | None
    month: int
    month_spent_nanodollars: int
    priority: int
    delete_at: datetime | None

    def spent(self, now: datetime) -> int:
        """Nano-dollars, in the calendar month (UTC) that it is."""
        return self.month_spent_nanodollars if self.month == month_of(now) else 0


_COLUMNS = [tables.account.c[name] for name in Account.__slots__]


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of the audit trail."""

    at: datetime
    actor: str
    action: str
    account_id: int | None
    subject: str
    reason: str


@dataclass(frozen=True, slots=True)
class LotRecord:
    """A lot of credit; amounts in nano-dollars, ``ends_at`` by ``end_kind``."""

    id: int
    source: str
    reason: str
    acquired_at: datetime
    ends_at: datetime
    end_kind: str
    amount_nanodollars: int
    remaining_nanodollars: int
    frozen_nanodollars: int


async def list_lots(connection: AsyncConnection, account_id: int) -> list[LotRecord]:
    """Oldest first."""
    table = tables.lot
    query = select(*(table.c[name] for name in LotRecord.__slots__)).where(table.c.account_id == account_id)
    rows = await connection.execute(query.order_by(table.c.acquired_at, table.c.id))
    return [LotRecord(**row) for row in rows.mappings()]


async def create_account(
    connection: AsyncConnection, name: str, role: str, clock: Clock, limits: Limits | None = None
) -> Account:
    """``role`` is ``operator`` or ``customer``. Raises Conflict if the name is taken, InvalidName."""
    if not is_name(name):
        raise InvalidName(
            f"an account's name has 1 to {NAME_CHARACTERS} printable characters, not digits alone,"
            " and does not begin with deleted-"
        )
    limits = limits or Limits()
    statement = (
        insert(tables.account)
        .values(
            name=name,
            role=role,
            created_at=clock(),
            requests_per_minute=limits.requests_per_minute,
            tokens_per_minute=limits.tokens_per_minute,
            concurrent_requests=limits.concurrent_requests,
            budget_nanodollars=limits.budget,
        )
        .returning(*_COLUMNS)
    )
    try:
        row = (await connection.execute(statement)).mappings().one()
    except IntegrityError as error:
        if getattr(error.orig, "sqlstate", None) == "23505":
            raise Conflict(f"there is an account named {name!r} already") from None
        raise
    return Account(**row)


def is_name(name: str) -> bool:
    """A name of digits alone would be taken for an id, and ``deleted-`` begins those of deleted accounts."""
    if name.startswith("deleted-"):
        return False
    return 0 < len(name) <= NAME_CHARACTERS and name.isprintable() and not name.isspace() and not name.isdigit()


async def get_account(connection: AsyncConnection, account_id: int) -> Account:
    """Raises NotFound."""
    query = select(*_COLUMNS).where(tables.account.c.id == account_id)
    row = (await connection.execute(query)).mappings().one_or_none()
    if row is None:
        raise NotFound(f"there is no account {account_id}")
    return Account(**row)


async def find_account(connection: AsyncConnection, name: str) -> Account | None:
    query = select(*_COLUMNS).where(tables.account.c.name == name)
    row = (await connection.execute(query)).mappings().one_or_none()
    return None if row is None else Account(**row)


async def list_accounts(connection: AsyncConnection) -> list[Account]:
    query = select(*_COLUMNS).order_by(tables.account.c.id)
    return [Account(**row) for row in (await connection.execute(query)).mappings()]


async def record(connection: AsyncConnection, entry: Entry) -> None:
    """Adds to the audit trail what changes nothing of the books. Raises ValueError without a reason."""
    if not entry.reason.strip():
        raise ValueError("a reason is needed")
    columns = {name: getattr(entry, name) for name in Entry.__slots__}
    await connection.execute(insert(tables.audit).values(**columns))


async def due_for_deletion(connection: AsyncConnection, clock: Clock) -> list[int]:
    """Ids of the accounts whose 30 days are over."""
    table = tables.account
    query = select(table.c.id).where(table.c.status == "deleting", table.c.delete_at <= clock())
    return list((await connection.execute(query.order_by(table.c.id))).scalars())


async def count_late_deletions(connection: AsyncConnection, now: datetime) -> int:
    """Of the accounts whose 30 days are over, those that are still there a day later."""
    table = tables.account
    late = (table.c.status == "deleting", table.c.delete_at <= now - timedelta(days=1))
    return (await connection.execute(select(func.count()).select_from(table).where(*late))).scalar_one()


async def list_audit(connection: AsyncConnection, account_id: int) -> list[Entry]:
    """Oldest first."""
    table = tables.audit
    query = select(*(table.c[name] for name in Entry.__slots__)).where(table.c.account_id == account_id)
    return [Entry(**row) for row in (await connection.execute(query.order_by(table.c.id))).mappings()]


async def why_closed(connection: AsyncConnection, account_id: int, status: str) -> Entry | None:
    """The last entry of the audit trail by which the account came into its standing."""
    table = tables.audit
    query = select(*(table.c[name] for name in Entry.__slots__)).where(
        table.c.account_id == account_id, table.c.action == f"account {status}"
    )
    row = (await connection.execute(query.order_by(table.c.id.desc()).limit(1))).mappings().one_or_none()
    return None if row is None else Entry(**row)


async def recent_audit(connection: AsyncConnection, limit: int, account_id: int | None = None) -> list[Entry]:
    """Newest first; of all accounts without one."""
    table = tables.audit
    query = select(*(table.c[name] for name in Entry.__slots__)).order_by(table.c.id.desc()).limit(limit)
    if account_id is not None:
        query = query.where(table.c.account_id == account_id)
    return [Entry(**row) for row in (await connection.execute(query)).mappings()]
