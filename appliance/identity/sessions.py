"""Sessions: kept by the server, named by a cookie, ended by the person, and after a while by themselves."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, delete, exists, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from appliance.identity.errors import WrongCredentials
from appliance.identity.openid import grants
from appliance.identity.openid.tables import openid_grant
from appliance.identity.origin import Origin
from appliance.identity.tables import acceptance, authenticator, passkey, person, session
from appliance.identity.tokens import digest, new_token
from appliance.logs import note
from billing.customers.keys import end_playground_key
from billing.database.tables import account


@dataclass(frozen=True, slots=True)
class Lifetime:
    """``unused`` without a request, or ``whole`` altogether, end a session."""

    unused: timedelta
    whole: timedelta


LIFETIMES = {
    "customer": Lifetime(timedelta(days=7), timedelta(days=30)),
    "operator": Lifetime(timedelta(minutes=30), timedelta(hours=12)),
}
MOST_OF_ONE = 50
"""Sessions of one account. Beyond, the one that was used least recently ends."""
_OF_SESSION = ("account_id", "seen_at", "incomplete", "ends_at")
_OF_PERSON = ("name", "email", "language", "subject")
SEEN_EVERY = timedelta(minutes=1)
"""A page more often than that is not worth a write."""


@dataclass(frozen=True, slots=True)
class Signed:
    """Whose session it is, as of this request."""

    session_id: int
    account_id: int
    name: str
    email: str
    language: str
    role: str
    status: str
    incomplete: bool
    """The second factor is still to be given: nothing else may be done."""
    second: bool
    """There is a second factor, which was given if the session is not incomplete."""
    accepted: str | None
    """The newest version of the terms that the person accepted."""
    subject: UUID
    """What other programs know the person by."""
    began_at: datetime
    ends_at: datetime
    """At the latest."""


@dataclass(frozen=True, slots=True)
class Session:
    """One of a person's, as it is shown."""

    id: int
    created_at: datetime
    seen_at: datetime
    network: str
    browser: str
    chat: bool
    """The chat is signed on by it."""


async def begin(
    connection: AsyncConnection,
    account_id: int,
    role: str,
    origin: Origin,
    now: datetime,
    *,
    incomplete: bool = False,
) -> str:
    """The token for the cookie. It is new each time: one that somebody planted before is worth nothing."""
    token = new_token()
    row = {
        "digest": digest(token),
        "account_id": account_id,
        "created_at": now,
        "seen_at": now,
        "ends_at": now + LIFETIMES[role].whole,
        "network": origin.network,
        "browser": origin.browser,
        "incomplete": incomplete,
    }
    made = (await connection.execute(insert(session).values(**row).returning(session.c.id))).scalar_one()
    await _end_beyond_most(connection, account_id, made, now)
    whole = "incomplete" if incomplete else "complete"
    note("session-begun", session=made, account=account_id, state=whole, network=origin.network)
    return token


async def id_of(connection: AsyncConnection, token: str) -> int:
    """Of a session that has begun."""
    query = select(session.c.id).where(session.c.digest == digest(token))
    return int((await connection.execute(query)).scalar_one())


async def _end_beyond_most(connection: AsyncConnection, account_id: int, but: int, now: datetime) -> None:
    """Whoever has the password alone ends no session that the second factor was given in."""
    last_to_end = (session.c.incomplete, session.c.seen_at.desc(), session.c.id.desc())
    others = select(session.c.id).where(session.c.account_id == account_id, session.c.id != but)
    beyond = others.order_by(*last_to_end).offset(MOST_OF_ONE - 1)
    over = (await connection.execute(beyond)).scalars().all()
    if over:
        await grants.lock_sessions(connection, account_id)
    for ended in over:
        await end(connection, account_id, ended, now)


async def complete(connection: AsyncConnection, session_id: int, account_id: int) -> str:
    """The second factor was given. The session has a new token: whoever saw the one before it has nothing."""
    token = new_token()
    mine = update(session).where(session.c.id == session_id)
    await connection.execute(mine.values(digest=digest(token), incomplete=False))
    note("session-completed", session=session_id, account=account_id)
    return token


async def find(connection: AsyncConnection, token: str, now: datetime) -> Signed | None:
    """Whoever is signed in by the token. One that is over is none."""
    found = await _going_on(connection, session.c.digest == digest(token), now)
    if found is None:
        return None
    signed, seen_at = found
    if now - seen_at >= SEEN_EVERY:
        await connection.execute(update(session).where(session.c.id == signed.session_id).values(seen_at=now))
    return signed


async def by_id(connection: AsyncConnection, session_id: int, now: datetime) -> Signed | None:
    """Whose session it is, for a program that acts by it: that does not count as use of the site."""
    found = await _going_on(connection, session.c.id == session_id, now)
    return None if found is None else found[0]


async def _going_on(
    connection: AsyncConnection, which: ColumnElement[bool], now: datetime
) -> tuple[Signed, datetime] | None:
    """And when it was seen last."""
    columns = (*(person.c[name] for name in _OF_PERSON), account.c.role, account.c.status)
    second = has_second_factor(session.c.account_id).label("second")
    newest = select(func.max(acceptance.c.terms)).where(acceptance.c.account_id == session.c.account_id)
    accepted = newest.scalar_subquery().label("accepted")
    named = (session.c.id.label("session_id"), session.c.created_at.label("began_at"))
    of_session = (*named, *(session.c[name] for name in _OF_SESSION))
    query = (
        select(*of_session, *columns, second, accepted)
        .join(person, person.c.account_id == session.c.account_id)
        .join(account, account.c.id == session.c.account_id)
        .where(which, session.c.ends_at > now)
    )
    found = (await connection.execute(query)).mappings().one_or_none()
    if found is None or now - found["seen_at"] >= LIFETIMES[found["role"]].unused:
        return None
    row = dict(found)
    seen_at = row.pop("seen_at")
    return Signed(**row), seen_at


def has_second_factor(account_id: ColumnElement[int]) -> ColumnElement[bool]:
    """Of a query: whether the account has an authenticator that counts, or a passkey."""
    by_code = exists().where(authenticator.c.account_id == account_id, authenticator.c.secret.is_not(None))
    return or_(by_code, exists().where(passkey.c.account_id == account_id))


def must_be_complete(signed: Signed) -> None:
    """Raises WrongCredentials as long as the second factor is to be given."""
    if signed.incomplete:
        raise WrongCredentials("Please give your second factor first.")


async def hold(connection: AsyncConnection, signed: Signed) -> str | None:
    """The person's stored password, with nothing about how they sign in changing until the transaction ends.

    Raises WrongCredentials if the session is over: a new password, chosen meanwhile, has ended it.
    """
    locked = select(person.c.password).where(person.c.account_id == signed.account_id)
    row = (await connection.execute(locked.with_for_update(key_share=True))).one_or_none()
    goes_on = select(exists().where(session.c.id == signed.session_id, session.c.account_id == signed.account_id))
    if row is None or not (await connection.execute(goes_on)).scalar_one():
        raise WrongCredentials("Please sign in again.")
    stored: str | None = row.password
    return stored


async def of(connection: AsyncConnection, account_id: int, now: datetime) -> list[Session]:
    """Those that go on, the one used last first."""
    columns = [session.c[name] for name in Session.__slots__ if name in session.c]
    chat = exists().where(openid_grant.c.session_id == session.c.id, openid_grant.c.generation > 0).label("chat")
    query = select(*columns, chat, account.c.role).join(account, account.c.id == session.c.account_id)
    mine = query.where(session.c.account_id == account_id, session.c.ends_at > now)
    rows = [dict(row) for row in (await connection.execute(mine.order_by(session.c.seen_at.desc()))).mappings()]
    return [Session(**row) for row in rows if now - row["seen_at"] < LIFETIMES[row.pop("role")].unused]


async def end(connection: AsyncConnection, account_id: int, session_id: int, now: datetime) -> None:
    """One of the account's own; the key of its playground ends with it, and the chat that is signed on by it."""
    mine = delete(session).where(session.c.account_id == account_id, session.c.id == session_id)
    ended = await connection.execute(mine)
    await end_playground_key(connection, account_id)
    await grants.end_key_unless_signed_on(connection, account_id, now)
    if ended.rowcount:
        note("session-ended", session=session_id, account=account_id)


async def end_all(connection: AsyncConnection, account_id: int, but: int | None = None) -> None:
    """After a change of password, or of standing. ``but`` is the session in which it was changed.

    The chat ends everywhere: a session that goes on signs on again without a question.
    """
    await grants.lock_sessions(connection, account_id)
    await connection.execute(delete(session).where(session.c.account_id == account_id, session.c.id != (but or 0)))
    await end_playground_key(connection, account_id)
    await grants.end_all(connection, account_id)
    note("sessions-ended", account=account_id, but=but)


async def forget(connection: AsyncConnection, now: datetime) -> None:
    """Those that are over."""
    await connection.execute(delete(session).where(session.c.ends_at <= now))
