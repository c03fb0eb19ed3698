"""The operator's first way in: a link that `up` prints, until somebody has taken the account by it.

It is made of the pepper: nothing has to be kept, and whoever reads it can read the system's secrets already.
"""

import base64
import hmac

from sqlalchemy import exists, insert, select
from sqlalchemy.exc import IntegrityError

from appliance import secrets
from appliance.identity import sessions
from appliance.identity.emails import parse_email
from appliance.identity.errors import LinkInvalid
from appliance.identity.joining import FROM_ONE_NETWORK, person_name
from appliance.identity.origin import Origin
from appliance.identity.passwords import Passwords
from appliance.identity.tables import person
from appliance.identity.throttle import Throttle
from appliance.settings import Settings
from appliance.texts import known
from billing.clock import Clock
from billing.customers.accounts import find_account
from billing.database.db import Database
from serving.files import write_secret

PATH = "/first"


def first_link(pepper: bytes) -> str:
    """What stands for the operator in the link."""
    return (
        base64.urlsafe_b64encode(hmac.digest(pepper, b"the operator's first link", "sha256")).rstrip(b"=").decode()
    )


async def keep_first_link(settings: Settings, account: str) -> None:
    """Writes it down as long as nobody has taken the account, and removes it then. Raises DatabaseUnavailable."""
    database = Database(settings.sqlalchemy_url)
    try:
        async with database.begin() as connection:
            found = await find_account(connection, account)
            taken = select(exists().where(person.c.account_id == (found.id if found else None)))
            is_open = found is not None and not (await connection.execute(taken)).scalar_one()
    finally:
        await database.close()
    if is_open:
        link = first_link(secrets.read(settings.secrets).key_pepper)
        write_secret(settings.first_link, f"{settings.site_url}{PATH}?link={link}\n")
    else:
        settings.first_link.unlink(missing_ok=True)


class First:
    """Raises IdentityError, DatabaseUnavailable. ``account`` is the operator's, by its name."""

    def __init__(
        self,
        database: Database,
        passwords: Passwords,
        throttle: Throttle,
        pepper: bytes,
        account: str,
        clock: Clock,
    ) -> None:
        self._database = database
        self._passwords = passwords
        self._throttle = throttle
        self._link = first_link(pepper)
        self._account = account
        self._clock = clock

    async def take(self, link: str, name: str, email: str, password: str, language: str, origin: Origin) -> str:
        """A session's token: the account is whose email and password these are."""
        called, address, now = person_name(name), parse_email(email), self._clock()
        async with self._database.begin() as connection:
            await self._throttle.spend(connection, FROM_ONE_NETWORK, now, "first from", origin.network)
        if not hmac.compare_digest(link.encode("utf-8", "replace"), self._link.encode()):
            raise LinkInvalid("This link is not right. `appliance up` prints it as long as it is good.")
        await self._passwords.check(password, (called, address.address))
        hashed = await self._passwords.hash(password)
        async with self._database.begin() as connection:
            account = await find_account(connection, self._account)
            if account is None:
                raise _gone()
            row = {
                "account_id": account.id, "name": called, "email": address.address, "email_key": address.key,
                "password": hashed, "password_at": now, "language": known(language), "created_at": now,
            }  # fmt: skip
            try:
                async with connection.begin_nested():
                    await connection.execute(insert(person).values(**row))
            except IntegrityError:
                taken = select(exists().where(person.c.account_id == account.id))
                if (await connection.execute(taken)).scalar_one():
                    raise _gone() from None
                raise LinkInvalid("This email belongs to another account.") from None
            return await sessions.begin(connection, account.id, account.role, origin, now)


def _gone() -> LinkInvalid:
    return LinkInvalid("This link has been used. Please sign in.")
