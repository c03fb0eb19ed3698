"""What opens the door is changed: a password that is known, one that is forgotten, the email.

Each change ends the other sessions, and is told by mail to the address that the account had before it. To a new
password every browser is a stranger.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, delete, exists, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from appliance.identity import sessions
from appliance.identity.devices import Devices
from appliance.identity.emails import compared, parse_email
from appliance.identity.errors import LinkInvalid, WrongCredentials
from appliance.identity.origin import Origin
from appliance.identity.passwords import Passwords
from appliance.identity.proofs import Proofs
from appliance.identity.sessions import Signed
from appliance.identity.tables import link, person
from appliance.identity.throttle import Rate, Throttle
from appliance.identity.tokens import digest, new_token
from appliance.mail import queue
from appliance.texts import known
from billing.clock import Clock
from billing.database.db import Database
from billing.database.tables import account

RESET_LASTS, EMAIL_LASTS = timedelta(hours=1), timedelta(hours=24)
FROM_ONE_NETWORK = Rate(10, timedelta(minutes=1))
FOR_ONE_EMAIL = Rate(3, timedelta(minutes=10))
BY_ONE_PERSON = Rate(10, timedelta(minutes=1))

RESET_PASSWORD = "reset password"  # noqa: S105 -- a kind of mail
PASSWORD_CHANGED = "password changed"  # noqa: S105 -- a kind of mail
CONFIRM_CHANGE = "confirm new email"
EMAIL_CHANGE_ASKED = "new email asked for"
EMAIL_CHANGED = "email changed"
"""Kinds of mail; they are about the account, but for the first, which is about whoever has the email."""


@dataclass(frozen=True, slots=True)
class _Owner:
    account_id: int
    name: str
    email: str
    language: str
    password: str | None


class Credentials:
    """Raises IdentityError, DatabaseUnavailable. ``given`` is the second factor, where there is one."""

    def __init__(
        self,
        database: Database,
        passwords: Passwords,
        proofs: Proofs,
        throttle: Throttle,
        devices: Devices,
        clock: Clock,
    ) -> None:
        self._database = database
        self._passwords = passwords
        self._proofs = proofs
        self._throttle = throttle
        self._devices = devices
        self._clock = clock

    async def forgot(self, email: str, language: str, origin: Origin) -> None:
        """A mail is on its way, if somebody has an account with the email: nobody is told whether."""
        asked, now = parse_email(email), self._clock()
        async with self._database.begin() as connection:
            await self._throttle.spend(connection, FROM_ONE_NETWORK, now, "reset from", origin.network)
            await self._throttle.spend(connection, FOR_ONE_EMAIL, now, "reset of", asked.key)
            await queue.enqueue(connection, RESET_PASSWORD, asked.address, known(language), now)

    async def reset(self, token: str, password: str, origin: Origin) -> str:
        """The cookie by which this browser is known: its owner signs in now, whatever strangers try meanwhile."""
        now = self._clock()
        async with self._database.begin() as connection:
            await self._throttle.spend(connection, FROM_ONE_NETWORK, now, "link from", origin.network)
            owner = await _owner_by(connection, token, RESET_PASSWORD, now)
            await self._throttle.spend(connection, BY_ONE_PERSON, now, "reset by", str(owner.account_id))
        await self._passwords.check(password, (owner.name, owner.email))
        hashed = await self._passwords.hash(password)
        async with self._database.begin() as connection:
            owner = await _owner(connection, owner.account_id, lock=True)
            if compared(await _use(connection, token, RESET_PASSWORD, now)) != compared(owner.email):
                raise _gone()
            return await self._set_password(connection, owner, hashed, now, but=None)

    async def change_password(self, signed: Signed, old: str, new: str, given: str = "") -> str:
        """The new cookie of this browser. This session goes on, the others end."""
        owner, now = await self._confirmed(signed, old)
        await self._passwords.check(new, (owner.name, owner.email))
        hashed = await self._passwords.hash(new)
        await self._proofs.spend(signed, now)
        async with self._database.begin() as connection:
            await _still(connection, signed, owner)
            await self._proofs.check_if_wanted(connection, signed, given, now)
            return await self._set_password(connection, owner, hashed, now, but=signed.session_id)

    async def change_email(self, signed: Signed, password: str, email: str, given: str = "") -> None:
        """A link goes to the new address; until it is used, the old one stays."""
        wanted = parse_email(email)
        owner, now = await self._confirmed(signed, password)
        await self._proofs.spend(signed, now)
        async with self._database.begin() as connection:
            await _still(connection, signed, owner)
            await self._proofs.check_if_wanted(connection, signed, given, now)
            await self._throttle.spend(connection, FOR_ONE_EMAIL, now, "email to", wanted.key)
            await connection.execute(
                update(person).where(person.c.account_id == owner.account_id).values(wanted_email=wanted.address)
            )
            about = owner.account_id
            await queue.enqueue(connection, CONFIRM_CHANGE, wanted.address, owner.language, now, about)
            await queue.enqueue(connection, EMAIL_CHANGE_ASKED, owner.email, owner.language, now, about)

    async def confirm_email(self, signed: Signed, token: str) -> None:
        """By the person who asked for it, signed in: a link that a stranger got gives him nothing."""
        now = self._clock()
        sessions.must_be_complete(signed)
        async with self._database.begin() as connection:
            await sessions.hold(connection, signed)
            owner = await _owner_by(connection, token, CONFIRM_CHANGE, now)
            if owner.account_id != signed.account_id:
                raise _gone()
            wanted = parse_email(await _use(connection, token, CONFIRM_CHANGE, now))
            values = {"email": wanted.address, "email_key": wanted.key, "wanted_email": None}
            mine = person.c.account_id == owner.account_id
            called = account.c.id == owner.account_id, account.c.name == compared(owner.email)
            try:
                async with connection.begin_nested():
                    await connection.execute(update(person).where(mine).values(**values))
                    await connection.execute(update(account).where(*called).values(name=wanted.key))
            except IntegrityError:
                raise LinkInvalid("This email belongs to another account.") from None
            await connection.execute(delete(link).where(link.c.account_id == owner.account_id))
            await sessions.end_all(connection, owner.account_id, but=signed.session_id)
            about = owner.account_id
            await queue.enqueue(connection, EMAIL_CHANGED, owner.email, owner.language, now, about)

    async def confirm(self, signed: Signed, password: str) -> None:
        """Before what a session alone may not do: somebody may have left it open."""
        await self._confirmed(signed, password)

    async def _confirmed(self, signed: Signed, password: str) -> tuple[_Owner, datetime]:
        sessions.must_be_complete(signed)
        now = self._clock()
        async with self._database.begin() as connection:
            await self._throttle.spend(connection, BY_ONE_PERSON, now, "confirm by", str(signed.account_id))
            owner = await _owner(connection, signed.account_id)
        if not await self._passwords.is_right(password, owner.password):
            raise WrongCredentials("The password is not right.")
        return owner, now

    async def _set_password(
        self, connection: AsyncConnection, owner: _Owner, hashed: str, now: datetime, but: int | None
    ) -> str:
        mine = person.c.account_id == owner.account_id
        values = {"password": hashed, "password_at": now, "wanted_email": None}
        await connection.execute(update(person).where(mine).values(**values))
        await connection.execute(delete(link).where(link.c.account_id == owner.account_id))
        await sessions.end_all(connection, owner.account_id, but)
        about = owner.account_id
        await queue.enqueue(connection, PASSWORD_CHANGED, owner.email, owner.language, now, about)
        return self._devices.new(owner.account_id, hashed)


async def new_reset_link(connection: AsyncConnection, email: str, now: datetime) -> tuple[str, str] | None:
    """The link for the mail that is being sent, and to whom: as the account has it, not as it was typed.

    None if nobody has an account with the email: there is no mail then.
    """
    query = select(person.c.account_id, person.c.email).where(person.c.email_key == compared(email))
    owner = (await connection.execute(query)).one_or_none()
    if owner is None:
        return None
    return await _new(connection, owner.account_id, RESET_PASSWORD, owner.email, now + RESET_LASTS), owner.email


async def new_email_link(connection: AsyncConnection, account_id: int, email: str, now: datetime) -> str | None:
    """For the mail that is being sent; None if it is no longer wanted, or another account has the email."""
    mine = select(person.c.wanted_email).where(person.c.account_id == account_id)
    taken = select(exists().where(person.c.email_key == compared(email), person.c.account_id != account_id))
    if (await connection.execute(mine)).scalar_one_or_none() != email:
        return None
    if (await connection.execute(taken)).scalar_one():
        return None
    return await _new(connection, account_id, CONFIRM_CHANGE, email, now + EMAIL_LASTS)


async def forget(connection: AsyncConnection, now: datetime) -> None:
    """Links that nobody followed."""
    await connection.execute(delete(link).where(link.c.expires_at <= now))


async def _new(connection: AsyncConnection, account_id: int, kind: str, email: str, expires_at: datetime) -> str:
    """In place of the one before it."""
    token = new_token()
    values = {"digest": digest(token), "email": email, "expires_at": expires_at}
    statement = upsert(link).values(account_id=account_id, kind=kind, **values)
    again = statement.on_conflict_do_update(index_elements=["account_id", "kind"], set_=values)
    await connection.execute(again)
    return token


async def _still(connection: AsyncConnection, signed: Signed, owner: _Owner) -> None:
    """Nothing changed while the password was checked. Raises WrongCredentials."""
    if await sessions.hold(connection, signed) != owner.password:
        raise WrongCredentials("The password is not right.")


async def _owner(connection: AsyncConnection, account_id: int, *, lock: bool = False) -> _Owner:
    query = select(*(person.c[name] for name in _Owner.__slots__)).where(person.c.account_id == account_id)
    if lock:
        query = query.with_for_update(key_share=True)
    return _Owner(**(await connection.execute(query)).mappings().one())


async def _owner_by(connection: AsyncConnection, token: str, kind: str, now: datetime) -> _Owner:
    """Raises LinkInvalid."""
    query = select(link.c.account_id).where(*_valid(token, kind, now))
    account_id = (await connection.execute(query)).scalar_one_or_none()
    if account_id is None:
        raise _gone()
    return await _owner(connection, account_id)


async def _use(connection: AsyncConnection, token: str, kind: str, now: datetime) -> str:
    """The address to which it was sent. A link is used once, however many follow it. Raises LinkInvalid."""
    used = delete(link).where(*_valid(token, kind, now)).returning(link.c.email)
    email: str | None = (await connection.execute(used)).scalar_one_or_none()
    if email is None:
        raise _gone()
    return email


def _valid(token: str, kind: str, now: datetime) -> tuple[ColumnElement[bool], ...]:
    return link.c.digest == digest(token), link.c.kind == kind, link.c.expires_at > now


def _gone() -> LinkInvalid:
    return LinkInvalid("This link has been used, or is too old. Please ask for a new one.")
