"""From the form to an account: applied, then confirmed by the link that was mailed.

Until then there is no account, and whoever applies for an email that has one is answered in the same way and the
same time: what the mail says is decided when it is sent. The link alone opens nothing either: it is confirmed in
the browser that applied, or with the password. So nobody gets an account with a password that a stranger chose.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, exists, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from appliance.identity import sessions
from appliance.identity.emails import parse_email
from appliance.identity.errors import InvalidPersonName, LinkInvalid
from appliance.identity.inviting import must_be_invited
from appliance.identity.origin import Origin
from appliance.identity.passwords import Passwords
from appliance.identity.tables import acceptance, applicant, person
from appliance.identity.throttle import Rate, Throttle
from appliance.identity.tokens import digest, new_token
from appliance.mail import queue
from appliance.texts import known
from billing.clock import Clock
from billing.customers.accounts import NAME_CHARACTERS as ACCOUNT_NAME_CHARACTERS
from billing.customers.accounts import create_account, find_account, is_name
from billing.database.db import Database
from billing.errors import Conflict

NAME_CHARACTERS = 100
LINK_LASTS = timedelta(hours=24)
FROM_ONE_NETWORK = Rate(10, timedelta(minutes=1))
FOR_ONE_EMAIL_FROM = Rate(3, timedelta(minutes=10))
FOR_ONE_EMAIL = Rate(10, timedelta(minutes=1))
"""The first is for one network. The second bounds what all strangers together can send to somebody."""
CONFIRMATIONS = Rate(10, timedelta(minutes=1))
OF_ONE_LINK = Rate(10, timedelta(minutes=1))
CONFIRM_EMAIL = "confirm email"
"""The kind of mail; it is about the applicant."""


@dataclass(frozen=True, slots=True)
class Form:
    """As it was filled in. ``terms`` is the version that was accepted, ``invitation`` the token of its link."""

    name: str
    email: str
    password: str
    language: str
    terms: str
    invitation: str = ""


class Joining:
    """``invited`` alone may join, or everybody. Raises IdentityError, DatabaseUnavailable."""

    def __init__(
        self, database: Database, passwords: Passwords, throttle: Throttle, clock: Clock, *, invited: bool = False
    ) -> None:
        self._database = database
        self._passwords = passwords
        self._throttle = throttle
        self._clock = clock
        self._invited = invited

    async def apply(self, form: Form, origin: Origin) -> str:
        """A token for the browser's cookie. The mail is on its way, whoever has an account already."""
        name, email = person_name(form.name), parse_email(form.email)
        now = self._clock()
        self._passwords.must_have_room()
        async with self._database.begin() as connection:
            await self._throttle.spend(connection, FROM_ONE_NETWORK, now, "join from", origin.network)
            await self._throttle.spend(connection, FOR_ONE_EMAIL_FROM, now, "join as", email.key, origin.network)
            await self._throttle.spend(connection, FOR_ONE_EMAIL, now, "join as", email.key)
            if self._invited:
                await must_be_invited(connection, email, form.invitation, now)
        await self._passwords.check(form.password, (name, email.address), stranger=True)
        hashed = await self._passwords.hash(form.password, stranger=True)
        browser, language = new_token(), known(form.language)
        row = {
            "name": name, "email": email.address, "email_key": email.key, "password": hashed,
            "language": language, "terms": form.terms, "address": origin.address,
            "browser": digest(browser), "created_at": now, "expires_at": now + LINK_LASTS,
        }  # fmt: skip
        async with self._database.begin() as connection:
            made = await connection.execute(insert(applicant).values(**row).returning(applicant.c.id))
            about = made.scalar_one()
            await queue.enqueue(connection, CONFIRM_EMAIL, email.address, language, now, about)
        return browser

    async def confirm(
        self, link: str, origin: Origin, *, browser: str | None = None, password: str | None = None
    ) -> str:
        """A session's token: the account is there. ``browser`` is the cookie of the one that applied.

        Raises LinkInvalid; also for a link that is good, without the cookie or the password.
        """
        now = self._clock()
        async with self._database.begin() as connection:
            await self._throttle.spend(connection, CONFIRMATIONS, now, "confirm from", origin.network)
            query = select(applicant).where(applicant.c.link == digest(link), applicant.c.expires_at > now)
            found = (await connection.execute(query)).mappings().one_or_none()
            if found is not None:
                await self._throttle.spend(connection, OF_ONE_LINK, now, "confirm", str(found["id"]))
        if found is None:
            raise LinkInvalid("This link has been used, or is too old. Please sign up again.")
        applied_here = browser is not None and digest(browser) == found["browser"]
        if not applied_here and not await self._passwords.is_right(password or "", found["password"]):
            raise LinkInvalid("Please give the password that you chose, to confirm that it was you.")
        async with self._database.begin() as connection:
            gone = await connection.execute(
                delete(applicant).where(applicant.c.email_key == found["email_key"]).returning(applicant.c.id)
            )
            if found["id"] not in gone.scalars() or await has_account(connection, found["email_key"]):
                raise LinkInvalid("This email has been confirmed already. Please sign in.")
            try:
                async with connection.begin_nested():
                    account_id = await _create(connection, dict(found), self._clock)
            except (IntegrityError, Conflict):  # somebody else came by the email, or the name, at this moment
                raise LinkInvalid("This email has been confirmed already. Please sign in.") from None
            return await sessions.begin(connection, account_id, "customer", origin, now)


async def _create(connection: AsyncConnection, found: Mapping[str, Any], clock: Clock) -> int:
    """The account is called by its email where that is possible, so that the operator finds it."""
    name = found["email_key"]
    if not is_name(name) or await find_account(connection, name) is not None:
        name = f"{found['id']} {name}"[:ACCOUNT_NAME_CHARACTERS]
    account = await create_account(connection, name, "customer", clock)
    kept = {column: found[column] for column in ("name", "email", "email_key", "password", "language")}
    times = {"password_at": found["created_at"], "created_at": account.created_at}
    await connection.execute(insert(person).values(**kept, **times, account_id=account.id))
    accepted = {"terms": found["terms"], "accepted_at": found["created_at"], "address": found["address"]}
    await connection.execute(insert(acceptance).values(**accepted, account_id=account.id))
    return account.id


async def new_link(connection: AsyncConnection, applicant_id: int, now: datetime) -> str | None:
    """For the mail that is being sent; one sent before is worth nothing then.

    None if there is nobody to confirm any more, or if the email has an account: the mail says so then.
    """
    query = select(applicant.c.email_key).where(applicant.c.id == applicant_id, applicant.c.expires_at > now)
    email_key = (await connection.execute(query)).scalar_one_or_none()
    if email_key is None or await has_account(connection, email_key):
        return None
    link = new_token()
    await connection.execute(update(applicant).where(applicant.c.id == applicant_id).values(link=digest(link)))
    return link


async def has_account(connection: AsyncConnection, email_key: str) -> bool:
    return bool((await connection.execute(select(exists().where(person.c.email_key == email_key)))).scalar_one())


async def forget(connection: AsyncConnection, now: datetime) -> None:
    """Whoever applied and did not confirm."""
    await connection.execute(delete(applicant).where(applicant.c.expires_at <= now))


def person_name(text: str) -> str:
    """Raises InvalidPersonName."""
    name = " ".join(text.split())
    if not 0 < len(name) <= NAME_CHARACTERS or not name.isprintable():
        raise InvalidPersonName("A name has 1 to {most} characters.", most=NAME_CHARACTERS)
    return name
