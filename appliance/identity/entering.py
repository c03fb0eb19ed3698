"""Signing in by password; where there is a second factor, it is still to be given then.

What a stranger tries is slowed down, and the owner still gets in.
"""

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from appliance.identity import sessions
from appliance.identity.devices import Devices
from appliance.identity.emails import compared
from appliance.identity.errors import WrongCredentials
from appliance.identity.origin import Origin
from appliance.identity.passwords import Passwords
from appliance.identity.second import is_wanted
from appliance.identity.tables import person
from appliance.identity.throttle import Rate, Throttle
from appliance.mail import queue
from billing.clock import Clock
from billing.database.db import Database
from billing.database.tables import account

FROM_ONE_NETWORK = Rate(30, timedelta(seconds=10))
BY_STRANGERS = Rate(10, timedelta(minutes=1))
"""For one account, from browsers that it does not know."""
FROM_ONE_DEVICE = Rate(10, timedelta(minutes=1))
NEW_DEVICE = "new device"
"""The kind of mail; it is about the account."""


@dataclass(frozen=True, slots=True)
class Entered:
    """What goes into the two cookies: the session's token, and the name by which the browser is known later."""

    session: str
    device: str
    incomplete: bool
    """The second factor is to be given."""


class Entering:
    """Raises WrongCredentials, TooManyTries, DatabaseUnavailable."""

    def __init__(
        self, database: Database, passwords: Passwords, throttle: Throttle, devices: Devices, clock: Clock
    ) -> None:
        self._database = database
        self._passwords = passwords
        self._throttle = throttle
        self._devices = devices
        self._clock = clock

    async def sign_in(self, email: str, password: str, origin: Origin, device: str | None = None) -> Entered:
        """The same is done, and takes as long, whether or not there is such an account."""
        now, email_key = self._clock(), compared(email)
        async with self._database.begin() as connection:
            found = await _find(connection, email_key, lock=False)
            known = self._devices.name_of(device, found.account_id, found.password) if found else None
            if known:
                await self._throttle.spend(connection, FROM_ONE_DEVICE, now, "enter by", known)
            else:
                await self._throttle.spend(connection, FROM_ONE_NETWORK, now, "enter from", origin.network)
                await self._throttle.spend(connection, BY_STRANGERS, now, "enter as", email_key)
        right = await self._passwords.is_right(password, found.password if found else None)
        async with self._database.begin() as connection:
            if not right or found is None or await _find(connection, email_key, lock=True) != found:
                raise WrongCredentials("The email or the password is not right.")
            wanted = await is_wanted(connection, found.account_id)
            token = await sessions.begin(connection, found.account_id, found.role, origin, now, incomplete=wanted)
            if not known:
                about = found.account_id
                await queue.enqueue(connection, NEW_DEVICE, found.email, found.language, now, about)
        if not known or device is None:
            device = self._devices.new(found.account_id, found.password)
        return Entered(token, device, wanted)


@dataclass(frozen=True, slots=True)
class _Person:
    account_id: int
    email: str
    language: str
    password: str
    role: str


async def _find(connection: AsyncConnection, email_key: str, *, lock: bool) -> _Person | None:
    """``lock``: nothing about how they sign in changes until the transaction ends.

    A lock is written to the log of the database, which takes time: where it would tell who has an account, none.
    """
    columns = (person.c.account_id, person.c.email, person.c.language, person.c.password)
    query = (
        select(*columns, account.c.role)
        .join(account, account.c.id == person.c.account_id)
        .where(person.c.email_key == email_key, person.c.password.is_not(None))
    )
    if lock:
        query = query.with_for_update(read=True, of=person)
    row = (await connection.execute(query)).mappings().one_or_none()
    return None if row is None else _Person(**row)
