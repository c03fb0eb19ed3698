"""Grants: each lets the chat know one person, as long as the session of the site in which it was made goes on.

A code, good for a minute, becomes a refresh token, and each of these the next. With the last grant of an account
its chat key ends.

Browsers, the chat and operators change these at the same time. All lock in one order, so that nobody waits for
somebody who waits for them: sessions by their numbers, then grants, then the chat key.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from sqlalchemy import ColumnElement, delete, exists, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from appliance.identity.openid.asking import Asked
from appliance.identity.openid.tables import openid_grant
from appliance.identity.tables import session
from appliance.identity.tokens import digest, new_token
from appliance.logs import note
from billing.customers.keys import end_chat_key, lock_chat_key

CODE_LASTS = timedelta(seconds=60)
CHAT_KEY_LASTS = timedelta(hours=1)
"""After new tokens were made: an answer that takes long may need it when the tokens are over."""


@dataclass(frozen=True, slots=True)
class Grant:
    id: UUID
    session_id: int
    account_id: int
    challenge: str
    nonce: str | None
    scope: str
    generation: int
    created_at: datetime
    renewed_at: datetime | None


async def make(
    connection: AsyncConnection, session_id: int, account_id: int, asked: Asked, now: datetime
) -> str | None:
    """The code; None if the session has ended meanwhile."""
    goes_on = select(session.c.id).where(session.c.id == session_id).with_for_update(read=True, key_share=True)
    if (await connection.execute(goes_on)).one_or_none() is None:
        return None
    code = new_token()
    row = {
        "id": uuid4(),
        "session_id": session_id,
        "account_id": account_id,
        "digest": digest(code),
        "challenge": asked.challenge,
        "nonce": asked.nonce,
        "scope": asked.scope,
        "created_at": now,
    }
    await connection.execute(insert(openid_grant).values(**row))
    return code


async def by_code(connection: AsyncConnection, code: str) -> Grant | None:
    """Whether or not the code was used; nobody else changes it, or its session, until the transaction ends."""
    return await _locked(connection, openid_grant.c.digest == digest(code))


async def by_id(connection: AsyncConnection, grant_id: UUID) -> Grant | None:
    """The same by its number."""
    return await _locked(connection, openid_grant.c.id == grant_id)


async def session_of(connection: AsyncConnection, grant_id: UUID) -> tuple[int, int] | None:
    """The account and the session of one that goes on."""
    query = select(openid_grant.c.account_id, openid_grant.c.session_id).where(openid_grant.c.id == grant_id)
    row = (await connection.execute(query.where(openid_grant.c.generation > 0))).one_or_none()
    return None if row is None else (row.account_id, row.session_id)


async def end_older(connection: AsyncConnection, grant: Grant) -> None:
    """A session has one grant that goes on: the chat has the newest one's tokens alone."""
    of_session = openid_grant.c.session_id == grant.session_id, openid_grant.c.generation > 0
    await connection.execute(delete(openid_grant).where(*of_session, openid_grant.c.id != grant.id))


async def begin(connection: AsyncConnection, grant: Grant, now: datetime) -> None:
    """The code was used."""
    await renew(connection, grant, now)
    note("chat-signed-on", session=grant.session_id, account=grant.account_id)


async def renew(connection: AsyncConnection, grant: Grant, now: datetime) -> None:
    """The next refresh token is good, and none before it."""
    mine = update(openid_grant).where(openid_grant.c.id == grant.id)
    await connection.execute(mine.values(generation=grant.generation + 1, renewed_at=now))


async def end(connection: AsyncConnection, grant: Grant, why: str, now: datetime) -> None:
    """``why`` is for the log."""
    await connection.execute(delete(openid_grant).where(openid_grant.c.id == grant.id))
    await end_key_unless_signed_on(connection, grant.account_id, now)
    note("chat-ended", bad=True, session=grant.session_id, account=grant.account_id, why=why)


async def lock_sessions(connection: AsyncConnection, account_id: int) -> None:
    """All of the account, before more than one of them or of their grants is ended."""
    of_account = select(session.c.id).where(session.c.account_id == account_id).order_by(session.c.id)
    await connection.execute(of_account.with_for_update(key_share=True))


async def end_all(connection: AsyncConnection, account_id: int) -> None:
    """Of an account, whatever its sessions."""
    await lock_sessions(connection, account_id)
    await connection.execute(delete(openid_grant).where(openid_grant.c.account_id == account_id))
    await end_chat_key(connection, account_id)


async def end_key_unless_signed_on(connection: AsyncConnection, account_id: int, now: datetime) -> None:
    """After something that ends a grant: the chat key is for all browsers of the account together.

    A grant that was not renewed for so long that its key would be over does not count: its session may be dead.
    Of two that end at the same time the second sees that the first is gone, as it waits for the key.
    """
    await lock_chat_key(connection, account_id)
    goes_on = openid_grant.c.generation > 0, openid_grant.c.renewed_at > now - CHAT_KEY_LASTS
    signed_on = exists().where(openid_grant.c.account_id == account_id, *goes_on)
    if not (await connection.execute(select(signed_on))).scalar_one():
        await end_chat_key(connection, account_id)


async def forget(connection: AsyncConnection, now: datetime) -> None:
    """Codes that nobody used."""
    waiting = openid_grant.c.generation == 0, openid_grant.c.created_at <= now - CODE_LASTS
    await connection.execute(delete(openid_grant).where(*waiting))


async def _locked(connection: AsyncConnection, which: ColumnElement[bool]) -> Grant | None:
    of_grant = select(openid_grant.c.session_id).where(which).scalar_subquery()
    goes_on = select(session.c.id).where(session.c.id == of_grant).with_for_update(key_share=True)
    if (await connection.execute(goes_on)).one_or_none() is None:
        return None
    columns = [openid_grant.c[name] for name in Grant.__slots__]
    found = (await connection.execute(select(*columns).where(which).with_for_update())).mappings().one_or_none()
    return None if found is None else Grant(**found)
