"""The queue of mail, in the transaction of what it is about: what is rolled back sends nothing.

What a mail says is written when it is sent. So no link that opens a door is kept, and a page that asks for a mail
takes as long for an email that nobody has an account with.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from appliance.mail.tables import mail

FIRST_PAUSE = timedelta(seconds=30)
LONGEST_PAUSE = timedelta(hours=4)
GIVEN_UP_AFTER = timedelta(days=3)
LEASE = timedelta(minutes=2)
"""So long a mail is its sender's; whoever is killed over it leaves it to the next one after that."""


@dataclass(frozen=True, slots=True)
class Mail:
    """``kind`` is what it tells, ``about`` the row that it is about, if any."""

    id: int
    kind: str
    email: str
    language: str
    about: int | None
    created_at: datetime
    tries: int


async def enqueue(
    connection: AsyncConnection, kind: str, email: str, language: str, now: datetime, about: int | None = None
) -> None:
    row = {"kind": kind, "email": email, "language": language, "about": about}
    await connection.execute(insert(mail).values(**row, created_at=now, due_at=now))


async def claim(connection: AsyncConnection, now: datetime) -> Mail | None:
    """The mail that has waited longest, what goes to many last, for ``LEASE``; another sender gets another.

    ``tries`` are those before.
    """
    due = select(mail.c.id).where(mail.c.due_at <= now).order_by(mail.c.bulk, mail.c.due_at, mail.c.id)
    first = due.limit(1).with_for_update(skip_locked=True).scalar_subquery()
    columns = [mail.c[name] for name in Mail.__slots__ if name != "tries"]
    statement = (
        update(mail)
        .where(mail.c.id == first)
        .values(due_at=now + LEASE, tries=mail.c.tries + 1)
        .returning(*columns, (mail.c.tries - 1).label("tries"))
    )
    row = (await connection.execute(statement)).mappings().one_or_none()
    return None if row is None else Mail(**row)


async def backlog(connection: AsyncConnection) -> tuple[int, datetime | None]:
    """How many wait, and since when the one that has waited longest, of those that do not go to many."""
    oldest = func.min(mail.c.created_at).filter(~mail.c.bulk)
    count, since = (await connection.execute(select(func.count(), oldest).select_from(mail))).one()
    return count, since


async def done(connection: AsyncConnection, one: Mail) -> None:
    """It was sent, or never can be: nothing is kept of it."""
    await connection.execute(delete(mail).where(mail.c.id == one.id))


async def put_off(connection: AsyncConnection, one: Mail, now: datetime) -> bool:
    """It is tried again, later each time. False if it has been tried for long enough, and is gone."""
    due_at = now + pause(one.tries)
    if due_at - one.created_at > GIVEN_UP_AFTER:
        await done(connection, one)
        return False
    await connection.execute(update(mail).where(mail.c.id == one.id).values(due_at=due_at))
    return True


async def forget(connection: AsyncConnection, now: datetime) -> None:
    """What nobody has sent for so long, not even in vain."""
    await connection.execute(delete(mail).where(mail.c.created_at < now - GIVEN_UP_AFTER - LONGEST_PAUSE))


async def forget_recipients(connection: AsyncConnection, emails: Sequence[str]) -> None:
    """Mail that waits for somebody who is not to be written to any more."""
    if emails:
        await connection.execute(delete(mail).where(mail.c.email.in_(emails)))


def pause(tries: int) -> timedelta:
    """After so many tries before this one."""
    return min(FIRST_PAUSE * (1 << min(tries, 16)), LONGEST_PAUSE)
