"""Who may sign up where not everybody may: whoever got the operator's mail, for the address that it went to."""

from datetime import datetime, timedelta

from sqlalchemy import delete, exists, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from appliance.identity.emails import Email, parse_email
from appliance.identity.errors import LinkInvalid
from appliance.identity.tables import invitation
from appliance.identity.tokens import digest, new_token
from appliance.mail import queue
from billing.customers.accounts import Entry, record

LASTS = timedelta(days=14)
INVITED = "invited"
"""The kind of mail; it is about the invitation."""


async def invite(connection: AsyncConnection, email: str, language: str, actor: str, now: datetime) -> None:
    """A mail is on its way; an invitation before it is worth nothing then. Raises InvalidEmail."""
    address = parse_email(email)
    times = {"created_at": now, "expires_at": now + LASTS}
    statement = upsert(invitation).values(email=address.address, email_key=address.key, **times)
    again = statement.on_conflict_do_update(index_elements=["email_key"], set_={**times, "link": None})
    about = (await connection.execute(again.returning(invitation.c.id))).scalar_one()
    await queue.enqueue(connection, INVITED, address.address, language, now, about)
    await record(connection, Entry(now, actor, "somebody invited", None, f"invitation {about}", "-"))


async def new_link(connection: AsyncConnection, invitation_id: int, now: datetime) -> str | None:
    """For the mail that is being sent; None if the invitation is over."""
    link = new_token()
    mine = (invitation.c.id == invitation_id, invitation.c.expires_at > now)
    kept = update(invitation).where(*mine).values(link=digest(link)).returning(invitation.c.id)
    return link if (await connection.execute(kept)).scalar_one_or_none() is not None else None


async def must_be_invited(connection: AsyncConnection, email: Email, link: str, now: datetime) -> None:
    """Raises LinkInvalid."""
    wanted = (
        invitation.c.link == digest(link),
        invitation.c.email_key == email.key,
        invitation.c.expires_at > now,
    )
    if not (await connection.execute(select(exists().where(*wanted)))).scalar_one():
        raise LinkInvalid("An invitation is for the address that it went to, and for 14 days.")


async def forget(connection: AsyncConnection, now: datetime) -> None:
    """Those that nobody followed, and those that were."""
    await connection.execute(delete(invitation).where(invitation.c.expires_at <= now))
