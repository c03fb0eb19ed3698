"""What is kept of people no longer than it is needed."""

from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from appliance.identity import credentials, inviting, joining, passkeys, sessions, throttle
from appliance.identity.openid import grants, signing
from appliance.identity.tables import person
from appliance.mail import queue
from billing.database.tables import account


async def forget(connection: AsyncConnection, now: datetime) -> list[str]:
    """All that is over, and whoever's account is deleted; returns the emails that these people had.

    What hangs on a person goes with it, and so does mail that waits for them. It finds what an earlier run left:
    nothing depends on this one's end.
    """
    for kept in (joining, inviting, credentials, sessions, passkeys, throttle, queue, grants, signing):
        await kept.forget(connection, now)
    deleted = select(account.c.id).where(account.c.status == "deleted")
    statement = (
        delete(person).where(person.c.account_id.in_(deleted)).returning(person.c.email, person.c.wanted_email)
    )
    gone = (await connection.execute(statement)).all()
    emails = [email for row in gone for email in row if email is not None]
    await queue.forget_recipients(connection, emails)
    return emails
