"""Who has an account, as an operator looks for them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Column, ColumnElement, Select, func, or_, select, union
from sqlalchemy.ext.asyncio import AsyncConnection

from appliance.identity.tables import person
from appliance.site.forms import number
from billing.database.db import execute
from billing.database.tables import account


@dataclass(frozen=True, slots=True)
class Person:
    """``name`` and ``email`` are None for an account that nobody signs in to. Amounts in nano-dollars."""

    account_id: int
    account: str
    role: str
    status: str
    created_at: datetime
    balance_nanodollars: int
    name: str | None
    email: str | None


@dataclass(frozen=True, slots=True)
class People:
    """Some of them, and whether there are ``more``."""

    found: Sequence[Person]
    more: bool


def _query() -> Select[tuple[object, ...]]:
    columns = (account.c.role, account.c.status, account.c.created_at, account.c.balance_nanodollars)
    names = (account.c.id.label("account_id"), account.c.name.label("account"), person.c.name, person.c.email)
    return select(*names, *columns).join(person, person.c.account_id == account.c.id, isouter=True)


async def find_people(connection: AsyncConnection, search: str, after: int, limit: int) -> list[Person]:
    """Those in whose id, email or name the words are, in the order of their ids, from ``after`` on.

    People and accounts are searched apart, and planned for these very words: else each of them would be fetched by
    its index, in twice the time.
    """
    query = _query().where(account.c.id > after)
    if search:
        await execute(connection, "SET LOCAL plan_cache_mode = force_custom_plan")
        owner, own_id = person.c.account_id, number(search)
        people = select(owner).where(owner > after, or_(_has(person.c.name, search), _has(person.c.email, search)))
        accounts = select(account.c.id).where(account.c.id > after, _has(account.c.name, search))
        found = union(
            people.order_by(owner).limit(limit),
            accounts.order_by(account.c.id).limit(limit),
            select(account.c.id).where(account.c.id == own_id),
        )
        query = query.where(account.c.id.in_(found))
    rows = await connection.execute(query.order_by(account.c.id).limit(limit))
    return [Person(**row) for row in rows.mappings()]


def _has(column: Column[str], words: str) -> ColumnElement[bool]:
    looked_for = words.lower().replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return func.lower(column).like(f"%{looked_for}%")


async def get_person(connection: AsyncConnection, account_id: int) -> Person | None:
    """None for an account that nobody signs in to."""
    row = (await connection.execute(_query().where(account.c.id == account_id))).mappings().one_or_none()
    found = None if row is None else Person(**row)
    return found if found is not None and found.email is not None else None


async def count_told(connection: AsyncConnection) -> int:
    """How many have a mail of what is announced to everybody."""
    query = select(func.count()).select_from(person).join(account, account.c.id == person.c.account_id)
    return int((await connection.execute(query.where(account.c.status == "active"))).scalar_one())
